"""A paper's claim as an object that a computer can try to refute."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.theory.evidence import KINDS, Evidence, Outcome

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # what may stand in ids: they become file names, links and globs


@dataclass(frozen=True)
class Paper:
    """An entry of the catalogue."""

    slug: str
    title: str
    authors: str
    venue: str
    arxiv: str
    tier: str

    def __post_init__(self) -> None:
        for field in fields(self):
            checks.text(field.name, getattr(self, field.name))
        if not NAME.fullmatch(self.slug):
            raise ValueError(f"slug must consist of letters, digits, '-', '_' and '.', got {self.slug!r}.")


@dataclass(frozen=True)
class Budget:
    """How much work a check may do, and the seed of all its randomness.

    Parameters
    ----------
    name : str
        "smoke", "standard" or "full".
    instances : int
        How many random instances a universal statement is attacked with before the guided search starts.
    runs : int
        How many independent repetitions a statistical statement is tested with.
    seed : int
        The user's seed.
    stream : str
        What the draws are for: the claim's id.  A claim and its control share it, so they see the same instances.
    """

    name: str
    instances: int
    runs: int
    seed: int = 0
    stream: str = ""

    def __post_init__(self) -> None:
        for name, least in (("instances", 1), ("runs", 1), ("seed", 0)):
            object.__setattr__(self, name, checks.integer(name, getattr(self, name), least))
        for name in ("name", "stream"):
            checks.text(name, getattr(self, name))

    def rng(self, *purpose: object) -> Generator:
        """A generator that depends on the seed, the stream and `purpose` alone, never on what was drawn before."""
        text = "/".join([self.stream, *map(str, purpose)])
        return np.random.default_rng(np.random.SeedSequence([self.seed, zlib.crc32(text.encode())]))

    def of(self, stream: str) -> Budget:
        return replace(self, stream=stream)

    def with_instances(self, instances: int) -> Budget:
        """The same draws with another number of instances: for measures that are dear."""
        return replace(self, instances=instances)

    def seeded(self, seed: int) -> Budget:
        return replace(self, seed=checks.integer("seed", seed, 0))


SMOKE = Budget("smoke", instances=100, runs=2_000)
STANDARD = Budget("standard", instances=2_000, runs=20_000)
FULL = Budget("full", instances=100_000, runs=400_000)
BUDGETS = {budget.name: budget for budget in (SMOKE, STANDARD, FULL)}


@dataclass(frozen=True)
class Claim:
    r"""A statement with its source, a check that may refute it, and a control that shows that the check has power.

    Parameters
    ----------
    id : str
        ``paper-slug/short-name``.
    paper : Paper
    source : str
        "Theorem 5.1", "Eq. 23", "Figure 2", "abstract"; for a statement of ours, "ours" with what it sharpens.
    statement : str
        In words, with formulas in LaTeX between dollar signs.
    kind : type[Evidence]
        Which evidence the check returns.
    premises : tuple of str
        What the statement assumes.
    check : Budget -> Evidence
        Tries to refute the statement.
    control : Budget -> Evidence
        The same procedure on a neighbouring falsehood (a smaller constant, a dropped premise), which must come out
        refuted; for a claim that is expected to be refuted, on the repaired statement, which must come out supported.
    control_statement : str
        What the control states.
    expected : Outcome
        What we know today.
    """

    id: str
    paper: Paper
    source: str
    statement: str
    kind: type[Evidence]
    premises: tuple[str, ...]
    check: Callable[[Budget], Evidence]
    control: Callable[[Budget], Evidence]
    control_statement: str
    expected: Outcome = Outcome.SUPPORTED

    def __post_init__(self) -> None:
        if not isinstance(self.paper, Paper) or not isinstance(self.id, str):
            raise ValueError(f"a claim needs an id and a Paper, got {self.id!r} and {self.paper!r}.")
        slug, _, name = self.id.partition("/")
        if slug != self.paper.slug or not NAME.fullmatch(name):
            raise ValueError(f"id must be {self.paper.slug + '/short-name'!r}, got {self.id!r}.")
        if self.kind not in KINDS.values():
            raise ValueError(f"kind of {self.id} must be one of {', '.join(KINDS)}, got {self.kind!r}.")
        if self.expected not in (Outcome.SUPPORTED, Outcome.REFUTED, Outcome.INCONCLUSIVE):
            raise ValueError(f"expected of {self.id} must be supported, refuted or inconclusive, got {self.expected}.")

    @property
    def control_expected(self) -> Outcome:
        """What the control must come out as for the check to count as evidence."""
        return Outcome.SUPPORTED if self.expected is Outcome.REFUTED else Outcome.REFUTED


def find(name: str, claims: list[Claim]) -> Claim:
    """The claim called `name`; an error with the nearest names otherwise."""
    by_id = {claim.id: claim for claim in claims}
    if name not in by_id:
        raise ValueError(f"unknown claim {name!r}.{checks.nearest(name, list(by_id))}")
    return by_id[name]
