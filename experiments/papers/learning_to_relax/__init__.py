"""Learning to Relax (Khodak, Chow, Balcan & Talwalkar, ICLR 2024, arXiv 2310.02246): solver parameters as bandit arms.

`young`, `sor`, `surrogate`, `energy`, `ssor` and `cg` hold what the paper says of the solvers; `learners`,
`regression`, `tuning`, `guarantee`, `sequences` and `heat` what it says of learning their parameter.
"""

from claimlab.experiments.papers.learning_to_relax import (
    cg,
    energy,
    guarantee,
    heat,
    learners,
    regression,
    sequences,
    sor,
    ssor,
    surrogate,
    tuning,
    young,
)
from claimlab.experiments.papers.learning_to_relax.common import PAPER
from claimlab.experiments.papers.learning_to_relax.figures import FIGURES as SOLVER_FIGURES
from claimlab.experiments.papers.learning_to_relax.learning_figures import FIGURES as LEARNING_FIGURES

CLAIMS = (
    *(*young.CLAIMS, *sor.CLAIMS, *surrogate.CLAIMS, *energy.CLAIMS, *ssor.CLAIMS, *cg.CLAIMS),
    *(*learners.CLAIMS, *regression.CLAIMS, *tuning.CLAIMS, *guarantee.CLAIMS, *sequences.CLAIMS, *heat.CLAIMS),
)
FIGURES = (*SOLVER_FIGURES, *LEARNING_FIGURES)

__all__ = ["CLAIMS", "FIGURES", "PAPER"]
