r"""Policies' values on several scales: a policy's equations solved by cycles over groups of states.

News travels a state a sweep, so that on large grids and chains sweeps, and Krylov methods alike, need as many steps as
the state space is wide.  Here states are put together by fours, those that move to each other most (Notay 2010), and
again, until few are left.  A level has the mean transitions of its groups; what smoothing leaves of a residual is
settled on the next coarser level, and added to the values of all members.  How states are grouped depends on the
MDP alone, so that another policy costs one pass over its rows.  All that is below the given equations is in float32:
what it is worth is told by their residual, and it takes half of the memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from claimlab.checks import Array
from claimlab.mdps import multilevel_kernels as kernels
from claimlab.mdps.kernels import Unsigned
from claimlab.mdps.multilevel_kernels import Rough
from claimlab.mdps.tabular import EPS

WIDEST = 48  # successors of a group at most
SHRINKS = 0.7  # of the states at most make up the next level
VISITS = 2  # of a level for each of the finer one
CYCLES = 12  # for a policy at most, since it will change
LOOSE = 0.1  # of the residual may be left by them
ROUNDS = 10  # of policy iteration at a coarser level
EACH = np.empty(0, np.uint32)  # kinds, where each state is one
ENOUGH = 0.03  # of its first residual may be left by them: values between the levels differ by more


class Grouping(NamedTuple):
    """How a level of states becomes the next."""

    groups: Unsigned  # [S]
    slots: Any  # uint8[S, b]
    sizes: Rough  # [S']
    successors: Unsigned  # [S', b']


class Multilevel:
    """The levels of an MDP with union rows, successors[S, b], kinds[S] and weights[kinds, A, b]."""

    def __init__(self, successors: Unsigned, kinds: Unsigned, weights: Array, gamma: float) -> None:
        self.gamma, self.successors, self.kinds, self.weights = gamma, successors, kinds, weights
        parts: list[Grouping] = []
        strength: Rough = weights.sum(axis=1, dtype=np.float32)[kinds]
        while (found := _group(successors, strength)) is not None:
            parts.append(found)
            successors, strength = found.successors, _gathered(strength[:, None], EACH, found)[:, 0]
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
            np.concatenate([np.ones(n[0], np.float32)] + [g.sizes for g in parts]),
            np.empty(size, np.float32),
            np.empty(size, np.float32),
            np.empty(size, np.float32),
        )
        self.groupings = [self._shared(level, slots) for level, (_, slots, _, _) in enumerate(parts)]

    def _shared(self, level: int, slots: Any) -> Grouping:
        """A grouping that lies in the arrays of the levels."""
        levels = self.levels
        row, below, end = int(levels.rows[level]), int(levels.rows[level + 1]), int(levels.n[level + 1])
        entry, b = int(levels.entries[level + 1]), int(levels.b[level + 1])
        successors = levels.successors[entry : entry + end * b].reshape(end, b)
        return Grouping(levels.groups[row:below], slots, levels.sizes[below : below + end], successors)

    def prepare(self, successors: Unsigned, weights: Array, level: int = 0) -> None:
        """The transitions of a policy at every coarser level, from its rows at `level`."""
        levels = self.levels
        n, row = int(levels.n[level]), int(levels.rows[level])
        kernels.pivots(successors, weights, self.gamma, levels.pivot[row : row + n])
        fine: Rough = weights[:, None]
        for coarser, grouping in enumerate(self.groupings[level:], level + 1):
            n, b, row, entry = (int(x[coarser]) for x in (levels.n, levels.b, levels.rows, levels.entries))
            out = levels.weights[entry : entry + n * b].reshape(n, 1, b)
            kernels.gather(fine, EACH, *grouping[:3], out)
            kernels.pivots(grouping.successors, out[:, 0], self.gamma, levels.pivot[row : row + n])
            fine = out

    def solve(self, successors: Unsigned, weights: Array, d: Array, tol: float, level: int = 0) -> tuple[Array, float]:
        """About the solution of (I - gamma P) e = d for the rows of the last :meth:`prepare`, and what is left of d."""
        e, levels = np.empty_like(d), self.levels
        part = levels._replace(
            n=levels.n[level:], b=levels.b[level:], rows=levels.rows[level:], entries=levels.entries[level:]
        )
        left = kernels.solve_by_cycles(successors, weights, self.gamma, part, VISITS, d, e, tol, CYCLES)
        return e, left

    def start(self, r: Array) -> Array | None:
        """Values from the MDPs whose states are the groups, solved from the coarsest to the second finest level.

        A group has the actions that all of its members have; None if one has none.
        """
        successors, kinds, ladder = self.successors, self.kinds, []
        weights: Rough = self.weights
        for grouping in self.groupings:
            alone = grouping.groups == kernels.ALONE
            known = np.zeros(len(r))
            stays = weights.sum(axis=2)
            known[alone] = (r[alone] / (1 - self.gamma * (stays[kinds] if kinds.size else stays)[alone])).max(axis=1)
            means, (groups, _, sizes, _) = np.empty((len(grouping.sizes), r.shape[1])), grouping
            kernels.rewards(successors, kinds, weights, r, self.gamma, groups, sizes, known, means)
            if not np.isfinite(means.max(axis=1)).all():
                return None
            weights = _gathered(weights, kinds, grouping)
            successors, kinds, r = grouping.successors, EACH, means
            ladder.append((grouping, known, weights, r))
        if not ladder:
            return None
        v = r.max(axis=1) / (1 - self.gamma)
        for level in range(len(ladder), 0, -1):
            grouping, known, weights, r = ladder[level - 1]
            self._settle(level, weights, r, v)
            alone = grouping.groups == kernels.ALONE
            v = np.where(alone, known, v[np.where(alone, 0, grouping.groups)])
        return v

    def _settle(self, level: int, weights: Rough, r: Array, v: Array) -> None:
        """Policy iteration at a coarser level, as far as its values are worth it at the finer one."""
        successors, first = self.groupings[level - 1].successors, None
        chosen, d = np.empty((len(v), weights.shape[2])), np.empty(len(v))
        for _ in range(ROUNDS):
            for backward in (True, False, True, False):
                kernels.sweep(successors, weights, r, self.gamma, v, backward)
            size = kernels.choose(successors, weights, r, self.gamma, v, chosen, d)
            first = size if first is None else first
            if size <= max(ENOUGH * first, EPS * float(abs(v).max())) or not np.isfinite(size):
                return
            self.prepare(successors, chosen, level)
            v += self.solve(successors, chosen, d, LOOSE * size, level)[0]


def _group(successors: Unsigned, strength: Rough) -> Grouping | None:
    """States by fours: pairs of pairs; None where they do not get much fewer."""
    moves = ((successors != np.arange(len(successors), dtype=np.uint32)[:, None]) & (strength > 0)).any(axis=1)
    groups = np.where(moves, 0, kernels.ALONE).astype(np.uint32)
    count = kernels.pair(successors, strength, groups)
    pairs = _connected(successors, groups, count)
    if pairs is None:
        return None
    again = np.zeros(count, np.uint32)
    fours = kernels.pair(pairs.successors, _gathered(strength[:, None], EACH, pairs)[:, 0], again)
    groups = np.where(moves, again[np.where(moves, groups, 0)], kernels.ALONE).astype(np.uint32) if count else groups
    found = _connected(successors, groups, fours)
    return found if found is not None and fours and fours < SHRINKS * moves.sum() else None


def _connected(successors: Unsigned, groups: Unsigned, count: int) -> Grouping | None:
    slots, sizes = np.empty(successors.shape, np.uint8), np.empty(count, np.float32)
    for limit in (WIDEST // 4, WIDEST):  # few have more than the first
        coarse = np.empty((count, limit), np.uint32)
        width = kernels.connect(successors, groups, count, coarse, slots, sizes)
        if width <= limit:
            return Grouping(groups, slots, sizes, np.ascontiguousarray(coarse[:, :width]))
    return None


def _gathered(weights: Rough, kinds: Unsigned, grouping: Grouping) -> Rough:
    count, width = grouping.successors.shape
    out = np.empty((count, weights.shape[1], width), np.float32)
    kernels.gather(weights, kinds, *grouping[:3], out)
    return out
