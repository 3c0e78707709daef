"""FTPedel where transitions are unknown and FWRegret finds the designs, and with linear features."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np

from claimlab.experiments.papers.ftpedel.common import TABULAR, claim
from claimlab.experiments.papers.ftpedel.learning import (
    BATCH,
    CASES,
    CUT,
    DELTA,
    EPS,
    KINDS,
    LEARNERS,
    ROUNDS,
    RUNS,
    SETTING,
    good_policies,
    scaled_beta,
    uniform,
)
from claimlab.mdps.fine_tuning import Oracle, derived_beta, fine_tune
from claimlab.mdps.linear import LinearMDP
from claimlab.mdps.logs import draw_log
from claimlab.mdps.staged import staged_occupancy
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Probability, probability


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
            KINDS,
        ),
        check=partial(good_policies, explorer=LEARNERS),
        control=partial(good_policies, explorer=LEARNERS, share=1 / 2000, cases=CASES[:1]),
        control_statement=CUT,
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
