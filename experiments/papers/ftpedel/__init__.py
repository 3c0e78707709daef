"""FTPedel (Wagenmaker & Pacchiano 2023, arXiv 2211.04974): how many online episodes do offline data save?"""

from claimlab.experiments.papers.ftpedel import coefficient, learning, linear, separation
from claimlab.experiments.papers.ftpedel.common import PAPER
from claimlab.experiments.papers.ftpedel.figures import FIGURES

CLAIMS = (*coefficient.CLAIMS, *learning.CLAIMS, *separation.CLAIMS, *linear.CLAIMS)

__all__ = ["CLAIMS", "FIGURES", "PAPER"]
