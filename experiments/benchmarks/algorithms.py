"""Algorithms in games: how fast each is played, its regret compared with that of the same algorithm in plain NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.benchmarks import race
from claimlab.experiments.benchmarks.race import OURS, Probe, Solver
from claimlab.experiments.benchmarks.stored import Instance, once, read

OFF = 0.02  # of the regret: how far it may be off beyond chance, as libraries start and break ties differently
DEVIATIONS = 4  # standard errors that are chance
RUNS, SEED = 200, 1  # of the reference
DRAWS = 10_000_000  # rounds of the machine's survey


@dataclass(frozen=True)
class Case(race.Case):
    """An algorithm in a game.

    Parameters
    ----------
    name, title : str
        `name` is the algorithm's, and the family.
    instance : () -> Instance
        Arrays of the game and of the algorithm's parameters.
    regret : (instance, rounds, runs, seed) -> float[runs] or float[runs, C]
        The algorithm in plain NumPy; C > 1 where regret is compared after several numbers of rounds.
    rounds : int
        Of the games that libraries are timed in and that all are judged by.
    own : (runs, rounds)
        Of the games that ours is timed in.
    uniforms, normals : int
        Random numbers that a round needs at least; where both are 0, drawing them is no limit and not surveyed.
    each : str
        What a round is called.
    """

    name: str
    title: str
    instance: Callable[[], Instance]
    regret: Callable[[Instance, int, int, int], Array]
    rounds: int
    own: tuple[int, int]
    uniforms: int = 0
    normals: int = 0
    each: str = "round"
    sources: ClassVar[tuple[Path, ...]] = ()  # which make the instance and the regret

    @property
    def family(self) -> str:  # type: ignore[override]
        return self.name

    def prepare(self, folder: Path) -> Prepared:
        file = once(folder, f"{self.name}-game", self.instance, self.sources)

        def reference() -> Instance:
            return {"regret": self.regret(read(file), self.rounds, RUNS, SEED)}

        stored = once(folder, f"{self.name}-regret-{self.rounds}", reference, self.sources)
        return Prepared(self, file, read(stored)["regret"])


@dataclass(frozen=True)
class Prepared(race.Prepared):
    case: Case
    file: Path
    expected: Array  # [RUNS] or [RUNS, C], regrets

    def describe(self) -> dict[str, Any]:
        (runs, rounds), each = self.case.own, self.case.each
        last = self._curves(self.expected)[:, -1]
        facts = {
            "ours": f"{runs} runs of {rounds:,} {each}s",
            "others, and the regret": f"{self.case.rounds:,} {each}s",
            "expected regret": _told(last, last.std(ddof=1)),
        }
        if self.probes:
            drawn = f"{self.case.uniforms} uniform, {self.case.normals} normal"
            facts |= {f"random numbers a {each}": drawn}
        return {
            "name": self.case.name,
            "title": self.case.title,
            "tol": OFF,
            "unit": f"s a{'n' if each[0] in 'aeiou' else ''} {each}",
            "instances": [self.case.name],
            "input_bytes": None,
            "rows": None,
            "facts": facts,
        }

    def task(self, solver: Solver) -> dict[str, Any]:
        judged = (solver.sample, self.case.rounds)
        timed = self.case.own if solver.name == OURS else judged
        return {
            "instances": [str(self.file)],
            "algorithm": self.case.name,
            "timed": list(timed),
            "judged": list(judged),
            "points": self._curves(self.expected).shape[1],
            "count": timed[0] * timed[1],
            "batched": False,
            "differs": self.case.family in solver.differs,
        }

    def judge(self, answer: Array, task: Mapping[str, Any]) -> dict[str, Any]:
        """Chance is on the side of the answer: its error is what is proved at `DEVIATIONS` standard errors, at the
        worst of the numbers of rounds; relative to the expected regret, where that is not 0."""
        runs, expected = task["judged"][0], self._curves(self.expected)
        if answer.shape != (runs * expected.shape[1],):
            return {"failure": f"an answer of shape {answer.shape}, not ({runs * expected.shape[1]},)"}
        if not np.isfinite(answer).all():
            return {"error": None, "wrong": True, "shown": "regret not finite"}
        curves, mean, spread = answer.reshape(runs, -1), expected.mean(axis=0), expected.std(axis=0, ddof=1)
        chance = DEVIATIONS * spread * np.sqrt(1 / runs + 1 / len(expected))
        scale = np.where(mean > 0, mean, 1.0)  # the first policies of a game may lose nothing
        error = float((np.maximum(0.0, abs(curves.mean(axis=0) - mean) - chance) / scale).max())
        shown = f"regret {_told(curves[:, -1], spread[-1])}, expected {mean[-1]:.3g}"
        return {"error": error, "wrong": error > OFF and not task["differs"], "shown": shown}

    @staticmethod
    def _curves(regrets: Array) -> Array:
        return regrets.reshape(len(regrets), -1)

    @property
    def probes(self) -> tuple[Probe, ...]:
        """Drawing the random numbers of a round, the reward's among them, and adding them up."""
        if not self.case.uniforms + self.case.normals:
            return ()
        settings = (("uniforms", self.case.uniforms), ("normals", self.case.normals))
        return (Probe("draws", self.case.name, 0, count=DRAWS // (1 + self.case.normals), settings=settings),)


def _told(regrets: Array, spread: float) -> str:
    return f"{regrets.mean():.4g} ± {spread / np.sqrt(len(regrets)):.2g}"
