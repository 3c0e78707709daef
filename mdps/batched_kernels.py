"""Compiled loops over instances for :mod:`claimlab.mdps.batched`: plain functions that trust their arguments.

`batch` is an MDPBatch.  A kernel works on instances ``start`` to ``stop - 1`` and fills its last arguments.  Scratch is
allocated once a call.  Kernels whose sums may be reordered are those whose error bounds hold for
every order; what rounds outwards is not reordered.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from claimlab.checks import SUM_TOLERANCE, Array, Bools, Ints
from claimlab.mdps.blocks import BLOCK, full, load, store
from claimlab.mdps.kernels import LARGEST
from claimlab.mdps.soft_maximum import log_sum_exp
from claimlab.mdps.tabular import EPS, SUBNORMAL
from claimlab.native import fast_kernel, fast_part, kernel, part

IMPROVEMENTS = 10_000  # of one policy iteration at most; a handful is usual


@fast_part
def row_sum(P: Array, n: int, s: int, a: int) -> tuple[float, bool]:
    """The sum of a row, and whether an entry is negative."""
    total, negative = 0.0, False
    for t in range(P.shape[3]):
        total += P[n, s, a, t]
        negative |= P[n, s, a, t] < 0
    return total, negative


@kernel
def measure(P: Array, r: Array, actions: Bools, row_error: Array, start: int, stop: int) -> bool:
    """How far, at most, a row of each instance sums from 1, missing actions aside; and whether all is well."""
    _, S, A = r.shape
    sound = True
    for n in range(start, stop):
        worst = 0.0
        for s in range(S):
            available = False
            for a in range(A):
                if actions[n, s, a]:
                    available = True
                    total, negative = row_sum(P, n, s, a)
                    off = abs(total - 1)
                    sound = sound and off <= SUM_TOLERANCE and not negative and np.isfinite(r[n, s, a])
                    worst = max(worst, off)
            sound = sound and available
        row_error[n] = worst + S * EPS
    return sound


@kernel
def tableau(n: int, columns: int) -> Array:
    """Zeros for a system of `n` equations with so many right-hand sides, in whole blocks for :func:`eliminate`."""
    return np.zeros((n, -(-(n + columns) // BLOCK) * BLOCK))


@fast_kernel
def eliminate(M: Array, columns: int) -> None:
    """Solve the system in the first S columns of a :func:`tableau` for the next `columns`, in place, not pivoting."""
    S, width = len(M), len(M) + columns
    if S < BLOCK:
        for k in range(S):
            inverse = 1 / M[k, k]
            for i in range(k + 1, S):
                factor = M[i, k] * inverse
                if factor != 0:
                    for j in range(k + 1, width):
                        M[i, j] -= factor * M[k, j]
        for k in range(S - 1, -1, -1):
            for j in range(k + 1, S):
                factor = M[k, j]
                for c in range(S, width):
                    M[k, c] -= factor * M[j, c]
            inverse = 1 / M[k, k]
            for c in range(S, width):
                M[k, c] *= inverse
        return
    _triangular(M)
    for k in range(S - 1, -1, -1):
        inverse = 1 / M[k, k]
        for c in range(S, width):
            M[k, c] *= inverse
            for i in range(k):
                M[i, c] -= M[i, k] * M[k, c]


@fast_part
def _triangular(M: Array) -> None:
    """The forward half of :func:`eliminate`, two pivots at a time; what is left below the diagonal has no meaning."""
    S, step, flat = len(M), M.shape[1], M.reshape(M.size)
    for k in range(0, S - 1, 2):
        first, above = 1 / M[k, k], M[k, k + 1]
        factor = M[k + 1, k] * first
        second = 1 / (M[k + 1, k + 1] - factor * above)
        pivot, other = k * step, (k + 1) * step
        for j in range((k + 1) // BLOCK * BLOCK, step, BLOCK):
            store(flat, other + j, load(flat, other + j) - full(factor) * load(flat, pivot + j))
        for i in range(k + 2, S):
            factor = M[i, k] * first
            then, row = (M[i, k + 1] - factor * above) * second, i * step
            for j in range((k + 2) // BLOCK * BLOCK, step, BLOCK):
                entry = load(flat, row + j) - full(factor) * load(flat, pivot + j)
                store(flat, row + j, entry - full(then) * load(flat, other + j))


@kernel
def contraction(gamma: float, row_error: float) -> tuple[float, float]:
    """:func:`claimlab.mdps.certificates.contraction`; that the second is below 1 was checked."""
    return gamma * (1 - row_error), gamma * (1 + row_error)


@kernel
def series(low: float, high: float, slack: float, less: float, more: float) -> tuple[float, float]:
    """:func:`claimlab.mdps.certificates.series`, from the extremes of the residual."""
    slack += EPS * max(abs(low), abs(high))
    low -= slack
    high += slack
    factor = less if low >= 0 else more
    low = low * factor / (1 - factor) - slack
    factor = more if high >= 0 else less
    high = high * factor / (1 - factor) + slack
    return low - 4 * EPS * abs(low), high + 4 * EPS * abs(high)


@kernel
def rounding(operations: int, size: float, largest: float) -> float:
    """:func:`claimlab.mdps.tabular.rounding` for rewards of at most `size` and discounted values of `largest`."""
    return operations * (EPS * (size + largest) + SUBNORMAL)


@kernel
def minus(x: float, y: float) -> float:
    """Subtraction that is not mixed into the sums that made its operands."""
    return x - y


@fast_kernel
def largest_reward(r: Array, n: int) -> float:
    size = 0.0
    for s in range(r.shape[1]):
        for a in range(r.shape[2]):
            size = max(size, abs(r[n, s, a]))
    return size


@fast_kernel
def ahead(P: Array, n: int, s: int, a: int, v: Array) -> float:
    total = 0.0
    for t in range(v.size):
        total += P[n, s, a, t] * v[t]
    return total


@fast_kernel
def largest_of(x: Array) -> float:
    largest = 0.0
    for i in range(x.size):
        largest = max(largest, abs(x[i]))
    return largest


@kernel
def finite(x: Array) -> bool:
    """Whether no entry is infinite or NaN (which minima and maxima may overlook)."""
    total = 0.0
    for i in range(x.size):
        total += abs(x[i])
    return bool(np.isfinite(total))


@fast_kernel
def policy_iteration(
    P: Array,
    r: Array,
    gamma: Array,
    actions: Bools,
    row_error: Array,
    guessed: bool,
    start: int,
    stop: int,
    v: Array,
    policy: Ints,
    error: Array,
    iterations: Ints,
) -> None:
    """:func:`claimlab.mdps.planning.policy_iteration` on each instance: the best backup seen, with its certificate.

    The first policy looks two steps ahead: a backup is cheap, and saves every other instance an iteration.
    A switch is made where it is proved to improve, else on trial as long as the certificate halves and is above what
    rounding alone makes of it: so neither ties nor rounding make it cycle.  If `guessed`, there is only one backup and
    its certificate, that of `v` and `policy` as they are given.
    """
    _, S, A = r.shape
    M, x, tv, gain = tableau(S, 1), np.empty(S), np.empty(S), np.empty(S)
    chosen, greedy = np.empty(S, np.int64), np.empty(S, np.int64)
    for n in range(start, stop):
        size, g = largest_reward(r, n), gamma[n]
        less, more = contraction(g, row_error[n])
        for s in range(S):
            x[s] = -np.inf
            for a in range(A):
                if actions[n, s, a] and r[n, s, a] > x[s]:
                    x[s], chosen[s] = r[n, s, a], a
        for s in range(S):
            best = -np.inf
            for a in range(A):
                q = r[n, s, a] + g * ahead(P, n, s, a, x) if actions[n, s, a] else -np.inf
                if q > best:
                    best, chosen[s] = q, a
        if guessed:
            for s in range(S):
                x[s], chosen[s] = v[n, s], policy[n, s]
        tried = np.inf
        for iteration in range(1, IMPROVEMENTS + 1):
            if not guessed:
                for s in range(S):
                    for t in range(S):
                        M[s, t] = -g * P[n, s, chosen[s], t]
                    M[s, s] += 1.0
                    M[s, S] = r[n, s, chosen[s]]
                eliminate(M, 1)
                for s in range(S):
                    x[s] = M[s, S]
            low, high, residual, most = np.inf, -np.inf, 0.0, 0.0
            for s in range(S):
                best, own, greedy[s] = -np.inf, 0.0, chosen[s]
                for a in range(A):
                    if actions[n, s, a]:
                        q = r[n, s, a] + g * ahead(P, n, s, a, x)
                        if q > best:
                            best, greedy[s] = q, a
                        if a == chosen[s]:
                            own = q
                tv[s], gain[s], d = best, minus(best, own), minus(best, x[s])
                most, residual = max(most, gain[s]), max(residual, abs(minus(own, x[s])))
                low, high = min(low, d), max(high, d)
            slack = rounding(S + 4, size, g * largest_of(x))
            below, above = series(low, high, slack, less, more)
            middle = (below + above) / 2
            found = (above - below) / 2 + EPS * (largest_of(tv) + 2 * (abs(below) + abs(above)))
            if not (finite(x) and finite(tv)):
                found = np.inf
            if iteration == 1 or found < error[n]:
                error[n] = found
                for s in range(S):
                    v[n, s], policy[n, s] = tv[s] + middle, greedy[s]
            if guessed:
                break
            iterations[n] = iteration
            proved = 2 * ((residual + 2 * slack) / (1 - more) + slack)
            if not most > proved:
                below, above = series(0.0, 0.0, slack, less, more)
                if not most > 0 or not found < tried / 2 or found <= above - below:
                    break
                tried, proved = found, 0.0
            for s in range(S):
                if gain[s] > proved:
                    chosen[s] = greedy[s]


@fast_kernel
def backup(batch: Any, v: Array, start: int, stop: int, q: Array, error: Array) -> None:
    """Action values one step ahead of `v`, minus infinity for missing actions, and what they may be off by."""
    P, r, gamma = batch.P, batch.r, batch.gamma
    _, S, A = r.shape
    for n in range(start, stop):
        for s in range(S):
            for a in range(A):
                q[n, s, a] = r[n, s, a] + gamma[n] * ahead(P, n, s, a, v[n]) if batch.actions[n, s, a] else -np.inf
        error[n] = rounding(S + 4, largest_reward(r, n), gamma[n] * largest_of(v[n]))


@fast_kernel
def mixed(P: Array, pi: Array, n: int, s: int, t: int) -> float:
    total = 0.0
    for a in range(pi.shape[2]):
        total += pi[n, s, a] * P[n, s, a, t]
    return total


@part
def row_excess(pi: Array, n: int) -> float:
    """Bound on how far a row of `pi` sums above 1."""
    excess = 0.0
    for s in range(pi.shape[1]):
        total = 0.0
        for a in range(pi.shape[2]):
            total += pi[n, s, a]
        excess = max(excess, total - 1)
    return excess + pi.shape[2] * EPS


@fast_kernel
def evaluate(batch: Any, pi: Array, start: int, stop: int, v: Array, error: Array) -> None:
    """:func:`claimlab.mdps.planning.policy_value` of a stochastic policy on each instance."""
    P, r = batch.P, batch.r
    _, S, A = r.shape
    M, x = tableau(S, 1), np.empty(S)
    for n in range(start, stop):
        g, excess = batch.gamma[n], row_excess(pi, n)
        for s in range(S):
            for t in range(S):
                M[s, t] = -g * mixed(P, pi, n, s, t)
            M[s, s] += 1.0
            M[s, S] = 0.0
            for a in range(A):
                M[s, S] += pi[n, s, a] * r[n, s, a]
        eliminate(M, 1)
        for s in range(S):
            v[n, s] = x[s] = M[s, S]
        residual = 0.0
        for s in range(S):
            total = 0.0
            for a in range(A):
                total += pi[n, s, a] * (r[n, s, a] + g * ahead(P, n, s, a, x))
            residual = max(residual, abs(minus(total, x[s])))
        residual += 2 * (1 + excess) * rounding(S + 4 + A, largest_reward(r, n), g * largest_of(x))
        factor = contraction(g, batch.row_error[n])[1] * (1 + excess)
        error[n] = (1 + 8 * EPS) * residual / (1 - factor) if factor < 1 and finite(x) else np.inf


@fast_kernel
def occupy(batch: Any, pi: Array, first: Array, start: int, stop: int, visits: Array, error: Array) -> None:
    r"""Solve :math:`x = (1-\gamma)\mu + \gamma P_\pi^T x` on each instance; the error is in L1.

    :math:`\gamma P_\pi^T` contracts in L1, so a residual counts 1 / (1 - factor) times; each of its entries is a sum of
    S + A + 4 operations, the entries of a column of :math:`P_\pi` sum to about 1, and a share of `x` rounds once.
    """
    P = batch.P
    _, S, A = pi.shape
    M, x = tableau(S, 1), np.empty(S)
    for n in range(start, stop):
        g, excess = batch.gamma[n], row_excess(pi, n)
        factor = contraction(g, batch.row_error[n])[1] * (1 + excess)
        for t in range(S):
            for s in range(S):
                M[t, s] = -g * mixed(P, pi, n, s, t)
            M[t, t] += 1.0
            M[t, S] = (1 - g) * first[n, t]
        eliminate(M, 1)
        residual, mass = 0.0, 1.0
        for s in range(S):
            x[s] = M[s, S]
            mass += abs(x[s])
            for a in range(A):
                visits[n, s, a] = x[s] * pi[n, s, a]
        for t in range(S):
            total = (1 - g) * first[n, t] - x[t]
            for s in range(S):
                total += g * x[s] * mixed(P, pi, n, s, t)
            residual += abs(total)
        residual += (S + A + 8) * (EPS * mass + S * A * SUBNORMAL)
        error[n] = (1 + excess + 8 * EPS) * residual / (1 - factor) + 2 * EPS * mass if factor < 1 else np.inf


@fast_kernel
def soft_policy_iteration(
    batch: Any, soft: Any, tol: float, start: int, stop: int, v: Array, q: Array, pi: Array, error: Array, count: Ints
) -> None:
    """:func:`claimlab.mdps.regularized.soft_policy_iteration` on each instance."""
    P, r, b, log_b, offset = batch.P, batch.r, soft.b, soft.log_b, soft.offset
    _, S, A = r.shape
    M, x, tv = tableau(S, 1), np.empty(S), np.empty(S)
    for n in range(start, stop):
        size, g, T = largest_reward(r, n), batch.gamma[n], soft.alpha[n]
        less, more = contraction(g, batch.row_error[n])
        x[:] = 0.0
        below, above, best, stalled = -np.inf, np.inf, np.inf, 0
        for iteration in range(1, IMPROVEMENTS + 1):
            low, high, lost = np.inf, -np.inf, 0.0
            for s in range(S):
                for a in range(A):
                    q[n, s, a] = r[n, s, a] + g * ahead(P, n, s, a, x)
                tv[s], loss = log_sum_exp(q[n, s], T, b[n, s], log_b[n, s], offset[n, s], pi[n, s])
                lost = max(lost, loss)
                d = minus(tv[s], x[s])
                low, high = min(low, d), max(high, d)
            slack = rounding(S + 4, size, g * largest_of(x)) + EPS * lost + (A + 4) * max(T, 1.0) * SUBNORMAL
            below, above = series(low, high, slack, less, more)
            floor_below, floor_above = series(0.0, 0.0, slack, less, more)
            width, floor = above - below, floor_above - floor_below
            stalled = stalled + 1 if best <= width <= 100 * floor else 0
            count[n] = iteration
            # half a tolerance, since the bound on q adds the rounding of one more backup
            if width <= tol or width <= 2 * floor or stalled > 50 or not (width <= LARGEST and finite(tv)):
                break
            best = min(best, width)
            for s in range(S):
                for t in range(S):
                    M[s, t] = -g * mixed(P, pi, n, s, t)
                M[s, s] += 1.0
                M[s, S] = tv[s] - x[s]
            eliminate(M, 1)
            for s in range(S):
                x[s] += M[s, S]
        for s in range(S):
            v[n, s] = x[s] = tv[s] + (below + above) / 2
        off = (above - below) / 2 + EPS * (largest_of(x) + abs(below) + abs(above))
        error[n] = max(off, more * off + rounding(S + 4, size, g * largest_of(x))) if finite(x) else np.inf
        for s in range(S):
            for a in range(A):
                q[n, s, a] = r[n, s, a] + g * ahead(P, n, s, a, x)
            log_sum_exp(q[n, s], T, b[n, s], log_b[n, s], offset[n, s], pi[n, s])


@fast_kernel
def backward_induction(batch: Any, start: int, stop: int, v: Array, policy: Ints, error: Array) -> None:
    """:func:`claimlab.mdps.episodic.backward_induction` on each instance; ``v[n, -1]`` is filled already."""
    P, r, actions = batch.P, batch.r, batch.actions
    _, S, A = r.shape
    for n in range(start, stop):
        size = largest_reward(r, n)
        error[n] = 0.0
        for h in range(policy.shape[1] - 1, -1, -1):
            for s in range(S):
                best = -np.inf
                for a in range(A):
                    if actions[n, s, a]:
                        q = r[n, s, a] + ahead(P, n, s, a, v[n, h + 1])
                        if q > best:
                            best, policy[n, h, s] = q, a
                v[n, h, s] = best
            error[n] = (1 + batch.row_error[n]) * error[n] + rounding(S + 4, size, largest_of(v[n, h + 1]))
        if not finite(v[n, 0]):
            error[n] = np.inf
