"""What the sections share: the catalogue's entry, premises, the paper's three arms, softmax policies."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from claimlab.checks import Array
from claimlab.native import kernel
from claimlab.theory.claims import Claim, Paper

PAPER = Paper(
    slug="group-relative-reinforce",
    title="Group-Relative REINFORCE Is Secretly an Off-Policy Algorithm: Demystifying Some Myths About GRPO and Its "
    "Friends",
    authors="Chaorui Yao, Yanxi Chen, Yuchang Sun, Yushuo Chen, Wenhao Zhang, Xuchen Pan, Yaliang Li, Bolin Ding",
    venue="ICLR 2026",
    arxiv="2509.24203",
    tier="core-named / theory-checkable",
)

claim = partial(Claim, paper=PAPER)

BANDIT = "softmax policies on finitely many answers"
GROUP = "a group of K answers from any law"
FIXED = "exact gradients on data of a fixed law with full support"
THREE_ARMS = r"$\pi_b=(0.3,0.6,0.1)$, $r=(0,0.8,1)$"

LAW, REWARD = np.array([0.3, 0.6, 0.1]), np.array([0.0, 0.8, 1.0])
STEP = 1e-30  # of complex steps: derivatives exact to rounding


def log_softmax(x: Any) -> Any:
    return x - np.log(np.exp(x - x.real.max()).sum()) - x.real.max()


def full(law: Array, share: float) -> Array:
    """The law mixed with a `share` of the even one."""
    return np.asarray((1 - share) * law + share / law.shape[-1])


@kernel
def flow(c: Array, theta: Array, steps: int, size: float) -> Array:
    """The policy after plain gradient steps with constant weights `c` from the logits `theta`, which are changed."""
    total = c.sum()
    p = np.exp(theta - theta.max())
    p /= p.sum()
    for _ in range(steps):
        theta += size * (c - p * total)
        p = np.exp(theta - theta.max())
        p /= p.sum()
    return p
