r"""How often verdicts are wrong: the fixed rules on statements of which we know whether they hold.

``python -m claimlab.experiments.calibration record FILE`` judges all of them anew, in about half an hour on one core;
``... record FILE PATTERN`` only the cells whose names match, keeping what FILE has of the others; ``... figure FOLDER``
draws what was recorded.

A cell is a law of statements with one truth.  Each replicate draws one, collects evidence as a claim does, and lets
:func:`~claimlab.theory.evidence.judge` decide.  Wrong is a false statement that comes out supported, a true one that
comes out refuted, and, on the threshold itself, either: both say that what is the case was excluded.  Inconclusive is
not wrong.  Fixed before the run, and not changed after it: the cells, `REPLICATES`, the seed, and what the rules
promise.  The promises are:

* statistical evidence errs with probability at most `LEVEL`, a whole ledger together as well as a statement alone;
* deterministic evidence never refutes what is true;
* nothing about false universal statements: how small a violation the search finds is measured, not promised;
* nothing for the laws called out of reach: differences of which almost all are nearly equal, and growth that starts
  beyond the sizes that were run.

The laws of rare differences were measured anew, and those in noise and of known range added, when samples of equal runs
had ceased to decide.  The clock had ended the two cells of whole ledgers after 60 and 20 replicates, whatever their
outcomes; they have all 300 since.  The record says which rows were measured later and in what environment.
"""

from __future__ import annotations

import gc
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from importlib.resources import files
from math import sqrt
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.random import Generator
from scipy import stats

from claimlab.checks import Array
from claimlab.experiments import atomic
from claimlab.experiments.environment import environment
from claimlab.experiments.figures import PaperFigure, save
from claimlab.experiments.style import PAGE
from claimlab.theory.claims import SMOKE, STANDARD, Budget
from claimlab.theory.evidence import LEVEL, Evidence, Outcome, Verdict, comparison, judge, probability, rate
from claimlab.theory.falsify import Trials, attack, equate
from claimlab.theory.spaces import Box, Space

RECORD = files("claimlab.experiments").joinpath("records", "calibration.json")
REPLICATES = {"threshold": 600, "true": 200, "false": 200, "ledger": 300}
STATEMENTS = 40  # of a ledger, half of them judged by a bootstrap
SIZES = np.array([10.0, 30.0, 100.0, 300.0])
UNIT = float(np.finfo(np.float64).eps)

# Laws of a difference, with mean 0 and standard deviation 1.
LAWS: dict[str, Callable[[Generator, int], Any]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "skewed": lambda rng, n: rng.exponential(size=n) - 1,
    "heavy tails": lambda rng, n: rng.standard_t(3, n) / sqrt(3),
    "rare": lambda rng, n: ((rng.random(n) < 0.1) - 0.1) / 0.3,
    "rare, range known": lambda rng, n: ((rng.random(n) < 0.1) - 0.1) / 0.3,
    "rare in noise": lambda rng, n: sqrt(1 - 1e-4) * ((rng.random(n) < 0.1) - 0.1) / 0.3 + 0.01 * rng.normal(size=n),
}
RANGES = {"rare, range known": (-1.0, 5.0)}  # of the differences, at all sizes
OUT_OF_REACH = ("rare in noise",)
LEDGER = ("normal", "skewed", "heavy tails")


@dataclass(frozen=True)
class Cell:
    """A law of statements.

    Parameters
    ----------
    name : str
        Its random stream.
    kind : str
        Of the evidence, or "Ledger".
    law, truth : str
        `truth` is "true", "false" or "threshold".
    size : float
        Statistical: the distance of the truth from the threshold in standard errors (or the ratio of probabilities);
        deterministic: the relative size of the violation, or the share of the space on which there is one.
    runs : int
        Runs of a statistical statement, instances of a search.
    promise : float, optional
        The largest probability of a wrong verdict that the rules promise.
    draw : Budget -> mapping from name to Evidence
        One statement, or the statements of one ledger.
    """

    name: str
    kind: str
    law: str
    truth: str
    size: float
    runs: int
    promise: float | None
    draw: Callable[[Budget], dict[str, Evidence]]

    def wrong(self, verdicts: dict[str, Verdict]) -> bool:
        wrong = {"true": {Outcome.REFUTED}, "false": {Outcome.SUPPORTED}}
        return any(v.outcome in wrong.get(self.truth, {Outcome.REFUTED, Outcome.SUPPORTED}) for v in verdicts.values())


# Statistical statements.  `size` 0 is the threshold, a positive one true by so many standard errors.


