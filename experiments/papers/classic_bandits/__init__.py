"""The classic guarantees of multi-armed bandits: what calibrates the engine before newer claims are put to it."""

from claimlab.experiments.papers.classic_bandits import adversarial, linear, stochastic
from claimlab.experiments.papers.classic_bandits.common import PAPER
from claimlab.experiments.papers.classic_bandits.figures import FIGURES

CLAIMS = (*stochastic.CLAIMS, *adversarial.CLAIMS, *linear.CLAIMS)

__all__ = ["CLAIMS", "FIGURES", "PAPER"]
