"""The race of the bandits: games, the regret that each algorithm should have, and the libraries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.benchmarks import race, regrets
from claimlab.experiments.benchmarks.race import OURS, Probe, Race, Solver, Source, Words
from claimlab.experiments.benchmarks.stored import Instance, once, read

SOURCES = tuple(Path(__file__).with_name(name) for name in ("regrets.py", "bandits.py"))
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
    regret : (instance, rounds, runs, seed) -> float[runs]
        The algorithm in plain NumPy.
    rounds : int
        Of the games that libraries are timed in and that all are judged by.
    own : (runs, rounds)
        Of the games that ours is timed in.
    uniforms, normals : int
        Random numbers that a round needs at least.
    """

    name: str
    title: str
    instance: Callable[[], Instance]
    regret: Callable[[Instance, int, int, int], Array]
    rounds: int
    own: tuple[int, int]
    uniforms: int
    normals: int = 0

    @property
    def family(self) -> str:  # type: ignore[override]
        return self.name

    def prepare(self, folder: Path) -> Prepared:
        file = once(folder, f"{self.name}-game", self.instance, SOURCES)

        def reference() -> Instance:
            return {"regret": self.regret(read(file), self.rounds, RUNS, SEED)}

        stored = once(folder, f"{self.name}-regret-{self.rounds}", reference, SOURCES)
        return Prepared(self, file, read(stored)["regret"])


