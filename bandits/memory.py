"""Algorithms for rewards with a memory that Mussi et al. (2023) compare with: AR2, and Exp3 in batches."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, e, inf, log, pow, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.bandits.play import Algorithm
from claimlab.bandits.weights import exponential_weights
from claimlab.checks import Array, Ints
from claimlab.draws import sample

# AR2 -----------------------------------------------------------------------------------------------------------------


class Triggers(NamedTuple):
    estimate: Array  # [K], predicted reward of the coming round
    pulled: Ints  # [K], last round of each arm, counted from 1
    since: Ints  # [K], round in which the arm was triggered; 0 if it is not
    last: Ints  # [2], the two arms pulled last, the later first


@dataclass(frozen=True)
class AR2(Algorithm):
    r"""Alternate between the better of the last two arms and arms whose estimates have grown uncertain.

    Chen, Golrezaei & Bouneffouf (2023), Algorithm 1, for rewards that follow :math:`r_i(t+1) = \alpha R_i(t)`,
    :math:`R_i = r_i + \sigma\,\mathcal N(0,1)`.  Every epoch pulls each arm once; then an arm is triggered when its
    estimate lies within :math:`c_1\sigma\sqrt{(\alpha^2-\alpha^{2(t-\tau_i)})/(1-\alpha^2)}` of the superior arm's,
    :math:`\tau_i` its last round; in odd rounds the arm triggered first is pulled.

    Parameters
    ----------
    alpha : float
        In (0, 1).
    sigma : float
    epoch : int
        Rounds between restarts.
    c1 : float
    truncation : float
        Predictions are cut to at most this size.
    released : bool
        As the code of Mussi et al. (2023) has it: arms stay triggered for ever, so odd rounds always draw among those
        that were triggered first; the exponent is :math:`2(t-\tau_i+1)`; first estimates are
        :math:`\alpha^{K-1}R_i`; arms start from the last.
    """

    alpha: float
    sigma: float
    epoch: int
    c1: float
    truncation: float = inf
    released: bool = False

    def __post_init__(self) -> None:
        self._settle(
            alpha=checks.interval("alpha", self.alpha, 0, 1, "()"),
            sigma=checks.interval("sigma", self.sigma, 0, inf, "()"),
            epoch=checks.integer("epoch", self.epoch, 1),
            c1=checks.interval("c1", self.c1, 0, inf, "[)"),
            truncation=checks.interval("truncation", self.truncation, 0, inf, "(]"),
            released=checks.boolean("released", self.released),
        )

    @classmethod
    def tuned(cls, n_arms: int, alpha: float, sigma: float, **more: Any) -> AR2:
        r"""With Theorem 5.2's epoch :math:`\lceil K\alpha^{-3}\sigma^{-3}\rceil` and :math:`c_1 = 24c_0`."""
        epoch = ceil(n_arms * alpha**-3 * sigma**-3)
        c0 = sqrt(4 * log(1 / (alpha * sigma)) + 4 * log(epoch) + 2 * log(4 * n_arms))
        return cls(alpha, sigma, epoch, 24 * c0, **more)

    def init(self, n_arms: int, horizon: int) -> Triggers:
        return Triggers(
            np.full(n_arms, inf),
            np.zeros(n_arms, dtype=np.int64),
            np.zeros(n_arms, dtype=np.int64),
            np.zeros(2, dtype=np.int64),
        )

    def act(self, state: Triggers, t: int, rng: Generator) -> int:
        n_arms, round_, place = state.estimate.size, t + 1, t % self.epoch
        if place < n_arms:
            if place == 0 and not self.released:
                state.since[:] = 0
            return n_arms - 1 - place if self.released else place
        estimate, since = state.estimate, state.since
        superior = state.last[0] if estimate[state.last[0]] >= estimate[state.last[1]] else state.last[1]
        square = self.alpha * self.alpha
        for arm in range(n_arms):
            away = round_ - state.pulled[arm] + (1 if self.released else 0)
            spread = self.sigma * sqrt((square - pow(square, float(away))) / (1.0 - square))
            near = estimate[superior] - estimate[arm] <= self.c1 * spread
            if arm != superior and since[arm] == 0 and near:
                since[arm] = round_
        first, ties = -1, 0
        for arm in range(n_arms):
            if since[arm] > 0 and (first < 0 or since[arm] < since[first]):
                first, ties = arm, 1
            elif since[arm] > 0 and since[arm] == since[first]:
                ties += 1
        if first < 0 or round_ % 2 == 0:
            return superior
        skip = rng.integers(0, ties) if self.released else 0
        earliest = since[first]
        for arm in range(n_arms):
            if since[arm] == earliest:
                if skip == 0:
                    return arm
                skip -= 1
        return first

    def learn(self, state: Triggers, t: int, arm: int, reward: float) -> None:
        n_arms, place = state.estimate.size, t % self.epoch
        starting = place < n_arms - 1
        if self.released and starting:
            state.estimate[arm] = pow(self.alpha, float(n_arms - 1)) * reward
        else:
            for other in range(n_arms):
                state.estimate[other] *= self.alpha
            state.estimate[arm] = min(max(self.alpha * reward, -self.truncation), self.truncation)
        if not self.released:
            state.since[arm] = 0
        state.pulled[arm] = t + 1
        state.last[1], state.last[0] = state.last[0], arm


