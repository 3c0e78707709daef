r"""Policies' values on several scales: a policy's equations solved by cycles over groups of states.

News travels a state a sweep, so that on large grids and chains sweeps, and Krylov methods alike, need as many steps as
the state space is wide.  Here states are put together by fours, those that move to each other most (Notay 2010), and
again, until few are left.  A level has the mean transitions of its groups; what smoothing leaves of a residual is
settled on the next coarser level, and added to the values of all members.  How states are grouped depends on the
MDP alone, so that another policy costs one pass over its rows.  All that is below the given equations is in float32:
what it is worth is told by their residual, and it takes half of the memory.
"""

from __future__ import annotations

from math import prod
from mmap import mmap
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from claimlab.checks import Array, Ints
from claimlab.mdps import multilevel_kernels as kernels
from claimlab.mdps.kernels import EACH, Unsigned
from claimlab.mdps.multilevel_kernels import ALONE, FREE, Rough
from claimlab.mdps.tabular import EPS

WIDEST = 48  # successors of a group at most
SHRINKS = 0.7  # of the states at most make up the next level
VISITS = 2  # of a level for each of the finer one
CYCLES = 12  # for a policy at most, since it will change
KEPT = 4  # search directions, of which a new one is made orthogonal to the others
LOOSE = 0.1  # of a residual may be left by a correction, since the policy will change
LARGE = 100_000  # bytes
ROUNDS = 10  # of policy iteration at a coarser level
ENOUGH = 0.03  # of its first residual may be left by them: values between the levels differ by more


class Grouping(NamedTuple):
    """How a level of states becomes the next."""

    groups: Unsigned  # [S]
    slots: Any  # uint8[S, b]
    sizes: Rough  # [S']
    successors: Unsigned  # [S', b']


class Rows(NamedTuple):
    """A policy's rows: weights[rows, b] and an index[S] of each state's row; an empty one if row `s` is that of `s`."""

    successors: Unsigned  # [S, b]
    index: Unsigned
    weights: Rough  # the caller's own in float64


