"""Greed with forced exploration."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.bandits.optimism import Counts, widest
from claimlab.bandits.play import Algorithm


@dataclass(frozen=True)
class EpsilonGreedy(Algorithm):
    r"""With probability `epsilon` a uniform arm, otherwise the best mean so far, unpulled arms first.

    Its regret is at least :math:`\epsilon \bar\Delta T` with the mean gap :math:`\bar\Delta` over all arms: linear.
    """

    epsilon: float

    def __post_init__(self) -> None:
        self._settle(epsilon=checks.interval("epsilon", self.epsilon, 0, 1))

    def init(self, n_arms: int, horizon: int) -> Counts:
        return Counts(np.zeros(n_arms), np.zeros(n_arms))

    def act(self, state: Counts, t: int, rng: Generator) -> int:
        if rng.random() < self.epsilon:
            return int(rng.random() * state.pulls.size)
        return widest(state.pulls, state.total, 0.0)

    def learn(self, state: Counts, t: int, arm: int, reward: float) -> None:
        state.pulls[arm] += 1
        state.total[arm] += reward


@dataclass(frozen=True)
class DecreasingEpsilonGreedy(Algorithm):
    r"""Epsilon-greedy with :math:`\epsilon_t = \min(1, cK/(d^2 t))`.

    Auer, Cesa-Bianchi & Fischer (2002), Figure 3; by their Theorem 3 its regret is logarithmic if :math:`c > 5` and `d`
    is at most the least positive gap.
    """

    d: float
    c: float = 5.0

    def __post_init__(self) -> None:
        self._settle(d=checks.interval("d", self.d, 0, 1, "(]"), c=checks.interval("c", self.c, 0, inf, "()"))

    def init(self, n_arms: int, horizon: int) -> Counts:
        return Counts(np.zeros(n_arms), np.zeros(n_arms))

    def act(self, state: Counts, t: int, rng: Generator) -> int:
        if rng.random() * self.d * self.d * (t + 1) < self.c * state.pulls.size:
            return int(rng.random() * state.pulls.size)
        return widest(state.pulls, state.total, 0.0)

    def learn(self, state: Counts, t: int, arm: int, reward: float) -> None:
        state.pulls[arm] += 1
        state.total[arm] += reward
