"""Environments of K-armed bandits."""

from __future__ import annotations

from dataclasses import dataclass, field

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
        means = checks.array("means", self.means, ndim=1)
        for arm, mean in enumerate(means):
            checks.interval(f"means[{arm}]", mean, 0, 1)
        self._settle_means(means)

    def pull(self, state: Array, t: int, arm: int, rng: Generator) -> float:
        return 1.0 if rng.random() < self.means[arm] else 0.0
