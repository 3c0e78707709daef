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

from claimlab.checks import Array, Ints
from claimlab.mdps import multilevel_kernels as kernels
from claimlab.mdps.kernels import EACH, Unsigned
from claimlab.mdps.multilevel_kernels import Rough
from claimlab.mdps.tabular import EPS

WIDEST = 48  # successors of a group at most
SHRINKS = 0.7  # of the states at most make up the next level
VISITS = 2  # of a level for each of the finer one
CYCLES = 12  # for a policy at most, since it will change
LOOSE = 0.1  # of the residual may be left by them
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
        n_actions, width = weights.shape[1:]
        few = len(weights) * n_actions <= len(kinds)
        self.table: Rough | None = weights.reshape(-1, width).astype(np.float32) if few else None
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
            np.concatenate([g.groups for g in parts] + [np.zeros(n[-1], np.uint32)]),
            np.concatenate([np.empty(0, np.float32)] + [g.sizes for g in parts]),
            np.empty(size, np.float32),
            np.empty(size, np.float32),
            np.empty(size, np.float32),
            int(n[0]),
        )
        self.groupings = [self._shared(level, slots) for level, (_, slots, _, _) in enumerate(parts)]

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
        index = np.empty(len(policy), np.uint32)
        kernels.rows_of(self.kinds, policy, n_actions, index)
        self.exact = Rows(self.successors, index, self.weights.reshape(-1, width))
        if self.table is not None:
            self.rough = Rows(self.successors, index, self.table)
        else:
            self.rough = Rows(self.successors, EACH, self.exact.weights[index].astype(np.float32))
        self._descend(self.rough, 0)

    def _descend(self, rows: Rows, level: int) -> None:
        """The transitions at every level below that of `rows`."""
        levels = self.levels
        for coarser, grouping in enumerate(self.groupings[level:], level + 1):
            row, end = int(levels.rows[coarser - 1]), int(levels.rows[coarser])
            n, b, entry = (int(x[coarser]) for x in (levels.n, levels.b, levels.entries))
            out = levels.weights[entry : entry + n * b].reshape(n, b)
            kernels.coarsen(*rows, self.gamma, *grouping[:3], levels.pivot[row:end], out)
            rows = Rows(grouping.successors, EACH, out)
        kernels.pivots(*rows, self.gamma, levels.pivot[int(levels.rows[-1]) :])

    def solve(self, d: Array, e: Array, tol: float) -> float:
        """Fill `e` with about the solution of (I - gamma P) e = d for the policy of :meth:`follow`; what is left."""
        return self._solve(self.exact, self.rough, d, e, tol, 0)

    def _solve(self, exact: Rows, rough: Rows, d: Array, e: Array, tol: float, level: int) -> float:
        levels, gamma = self.levels, self.gamma
        n, row = int(levels.n[level]), int(levels.rows[level])
        part = levels._replace(
            n=levels.n[level:], b=levels.b[level:], rows=levels.rows[level:], entries=levels.entries[level:]
        )
        largest = float(max(-d.min(), d.max()))  # unlike abs, without a copy
        scale = largest if 0.0 < largest < np.inf else 1.0
        residual = levels.d[row : row + n]
        kernels.alone(*exact, gamma, levels.pivot[row : row + n], d, e)
        kernels.residual(*exact, gamma, d, e, scale, residual)
        kernels.solve_by_cycles(*rough, gamma, part, EACH, VISITS, e, scale, tol, CYCLES)
        return kernels.residual(*exact, gamma, d, e, scale, residual)  # anew, since what is kept up to date drifts

    def start(self, r: Array, out: Array) -> bool:
        """Fill `out` with values from the MDPs whose states are the groups, the coarsest first.

        A group has the actions that all of its members have; False if one has none, or if there are no groups.
        """
        successors, kinds, none = self.successors, self.kinds, np.empty(0)
        weights: Rough = self.weights
        ladder: list[tuple[Unsigned, Rough, Array, Unsigned]] = []
        for grouping in self.groupings:
            means, (groups, _, sizes, _) = np.empty((len(grouping.sizes), r.shape[1])), grouping
            known = np.empty(len(groups)) if ladder else out
            kernels.stay(kinds, weights, r, self.gamma, groups, none, known)
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
            kernels.stay(kinds, weights, r, self.gamma, groups, v, finer)
            v = finer
        return True

    def _settle(self, level: int, weights: Rough, r: Array, v: Array) -> None:
        """Policy iteration at a coarser level, as far as its values are worth it at the finer one."""
        successors, first = self.groupings[level - 1].successors, None
        rows = Rows(successors, np.empty(len(v), np.uint32), weights.reshape(-1, weights.shape[2]))
        d, e = np.empty(len(v)), np.empty(len(v))
        for _ in range(ROUNDS):
            for backward in (True, False, True, False):
                kernels.sweep(successors, weights, r, self.gamma, v, backward)
            size = kernels.choose(successors, weights, r, self.gamma, v, rows.index, d)
            first = size if first is None else first
            if size <= max(ENOUGH * first, EPS * float(abs(v).max())) or not np.isfinite(size):
                return
            self._descend(rows, level)
            self._solve(rows, rows, d, e, LOOSE * size, level)
            v += e


def _group(successors: Unsigned, index: Unsigned, strength: Rough) -> Grouping | None:
    """States by fours: pairs of pairs; None where they do not get much fewer."""
    groups = np.empty(len(successors), np.uint32)
    moving = kernels.movers(successors, index, strength, groups)
    count = kernels.pair(successors, index, strength, groups)
    pairs = _connected(successors, groups, count)
    if pairs is None:
        return None
    further = np.zeros(count, np.uint32)
    fours = kernels.pair(pairs.successors, EACH, _gathered(strength[:, None], index, pairs)[:, 0], further)
    kernels.join(groups, further)
    del pairs, further  # memory that is worth having
    return _connected(successors, groups, fours) if 0 < fours < SHRINKS * moving else None


def _connected(successors: Unsigned, groups: Unsigned, count: int) -> Grouping | None:
    slots, sizes = np.empty(successors.shape, np.uint8), np.empty(count, np.float32)
    for limit in (WIDEST // 4, WIDEST):  # few have more than the first
        coarse = _lent((count, limit), np.uint32)
        width = kernels.connect(successors, groups, count, coarse, slots, sizes)
        if width <= limit:
            width = next((w for w in kernels.WIDTHS if w >= width), width)
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