class Multilevel:
    """The levels of an MDP with union rows, successors[S, b], kinds[S] and weights[kinds, A, b]."""

    def __init__(self, successors: Unsigned, kinds: Unsigned, weights: Array, gamma: float) -> None:
        self.gamma, self.successors, self.kinds, self.weights = gamma, successors, kinds, weights
        self.width = (0,) * successors.shape[1]
        few = len(weights) * weights.shape[1] <= len(kinds)
        self.table: Rough | None = weights.astype(np.float32) if few else None
        parts: list[Grouping] = []
        strength: Rough = weights.sum(axis=1, dtype=np.float32)
        while (found := _group(successors, kinds, strength)) is not None:
            parts.append(found)
            strength = _gathered(strength[:, None], kinds, found)[:, 0]
            successors, kinds = found.successors, EACH
        n = np.array([len(g.groups) for g in parts] + [len(successors)], np.int64)
        b = np.array([0] + [g.successors.shape[1] for g in parts], np.int64)
        rows = np.concatenate([[0], np.cumsum(n)[:-1]])
        entries = np.concatenate([[0], np.cumsum(n * b)[:-1]])
        size = int(n.sum())
        self.levels = kernels.Levels(
            n,
            b,
            rows,
            entries,
            np.concatenate([np.empty(0, np.uint32)] + [g.successors.ravel() for g in parts]),
            np.empty(int((n * b).sum()), np.float32),
            np.concatenate([g.groups for g in parts] + [np.full(n[-1], ALONE)]),
            np.concatenate([np.empty(0, np.float32)] + [g.sizes for g in parts]),
            np.empty(size, np.float32),
            np.empty(size, np.float32),
            np.empty(size, np.float32),
            int(n[0]),
        )
        self.groupings = [self._shared(level, slots) for level, (_, slots, _, _) in enumerate(parts)]
        nothing = np.empty((0, 0), np.uint32)
        self.coarsest = Grouping(
            self.levels.groups[rows[-1] :], nothing.astype(np.uint8), np.empty(0, np.float32), nothing
        )

    def _shared(self, level: int, slots: Any) -> Grouping:
        """A grouping that lies in the arrays of the levels."""
        levels = self.levels
        row, below, end = int(levels.rows[level]), int(levels.rows[level + 1]), int(levels.n[level + 1])
        entry, b = int(levels.entries[level + 1]), int(levels.b[level + 1])
        successors = levels.successors[entry : entry + end * b].reshape(end, b)
        return Grouping(levels.groups[row:below], slots, levels.sizes[below - levels.first :][:end], successors)

    def follow(self, policy: Ints) -> None:
        """The rows of a policy, int[S], at every level."""
        n_actions, width = self.weights.shape[1:]
        index = self.kinds * np.uint32(n_actions) + policy.astype(np.uint32)
        self.exact = Rows(self.successors, index, self.weights.reshape(-1, width))
        if self.table is not None:
            self.rough = Rows(self.successors, index, self.table.reshape(-1, width))
        else:
            self.rough = Rows(self.successors, EACH, self.exact.weights[index].astype(np.float32))
        self._descend(self.rough, 0)

    def _descend(self, rows: Rows, level: int) -> None:
        """The transitions at every level below that of `rows`."""
        levels = self.levels
        for finer, grouping in enumerate([*self.groupings, self.coarsest][level:], level):
            entry = int(levels.entries[finer + 1]) if finer < len(self.groupings) else 0
            out = levels.weights[entry:][: grouping.successors.size].reshape(grouping.successors.shape)
            kernels.coarsen(*rows, self.gamma, *grouping[:3], levels.pivot[self._rows_of(finer)], out)
            rows = Rows(grouping.successors, EACH, out)

    def solve(self, d: Array, e: Array, tol: float) -> float:
        """Fill `e` with about the solution of (I - gamma P) e = d for the policy of :meth:`follow`; what is left."""
        n = len(d)
        largest = float(max(-d.min(), d.max()))  # unlike abs, without a copy
        scale = largest if 0.0 < largest < np.inf else 1.0
        self._settle_alone(d, e)
        kernels.residual(*self.exact, self.gamma, d, e, scale, self.levels.d[:n])
        self._cycles(self.rough, e, scale, tol, 0)
        # anew, since what is kept up to date drifts
        return kernels.residual(*self.exact, self.gamma, d, e, scale, self.levels.d[:n])

    def _settle_alone(self, d: Array, e: Array) -> None:
        """Solve for states that the policy never leaves, whose values may be 1 / (1 - gamma) times as large; 0 else."""
        e[:] = 0.0
        pivot, (successors, index, weights) = self.levels.pivot[: len(d)], self.exact
        states = np.flatnonzero(2 * (1 - self.gamma) * pivot >= 1)  # the others leave at least every other time
        leaves = np.where(successors[states] != states[:, None], weights[index[states]], 0.0).any(axis=1)
        states = states[~leaves]
        e[states] = d[states] * pivot[states]

    @np.errstate(over="ignore", invalid="ignore")  # of squares, which breakdowns show in
    def _cycles(self, rough: Rows, e: Array, scale: float, tol: float, level: int) -> None:
        """Add `scale` times the solution x for the residual r in the arrays of a level, until about `tol` is left.

        Entries of r are about 1.  Orthomin (Vinsome 1976) with a cycle over the levels as preconditioner: the residual
        never grows in the Euclidean norm.  All but `e` is in float32.
        """
        levels, rows = self.levels, self._rows_of(level)
        part = levels._replace(
            n=levels.n[level:], b=levels.b[level:], rows=levels.rows[level:], entries=levels.entries[level:]
        )
        r, x = levels.d[rows], levels.x[rows]
        kept: list[tuple[Rough, Rough, float]] = []  # directions, their images, and the squared norms of these
        for _ in range(CYCLES):
            kernels.cycle(*rough, self.gamma, part, EACH, VISITS, self.width)
            z, q = (np.empty_like(x), np.empty_like(x)) if len(kept) < KEPT else kept.pop(0)[:2]
            z[:] = x
            kernels.image(*rough, self.gamma, x, q)
            for direction, other, square in kept:
                along = np.dot(q, other) / square
                q -= along * other
                z -= along * direction
            square = np.dot(q, q)
            if not 0.0 < square < np.inf:
                return
            along = np.dot(q, r) / square
            e += scale * along * z
            r -= along * q
            kept.append((z, q, square))
            if max(-r.min(), r.max()) * scale <= tol:
                return

    def _rows_of(self, level: int) -> slice:
        """Where a level lies in the arrays of the levels."""
        return slice(int(self.levels.rows[level]), int(self.levels.rows[level] + self.levels.n[level]))

    def start(self, r: Array, out: Array) -> bool:
        """Fill `out` with values from the MDPs whose states are the groups, the coarsest first.

        A group has the actions that all of its members have; False if one has none, or if there are no groups.
        """
        successors, kinds = self.successors, self.kinds
        weights: Rough = self.weights if self.table is None else self.table
        ladder: list[tuple[Unsigned, Rough, Array, Unsigned]] = []
        for grouping in self.groupings:
            means, (groups, _, sizes, _) = np.empty((len(grouping.sizes), r.shape[1])), grouping
            known = np.empty(len(groups)) if ladder else out
            self._stay(kinds, weights, r, groups, None, known)
            kernels.rewards(successors, kinds, weights, r, self.gamma, groups, sizes, known, means)
            if not np.isfinite(means.max(axis=1)).all():
                return False
            ladder.append((kinds, weights, r, groups))
            weights = _gathered(weights, kinds, grouping)
            successors, kinds, r = grouping.successors, EACH, means
        if not ladder:
            return False
        v = r.max(axis=1) / (1 - self.gamma)
        for level in range(len(ladder), 0, -1):
            self._settle(level, weights, r, v)
            kinds, weights, r, groups = ladder.pop()
            finer = np.empty(len(groups)) if level > 1 else out
            self._stay(kinds, weights, r, groups, v, finer)
            v = finer
        return True

    def _stay(self, kinds: Unsigned, weights: Rough, r: Array, groups: Unsigned, v: Array | None, out: Array) -> None:
        """The optimal value of each state `ALONE`, which no action leaves; else that of its group, v[groups], or 0."""
        states = np.flatnonzero(groups == ALONE)
        stays = weights[kinds[states] if len(kinds) else states].sum(axis=2, dtype=np.float64)
        out[:] = 0.0 if v is None else v.take(groups, mode="clip")  # those `ALONE` follow
        out[states] = (r[states] / (1 - self.gamma * stays)).max(axis=1)

    def _settle(self, level: int, weights: Rough, r: Array, v: Array) -> None:
        """Policy iteration at a coarser level, as far as its values are worth it at the finer one."""
        successors, first = self.groupings[level - 1].successors, None
        rows = Rows(successors, np.empty(len(v), np.uint32), weights.reshape(-1, weights.shape[2]))
        d, e = np.empty(len(v)), np.empty(len(v))
        for _ in range(ROUNDS):
            for order in (-1, 1, -1, 1, 0):
                size = kernels.sweep(successors, weights, r, self.gamma, v, order, rows.index, d)
            first = size if first is None else first
            if size <= max(ENOUGH * first, EPS * float(abs(v).max())) or not np.isfinite(size):
                return
            self._descend(rows, level)
            np.divide(d, size, out=self.levels.d[self._rows_of(level)], casting="same_kind")
            e[:] = 0.0
            self._cycles(rows, e, size, LOOSE * size, level)
            v += e


