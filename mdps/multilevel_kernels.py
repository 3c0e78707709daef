r"""Compiled parts of :mod:`claimlab.mdps.multilevel`: grouping states, coarser transitions, and cycles over the levels.

Rows are union rows (see :mod:`claimlab.mdps.kernels`): successors[S, b] and, for each of A actions, weights[S, A, b].
Arrays of levels are float32, except where an equation of the caller's is read or solved.  The rows of a policy are
weights[rows, b] with an index[S] of each state's row; an empty one says that state `s` has row `s`.
A level's `groups` give the coarser state of each state, or `ALONE`, and `FREE` while none is chosen; its `slots`[S, b]
tell where among the successors of that coarser state a successor counts, or `DROPPED`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from claimlab.checks import Array, Ints
from claimlab.mdps.kernels import LARGEST, U, Unsigned, Width
from claimlab.native import fast_kernel, fast_part, kernel

Rough = Any  # float32 array
ALONE, FREE = np.uint32(0xFFFFFFFF), np.uint32(0xFFFFFFFE)
DROPPED = 255
ABREAST = 4  # blocks of a smoothing sweep that are taken side by side, since each state waits for the one before it
SPLIT = 256  # states from which that is worth it


@fast_part
def place(index: Unsigned, s: Any) -> Any:
    """The row of a state."""
    return U(index[s]) if index.size > 0 else U(s)


@kernel
def pair(successors: Unsigned, index: Unsigned, strength: Rough, groups: Unsigned) -> int:
    """Put each `FREE` state together with its strongest neighbour that is, or into the group of its strongest one.

    `strength`[rows, b] is how likely a state moves to each successor; both directions count.  States that are `ALONE`
    stay so.  Returns the number of groups.
    """
    n, b = successors.shape
    count = 0
    for s in range(n):
        if groups[s] != FREE:
            continue
        best, mate, joined, host = 0.0, -1, 0.0, -1
        for j in range(b):
            t = successors[s, j]
            if t == s or groups[t] == ALONE:
                continue
            weight = strength[place(index, s), j]
            for k in range(b):
                if successors[t, k] == s:
                    weight += strength[place(index, t), k]
            if groups[t] == FREE:
                if weight > best:
                    best, mate = weight, t
            elif weight > joined:
                joined, host = weight, t
        if mate < 0 and host >= 0:
            groups[s] = groups[host]
            continue
        groups[s] = count
        if mate >= 0:
            groups[mate] = count
        count += 1
    return count


@kernel
def connect(successors: Unsigned, groups: Unsigned, members: Any, coarse: Unsigned, slots: Any) -> int:
    """Fill the successors of the groups, coarse[groups, limit], the first being the group itself, and `slots`.

    `members` has the states of each group one after the other.  Returns the largest number of successors, limit + 1 if
    they do not fit.
    """
    b, limit = successors.shape[1], coarse.shape[1]
    last, degree, width = ALONE, 0, 1
    for i in range(members.size):
        s = members[i]
        g = groups[s]
        if g != last:
            last, degree = g, 1
            for k in range(limit):
                coarse[g, k] = g  # what is left of these has weight 0
        for j in range(b):
            h = groups[successors[s, j]]
            if h == ALONE:
                slots[s, j] = DROPPED
                continue
            k = 0
            while k < degree and coarse[g, k] != h:
                k += 1
            if k == degree:
                if k == limit:
                    return limit + 1
                coarse[g, k] = h
                degree += 1
            slots[s, j] = k
        width = max(width, degree)
    return width


@fast_kernel
def gather(weights: Rough, kinds: Unsigned, groups: Unsigned, slots: Any, sizes: Rough, out: Rough) -> None:
    """The mean transitions of each group, out[groups, A, width]; weights[kinds, A, b], or [S, A, b] without `kinds`."""
    _, n_actions, b = weights.shape
    out[:] = 0.0
    for s in range(groups.size):
        g = groups[s]
        if g != ALONE:
            share, row = 1 / sizes[g], place(kinds, s)
            for j in range(b):
                k = slots[s, j]
                if k != DROPPED:
                    for a in range(n_actions):
                        out[g, a, k] += share * weights[row, a, j]


@fast_kernel
def rewards(
    successors: Unsigned,
    kinds: Unsigned,
    weights: Rough,
    r: Array,
    gamma: float,
    groups: Unsigned,
    sizes: Rough,
    known: Array,
    out: Array,
) -> None:
    """The mean rewards of each group, out[groups, A], with what comes of moves to states `ALONE`, of values `known`."""
    out[:] = 0.0
    for s in range(groups.size):
        g = groups[s]
        if g == ALONE:
            continue
        row, share = place(kinds, s), 1 / sizes[g]
        for a in range(r.shape[1]):
            out[g, a] += share * r[s, a]
        for j in range(successors.shape[1]):
            if groups[successors[s, j]] == ALONE:
                for a in range(r.shape[1]):
                    out[g, a] += share * gamma * weights[row, a, j] * known[successors[s, j]]


@fast_kernel
def coarsen(
    successors: Unsigned,
    index: Unsigned,
    weights: Rough,
    gamma: float,
    groups: Unsigned,
    slots: Any,
    sizes: Rough,
    pivot: Rough,
    out: Rough,
) -> None:
    """The reciprocals of the diagonal of I - gamma P, and the mean transitions of each group, out[groups, b']."""
    b = weights.shape[1]
    out[:] = 0.0
    for s in range(groups.size):
        stays, row, g = np.float32(0.0), place(index, s), groups[s]
        for j in range(b):
            stays += weights[row, j] if successors[s, j] == s else np.float32(0.0)
        pivot[s] = 1 / (1 - gamma * stays)
        if g != ALONE:
            for j in range(b):  # without branches, since what is dropped cannot be foretold
                kept = slots[s, j] != DROPPED
                out[g, slots[s, j] if kept else 0] += weights[row, j] if kept else np.float32(0.0)
    for g in range(sizes.size):
        share = np.float32(1.0) / sizes[g]
        for k in range(out.shape[1]):
            out[g, k] *= share


@fast_part
def smooth(
    successors: Unsigned,
    index: Unsigned,
    weights: Rough,
    gamma: float,
    pivot: Rough,
    d: Rough,
    x: Rough,
    backward: bool,
    width: Width,
) -> None:
    """One Gauss-Seidel sweep for (I - gamma P) x = d; over many states by `ABREAST` at a time, a block apart."""
    n, b = U(x.size), len(width) or weights.shape[1]
    block = (n + U(ABREAST - 1)) // U(ABREAST) if n >= U(SPLIT) else n
    for i in range(block):
        for part in range(ABREAST):
            k = U(part) * block + i
            if k >= n:
                break
            s = n - U(1) - k if backward else k
            total, row = np.float32(0.0), place(index, s)
            for j in range(b):
                total += weights[row, j] * x[successors[s, j]]
            x[s] = x[s] + pivot[s] * (d[s] - x[s]) + gamma * pivot[s] * total


@fast_part
def restrict(
    successors: Unsigned,
    index: Unsigned,
    weights: Rough,
    gamma: float,
    d: Rough,
    x: Rough,
    groups: Unsigned,
    sizes: Rough,
    out: Rough,
) -> None:
    """The mean residual of each group."""
    b = weights.shape[1]
    out[:] = 0.0
    for s in range(x.size):
        g = groups[s]
        if g != ALONE:
            total, row = np.float32(0.0), place(index, s)
            for j in range(b):
                total += weights[row, j] * x[successors[s, j]]
            out[g] += d[s] + gamma * total - x[s]
    for g in range(out.size):
        out[g] /= sizes[g]


@fast_part
def prolong(groups: Unsigned, coarse: Rough, x: Rough) -> None:
    for s in range(x.size):
        if groups[s] != ALONE:
            x[s] += coarse[groups[s]]


class Levels(NamedTuple):
    """Systems (I - gamma P) x = d of a policy at every level, the finest first, end to end.

    Level l has ``n[l]`` states, from ``rows[l]`` on, and ``n[l] * b[l]`` entries, from ``entries[l]`` on; the entries
    of the finest are elsewhere, so ``entries[1] = 0``.
    """

    n: Ints
    b: Ints
    rows: Ints
    entries: Ints
    successors: Unsigned  # [entries]
    weights: Rough  # [entries]
    groups: Unsigned  # [rows]
    sizes: Rough  # [rows], of groups, so without those of the finest
    pivot: Rough  # [rows]
    d: Rough  # [rows]
    x: Rough  # [rows]
    first: int  # rows of the finest level of all


@fast_kernel
def cycle(
    successors: Unsigned,
    index: Unsigned,
    weights: Rough,
    gamma: float,
    levels: Levels,
    each: Unsigned,
    visits: int,
    width: Width,
) -> None:
    """One cycle over the levels for ``levels.x`` of the finest, from 0; each level is visited so often from above.

    Half of the coarsest system's residual is gone with each pair of sweeps, unless its states are on their own, when
    nothing is left.  `each` is empty.  Levels whose rows are as long as `width` have loops of their own.
    """
    last = levels.n.size - 1
    rate: Any = np.float32(gamma)
    done = np.zeros(levels.n.size, np.int64)
    levels.x[levels.rows[0] : levels.rows[0] + levels.n[0]] = 0.0
    level, descending = 0, True
    while True:
        n, b, row, entry = levels.n[level], levels.b[level], levels.rows[level], levels.entries[level]
        if level == 0:
            to, at, w = successors, index, weights
        else:
            to, at = levels.successors[entry : entry + n * b].reshape(n, b), each
            w = levels.weights[entry : entry + n * b].reshape(n, b)
        usual = w.shape[1] == len(width)
        d, x, pivot = levels.d[row : row + n], levels.x[row : row + n], levels.pivot[row : row + n]
        groups, below = levels.groups[row : row + n], row + n
        m = levels.n[level + 1] if level < last else 0
        coarse = levels.x[below : below + m]
        if not descending:
            prolong(groups, coarse, x)
        for i in range(8 if level == last else 1):
            if usual:
                smooth(to, at, w, rate, pivot, d, x, descending == (i % 2 == 1), width)
            else:
                smooth(to, at, w, rate, pivot, d, x, descending == (i % 2 == 1), ())
        if descending and level < last:
            sizes, mean = levels.sizes[below - levels.first :][:m], levels.d[below : below + m]
            restrict(to, at, w, rate, d, x, groups, sizes, mean)
            coarse[:] = 0.0
            level += 1
            done[level] = 0
        elif level == 0:
            return
        else:
            done[level] += 1
            descending = done[level] < visits and level < last
            level -= 0 if descending else 1


@fast_kernel
def residual(
    successors: Unsigned, index: Unsigned, weights: Array, gamma: float, d: Array, e: Array, scale: float, out: Rough
) -> float:
    """out = (d - (I - gamma P) e) / scale; the largest entry before that, infinity if one is not finite."""
    largest = 0.0
    for s in range(d.size):
        total, row = 0.0, place(index, s)
        for j in range(weights.shape[1]):
            total += weights[row, j] * e[successors[s, j]]
        left = d[s] + gamma * total - e[s]
        out[s] = left / scale
        size = abs(left)
        largest = max(largest, size if size <= LARGEST else np.inf)
    return largest


@fast_kernel
def image(successors: Unsigned, index: Unsigned, weights: Rough, gamma: float, x: Rough, out: Rough) -> None:
    """out = (I - gamma P) x."""
    rate: Any = np.float32(gamma)
    for s in range(x.size):
        total, row = np.float32(0.0), place(index, s)
        for j in range(weights.shape[1]):
            total += weights[row, j] * x[successors[s, j]]
        out[s] = x[s] - rate * total


@fast_kernel
def sweep(
    successors: Unsigned,
    weights: Rough,
    r: Array,
    gamma: float,
    v: Array,
    order: int,
    index: Unsigned,
    d: Array,
) -> float:
    """The greedy policy as an index of rows s * A + a, the residual d = Tv - v, and its largest entry.

    If `order` is 1 or -1 values are replaced meanwhile, from the first or the last state on: by Gauss-Seidel, solved
    for each state, which is its own first successor.
    """
    n, n_actions, b = weights.shape
    largest = 0.0
    for i in range(n):
        s = n - 1 - i if order < 0 else i
        best, arg, settled = -np.inf, 0, -np.inf
        for a in range(n_actions):
            total = 0.0
            for j in range(1, b):
                total += weights[s, a, j] * v[successors[s, j]]
            away, stays = r[s, a] + gamma * total, gamma * weights[s, a, 0]
            q = away + stays * v[s]
            arg = a if q > best else arg
            best, settled = max(best, q), max(settled, away / (1 - stays))
        d[s], index[s] = best - v[s], s * n_actions + arg
        largest = max(largest, abs(d[s]))
        if order != 0:
            v[s] = settled
    return largest
