"""Posterior sampling: pull the arm that is best in a world drawn from the posterior (Thompson 1933)."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.bandits.optimism import Counts
from claimlab.bandits.play import Algorithm


@dataclass(frozen=True)
class BetaThompson(Algorithm):
    """Posterior sampling for Bernoulli rewards under independent Beta(`prior`, `prior`) priors.

    Asymptotically optimal for ``prior=1`` (Kaufmann, Korda & Munos 2012; Agrawal & Goyal 2013).
    """

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


@dataclass(frozen=True)
class GaussianThompson(Algorithm):
    r"""Posterior sampling for rewards N(mu, `sigma`^2) under independent N(0, `sigma`^2) priors: arm `a` draws
    :math:`N(S_a/(N_a+1), \sigma^2/(N_a+1))` from its summed reward :math:`S_a`.

    With ``sigma=1``, for rewards in [0, 1], Agrawal & Goyal (2013), Algorithm 2.
    """

    sigma: float = 1.0

    def __post_init__(self) -> None:
        self._settle(sigma=checks.interval("sigma", self.sigma, 0, inf, "()"))

    def init(self, n_arms: int, horizon: int) -> Counts:
        return Counts(np.zeros(n_arms), np.zeros(n_arms))

    def act(self, state: Counts, t: int, rng: Generator) -> int:
        best, best_draw = 0, -inf
        for arm in range(state.pulls.size):
            n = state.pulls[arm] + 1
            draw = state.total[arm] / n + self.sigma / sqrt(n) * rng.standard_normal()
            if draw > best_draw:
                best, best_draw = arm, draw
        return best

    def learn(self, state: Counts, t: int, arm: int, reward: float) -> None:
        state.pulls[arm] += 1
        state.total[arm] += reward