def _group(successors: Unsigned, index: Unsigned, strength: Rough) -> Grouping | None:
    """States by fours: pairs of pairs; None where they do not get much fewer."""
    groups = _movers(successors, index, strength)
    moving = np.count_nonzero(groups == FREE)
    pairs = _connected(successors, groups, kernels.pair(successors, index, strength, groups))
    if pairs is None:
        return None
    further = np.full(len(pairs.sizes), FREE)
    fours = kernels.pair(pairs.successors, EACH, _gathered(strength[:, None], index, pairs)[:, 0], further)
    mine = groups != ALONE
    groups[mine] = further[groups[mine]]
    del pairs, further, mine  # memory that is worth having
    return _connected(successors, groups, fours) if 0 < fours < SHRINKS * moving else None


def _movers(successors: Unsigned, index: Unsigned, strength: Rough) -> Unsigned:
    """`FREE` for the states that move at all, `ALONE` for the others."""
    states, moves = np.arange(len(successors), dtype=np.uint32), np.zeros(len(successors), bool)
    for to, likely in zip(successors.T, (strength > 0).T):
        moves |= (to != states) & (likely[index] if len(index) else likely)
    return np.where(moves, FREE, ALONE)


def _connected(successors: Unsigned, groups: Unsigned, count: int) -> Grouping | None:
    mine = np.flatnonzero(groups != ALONE)
    members = csr_array((np.ones(len(mine), bool), (groups[mine], mine)), shape=(count, len(groups)))
    slots, sizes = np.empty(successors.shape, np.uint8), np.diff(members.indptr).astype(np.float32)
    for limit in (WIDEST // 4, WIDEST):  # few have more than the first
        coarse = _lent((count, limit), np.uint32)
        width = kernels.connect(successors, groups, members.indices, coarse, slots)
        if width <= limit:
            return Grouping(groups, slots, sizes, np.ascontiguousarray(coarse[:, :width]))
    return None


def _gathered(weights: Rough, kinds: Unsigned, grouping: Grouping) -> Rough:
    count, width = grouping.successors.shape
    out = _lent((count, weights.shape[1], width), np.float32)
    kernels.gather(weights, kinds, *grouping[:3], out)
    return out


def _lent(shape: tuple[int, ...], dtype: Any) -> Any:
    """An array whose memory the system has back as soon as it is dropped; a heap would keep it in pieces."""
    size = prod(shape) * np.dtype(dtype).itemsize
    return np.ndarray(shape, dtype, mmap(-1, size)) if size >= LARGE else np.empty(shape, dtype)
