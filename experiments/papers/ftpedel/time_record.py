"""Seconds of the design programs and of whole runs of FTPedel, by the number of policies: recorded.

``python -m claimlab.experiments.papers.ftpedel.time_record FILE`` measures them anew, in some two minutes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from itertools import product
from pathlib import Path
from time import perf_counter, process_time
from typing import NamedTuple

import numpy as np

from claimlab.experiments.environment import environment
from claimlab.experiments.papers.ftpedel.learning import uniform
from claimlab.mdps.coverage import o2o_episodes
from claimlab.mdps.fine_tuning import Oracle, fine_tune
from claimlab.mdps.linear import LinearMDP
from claimlab.mdps.linear_instances import one_hot, simplex_linear_mdp
from claimlab.mdps.prefixes import prefixes
from claimlab.mdps.staged import StagedMDP, staged_occupancy

RECORD = files("claimlab.experiments").joinpath("records", "design-seconds.json")
SHAPES = {"81": (2, 3, 2), "10 000": (2, 10, 2), "32 768": (3, 2, 5)}  # policies, and states, actions, steps
INSTANCES, EPS, DELTA, BETA, DATA = 10, 0.2, 0.1, 8.0, 1_000
WHAT = (
    f"Random MDPs, {INSTANCES} of each size, seeds 0 to {INSTANCES - 1}; linear ones have features on a simplex in 4 "
    f"dimensions. Programs: T_o2o of all steps to a relative 1e-6, eps = {EPS}, beta = {BETA:g}, without data and with "
    f"a log of {DATA} expected uniform episodes, for deterministic policies or for all (mixtures). Runs: FTPedel with "
    f"the oracle's designs, planning included, eps = {EPS}, delta = {DELTA}, no data. Seconds on the wall and of the "
    "processor of one thread, the slowest instance; gap: the largest of the certificates over the value."
)


class Timed(NamedTuple):
    """The slowest of the instances of a size."""

    what: str
    policies: str
    occupancies: int  # distinct ones of the last step
    wall: float
    processor: float
    gap: float


def timed() -> list[Timed]:
    """The rows of the record."""
    return [Timed(*row) for row in json.loads(RECORD.read_text())["rows"]]


def tabular(size: tuple[int, int, int], seed: int) -> LinearMDP:
    (S, A, H), rng = size, np.random.default_rng(seed)
    return one_hot(StagedMDP(rng.dirichlet(np.ones(S), size=(H, S, A)), rng.random((H, S, A)), np.full(S, 1 / S)))


def linear(size: tuple[int, int, int], seed: int) -> LinearMDP:
    (S, A, H), rng = size, np.random.default_rng(seed)
    return simplex_linear_mdp(4, S, A, H, rng)


def program(mdp: LinearMDP, seed: int, *, by_features: bool, data: int, mixtures: bool) -> float:
    """Solve the programs of all steps; the largest gap of the certificates over the value."""
    gap, staged = 0.0, mdp.staged
    for h, w in enumerate(data * staged_occupancy(staged, uniform(staged))):
        known = np.einsum("sa,sai,saj->ij", w, mdp.phi, mdp.phi) if by_features else w
        features = mdp.phi if by_features else None
        found = o2o_episodes(staged, h, EPS, BETA, known, features=features, mixtures=mixtures)
        gap = max(gap, found.gap / found.value if found.value else 0.0)
    return gap


def run(mdp: LinearMDP, seed: int) -> float:
    """Plan and run FTPedel on the tables."""
    fine_tune(mdp.staged, Oracle(mdp.staged, EPS, DELTA), EPS, DELTA, np.random.default_rng(seed))
    return 0.0


def slowest(what: str, policies: str, mdps: list[LinearMDP], work: Callable[[LinearMDP, int], float]) -> Timed:
    rows = []
    for seed, mdp in enumerate(mdps):
        wall, processor = perf_counter(), process_time()
        gap = work(mdp, seed)
        rows.append((perf_counter() - wall, process_time() - processor, gap))
    occupancies = max(len(prefixes(mdp.staged, mdp.horizon - 1).gap) for mdp in mdps)
    return Timed(what, policies, occupancies, *np.max(rows, axis=0).round(6).tolist())


def measure() -> list[Timed]:
    found = []
    for policies, size in SHAPES.items():
        tables, models = ([make(size, seed) for seed in range(INSTANCES)] for make in (tabular, linear))
        for by_features, data, mixtures in product((False, True), (0, DATA), (False, True)):
            what = f"{'linear' if by_features else 'tabular'}, {'all' if mixtures else 'deterministic'}, {data} offline"
            work = partial(program, by_features=by_features, data=data, mixtures=mixtures)
            found.append(slowest(what, policies, models if by_features else tables, work))
        if policies == "81":
            found.append(slowest("run", policies, tables, run))
    return found


def record(path: Path) -> None:
    """Measure everything anew, and write it to `path`."""
    path.write_text(json.dumps({"what": WHAT, "environment": environment(), "rows": measure()}, indent=1) + "\n")


if __name__ == "__main__":
    record(Path(sys.argv[1]))
