"""Processor time of whole simulations of the heat equation by each method: recorded, and read by the figure.

``python -m claimlab.experiments.papers.learning_to_relax.time_record FILE`` measures it anew, in some two minutes.
"""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from pathlib import Path

from claimlab.experiments.environment import environment
from claimlab.experiments.papers.learning_to_relax.gain import Simulated, decision_seconds, simulations
from claimlab.experiments.papers.learning_to_relax.simulation import LEARNERS

RECORD = files("claimlab.experiments").joinpath("records", "heat-seconds.json")
TIMED = {50: 5, 100: 2}  # cells along a side, repetitions
WHAT = (
    "The heat equation, one period of 1000 time steps, every system solved, one run of each learner, seed 0, methods "
    "in turn in one process. simulations: method, cells along a side, iterations and processor seconds a time step, "
    "learning included, the least of several repetitions; the best omega of each system and the best fixed one were "
    "found beforehand. decisions: processor seconds of a learner's decision and of what it learns from it."
)


def timed() -> list[Simulated]:
    """The simulations of the record."""
    return [Simulated(*row) for row in json.loads(RECORD.read_text())["simulations"]]


def decisions() -> dict[str, float]:
    """Seconds of a decision of each learner, from the record."""
    return {str(name): float(seconds) for name, seconds in json.loads(RECORD.read_text())["decisions"].items()}


def record(path: Path) -> None:
    """Measure everything anew, and write it to `path`."""
    found = [row for cells, repetitions in TIMED.items() for row in simulations(cells, repetitions)]
    taken = {name: decision_seconds(name) for name in LEARNERS}
    whole = {"what": WHAT, "environment": environment(), "simulations": found, "decisions": taken}
    path.write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    record(Path(sys.argv[1]))
