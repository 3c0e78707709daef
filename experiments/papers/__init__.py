"""The papers: one module each, with its claims as `CLAIMS` and its figures as `FIGURES`."""

from __future__ import annotations

from types import ModuleType

from claimlab.experiments.papers import (
    bnpo,
    classic_bandits,
    dynamical_linear_bandits,
    learning_to_relax,
    loop,
    pav,
    policy_cliff,
    rover,
    spo,
    sppo,
    stepmix,
)

PAPERS: tuple[ModuleType, ...] = (
    policy_cliff,
    classic_bandits,
    dynamical_linear_bandits,
    learning_to_relax,
    stepmix,
    loop,
    rover,
    spo,
    bnpo,
    sppo,
    pav,
)
