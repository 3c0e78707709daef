"""The 82 papers that the project set out to check, with what can honestly be said of each here."""

from __future__ import annotations

import tomllib
from enum import StrEnum
from functools import lru_cache
from importlib import resources
from typing import NamedTuple


class Reach(StrEnum):
    """What a machine without robots, large models and human raters can say about a paper."""

    THEORY = "theory"
    MECHANISM = "mechanism"
    ANALOGUE = "analogue"
    NONE = "none"

    @property
    def words(self) -> str:
        return {
            Reach.THEORY: "its statements can be checked as printed",
            Reach.MECHANISM: "its mechanism can be checked on small instances",
            Reach.ANALOGUE: "only a stylised mechanism can be checked, which says nothing about its headline numbers",
            Reach.NONE: "not honestly checkable",
        }[self]


class Listed(NamedTuple):
    """An entry of the catalogue; `claim` is the statement most worth checking, in our words.

    `reason` says why a paper out of reach is, or what of a paper without claims was not at hand; it may be empty.
    """

    slug: str
    title: str
    arxiv: str
    reach: Reach
    claim: str
    reason: str


@lru_cache
def listed() -> tuple[Listed, ...]:
    """The catalogue, in its order."""
    text = resources.files("claimlab.experiments").joinpath("catalogue.toml").read_text(encoding="utf-8")
    entries = tomllib.loads(text)["paper"]
    return tuple(
        Listed(e["slug"], e["title"], e["arxiv"], Reach(e["reach"]), e["claim"], e.get("reason", "")) for e in entries
    )
