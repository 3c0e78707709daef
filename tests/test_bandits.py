import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimlab.bandits import UCB1, Bernoulli, BetaThompson, Exp3, play
from claimlab.theory.strategies import bernoullis, seeds

ALGORITHMS = [UCB1(), UCB1(0.5), BetaThompson(), Exp3(0.1)]  # one contract, every algorithm


@pytest.mark.parametrize("alg", ALGORITHMS, ids=str)
@given(env=bernoullis(), seed=seeds(), horizon=st.integers(1, 60))
@settings(max_examples=30)
def test_compiled_equals_interpreted(alg, env, seed, horizon):
    records = [play(alg, env, horizon=horizon, runs=1, seed=seed, compiled=compiled) for compiled in (True, False)]
    for compiled, oracle in zip(*records):
        np.testing.assert_array_equal(compiled, oracle)


@pytest.mark.parametrize("alg", ALGORITHMS, ids=str)
@given(env=bernoullis(), seed=seeds())
@settings(max_examples=10)
def test_every_round_is_accounted_for(alg, env, seed):
    record = play(alg, env, horizon=100, runs=3, seed=seed, checkpoints=7)
    assert (record.pulls.sum(axis=2) == record.times).all()
    assert (np.diff(record.regret, axis=1) >= 0).all()


@pytest.mark.parametrize("alg", ALGORITHMS, ids=str)
def test_runs_depend_on_the_seed_alone(alg):
    env = Bernoulli(np.array([0.2, 0.5, 0.6]))
    few = play(alg, env, horizon=50, runs=3, seed=7)
    many = play(alg, env, horizon=50, runs=8, seed=7, threads=2)
    np.testing.assert_array_equal(few.pulls, many.pulls[:3])
