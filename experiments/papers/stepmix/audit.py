"""What a learner cannot see: a learner that runs another one and checks, with the true transitions, what it did.

It sums both sides of the price inequality over the episodes that are not plainly optimistic, notes whether the true
transitions ever left the sets, and evaluates EpsMix's coin exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab.checks import Array
from claimlab.mdps.beliefs import Beliefs, lower_bound, mean, upper_bound
from claimlab.mdps.confidence import Sets
from claimlab.mdps.conservative import RHO, Conservative
from claimlab.mdps.episodes import Learner
from claimlab.mdps.optimistic import follow
from claimlab.mdps.staged import StagedMDP, evaluate
from claimlab.native import kernel

EPISODES, CHORDS, WIDTHS, OUTSIDE, COIN, FIRST = range(6)


class Audited(NamedTuple):
    """State: that of the base, the sums, and room to compute in."""

    inner: Any
    sums: Array  # [6]: non-optimistic episodes, U - L, expected widths, leaving of the sets, least coin value, h0
    v: Array  # [H + 1, S]
    optimistic: Array  # [H, S, A]


@dataclass(frozen=True, eq=False)
class Audit(Learner):
    """Play as `base`, with ``L1Sets`` that are not pooled, and audit it in `mdp`."""

    base: Conservative
    mdp: StagedMDP

    def ready(self, r: Array, initial: Array, episodes: int) -> Audited:
        H, S, A = r.shape
        sums = np.zeros(6)
        sums[COIN] = np.inf
        return Audited(self.base.ready(r, initial, episodes), sums, np.zeros((H + 1, S)), np.zeros((H, S, A)))

    def plan(self, state: Audited, k: int, rng: Generator, policy: Array) -> int:
        kind = self.base.plan(state.inner, k, rng, policy)
        b, r, initial, notes = state.inner
        H, sums = r.shape[0], state.sums
        sums[OUTSIDE] = max(sums[OUTSIDE], beyond(b, self.mdp))
        if kind == 0:
            return kind
        follow(b.greedy, state.optimistic, 0)
        rho = notes[RHO]
        coin = (1 - rho) * evaluate(self.mdp, state.optimistic, state.v)
        coin += rho * evaluate(self.mdp, self.base.baseline, state.v)
        sums[COIN] = min(sums[COIN], coin)
        width = chord_width(self.base.sets, b, r, initial, self.base.baseline, kind)
        if kind <= H:
            width = rho * width
            width += (1 - rho) * chord_width(self.base.sets, b, r, initial, self.base.baseline, kind - 1)
        sums[EPISODES] += 1
        sums[CHORDS] += width
        sums[WIDTHS] += expected_widths(b, self.mdp, policy, state.v)
        return kind

    def watch(self, state: Audited, h: int, s: int, a: int, t: int) -> None:
        self.base.watch(state.inner, h, s, a, t)


@kernel
def beyond(b: Beliefs, mdp: StagedMDP) -> float:
    """Largest distance of a true row from the frequencies minus its radius: positive where the event has failed."""
    H, S, A = mdp.r.shape
    worst = -np.inf
    for h in range(H):
        for s in range(S):
            for a in range(A):
                n, distance = b.visits.n[h, s, a], 0.0
                if n > 0:
                    for t in range(S):
                        distance += abs(b.visits.hits[h, s, a, t] / n - mdp.P[h, s, a, t])
                    worst = max(worst, distance - b.widths[h, s, a, 0])
    return worst


@kernel
def chord_width(sets: Sets, b: Beliefs, r: Array, initial: Array, baseline: Array, steps: int) -> float:
    """Upper minus lower bound of the candidate that follows the baseline for `steps` steps (H + 1 means H)."""
    h0 = min(steps, r.shape[0])
    high = upper_bound(sets, b, r, initial, baseline, h0)
    return high - lower_bound(sets, b, r, initial, baseline, h0)


@kernel
def expected_widths(b: Beliefs, mdp: StagedMDP, policy: Array, v: Array) -> float:
    r""":math:`E_\pi \sum_h (H-h-1) \min\{2\,\mathrm{rad}_h, 1\}` under the true transitions; fills `v`."""
    H, S, A = mdp.r.shape
    v[H] = 0.0
    for h in range(H - 1, -1, -1):
        for s in range(S):
            total = 0.0
            for a in range(A):
                if policy[h, s, a] > 0:
                    q = (H - h - 1) * min(2 * b.widths[h, s, a, 0], 1.0)
                    for j in range(mdp.degree[h, s, a]):
                        q += mdp.weights[h, s, a, j] * v[h + 1, mdp.targets[h, s, a, j]]
                    total += policy[h, s, a] * q
            v[h, s] = total
    return mean(mdp.initial, v[0])
