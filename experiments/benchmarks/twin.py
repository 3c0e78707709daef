"""UCBVI exactly as rlberry-scool has it, as a learner of ours: for timing the same work, not for use."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab.checks import Array
from claimlab.mdps.beliefs import Visits, add_visits, no_visits
from claimlab.mdps.episodes import Learner


class Twin(NamedTuple):
    """State of `RlberryUCBVI`."""

    visits: Visits  # of all steps together
    r: Array  # [H, S, A]
    bonus: Array  # [H, S, A], of the last visit at that step
    q: Array  # [H, S, A]
    v: Array  # [H + 1, S]


@dataclass(frozen=True)
class RlberryUCBVI(Learner):
    r"""The algorithm of ``UCBVIAgent``: its bonus is that of :class:`~claimlab.mdps.optimistic.SimplifiedBonus`.

    It is not ``UCBVI(SimplifiedBonus(), pooled=True, monotone=False)``: the bonus of a step is that of the pair's last
    visit *at that step*, rewards count from the first visit on, and action values are not clipped at H - h, only values
    at H.  `scale` is its ``bonus_scale_factor``.
    """

    scale: float = 1.0

    def ready(self, r: Array, initial: Array, episodes: int) -> Twin:
        H, S, A = r.shape
        bonus = np.zeros((H, S, A))
        for h in range(H):
            bonus[h] = H - h
        return Twin(no_visits(1, S, A), r, bonus, np.zeros((H, S, A)), np.zeros((H + 1, S)))

    def plan(self, state: Twin, k: int, rng: Generator, policy: Array) -> int:
        H, S, A = policy.shape
        for h in range(H - 1, -1, -1):
            v, uniform = state.v[h + 1], 0.0
            for t in range(S):
                uniform += v[t] / S
            for s in range(S):
                best, chosen = -inf, 0
                for a in range(A):
                    n = state.visits.n[0, s, a]
                    q = state.bonus[h, s, a] + (state.r[h, s, a] if n > 0 else uniform)
                    if n > 0:
                        total = 0.0
                        for j in range(state.visits.seen[0, s, a]):
                            t = state.visits.successors[0, s, a, j]
                            total += state.visits.hits[0, s, a, t] * v[t]
                        q += total / n
                    if k == 0:  # it plans after episodes
                        q = 0.0
                    state.q[h, s, a] = q
                    policy[h, s, a] = 0.0
                    if q > best:
                        best, chosen = q, a
                state.v[h, s] = min(best, 1.0 * H)
                policy[h, s, chosen] = 1.0
        return 0

    def watch(self, state: Twin, h: int, s: int, a: int, t: int) -> None:
        add_visits(state.visits, 0, s, a, t, 1.0)
        n, left = state.visits.n[0, s, a], 1.0 * (state.r.shape[0] - h)
        state.bonus[h, s, a] = min(self.scale / sqrt(n) + left / n, left)
