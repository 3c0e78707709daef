"""What the sections share: the catalogue's entry, premises, a bandit as a chain, and its counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from claimlab.checks import Array
from claimlab.mdps.collection import Sampler, collect
from claimlab.theory.claims import Claim, Paper
from claimlab.theory.spaces import Simplex

PAPER = Paper(
    slug="props",
    title="On-Policy Policy Gradient Reinforcement Learning Without On-Policy Sampling",
    authors="Nicholas E. Corrado, Josiah P. Hanna",
    venue="arXiv, 2023",
    arxiv="2311.08290",
    tier="core-named / theory-checkable",
)

claim = partial(Claim, paper=PAPER)

TABULAR = "tabular softmax policies; the target is fixed while data are collected"
FULL = "a target that takes every action"
ROS_PAPER = "Zhong et al. 2022 (arXiv 2111.14552)"
FOUR = np.array([0.4, 0.3, 0.2, 0.1])  # the law of the figures


def bandit_counts(sampler: Sampler, law: Array, times: ArrayLike, runs: int, seed: int) -> Array:
    """Counts of the actions on a bandit, float[runs, C, A]."""
    P = np.ones((1, len(law), 1))
    return collect(sampler, P, law[None], times, runs=runs, seed=seed, threads=1)[:, :, 0]


@lru_cache(maxsize=16)
def path(sampler: Sampler, law: tuple[float, ...], length: int) -> Array:
    """Counts after each of the first `length` rounds of one run, float[length, A]."""
    return bandit_counts(sampler, np.array(law), np.arange(1, length + 1), 1, 0)[0]


@dataclass(frozen=True)
class Inner(Simplex):
    """Probability vectors with at least `least` for every outcome."""

    least: float

    def draw(self, rng: Generator, shape: tuple[int, ...]) -> Array:
        return self._raised(super().draw(rng, shape))

    def change(self, rng: Generator, x: Array) -> Array:
        return self._raised(super().change(rng, x))

    def repair(self, x: Array) -> Array:
        return self._raised(super().repair(x))

    def simpler(self, x: Array) -> Iterator[Array]:
        return map(self._raised, super().simpler(x))

    def _raised(self, x: Array) -> Array:
        above = np.maximum(x - self.least, 0.0)
        return np.asarray(self.least + above * (1 - x.shape[-1] * self.least) / above.sum(axis=-1, keepdims=True))


def mixed(law: Array, least: float) -> Array:
    """The law with at least `least` for every action."""
    return np.asarray((1 - len(law) * least) * law + least)
