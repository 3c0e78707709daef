"""The race of the estimators: off-policy values of a log of a million rounds, all equal to rounding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.benchmarks import race
from claimlab.experiments.benchmarks.machine import LARGE
from claimlab.experiments.benchmarks.race import OURS, Probe, Race, Solver, Words
from claimlab.experiments.benchmarks.stored import Instance, once, read

SOURCES = (Path(__file__),)
TOL = 1e-11  # relative: a sum of a million doubles, in any order, is off by less where terms mostly agree in sign
ERROR_TOL = 1e-8  # of standard errors, where they are told
ROUNDS, ACTIONS = 1_000_000, 10
LONG = np.longdouble
BLOCK = 50_000  # rounds whose terms are held in long floats at a time
ESTIMATORS = {
    "ips": ("ips",),
    "snips": ("snips",),
    "dm": ("dm",),
    "dr": ("dr",),
    "four": ("ips", "snips", "dm", "dr"),
    "four-arrays": ("ips", "snips", "dm", "dr"),
}
TITLES = {
    "ips": "IPS",
    "snips": "SNIPS",
    "dm": "direct method",
    "dr": "doubly robust",
    "four": "all four, ours and NumPy with standard errors",
    "four-arrays": "the same with building the log, our checks included",
}


@dataclass(frozen=True)
class Case(race.Case):
    """A log of `rounds` rounds, and which estimates of the target's value are asked for."""

    name: str
    rounds: int = ROUNDS

    @property
    def title(self) -> str:  # type: ignore[override]
        return TITLES[self.name]

    @property
    def family(self) -> str:  # type: ignore[override]
        return self.name

    def prepare(self, folder: Path) -> Prepared:
        return Prepared(self, once(folder, f"rounds-{self.rounds}", lambda: rounds(self.rounds), SOURCES))


@dataclass(frozen=True)
class Prepared(race.Prepared):
    case: Case
    file: Path

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.case.name,
            "title": self.case.title,
            "tol": TOL,
            "unit": "s",
            "instances": [self.case.name],
            "input_bytes": self.touched,
            "rows": None,
            "facts": {
                "rounds": f"{self.case.rounds:,}",
                "actions": str(ACTIONS),
                "must be read": f"{self.touched / 1e6:.3g} MB",
            },
        }

    @property
    def touched(self) -> int:
        """Bytes of the arrays that a pass over the log needs: weights, rewards, actions, and the two tables."""
        columns, tables = {"ips": (2, 0), "snips": (2, 0), "dm": (0, 2)}.get(self.case.name, (3, 2))
        return 8 * self.case.rounds * (columns + tables * ACTIONS)

    def task(self, solver: Solver) -> dict[str, Any]:
        names = list(ESTIMATORS[self.case.name])
        return {
            "instances": [str(self.file)],
            "estimators": names,
            "count": 1,
            "batched": self.case.name == "four-arrays",
        }

    def judge(self, answer: Array, task: Mapping[str, Any]) -> dict[str, Any]:
        """The values must be right, and the standard errors that follow them, if any do."""
        names = ESTIMATORS[self.case.name]
        values, errors = (np.array([part[name] for name in names]) for part in expected(self.file))
        if answer.shape not in (values.shape, (2 * len(values),)):
            return {"failure": f"an answer of shape {answer.shape}, not {values.shape} or twice as many"}
        error = float((abs(answer[: len(values)] - values) / abs(values)).max())
        off = error > TOL
        if len(answer) > len(values):
            off |= not (abs(answer[len(values) :] - errors) <= ERROR_TOL * errors).all()
        return {"error": error if np.isfinite(error) else None, "wrong": bool(off or not np.isfinite(error))}

    @property
    def probes(self) -> tuple[Probe, ...]:
        """Reading, once and from memory, what the estimators must."""
        return (Probe("read", self.case.name, self.touched),)


def rounds(n: int, n_actions: int = ACTIONS, seed: int = 11) -> Instance:
    """Random logging and target policies in every round, Bernoulli rewards, and a model that is off by a tenth."""
    rng = np.random.default_rng(seed)
    logging = rng.random((n, n_actions)) + 0.2
    logging /= logging.sum(axis=1, keepdims=True)
    target = rng.random((n, n_actions)) ** 2 + 0.05
    target /= target.sum(axis=1, keepdims=True)
    actions = (np.cumsum(logging, axis=1) < rng.random((n, 1))).sum(axis=1).clip(0, n_actions - 1)
    means, at = 0.2 + 0.6 * rng.random((n, n_actions)), np.arange(n)
    return {
        "actions": actions,
        "rewards": (rng.random(n) < means[at, actions]).astype(np.float64),
        "propensities": logging[at, actions],
        "target": target,
        "model": np.clip(means + 0.1 * rng.standard_normal((n, n_actions)), 0, 1),
    }


@lru_cache(maxsize=2)
def expected(file: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Values and standard errors, summed in the longest float, deviations in a second pass."""
    log = read(file)
    n = len(log["rewards"])
    parts = [_terms(log, slice(i, i + BLOCK)) for i in range(0, n, BLOCK)]
    w, ips, dm, dr = (np.concatenate(columns) for columns in zip(*parts))
    snips = ips.sum() / w.sum()
    values = {"ips": ips.mean(), "snips": snips, "dm": dm.mean(), "dr": dr.mean()}
    errors = {
        name: np.sqrt(((x - x.mean()) ** 2).sum() / n / (n - 1)) for name, x in (("ips", ips), ("dm", dm), ("dr", dr))
    }
    errors["snips"] = np.sqrt(((ips - snips * w) ** 2).sum()) / w.sum()
    return {k: float(x) for k, x in values.items()}, {k: float(x) for k, x in errors.items()}


def _terms(log: Instance, part: slice) -> tuple[Any, Any, Any, Any]:
    """Weights and the terms of IPS, DM and DR."""
    pi, q = log["target"][part].astype(LONG), log["model"][part].astype(LONG)
    a, r = log["actions"][part], log["rewards"][part].astype(LONG)
    at = np.arange(len(a))
    w, dm = pi[at, a] / log["propensities"][part], (pi * q).sum(axis=1)
    return w, w * r, dm, dm + w * (r - q[at, a])


CASES = tuple(Case(name) for name in ESTIMATORS)

SOLVERS = (
    Solver(
        OURS, dict.fromkeys(ESTIMATORS, ("evaluate_log",)), threads=True, compiles=True, script="claimlab_off_policy"
    ),
    Solver("obp", dict.fromkeys(ESTIMATORS, ("estimate_policy_value",)), bare=("obp==0.5.7",)),
    Solver("numpy", dict.fromkeys(ESTIMATORS, ("indexing",))),
)

WORDS = Words(
    aside="on the same million rounds",
    wrong="another value, shown",
    axis="seconds",
    cases="Our log is checked, and its weights are taken, where it is built, which all but four-arrays leave out; "
    "obp checks its arrays in each call.  Ours makes all estimates that the log allows, with standard errors, "
    "whatever is asked for: of a log without a model IPS and SNIPS.  The machine reads once what a pass needs.",
    how="Min and median are CPU times of the repetitions; the error is relative, of the values against sums in the "
    "longest float; standard errors, where told, are checked as well.  obp tells none but by the bootstrap.",
    each="",
)

OPE = Race("ope", "Off-policy evaluation", CASES, SOLVERS, WORDS, (Probe("read", None, LARGE),))
