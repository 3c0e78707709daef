"""What the sections share: the catalogue's entry, recorded runs, and beliefs built around given frequencies."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.stepmix.audit import Audit
from claimlab.experiments.papers.stepmix.instances import DELTA, Task, sparse_task
from claimlab.mdps.beliefs import new_beliefs, plan_optimism
from claimlab.mdps.confidence import L1Sets
from claimlab.mdps.conservative import BudgetExploration, Conservative, EpsMix, StepMix
from claimlab.mdps.episodes import EpisodeRecord, Learner, play_episodes
from claimlab.mdps.optimistic import Knowledge, Optimism
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.evidence import Inequality
from claimlab.theory.spaces import Box, Simplex

PAPER = Paper(
    slug="stepmix",
    title="Near-optimal Conservative Exploration in Reinforcement Learning under Episode-wise Constraints",
    authors="Donghao Li, Ruiquan Huang, Cong Shen, Jing Yang",
    venue="ICML 2023",
    arxiv="2306.06265",
    tier="core-named / theory-checkable",
)

claim = partial(Claim, paper=PAPER)

TABULAR = "finite states, actions and steps; rewards in [0, 1], known; transitions unknown"
BASELINE = "a baseline policy whose value is at least the threshold $\\gamma$"
EVENT = "the true transitions lie in the confidence sets"
SETS = f"L1 confidence sets at all times, level $\\delta = {DELTA:g}$"
SPARSE = "the sparse-terminal instance (S = 3, A = 2, H = 3), $\\gamma = 0.7 v^{\\pi^b}$"

RUNS = 200  # of a safety claim: no failure among them has probability 0.9^200 < 1e-9 if the level is 0.1


def episodes(budget: Budget) -> int:
    """Of a long run: a power of two, so that halves and doublings are checkpoints of their own."""
    return {"smoke": 2**12, "standard": 2**14}.get(budget.name, 2**17)


def seeds(budget: Budget, few: int = 24) -> int:
    """Of a growth rate, and of what is compared on the same runs."""
    return few if budget.name == "smoke" else 50


def conservative(name: str, task: Task) -> Conservative:
    kinds: dict[str, Callable[..., Conservative]] = {"StepMix": StepMix, "EpsMix": EpsMix, "Budget": BudgetExploration}
    return kinds[name](task.baseline, task.threshold, task.sets)


def learner(name: str, task: Task) -> Learner:
    return Optimism(task.sets) if name == "UCB" else conservative(name, task)


@lru_cache(maxsize=8)
def played(
    name: str, length: int, runs: int, seed: int, scale: float = 1.0, slack: float | None = None
) -> EpisodeRecord:
    """The record of a learner on the sparse-terminal instance, or on it with another slack; several claims read it."""
    task = sparse_task().with_scale(scale)
    task = task if slack is None else task.with_slack(slack)
    return play_episodes(
        learner(name, task), task.mdp, episodes=length, runs=runs, seed=seed, threshold=task.threshold, checkpoints=40
    )


def long(budget: Budget, name: str, slack: float | None = None) -> EpisodeRecord:
    """The record of twice :func:`episodes`."""
    return played(name, 2 * episodes(budget), seeds(budget), budget.seed, slack=slack)


def after(record: EpisodeRecord, share: float) -> int:
    """The first checkpoint after that share of the episodes."""
    return int(np.searchsorted(record.times, share * record.times[-1]))


def below(value: Array, bound: Array, error: Array, trivial: Array) -> Inequality:
    """Evidence from runs: every `value` is at most its `bound`."""
    i = int(np.argmax(np.where(value > bound + error, value - bound, -np.inf)))
    i = i if value[i] > bound[i] + error[i] else int(np.argmax(value / bound))
    informative = int((bound < trivial).sum())
    return Inequality(
        ratio=float(value[i] / bound[i]), excess=float(value[i] - bound[i]), error=float(error[i]),
        instances=len(value), informative=informative, tried=len(value), power=1,
        witness={"run": i, "value": float(value[i]), "bound": float(bound[i])},
    )  # fmt: skip


@lru_cache(maxsize=2)
def audited(name: str, length: int, runs: int, seed: int) -> EpisodeRecord:
    """The same with an audit in the final states."""
    task = sparse_task()
    return play_episodes(
        Audit(conservative(name, task), task.mdp), task.mdp, episodes=length, runs=runs, seed=seed,
        threshold=task.threshold, checkpoints=40, keep_states=True,
    )  # fmt: skip


def audits(record: EpisodeRecord) -> Array:
    """The sums of the audit, float[runs, 6]."""
    return np.array([state.sums for state in record.states])


def around(P: Array, Q: Array, mix: Array, extra: Array) -> tuple[Array, Array]:
    """Frequencies between P and Q, and radii that just contain P, or, by `extra`, a little more."""
    frequencies = (1 - mix) * P + mix * Q
    return frequencies, np.minimum((1 + extra) * abs(frequencies - P).sum(axis=3), 2.0)


def knowledge(frequencies: Array, radii: Array, r: Array) -> Knowledge:
    """The state of a learner whose sets are the balls of `radii`, float[H, S, A], around `frequencies`, planned."""
    H, S, A = r.shape
    b = new_beliefs(L1Sets(), H, S, A, np.zeros((0, 0, 0, 0)))
    b.visits.n[:], b.visits.hits[:], b.widths[..., 0] = 1.0, frequencies, radii
    plan_optimism(L1Sets(), b, r)
    return Knowledge(b, r, np.eye(S)[0], np.zeros(4))


AROUND = {
    "P": Simplex("HSAS"),
    "Q": Simplex("HSAS"),
    "r": Box("HSA", 0, 1),
    "pi": Simplex("HSA"),
    "mix": Box("", 0, 1),
    "extra": Box("", 0, 1),
}
SIZES = {"H": (1, 3), "S": (1, 3), "A": (1, 3)}
