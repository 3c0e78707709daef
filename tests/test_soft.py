"""The soft policy's sensitivity: bounds, exact derivative, limit."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimlab.mdps import TabularMDP
from claimlab.mdps.exact import exact
from claimlab.mdps.instances import garnet
from claimlab.mdps.regularized import soft_solve
from claimlab.theory.soft import (
    dobrushin,
    soft_limit,
    soft_lipschitz,
    soft_policy_derivative,
    soft_policy_sensitivity,
    span_bound,
)
from claimlab.theory.strategies import policies, seeds, tabular_mdps, tied_mdps

alphas = st.floats(0.05, 5)
mild = st.floats(0, 0.95)


def moved(mdp, D, alpha):
    before, after = soft_solve(mdp, alpha).pi, soft_solve(mdp.with_reward(mdp.r + D), alpha).pi
    return abs(after - before).sum(axis=1) / 2


@given(mdp=tabular_mdps(gammas=mild), alpha=alphas, seed=seeds())
def test_both_bounds_hold_and_the_span_is_never_worse(mdp, alpha, seed):
    D = np.random.default_rng(seed).normal(size=mdp.r.shape)
    change = moved(mdp, D, alpha).max()
    by_norm, by_span = soft_lipschitz(alpha, mdp.gamma) * abs(D).max(), span_bound(mdp, D, alpha)
    assert change <= by_span + 1e-8 / alpha
    assert by_span <= by_norm * (1 + 1e-12)


@pytest.mark.parametrize("e", [1e-1, 1e-2, 1e-3])
def test_the_constant_is_attained_by_two_sinks(e):
    """TV = tanh(e / (alpha (1 - gamma))) / 2: its slope at 0 is the constant."""
    P = np.zeros((3, 2, 3))
    P[0, 0, 1] = P[0, 1, 2] = P[1, :, 1] = P[2, :, 2] = 1
    mdp, D = TabularMDP(P, np.zeros((3, 2)), 0.9), e * np.array([[1.0, -1], [1, 1], [-1, -1]])
    assert abs(moved(mdp, D, 0.3)[0] - np.tanh(e / (0.3 * 0.1)) / 2) < 1e-8


@given(tabular_mdps())
def test_dobrushin_is_the_worst_pair(mdp):
    rows = [mdp.row(s, a) for s, a in product(range(mdp.n_states), range(mdp.n_actions))]
    worst = max(abs(p - q).sum() / 2 for p, q in product(rows, rows))
    assert abs(dobrushin(mdp) - worst) <= 1e-12


def test_dobrushin_where_rows_do_not_quite_sum_to_one():
    """The first disjoint pair is not the worst one if a later one is heavier."""
    P = np.zeros((4, 1, 4))
    P[np.arange(4), 0, np.arange(4)] = 1 - 9e-10, 1, 1 + 9e-10, 1 + 5e-10
    assert dobrushin(TabularMDP(P, np.zeros((4, 1)), 0.5)) == pytest.approx(1 + 7e-10, abs=1e-15)


@given(mdp=tabular_mdps(gammas=mild), alpha=st.floats(0.2, 5), seed=seeds())
@settings(max_examples=40)
def test_the_derivative_is_the_limit_of_differences(mdp, alpha, seed):
    """Central differences are off by h^2 times a third derivative, here at most of order (alpha (1 - gamma))^-3;
    the solver's 1e-10 over alpha and 2h is the rest."""
    D, h = np.random.default_rng(seed).uniform(-1, 1, mdp.r.shape), 1e-4
    up, down = (soft_solve(mdp.with_reward(mdp.r + sign * h * D), alpha, 1e-10).pi for sign in (1, -1))
    predicted = np.einsum("satb,tb->sa", soft_policy_derivative(mdp, alpha), D)
    sharp = 1 / (alpha * (1 - mdp.gamma))
    assert abs((up - down) / (2 * h) - predicted).max() <= 10 * h**2 * (sharp + sharp**3) + 1e-6 * (1 + sharp)


@given(mdp=tabular_mdps(gammas=mild), alpha=st.floats(0.2, 5))
@settings(max_examples=40)
def test_local_constants_are_attained_and_below_the_global_ones(mdp, alpha):
    sensitivity = soft_policy_sensitivity(mdp, alpha)
    assert sensitivity.local.max() <= sensitivity.mixing * (1 + 1e-6) <= sensitivity.uniform * (1 + 2e-6)
    derivative = np.einsum("satb,tb->sa", soft_policy_derivative(mdp, alpha), sensitivity.direction)
    assert abs(abs(derivative).sum(axis=1).max() / 2 - sensitivity.local.max()) <= 1e-9 * (1 + sensitivity.uniform)