# Exp3 in batches -----------------------------------------------------------------------------------------------------


class Batch(NamedTuple):
    loss: Array  # [K], minus the summed importance-weighted rewards, rescaled to [0, 1]
    p: Array  # [K], distribution of the batch's arm
    arm: Ints  # [1], of the batch
    total: Array  # [1], rewards of the batch so far


@dataclass(frozen=True)
class BatchedExp3(Algorithm):
    r"""Exp3 (Auer et al. 2002) on means of batches: a policy against an adversary with memory (Dekel et al. 2012).

    Rewards in :math:`[-2M, 2M]` are rescaled to [0, 1];
    :math:`p = (1-\gamma)\,\mathrm{softmax}(\gamma\hat G/K) + \gamma/K`.

    Parameters
    ----------
    M : float
        Half the bound on rewards.
    gamma : float
        In (0, 1].
    batch : int
        Rounds for which an arm is kept; 1 is Exp3.
    released : bool
        As the code of Mussi et al. (2023) has it for batches: a mean closes in the second round of the *next* batch,
        and is credited to that batch's arm.
    """

    M: float
    gamma: float
    batch: int = 1
    released: bool = False

    def __post_init__(self) -> None:
        self._settle(
            M=checks.interval("M", self.M, 0, inf, "()"),
            gamma=checks.interval("gamma", self.gamma, 0, 1, "(]"),
            batch=checks.integer("batch", self.batch, 1),
            released=checks.boolean("released", self.released),
        )

    @classmethod
    def tuned(cls, n_arms: int, horizon: int, M: float, batch: int = 1, released: bool = False) -> BatchedExp3:
        r"""With the experiments' :math:`\gamma = \min(1, \sqrt{K\log K/((e-1)\frac23 T/\mathrm{batch})})`."""
        return cls(M, min(1.0, sqrt(n_arms * log(n_arms) / ((e - 1) * 2 / 3 * horizon / batch))), batch, released)

    def init(self, n_arms: int, horizon: int) -> Batch:
        return Batch(np.zeros(n_arms), np.zeros(n_arms), np.zeros(1, dtype=np.int64), np.zeros(1))

    def act(self, state: Batch, t: int, rng: Generator) -> int:
        if t % self.batch == 0:
            p, n_arms = state.p, state.loss.size
            exponential_weights(state.loss, self.gamma / n_arms, p)
            for arm in range(n_arms):
                p[arm] = (1.0 - self.gamma) * p[arm] + self.gamma / n_arms
            state.arm[0] = sample(p, rng.random())
        return state.arm[0]

    def learn(self, state: Batch, t: int, arm: int, reward: float) -> None:
        state.total[0] += reward
        closes = (t - 1) % self.batch == 0 if self.released else (t + 1) % self.batch == 0
        if closes:
            mean = state.total[0] / self.batch
            state.total[0] = 0.0
            state.loss[arm] -= (mean + 2.0 * self.M) / (4.0 * self.M) / state.p[arm]
