"""Policy iteration on eight small MDPs at a time, one to each lane of the vector registers.

The rows of a small matrix are too short for vectors, and its branches too many; but what one instance needs, its
neighbours need too.  Entry `i` of an instance's array lies at ``BLOCK * i + lane`` here.  Lanes do not meet, so that an
instance has the same solution in any company.  Compiled code only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from claimlab.checks import Array, Bools, Ints
from claimlab.mdps.batched_kernels import IMPROVEMENTS
from claimlab.mdps.blocks import (
    BLOCK,
    full,
    load,
    prefetch,
    store,
    transpose,
    where_at_least,
    where_equal,
    where_greater,
)
from claimlab.mdps.kernels import LARGEST
from claimlab.mdps.tabular import EPS, SUBNORMAL
from claimlab.native import kernel, part

Block = Any  # of compiled code, see claimlab.mdps.blocks


@kernel
def room(n: int) -> Array:
    """`n` blocks of zeros, the first where a cache line begins."""
    x = np.zeros((n + 1) * BLOCK)
    first = -(x.ctypes.data // 8) % BLOCK
    return x[first : first + n * BLOCK]


@kernel
def gather(x: Array, start: int, size: int, last: int, out: Array) -> None:
    """Rows of `size` entries of the flat `x` from row `start` on, to the lanes up to `last` and that one repeated."""
    if size < BLOCK:
        for lane in range(BLOCK):
            for i in range(size):
                out[BLOCK * i + lane] = x[(start + min(lane, last)) * size + i]
        return
    for i in range(0, size - BLOCK + 1, BLOCK):
        transpose(x, start * size + i, size, last, out, BLOCK * i)
    if size % BLOCK:
        transpose(x, (start + 1) * size - BLOCK, size, last, out, BLOCK * (size - BLOCK))


@part
def greatest(x: Block, y: Block) -> Block:
    return where_greater(x, y, x, y)


@part
def magnitude(x: Block) -> Block:
    return greatest(x, full(0.0) - x)


@kernel
def largest_of(x: Array) -> Block:
    largest = full(0.0)
    for i in range(0, x.size, BLOCK):
        largest = greatest(magnitude(load(x, i)), largest)
    return largest


@part
def best_rewards(r: Array, S: int, A: int, x: Array, chosen: Array) -> None:
    """The largest reward of each state, and the first of its actions with that."""
    for s in range(S):
        best, action = load(r, BLOCK * s * A), full(0.0)
        for a in range(1, A):
            reward = load(r, BLOCK * (s * A + a))
            action = where_greater(reward, best, full(float(a)), action)
            best = greatest(reward, best)
        store(x, BLOCK * s, best)
        store(chosen, BLOCK * s, action)


@part
def equations(P: Array, r: Array, gamma: Block, chosen: Array, S: int, A: int, M: Array) -> None:
    """The systems of the chosen actions, ``M[s, :S] = I - gamma * P`` and ``M[s, S] = r``."""
    factor = full(0.0) - gamma
    for s in range(S):
        action, row = load(chosen, BLOCK * s), BLOCK * s * (S + 1)
        for a in range(A):  # action 0 everywhere, then what lanes have chosen instead
            here, first = (full(float(a)) if a > 0 else action), BLOCK * (s * A + a) * S
            for i in range(0, BLOCK * S, BLOCK):
                store(M, row + i, where_equal(action, here, factor * load(P, first + i), load(M, row + i)))
            at = row + BLOCK * S
            store(M, at, where_equal(action, here, load(r, BLOCK * (s * A + a)), load(M, at)))
        at = row + BLOCK * s
        store(M, at, load(M, at) + full(1.0))


@kernel
def eliminate(M: Array, S: int, x: Array) -> None:
    """Solve the systems in `M`, without pivoting and two pivots at a time; `M` is overwritten."""
    width, one = BLOCK * (S + 1), full(1.0)
    for k in range(0, S - 1, 2):
        pivot, other, begin = k * width, (k + 1) * width, BLOCK * (k + 2)
        diagonal = pivot + BLOCK * k
        first, above = one / load(M, diagonal), load(M, diagonal + BLOCK)
        factor = load(M, diagonal + width) * first
        second = one / (load(M, diagonal + width + BLOCK) - factor * above)
        store(M, diagonal, first)
        store(M, diagonal + width + BLOCK, second)
        for j in range(begin, width, BLOCK):
            store(M, other + j, load(M, other + j) - factor * load(M, pivot + j))
        for i in range(k + 2, S):
            row = i * width
            factor = load(M, row + BLOCK * k) * first
            then = (load(M, row + BLOCK * (k + 1)) - factor * above) * second
            for j in range(begin, width, BLOCK):
                entry = load(M, row + j) - factor * load(M, pivot + j)
                store(M, row + j, entry - then * load(M, other + j))
    if S % 2:
        at = S * width - 2 * BLOCK
        store(M, at, one / load(M, at))
    for k in range(S - 1, -1, -1):
        row = k * width
        left = load(M, row + BLOCK * S)
        for j in range(BLOCK * (k + 1), BLOCK * S, BLOCK):
            left = left - load(M, row + j) * load(x, j)
        store(x, BLOCK * k, left * load(M, row + BLOCK * k))


@kernel
def improve(
    P: Array,
    r: Array,
    gamma: Block,
    x: Array,
    S: int,
    A: int,
    chosen: Array,
    tv: Array,
    greedy: Array,
    gain: Array,
    soon: Array,
    place: int,
) -> tuple[Block, Block, Block, Block, Block]:
    """One backup of `x`, and the cache lines of `soon` from `place` on asked for, one to each block of `P`.

    Returns the least and the largest change, the largest residual and gain of the chosen actions, and the sum of the
    magnitudes of all values, which is not finite if one is not.
    """
    zero = full(0.0)
    low, high, residual, most, total = full(np.inf), full(-np.inf), zero, zero, zero
    for s in range(0, BLOCK * S, BLOCK):
        action, now = load(chosen, s), load(x, s)
        best, own, arg = full(-np.inf), zero, action
        for a in range(A):
            expected, row = zero, (s * A + BLOCK * a) * S
            for t in range(0, BLOCK * S, BLOCK):
                prefetch(soon, place + row + t)
                expected = expected + load(P, row + t) * load(x, t)
            q, here = load(r, s * A + BLOCK * a) + gamma * expected, full(float(a))
            own = where_equal(action, here, q, own)
            arg = where_greater(q, best, here, arg)
            best = greatest(q, best)
        change, more = best - now, best - own
        store(tv, s, best)
        store(greedy, s, arg)
        store(gain, s, more)
        low, high = where_greater(low, change, change, low), greatest(change, high)
        residual, most = greatest(magnitude(own - now), residual), greatest(more, most)
        total = total + (magnitude(best) + magnitude(now))
    return low, high, residual, most, total


@kernel
def series(low: Block, high: Block, slack: Block, less: Block, more: Block) -> tuple[Block, Block]:
    """:func:`claimlab.mdps.certificates.series`, from the extremes of the residual."""
    zero, one = full(0.0), full(1.0)
    slack = slack + full(EPS) * greatest(magnitude(low), magnitude(high))
    low, high = low - slack, high + slack
    factor = where_at_least(low, zero, less, more)
    low = low * factor / (one - factor) - slack
    factor = where_at_least(high, zero, more, less)
    high = high * factor / (one - factor) + slack
    return low - full(4 * EPS) * magnitude(low), high + full(4 * EPS) * magnitude(high)


@kernel
def enter(
    P: Array, r: Array, actions: Bools, n: int, last: int, p: Array, rewards: Array, shape: tuple[int, int]
) -> Block:
    """Bring instances from `n` on into the lanes, rewards of missing actions as minus infinity; the largest rewards."""
    S, A = shape
    gather(P, n, S * A * S, last, p)
    gather(r, n, S * A, last, rewards)
    size, missing = largest_of(rewards), False
    for i in range(n * S * A, (n + last + 1) * S * A):
        missing |= not actions[i]
    if missing:
        for lane in range(last + 1):
            for i in range(S * A):
                if not actions[(n + lane) * S * A + i]:
                    rewards[BLOCK * i + lane] = -np.inf
    return size


@kernel
def certificate(
    low: Block, high: Block, tv: Array, total: Block, slack: Block, less: Block, more: Block
) -> tuple[Block, Block]:
    """What to add to the backup `tv`, and the proved error of that; infinite where a value is not finite."""
    below, above = series(low, high, slack, less, more)
    far = largest_of(tv) + full(2.0) * (magnitude(below) + magnitude(above))
    found = (above - below) * full(0.5) + full(EPS) * far
    return (below + above) * full(0.5), where_at_least(full(LARGEST), total, found, full(np.inf))


@kernel
def policy_iteration(
    P: Array,
    r: Array,
    gamma: Array,
    actions: Bools,
    row_error: Array,
    start: int,
    stop: int,
    v: Array,
    policy: Ints,
    error: Array,
    iterations: Ints,
) -> None:
    """:func:`claimlab.mdps.batched_kernels.policy_iteration`, by the same rules.

    Lanes that are done go on beside the others, but what they find is not kept.
    """
    _, S, A = r.shape
    flat_P, flat_r, exists = P.reshape(P.size), r.reshape(r.size), actions.reshape(r.size)
    p, rewards, M, x, tv = room(S * A * S), room(S * A), room(S * (S + 1)), room(S), room(S)
    gain, chosen, greedy, values, decisions = room(S), room(S), room(S), room(S), room(S)
    one_each, another, zero, one, infinite = room(1), room(1), full(0.0), full(1.0), full(np.inf)
    for n in range(start, stop, BLOCK):
        last = min(stop - n, BLOCK) - 1
        size = enter(flat_P, flat_r, exists, n, last, p, rewards, (S, A))
        gather(gamma, n, 1, last, one_each)
        gather(row_error, n, 1, last, another)
        g = load(one_each, 0)
        less, more = g * (one - load(another, 0)), g * (one + load(another, 0))
        best_rewards(rewards, S, A, x, chosen)
        improve(p, rewards, g, x, S, A, chosen, tv, chosen, gain, flat_P, (n + BLOCK) * S * A * S)
        active, tried, least, count = one, infinite, infinite, zero
        for iteration in range(1, IMPROVEMENTS + 1):
            equations(p, rewards, g, chosen, S, A, M)
            eliminate(M, S, x)
            low, high, residual, most, total = improve(p, rewards, g, x, S, A, chosen, tv, greedy, gain, p, 0)
            slack = full(float(S + 4)) * (full(EPS) * (size + g * largest_of(x)) + full(SUBNORMAL))
            middle, found = certificate(low, high, tv, total, slack, less, more)
            better = where_greater(least, found, active, one if iteration == 1 else zero)
            least, count = where_equal(better, one, found, least), count + active
            for s in range(0, BLOCK * S, BLOCK):
                store(values, s, where_equal(better, one, load(tv, s) + middle, load(values, s)))
                store(decisions, s, where_equal(better, one, load(greedy, s), load(decisions, s)))
            proved = full(2.0) * ((residual + full(2.0) * slack) / (one - more) + slack)
            below, above = series(zero, zero, slack, less, more)
            trial = where_greater(found, above - below, one, zero)
            trial = where_greater(tried * full(0.5), found, trial, zero)
            trial = where_greater(most, zero, trial, zero)
            active = active * where_greater(most, proved, one, trial)
            tried, needed = where_greater(most, proved, tried, found), where_greater(most, proved, proved, zero)
            for s in range(0, BLOCK * S, BLOCK):
                store(chosen, s, where_greater(load(gain, s), needed, load(greedy, s), load(chosen, s)))
            store(one_each, 0, active)
            if not one_each[: last + 1].any():
                break
        store(one_each, 0, least)
        store(another, 0, count)
        for lane in range(last + 1):
            error[n + lane], iterations[n + lane] = one_each[lane], int(another[lane])
            for s in range(S):
                v[n + lane, s], policy[n + lane, s] = values[BLOCK * s + lane], int(decisions[BLOCK * s + lane])
