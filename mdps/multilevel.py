r"""Policies' values on several scales: a policy's equations solved by cycles over groups of states.

News travels a state a sweep, so that on large grids and chains sweeps, and Krylov methods alike, need as many steps as
the state space is wide.  Here states are put together by fours, those that move to each other most (Notay 2010), and
again, until few are left.  A level has the mean transitions of its groups; what smoothing leaves of a residual is
settled on the next coarser level, and added to the values of all members.  How states are grouped depends on the
MDP alone, so that another policy costs one pass over its rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from claimlab.checks import Array
from claimlab.mdps import multilevel_kernels as kernels
from claimlab.mdps.kernels import Unsigned

WIDEST = 48  # successors of a group at most
SHRINKS = 0.7  # of the states at most make up the next level
STOP = 0.03
LOOSE = 0.1
ROUNDS = 10
CYCLES = 6
LOG = False
VISITS = 2  # of a level for each of the finer one


class Grouping(NamedTuple):
    """How a level of states becomes the next."""

    groups: Unsigned  # [S]
    slots: Any  # uint8[S, b]
    sizes: Array  # [S']
    successors: Unsigned  # [S', b']


class Multilevel:
    """The levels of an MDP with union rows, successors[S, b] and weights[S, A, b]."""

    def __init__(self, successors: Unsigned, weights: Array, gamma: float) -> None:
        self.gamma, self.fine = gamma, successors
        self.groupings: list[Grouping] = []
        strength = weights.sum(axis=1)
        while (found := _group(successors, strength)) is not None:
            self.groupings.append(found)
            successors, strength = found.successors, _gathered(strength[:, None], found)[:, 0]
            strength[:, 0] = 0.0
        parts = self.groupings
        n, b = [strength.shape[0]], [0]
        n = np.array([len(g.groups) for g in parts] + [len(successors)], np.int64)
        b = np.array([0] + [g.successors.shape[1] for g in parts], np.int64)
        rows = np.concatenate([[0], np.cumsum(n)[:-1]])
        entries = np.concatenate([[0], np.cumsum(n * b)[:-1]])
        size = int(n.sum())
        self.levels = kernels.Levels(
            n, b, rows, entries,
            np.concatenate([np.empty(0, np.uint32)] + [g.successors.ravel() for g in parts]),
            np.empty(int((n * b).sum())),
            np.concatenate([g.groups for g in parts] + [np.zeros(n[-1], np.uint32)]),
            np.concatenate([np.ones(n[0])] + [g.sizes for g in parts]),
            np.empty(size), np.empty(size), np.empty(size),
        )

    def prepare(self, successors: Unsigned, weights: Array, level: int = 0) -> None:
        """The transitions of a policy at every coarser level, from its rows at `level`."""
        levels = self.levels
        n, row = int(levels.n[level]), int(levels.rows[level])
        kernels.pivots(successors, weights, self.gamma, levels.pivot[row : row + n])
        fine = weights[:, None]
        for coarser, grouping in enumerate(self.groupings[level:], level + 1):
            n, b, row, entry = (int(x[coarser]) for x in (levels.n, levels.b, levels.rows, levels.entries))
            out = levels.weights[entry : entry + n * b].reshape(n, 1, b)
            kernels.gather(fine, grouping.groups, grouping.slots, grouping.sizes, out)
            kernels.pivots(grouping.successors, out[:, 0], self.gamma, levels.pivot[row : row + n])
            fine = out

    def solve(
        self, successors: Unsigned, weights: Array, d: Array, tol: float, limit: int, level: int = 0
    ) -> tuple[Array, float]:
        """About the solution of (I - gamma P) e = d for the rows of the last :meth:`prepare`."""
        e, levels = np.empty_like(d), self.levels
        part = levels._replace(
            n=levels.n[level:], b=levels.b[level:], rows=levels.rows[level:], entries=levels.entries[level:]
        )
        part.d[part.rows[0] : part.rows[0] + len(d)] = d
        left = kernels.solve_by_cycles(successors, weights, self.gamma, part, VISITS, e, tol, limit)
        return e, left

    def start(self, weights: Array, r: Array) -> Array:
        """Values of the MDP whose states are the groups, from the coarsest to the second finest level."""
        ladder = []
        for grouping in self.groupings:
            alone = grouping.groups == kernels.ALONE
            known = np.where(alone, r.max(axis=1) / (1 - self.gamma), 0.0)
            if not ladder and alone.any():
                r = r + self.gamma * (weights * known[self.fine][:, None]).sum(axis=2)
            coarse = np.zeros((len(grouping.sizes), r.shape[1]))
            np.add.at(coarse, grouping.groups[~alone], r[~alone])
            r = coarse / grouping.sizes[:, None]
            weights = _gathered(weights, grouping)
            ladder.append((grouping, known, weights, r))
        v = ladder[-1][3].max(axis=1) / (1 - self.gamma)
        for level in range(len(ladder), 0, -1):
            grouping, known, weights, r = ladder[level - 1]
            v = self._settle(level, grouping.successors, weights, r, v)
            alone = grouping.groups == kernels.ALONE
            v = np.where(alone, known, v[np.where(alone, 0, grouping.groups)])
        return v

    def _settle(self, level: int, successors: Unsigned, weights: Array, r: Array, v: Array) -> Array:
        chosen, d = np.empty((len(v), weights.shape[2])), np.empty(len(v))
        first = np.inf
        for k in range(ROUNDS):
            for backward in (True, False, True, False):
                kernels.sweep(successors, weights, r, self.gamma, v, backward)
            size = kernels.choose(successors, weights, r, self.gamma, v, chosen, d)
            first = min(first, size)
            if LOG: print('    level',level,len(v),k,size, abs(v).max())
            if size <= STOP * first or size < 1e-9*abs(v).max():
                break
            self.prepare(successors, chosen, level)
            v += self.solve(successors, chosen, d, LOOSE * size, CYCLES, level)[0]
        return v


def _group(successors: Unsigned, strength: Array) -> Grouping | None:
    """States by fours: pairs of pairs; None where they do not get much fewer."""
    moves = ((successors != np.arange(len(successors), dtype=np.uint32)[:, None]) & (strength > 0)).any(axis=1)
    groups = np.where(moves, 0, kernels.ALONE).astype(np.uint32)
    count = kernels.pair(successors, strength, groups)
    pairs = _connected(successors, groups, count)
    if pairs is None:
        return None
    again = np.zeros(count, np.uint32)
    fours = kernels.pair(pairs.successors, _gathered(strength[:, None], pairs)[:, 0], again)
    groups = np.where(moves, again[np.where(moves, groups, 0)], kernels.ALONE).astype(np.uint32) if count else groups
    found = _connected(successors, groups, fours)
    return found if found is not None and fours and fours < SHRINKS * moves.sum() else None


def _connected(successors: Unsigned, groups: Unsigned, count: int) -> Grouping | None:
    coarse, slots, sizes = np.empty((count, WIDEST), np.uint32), np.empty(successors.shape, np.uint8), np.empty(count)
    width = kernels.connect(successors, groups, count, coarse, slots, sizes)
    if width > WIDEST:
        return None
    return Grouping(groups, slots, sizes, np.ascontiguousarray(coarse[:, :width]))


def _gathered(weights: Array, grouping: Grouping) -> Array:
    count, width = grouping.successors.shape
    out = np.empty((count, weights.shape[1], width))
    kernels.gather(weights, grouping.groups, grouping.slots, grouping.sizes, out)
    return out
