"""What the sections share: the catalogue's entry, premises, trees whose actions may be missing."""

from __future__ import annotations

from functools import partial

import numpy as np

from claimlab.checks import Array
from claimlab.theory.claims import Claim, Paper
from claimlab.theory.spaces import Box, Case

PAPER = Paper(
    slug="rover",
    title="Random Policy Valuation is Enough for LLM Reasoning with Verifiable Rewards",
    authors="Haoran He, Yuxiao Ye, Qingpeng Cai, Chen Hu, Binxing Jiao, Daxin Jiang, Ling Pan",
    venue="ICLR 2026",
    arxiv="2509.24981",
    tier="core-named / theory-checkable",
)

claim = partial(Claim, paper=PAPER)

TREE = "a finite tree with deterministic moves, no discount, rewards at complete answers only"
BINARY = "two terminal rewards, 0 and R"
SOLVABLE = "some correct answer can be reached"
UNIFORM = "$Q^u$ are the exact action values of the uniform policy over the actions of each node"

EXISTS = {"first": Box("A", 0, 1, step=1), "second": Box("AB", 0, 1, step=1), "third": Box("ABC", 0, 1, step=1)}
SIZES = {"A": (1, 4), "B": (1, 4), "C": (1, 4)}


def masks(first: Array, second: Array, third: Array) -> list[Array]:
    """Which actions exist: those drawn, and the first where none was."""
    out = []
    for mask in (first, second, third):
        alone = mask.sum(axis=-1, keepdims=True) == 0
        out.append(np.where(alone, np.arange(mask.shape[-1]) == 0, mask).astype(float))
    return out


def sparse_tree() -> Case:
    """One correct answer among 4^3."""
    leaf = np.zeros((4, 4, 4))
    leaf[3, 3, 3] = 1
    return {"first": np.ones(4), "second": np.ones((4, 4)), "third": np.ones((4, 4, 4)), "leaf": leaf}
