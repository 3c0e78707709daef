"""StepMix and EpsMix (Li, Huang, Shen & Yang 2023, arXiv 2306.06265): exploration with a floor under every episode.

The published constants are partly unknown to us, so the theorems under test are derived ones with their proofs in
:mod:`claimlab.mdps.confidence`, :mod:`claimlab.mdps.conservative` and :mod:`claimlab.theory.conservative`; the
published bonuses are ``BernsteinSets`` and the published order is ``theory.conservative.published_regret``.
"""

from claimlab.experiments.papers.stepmix import certificates, growth, mixtures, offline, price, safety
from claimlab.experiments.papers.stepmix.common import PAPER
from claimlab.experiments.papers.stepmix.figures import FIGURES

CLAIMS = (
    *certificates.CLAIMS,
    *mixtures.CLAIMS,
    *safety.CLAIMS,
    *price.CLAIMS,
    *growth.CLAIMS,
    *offline.CLAIMS,
)

__all__ = ["CLAIMS", "FIGURES", "PAPER"]
