"""The soft maximum over the actions of one state, with its rounding: what all soft planning is made of."""

from __future__ import annotations

from math import exp, expm1, log, log1p

import numpy as np

from claimlab.checks import Array
from claimlab.native import kernel


@kernel
def log_sum_exp(q: Array, alpha: float, b: Array, log_b: Array, offset: float, pi: Array) -> tuple[float, float]:
    r"""The soft maximum of q[A] plus `offset`, and its rounding in units of EPS; `pi`, float[A], becomes its policy.

    With c the maximum of q on the support of b and x = (q - c) / alpha <= 0, it is c + alpha log sum b exp(x).  Where
    the spread of q is at most alpha, log1p(sum b expm1(x)) has an error relative to that spread; elsewhere log-sum-exp
    of x + log b has one relative to alpha < spread.  The bounds: x is off by `EPS |x|`, functions by four units in the
    last place, sums of A terms by A EPS / 2; expm1 and log1p multiply by at most 2 on that range, and the mean of `|x|`
    under pi is at most `log A + max |log b|`, because log pi = x + log b - log sum b exp(x).
    """
    A = q.size
    c, least, top, widest = -np.inf, np.inf, -np.inf, 0.0
    for a in range(A):
        if b[a] > 0:
            c, least, widest = max(c, q[a]), min(least, q[a]), max(widest, abs(log_b[a]))
    for a in range(A):
        pi[a] = (q[a] - c) / alpha + log_b[a] if b[a] > 0 else -np.inf
        top = max(top, pi[a])
    total, z = 0.0, 0.0
    near = (least - c) / alpha >= -1
    for a in range(A):
        if near and b[a] > 0:
            z += b[a] * expm1((q[a] - c) / alpha)
        pi[a] = exp(pi[a] - top)
        total += pi[a]
    for a in range(A):
        pi[a] /= total
    rise = alpha * (log1p(z) if near else top + log(total))
    lost = (4 * A + 32) * abs(rise) if near else (A + 32) * (1 + log(A) + widest) * alpha
    return c + offset + rise, lost + 8 * (abs(c) + abs(offset) + abs(rise))
