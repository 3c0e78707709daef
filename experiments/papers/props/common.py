"""What the sections share: the catalogue's entry, premises, a bandit as a chain, and its counts."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
from numpy.typing import ArrayLike

from claimlab.checks import Array
from claimlab.mdps.collect import Sampler, collect
from claimlab.theory.claims import Claim, Paper

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


def mixed(law: Array, least: float) -> Array:
    """The law with at least `least` for every action."""
    return np.asarray((1 - len(law) * least) * law + least)
