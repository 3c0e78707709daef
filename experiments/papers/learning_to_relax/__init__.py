"""Learning to Relax (Khodak, Chow, Balcan & Talwalkar, ICLR 2024, arXiv 2310.02246): solver parameters as bandit arms.

`sor`, `surrogate`, `ssor` and `cg` hold what the paper says of the solvers.
"""

from claimlab.experiments.papers.learning_to_relax import cg, sor, ssor, surrogate
from claimlab.experiments.papers.learning_to_relax.common import PAPER
from claimlab.experiments.papers.learning_to_relax.figures import FIGURES

CLAIMS = (*sor.CLAIMS, *surrogate.CLAIMS, *ssor.CLAIMS, *cg.CLAIMS)

__all__ = ["CLAIMS", "FIGURES", "PAPER"]