@dataclass(frozen=True)
class Prepared(race.Prepared):
    case: Case
    file: Path
    expected: Array  # [RUNS], regrets

    def describe(self) -> dict[str, Any]:
        runs, rounds = self.case.own
        return {
            "name": self.case.name,
            "title": self.case.title,
            "tol": OFF,
            "unit": "s a round",
            "instances": [self.case.name],
            "input_bytes": None,
            "rows": None,
            "facts": {
                "ours": f"{runs} runs of {rounds:,} rounds",
                "others, and the regret": f"{self.case.rounds:,} rounds",
                "expected regret": _told(self.expected, self.expected.std(ddof=1)),
                "random numbers a round": f"{self.case.uniforms} uniform, {self.case.normals} normal",
            },
        }

    def task(self, solver: Solver) -> dict[str, Any]:
        judged = (solver.sample, self.case.rounds)
        timed = self.case.own if solver.name == OURS else judged
        return {
            "instances": [str(self.file)],
            "algorithm": self.case.name,
            "timed": list(timed),
            "judged": list(judged),
            "count": timed[0] * timed[1],
            "batched": False,
            "differs": self.case.family in solver.differs,
        }

    def judge(self, answer: Array, task: Mapping[str, Any]) -> dict[str, Any]:
        """Chance is on the side of the answer: its error is what is proved at `DEVIATIONS` standard errors."""
        runs = task["judged"][0]
        if answer.shape != (runs,):
            return {"failure": f"an answer of shape {answer.shape}, not ({runs},)"}
        if not np.isfinite(answer).all():
            return {"error": None, "wrong": True, "shown": "regret not finite"}
        mean, spread = self.expected.mean(), self.expected.std(ddof=1)
        chance = DEVIATIONS * spread * np.sqrt(1 / runs + 1 / len(self.expected))
        error = float(max(0.0, abs(answer.mean() - mean) - chance) / mean)
        shown = f"regret {_told(answer, spread)}, expected {mean:.3g}"
        return {"error": error, "wrong": error > OFF and not task["differs"], "shown": shown}

    @property
    def probes(self) -> tuple[Probe, ...]:
        """Drawing the random numbers of a round, the reward's among them, and adding them up."""
        settings = (("uniforms", self.case.uniforms), ("normals", self.case.normals))
        return (Probe("draws", self.case.name, 0, count=DRAWS // (1 + self.case.normals), settings=settings),)


def _told(regrets: Array, spread: float) -> str:
    return f"{regrets.mean():.4g} ± {spread / np.sqrt(len(regrets)):.2g}"


def bernoulli(n_arms: int = 10) -> Instance:
    """Arms 0.50, 0.45, ..., and Exp3's gamma for 2000 rounds (Auer et al. 2002, Corollary 3.2)."""
    gamma = np.sqrt(n_arms * np.log(n_arms) / ((np.e - 1) * 2000))
    return {"means": 0.5 - 0.05 * np.arange(n_arms), "gamma": np.float64(gamma)}


def linear(n_arms: int = 50, dim: int = 10) -> Instance:
    """Parameters uniform on the unit sphere."""
    theta = np.random.default_rng(5).standard_normal((n_arms, dim))
    return {"theta": theta / np.linalg.norm(theta, axis=1, keepdims=True), "noise": np.float64(0.1)}


def dynamical() -> Instance:
    """The synthetic system of Mussi, Metelli & Restelli (2023), sigma = 0.01; outputs are summed."""
    return {
        "A": np.diag([0.2, 0.0, 0.1]),
        "B": np.diag([0.45, 0.0, 0.1]),
        "C": np.diag([1.0, 0.0, 0.1]),
        "D": np.diag([0.0, 0.5, 0.1]),
        "arms": np.array(sorted(set(permutations((0.0, 0.5, 1.0))))),
        "sigma": np.float64(0.01),
    }


PLAYED = (100, 100_000)
CASES = (
    Case("ucb1", "UCB1, 10 arms", bernoulli, regrets.ucb1, 2000, PLAYED, 1),
    Case("kl-ucb", "KL-UCB, 10 arms", bernoulli, regrets.kl_ucb, 2000, PLAYED, 1),
    Case("exp3", "Exp3, 10 arms", bernoulli, regrets.exp3, 2000, PLAYED, 2),
    Case("tsallis-inf", "1/2-Tsallis-INF, 10 arms", bernoulli, regrets.tsallis_inf, 2000, PLAYED, 2),
    Case("linucb", "Disjoint LinUCB, d = 10, 50 arms", linear, regrets.linucb, 200, (100, 10_000), 0, 11),
    Case("dynlin-ucb", "DynLin-UCB, d = 3, 6 arms", dynamical, regrets.dynlin_ucb, 100_000, (20, 100_000), 0, 4),
)

SOLVERS = (
    Solver(
        OURS,
        {case.name: ("play",) for case in CASES},
        threads=True,
        sample=50,
        compiles=True,
        script="claimlab_bandits",
    ),
    Solver(
        "smpybandits",
        {"ucb1": ("UCB",), "kl-ucb": ("klUCB",), "exp3": ("Exp3",), "tsallis-inf": ("TsallisInf",)},
        sample=10,
    ),
    Solver("mabwiser", {"ucb1": ("UCB1",), "linucb": ("LinUCB",)}, sample=3),
    Solver(
        "coba",
        {"ucb1": ("BanditUCBLearner",), "linucb": ("LinUCBLearner",)},
        sample=3,
        differs={"ucb1": "UCB1-Tuned (Auer, Cesa-Bianchi & Fischer 2002, Section 4)"},
    ),
    Solver("contextualbandits", {"linucb": ("LinUCB",)}, sample=2),
    Solver(
        "dlb",
        {"dynlin-ucb": ("DynLinUCBAgent",)},
        sample=2,
        source=Source("https://github.com/marcomussi/DLB", "7fb103e"),
    ),
)

WORDS = Words(
    aside="others in shorter games, as a round costs the same",
    wrong="another regret than the algorithm has, beyond chance",
    axis="seconds a round",
    cases="Expected: the mean regret of the same algorithm in plain NumPy, in games as long as the others are timed "
    "in.  The machine draws the random numbers of a round, the reward's among them, and adds them up: the share of the "
    "limit is what that takes of a round of ours.",
    how="Min and median are CPU times of a round over the repetitions; the first call compiles what no earlier case "
    "did.  The regret is that of the games that all are judged by, with its standard error.",
    each="rounds",
    rate="rounds",
    answer="answer",
)

BANDITS = Race("bandits", "Playing bandits", CASES, SOLVERS, WORDS)
