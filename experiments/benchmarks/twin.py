"""UCBVI exactly as rlberry-scool has it, as a learner of ours: for timing the same work, not for use."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab.checks import Array, Ints
from claimlab.mdps.beliefs import Visits, add_visits, no_visits
from claimlab.mdps.episodes import Learner
from claimlab.mdps.optimistic import choose


class Twin(NamedTuple):
    """State of `RlberryUCBVI`."""

    visits: Visits  # of all steps together
    shares: Array  # [S, A], 1 / n; 0 before the first visit
    unseen: Ints  # [1], pairs without a visit
    r: Array  # [H, S, A]
    gain: Array  # [H, S, A], the bonus of the last visit at that step, and the reward once it was seen at any
    v: Array  # [H + 1, S]


@dataclass(frozen=True)
class RlberryUCBVI(Learner):
    r"""The algorithm of ``UCBVIAgent``: its bonus is that of :class:`~claimlab.mdps.optimistic.SimplifiedBonus`.

    It is not ``UCBVI(SimplifiedBonus(), pooled=True, monotone=False)``: the bonus of a step is that of the pair's last
    visit *at that step*, rewards count from the first visit on, and action values are not clipped at H - h, only values
    at H.  Transitions have the shares of the visits, 1/S before the first.  `scale` is its ``bonus_scale_factor``.
    """

    scale: float = 1.0

    def ready(self, r: Array, initial: Array, episodes: int) -> Twin:
        H, S, A = r.shape
        gain = np.zeros((H, S, A))
        for h in range(H):
            gain[h] = H - h
        return Twin(no_visits(1, S, A), np.zeros((S, A)), np.full(1, S * A), r, gain, np.zeros((H + 1, S)))

    def plan(self, state: Twin, k: int, rng: Generator, policy: Array) -> int:
        H, S, A = policy.shape
        if k == 0:  # it plans after episodes
            policy[:] = 0.0
            policy[:, :, 0] = 1.0
            return 0
        for h in range(H - 1, -1, -1):
            average = 0.0
            if state.unseen[0] > 0:
                for t in range(S):
                    average += state.v[h + 1, t]
                average /= S
            for s in range(S):
                best, chosen = -inf, 0
                for a in range(A):
                    q, share = average, state.shares[s, a]
                    if share > 0:
                        total = 0.0
                        for j in range(state.visits.seen[0, s, a]):  # few of the S, and the others add nothing
                            t = state.visits.successors[0, s, a, j]
                            total += state.visits.hits[0, s, a, t] * state.v[h + 1, t]
                        q = total * share
                    q += state.gain[h, s, a]
                    if q > best:
                        best, chosen = q, a
                state.v[h, s] = min(best, 1.0 * H)
                choose(policy, h, s, chosen)
        return 0

    def watch(self, state: Twin, h: int, s: int, a: int, t: int) -> None:
        if state.shares[s, a] == 0:
            state.unseen[0] -= 1
            for step in range(state.r.shape[0]):
                state.gain[step, s, a] += state.r[step, s, a]
        add_visits(state.visits, 0, s, a, t, 1.0)
        share, left = 1 / state.visits.n[0, s, a], 1.0 * (state.r.shape[0] - h)
        state.shares[s, a] = share
        state.gain[h, s, a] = min(self.scale * sqrt(share) + left * share, left) + state.r[h, s, a]
