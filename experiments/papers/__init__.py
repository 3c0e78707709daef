"""The papers: one module each, with its claims as `CLAIMS` and its figures as `FIGURES`."""

from __future__ import annotations

from types import ModuleType

from claimlab.experiments.papers import (
    classic_bandits,
    dynamical_linear_bandits,
    ftpedel,
    learning_to_relax,
    loop,
    off_policy_evaluation,
    policy_cliff,
    realizability,
    stepmix,
)

PAPERS: tuple[ModuleType, ...] = (
    policy_cliff,
    classic_bandits,
    dynamical_linear_bandits,
    learning_to_relax,
    stepmix,
    loop,
    off_policy_evaluation,
    ftpedel,
    realizability,
)
