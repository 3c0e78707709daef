r"""Random Policy Valuation is Enough (ROVER): act greedily, or softly, on the values of the uniform policy.

The setting of Section 3.1: a finite tree with deterministic moves and no discount, in which only complete answers are
rewarded, with 0 or R.  :math:`Q^u` are the action values of the uniform policy, and the sampler of Theorem 3.2 is
:math:`\pi_s(a|s)\propto e^{Q^u(s,a)/\rho}`.  The practical algorithm (Algorithm 1) fits
:math:`\rho\log(\pi_\theta/\pi_{old})` to the centred reward plus its own mean at the next prefix.  The comparison with
clipped policy gradient is at one setting of answers and inner steps; accuracy in small is a question of the study
`rover` (``claimlab lm run rover``), entropy and distinct solutions on countdown need a larger model.
"""

from __future__ import annotations

from claimlab.experiments.papers.rover import diversity, greedy, loss, sampler
from claimlab.experiments.papers.rover.common import PAPER
from claimlab.experiments.papers.rover.figures import FIGURES

CLAIMS = (
    *greedy.CLAIMS,
    *sampler.CLAIMS,
    *loss.CLAIMS,
    *diversity.CLAIMS,
)

__all__ = ["CLAIMS", "FIGURES", "PAPER"]
