"""Waiting for answers: 24 of 48, one by one or by groups."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.spo.common import claim
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Comparison, comparison


@lru_cache(maxsize=4)
def waits(sigma: float, runs: int, seed: int) -> tuple[Array, Array, Array]:
    """Times until 24 answers are there, by groups and one by one, and the mean log latency of the latter's answers.

    48 answers start together with log-normal latencies, log-deviation `sigma`: the first three complete groups of eight
    of six, or the first 24 answers.
    """
    logs = sigma * np.random.default_rng(np.random.SeedSequence([seed, 24])).standard_normal((runs, 6, 8))
    grouped = np.sort(logs.max(axis=2), axis=1)[:, 2]
    ordered = np.sort(logs.reshape(runs, -1), axis=1)
    return grouped, ordered[:, 23], ordered[:, :24].mean(axis=1)


def _wait_check(budget: Budget, sigma: float = 1.0) -> Comparison:
    runs = {"smoke": 400, "standard": 2_000}.get(budget.name, 10_000)
    grouped, single, _ = waits(sigma, runs, budget.seed)
    return comparison(grouped, single, effect=float(np.log(2)), rng=budget.rng("bootstrap"))


def _short_check(budget: Budget, reverse: bool = False) -> Comparison:
    """The mean log latency of all answers, 0, less that of the first 24 at deviation one."""
    runs = {"smoke": 400, "standard": 2_000}.get(budget.name, 10_000)
    first = waits(1.0, runs, budget.seed)[2]
    pair = (first, np.zeros(runs)) if reverse else (np.zeros(runs), first)
    return comparison(*pair, effect=0.5, rng=budget.rng("bootstrap"))


CLAIMS = (
    claim(
        id="spo/no-waiting-for-groups",
        source="Section on throughput, simulated",
        statement="24 of 48 answers are there in half the time that three complete groups of eight out of six take.",
        kind=Comparison,
        premises=("all start together, log-normal latencies of log-deviation 1", "mean of the log of the ratio"),
        check=_wait_check,
        control=partial(_wait_check, sigma=0.1),
        control_statement="the same with log-deviation 0.1.",
    ),
    claim(
        id="spo/first-answers-are-short",
        source="ours, on the simulation of throughput",
        statement="The first 24 of 48 answers have a mean log latency at least half a deviation below that of all.",
        kind=Comparison,
        premises=("all start together, log-normal latencies of log-deviation 1",),
        check=_short_check,
        control=partial(_short_check, reverse=True),
        control_statement="at least half a deviation above.",
    ),
)