def test_the_limit_prefers_more_optimal_futures():
    """s0 chooses between a state with two optimal actions and one with one: 2^gamma to 1, not evenly."""
    P = np.zeros((4, 2, 4))
    P[0, 0, 1] = P[0, 1, 2] = P[1, :, 3] = P[2, :, 3] = P[3, :, 3] = 1
    r = np.array([[0, 0], [0, 0], [0, -1], [0, -1.0]])
    limit = soft_limit(TabularMDP(P, r, 0.9))
    assert abs(limit[0, 0] - 2**0.9 / (2**0.9 + 1)) < 1e-9
    np.testing.assert_allclose(limit[1:3], [[0.5, 0.5], [1, 0]])


def lake(r=((0, 0), (0, 0), (0, -1))):
    """s0 chooses between a terminal state and a state with one optimal action."""
    P = np.zeros((3, 2, 3))
    P[0, 0, 1] = P[0, 1, 2] = P[1, :, 1] = P[2, :, 2] = 1
    return TabularMDP(P, r, 0.9, terminal=[False, True, False])


def test_a_terminal_state_earns_no_entropy_in_the_limit():
    np.testing.assert_allclose(soft_limit(lake()), soft_solve(lake(), 0.01).pi, atol=1e-9)
    base = [[0.2, 0.8], [0.5, 0.5], [0.3, 0.7]]
    np.testing.assert_allclose(soft_limit(lake(), base), soft_solve(lake(), 0.01, base=base).pi, atol=1e-9)


def test_a_terminal_state_pays_nothing_to_derive_by():
    assert not soft_policy_derivative(lake(), 0.5)[:, :, 1].any()
    sensitivity = soft_policy_sensitivity(lake(), 0.5)
    D = 1e-6 * sensitivity.direction
    assert abs(moved(lake(), D, 0.5).max() / 1e-6 - sensitivity.local.max()) <= 1e-3 * sensitivity.local.max()


@pytest.mark.parametrize("unit", [1e-12, 1e6, 1e12])
def test_the_derivative_does_not_depend_on_the_unit(unit):
    mdp = garnet(3, 2, 2, 0.9, np.random.default_rng(0))
    J = soft_policy_derivative(mdp, 1.0)
    np.testing.assert_allclose(unit * soft_policy_derivative(mdp.with_reward(unit * mdp.r), unit), J, atol=1e-8)


@pytest.mark.parametrize("gamma", [0.9, 0.9999, 1 - 1e-6])
@pytest.mark.parametrize("alpha", [1e-6, 1.0, 1e6])
def test_every_temperature_and_discount_has_a_derivative(alpha, gamma):
    mdp = garnet(3, 2, 2, 0.9, np.random.default_rng(0))
    J = soft_policy_derivative(TabularMDP(mdp.P, mdp.r, gamma), alpha)
    assert abs(J.sum(axis=1)).max() <= 1e-9 / alpha
    assert soft_limit(TabularMDP(mdp.P, mdp.r, gamma)).sum() == pytest.approx(3)


def test_dobrushin_of_a_large_sparse_problem():
    assert dobrushin(garnet(10_000, 3, 5, 0.9, np.random.default_rng(0), sparse=True)) == pytest.approx(1)


@given(tied_mdps())
@settings(max_examples=30)
def test_the_limit_is_where_cold_policies_go(drawn):
    mdp, _ = drawn
    limit = soft_limit(mdp, optimal=exact(mdp).actions)
    cold = soft_solve(mdp, 0.01 * (1 - mdp.gamma), 1e-9 * (1 + mdp.value_bound)).pi
    np.testing.assert_allclose(cold, limit, atol=1e-4)


@given(st.data())
@settings(max_examples=30)
def test_the_limit_of_a_kl_penalty(data):
    mdp, _ = data.draw(tied_mdps())
    base = 0.8 * data.draw(policies(mdp)) + 0.2 / mdp.n_actions
    limit = soft_limit(mdp, base, optimal=exact(mdp).actions)
    cold = soft_solve(mdp, 0.01 * (1 - mdp.gamma), 1e-9 * (1 + mdp.value_bound), base=base).pi
    np.testing.assert_allclose(cold, limit, atol=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: soft_lipschitz(0, 0.9), "alpha must lie in"),
        (lambda m: soft_lipschitz(1, 1), "gamma must lie in"),
        (lambda m: span_bound(m, [[1, 1]], -1), "alpha must lie in"),
        (lambda m: span_bound(m, [1, 1], 1), "difference must have 2 axes"),
        (lambda m: soft_limit(m, base=[[0.0, 1.0]]), r"base\[0\] gives no probability to an optimal action"),
        (
            lambda m: soft_policy_sensitivity(TabularMDP(np.ones((1, 16, 1)), np.zeros((1, 16)), 0.5), 1.0),
            "A = 16, more than 15",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(TabularMDP([[[1], [1]]], [[1, 0]], 0.5))
