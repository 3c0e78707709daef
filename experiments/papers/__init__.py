"""The papers: one module each, with its claims as `CLAIMS` and its figures as `FIGURES`."""

from __future__ import annotations

from types import ModuleType

from claimlab.experiments.papers import policy_cliff, stepmix

PAPERS: tuple[ModuleType, ...] = (policy_cliff, stepmix)
