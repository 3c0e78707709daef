"""The heat equation on the finest grids of Figure 6, which take minutes a method, and processor times: recorded.

``python -m claimlab.experiments.papers.learning_to_relax.heat_record FILE`` records them anew, in some twenty minutes.
"""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from pathlib import Path

from claimlab.experiments.environment import environment
from claimlab.experiments.papers.learning_to_relax.gain import Simulated, decision_seconds, simulations
from claimlab.experiments.papers.learning_to_relax.simulation import FIVE, GRID, LEARNERS, PERIOD, instances, simulate

RECORD = files("claimlab.experiments").joinpath("records", "heat-400.json")
LEARNT = (200, 400)  # cells along a side on which the learners solve every system of a period
SAMPLED = {400: 50}  # cells, and of which share of the period's systems every omega is tried
TIMED = {50: (1, 5), 100: (1, 2), 200: (50, 1)}  # cells, that share, repetitions
WHAT = (
    "The heat equation, one period of 1000 time steps, one run of each learner, seed 0. rows: method, cells along a "
    "side, iterations a time step; learners on every system, others on every 50th. simulations: method, cells, "
    "iterations and processor seconds a time step, every system solved, learning included, the least of several "
    "repetitions; the best omega of each system was found beforehand, the best fixed one too, from 200 cells on of "
    "every 50th system. decisions: processor seconds of a learner's decision and what it learns from it, 50 cells."
)
Row = tuple[str, int, float]  # method, cells, iterations a step


def sampled(cells: int, every: int) -> list[Row]:
    """Conjugate gradients, the fixed parameters, and the best of the 20 for each system, on every `every`-th."""
    found, plain = instances(cells, every=every), instances(cells, every=every, omegas=(0.0,))
    each = dict(zip(GRID, found.counts.mean(axis=0).tolist()))
    rows = [("CG", cells, float(plain.counts.mean()))]
    rows += [(rf"$\omega = {omega:g}$", cells, each[omega]) for omega in FIVE]
    return [*rows, ("best of each system", cells, float(found.optimum.mean()))]


def learnt(name: str, cells: int) -> Row:
    """A learner that solves every step of one period, seed 0."""
    return name, cells, float(simulate(LEARNERS[name], cells, PERIOD)[0] / PERIOD)


def recorded() -> list[Row]:
    """The rows of the record."""
    return [(str(name), int(cells), float(count)) for name, cells, count in json.loads(RECORD.read_text())["rows"]]


def timed() -> list[Simulated]:
    """The simulations of the record."""
    return [Simulated(*row) for row in json.loads(RECORD.read_text())["simulations"]]


def decisions() -> dict[str, float]:
    """Seconds of a decision of each learner, from the record."""
    return {str(name): float(seconds) for name, seconds in json.loads(RECORD.read_text())["decisions"].items()}


def record(path: Path) -> None:
    """Measure everything anew, and write it to `path`."""
    found = [row for cells, (every, repetitions) in TIMED.items() for row in simulations(cells, every, repetitions)]
    rows = [row for cells, every in SAMPLED.items() for row in sampled(cells, every)]
    known = {(row.method, row.cells): (row.method, row.cells, row.iterations) for row in found}
    rows += [known.get((name, cells)) or learnt(name, cells) for cells in LEARNT for name in LEARNERS]
    whole = {"what": WHAT, "environment": environment(), "rows": rows, "simulations": found}
    whole["decisions"] = {name: decision_seconds(name) for name in LEARNERS}
    path.write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    record(Path(sys.argv[1]))
