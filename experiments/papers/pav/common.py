"""What the sections share: the catalogue's entry, premises, policy and prover in a tree, one natural gradient step."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from claimlab.checks import Array
from claimlab.theory.claims import Claim, Paper
from claimlab.theory.decision_trees import action_values, visits
from claimlab.theory.spaces import Box, Simplex, Space

PAPER = Paper(
    slug="pav",
    title="Rewarding Progress: Scaling Automated Process Verifiers for LLM Reasoning",
    authors="Amrith Setlur, Chirag Nagpal, Adam Fisch, Xinyang Geng, Jacob Eisenstein, Rishabh Agarwal, Alekh Agarwal, "
    "Jonathan Berant, Aviral Kumar",
    venue="ICLR 2025",
    arxiv="2410.08146",
    tier="core-named / theory-checkable",
)

claim = partial(Claim, paper=PAPER)

TREE = "a finite tree of three steps, rewards in [0, 1] at its leaves"
NPG = r"one exact natural policy gradient step, $\pi'\propto\pi\,e^{\gamma(Q^\pi+\alpha A^\mu)}$"

LAWS = {"p1": Simplex("A"), "p2": Simplex("AB"), "p3": Simplex("ABC")}
PROVER = {"m1": Simplex("A"), "m2": Simplex("AB"), "m3": Simplex("ABC")}
SIZES = {"A": (1, 3), "B": (1, 3), "C": (1, 3)}
TREES = Space(SIZES, LAWS | PROVER | {"leaf": Box("ABC", 0, 1), "alpha": Box("", 0, 5), "gamma": Box("", 0.05, 2)})
Levels = list[Array]


def advantages(leaf: Array, policy: Levels) -> Levels:
    """Action values less their mean under the policy, a level."""
    return [q - (p * q).sum(axis=-1, keepdims=True) for q, p in zip(action_values(leaf, policy), policy)]


def step(leaf: Array, policy: Levels, prover: Levels, alpha: Array, gamma: Any) -> Levels:
    """The policy after one natural policy gradient step; alpha and gamma are [n], gamma also complex."""
    out = []
    for p, q, a in zip(policy, action_values(leaf, policy), advantages(leaf, prover)):
        over = (len(alpha),) + (1,) * (p.ndim - 1)
        weights = p * np.exp(gamma.reshape(over) * (q + alpha.reshape(over) * a))
        out.append(weights / weights.sum(axis=-1, keepdims=True))
    return out


def expected(policy: Levels, terms: Levels) -> Array:
    """The sum over levels of the mean of node quantities under the visits of a policy."""
    return np.sum([(d * x).reshape(len(d), -1).sum(axis=1) for d, x in zip(visits(policy), terms)], axis=0)


def inner(p: Levels, f: Levels, g: Levels) -> Levels:
    return [(law * x * y).sum(axis=-1) for law, x, y in zip(p, f, g)]


def variance(p: Levels, f: Levels) -> Levels:
    return [(law * x**2).sum(axis=-1) - (law * x).sum(axis=-1) ** 2 for law, x in zip(p, f)]


def slope(leaf: Array, policy: Levels, prover: Levels, alpha: Array) -> Array:
    r"""Ours: :math:`\frac{d}{d\gamma}V^{\pi'}=E_{d^\pi}[\mathrm{Var}_\pi(A^\pi)+\alpha\langle
    A^\mu,A^\pi\rangle_\pi]` at 0."""
    own, its = advantages(leaf, policy), advantages(leaf, prover)
    aligned = inner(policy, its, own)
    return expected(policy, variance(policy, own)) + alpha * expected(policy, aligned)


SLOPES = Space(SIZES, LAWS | PROVER | {"leaf": Box("ABC", 0, 1)})
