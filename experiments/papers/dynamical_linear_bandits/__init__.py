"""Dynamical Linear Bandits (Mussi, Metelli & Restelli 2023, arXiv 2211.08997): rewards with a hidden linear state.

The theorems' statements are known to us from the abstract, a published implementation guide and the authors' code.
"""

from claimlab.experiments.papers.dynamical_linear_bandits import comparisons, confidence, regret, system
from claimlab.experiments.papers.dynamical_linear_bandits.common import PAPER
from claimlab.experiments.papers.dynamical_linear_bandits.figures import FIGURES

CLAIMS = (*system.CLAIMS, *confidence.CLAIMS, *regret.CLAIMS, *comparisons.CLAIMS)

__all__ = ["CLAIMS", "FIGURES", "PAPER"]
