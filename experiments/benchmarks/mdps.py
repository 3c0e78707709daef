"""The race of the planners: cases, and the libraries with their methods."""

from __future__ import annotations

from functools import partial

import numpy as np

from claimlab.experiments.benchmarks import instances as make
from claimlab.experiments.benchmarks.instances import SAMPLE, TABLES, Reference
from claimlab.experiments.benchmarks.machine import LARGE
from claimlab.experiments.benchmarks.planning import Case
from claimlab.experiments.benchmarks.race import OURS, Probe, Race, Solver, Words
from claimlab.experiments.benchmarks.stored import Instance

GARNET = {"garnet100k": partial(make.garnet, 100_000, 4, 8, seed=2)}
FROZEN = {"frozen300": partial(make.frozen, 300, 0.08, seed=3)}
MAZE = {"maze300": partial(make.maze, 300)}
DENSE = {"dense1000": partial(make.dense, 1000, 10, seed=1)}
TINY = (1_000_000, 5, 3, 4)
SMALL = (100_000, 20, 4, 5)


def _discounted(gamma: float, instances: list[Instance]) -> Reference:
    found = [make.discounted_reference(instance, gamma, 1e-6) for instance in instances]
    values, errors, sweeps = zip(*found)
    return Reference(np.concatenate(values), max(errors), sweeps[0] if len(sweeps) == 1 else (0, 0))


def _average(instances: list[Instance]) -> Reference:
    (instance,) = instances
    return make.average_reference(instance)


def _episodic(horizon: int, instances: list[Instance]) -> Reference:
    (instance,) = instances
    return make.episodic_reference(instance, horizon)


def _batch(size: tuple[int, int, int, int], instances: list[Instance]) -> Reference:
    return make.batch_reference(make.batch(*size), 0.99)


def _large(name: str, title: str, family: str, made: dict[str, partial[Instance]], gamma: float) -> Case:
    return Case(
        f"{name}-{gamma:g}", f"{title}, γ = {gamma:g}", family, "discounted", made, partial(_discounted, gamma), gamma
    )


def _many(name: str, size: tuple[int, int, int, int]) -> Case:
    n, S, A, seed = size
    return Case(
        name,
        f"{n:.0e} MDPs of {S} states, {A} actions, γ = 0.99".replace("e+0", "e"),
        "batch",
        "discounted",
        {f"{name}-sample": partial(make.batch, SAMPLE, S, A, seed)},
        partial(_batch, size),
        0.99,
        own_tol=1e-9,
        batch=size,
    )


CASES = (
    _large("garnet100k", "Garnet, 100 000 states", "mixing", GARNET, 0.99),
    _large("garnet100k", "Garnet, 100 000 states", "mixing", GARNET, 0.999),
    _large("frozen300", "FrozenLake 300 × 300", "grid", FROZEN, 0.99),
    _large("frozen300", "FrozenLake 300 × 300", "grid", FROZEN, 0.999),
    _large("maze300", "Maze 300 × 300", "grid", MAZE, 0.99),
    _large("maze300", "Maze 300 × 300", "grid", MAZE, 0.999),
    _large("dense1000", "Dense, 1000 states", "mixing", DENSE, 0.99),
    _large(
        "gymnasium", "Gymnasium's five tables", "tables", {name: partial(make.table, name) for name in TABLES}, 0.99
    ),
    Case("garnet100k-average", "Garnet, average reward", "average", "average", GARNET, _average),
    Case(
        "garnet100k-horizon100",
        "Garnet, horizon 100",
        "episodic",
        "episodic",
        GARNET,
        partial(_episodic, 100),
        horizon=100,
    ),
    _many("tiny5x3", TINY),
    _many("tiny20x4", SMALL),
)

SOLVERS = (
    Solver(
        OURS,
        dict.fromkeys(("mixing", "grid", "tables"), ("solve",))
        | {"average": ("relative_value_iteration",), "episodic": ("backward_induction",), "batch": ("batched.solve",)},
        threads=True,
        compiles=True,
    ),
    Solver(
        "quantecon",
        {
            "mixing": ("mpi", "pi", "vi"),
            "grid": ("mpi", "pi", "vi"),
            "tables": ("mpi", "pi", "vi"),
            "batch": ("pi", "mpi", "vi"),
            "episodic": ("backward_induction",),
        },
        threads=True,
        compiles=True,
    ),
    Solver(
        "storm",
        dict.fromkeys(("mixing", "grid"), ("optimistic_value_iteration", "value_iteration"))
        | dict.fromkeys(("tables", "batch"), ("optimistic_value_iteration", "policy_iteration", "value_iteration"))
        | {"average": ("long_run_average",), "episodic": ("step_bounded",)},
        sample=200,
    ),
    Solver(
        "mdpsolver",
        {
            "mixing": ("vi-standard", "mpi-standard", "pi-standard"),
            "grid": ("vi-gs", "vi-standard", "mpi-gs", "pi-gs"),
            "tables": ("mpi-gs", "vi-gs", "pi-gs", "mpi-standard", "vi-standard", "pi-standard"),
            "batch": ("pi-standard", "mpi-standard", "vi-standard"),
            "average": ("vi-standard", "mpi-standard", "pi-standard"),
        },
        threads=True,
    ),
    Solver(
        "pymdptoolbox",
        dict.fromkeys(("mixing", "grid"), ("pi", "mpi", "vi"))
        | {"tables": ("vi", "mpi", "pi"), "batch": ("pi", "mpi", "vi"), "average": ("rvi",), "episodic": ("backward",)},
        threads=True,
        sample=200,
    ),
    Solver(
        "rlberry",
        dict.fromkeys(("mixing", "grid", "tables", "batch"), ("value_iteration",))
        | {"episodic": ("backward_induction",)},
        sample=20,
    ),
)

WORDS = Words(
    aside="batches: for each MDP, from arrays",
    wrong="wrong, by the error shown",
    axis="seconds (batches: each)",
    cases="Plain sweeps: what value iteration from zero needs for the same error with the sup-norm stop, counted or "
    "enclosed.  The limit is to read once, in order, what a sweep of the optimality operator must; the gather limit, "
    "to fetch a value for every entry of a sparse P and to add up.  They are shares of the time that a sweep of ours "
    "takes which looks at every action and changes none; on grids it fetches less.",
    how="Each library with the best of its methods.  Min and median are CPU times of the repetitions; the first call "
    "compiles what no earlier case did; building the model takes the arrays in; memory is the rise while solving.  "
    "Of a batch, times are for each MDP, in the table above with building its model; the slower libraries are timed on "
    "the first ones only.",
    each="MDPs",
)

MDPS = Race(
    "mdps",
    "Planning in finite MDPs",
    CASES,
    SOLVERS,
    WORDS,
    tuple(Probe(what, None, LARGE) for what in ("read", "triad", "gemv")),
)
