"""The heat equation on the finest grids of Figure 6, which take minutes a method: recorded, and read by the figure.

``python -m claimlab.experiments.papers.learning_to_relax.heat_record`` records them anew, in about half an hour.
"""

from __future__ import annotations

import json
from importlib.resources import files

from claimlab.experiments.papers.learning_to_relax.heat import FIVE, GRID, LEARNERS, PERIOD, instances, simulate

RECORD = "heat-400.json"
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
    text = files("claimlab.experiments").joinpath("records", RECORD).read_text(encoding="utf-8")
    return [tuple(row) for row in json.loads(text)["rows"]]
