r"""Unconstrained optimism over episodes: planning in confidence sets (BPI-UCBVI with its bonuses), and UCBVI.

UCBVI plans with the empirical transitions and adds a bonus to each reward (Azar, Osband & Munos 2017, Minimax regret
bounds for reinforcement learning, Algorithms 1-4).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from math import inf, log, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.checks import Array
from claimlab.mdps.beliefs import (
    Beliefs,
    Visits,
    add_visits,
    learn_transition,
    new_beliefs,
    no_visits,
    plan_optimism,
    transition_counts,
)
from claimlab.mdps.confidence import L1Sets, Sets
from claimlab.mdps.episodes import Learner
from claimlab.native import Native, kernel


class Knowledge(NamedTuple):
    """State of the learners that plan in confidence sets."""

    beliefs: Beliefs
    r: Array  # [H, S, A]
    initial: Array  # [S]
    notes: Array  # [4], what the learner keeps from episode to episode


@kernel
def choose(policy: Array, h: int, s: int, a: int) -> None:
    """Make `policy`, deterministic or zero in `s` at step `h`, take `a` there: mostly it does so already."""
    if policy[h, s, a] != 1.0:
        for other in range(policy.shape[2]):
            policy[h, s, other] = 0.0
        policy[h, s, a] = 1.0


@kernel
def follow(greedy: Any, policy: Array, start: int) -> None:
    """Write the deterministic `greedy`, int[H, S], to `policy` from step `start` on."""
    H, S, A = policy.shape
    for h in range(start, H):
        for s in range(S):
            for a in range(A):
                policy[h, s, a] = 1.0 if a == greedy[h, s] else 0.0


@dataclass(frozen=True, eq=False)
class Optimism(Learner):
    """Play the policy that is greedy for the upper bounds of `sets`: UCRL2 for episodes, or BPI-UCBVI.

    With :class:`~claimlab.mdps.confidence.L1Sets` it is the unconstrained twin of
    :class:`~claimlab.mdps.conservative.StepMix`; with ``BernsteinSets`` the sampling rule of BPI-UCBVI (Menard et al.
    2021).  `data`, float[Z, S, A, S], counts transitions known beforehand.
    """

    sets: Sets = field(default_factory=L1Sets)
    data: Any = None

    def __post_init__(self) -> None:
        self._settle(data=transition_counts(self.data))

    def ready(self, r: Array, initial: Array, episodes: int) -> Knowledge:
        H, S, A = r.shape
        return Knowledge(new_beliefs(self.sets, H, S, A, self.data), r, initial, np.zeros(4))

    def plan(self, state: Knowledge, k: int, rng: Generator, policy: Array) -> int:
        plan_optimism(self.sets, state.beliefs, state.r)
        follow(state.beliefs.greedy, policy, 0)
        return 0

    def watch(self, state: Knowledge, h: int, s: int, a: int, t: int) -> None:
        learn_transition(self.sets, state.beliefs, h, s, a, t)


@dataclass(frozen=True, eq=False)
class Fixed(Learner):
    """Follow `policy`, float[H, S, A], in every episode and count transitions, for each step or `pooled`."""

    policy: Array
    pooled: bool = False

    def __post_init__(self) -> None:
        self._settle(
            policy=checks.distributions("policy", self.policy, ndim=3), pooled=checks.boolean("pooled", self.pooled)
        )

    def ready(self, r: Array, initial: Array, episodes: int) -> Visits:
        H, S, A = r.shape
        return no_visits(1 if self.pooled else H, S, A)

    def plan(self, state: Visits, k: int, rng: Generator, policy: Array) -> int:
        if k == 0:
            policy[:] = self.policy
        return 0

    def watch(self, state: Visits, h: int, s: int, a: int, t: int) -> None:
        add_visits(state, 0 if self.pooled else h, s, a, t, 1.0)


class Model(NamedTuple):
    """State of UCBVI."""

    visits: Visits
    r: Array  # [H, S, A]
    shares: Array  # [Z, S, A, 2], 1 / n and its root; 0 before the first visit
    arrivals: Array  # [H + 1, S], visits to each state at each step
    q: Array  # [H, S, A]
    v: Array  # [H + 1, S]
    log_term: Array  # [1], L


class Bonus(Native):
    """What UCBVI adds to a reward, from the row's visits, the next values and the visits to the next states."""

    @abstractmethod
    def bonus(self, m: Model, h: int, z: int, s: int, a: int, average: float) -> float:
        """For a row with visits; `average` is the empirical mean of ``m.v[h + 1]``."""


@dataclass(frozen=True)
class HoeffdingBonus(Bonus):
    r"""UCBVI-CH: :math:`7HL/\sqrt n` (Azar et al. 2017, Algorithm 3)."""

    def bonus(self, m: Model, h: int, z: int, s: int, a: int, average: float) -> float:
        return 7 * m.q.shape[0] * m.log_term[0] * m.shares[z, s, a, 1]


