"""Learning to Relax (Khodak, Chow, Balcan & Talwalkar, ICLR 2024, arXiv 2310.02246): solver parameters as bandit arms.

`young`, `sor`, `surrogate`, `energy`, `ssor` and `cg` hold what the paper says of the solvers.
"""

from claimlab.experiments.papers.learning_to_relax import cg, energy, sor, ssor, surrogate, young
from claimlab.experiments.papers.learning_to_relax.common import PAPER
from claimlab.experiments.papers.learning_to_relax.figures import FIGURES

CLAIMS = (*young.CLAIMS, *sor.CLAIMS, *surrogate.CLAIMS, *energy.CLAIMS, *ssor.CLAIMS, *cg.CLAIMS)

__all__ = ["CLAIMS", "FIGURES", "PAPER"]
