r"""Fixed points of the optimality operators that are not one maximum: against nature, against an opponent.

Such an operator :math:`T` is monotone and shifts constants, :math:`T(v + k) = Tv + \gamma k`, so the certificate of
:mod:`claimlab.mdps.certificates` holds for it, widened by the error of the computed backup.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from claimlab import checks
from claimlab.checks import Array
from claimlab.mdps.certificates import Progress
from claimlab.mdps.tabular import EPS, TabularMDP


class Backup(NamedTuple):
    """An operator at `v`, and how to go on from there."""

    tv: Array  # [S]
    slack: float  # bound on the error of `tv`
    jump: Callable[[bool], Array]  # the next v; the argument asks for a way that is proved to converge


class FixedPoint(NamedTuple):
    """The best enclosure that was reached."""

    v: Array  # [S], its middle
    error: float  # certified bound on max |v - v*|
    at: Array  # [S], where the operator was taken
    iterations: int


def fixed_point(
    mdp: TabularMDP, operator: Callable[[Array], Backup], tol: float, *, jumps: bool, limit: int
) -> FixedPoint:
    """Iterate `operator` from 0 until the span certificate falls to `tol`, or to the floor of float64.

    Without `jumps` the next v is the middle of the enclosure, which is value iteration.  With them it is what `jump`
    says, the fast way first, and the proved one from the first time that the fast way did not narrow the enclosure.
    """
    checks.interval("tol", tol, 0, np.inf, "()")
    v, iterations, proved, progress = np.zeros(mdp.n_states), 0, False, Progress(mdp, tol)
    while True:
        backup = operator(v)
        iterations += 1
        d, best = backup.tv - v, progress.best
        low, high, over = progress.bounds(float(d.min()), float(d.max()), backup.slack)
        middle = backup.tv + (low + high) / 2
        if over or iterations >= limit:
            error = (high - low) / 2 + EPS * float(abs(middle).max() + abs(low) + abs(high))
            return FixedPoint(middle, error, v, iterations)
        proved = proved or high - low >= best
        v = backup.jump(proved) if jumps else middle
