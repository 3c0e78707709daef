"""The papers: one module each, with its claims as `CLAIMS` and its figures as `FIGURES`."""

from __future__ import annotations

from types import ModuleType

from claimlab.experiments.papers import (
    a_lol,
    bnpo,
    classic_bandits,
    dynamical_linear_bandits,
    epo,
    ftpedel,
    group_relative_reinforce,
    igpo,
    learning_to_relax,
    loop,
    off_policy_evaluation,
    pav,
    pg_rank,
    policy_cliff,
    props,
    ps_grpo,
    realizability,
    refuel,
    reward_ensembles,
    rover,
    spo,
    sppo,
    stepmix,
    treepo,
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
    props,
    rover,
    spo,
    bnpo,
    sppo,
    pav,
    a_lol,
    reward_ensembles,
    pg_rank,
    epo,
    igpo,
    treepo,
    refuel,
    ps_grpo,
    group_relative_reinforce,
)
