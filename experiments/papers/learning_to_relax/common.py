"""temporary"""
from functools import partial
from claimlab.theory.claims import Claim, Paper
PAPER = Paper(slug="learning-to-relax", title="Learning to Relax: Setting Solver Parameters Across a Sequence of Linear System Instances", authors="Mikhail Khodak, Edmond Chow, Maria-Florina Balcan, Ameet Talwalkar", venue="ICLR 2024", arxiv="2310.02246", tier="theory-checkable")
claim = partial(Claim, paper=PAPER)
