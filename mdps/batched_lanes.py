from __future__ import annotations

import numpy as np

from claimlab.checks import Array, Bools, Ints
from claimlab.mdps.batched_kernels import IMPROVEMENTS, contraction, rounding, series
from claimlab.mdps.blocks import BLOCK, full, load, store, transpose, where_equal, where_greater
from claimlab.mdps.kernels import LARGEST
from claimlab.mdps.tabular import EPS
from claimlab.native import kernel


@kernel
def room(n: int) -> Array:
    """`n` blocks of zeros that begin where a cache line does."""
    x = np.zeros((n + 1) * BLOCK)
    first = -(x.ctypes.data // 8) % BLOCK
    return x[first : first + n * BLOCK]


@kernel
def gather(x: Array, start: int, size: int, last: int, out: Array) -> None:
    """Rows of `size` entries of the flat `x` from row `start` on, the row `last` repeated, to the lanes of `out`."""
    if size < BLOCK:
        for lane in range(BLOCK):
            for i in range(size):
                out[i * BLOCK + lane] = x[(start + min(lane, last)) * size + i]
        return
    for i in range(0, size - BLOCK + 1, BLOCK):
        transpose(x, start * size + i, size, last, out, i * BLOCK)
    if size % BLOCK:
        transpose(x, (start + 1) * size - BLOCK, size, last, out, (size - BLOCK) * BLOCK)


@kernel
def choose(R: Array, S: int, A: int, chosen: Array) -> None:
    for s in range(S):
        best, arg = load(R, s * A * BLOCK), full(0.0)
        for a in range(1, A):
            r = load(R, (s * A + a) * BLOCK)
            arg = where_greater(r, best, full(float(a)), arg)
            best = where_greater(r, best, r, best)
        store(chosen, s * BLOCK, arg)


@kernel
def fill(W: Array, R: Array, g: Array, chosen: Array, S: int, A: int, M: Array) -> None:
    width = S + 1
    minus_g, one = full(0.0) - load(g, 0), full(1.0)
    for s in range(S):
        action = load(chosen, s * BLOCK)
        for t in range(S):
            p = load(W, (s * A * S + t) * BLOCK)
            for a in range(1, A):
                p = where_equal(action, full(float(a)), load(W, ((s * A + a) * S + t) * BLOCK), p)
            store(M, (s * width + t) * BLOCK, minus_g * p)
        store(M, (s * width + s) * BLOCK, load(M, (s * width + s) * BLOCK) + one)
        r = load(R, s * A * BLOCK)
        for a in range(1, A):
            r = where_equal(action, full(float(a)), load(R, (s * A + a) * BLOCK), r)
        store(M, (s * width + S) * BLOCK, r)


@kernel
def eliminate(M: Array, S: int, x: Array) -> None:
    width, one = S + 1, full(1.0)
    for k in range(0, S - 1, 2):
        pivot, other = k * width, (k + 1) * width
        first, above = one / load(M, (pivot + k) * BLOCK), load(M, (pivot + k + 1) * BLOCK)
        factor = load(M, (other + k) * BLOCK) * first
        second = one / (load(M, (other + k + 1) * BLOCK) - factor * above)
        store(M, (pivot + k) * BLOCK, first)
        store(M, (other + k + 1) * BLOCK, second)
        for j in range(k + 2, width):
            at = (other + j) * BLOCK
            store(M, at, load(M, at) - factor * load(M, (pivot + j) * BLOCK))
        for i in range(k + 2, S):
            row = i * width
            factor = load(M, (row + k) * BLOCK) * first
            other_factor = (load(M, (row + k + 1) * BLOCK) - factor * above) * second
            for j in range(k + 2, width):
                at = (row + j) * BLOCK
                left = load(M, at) - factor * load(M, (pivot + j) * BLOCK)
                store(M, at, left - other_factor * load(M, (other + j) * BLOCK))
    if S % 2:
        at = (S * width - 2) * BLOCK
        store(M, at, one / load(M, at))
    for k in range(S - 1, -1, -1):
        row = k * width
        left = load(M, (row + S) * BLOCK)
        for j in range(S - 1, k, -1):
            left = left - load(M, (row + j) * BLOCK) * load(x, j * BLOCK)
        store(x, k * BLOCK, left * load(M, (row + k) * BLOCK))


@kernel
def look(
    W: Array, R: Array, g: Array, x: Array, chosen: Array, S: int, A: int, tv: Array, gain: Array, greedy: Array,
    found: Array,
) -> None:
    zero, discount = full(0.0), load(g, 0)
    low, high, residual, most, largest, top, total = full(np.inf), full(-np.inf), zero, zero, zero, zero, zero
    for s in range(S):
        action = load(chosen, s * BLOCK)
        best, own, arg = full(-np.inf), zero, action
        for a in range(A):
            row, q = (s * A + a) * S, zero
            for t in range(S):
                q = q + load(W, (row + t) * BLOCK) * load(x, t * BLOCK)
            q = load(R, (s * A + a) * BLOCK) + discount * q
            mine = full(float(a))
            own = where_equal(action, mine, q, own)
            arg = where_greater(q, best, mine, arg)
            best = where_greater(q, best, q, best)
        now = load(x, s * BLOCK)
        up, change, off = best - own, best - now, own - now
        store(tv, s * BLOCK, best)
        store(gain, s * BLOCK, up)
        store(greedy, s * BLOCK, arg)
        low = where_greater(low, change, change, low)
        high = where_greater(change, high, change, high)
        most = where_greater(up, most, up, most)
        off = where_greater(off, zero, off, zero - off)
        residual = where_greater(off, residual, off, residual)
        size = where_greater(now, zero, now, zero - now)
        largest = where_greater(size, largest, size, largest)
        size_best = where_greater(best, zero, best, zero - best)
        top = where_greater(size_best, top, size_best, top)
        total = total + size + size_best
    store(found, 0, low)
    store(found, 8, high)
    store(found, 16, residual)
    store(found, 24, most)
    store(found, 32, largest)
    store(found, 40, top)
    store(found, 48, total)


@kernel
def policy_iteration(
    P: Array, r: Array, gamma: Array, actions: Bools, row_error: Array, start: int, stop: int, v: Array, policy: Ints, error: Array, iterations: Ints
) -> None:
    _, S, A = r.shape
    transitions, rewards = P.reshape(P.size), r.reshape(r.size)
    W, R, M, x, tv = room(S * A * S), room(S * A), room(S * (S + 1)), room(S), room(S)
    gain, chosen, greedy, stats, g, size = room(S), room(S), room(S), room(7), room(1), room(1)
    tried = np.empty(BLOCK)
    for n in range(start, stop, BLOCK):
        last = min(stop - n, BLOCK) - 1
        gather(transitions, n, S * A * S, last, W)
        gather(rewards, n, S * A, last, R)
        gather(gamma, n, 1, last, g)
        most = full(0.0)
        for i in range(S * A):
            y = load(R, i * BLOCK)
            y = where_greater(y, full(0.0), y, full(0.0) - y)
            most = where_greater(y, most, y, most)
        store(size, 0, most)
        for lane in range(last + 1):
            for s in range(S):
                for a in range(A):
                    if not actions[n + lane, s, a]:
                        R[(s * A + a) * BLOCK + lane] = -np.inf
        choose(R, S, A, chosen)
        tried[:] = np.inf
        active = (1 << (last + 1)) - 1
        for iteration in range(1, IMPROVEMENTS + 1):
            fill(W, R, g, chosen, S, A, M)
            eliminate(M, S, x)
            look(W, R, g, x, chosen, S, A, tv, gain, greedy, stats)
            for l in range(last + 1):
                if not active & (1 << l):
                    continue
                o = n + l
                low, high, residual, ahead, largest, top, total = stats[l], stats[8 + l], stats[16 + l], stats[24 + l], stats[32 + l], stats[40 + l], stats[48 + l]
                less, more = contraction(g[l], row_error[o])
                slack = rounding(S + 4, size[l], g[l] * largest)
                below, above = series(low, high, slack, less, more)
                middle = (below + above) / 2
                found = (above - below) / 2 + EPS * (top + 2 * (abs(below) + abs(above)))
                if not total <= LARGEST:
                    found = np.inf
                if iteration == 1 or found < error[o]:
                    error[o] = found
                    for s in range(S):
                        v[o, s], policy[o, s] = tv[s * BLOCK + l] + middle, int(greedy[s * BLOCK + l])
                iterations[o] = iteration
                proved = 2 * ((residual + 2 * slack) / (1 - more) + slack)
                if not ahead > proved:
                    below, above = series(0.0, 0.0, slack, less, more)
                    if not ahead > 0 or not found < tried[l] / 2 or found <= above - below:
                        active &= ~(1 << l)
                        continue
                    tried[l], proved = found, 0.0
                for s in range(S):
                    if gain[s * BLOCK + l] > proved:
                        chosen[s * BLOCK + l] = greedy[s * BLOCK + l]
            if not active:
                break
