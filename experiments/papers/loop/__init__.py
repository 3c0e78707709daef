"""LOOP (He, Zhong & Yang 2024, arXiv 2404.12648): average-reward MDPs with general function approximation.

The paper's constants are partly unknown to us, so the theorems under test carry our own, with proofs in
:mod:`claimlab.theory.loop`; its printed forms are presets beside them.
"""

from claimlab.experiments.papers.loop import (
    coefficients,
    comparators,
    confidence,
    discrepancies,
    growth,
    planning,
    regret,
    switching,
    variants,
)
from claimlab.experiments.papers.loop.common import PAPER
from claimlab.experiments.papers.loop.figures import FIGURES

CLAIMS = (
    *discrepancies.CLAIMS,
    *coefficients.CLAIMS,
    *confidence.CLAIMS,
    *variants.CLAIMS,
    *switching.CLAIMS,
    *planning.CLAIMS,
    *regret.CLAIMS,
    *growth.CLAIMS,
    *comparators.CLAIMS,
)

__all__ = ["CLAIMS", "FIGURES", "PAPER"]
