r"""Compiled parts of :mod:`claimlab.mdps.multilevel`: grouping states, coarser transitions, and cycles over the levels.

Rows are union rows (see :mod:`claimlab.mdps.kernels`): successors[S, b] and, for each of A actions, weights[S, A, b].
Arrays of levels are float32, except where an equation of the caller's is read or solved.  The rows of a policy are
weights[rows, b] with an index[S] of each state's row; an empty one says that state `s` has row `s`.
A level's `groups` give the coarser state of each state, or `ALONE`; its `slots`[S, b] tell where among the successors
of that coarser state a successor counts, or `DROPPED`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from claimlab.checks import Array, Ints
from claimlab.mdps.kernels import LARGEST, U, Unsigned, Width
from claimlab.native import fast_kernel, kernel

Rough = Any  # float32 array
ALONE = np.uint32(0xFFFFFFFF)
DROPPED = 255
KEPT = 4  # search directions, of which a new one is made orthogonal to the others
ABREAST = 4  # blocks of a smoothing sweep that are taken side by side, since each state waits for the one before it
SPLIT = 256  # states from which that is worth it
SHORT, STAR, WIDE = (0,) * 4, (0,) * 5, (0,) * 9  # widths with loops of their own
WIDTHS = (len(SHORT), len(STAR), len(WIDE))


@fast_kernel
def place(index: Unsigned, s: Any) -> Any:
    """The row of a state."""
    return U(index[s]) if index.size > 0 else U(s)


@fast_kernel
def rows_of(kinds: Unsigned, policy: Ints, n_actions: int, index: Unsigned) -> None:
    """The rows of a policy's actions among those of all kinds and actions."""
    for s in range(index.size):
        index[s] = U(kinds[s]) * U(n_actions) + U(policy[s])


@kernel
def movers(successors: Unsigned, index: Unsigned, strength: Rough, groups: Unsigned) -> int:
    """How many states move at all; `groups` is 0 for them, and `ALONE` for the others."""
    n, b = successors.shape
    count = 0
    for s in range(n):
        row, moves = place(index, s), False
        for j in range(b):
            moves |= successors[s, j] != s and strength[row, j] > 0
        groups[s] = U(0) if moves else ALONE
        count += moves
    return count


@kernel
def join(groups: Unsigned, further: Unsigned) -> None:
    """Groups of groups."""
    for s in range(groups.size):
        if groups[s] != ALONE:
            groups[s] = further[groups[s]]


@kernel
def pair(successors: Unsigned, index: Unsigned, strength: Rough, groups: Unsigned) -> int:
    """Put each state together with its strongest neighbour that is free, or into the group of its strongest one.

    `strength`[rows, b] is how likely a state moves to each successor; both directions count.  States that are `ALONE`
    stay so.  Returns the number of groups.
    """
    n, b = successors.shape
    free = np.ones(n, np.bool_)
    count = 0
    for s in range(n):
        if groups[s] == ALONE or not free[s]:
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
            if free[t] and weight > best:
                best, mate = weight, t
            if not free[t] and weight > joined:
                joined, host = weight, t
        free[s] = False
        if mate >= 0:
            free[mate] = False
            groups[s] = groups[mate] = count
            count += 1
        elif host >= 0:
            groups[s] = groups[host]
        else:
            groups[s] = count
            count += 1
    return count


