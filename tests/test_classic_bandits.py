"""The classic guarantees: other falsehoods than the controls are caught, and hard instances by hand."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from claimlab.bandits import KLUCB, UCB1, Exp3, TsallisINF, play
from claimlab.experiments.papers.classic_bandits import adversarial, stochastic
from claimlab.theory import regret
from claimlab.theory.claims import SMOKE
from claimlab.theory.evidence import Outcome, judge

BUDGET = replace(SMOKE, seed=20_26, instances=40, runs=1_000)


@pytest.mark.parametrize(
    "wrong",
    [
        partial(adversarial._exp3_check, bound=lambda K, T: 0.45 * regret.exp3(K, T)),
        partial(adversarial._mixing_check, share=0.4),
        partial(adversarial._tsallis_check, share=0.19),
        partial(stochastic._delay_check, delay=0),
        partial(stochastic._optimal_check, alg=UCB1(1.0)),
        partial(stochastic._lower_check, alg=stochastic.Always(0)),
        partial(stochastic.UCB1_BOUND.check, share=0.15),
        partial(adversarial._high_probability_check, algorithm=Exp3),
    ],
)
def test_other_falsehoods_than_the_controls_are_caught(wrong):
    assert judge({"": wrong(BUDGET.of("wrong"))})[""].outcome is Outcome.REFUTED


def test_the_round_robin_table_fools_ucb1_in_every_round():
    record = play(UCB1(), adversarial.round_robin(300, 3), horizon=300, runs=1, seed=0)
    assert record.reward[0, -1] == 0
    assert record.pulls[0, -1].tolist() == [100, 100, 100]


def test_a_table_in_pieces_keeps_each_row_for_an_equal_part():
    table = stochastic.MEANS.draw(np.random.default_rng(0))
    assert 2 <= table["means"].size <= 6
    pieces = adversarial.pieces(np.array([[0.0, 1.0], [0.5, 0.25]]), horizon=4)
    assert pieces.rewards.tolist() == [[0, 1], [0, 1], [0.5, 0.25], [0.5, 0.25]]


def test_a_promise_is_tested_where_it_is_tightest():
    """The search finds an instance at least as bad as every hard one it was given, up to the noise of its pilots."""
    promise, budget = stochastic.UCB1_BOUND, BUDGET.of("search")
    worst = promise.worst(budget)

    def ratio(case):
        return promise.regrets(case, budget, "again", runs=50).mean() / promise.limit(case)

    assert ratio(worst) >= 0.95 * max(ratio(case) for case in promise.hard)


@pytest.mark.parametrize("alg", [KLUCB(), TsallisINF()], ids=str)
def test_growth_is_measured_in_independent_games(alg):
    found = stochastic.logarithmic(BUDGET.of("growth"), algorithm=lambda T: alg, env=stochastic.TWO, runs=30)
    assert found.runs == 30
    assert found.difference > 0
