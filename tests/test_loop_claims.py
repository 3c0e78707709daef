"""LOOP's claims: slightly wrong constants are caught, witnesses by hand, p-values for a large ledger."""

from dataclasses import replace
from functools import partial

import pytest

from claimlab.experiments.papers.loop import confidence, discrepancies, planning, regret, switching
from claimlab.theory.claims import SMOKE
from claimlab.theory.evidence import Outcome

BUDGET = replace(SMOKE, seed=20_26, instances=60)


@pytest.mark.parametrize(
    "wrong",
    [
        partial(planning._surrogate_check, part="gain", constant=0.99),
        partial(planning._surrogate_check, part="span", constant=1.98),
        partial(planning._optimistic_check, share=0.99),
        partial(planning._tighter_check, share=0.9),
        partial(discrepancies._decomposable, based="value", shift=1e-6),
        partial(discrepancies._decomposable, based="model", shift=1e-6),
    ],
)
def test_constants_that_are_slightly_off_are_caught(wrong):
    assert wrong(BUDGET.of("wrong")).rule(0.05)[0] is Outcome.REFUTED


def test_two_rooms_are_a_counterexample_for_the_back_of_an_envelope():
    """Without the trigger, ties send the learner to and fro: half the steps cost 1, the span is 1."""
    there, H = switching.two_rooms(1.0)
    assert H.span == 1.0
    assert there.r.tolist() == [[0.0, 1.0], [0.0, 1.0]]
    evidence = switching._rooms_check(BUDGET.of("rooms"), trigger=0.0)
    assert evidence.rule(0.05)[0] is Outcome.REFUTED
    trial = switching._rooms(1.0, 1000, 0, trigger=0.0)
    assert 400 <= trial.value <= 600


def test_statistical_checks_reach_the_p_values_of_a_large_ledger():
    """Holm over some thousand hypotheses leaves p of 1e-5 below 5 %."""
    for check in (confidence._incomplete, partial(confidence._event, part="coverage"), regret._model_bound):
        assert min(check(BUDGET.of("p")).p_values) < 1e-5
