"""FTPedel (Wagenmaker & Pacchiano 2023, arXiv 2211.04974): how many online episodes do offline data save?

The published constants are partly unknown to us; the theorem under test is a derived one with its proof in
:mod:`claimlab.mdps.fine_tuning`, and the published constant is its preset ``published_beta``.
"""

from claimlab.experiments.papers.ftpedel import (
    baselines,
    coefficient,
    figures,
    frank_wolfe,
    learning,
    linear,
    modes,
    online_design,
    reuse,
    separation,
)
from claimlab.experiments.papers.ftpedel.common import PAPER

CLAIMS = (
    *coefficient.CLAIMS,
    *learning.CLAIMS,
    *reuse.CLAIMS,
    *modes.CLAIMS,
    *separation.CLAIMS,
    *linear.CLAIMS,
    *frank_wolfe.CLAIMS,
    *online_design.CLAIMS,
    *baselines.CLAIMS,
)
FIGURES = (*figures.FIGURES, *frank_wolfe.FIGURES, *baselines.FIGURES)

__all__ = ["CLAIMS", "FIGURES", "PAPER"]
