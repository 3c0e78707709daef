"""Stochastic environments."""

from __future__ import annotations

from dataclasses import dataclass, field

from numpy.random import Generator

from claimlab import checks
from claimlab.bandits.play import Environment
from claimlab.checks import Array


@dataclass(frozen=True, eq=False)
class Bernoulli(Environment):
    """Independent Bernoulli arms with the given `means`, float[K] in [0, 1]."""

    means: Array
    gaps: Array = field(init=False)

    def __post_init__(self) -> None:
        means = checks.array("means", self.means, ndim=1)
        for arm, mean in enumerate(means):
            checks.interval(f"means[{arm}]", mean, 0, 1)
        self._settle(means=means, gaps=checks.array("gaps", means.max() - means, ndim=1))

    def pull(self, t: int, arm: int, rng: Generator) -> float:
        return 1.0 if rng.random() < self.means[arm] else 0.0
