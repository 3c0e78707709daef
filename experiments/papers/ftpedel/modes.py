"""FTPedel where transitions are unknown and FWRegret finds the designs, and with linear features."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np

from claimlab.experiments.papers.ftpedel.common import TABULAR, claim
from claimlab.experiments.papers.ftpedel.learning import (
    DELTA,
    EPS,
    RUNS,
    SETTING,
    actions,
    scaled_beta,
    tasks,
    uniform,
)
from claimlab.mdps.fine_tuning import Oracle, derived_beta, fine_tune
from claimlab.mdps.linear import LinearMDP
from claimlab.mdps.logs import draw_log
from claimlab.mdps.online_design import RegretDesign
from claimlab.mdps.staged import staged_occupancy, staged_optimum, staged_value
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Probability, probability

ROUNDS, BATCH = 8, 128  # of FWRegret, for each epoch and step


def _regret_check(budget: Budget, share: float = 1.0) -> Probability:
    """Runs whose policy is not eps-optimal: four of five on arms with gaps just above eps, the others on a lock."""
    runs, failures = RUNS[budget.name], 0
    beta = partial(scaled_beta, share, derived_beta)
    for run in range(runs):
        task = tasks()[3 if run % 5 else 2]
        rng = np.random.default_rng(np.random.SeedSequence([budget.seed, 22, run]))
        log = draw_log(task.mdp, uniform(task.mdp), task.offline, rng)
        explorer = RegretDesign(task.mdp, rng, rounds=ROUNDS, batch=BATCH)
        found = fine_tune(task.mdp, explorer, EPS, DELTA, rng, offline=log, beta=beta)
        value = staged_value(task.mdp, actions(found.policy, task.mdp.n_actions))
        failures += int(staged_optimum(task.mdp).value - value > EPS)
    return probability(failures, runs, DELTA)


@lru_cache(maxsize=1)
def mixed_arms() -> LinearMDP:
    """Six arms whose features are mixtures of three, of values 0.6, 0.391, 0.38, 0.346, 0.24 and 0.1."""
    phi = [[[1, 0, 0], [0.05, 0.95, 0], [0, 1, 0], [0.1, 0.7, 0.2], [0, 0.5, 0.5], [0, 0, 1]]]
    return LinearMDP(np.array(phi, dtype=float), np.ones((1, 3, 1)), np.array([[0.6, 0.38, 0.1]]))


MIXED_LOG = 12  # episodes of uniform play


def _linear_check(budget: Budget, share: float = 1.0) -> Probability:
    """The same on arms with linear features."""
    runs, failures, mdp = RUNS[budget.name], 0, mixed_arms()
    beta, table = partial(scaled_beta, share, derived_beta), mdp.staged
    seen = MIXED_LOG * staged_occupancy(table, uniform(table))
    oracle = Oracle(table, EPS, DELTA, seen, features=mdp.phi, beta=beta)
    for run in range(runs):
        rng = np.random.default_rng(np.random.SeedSequence([budget.seed, 23, run]))
        log = draw_log(table, uniform(table), MIXED_LOG, rng)
        found = fine_tune(table, oracle, EPS, DELTA, rng, offline=log, features=mdp.phi, beta=beta)
        failures += int(0.6 - table.r[0, 0, found.policy[0, 0]] > EPS)
    return probability(failures, runs, DELTA)


CLAIMS = (
    claim(
        id="ftpedel/returns-a-good-policy-online",
        source="Theorem 1 (upper bound), with Algorithm 3 (FWRegret) for the designs",
        statement=r"With probability $1-\delta$ FTPedel, whose designs FWRegret finds by playing, returns an "
        r"$\epsilon$-optimal policy.",
        kind=Probability,
        premises=(
            TABULAR,
            f"{ROUNDS} rounds of {BATCH} episodes of UCBVI for each epoch and step, a tenth of uniform play",
            SETTING,
            "four arms with gaps of 0.22 and more and 20 offline episodes; in a fifth of the runs a lock of two steps "
            "and 2 000",
        ),
        check=_regret_check,
        control=partial(_regret_check, share=1 / 2000),
        control_statement=r"the same with $\beta/2000$.",
    ),
    claim(
        id="ftpedel/returns-a-good-policy-linear",
        source="Theorem 1 (upper bound)",
        statement=r"With probability $1-\delta$ FTPedel with linear features returns an $\epsilon$-optimal policy.",
        kind=Probability,
        premises=(
            "six arms, features mixtures of three; exploration by the optimal design of the true MDP (oracle), derived "
            "constant",
            SETTING,
            f"gaps of 0.209 and more, {MIXED_LOG} offline episodes",
        ),
        check=_linear_check,
        control=partial(_linear_check, share=1 / 2000),
        control_statement=r"the same with $\beta/2000$.",
    ),
)
