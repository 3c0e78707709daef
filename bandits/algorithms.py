"""Algorithms for K-armed bandits with rewards in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, log, sqrt
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.bandits.play import Algorithm
from claimlab.checks import Array


class Counts(NamedTuple):
    pulls: Array  # [K]
    total: Array  # [K], summed reward


@dataclass(frozen=True)
class UCB1(Algorithm):
    r"""Optimism with Hoeffding radii: pull :math:`\arg\max_a \hat\mu_a + \sqrt{c\log t/N_a}`, unpulled arms first.

    Auer, Cesa-Bianchi & Fischer (2002), Figure 1, is ``c=2``.
    """

    c: float = 2.0

    def __post_init__(self) -> None:
        self._settle(c=checks.interval("c", self.c, 0, inf, "[)"))

    def init(self, n_arms: int, horizon: int) -> Counts:
        return Counts(np.zeros(n_arms), np.zeros(n_arms))

    def act(self, state: Counts, t: int, rng: Generator) -> int:
        best, best_index, bonus = 0, -inf, self.c * log(max(t, 1))
        for arm in range(state.pulls.size):
            n = state.pulls[arm]
            if n == 0:
                return arm
            index = state.total[arm] / n + sqrt(bonus / n)
            if index > best_index:
                best, best_index = arm, index
        return best

    def learn(self, state: Counts, t: int, arm: int, reward: float) -> None:
        state.pulls[arm] += 1
        state.total[arm] += reward


@dataclass(frozen=True)
class BetaThompson(Algorithm):
    """Posterior sampling for Bernoulli rewards under independent Beta(`prior`, `prior`) priors (Thompson 1933)."""

    prior: float = 1.0

    def __post_init__(self) -> None:
        self._settle(prior=checks.interval("prior", self.prior, 0, inf, "()"))

    def init(self, n_arms: int, horizon: int) -> Counts:
        return Counts(np.zeros(n_arms), np.zeros(n_arms))

    def act(self, state: Counts, t: int, rng: Generator) -> int:
        best, best_draw = 0, -inf
        for arm in range(state.pulls.size):
            wins, n = state.total[arm], state.pulls[arm]
            draw = rng.beta(self.prior + wins, self.prior + n - wins)
            if draw > best_draw:
                best, best_draw = arm, draw
        return best

    def learn(self, state: Counts, t: int, arm: int, reward: float) -> None:
        state.pulls[arm] += 1
        state.total[arm] += reward


class Weights(NamedTuple):
    loss: Array  # [K], summed importance-weighted loss
    p: Array  # [K], distribution of the last draw


@dataclass(frozen=True)
class Exp3(Algorithm):
    """Exponential weights on importance-weighted losses with learning rate `eta` (Lattimore & Szepesvari 2020, Alg.
    9)."""

    eta: float

    def __post_init__(self) -> None:
        self._settle(eta=checks.interval("eta", self.eta, 0, inf, "()"))

    def init(self, n_arms: int, horizon: int) -> Weights:
        return Weights(np.zeros(n_arms), np.zeros(n_arms))

    def act(self, state: Weights, t: int, rng: Generator) -> int:
        least, p = state.loss.min(), state.p
        for arm in range(p.size):
            p[arm] = exp(-self.eta * (state.loss[arm] - least))
        p /= p.sum()
        u, arm = rng.random(), 0
        while arm < p.size - 1 and u >= p[arm]:
            u -= p[arm]
            arm += 1
        return arm

    def learn(self, state: Weights, t: int, arm: int, reward: float) -> None:
        state.loss[arm] += (1 - reward) / state.p[arm]
