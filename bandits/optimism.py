"""Optimism: pull the arm whose upper confidence bound is largest."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log, sqrt
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
