r"""What a learner gains in a whole simulation: in matrix entries read and in processor time, its own cost included."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, partial
from time import process_time
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.bandits.contextual import ContextualAlgorithm, ContextualEnvironment, play_contextual
from claimlab.checks import Array, Ints
from claimlab.experiments.papers.learning_to_relax.common import claim
from claimlab.experiments.papers.learning_to_relax.simulation import (
    CAP,
    LEARNERS,
    OMEGAS,
    PERIOD,
    Heat,
    Instances,
    counted,
    fixed,
    instances,
    lengths,
    simulate,
)
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Comparison, comparison

DECISION = 5_000  # matrix entries that a decision of a learner counts as: more than the record measures


def entries(cells: int, iterations: Array | float, steps: int) -> Array:
    """Matrix entries read in `steps` solves with `iterations` steps of preconditioned conjugate gradients in all.

    An iteration reads the matrix for a product, and either triangle with the diagonal for the preconditioner; a solve
    reads it twice besides, for the residuals at the start and the end.
    """
    side = cells - 1
    n, off = side**2, 4 * side * (side - 1)
    return np.asarray((2 * off + 3 * n) * np.asarray(iterations) + 2 * (off + n) * steps)


class Nothing(NamedTuple):
    """Nothing to remember."""

    none: Array


@dataclass(frozen=True, eq=False)
class Planned(ContextualAlgorithm):
    """Plays ``arms[t]`` in round t, int[T]: what was found beforehand, so without its cost."""

    arms: Ints

    def start(self, n_arms: int, dim: int, horizon: int) -> Nothing:
        return Nothing(np.zeros(0))

    def choose(self, state: Nothing, t: int, context: Array, rng: Generator) -> int:
        return self.arms[t]

    def update(self, state: Nothing, t: int, context: Array, arm: int, reward: float) -> None:
        return


@dataclass(frozen=True, eq=False)
class Replay(ContextualEnvironment):
    """The contexts float[T] and the counts float[T, K] of systems that were solved before: a simulation at no cost."""

    contexts: Array
    counts: Array

    @property
    def n_arms(self) -> int:  # type: ignore[override]
        return self.counts.shape[1]

    @property
    def dim(self) -> int:  # type: ignore[override]
        return 1

    def begin(self, horizon: int, rng: Generator) -> Nothing:
        return Nothing(np.zeros(1))

    def observe(self, state: Nothing, t: int, rng: Generator) -> Array:
        state.none[0] = self.contexts[t]
        return state.none

    def shortfall(self, state: Nothing, t: int, context: Array, arm: int) -> float:
        return 0.0

    def respond(self, state: Nothing, t: int, context: Array, arm: int, rng: Generator) -> float:
        return 1 - (self.counts[t, arm] - 1) / CAP


def replayed(found: Instances) -> Replay:
    return Replay(found.context, checks.array("counts", found.counts, ndim=2))


class Simulated(NamedTuple):
    """A method in a simulation."""

    method: str
    cells: int
    iterations: float  # a time step
    seconds: float  # of processor time, a time step, learning included


def simulations(cells: int, repetitions: int) -> list[Simulated]:
    """One period by each method, one after the other, all of that as often as asked; the least time of each.

    The best fixed omega and the best of each system are found beforehand, at no cost to them.
    """
    found = instances(cells)
    best = found.counts.sum(axis=0).argmin()
    methods = {
        r"$\omega = 1$": (LEARNERS["Tsallis-INF"], np.ones(1)),
        "best fixed": (LEARNERS["Tsallis-INF"], OMEGAS[best : best + 1]),
        **{name: (alg, OMEGAS) for name, alg in LEARNERS.items()},
        "best of each system": (Planned(found.counts.argmin(axis=1)), OMEGAS),
    }
    envs = {name: Heat(cells, omegas, lengths(PERIOD)) for name, (_, omegas) in methods.items()}
    count, least = {}, dict.fromkeys(methods, np.inf)
    for alg, omegas in methods.values():
        counted(alg, Heat(4, omegas, lengths(2)))  # compiles
    for _ in range(repetitions):
        for name, (alg, _) in methods.items():
            start = process_time()
            count[name] = float(counted(alg, envs[name])[0])
            least[name] = min(least[name], process_time() - start)
    return [Simulated(name, cells, count[name] / PERIOD, least[name] / PERIOD) for name in methods]


def decision_seconds(name: str, cells: int = 50, repetitions: int = 5) -> float:
    """Processor time of a decision of the learner and of what it learns from it, least of the repetitions."""
    env, least, runs = replayed(instances(cells)), np.inf, 20
    for _ in range(1 + repetitions):  # the first compiles
        start = process_time()
        play_contextual(LEARNERS[name], env, horizon=PERIOD, runs=runs, seed=0, checkpoints=1, threads=1)
        least = min(least, process_time() - start)
    return least / (PERIOD * runs)


@cache  # the claim and its control look at the same runs
def _learned(cells: int, runs: int, seed: int) -> Array:
    """Iterations of ChebCB, float[runs]."""
    return simulate(LEARNERS["ChebCB"], cells, PERIOD, runs=runs, seed=seed)


def _work_check(budget: Budget, decision: int = DECISION) -> Comparison:
    """0.8 times the entries read with omega = 1 minus those of ChebCB, a time step; `decision` entries a decision."""
    cells, runs = 50 if budget.name == "smoke" else 100, 10
    learned = _learned(cells, runs, int(budget.rng("play").integers(2**31)))
    paid = entries(cells, learned, PERIOD) / PERIOD + decision
    one = float(entries(cells, fixed(1.0, cells, PERIOD), PERIOD)) / PERIOD
    found = comparison(np.full(runs, 0.8 * one), paid, effect=0.0, rng=budget.rng("bootstrap"))
    witness = {
        "cells": cells,
        "entries a step": {"omega = 1": one, "ChebCB": float(paid.mean())},
        "a decision": decision,
    }
    return replace(found, witness=witness)


CLAIMS = (
    claim(
        id="learning-to-relax/heat-gain-in-work",
        source="Section 4 and Figure 6, the gain in time",
        statement=(
            r"A simulation in which ChebCB sets $\omega$ takes at most 0.8 times the work of one with $\omega = 1$ "
            "(share ours), the learner's own cost included."
        ),
        kind=Comparison,
        premises=(
            "heat equation as in the authors' code, one period of 1000 steps, 50 cells along a side (beyond the smoke "
            "budget 100)",
            "work is counted in matrix entries read, as processor time depends on the machine; a decision and what is "
            f"learnt from it count as {DECISION} entries, more than measured (records/heat-seconds.json)",
        ),
        check=_work_check,
        control=partial(_work_check, decision=1_000 * DECISION),
        control_statement="so it does if a decision costs a thousand times as much.",
    ),
)