@dataclass(frozen=True)
class BernsteinBonus(Bonus):
    r"""UCBVI-BF (Azar et al. 2017, Algorithm 4), with N'(t) the visits to t at the next step:

    .. math:: \sqrt{\frac{8L\,\mathrm{Var}_{\hat p}(v_{h+1})}{n}} + \frac{14HL}{3n}
              + \sqrt{\frac8n \sum_t \hat p(t) \min\Bigl\{\frac{100^2H^3S^2AL^2}{N'(t)}, H^2\Bigr\}} .
    """

    def bonus(self, m: Model, h: int, z: int, s: int, a: int, average: float) -> float:
        H, S, A = m.q.shape
        L, share = m.log_term[0], m.shares[z, s, a, 0]
        variance, spread = 0.0, 0.0
        for j in range(m.visits.seen[z, s, a]):
            t = m.visits.successors[z, s, a, j]
            p = m.visits.hits[z, s, a, t] * share
            variance += p * (m.v[h + 1, t] - average) ** 2
            known = m.arrivals[h + 1, t]
            spread += p * (min(1e4 * H**3 * S**2 * A * L**2 / known, 1.0 * H * H) if known > 0 else 1.0 * H * H)
        return sqrt(8 * L * variance * share) + 14 * H * L * share / 3 + sqrt(8 * spread * share)


@dataclass(frozen=True)
class KnownRewardBonus(Bonus):
    r""":math:`b\sqrt{L/2n}`, b the range of the next values, `span` or H - h - 1 if that is less (h from 0).

    Ours: rewards are known, so only :math:`\hat p\,v^*_{h+1}` is off, a mean of n values in a range of b for a fixed
    :math:`v^*`; Hoeffding's inequality and a union over n and (h, s, a) make every plan optimistic with probability at
    least :math:`1-\delta`.
    """

    span: float = inf

    def __post_init__(self) -> None:
        self._settle(span=checks.interval("span", self.span, 0, inf, "[]"))

    def bonus(self, m: Model, h: int, z: int, s: int, a: int, average: float) -> float:
        width = min(self.span, 1.0 * (m.q.shape[0] - h - 1))
        return width * sqrt(m.log_term[0] / 2) * m.shares[z, s, a, 1]


@dataclass(frozen=True)
class SimplifiedBonus(Bonus):
    r""":math:`\min\{\text{scale}/\sqrt n + (H-h)/n,\ H-h\}`: not a theorem, but what rlberry-scool runs by default.

    With ``UCBVI(SimplifiedBonus(), pooled=True, monotone=False)`` an episode is the work of its ``UCBVIAgent``.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        self._settle(scale=checks.interval("scale", self.scale, 0, inf, "[)"))

    def bonus(self, m: Model, h: int, z: int, s: int, a: int, average: float) -> float:
        left = 1.0 * (m.q.shape[0] - h)
        return min(self.scale * m.shares[z, s, a, 1] + left * m.shares[z, s, a, 0], left)


@dataclass(frozen=True)
class UCBVI(Learner):
    r"""UCBVI: :math:`q_h = \min\{H,\ r + \hat p\,v_{h+1} + \text{bonus}\}`, H where nothing was seen.

    Parameters
    ----------
    bonus : Bonus
        `BernsteinBonus`, the minimax one, by default; `HoeffdingBonus`; `SimplifiedBonus`.
    delta : float
        In :math:`L = \log(5SAKH/\delta)`; with pooled steps as in the paper, and the same L without.
    pooled : bool
        Whether visits of all steps count together, as in the paper, whose transitions do not depend on the step.
    monotone : bool
        Whether :math:`q` may only fall from episode to episode (Algorithm 2).
    """

    bonus: Bonus = field(default_factory=BernsteinBonus)
    delta: float = 0.1
    pooled: bool = False
    monotone: bool = True

    def __post_init__(self) -> None:
        self._settle(
            delta=checks.interval("delta", self.delta, 0, 1, "()"),
            pooled=checks.boolean("pooled", self.pooled),
            monotone=checks.boolean("monotone", self.monotone),
        )

    def ready(self, r: Array, initial: Array, episodes: int) -> Model:
        H, S, A = r.shape
        Z = 1 if self.pooled else H
        q = np.zeros((H, S, A))
        for h in range(H):
            q[h] = H - h
        L = np.full(1, log(5 * S * A * episodes * H / self.delta))
        return Model(no_visits(Z, S, A), r, np.zeros((Z, S, A, 2)), np.zeros((H + 1, S)), q, np.zeros((H + 1, S)), L)

    def plan(self, state: Model, k: int, rng: Generator, policy: Array) -> int:
        H, S, A = policy.shape
        for h in range(H - 1, -1, -1):
            z, v = 0 if self.pooled else h, state.v[h + 1]
            for s in range(S):
                best, chosen = -inf, 0
                for a in range(A):
                    q = 1.0 * (H - h)
                    share = state.shares[z, s, a, 0]
                    if share > 0:
                        total = 0.0
                        for j in range(state.visits.seen[z, s, a]):
                            t = state.visits.successors[z, s, a, j]
                            total += state.visits.hits[z, s, a, t] * v[t]
                        average = total * share
                        q = min(q, state.r[h, s, a] + average + self.bonus.bonus(state, h, z, s, a, average))
                    if self.monotone:
                        q = min(q, state.q[h, s, a])
                    state.q[h, s, a] = q
                    if q > best:
                        best, chosen = q, a
                state.v[h, s] = best
                choose(policy, h, s, chosen)
        return 0

    def watch(self, state: Model, h: int, s: int, a: int, t: int) -> None:
        z = 0 if self.pooled else h
        add_visits(state.visits, z, s, a, t, 1.0)
        state.arrivals[h + 1, t] += 1
        share = 1 / state.visits.n[z, s, a]
        state.shares[z, s, a, 0], state.shares[z, s, a, 1] = share, sqrt(share)
