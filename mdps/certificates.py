r"""What a solver's answer is worth: bounds on its error that hold in float64, and when to stop.

Let :math:`T` be the optimality operator and :math:`a \le (Tv - v)(s) \le b` for all `s`.  Since `T` is monotone and
:math:`T(v + k) = Tv + \gamma k` for constants `k`,

.. math:: Tv + \tfrac{\gamma}{1-\gamma} a \;\le\; v^\pi \;\le\; v^* \;\le\; Tv + \tfrac{\gamma}{1-\gamma} b

for the policy :math:`\pi` that is greedy for `v` (MacQueen 1966; Puterman 2005, Theorem 6.6.3).  In float64 the backup
is off by at most `slack`, which widens `a`, `b` and both ends, and rows of `P` sum to 1 within ``mdp.row_error``: then
:math:`T(v + k)` lies between :math:`Tv + \gamma(1 \pm \epsilon) k`, and each geometric series takes the factor that is
worse for its sign.  So the bounds hold for the stored numbers, not for an idealised MDP.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from claimlab.checks import Array, Ints
from claimlab.mdps.tabular import EPS, TabularMDP, rounding


class NotConverged(RuntimeError):
    """The requested tolerance was not reached; `solution` is the best there is, with its certificate."""

    def __init__(self, message: str, solution: Any) -> None:
        super().__init__(message)
        self.solution = solution


class Solution(NamedTuple):
    """A solution with its own certificate."""

    v: Array  # [S]
    policy: Ints  # [S], greedy; its own value lies within 2 * error of the optimum
    error: float  # certified bound on max |v - v*|
    iterations: int


class Evaluation(NamedTuple):
    """The value of a policy with its certificate."""

    v: Array  # [S]
    error: float  # certified bound on max |v - v_pi|


def contraction(mdp: TabularMDP) -> tuple[float, float]:
    """Bounds on gamma times the row sums of `P`, outward-rounded; an error where they do not prove a contraction."""
    less, more = mdp.gamma * (1 - mdp.row_error), mdp.gamma * (1 + mdp.row_error)  # row_error holds an EPS to spare
    if more >= 1:
        raise ValueError(
            f"gamma = {mdp.gamma!r} is so close to 1 that rows of P summing to 1 within {mdp.row_error:.2g} "
            "need not make a contraction; normalise the rows of P."
        )
    return less, more


def certify(mdp: TabularMDP, v: Array, tv: Array) -> tuple[float, float]:
    """Shifts `low`, `high` with ``tv + low <= v_pi <= v* <= tv + high``, where `tv` is the computed backup of `v`."""
    return series(mdp, tv - v, rounding(mdp, v, mdp.gamma))


def series(mdp: TabularMDP, d: Array, slack: float) -> tuple[float, float]:
    r"""`low` and `high` such that a fixed point lies between `tv` + these, from ``d = tv - v`` and the error of `tv`.

    They are :math:`\tfrac{\gamma}{1-\gamma}` times the extremes of `d`, with every rounding outward (see the module).
    """
    return _series(mdp, float(d.min()), float(d.max()), slack)


def _series(mdp: TabularMDP, low: float, high: float, slack: float) -> tuple[float, float]:
    less, more = contraction(mdp)
    slack += EPS * max(abs(low), abs(high))  # the subtraction
    low, high = low - slack, high + slack

    def geometric(x: float, factor: float) -> float:
        return x * factor / (1 - factor)

    low = geometric(low, less if low >= 0 else more) - slack
    high = geometric(high, more if high >= 0 else less) + slack
    return low - 4 * EPS * abs(low), high + 4 * EPS * abs(high)


def conclude(mdp: TabularMDP, v: Array, tv: Array, policy: Ints, iterations: int) -> Solution:
    return middle(tv, policy, *certify(mdp, v, tv), iterations)


def middle(tv: Array, policy: Ints, low: float, high: float, iterations: int) -> Solution:
    centre = tv + (low + high) / 2
    error = (high - low) / 2 + EPS * float(abs(centre).max() + abs(low) + abs(high))
    return Solution(centre, policy, error, iterations)


class Progress:
    """Whether the certificate has arrived at `tol`, or at the floor of float64, or has stopped falling near it.

    A tolerance below the floor is given up once the certificate is down to a small multiple of what it would be without
    any residual and has stopped falling; further away the span may rise for a while, since one improvement may change
    one state of a long chain.
    """

    def __init__(self, mdp: TabularMDP, tol: float) -> None:
        self.mdp, self.tol, self.best, self.stalled = mdp, tol, np.inf, 0

    def bounds(self, least: float, most: float, slack: float) -> tuple[float, float, bool]:
        """Shifts of a backup that enclose the optimum, and whether to stop with them.

        `least` and `most` are the extremes of the backup less the values, `slack` bounds the backup's error.
        """
        low, high = _series(self.mdp, least, most, slack)
        bottom, top = _series(self.mdp, 0.0, 0.0, slack)
        floor = top - bottom
        self.stalled = self.stalled + 1 if self.best <= high - low <= 100 * floor else 0
        reached = high - low <= 1.99 * self.tol or high - low <= 2 * floor  # the middle of the bounds rounds once more
        over = reached or self.stalled > 50 or not np.isfinite(high - low)
        self.best = min(self.best, high - low)
        return low, high, over
