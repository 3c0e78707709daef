"""The heat equation on the finest grids of Figure 6, which take minutes a method: recorded, and read by the figure.

``python -m claimlab.experiments.papers.learning_to_relax.heat_record FILE`` records them anew, in some fifteen minutes.
"""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from pathlib import Path

from claimlab.experiments.environment import environment
from claimlab.experiments.papers.learning_to_relax.simulation import FIVE, GRID, LEARNERS, PERIOD, instances, simulate

RECORD = files("claimlab.experiments").joinpath("records", "heat-400.json")
LEARNT = (200, 400)  # cells along a side on which the learners solve every system of a period
SAMPLED = {400: 50}  # cells, and of which share of the period's systems every omega is tried
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


def record(path: Path) -> None:
    """Measure all rows anew, and write them to `path`."""
    rows = [row for cells, every in SAMPLED.items() for row in sampled(cells, every)]
    rows += [learnt(name, cells) for cells in LEARNT for name in LEARNERS]
    what = json.loads(RECORD.read_text())["what"]
    path.write_text(json.dumps({"what": what, "environment": environment(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    record(Path(sys.argv[1]))