def compared(rng: Generator, law: str, runs: int, size: float) -> Evidence:
    """ "The mean difference exceeds 0.3", where it is 0.3 and so many standard errors."""
    a = LAWS[law](rng, runs) + 0.3 + size / sqrt(runs)
    return comparison(a, np.zeros(runs), effect=0.3, rng=rng, within=RANGES.get(law))


def grown(rng: Generator, law: str, runs: int, size: float) -> Evidence:
    r""" "y grows at most as :math:`x^{1/2}`" within the resolution; smaller slopes are true by so many errors."""
    centred = np.log(SIZES) - np.log(SIZES).mean()
    noise = 0.1 * LAWS[law](rng, runs * len(SIZES)).reshape(runs, -1)
    slope = 0.55 - size * 0.1 / sqrt(runs * float(centred @ centred))
    return rate(SIZES, np.exp(slope * np.log(SIZES) + noise), exponent=0.5, side="at most", rng=rng, resolution=0.05)


def covered(rng: Generator, delta: float, runs: int, size: float) -> Evidence:
    """ "The interval misses with probability at most delta", where it misses with `size` times that."""
    radius = float(stats.norm.isf(size * delta / 2))
    return probability(int((abs(rng.normal(size=runs)) > radius).sum()), runs, delta)


def late_growth(rng: Generator, law: str, runs: int) -> Evidence:
    r""" "y grows at most as :math:`x^{1/2}`", up to logarithms where `law` says so; only larger sizes would show it."""
    y = {"linear from 10^6 on": np.sqrt(SIZES) + SIZES / 1000, "with a logarithm": np.sqrt(SIZES) * np.log(SIZES)}[law]
    return rate(SIZES, y * rng.lognormal(0, 0.1, (runs, len(SIZES))), exponent=0.5, side="at most", rng=rng)


