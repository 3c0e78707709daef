"""Dynamical Linear Bandits as a whole: a claim for every result, and witnesses one can check by hand."""

from dataclasses import replace

import numpy as np
import pytest

from claimlab.bandits import DynamicalLinear, DynLinUCB
from claimlab.experiments.papers import dynamical_linear_bandits as paper
from claimlab.experiments.papers.dynamical_linear_bandits import comparisons, confidence, regret, system
from claimlab.theory.claims import SMOKE
from claimlab.theory.dynamical import coverage_ratios, schedule
from claimlab.theory.evidence import Outcome

BUDGET = replace(SMOKE, seed=20_26, instances=40)


def test_every_theorem_and_figure_has_a_claim():
    sources = " | ".join(claim.source for claim in paper.CLAIMS)
    for result in (
        "Theorem 2.1",
        "Theorem 2.2",
        "Theorem 3.1",
        "Theorem 3.2",
        "Figure 1",
        "Figure 2",
        "Figure 4",
        "5.2",
    ):
        assert result in sources


def test_the_trap_of_small_rho_is_for_the_back_of_an_envelope():
    """The witness recomputed from its numbers alone: two actions, no noise, and the estimate leaves the ellipsoid."""
    witness = confidence._covered_check(BUDGET.of("trap"), extra=0).witness
    env = DynamicalLinear(
        [[float(witness["rho"])]], [[float(witness["b"]), 0]], [1.0], [0, float(witness["theta"])], np.eye(2)
    )
    alg = DynLinUCB.knowing(env, lam=1.0, delta=0.05)
    assert alg.rho_bar == env.rho <= 0.1
    found = coverage_ratios(alg, env, confidence.ROUNDS, 1, np.random.default_rng(0))[0]
    np.testing.assert_allclose(found, witness["value"])
    assert found > 1


def test_the_bias_sum_fails_by_hand():
    """rho_bar = 1/10: nine epochs without waiting have a sum of 9, and log(10 e) = 3.30."""
    assert schedule(0.1, 0, 9) == (9, 9.0, 9.0)
    evidence = confidence._sum_check(BUDGET.of("sum"), extra=0)
    assert evidence.ratio > 1


@pytest.mark.parametrize(
    ("check", "options"),
    [
        (system._truncated_check, {"factor": 0.999}),
        (system._finite_check, {"factor": 0.99}),
        (system._gain_check, {"power": 1}),
        (comparisons._same_check, {"rho_bar": 0.2}),
    ],
)
def test_constants_are_not_far_from_the_best(check, options):
    assert check(BUDGET.of("constants"), **options).rule(0.05)[0] is Outcome.REFUTED


def test_innovations_recover_the_plain_linear_bandit():
    """What the base algorithm is given on a scalar system is <b, u> plus that round's noise, whatever rho."""
    seen = {
        rho: regret.bayes_regrets(2, rho, 300, 3, 0, only="LinUCB on innovations")["LinUCB on innovations"]
        for rho in (0.0, 0.75)
    }
    np.testing.assert_allclose(seen[0.75], 4 * seen[0.0], rtol=1e-9)
