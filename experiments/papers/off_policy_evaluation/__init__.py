"""The classic statements on off-policy evaluation: estimators, intervals, and the curse of the horizon."""

from claimlab.experiments.papers.off_policy_evaluation import episodes, estimators, intervals
from claimlab.experiments.papers.off_policy_evaluation.common import PAPER
from claimlab.experiments.papers.off_policy_evaluation.figures import FIGURES

CLAIMS = (*estimators.CLAIMS, *intervals.CLAIMS, *episodes.CLAIMS)

__all__ = ["CLAIMS", "FIGURES", "PAPER"]
