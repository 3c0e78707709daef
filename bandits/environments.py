"""Environments of K-armed bandits whose arms do not change."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.bandits.play import Environment
from claimlab.checks import Array


class Stochastic(Environment):
    """Arms with fixed `means` and independent rewards: no state, and the gaps are those of the means."""

    means: Array  # [K]
    gaps: Array  # [K], best mean minus means

    @property
    def n_arms(self) -> int:  # type: ignore[override]
        return self.means.size

    def begin(self, horizon: int, rng: Generator) -> Array:
        return np.zeros(0)

    def gap(self, state: Array, t: int, arm: int) -> float:
        return self.gaps[arm]

    def _settle_means(self, means: Array) -> None:
        if not means.size:
            raise ValueError("means must hold one arm at least.")
        self._settle(means=means, gaps=checks.array("gaps", means.max() - means, ndim=1))


@dataclass(frozen=True, eq=False)
class Bernoulli(Stochastic):
    """Independent Bernoulli arms with the given `means`, float[K] in [0, 1]."""

    means: Array
    gaps: Array = field(init=False)

    def __post_init__(self) -> None:
        self._settle_means(checks.unit("means", self.means, ndim=1))

    def pull(self, state: Array, t: int, arm: int, rng: Generator) -> float:
        return 1.0 if rng.random() < self.means[arm] else 0.0


@dataclass(frozen=True, eq=False)
class Gaussian(Stochastic):
    """Independent Gaussian arms with the given `means`, float[K], and standard deviation `sigma`."""

    means: Array
    sigma: float = 1.0
    gaps: Array = field(init=False)

    def __post_init__(self) -> None:
        self._settle(sigma=checks.interval("sigma", self.sigma, 0, inf, "()"))
        self._settle_means(checks.array("means", self.means, ndim=1))

    def pull(self, state: Array, t: int, arm: int, rng: Generator) -> float:
        return self.means[arm] + self.sigma * rng.standard_normal()