@kernel
def connect(successors: Unsigned, groups: Unsigned, count: int, coarse: Unsigned, slots: Any, sizes: Rough) -> int:
    """Fill the successors of the groups, coarse[count, limit], the first being the group itself; `slots` and `sizes`.

    Returns the largest number of successors, limit + 1 if they do not fit.
    """
    n, b = successors.shape
    limit, width = coarse.shape[1], 1
    degree, starts = np.ones(count, np.int64), np.zeros(count + 1, np.int64)
    for s in range(n):
        if groups[s] != ALONE:
            starts[groups[s] + 1] += 1
    for g in range(count):
        sizes[g] = starts[g + 1]
        starts[g + 1] += starts[g]
        coarse[g, 0] = g
    members, filled = np.empty(starts[count], np.int64), starts.copy()
    for s in range(n):
        if groups[s] != ALONE:
            members[filled[groups[s]]] = s
            filled[groups[s]] += 1
    for i in range(members.size):
        s = members[i]
        g = groups[s]
        for j in range(b):
            h = groups[successors[s, j]]
            if h == ALONE:
                slots[s, j] = DROPPED
                continue
            k = 0
            while k < degree[g] and coarse[g, k] != h:
                k += 1
            if k == degree[g]:
                if k == limit:
                    return limit + 1
                coarse[g, k] = h
                degree[g] += 1
            slots[s, j] = k
        width = max(width, int(degree[g]))
    for g in range(count):
        for k in range(degree[g], limit):
            coarse[g, k] = g  # of weight 0
    return width


@fast_kernel
def gather(weights: Rough, kinds: Unsigned, groups: Unsigned, slots: Any, sizes: Rough, out: Rough) -> None:
    """The mean transitions of each group, out[groups, A, width]; weights[kinds, A, b], or [S, A, b] without `kinds`."""
    _, n_actions, b = weights.shape
    out[:] = 0.0
    for s in range(groups.size):
        g = groups[s]
        if g != ALONE:
            share, row = 1 / sizes[g], (kinds[s] if kinds.size > 0 else np.uint32(s))
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
        row, share = (kinds[s] if kinds.size > 0 else np.uint32(s)), 1 / sizes[g]
        for a in range(r.shape[1]):
            out[g, a] += share * r[s, a]
        for j in range(successors.shape[1]):
            if groups[successors[s, j]] == ALONE:
                for a in range(r.shape[1]):
                    out[g, a] += share * gamma * weights[row, a, j] * known[successors[s, j]]


@fast_kernel
def stay(kinds: Unsigned, weights: Rough, r: Array, gamma: float, groups: Unsigned, coarse: Array, out: Array) -> None:
    """The optimal value of each state `ALONE`, which no action leaves; else that of its group, coarse[groups], or 0."""
    for s in range(groups.size):
        if groups[s] != ALONE:
            out[s] = coarse[groups[s]] if coarse.size > 0 else 0.0
            continue
        best, row = -np.inf, (kinds[s] if kinds.size > 0 else np.uint32(s))
        for a in range(r.shape[1]):
            stays = 0.0
            for j in range(weights.shape[2]):
                stays += weights[row, a, j]
            best = max(best, r[s, a] / (1 - gamma * stays))
        out[s] = best


@fast_kernel
def pivots(successors: Unsigned, index: Unsigned, weights: Rough, gamma: float, out: Rough) -> None:
    """The reciprocals of the diagonal of I - gamma P."""
    for s in range(out.size):
        stays, row = 0.0, place(index, s)
        for j in range(weights.shape[1]):
            stays += weights[row, j] if successors[s, j] == s else 0.0
        out[s] = 1 / (1 - gamma * stays)


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
    """:func:`pivots`, and the mean transitions of each group, out[groups, width]."""
    b = weights.shape[1]
    out[:] = 0.0
    if b == len(SHORT):
        _add_rows(successors, index, weights, gamma, groups, slots, pivot, out, SHORT)
    elif b == len(STAR):
        _add_rows(successors, index, weights, gamma, groups, slots, pivot, out, STAR)
    elif b == len(WIDE):
        _add_rows(successors, index, weights, gamma, groups, slots, pivot, out, WIDE)
    else:
        _add_rows(successors, index, weights, gamma, groups, slots, pivot, out, ())
    for g in range(sizes.size):
        share = np.float32(1.0) / sizes[g]
        for k in range(out.shape[1]):
            out[g, k] *= share


