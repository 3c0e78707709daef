"""The kernels of :mod:`claimlab.mdps.batched` for the long-run average reward; see :mod:`claimlab.mdps.average`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from claimlab.checks import Array, Bools, Ints
from claimlab.mdps.batched_kernels import ahead, finite, largest_of, largest_reward, minus, rounding
from claimlab.mdps.tabular import EPS
from claimlab.native import fast_kernel, fast_part, kernel, part

DAMPING = 0.75  # the share of a step that is taken; below 1, so that every chain becomes aperiodic
FIRST_LOOK = 32  # sweeps before it is asked whether the gain varies; then after twice as many each time


class Step(NamedTuple):
    """An undiscounted backup ``tv`` of ``v`` and its greedy policy."""

    v: Array  # [S]
    tv: Array  # [S]
    greedy: Ints  # [S]


@fast_part
def average_sweep(P: Array, r: Array, actions: Bools, n: int, step: Step) -> tuple[float, float]:
    """Fill in the backup of ``step.v``; returns the extremes of ``tv - v``."""
    _, S, A = r.shape
    low, high = np.inf, -np.inf
    for s in range(S):
        best = -np.inf
        for a in range(A):
            if actions[n, s, a]:
                q = r[n, s, a] + ahead(P, n, s, a, step.v)
                if q > best:
                    best, step.greedy[s] = q, a
        step.tv[s] = best
        d = minus(best, step.v[s])
        low, high = min(low, d), max(high, d)
    return low, high


@part
def censor(P: Array, r: Array, n: int, policy: Ints, order: Ints, W: Array, h: Array) -> int:
    """Relative values of `policy` that vanish in state ``order[-1]``, by eliminating all others in that `order`.

    Grassmann, Taksar & Heyman (1985): what is left of :math:`1 - p_{kk}` is taken as the sum of the chances to leave,
    so nothing cancels.  Returns -1, or the position of a state from which the states after it cannot be reached.
    """
    S = order.size
    for i in range(S):
        s, total = order[i], 0.0
        for j in range(S):
            W[i, j] = P[n, s, policy[s], order[j]]
            total += W[i, j]
        for j in range(S):
            W[i, j] /= total
        W[i, S], W[i, S + 1] = r[n, s, policy[s]], 1.0
    for k in range(S - 1):
        leave = 0.0
        for j in range(k + 1, S):
            leave += W[k, j]
        if leave <= 0:
            return k
        W[k, k] = leave
        for i in range(k + 1, S):
            factor = W[i, k] / leave
            if factor != 0:
                for j in range(k + 1, S + 2):
                    W[i, j] += factor * W[k, j]
    gain = W[S - 1, S] / W[S - 1, S + 1]
    h[order[S - 1]] = 0.0
    for k in range(S - 2, -1, -1):
        total = W[k, S] - gain * W[k, S + 1]
        for j in range(k + 1, S):
            total += W[k, j] * h[order[j]]
        h[order[k]] = total / W[k, k]
    return -1


@kernel
def relative_values(P: Array, r: Array, n: int, policy: Ints, order: Ints, W: Array, h: Array) -> bool:
    """Relative values of `policy`; False if it has two recurrent classes, or values beyond float64."""
    S = order.size
    for s in range(S):
        order[s] = s
    stuck = censor(P, r, n, policy, order, W, h)
    if stuck >= 0:
        order[stuck], order[S - 1] = order[S - 1], order[stuck]  # a recurrent state: every other must reach it
        stuck = censor(P, r, n, policy, order, W, h)
    return stuck < 0 and finite(h)


@part
def gain_varies(P: Array, actions: Bools, n: int, step: Step, slack: float, upper: Array, lower: Array) -> bool:
    """Whether the bounds of two states on the optimal gain are disjoint (see :mod:`claimlab.mdps.average`)."""
    S, A = actions.shape[1:]
    for s in range(S):
        upper[s] = lower[s] = step.tv[s] - step.v[s]
    changed = True
    while changed:
        changed = False
        for s in range(S):
            for a in range(A):
                if actions[n, s, a]:
                    for t in range(S):
                        if P[n, s, a, t] > 0:
                            if upper[t] > upper[s]:
                                upper[s], changed = upper[t], True
                            if a == step.greedy[s] and lower[t] < lower[s]:
                                lower[s], changed = lower[t], True
    most, least = -np.inf, np.inf
    for s in range(S):
        least, most = min(least, upper[s]), max(most, lower[s])
    return least + slack < most - slack


@kernel
def centre(v: Array) -> None:
    low, high = np.inf, -np.inf
    for s in range(v.size):
        low, high = min(low, v[s]), max(high, v[s])
    for s in range(v.size):
        v[s] -= (low + high) / 2  # a small v rounds little


@kernel
def replace(policy: Ints, by: Ints) -> bool:
    """Overwrite `policy`; whether that changed it."""
    changed = False
    for s in range(policy.size):
        changed = changed or policy[s] != by[s]
        policy[s] = by[s]
    return changed


@fast_kernel
def relative_value_iteration(batch: Any, tol: float, max_sweeps: int, start: int, stop: int, found: Any) -> None:
    """:func:`claimlab.mdps.average.relative_value_iteration` on each instance.

    The relative values of each new greedy policy are tried as `v` and kept if they narrow the bounds.
    """
    P, r, actions = batch.P, batch.r, batch.actions
    _, S, _ = r.shape
    here = Step(np.empty(S), np.empty(S), np.empty(S, np.int64))
    jump = Step(np.empty(S), np.empty(S), np.empty(S, np.int64))
    jumped, order, W = np.empty(S, np.int64), np.empty(S, np.int64), np.empty((S, S + 2))
    upper, lower = np.empty(S), np.empty(S)
    for n in range(start, stop):
        size, best, stalled, count, varies = largest_reward(r, n), np.inf, 0, 1, False
        for s in range(S):
            here.v[s], jumped[s] = 0.0, -1
        low, high = average_sweep(P, r, actions, n, here)
        while True:
            largest = largest_of(here.v)
            slack = rounding(S + 4, size, largest) + 2 * batch.row_error[n] * largest
            slack += 4 * EPS * max(abs(low), abs(high))  # for tv - v, and for the middle and the width of the bounds
            width = high - low + 2 * slack
            stalled = stalled + 1 if best <= width <= 200 * slack else 0
            reached, sound = width / 2 <= tol, finite(here.tv)
            end = reached or not sound or count >= max_sweeps or stalled > 50 + S
            best = min(best, width)
            if end or (count >= FIRST_LOOK and count & (count - 1) == 0):
                varies = sound and not reached and gain_varies(P, actions, n, here, 2 * slack, upper, lower)
            if end or varies:
                break
            if replace(jumped, here.greedy) and relative_values(P, r, n, jumped, order, W, jump.v):
                centre(jump.v)
                below, above = average_sweep(P, r, actions, n, jump)
                if above - below < high - low:
                    here, jump = jump, here
                    low, high, count = below, above, count + 1
                    continue
            for s in range(S):
                here.v[s] += DAMPING * (here.tv[s] - here.v[s])
            centre(here.v)
            low, high = average_sweep(P, r, actions, n, here)
            count += 1
        found.gain[n], found.error[n] = (low + high) / 2, width / 2 if sound else np.inf
        found.iterations[n], found.varies[n] = count, varies
        for s in range(S):
            found.bias[n, s], found.policy[n, s] = here.v[s] - here.v[0], here.greedy[s]
