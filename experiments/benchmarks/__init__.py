"""Races: ours beside other libraries on the same instances, with every answer checked, in the same run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from claimlab.checks import nearest
from claimlab.experiments.benchmarks.bandits import BANDITS
from claimlab.experiments.benchmarks.episodes import EPISODES
from claimlab.experiments.benchmarks.mdps import MDPS
from claimlab.experiments.benchmarks.off_policy import OPE
from claimlab.experiments.benchmarks.race import Race
from claimlab.experiments.benchmarks.relaxation import SOR
from claimlab.experiments.errors import WrongUsage

RACES: tuple[Race, ...] = (MDPS, BANDITS, SOR, EPISODES, OPE)


def choose(names: Sequence[str], only: Sequence[str]) -> list[Race]:
    """The named races, or all, with only those cases, or all."""
    races = [race.name for race in RACES]
    cases = [case.name for race in RACES for case in race.cases]
    for what, given, known in (("race", names, races), ("case", only, cases)):
        for name in given:
            if name not in known:
                raise WrongUsage(f"unknown {what} {name!r}.{nearest(name, known)}")
    kept = [
        replace(race, cases=tuple(case for case in race.cases if not only or case.name in only))
        for race in RACES
        if not names or race.name in names
    ]
    if not any(race.cases for race in kept):
        raise WrongUsage("the chosen races have none of the chosen cases.")
    return [race for race in kept if race.cases]
