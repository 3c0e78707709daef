"""Attackers that deviate now and then: laws and values against sums over time, and the extreme case by hand."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimlab.experiments.papers import adversarial_policies as papers
from claimlab.mdps import MarkovGame, TabularMDP, solve, solve_game

seeds = st.integers(0, 2**32 - 1)


@given(seeds)
def test_the_law_of_states_is_the_sum_over_time(seed):
    rng = np.random.default_rng(seed)
    P, mu, gamma = rng.dirichlet([0.5, 0.5, 0.5], size=3), rng.dirichlet([1, 1, 1]), rng.uniform(0, 0.8)
    law, total = mu, np.zeros(3)
    for t in range(200):
        total += (1 - gamma) * gamma**t * law
        law = law @ P
    np.testing.assert_allclose(papers.occupancy(P, mu, np.array(gamma)), total, atol=1e-12)


def test_a_sink_attains_the_bound_by_hand():
    """With γ = 9/10 and ε = 1/10 the first state has (1-γ)/(1-γ(1-ε)) = 10/19 of the time, and had all of it."""
    trial = papers._occupancies(**papers.SINK, share=1.0, rewarded=False)
    assert float(trial.value) == pytest.approx(float(2 * Fraction(9, 19)))
    assert float(trial.bound) == pytest.approx(float(2 * Fraction(9, 19)))
    lost = papers._occupancies(**papers.SINK, share=1.0, rewarded=True)  # reward 1 there until the first deviation
    assert float(lost.value) == pytest.approx(10 - float(Fraction(9, 10) / (1 - Fraction(81, 100))))


@given(seeds)
def test_what_a_victim_secures_at_both_ends(seed):
    rng = np.random.default_rng(seed)
    P, r = rng.dirichlet([1, 1], size=(2, 2, 2)), rng.random((2, 2, 2))
    attacker = rng.dirichlet([1, 1], size=2)
    alone, error = papers.robust_values(P, r, attacker, 0.8, 0.0)
    mdp = TabularMDP(np.einsum("sabt,sb->sat", P, attacker), np.einsum("sab,sb->sa", r, attacker), 0.8)
    np.testing.assert_allclose(alone, solve(mdp, tol=1e-10).v, atol=error + 1e-9)
    full, error = papers.robust_values(P, r, attacker, 0.8, 1.0)
    np.testing.assert_allclose(full, solve_game(MarkovGame(P, r, 0.8), tol=1e-10).v, atol=error + 1e-9)


def test_pennies_go_round_where_both_take_the_same_steps():
    start = np.array([1.0, 0.0])
    secured = papers.train(papers.PENNIES["M"], start, start, 400, 0.05, 1.0)[200:]
    assert secured.max() > -0.05
    assert secured.min() == -1.0
    assert papers.train(papers.PENNIES["M"], start, start, 400, 0.05, np.inf)[200:].min() >= -0.1 - 1e-9
