"""The papers: one module each, with its claims as `CLAIMS` and its figures as `FIGURES`."""

from __future__ import annotations

from types import ModuleType

from claimlab.experiments.papers import classic_bandits, policy_cliff

PAPERS: tuple[ModuleType, ...] = (policy_cliff, classic_bandits)
from claimlab.experiments.papers import learning_to_relax, policy_cliff
PAPERS: tuple[ModuleType, ...] = (policy_cliff, learning_to_relax)
from claimlab.experiments.papers import dynamical_linear_bandits, policy_cliff
PAPERS: tuple[ModuleType, ...] = (policy_cliff, dynamical_linear_bandits)