def whole_ledger(budget: Budget, laws: tuple[str, ...]) -> dict[str, Evidence]:
    """Statements on the threshold, half of them coverages, the others comparisons and rates of the given laws."""
    rng = budget.rng()
    found: dict[str, Evidence] = {}
    for i in range(STATEMENTS):
        law, runs = laws[rng.integers(len(laws))], int(rng.choice([10, 20]))
        measure = partial((compared, grown)[i // 2 % 2], law=law, runs=runs)
        found[str(i)] = measure(rng, size=0.0) if i % 2 else covered(rng, delta=0.05, runs=2000, size=1.0)
    return found


# Universal statements, attacked by the search.


def quadratic_attack(budget: Budget, size: float) -> Evidence:
    r""":math:`x^\top M x \le (1 - size)\lambda_{max}(M) |x|^2` for a random symmetric M: true for size 0, then tight.

    Its error covers the rounding of both sides, and that of the eigenvalue, which is that of a backward stable solver.
    """
    d = int(budget.rng("dimension").integers(2, 7))
    factor = budget.rng("matrix").normal(size=(d, d))
    M = factor @ factor.T
    top, scale = float(np.linalg.eigvalsh(M)[-1]), float(np.linalg.norm(M))

    def measure(x: Array) -> Trials:
        squares = (x**2).sum(axis=-1)
        bound = (1 - size) * top * squares
        return Trials(np.einsum("ni,ij,nj->n", x, M, x), bound, error=16 * d**2 * UNIT * scale * squares)

    return attack(Space({"d": (d, d)}, {"x": Box("d")}), measure, budget, batched=True)


def needle_attack(budget: Budget, size: float) -> Evidence:
    """ "f <= 1 on the square", where f is 1/2 but for a square of that share, somewhere, on which it is 2."""
    side = sqrt(size)
    corner = budget.rng("corner").uniform(-1, 1 - 2 * side, size=2)

    def measure(x: Array) -> Trials:
        inside = ((x >= corner) & (x <= corner + 2 * side)).all(axis=-1)
        return Trials(np.where(inside, 2.0, 0.5), np.ones(len(x)))

    return attack(Space({"d": (2, 2)}, {"x": Box("d")}), measure, budget, batched=True)


def quadratic_identity(budget: Budget, size: float) -> Evidence:
    r""":math:`x^\top (\sum_k a_k a_k^\top) x = \sum_k (a_k \cdot x)^2`, the first term times 1 + size.

    Both sides are sums of products, rounded at most d^2 + K + 2 times on the left and 2d + K + 3 on the right (Higham
    2002, Section 3.1); 1.01 covers the terms of second order.
    """
    d, K = (int(n) for n in budget.rng("dimension").integers(2, 7, size=2))
    a = budget.rng("matrix").normal(size=(K, d))
    M, absolute = a.T @ a, abs(a).T @ abs(a)
    weights = np.ones(K)
    weights[0] += size

    def measure(x: Array) -> Trials:
        left, right = np.einsum("ni,ij,nj->n", x, M, x), (weights * (x @ a.T) ** 2).sum(axis=-1)
        operations = d**2 + 2 * d + 2 * K + 5
        rounding = 1.01 * operations * UNIT / 2 * np.einsum("ni,ij,nj->n", abs(x), absolute, abs(x))
        return Trials(abs(left - right), rounding)

    return equate(Space({"d": (d, d)}, {"x": Box("d")}), measure, budget, batched=True)


def _alone(measure: Callable[..., Evidence]) -> Callable[[Budget], dict[str, Evidence]]:
    return lambda budget: {"it": measure(budget.rng())}


def _searched(measure: Callable[..., Evidence], size: float) -> Callable[[Budget], dict[str, Evidence]]:
    return lambda budget: {"it": measure(budget, size=size)}


def cells() -> Iterator[Cell]:
    """All cells, the cheap ones first."""
    for (runs, delta), size in ((c, s) for c in ((200, 0.1), (2000, 0.05), (2000, 0.001)) for s in (0.5, 1.0, 2.0)):
        truth = "threshold" if size == 1 else "true" if size < 1 else "false"
        draw = _alone(partial(covered, delta=delta, runs=runs, size=size))
        law = f"delta = {delta:g}"
        yield Cell(f"coverage/{delta:g}/{size:g}", "Probability", law, truth, size, runs, LEVEL, draw)
    for budget in (SMOKE, STANDARD):
        n = budget.instances
        for size in (0.0, 1e-4, 1e-3, 1e-2, 1e-1):
            truth, promise = ("false", None) if size else ("true", 0.0)
            draw = _searched(quadratic_attack, size)
            yield Cell(f"quadratic/{n}/{size:g}", "Inequality", "quadratic form", truth, size, n, promise, draw)
        for size in (1e-4, 1e-3, 1e-2, 1e-1):
            draw = _searched(needle_attack, size)
            yield Cell(f"needle/{n}/{size:g}", "Inequality", "needle", "false", size, n, None, draw)
    for size in (0.0, 1e-16, 1e-15, 1e-14, 1e-13, 1e-10, 1e-2):
        truth, promise = ("false", None) if size else ("true", 0.0)
        draw = _searched(quadratic_identity, size)
        yield Cell(f"identity/{size:g}", "Identity", "sum of squares", truth, size, SMOKE.instances, promise, draw)
    for law, truth in (("linear from 10^6 on", "false"), ("with a logarithm", "true")):
        yield Cell(f"late/{law}", "Rate", law, truth, 0.0, 10, None, _alone(partial(late_growth, law=law, runs=10)))
    for kind, measure, law in (
        *(("Comparison", compared, law) for law in LAWS),
        *(("Rate", grown, law) for law in ("normal", "skewed")),
    ):
        for runs, size in ((n, s) for n in (10, 40) for s in (0.0, -2.0, 2.0)):
            truth = "threshold" if size == 0 else "true" if size > 0 else "false"
            promise = None if law in OUT_OF_REACH else LEVEL
            draw = _alone(partial(measure, law=law, runs=runs, size=size))
            yield Cell(f"{kind}/{law}/{runs}/{size:g}", kind, law, truth, size, runs, promise, draw)
    for laws in (("normal",), LEDGER):
        draw = partial(whole_ledger, laws=laws)
        yield Cell(f"ledger/{'+'.join(laws)}", "Ledger", ", ".join(laws), "threshold", 0.0, STATEMENTS, LEVEL, draw)


def measured(cell: Cell, replicates: int, seed: int = 0) -> dict[str, Any]:
    """The outcomes of so many replicates, and the 95 % Clopper-Pearson interval of the rate of wrong verdicts."""
    outcomes: Counter[str] = Counter()
    wrong = 0
    for k in range(replicates):
        budget = Budget("calibration", cell.runs, cell.runs, seed, f"calibration/{cell.name}/{k}")
        verdicts = judge(cell.draw(budget))
        outcomes.update(str(verdict.outcome) for verdict in verdicts.values())
        wrong += cell.wrong(verdicts)
    interval = stats.binomtest(wrong, replicates).proportion_ci(0.95, method="exact")
    kept = ("name", "kind", "law", "truth", "size", "runs", "promise")
    row: dict[str, Any] = {name: getattr(cell, name) for name in kept}
    row |= {str(outcome): outcomes[str(outcome)] for outcome in Outcome}
    return row | {"replicates": replicates, "wrong": wrong, "low": float(interval.low), "high": float(interval.high)}


def verdicts(rows: list[dict[str, Any]]) -> dict[str, Verdict]:
    """Whether each promise is kept, by our own rule and as one family; one of 0 is broken by one wrong verdict."""
    evidence = {r["name"]: probability(r["wrong"], r["replicates"], r["promise"]) for r in rows if r["promise"]}
    return judge(evidence)


def replicates(cell: Cell) -> int:
    return REPLICATES["ledger" if cell.kind == "Ledger" else cell.truth]


def record(path: Path, pattern: str = "*") -> None:
    """Measure the cells that match, and keep what `path` has of the others; what there is so far is always in it."""
    before: dict[str, Any] = {"environment": environment(), "rows": []}
    if pattern != "*":
        before = json.loads(path.read_text())
    rows: dict[str, dict[str, Any]] = {row["name"]: row for row in before["rows"]}
    redone: list[str] = []
    gc.freeze()  # `judge` collects garbage, through statsmodels: without this it spends most of the time on modules
    for cell in cells():
        if not fnmatchcase(cell.name, pattern):
            continue
        rows[cell.name] = measured(cell, replicates(cell))
        redone.append(cell.name)
        print({name: rows[cell.name][name] for name in ("name", "wrong", "replicates")}, flush=True)
        known = [rows[cell.name] for cell in cells() if cell.name in rows]
        kept = {name: f"{verdict.outcome}: {verdict.reason}" for name, verdict in verdicts(known).items()}
        what = "rates of wrong verdicts on statements whose truth is known; see claimlab.experiments.calibration"
        found = {"what": what, "environment": before["environment"], "rows": known, "promises": kept}
        if pattern != "*":
            found["later"] = _later(before.get("later", []), redone)
        atomic.write_json(path, found)


def _later(before: list[dict[str, Any]], redone: list[str]) -> list[dict[str, Any]]:
    """The runs that measured cells after the first one, each with those that no later run replaced."""
    kept = [run | {"cells": [name for name in run["cells"] if name not in redone]} for run in before]
    return [*(run for run in kept if run["cells"]), {"cells": redone, "environment": environment()}]


def recorded() -> pd.DataFrame:
    """The rows of the record, with the rate of wrong verdicts."""
    rows = pd.DataFrame(json.loads(RECORD.read_text())["rows"])
    return rows.assign(rate=rows.wrong / rows.replicates)


def draw() -> tuple[Figure, pd.DataFrame]:
    rows: Any = recorded()
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 3.6), width_ratios=(1.15, 1))
    edge = rows[rows.truth == "threshold"].iloc[::-1]
    colours = {"Probability": "C0", "Comparison": "C1", "Rate": "C2", "Ledger": "C3"}
    for y, row in enumerate(edge.itertuples()):
        left.plot([row.low, row.high], [y, y], color=colours[row.kind])
        left.plot(row.rate, y, "o", color=colours[row.kind], mfc="white" if pd.isna(row.promise) else None)
    what = [
        f"{r.runs} statements, {r.law}" if r.kind == "Ledger" else f"{r.kind}, {r.law}, {r.runs} runs"
        for r in edge.itertuples()
    ]
    left.axvline(LEVEL, color="black", lw=0.8, ls="--")
    left.set_yticks(range(len(edge)), what)
    left.set(xlabel="rate of wrong verdicts on the threshold", xlim=(0, 1))
    left.set_xscale("symlog", linthresh=0.1)
    left.set_xticks([0, 0.05, 0.1, 0.5, 1], ["0", ".05", ".1", ".5", "1"])
    searched = rows[(rows.truth == "false") & rows.kind.isin(["Inequality", "Identity"])]
    for law, runs in searched[["law", "runs"]].drop_duplicates().itertuples(index=False):
        group = searched[(searched.law == law) & (searched.runs == runs)]
        error = np.array([group.rate - group.low, group.high - group.rate]).clip(0)
        right.errorbar(group["size"], group.rate, error, marker="o", capsize=2, label=f"{law}, {runs} instances")
    right.set(xscale="log", ylim=(-0.03, 1.03), ylabel="rate of false statements supported")
    right.set(xlabel="size of the violation")
    right.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return fig, rows


FIGURE = PaperFigure(
    "calibration",
    "How often verdicts are wrong, with 95 % Clopper-Pearson intervals. Left: statements on the very threshold, where "
    "the rules promise at most .05 (dashed; hollow: no promise). Right: false universal statements that a search "
    "supports, over the relative size of the violation; of a needle, its share of the space.",
    draw,
)


def main(arguments: list[str]) -> None:
    match arguments:
        case ["record", path]:
            record(Path(path))
        case ["record", path, pattern]:
            record(Path(path), pattern)
        case ["figure", folder]:
            print(save(FIGURE, Path(folder)).pdf)
        case _:
            sys.exit("usage: python -m claimlab.experiments.calibration record FILE [PATTERN] | figure FOLDER")


if __name__ == "__main__":
    main(sys.argv[1:])
