r"""When is Realizability Sufficient for Off-Policy Reinforcement Learning? (Zanette 2023)

Off-policy evaluation with a class that holds the truth: the error depends on concentrability, on the size of the class
and on its incompleteness beta, and on no approximation error.  The published theorem leaves its constant open; the
theorem under test is ours, with constant 5 and proof in :mod:`claimlab.theory.realizability`.  Problems are chains on
few pairs, so that everything but the data is exact.
"""

from __future__ import annotations

from claimlab.experiments.papers.realizability import classes, samples
from claimlab.experiments.papers.realizability.common import PAPER, problem, two_states
from claimlab.experiments.papers.realizability.figures import FIGURES

CLAIMS = (*classes.CLAIMS, *samples.CLAIMS)

__all__ = ["CLAIMS", "FIGURES", "PAPER", "problem", "two_states"]
