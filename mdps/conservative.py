r"""Exploration that never falls below a threshold: StepMix, EpsMix, budgeted exploration, and baselines from data.

A baseline policy :math:`\pi^b` with :math:`v^{\pi^b} \ge \gamma` is known, the transitions are not.  Every executed
policy shall have a value of at least :math:`\gamma`, with probability :math:`1-\delta` in all episodes together.

Source: Li, Huang, Shen & Yang (2023), Near-optimal conservative exploration in reinforcement learning under
episode-wise constraints.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.checks import Array
from claimlab.mdps.beliefs import (
    Beliefs,
    learn_transition,
    lower_bound,
    mean,
    new_beliefs,
    pessimistic,
    plan_optimism,
    transition_counts,
)
from claimlab.mdps.confidence import L1Sets, Sets, sort_upwards
from claimlab.mdps.episodes import Learner
from claimlab.mdps.optimistic import Knowledge, follow
from claimlab.mdps.staged import StagedMDP
from claimlab.native import kernel

LOW, HIGH, RHO = 0, 1, 2  # notes of an episode: certificates of the two policies that are mixed, and the weight
CREDIT = 3  # of budgeted exploration


class Conservative(Learner):
    """What the conservative learners share: their parameters, and what they know.

    Parameters
    ----------
    baseline : float[H, S, A]
        The policy to fall back on.
    threshold : float
        What no episode's value shall fall below; the premise is that the baseline's value is not.
    sets : Sets
        Confidence sets whose lower bounds are the certificates; `L1Sets` by default.
    known : float
        A lower bound on the baseline's value that is known beforehand, such as the value itself; 0 says nothing.
    data : int[Z, S, A, S], optional
        How often each transition was seen beforehand.
    """

    baseline: Array
    threshold: float
    sets: Sets
    known: float
    data: Any

    def __post_init__(self) -> None:
        self._settle(
            baseline=checks.distributions("baseline", self.baseline, ndim=3),
            threshold=checks.interval("threshold", self.threshold, 0, np.inf, "[)"),
            known=checks.interval("known", self.known, 0, np.inf, "[)"),
            data=transition_counts(self.data),
        )

    def ready(self, r: Array, initial: Array, episodes: int) -> Knowledge:
        H, S, A = r.shape
        return Knowledge(new_beliefs(self.sets, H, S, A, self.data), r, initial, np.zeros(4))

    def watch(self, state: Knowledge, h: int, s: int, a: int, t: int) -> None:
        learn_transition(self.sets, state.beliefs, h, s, a, t)


@dataclass(frozen=True, eq=False)
class StepMix(Conservative):
    r"""Step-wise mixtures of the baseline and the optimistic policy.

    Candidate :math:`h_0` follows the baseline for :math:`h_0` steps and the optimistic policy :math:`\bar\pi`
    after.  With lower bounds :math:`\ell(h_0)`:

    1. if :math:`\ell(0) \ge \gamma`, play :math:`\bar\pi` (kind 0);
    2. else if :math:`\ell(H) < \gamma`, play the baseline (kind H + 1);
    3. else take the least :math:`h_0` with :math:`\ell(h_0) \ge \gamma` and play the policy that differs from its
       neighbours at one step only (kind :math:`h_0`): there it takes the baseline's action with probability
       :math:`\rho = \frac{\gamma - \ell(h_0-1)}{\ell(h_0) - \ell(h_0-1)}`, else that of :math:`\bar\pi`.

    **Theorem (safety).** On the event of `sets` every episode has a value of at least :math:`\gamma`, if the baseline
    has.  *Proof.* Policies that differ at one step have an affine value in the weight there, since the law of the
    states before that step and the values after it do not depend on it.  So
    :math:`v = (1-\rho)\,v(h_0-1) + \rho\,v(h_0) \ge (1-\rho)\,\ell(h_0-1) + \rho\,\ell(h_0) = \gamma`.

    The certificate is this chord: the lower bound computed *for the mixture* need not reach :math:`\gamma`.

    Baseline first keeps optimism: the upper bound of every candidate is at least the baseline's value, since after
    :math:`h_0` steps it is at least :math:`v^*`.  The price of safety rests on that
    (:mod:`claimlab.theory.conservative`).

    Source: Li et al. (2023), Algorithm 1; our reading of it, as to which policy goes first.
    """

    baseline: Array
    threshold: float
    sets: Sets = field(default_factory=L1Sets)
    known: float = 0.0
    data: Any = None

    def plan(self, state: Knowledge, k: int, rng: Generator, policy: Array) -> int:
        H, S, A = policy.shape
        b, r, initial, notes = state
        plan_optimism(self.sets, b, r)
        low = mean(initial, b.lower[0])
        if low >= self.threshold:
            follow(b.greedy, policy, 0)
            return 0
        safe = max(lower_bound(self.sets, b, r, initial, self.baseline, H), self.known)
        if safe < self.threshold:
            policy[:] = self.baseline
            return H + 1
        steps = 1
        high = safe if H == 1 else lower_bound(self.sets, b, r, initial, self.baseline, 1)
        while high < self.threshold:
            steps, low = steps + 1, high
            high = safe if steps == H else lower_bound(self.sets, b, r, initial, self.baseline, steps)
        rho = (self.threshold - low) / (high - low)
        notes[LOW], notes[HIGH], notes[RHO] = low, high, rho
        policy[:steps] = self.baseline[:steps]
        follow(b.greedy, policy, steps)
        for s in range(S):
            for a in range(A):
                greedy = 1.0 if a == b.greedy[steps - 1, s] else 0.0
                policy[steps - 1, s, a] = (1 - rho) * greedy + rho * self.baseline[steps - 1, s, a]
        return steps


@dataclass(frozen=True, eq=False)
class EpsMix(Conservative):
    r"""One coin an episode: the whole optimistic policy, or the whole baseline.

    Where the optimistic policy is not certified, :math:`\ell(\bar\pi) < \gamma \le \ell(\pi^b)`, it is played with
    probability :math:`\epsilon = \frac{\ell(\pi^b) - \gamma}{\ell(\pi^b) - \ell(\bar\pi)}` (kind 1), else the baseline
    (kind H + 1).  On the event of `sets` the value averaged over the coin is at least :math:`\gamma`; that of the
    policy which the coin chooses need not be.  Certified optimistic episodes are of kind 0.

    Source: Li et al. (2023), Algorithm 2.
    """

    baseline: Array
    threshold: float
    sets: Sets = field(default_factory=L1Sets)
    known: float = 0.0
    data: Any = None

    def plan(self, state: Knowledge, k: int, rng: Generator, policy: Array) -> int:
        b, r, initial, notes = state
        plan_optimism(self.sets, b, r)
        low = mean(initial, b.lower[0])
        notes[RHO] = 0.0
        if low >= self.threshold:
            follow(b.greedy, policy, 0)
            return 0
        high = max(lower_bound(self.sets, b, r, initial, self.baseline, r.shape[0]), self.known)
        if high >= self.threshold:
            notes[LOW], notes[HIGH], notes[RHO] = low, high, (self.threshold - low) / (high - low)
            if rng.random() >= notes[RHO]:
                follow(b.greedy, policy, 0)
                return 1
        else:
            notes[RHO] = 1.0
        policy[:] = self.baseline
        return r.shape[0] + 1


@dataclass(frozen=True, eq=False)
class BudgetExploration(Conservative):
    r"""The cumulative constraint: the optimistic policy whenever earlier episodes have earned enough to risk it.

    Play :math:`\bar\pi` iff :math:`\sum_{i<k} (\ell_i - \gamma) + \ell_k(\bar\pi) - \gamma \ge 0`, where
    :math:`\ell_i` is the lower bound of episode i's policy when it was played; else the baseline (kind H + 1).  On the
    event, :math:`\sum_{i \le k} v^{\pi_i} \ge k\gamma` for all k: single episodes may fall below.

    Source: the principle of Yang, Wu, Lattimore, Szepesvari et al. (2021), A unified framework for conservative
    exploration; here with certificates of the same sets as :class:`StepMix`, frozen when played, so that only the
    constraint differs.
    """

    baseline: Array
    threshold: float
    sets: Sets = field(default_factory=L1Sets)
    known: float = 0.0
    data: Any = None

    def plan(self, state: Knowledge, k: int, rng: Generator, policy: Array) -> int:
        b, r, initial, notes = state
        plan_optimism(self.sets, b, r)
        gain = mean(initial, b.lower[0]) - self.threshold
        if notes[CREDIT] + gain >= 0:
            notes[CREDIT] += gain
            follow(b.greedy, policy, 0)
            return 0
        safe = max(lower_bound(self.sets, b, r, initial, self.baseline, r.shape[0]), self.known, self.threshold)
        notes[CREDIT] += safe - self.threshold  # the premise: the baseline is worth the threshold
        policy[:] = self.baseline
        return r.shape[0] + 1


class Pessimism(NamedTuple):
    """A policy learned from data, with its certificate."""

    policy: Array  # [H, S, A], deterministic
    lower: Array  # [H + 1, S], below its value on the event of the sets
    value: float  # the same for the law of the first state


def pessimistic_value_iteration(mdp: StagedMDP, data: Any, sets: Sets | None = None) -> Pessimism:
    r"""The policy with the largest lower bound: a baseline learned from data, and what it is certified to be worth.

    .. math:: \underline q_h(s,a) = r_h(s,a) + \min_{q \in \text{set}} q \cdot \underline v_{h+1}, \qquad
              \underline v_h(s) = \max_a \underline q_h(s,a)

    **Theorem.** With ``L1Sets`` and on their event, for every policy :math:`\pi`,

    .. math:: v^\pi - v^{\hat\pi} \le v^\pi - \underline v
              \le E_\pi \sum_h (H-h-1) \min\{\mathrm{rad}_h(s_h,a_h), 1\} .

    *Proof.* :math:`\underline v \ge \underline v^\pi` by induction, and at one step
    :math:`p \cdot v^\pi_{h+1} - q \cdot \underline v^\pi_{h+1} = p \cdot (v^\pi - \underline v^\pi)_{h+1} +
    (p - q) \cdot \underline v^\pi_{h+1}` with :math:`\|p - q\|_1 \le 2\,\mathrm{rad}` and a span of at most H-h-1.

    Parameters
    ----------
    mdp : StagedMDP
        Its rewards and first state are read, its transitions are not.
    data : int[Z, S, A, S]
        How often each transition was seen.
    sets : Sets, optional
        ``L1Sets()`` by default.

    Source: Jin, Yang & Wang (2021), Is pessimism provably efficient for offline RL?, Algorithm 1, with balls in place
    of bonuses.
    """
    sets, counts = L1Sets() if sets is None else sets, transition_counts(data)
    expected = (1 if sets.pooled else mdp.horizon, mdp.n_states, mdp.n_actions, mdp.n_states)
    if counts.shape != expected:
        raise ValueError(f"data must have shape (Z, S, A, S) = {expected}, got {counts.shape}.")
    lower, policy = np.zeros((mdp.horizon + 1, mdp.n_states)), np.zeros(mdp.r.shape)
    beliefs = new_beliefs(sets, mdp.horizon, mdp.n_states, mdp.n_actions, counts)
    plan_optimism(sets, beliefs, mdp.r)
    plan_pessimism(sets, beliefs, mdp.r, lower, policy)
    return Pessimism(policy, lower, float(mdp.initial @ lower[0]))


@kernel
def plan_pessimism(sets: Sets, b: Beliefs, r: Array, lower: Array, policy: Array) -> None:
    """Fill `lower`, float[H + 1, S] with last row zero, and `policy`, zeros[H, S, A]; after :func:`plan_optimism`."""
    H, S, A = r.shape
    order = b.falling[0]
    for h in range(H - 1, -1, -1):
        sort_upwards(lower[h + 1], order)
        for s in range(S):
            best, chosen = -1.0, 0
            for a in range(A):
                q = pessimistic(sets, b, r, h, s, a, lower[h + 1], order)
                if q > best:
                    best, chosen = q, a
            lower[h, s], policy[h, s, chosen] = best, 1.0