@fast_kernel
def _add_rows(
    successors: Unsigned,
    index: Unsigned,
    weights: Rough,
    gamma: float,
    groups: Unsigned,
    slots: Any,
    pivot: Rough,
    out: Rough,
    width: Width,
) -> None:
    b = len(width) or weights.shape[1]
    for s in range(groups.size):
        stays, row, g = np.float32(0.0), place(index, s), groups[s]
        for j in range(b):
            stays += weights[row, j] if successors[s, j] == s else np.float32(0.0)
        pivot[s] = 1 / (1 - gamma * stays)
        if g != ALONE:
            for j in range(b):  # without branches, since what is dropped cannot be foretold
                kept = slots[s, j] != DROPPED
                out[g, slots[s, j] if kept else 0] += weights[row, j] if kept else np.float32(0.0)


@fast_kernel
def smooth(
    successors: Unsigned,
    index: Unsigned,
    weights: Rough,
    gamma: float,
    pivot: Rough,
    d: Rough,
    x: Rough,
    backward: bool,
) -> None:
    """One Gauss-Seidel sweep for (I - gamma P) x = d; over many states by `ABREAST` at a time, a block apart."""
    b = weights.shape[1]
    if b == len(SHORT):
        _smooth(successors, index, weights, gamma, pivot, d, x, backward, SHORT)
    elif b == len(STAR):
        _smooth(successors, index, weights, gamma, pivot, d, x, backward, STAR)
    elif b == len(WIDE):
        _smooth(successors, index, weights, gamma, pivot, d, x, backward, WIDE)
    else:
        _smooth(successors, index, weights, gamma, pivot, d, x, backward, ())


