r"""Learning to Relax (Khodak, Chow, Balcan & Talwalkar, ICLR 2024, arXiv 2310.02246): solver parameters as bandit arms.

`young`, `sor`, `surrogate`, `energy`, `ssor` and `cg` hold what the paper says of the solvers; `learners`,
`regression`, `tuning`, `guarantee`, `cg_learning`, `semi_stochastic`, `instance_optimal`, `sequences`, `heat` and
`gain` what it says of learning their parameter.  `simulation` is the heat equation, `heat_record` and
`time_record` what is recorded of it.

No claim speaks of Theorems A.1 and A.2, the sample complexity of choosing one parameter from training systems: orders
of growth without constants, which choosing from a grid is far below.
"""

from claimlab.experiments.papers.learning_to_relax import (
    cg,
    cg_learning,
    energy,
    gain,
    guarantee,
    heat,
    instance_optimal,
    learners,
    regression,
    semi_stochastic,
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
    *(*learners.CLAIMS, *regression.CLAIMS, *tuning.CLAIMS, *guarantee.CLAIMS, *cg_learning.CLAIMS),
    *(*semi_stochastic.CLAIMS, *instance_optimal.CLAIMS, *sequences.CLAIMS, *heat.CLAIMS, *gain.CLAIMS),
)
FIGURES = (*SOLVER_FIGURES, *LEARNING_FIGURES)

__all__ = ["CLAIMS", "FIGURES", "PAPER"]
