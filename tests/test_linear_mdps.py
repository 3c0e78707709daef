"""Linear MDPs, least-squares learners, offline estimators and Frank-Wolfe designs against independent computations."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimlab.experiments.papers.ftpedel import frank_wolfe as designs
from claimlab.experiments.papers.ftpedel import linear
from claimlab.mdps import (
    LSVIUCB,
    LinearMDP,
    StagedMDP,
    deterministic_policies,
    feature_expectations,
    fitted_q_evaluation,
    fitted_q_iteration,
    frank_wolfe,
    hard_linear_mdp,
    informative_detour,
    linear_bandit,
    lstd,
    one_hot,
    pevi,
    play_episodes,
    policy_covariance,
    recursive_lstd,
    simplex_linear_mdp,
    softmax_cover,
    staged_optimum,
    staged_value,
    transition_data,
)
from claimlab.theory.strategies import seeds


@given(seeds())
@settings(max_examples=15)
def test_deterministic_policies_are_all_of_them(seed):
    """Values of the enumeration of every rule, state and step, as sets."""
    mdp = simplex_linear_mdp(3, 2, 2, 3, np.random.default_rng(seed))
    found = deterministic_policies(mdp)
    every = [np.eye(2)[np.array(rule).reshape(3, 2)] for rule in product(range(2), repeat=6)]
    brute = {round(staged_value(mdp.staged, pi), 9) for pi in every}
    assert {round(float(v), 9) for v in np.einsum("nhi,hi->n", found.features, mdp.theta)} == brute
    np.testing.assert_allclose(found.features, feature_expectations(mdp, found.policies), atol=1e-14)


@given(seeds())
@settings(max_examples=15)
def test_covariances_are_second_moments(seed):
    """Against the enumeration of trajectories."""
    rng = np.random.default_rng(seed)
    mdp = simplex_linear_mdp(2, 2, 2, 2, rng)
    pi = rng.dirichlet(np.ones(2), size=(2, 2))
    second = np.zeros((2, 2, 2))
    for a, t, b in product(range(2), repeat=3):
        p = pi[0, 0, a] * mdp.staged.P[0, 0, a, t] * pi[1, t, b]
        second[0] += p * np.outer(mdp.phi[0, a], mdp.phi[0, a])
        second[1] += p * np.outer(mdp.phi[t, b], mdp.phi[t, b])
    np.testing.assert_allclose(policy_covariance(mdp, pi), second, atol=1e-14)


def test_instances_have_their_closed_forms():
    hard = hard_linear_mdp(5, 2, 0.2, 0.1, np.random.default_rng(0))
    assert staged_optimum(hard.staged).value == pytest.approx(0.3)  # one jump with 0.2 + 0.1, paid at the second step
    np.testing.assert_allclose(np.linalg.norm(hard.phi, axis=2), 1.0)
    detour = informative_detour(9)
    assert staged_optimum(detour.staged).value == pytest.approx(2 / 3 + 1 / 6)
    assert linear_bandit([[1.0, 0.0], [0.5, 0.5]], [0.2, 0.4]).staged.r.tolist() == [[[0.2, pytest.approx(0.3)]]]
    assert len(softmax_cover(hard, 20, np.random.default_rng(0)).policies) == 20


@pytest.mark.parametrize(
    ("phi", "mu", "theta", "message"),
    [
        ([[[2.0]]], [[[0.5]]], [[0.1]], r"phi\[0, 0\] has norm 2"),
        ([[[0.1]]], [[[10.0]]], [[0.1]], r"mu\[0\]\[?.*norm 10|mu\[0, 0\] has norm|mu\[0\] has norm 10"),
        ([[[1.0]]], [[[1.0]]], [[1.5]], r"theta\[0\] has norm 1.5"),
        ([[[1.0]]], [[[1.0]]], [[-0.5]], r"rewards must lie in \[0, 1\]"),
        ([[[1.0]]], [[[0.5]]], [[0.5]], "sums to 0.5"),
        ([[[1.0]]], [[[1.0], [1.0]]], [[0.5]], r"mu must have shape \(H, d, S\)"),
        ([[[1.0]]], [[[1.0]]], [[0.5, 0.5]], "phi and theta must have shapes"),
    ],
)
def test_bad_models_are_refused(phi, mu, theta, message):
    with pytest.raises(ValueError, match=message):
        LinearMDP(phi, mu, theta)


@pytest.mark.parametrize("scale", [1.0, 0.05])
def test_lsvi_compiled_equals_interpreted(scale):
    mdp = simplex_linear_mdp(3, 3, 2, 2, np.random.default_rng(1))
    learner = LSVIUCB(mdp.phi, scale=scale, data=np.round(3 * mdp.staged.P))
    one, two = (
        play_episodes(learner, mdp.staged, episodes=30, runs=1, seed=4, compiled=how, keep_states=True)
        for how in (True, False)
    )
    for x, y in zip(one.states[0], two.states[0]):
        np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(one.value, two.value)


@given(seeds())
@settings(max_examples=15)
def test_pessimistic_plans_are_ridge_regressions(seed):
    """Against normal equations over single transitions."""
    rng = np.random.default_rng(seed)
    mdp = simplex_linear_mdp(3, 3, 2, 2, rng)
    data = transition_data(mdp.staged, np.full(mdp.staged.r.shape, 0.5), 40, rng)
    found, v = pevi(mdp, data, ridge=0.5), np.zeros(3)
    for h in (1, 0):
        rows = [(s, a, t) for s, a, t in np.ndindex(3, 2, 3) for _ in range(int(data[h, s, a, t]))]
        x = np.array([mdp.phi[s, a] for s, a, _ in rows])
        y = np.array([mdp.staged.r[h, s, a] + v[t] for s, a, t in rows])
        gram = x.T @ x + 0.5 * np.eye(3)
        w = np.linalg.solve(gram, x.T @ y)
        norm = np.sqrt(np.einsum("sai,ij,saj->sa", mdp.phi, np.linalg.inv(gram), mdp.phi))
        logdet = np.linalg.slogdet(gram / 0.5)[1]
        noise = 0.5 * (0.5 * logdet + 2 * np.log(2) + np.log(2 / 0.1))
        beta = np.sqrt(0.5 * 3) * (2 - h) + (1 - h) * np.sqrt(noise)
        np.testing.assert_allclose(found.bonus[h], beta * norm, rtol=1e-9)
        v = np.clip(mdp.phi @ w - beta * norm, 0, 2 - h).max(axis=1)
        np.testing.assert_allclose(found.lower[h], v, atol=1e-9)


def test_crowd_is_a_counterexample_by_hand():
    mdp, counts, beta = linear.crowd(4)
    found = pevi(mdp, counts, beta=[beta])
    np.testing.assert_allclose(found.state.q[0, 0], [8 / 9 - 1 / 3, 0.6 * (1 - 1e-4) - 0.01])
    assert found.policy[0, :, 1].tolist() == [1.0] * 4
    off = found.state.w[0] - mdp.theta[0]
    assert (off**2 * np.tile([9.0, 1e4], 4)).sum() <= beta**2  # the event
    assert staged_optimum(mdp.staged).value - staged_value(mdp.staged, found.policy) == pytest.approx(0.4)
    assert 2 * np.sqrt(4 * 0.25**2 / 9) == pytest.approx(1 / 3)  # the bound that 0.4 exceeds


# Rows of features ----------------------------------------------------------------------------------------------------


@given(seeds(), st.sampled_from([0.0, 0.5, 0.9]))
@settings(max_examples=20)
def test_temporal_differences_agree(seed, gamma):
    """One-hot features of every pair, data in the true proportions: the value itself; and the recursive form."""
    rng = np.random.default_rng(seed)
    P, r = rng.dirichlet(np.ones(3), size=3), rng.random(3)
    true = np.linalg.solve(np.eye(3) - gamma * P, r)
    np.testing.assert_allclose(lstd(np.eye(3), P, r, gamma), true, rtol=1e-9)
    np.testing.assert_allclose(fitted_q_evaluation(np.eye(3), P, r, gamma, iterations=300)[-1], true, rtol=1e-9)
    path = recursive_lstd(np.eye(3), P, r, gamma, ridge=0.3)
    np.testing.assert_allclose(path[-1], lstd(np.eye(3), P, r, gamma, ridge=0.3), rtol=1e-9)


def test_fitted_q_iteration_is_value_iteration():
    rng = np.random.default_rng(0)
    P, r = rng.dirichlet(np.ones(2), size=(2, 2)), rng.random((2, 2))
    q = np.zeros((2, 2))
    eye = np.eye(4)
    rows = [(s, a, t) for s, a, t in np.ndindex(2, 2, 2)]
    weight = np.array([np.sqrt(P[row]) for row in rows])  # weighted rows: as many as each transition is likely
    phi = np.array([eye[2 * s + a] for s, a, _ in rows]) * weight[:, None]
    after = np.array([[eye[2 * t], eye[2 * t + 1]] for _, _, t in rows]) * weight[:, None, None]
    path = fitted_q_iteration(phi, after, np.array([r[s, a] for s, a, _ in rows]) * weight, 0.9, iterations=30)
    for _ in range(30):
        q = r + 0.9 * P @ q.max(axis=1)
    np.testing.assert_allclose(path[-1].reshape(2, 2), q, rtol=1e-9)


@given(seeds(), st.sampled_from([0.0, 0.7]))
@settings(max_examples=20)
def test_each_iteration_is_a_regression(seed, ridge):
    """Against lstsq on the stacked rows, where the ridge is d rows more; with one next action, evaluation."""
    rng = np.random.default_rng(seed)
    n, A, d = 12, int(rng.integers(1, 4)), int(rng.integers(1, 4))
    phi, after, r, w = rng.normal(size=(n, d)), rng.normal(size=(n, A, d)), rng.random(n), np.zeros(d)
    stacked = np.concatenate([phi, np.sqrt(ridge) * np.eye(d)])
    path = fitted_q_iteration(phi, after, r, 0.5, iterations=3, ridge=ridge)
    for k in range(3):
        np.testing.assert_allclose(path[k], w, rtol=1e-8, atol=1e-10)
        w = np.linalg.lstsq(stacked, np.append(r + 0.5 * (after @ w).max(axis=1), np.zeros(d)), rcond=None)[0]
    one = fitted_q_evaluation(phi, after[:, 0], r, 0.5, iterations=3, ridge=ridge)
    np.testing.assert_array_equal(one, fitted_q_iteration(phi, after[:, :1], r, 0.5, iterations=3, ridge=ridge))


def test_fitted_q_evaluation_may_diverge():
    """Tsitsiklis & Van Roy (1997): features 1 and 2, transitions to the second state, no rewards; LSTD is fine."""
    path = fitted_q_evaluation([[1.0], [2.0]], [[2.0], [2.0]], [1.0, 0.0], 0.95, iterations=100)
    assert abs(path[-1, 0]) > 1e3
    assert lstd([[1.0], [2.0]], [[2.0], [2.0]], [0.0, 0.0], 0.95) == pytest.approx(0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lstd([[1.0]], [[1.0]], [1.0], 1.0), "singular"),
        (lambda: lstd([[1.0]], [[1.0, 0.0]], [1.0], 0.5), "next_features must have shape"),
        (lambda: fitted_q_evaluation([[1.0, 1.0]], [[1.0, 1.0]], [1.0], 0.5, iterations=3), "singular"),
        (lambda: recursive_lstd([[1.0]], [[1.0]], [1.0], 0.5, ridge=0.0), "ridge must lie in"),
        (lambda: pevi(informative_detour(2), np.zeros((1, 1, 1, 1))), "data must have shape"),
        (lambda: frank_wolfe(informative_detour(2).staged, 1, np.ones((1, 2))), "targets must have shape"),
        (lambda: deterministic_policies(informative_detour(20), limit=100), "more than limit"),
        (lambda: feature_expectations(informative_detour(2), np.full((1, 1, 1), 1.0)), "policies must have shape"),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Design --------------------------------------------------------------------------------------------------------------


@given(seeds())
@settings(max_examples=10)
def test_tabular_and_matrix_designs_agree_and_bracket(seed):
    rng = np.random.default_rng(seed)
    staged = StagedMDP(rng.dirichlet(np.ones(2), size=(2, 2, 2)), rng.random((2, 2, 2)))
    mdp = one_hot(staged)
    goals = designs.goals_of(mdp, 1, 0.3, linear=False)
    offline = rng.random((2, 2))
    one = frank_wolfe(staged, 1, goals, offline, iterations=200)
    two = frank_wolfe(staged, 1, goals, np.diag(offline.ravel()), features=mdp.phi, iterations=200)
    np.testing.assert_allclose(one.trace, two.trace, rtol=1e-6, atol=1e-8)
    grid = np.random.default_rng(0).dirichlet(np.ones(2), size=(400, 2, 2))
    flows = feature_expectations(mdp, grid)[:, 1] + offline.ravel()
    brute = (goals[None] ** 2 / flows[:, None]).sum(axis=2).max(axis=1).min()  # 400 random policies
    assert one.lower <= brute
    assert one.value <= 1.05 * brute
