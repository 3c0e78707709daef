"""FTPedel (Wagenmaker & Pacchiano 2023, arXiv 2211.04974): how many online episodes do offline data save?"""

from claimlab.experiments.papers.ftpedel import figures, frank_wolfe, linear
from claimlab.experiments.papers.ftpedel.common import PAPER

CLAIMS = (*linear.CLAIMS, *frank_wolfe.CLAIMS)
FIGURES = (*figures.FIGURES, *frank_wolfe.FIGURES)

__all__ = ["CLAIMS", "FIGURES", "PAPER"]
