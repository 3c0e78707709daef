"""The paper, premises, and the problems: realizable chains on few pairs, the two states of Tsitsiklis & Van Roy."""

from __future__ import annotations

from functools import partial

import numpy as np

from claimlab.checks import Array
from claimlab.theory.claims import Claim, Paper
from claimlab.theory.realizability import PairChain
from claimlab.theory.spaces import Box, Simplex, Space

PAPER = Paper(
    slug="realizability",
    title="When is Realizability Sufficient for Off-Policy Reinforcement Learning?",
    authors="Andrea Zanette",
    venue="ICML 2023",
    arxiv="2211.05311",
    tier="core-named / theory-checkable",
)

claim = partial(Claim, paper=PAPER)

LINEAR = "a linear class that holds $Q$, finitely many pairs"
FINITE = "a finite class that holds $Q$, finitely many pairs"
COVERED = "every pair has positive probability under the law of the data"

SPACE = Space(
    {"n": (2, 4), "d": (1, 2)},
    {
        "P": Simplex("nn"),
        "phi": Box("nd"),
        "w": Box("d"),
        "mu": Simplex("n"),
        "u": Box("d"),
        "gamma": Box("", 0, 0.95),
    },
)


def problem(P: Array, phi: Array, w: Array, mu: Array, gamma: Array) -> PairChain:
    """A chain whose values are `phi @ w`, so that the class is realizable; the law of the data covers every pair."""
    q, law = phi @ w, 0.99 * mu + 0.01 / len(mu)
    return PairChain(P, q - float(gamma) * P @ q, float(gamma), law, np.eye(len(mu))[0])


def regular(matrix: Array) -> bool:
    """Whether a Gram matrix is invertible to three digits: certified errors grow with its condition."""
    values = np.linalg.eigvalsh(matrix)
    return bool(values[0] > 1e-3 * values[-1] > 0)


def two_states(share: float, gamma: float = 0.95, slope: float = 0.0) -> tuple[PairChain, Array]:
    """Features 1 and 2, both states move to the second; `share` of the data is of the first."""
    phi = np.array([[1.0], [2.0]])
    P = np.array([[0.0, 1.0], [0.0, 1.0]])
    q = slope * phi[:, 0]
    return PairChain(P, q - gamma * P @ q, gamma, np.array([share, 1 - share]), np.array([1.0, 0.0])), phi


SINGULAR = 2 / 11  # A = 0.2 - 1.1 share
