"""UCBVI exactly as rlberry-scool has it, as a learner of ours: for timing the same work, not for use."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab.checks import Array
from claimlab.mdps.episodes import Learner
from claimlab.native import fast_kernel


class Twin(NamedTuple):
    """State of `RlberryUCBVI`."""

    n: Array  # [S, A], visits, of all steps together
    hits: Array  # [S, A, S], how many of them led where
    model: Array  # [S, A, S], their shares, 1/S where nothing was seen
    r: Array  # [H, S, A]
    gain: Array  # [H, S, A], the bonus of the last visit at that step, and the reward once it was seen at any
    v: Array  # [H + 1, S]


@fast_kernel
def _plan(gain: Array, model: Array, v: Array, policy: Array) -> None:
    H, S, A = gain.shape
    for h in range(H - 1, -1, -1):
        for s in range(S):
            best, chosen = -inf, 0
            for a in range(A):
                q = gain[h, s, a]
                for t in range(S):
                    q += model[s, a, t] * v[h + 1, t]
                policy[h, s, a] = 0.0
                if q > best:
                    best, chosen = q, a
            v[h, s] = min(best, 1.0 * H)
            policy[h, s, chosen] = 1.0


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
        gain = np.zeros((H, S, A))
        for h in range(H):
            gain[h] = H - h
        hits, model = np.zeros((S, A, S)), np.full((S, A, S), 1 / S)
        return Twin(np.zeros((S, A)), hits, model, r, gain, np.zeros((H + 1, S)))

    def plan(self, state: Twin, k: int, rng: Generator, policy: Array) -> int:
        if k == 0:  # it plans after episodes
            policy[:] = 0.0
            policy[:, :, 0] = 1.0
        else:
            _plan(state.gain, state.model, state.v, policy)
        return 0

    def watch(self, state: Twin, h: int, s: int, a: int, t: int) -> None:
        H, S, _ = state.r.shape
        if state.n[s, a] == 0:
            for step in range(H):
                state.gain[step, s, a] += state.r[step, s, a]
        state.n[s, a] += 1
        state.hits[s, a, t] += 1
        share, left = 1 / state.n[s, a], 1.0 * (H - h)
        state.gain[h, s, a] = min(self.scale * sqrt(share) + left * share, left) + state.r[h, s, a]
        for j in range(S):
            state.model[s, a, j] = state.hits[s, a, j] * share
