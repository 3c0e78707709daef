"""The Policy Cliff as a whole: a claim for every result, wrong theorems are caught, witnesses by hand."""

from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import product
from math import inf

import numpy as np
import pytest

from claimlab.experiments.papers import policy_cliff
from claimlab.experiments.papers.policy_cliff import continuity, entropy, mixture, radius, ties
from claimlab.theory import inclusion
from claimlab.theory.claims import SMOKE, STANDARD
from claimlab.theory.evidence import Outcome, judge

BUDGET = replace(SMOKE, seed=20_26, instances=60)


def test_every_numbered_result_of_the_paper_has_a_claim():
    sources = " | ".join(claim.source for claim in policy_cliff.CLAIMS)
    for result in (
        *("Proposition 2.4", "Lemma 2.5", "Remark 2.6", "Theorem 2.7", "Proposition 2.9", "Proposition 2.10"),
        *("Proposition 3.1", "Proposition 3.2", "Section 3.4", "Remark 4.1", "Lemma 4.2", "Proposition 4.3"),
        *("Lemma 4.4", "Proposition 4.5", "Proposition 4.6", "Proposition 4.7", "Lemma C.1", "Lemma C.2"),
    ):
        assert result in sources


def test_a_wrong_theorem_is_refuted_by_an_instance_for_the_back_of_an_envelope():
    """1 in place of 1/2 in the radius bound: one state, two actions, no discount, rewards of at most one digit."""
    evidence = radius._lower_check(BUDGET.of("wrong"), constant=1.0)
    assert evidence.rule(0.05)[0] is Outcome.REFUTED
    P, R = evidence.witness["P"], evidence.witness["R"]
    assert P.shape[0] <= 3
    assert P.size <= 18
    np.testing.assert_array_equal(np.round(R, 1), R)
    assert Fraction(evidence.witness["exact value"]) > Fraction(evidence.witness["exact bound"])


@pytest.mark.parametrize(
    "wrong",
    [
        partial(continuity._q_lipschitz_check, factor=0.99),
        partial(continuity._uhc_check, factor=1.01),
        partial(continuity._gap_lipschitz_check, constant=1.98),
        partial(continuity._jump_check, range_of=partial(continuity._sharper, fall=Fraction(99, 100))),
        partial(radius._lower_check, constant=0.505),
        partial(radius._upper_check, constant=0.495),
        partial(radius._direction_check, ord=2.0, factor=1.01),
        partial(ties._ties_check, measure=ties._ties_upper, constant=0.495),
        partial(entropy._soft_lipschitz_check, factor=0.99),
        partial(entropy._span_check, factor=0.99),
        partial(entropy._softmax_check, factor=0.99),
        partial(mixture._effective_radius_check, factor=1.01),
    ],
)
def test_constants_off_by_a_hundredth_are_caught(wrong):
    """Other falsehoods than the controls: the checks see one part in a hundred."""
    assert wrong(BUDGET.of("wrong")).rule(0.05)[0] is Outcome.REFUTED


def scaled(measure, factor):
    """The measure with its bound multiplied by `factor` of the case."""

    def wrong(**case):
        trial = measure(**case)
        return trial and trial._replace(bound=trial.bound * factor(**case))

    return wrong


@pytest.mark.parametrize(
    ("check", "measure", "factor"),
    [
        (continuity._q_lipschitz_check, "_q_lipschitz", lambda gamma, **_: (1 - gamma) / (1 - 0.99 * gamma)),
        (continuity._gap_lipschitz_check, "_gap_lipschitz", lambda gamma, **_: (1 - gamma) / (1 - 0.99 * gamma)),
        (continuity._box_check, "_box", lambda gamma, **_: np.sqrt((1 - gamma) / (1 - 0.99 * gamma))),
        (continuity._box_check, "_box", lambda **_: 0.99),
    ],
)
def test_wrong_discounts_and_factors_are_caught(check, measure, factor, monkeypatch):
    monkeypatch.setattr(continuity, measure, scaled(getattr(continuity, measure), factor))
    assert check(BUDGET.of("wrong")).rule(0.05)[0] is Outcome.REFUTED


def test_gaps_below_the_resolution_of_a_sweep_refute_nothing():
    """A gap of 1e-10 is no tie, though a sweep takes it for one: the reward may still move by half of it."""
    case = {"P": np.ones((1, 2, 1)), "R": np.array([[1, 1 - 1e-10]]), "gamma": np.array(0.0)}
    trial = radius._direction(**case, D=np.array([[-1.0, 1.0]]), ord=inf, factor=1.0)
    assert not trial.violated


@pytest.mark.parametrize("seed", [1, 3])
@pytest.mark.parametrize("name", ["policy-cliff/no-modulus", "policy-cliff/effective-radius"])
def test_seeds_that_once_refuted_the_truth(name, seed):
    claim = next(c for c in policy_cliff.CLAIMS if c.id == name)
    budget = replace(STANDARD, seed=seed, instances=100).of(name)
    assert judge({"": claim.check(budget)})[""].outcome is claim.expected


def test_a_radius_that_looks_at_one_optimal_policy_only_is_refuted(monkeypatch):
    """The inclusion radius is a minimum over all of them."""
    monkeypatch.setattr(inclusion, "product", lambda *rows: [next(product(*rows))])
    assert continuity._uhc_check(BUDGET.of("one policy")).rule(0.05)[0] is Outcome.REFUTED


def test_the_control_of_the_derivative_is_what_it_says():
    """Two equal actions and a bonus e on both: no policy moves, without the mean each would by pi e / alpha."""
    case = {"P": np.ones((1, 2, 1)), "R": np.zeros((1, 2)), "D": np.ones((1, 2))}
    trial = entropy._derivative(**case, gamma=np.array(0.5), alpha=np.array(1.0), centred=False)
    assert abs(trial.value - 1.0) <= trial.bound  # dQ = e / (1 - gamma) = 2, times 1/2


def test_the_discount_breaks_ties_of_length_by_the_factor_that_it_should():
    claim = next(c for c in policy_cliff.CLAIMS if c.id == "policy-cliff/accuracy-ties-lengths")
    witness = claim.check(BUDGET.of(claim.id)).witness
    long, short = witness["tokens"]
    assert witness["Q*(prompt, long)"] == witness["gamma"] ** (long - 1)
    assert witness["Q*(prompt, short)"] == witness["gamma"] ** (short - 1)
