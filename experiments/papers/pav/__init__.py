r"""Rewarding Progress (PAV): natural policy gradient on outcome plus a prover's advantage, in decision trees.

One step is :math:`\pi'\propto\pi e^{\gamma(Q^\pi+\alpha A^\mu)}`, with the advantage :math:`A^\mu` of a prover policy
(Section 3, Eq. 5).  Trees of three steps with rewards at the leaves, so that every quantity is a finite sum.  A
Monte-Carlo prover of a small model is in the study `pav` (``claimlab lm run pav``).
"""

from __future__ import annotations

from claimlab.experiments.papers.pav import provers, rewards, search, theorem
from claimlab.experiments.papers.pav.common import PAPER
from claimlab.experiments.papers.pav.figures import FIGURES

CLAIMS = (
    *theorem.CLAIMS,
    *rewards.CLAIMS,
    *provers.CLAIMS,
    *search.CLAIMS,
)

__all__ = ["CLAIMS", "FIGURES", "PAPER"]
