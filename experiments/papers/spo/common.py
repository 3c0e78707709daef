"""What the sections share: the catalogue's entry, premises, rationals."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import Any

import sympy as sp

from claimlab.theory.claims import Claim, Paper

PAPER = Paper(
    slug="spo",
    title="Single-stream Policy Optimization",
    authors="Zhongwen Xu, Zihan Ding",
    venue="arXiv, 2025",
    arxiv="2509.13232",
    tier="core-named / mechanism-checkable",
)

claim = partial(Claim, paper=PAPER)

BERNOULLI = "rewards in {0, 1}, independent given the prompt and the policy"
SOFTMAX = "a softmax policy over finitely many answers"


def exactly(x: Any) -> Fraction:
    return Fraction(float(x)).limit_denominator(10**6)


def choose(n: int, k: int) -> int:
    return int(sp.binomial(n, k))
