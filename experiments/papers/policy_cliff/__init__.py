"""The Policy Cliff (Xu 2025, arXiv 2507.20150): how the optimal policy depends on the reward.

Every proposition, theorem and lemma of the paper under its own number, and beside them what we can say more exactly.
"""

from claimlab.experiments.papers.policy_cliff import alignment, continuity, entropy, mixture, radius, ties
from claimlab.experiments.papers.policy_cliff.common import PAPER
from claimlab.experiments.papers.policy_cliff.figures import FIGURES

CLAIMS = (*continuity.CLAIMS, *radius.CLAIMS, *ties.CLAIMS, *alignment.CLAIMS, *mixture.CLAIMS, *entropy.CLAIMS)

__all__ = ["CLAIMS", "FIGURES", "PAPER"]
