r"""Collecting on-policy data off-policy: PROPS (Corrado & Hanna) and ROS (Zhong et al.), on tables and on CartPole.

After finitely many i.i.d. actions the data hold some of them too often.  ROS and PROPS act from a policy that makes up
for it, so that estimates that take the data for on-policy are more accurate.  The body of the papers was not at hand:
statements are those of their abstracts and of their theorems as commonly cited, with constants of ours.
"""

from __future__ import annotations

from claimlab.experiments.papers.props import (
    cartpole,
    discrepancy,
    evaluation,
    learning,
    optimiser,
    rules,
    visits,
)
from claimlab.experiments.papers.props.common import PAPER
from claimlab.experiments.papers.props.figures import FIGURES

CLAIMS = (
    *rules.CLAIMS,
    *optimiser.CLAIMS,
    *discrepancy.CLAIMS,
    *visits.CLAIMS,
    *evaluation.CLAIMS,
    *cartpole.CLAIMS,
    *learning.CLAIMS,
)

__all__ = ["CLAIMS", "FIGURES", "PAPER"]
