r"""Learning to Relax (Khodak, Chow, Balcan & Talwalkar, ICLR 2024, arXiv 2310.02246): solver parameters as bandit arms.

`young`, `sor`, `surrogate`, `energy`, `ssor` and `cg` hold what the paper says of the solvers; `learners`,
`regression`, `tuning`, `guarantee`, `semi_stochastic`, `sequences` and `heat` what it says of learning their parameter.

One statement has no claim of its own, because no run could bear on it: Theorem 3.2 (C.4),
:math:`\tilde O(T^{9/11}\sqrt n)` for ChebCB on shifted families, is an order of growth without its constant, and
inherits that of Corollary F.1, which exceeds :math:`10^{10}` for the paper's 100-point Laplacian (what the corollary
itself says is checked where expected counts are integrals, `expected-count-lipschitz`).  Nor does growth show the
exponent: with arms :math:`T^{2/11}` and degree :math:`T^{3/11}` the learning rate stays so low that draws are close to
uniform for all T within reach.  What can be checked is its algebra (`chebcb-exponent`) and the bound behind it for
losses so flat that it is below the trivial one (`chebcb-regret`).
"""

from claimlab.experiments.papers.learning_to_relax import (
    cg,
    energy,
    gain,
    guarantee,
    heat,
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
    *(*learners.CLAIMS, *regression.CLAIMS, *tuning.CLAIMS, *guarantee.CLAIMS),
    *(*semi_stochastic.CLAIMS, *sequences.CLAIMS, *heat.CLAIMS, *gain.CLAIMS),
)
FIGURES = (*SOLVER_FIGURES, *LEARNING_FIGURES)

__all__ = ["CLAIMS", "FIGURES", "PAPER"]
