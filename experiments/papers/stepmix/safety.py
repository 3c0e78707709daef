"""Theorems 1 and 2, the safety part: which learners keep every episode above the threshold, and which do not."""

from __future__ import annotations

from functools import partial

import numpy as np

from claimlab.experiments.papers.stepmix.audit import COIN
from claimlab.experiments.papers.stepmix.common import (
    BASELINE,
    RUNS,
    SETS,
    SPARSE,
    TABULAR,
    audited,
    audits,
    claim,
    episodes,
    learner,
    played,
)
from claimlab.experiments.papers.stepmix.instances import DELTA, published_random, sparse_task, suite, task
from claimlab.mdps.beliefs import new_beliefs, plan_optimism
from claimlab.mdps.episodes import play_episodes
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Outcome, Probability, probability


def _violates(budget: Budget, name: str = "StepMix", scale: float = 1.0) -> Probability:
    """Runs in which some episode's policy is worth less than the threshold."""
    record = played(name, episodes(budget) // 2, RUNS, budget.seed, scale)
    failures = int((record.violations[:, -1] > 0).sum())
    lowest = float(record.least[:, -1].min() - sparse_task().threshold)
    witness = {"lowest value minus threshold": lowest, "violating episodes": int(record.violations[:, -1].sum())}
    return probability(failures, RUNS, DELTA, witness)


def _seldom_violates(budget: Budget, name: str) -> Probability:
    """Runs in which no episode violates: the failures of "it does violate"."""
    record = played(name, episodes(budget) // 2, RUNS, budget.seed)
    calm = int((record.violations[:, -1] == 0).sum())
    return probability(calm, RUNS, 0.5, {"violating episodes a run": float(record.violations[:, -1].mean())})


def _violates_elsewhere(budget: Budget, name: str = "StepMix") -> Probability:
    length = 512 if budget.name == "smoke" else 4096
    failures, witness, each = 0, {}, RUNS // len(suite())
    for where, instance in suite().items():
        record = play_episodes(
            learner(name, instance), instance.mdp, episodes=length, runs=each, seed=budget.seed,
            threshold=instance.threshold, checkpoints=1,
        )  # fmt: skip
        failures += int((record.violations[:, -1] > 0).sum())
        witness[f"{where}: share of episodes that are not pure baseline"] = float(
            1 - record.kinds[:, -1, -1].mean() / length
        )
    return probability(failures, each * len(suite()), DELTA, witness)


def _coin_violates(budget: Budget, averaged: bool = True) -> Probability:
    threshold, rounding = sparse_task().threshold, sparse_task().mdp.rounding
    record = audited("EpsMix", episodes(budget) // 2, RUNS, budget.seed)
    least = audits(record)[:, COIN]
    witness = {
        "least value averaged over the coin, minus threshold": float(least.min() - threshold),
        "least value of a realised policy, minus threshold": float(record.least[:, -1].min() - threshold),
    }
    low = least if averaged else record.least[:, -1]
    return probability(int((low < threshold - 2 * rounding).sum()), RUNS, DELTA, witness)


def _active(budget: Budget, share: float = 0.8) -> Probability:
    """Draws of the published instance on which the optimistic policy is not certified before the first episode."""
    rng, draws, binding = budget.rng("draws"), max(400, budget.runs // 10), 0
    for _ in range(draws):
        instance = task(published_random(rng), share=share)
        b = new_beliefs(instance.sets, 3, 5, 5, np.zeros((0, 0, 0, 0)))
        plan_optimism(instance.sets, b, instance.mdp.r)
        binding += int(b.lower[0, 0] < instance.threshold)
    return probability(binding, draws, 0.25)


CLAIMS = (
    claim(
        id="stepmix/stepmix-safe",
        source="Theorem 1, the episode-wise constraint",
        statement=(
            r"StepMix keeps $v^{\pi_k} \ge \gamma$ in all episodes with probability at least $1-\delta$ (exact values "
            "of the executed policies)."
        ),
        kind=Probability,
        premises=(TABULAR, BASELINE, SETS, SPARSE),
        check=_violates,
        control=partial(_violates, name="UCB"),
        control_statement="the same for unconstrained optimism with the same sets.",
    ),
    claim(
        id="stepmix/stepmix-safe-elsewhere",
        source="Theorem 1, on hard instances",
        statement=(
            "The same on six instances: sparse rewards, a lock whose entrance cannot be taken back, a cliff, DeepSea, "
            "RiverSwim, the published random one."
        ),
        kind=Probability,
        premises=(TABULAR, BASELINE, SETS),
        check=_violates_elsewhere,
        control=partial(_violates_elsewhere, name="UCB"),
        control_statement="the same for unconstrained optimism.",
    ),
    claim(
        id="stepmix/epsmix-safe-on-average",
        source="Theorem 2, the constraint of EpsMix",
        statement=(
            r"EpsMix keeps the value averaged over its coin, $\epsilon_k v^{\bar\pi_k} + (1-\epsilon_k) v^{\pi^b}$, at "
            r"least $\gamma$ in all episodes with probability at least $1-\delta$."
        ),
        kind=Probability,
        premises=(TABULAR, BASELINE, SETS, SPARSE),
        check=_coin_violates,
        control=partial(_coin_violates, averaged=False),
        control_statement="the same for the value of the policy that the coin chose.",
    ),
    claim(
        id="stepmix/optimism-violates",
        source="Section on experiments: unconstrained exploration falls below the threshold early",
        statement="Unconstrained optimism falls below the threshold in some episode of at least half of all runs.",
        kind=Probability,
        premises=(TABULAR, BASELINE, SETS, SPARSE),
        check=partial(_seldom_violates, name="UCB"),
        control=partial(_seldom_violates, name="StepMix"),
        control_statement="StepMix does.",
    ),
    claim(
        id="stepmix/budget-violates",
        source="introduction: a cumulative budget is weaker than a constraint on every episode",
        statement="Budgeted exploration falls below the threshold in some episode of at least half of all runs.",
        kind=Probability,
        premises=(TABULAR, BASELINE, SETS, SPARSE),
        check=partial(_seldom_violates, name="Budget"),
        control=partial(_seldom_violates, name="StepMix"),
        control_statement="StepMix does.",
    ),
    claim(
        id="stepmix/small-radii-safe",
        source="ours, what scaled bonuses do to the guarantee",
        statement=r"With radii a tenth as wide StepMix is still safe with probability at least $1-\delta$.",
        kind=Probability,
        premises=(TABULAR, BASELINE, SPARSE),
        check=partial(_violates, scale=0.1),
        control=_violates,
        control_statement="with the radii of the theorem it is.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="stepmix/published-instance-inactive",
        source="ours, on the paper's synthetic instance (S = A = 5, H = 3, dense known rewards)",
        statement=(
            r"With $\gamma = 0.8 v^{\pi^b}$ the constraint binds before the first episode on at most a quarter of the "
            "draws: dense known rewards certify the optimistic policy without any data."
        ),
        kind=Probability,
        premises=(TABULAR, "the baseline is the Boltzmann policy of temperature 0.1 on optimal action values"),
        check=_active,
        control=partial(_active, share=0.95),
        control_statement=r"the same with $\gamma = 0.95 v^{\pi^b}$.",
    ),
)
