"""Off-policy evaluation as claims: smaller falsehoods than the controls are caught, witnesses by hand."""

from dataclasses import replace
from fractions import Fraction
from functools import partial

import latex2mathml.converter
import numpy as np
import pytest

from claimlab.experiments.papers import off_policy_evaluation
from claimlab.experiments.papers.off_policy_evaluation import common, episodes, estimators, intervals
from claimlab.theory.claims import SMOKE
from claimlab.theory.evidence import Outcome
from claimlab.theory.off_policy import Tables, cramer_rao, tree_bound

BUDGET = replace(SMOKE, seed=20_26)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda budget: estimators._enclosed_check(budget, share=0.95),
        lambda budget: estimators._snips_check(budget, exponent=-1.1),
        lambda budget: intervals._betting_check(budget, generous=2.5),
        lambda budget: intervals._hedged_check(budget, share=0.6),
        lambda budget: intervals._bernstein_check(
            budget, radius=lambda v, n, d: intervals._normal_part(v, n, d) + 0.5 / n
        ),
    ],
)
def test_smaller_falsehoods_than_the_controls_are_caught(wrong):
    assert wrong(BUDGET.of("wrong")).rule(0.05)[0] is Outcome.REFUTED


def test_a_target_that_is_half_uncovered_by_hand():
    """One context, an action logged always; the target takes the other half the time, which pays 1: V = 1."""
    half, one = Fraction(1, 2), Fraction(1)
    p = common.Problem(np.array([one]), np.array([[one, 0 * one]]), np.array([[half, half]]), np.array([[one, one]]))
    assert p.moments(p.ips)[0] == half
    assert p.value == 1


def test_snips_of_one_round_by_hand():
    """It is the logged reward: with means 1 and 0, propensities 1/2 and a target of 0.8 it is off by -0.3."""
    assert estimators.snips_bias(1, 0.5, 0.8, (1.0, 0.0)) == pytest.approx(-0.3, abs=1e-15)


def test_two_steps_by_hand():
    """A coin after either action pays in the end: the logging policy tosses, the target always takes the first.

    V(s_1) is 0 or 1 with probability 1/2 each.  In the tree rho^2 = 4 with probability 1/2: 2 * 1/4 = 1/2.  With known
    states the same, (1/2)^2 / (1/4) * 1/4 for each of two first states, for the first step has no history.
    """
    half, one, zero = Fraction(1, 2), Fraction(1), Fraction(0)
    P = np.full((2, 2, 2, 2), half)
    r = np.array([[[zero] * 2] * 2, [[zero] * 2, [one] * 2]])
    first, both = np.array([[[one, zero]] * 2] * 2), np.full((2, 2, 2), half)
    t = Tables(P, r, np.array([half, half]), first, both)
    assert tree_bound(t) == cramer_rao(t) == half
    assert episodes.fisher_bound(t) == half
    term = partial(episodes.dr_term, t, episodes._true_q(t))
    assert common.trajectory_moments(t, term) == (half, half)


def test_the_normal_interval_misses_by_hand():
    """A log without the target's action has IPS terms of 0 only: its interval is the point 0, and the value is 1."""
    evidence = intervals._rare_check(BUDGET.of("hand"))
    assert evidence.witness["probability of a log without the target's action"] == pytest.approx(0.99**100)
    assert evidence.failures / evidence.runs == pytest.approx(0.99**100, abs=0.06)


@pytest.mark.parametrize("figure", off_policy_evaluation.FIGURES, ids=lambda figure: figure.name)
def test_captions_are_mathml(figure):
    for formula in figure.caption.split("$")[1::2]:
        assert "<math" in latex2mathml.converter.convert(formula)


DRAWN = {figure.name: figure for figure in off_policy_evaluation.FIGURES}


def test_figure_uncovered():
    """The interval by betting holds all values that fit, that of SNIPS neither end once a tenth is uncovered."""
    _, data = DRAWN["uncovered"].draw()
    assert (data["betting low"] <= data["least value"]).all()
    assert (data["betting high"] >= data["largest value"]).all()
    far = data[data["uncovered"] >= 0.1]
    assert (far["snips low"] > far["least value"]).all()
    assert (far["snips high"] < far["largest value"]).all()


def test_figure_variances():
    """Dots on their lines (a variance from 300 logs is known to 8 %), and the least variance is MRDR's."""
    _, data = DRAWN["variances"].draw()
    assert data["simulated"].to_numpy() == pytest.approx(data["exact"].to_numpy(), rel=0.4)
    exact = data.pivot(index="propensity", columns="estimator", values="exact")
    assert (exact["MRDR"] <= exact["DR, least squares"] + 1e-12).all()
    assert (exact["MRDR"] < exact["IPS"]).all()


def test_figure_coverage():
    _, data = DRAWN["coverage"].draw()
    missed = data.pivot(index="rounds", columns="interval", values="missed")
    assert (missed[["betting", "empirical Bernstein"]] <= 0.05).all(axis=None)
    assert missed.loc[100, "normal"] > 0.25


def test_figure_curse_of_horizon():
    """Fitted Q is within its bound, the bound of trees is beyond it by far at the end."""
    _, data = DRAWN["curse-of-horizon"].draw()
    by = data.pivot(index="horizon", columns="what", values="value")
    seen = by["fitted Q, simulated"].dropna()
    assert (seen / by.loc[seen.index, "Cramer-Rao, states known"]).between(0.6, 1.6).all()
    assert by.loc[64, "bound of trees"] > 1e6 * by.loc[64, "Cramer-Rao, states known"]
