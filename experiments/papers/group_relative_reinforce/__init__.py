r"""Group-relative REINFORCE is secretly an off-policy algorithm (Yao et al.): exactly, on softmax bandits.

K answers to a prompt with rewards :math:`r_i` and group mean :math:`\bar r`.  With
:math:`a_i=r_i-\tau(\log\pi_\theta(y_i)-\log\pi_t(y_i))` the surrogate :math:`\frac1{K^2}\sum_{i<j}(a_i-a_j)^2` asks
for the pairwise consistency of the KL-regularised optimum, whatever law the answers were drawn from; one gradient step
on it at :math:`\pi_t` is REINFORCE with the group mean.  Variants weigh or mask the score terms.

The formulas are in :mod:`claimlab.theory.group_relative`; the losses that train language models, in
:mod:`claimlab.experiments.lm.surrogates`, are tested against them.
"""

from __future__ import annotations

from claimlab.experiments.papers.group_relative_reinforce import (
    clipping,
    figures,
    laws,
    limits,
    regularised,
    runs,
    shaping,
    staleness,
    surrogate,
)
from claimlab.experiments.papers.group_relative_reinforce.common import LAW, PAPER, REWARD

CLAIMS = (
    *surrogate.CLAIMS,
    *clipping.CLAIMS,
    *limits.CLAIMS,
    *regularised.CLAIMS,
    *shaping.CLAIMS,
    *staleness.CLAIMS,
    *laws.CLAIMS,
    *runs.CLAIMS,
)

FIGURES = (*figures.FIGURES, *runs.FIGURES)

__all__ = ["CLAIMS", "FIGURES", "LAW", "PAPER", "REWARD"]
