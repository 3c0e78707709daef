r"""Learning to Relax (Khodak, Chow, Balcan & Talwalkar, ICLR 2024, arXiv 2310.02246): solver parameters as bandit arms.

`young`, `sor`, `surrogate`, `energy`, `ssor` and `cg` hold what the paper says of the solvers; `learners`,
`regression`, `tuning`, `guarantee`, `sequences` and `heat` what it says of learning their parameter.

Two statements have no claim, because no run could bear on them.  The Lipschitz constant
:math:`32K^3L\sqrt{2/\pi}/\beta^4` of expected SSOR counts (Corollary F.1 and Lemma F.4) exceeds :math:`10^{10}` for
the paper's 100-point Laplacian, where counts reach K of some hundreds: as counts lie in [1, K], it says something only
of parameters closer than :math:`10^{-7}`, between which means of simulated counts cannot be told apart.  Theorem 3.2
(C.4), an order of growth without its constant, inherits it; `chebcb-regret` checks the bound behind it for losses whose
slope is small enough for that bound to be below the trivial one.
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