@fast_kernel
def _smooth(
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


@fast_kernel
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
    if b == len(SHORT):
        _add_residuals(successors, index, weights, gamma, d, x, groups, out, SHORT)
    elif b == len(STAR):
        _add_residuals(successors, index, weights, gamma, d, x, groups, out, STAR)
    elif b == len(WIDE):
        _add_residuals(successors, index, weights, gamma, d, x, groups, out, WIDE)
    else:
        _add_residuals(successors, index, weights, gamma, d, x, groups, out, ())
    for g in range(out.size):
        out[g] /= sizes[g]


@fast_kernel
def _add_residuals(
    successors: Unsigned,
    index: Unsigned,
    weights: Rough,
    gamma: float,
    d: Rough,
    x: Rough,
    groups: Unsigned,
    out: Rough,
    width: Width,
) -> None:
    b = len(width) or weights.shape[1]
    for s in range(x.size):
        g = groups[s]
        if g != ALONE:
            total, row = np.float32(0.0), place(index, s)
            for j in range(b):
                total += weights[row, j] * x[successors[s, j]]
            out[g] += d[s] + gamma * total - x[s]


@fast_kernel
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
    successors: Unsigned, index: Unsigned, weights: Rough, gamma: float, levels: Levels, each: Unsigned, visits: int
) -> None:
    """One cycle over the levels for ``levels.x`` of the finest, from 0; each level is visited so often from above.

    Half of the coarsest system's residual is gone with each pair of sweeps, unless its states are on their own, when
    nothing is left.  `each` is empty.
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
        d, x, pivot = levels.d[row : row + n], levels.x[row : row + n], levels.pivot[row : row + n]
        if level == last:
            for _ in range(4):
                smooth(to, at, w, rate, pivot, d, x, False)
                smooth(to, at, w, rate, pivot, d, x, True)
        else:
            groups, below = levels.groups[row : row + n], levels.rows[level + 1]
            coarse = levels.x[below : below + levels.n[level + 1]]
            if descending:
                smooth(to, at, w, rate, pivot, d, x, False)
                sizes = levels.sizes[below - levels.first :][: coarse.size]
                restrict(to, at, w, rate, d, x, groups, sizes, levels.d[below : below + coarse.size])
                coarse[:] = 0.0
                done[level + 1] = 0
                level += 1
                continue
            prolong(groups, coarse, x)
            smooth(to, at, w, rate, pivot, d, x, True)
        if level == 0:
            return
        done[level] += 1
        descending = done[level] < visits and level < last
        if not descending:
            level -= 1


@fast_kernel
def alone(
    successors: Unsigned, index: Unsigned, weights: Array, gamma: float, pivot: Rough, d: Array, e: Array
) -> None:
    """Solve for the states that the policy never leaves, whose values may be 1 / (1 - gamma) times as large; 0 else."""
    for s in range(d.size):
        e[s] = 0.0
        if 2 * (1 - gamma) * pivot[s] < 1:  # most, at once: it is left at least every other time
            continue
        leaves, row = 0.0, place(index, s)
        for j in range(weights.shape[1]):
            leaves += weights[row, j] if successors[s, j] != s else 0.0
        e[s] = d[s] * pivot[s] if leaves == 0.0 else 0.0


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
def solve_by_cycles(
    successors: Unsigned,
    index: Unsigned,
    weights: Rough,
    gamma: float,
    levels: Levels,
    each: Unsigned,
    visits: int,
    e: Array,
    scale: float,
    tol: float,
    limit: int,
) -> None:
    r"""Add to `e` the solution of :math:`(I - \gamma P) x = r`, `scale` times, until a residual of about `tol` is left.

    r is ``levels.d`` of the finest, with entries of about 1, and is left as the residual.  Orthomin (Vinsome 1976) with
    a cycle over the levels as preconditioner: the residual never grows in the Euclidean norm.  All but `e` is in
    float32.
    """
    n, first = levels.n[0], levels.rows[0]
    r, x = levels.d[first : first + n], levels.x[first : first + n]
    directions, images = np.empty((KEPT, n), np.float32), np.empty((KEPT, n), np.float32)
    rate: Any = np.float32(gamma)
    squares = np.zeros(KEPT)
    for step in range(limit):
        cycle(successors, index, weights, gamma, levels, each, visits)
        new = step % KEPT
        z, q = directions[new], images[new]
        for s in range(n):
            total, row = np.float32(0.0), place(index, s)
            for j in range(weights.shape[1]):
                total += weights[row, j] * x[successors[s, j]]
            z[s], q[s] = x[s], x[s] - rate * total
        for k in range(min(step, KEPT)):
            if k == new or squares[k] == 0.0:
                continue
            along = 0.0
            for s in range(n):
                along += q[s] * images[k, s]
            along /= squares[k]
            for s in range(n):
                q[s] -= along * images[k, s]
                z[s] -= along * directions[k, s]
        along, square = 0.0, 0.0
        for s in range(n):
            along += q[s] * r[s]
            square += q[s] * q[s]
        if not 0.0 < square <= LARGEST:
            break
        squares[new] = square
        along /= square
        largest = 0.0
        for s in range(n):
            e[s] += scale * along * z[s]
            r[s] -= along * q[s]
            largest = max(largest, abs(r[s]))
        if largest * scale <= tol:
            break


@fast_kernel
def sweep(successors: Unsigned, weights: Rough, r: Array, gamma: float, v: Array, backward: bool) -> None:
    """One Gauss-Seidel sweep of the optimality operator, solved for each state, which is its own first successor."""
    n, n_actions, b = weights.shape
    for i in range(n):
        s = n - 1 - i if backward else i
        best = -np.inf
        for a in range(n_actions):
            total = 0.0
            for j in range(1, b):
                total += weights[s, a, j] * v[successors[s, j]]
            best = max(best, (r[s, a] + gamma * total) / (1 - gamma * weights[s, a, 0]))
        v[s] = best


@fast_kernel
def choose(successors: Unsigned, weights: Rough, r: Array, gamma: float, v: Array, index: Unsigned, d: Array) -> float:
    """The greedy policy as an index of rows s * A + a, the residual d = Tv - v, and its largest entry."""
    n, n_actions, b = weights.shape
    largest = 0.0
    for s in range(n):
        best, arg = -np.inf, 0
        for a in range(n_actions):
            total = 0.0
            for j in range(b):
                total += weights[s, a, j] * v[successors[s, j]]
            q = r[s, a] + gamma * total
            arg = a if q > best else arg
            best = max(best, q)
        d[s] = best - v[s]
        largest = max(largest, abs(d[s]))
        index[s] = s * n_actions + arg
    return largest
