from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array, random_array

from claimlab.mdps import AverageMDP, NotConverged, average, gain_and_bias, relative_value_iteration
from claimlab.mdps.exact import rationals, solve_linear
from claimlab.mdps.instances import average_river_swim, garnet, jao
from claimlab.theory.strategies import average_mdps, deterministic_policies, periodic_mdps, policies, rewards

from .oracles import SCALES

unichain = st.one_of(
    st.sampled_from(SCALES).flatmap(
        lambda scale: average_mdps(masked=True, rewards=lambda shape: rewards(shape, scale=scale))
    ),
    periodic_mdps(),
)


def exact_gain(mdp, pi):
    """Stationary law times reward in rationals, for the rows of P divided by their sums."""
    S, A = mdp.r.shape
    dense = mdp.P.toarray().reshape(S, A, S) if mdp.is_sparse else mdp.P
    weights = rationals(np.eye(A)[pi] if pi.ndim == 1 else pi)
    weights = weights / weights.sum(axis=1, keepdims=True)
    P = rationals(dense)
    sums = P.sum(axis=2)
    P = P / np.where(sums == 0, Fraction(1), sums)[..., None]
    P_pi, r_pi = (weights[..., None] * P).sum(axis=1), (weights * rationals(mdp.r)).sum(axis=1)
    system = np.eye(S, dtype=object) - P_pi.T
    system[0] = 1
    law = solve_linear(system, np.eye(S, dtype=object)[0])
    return (law * r_pi).sum(), law


def close(value, true, error):
    return abs(Fraction(value) - true) <= Fraction(error)


@settings(max_examples=60)
@given(unichain)
def test_gain_is_the_best_of_all_policies(mdp):
    tol = 1e-8 * max(abs(mdp.r).max(), 1e-290)
    solution = relative_value_iteration(mdp, tol)
    choices = product(*(np.flatnonzero(row) for row in mdp.actions))
    best = max(exact_gain(mdp, np.array(pi))[0] for pi in choices)
    assert solution.error <= tol
    assert close(solution.gain, best, solution.error)
    assert exact_gain(mdp, solution.policy)[0] >= best - 2 * Fraction(solution.error)
    assert solution.bias[0] == 0


@given(st.data())
def test_gain_and_bias_of_a_policy(data):
    mdp = data.draw(unichain)
    pi = data.draw(policies(mdp) | deterministic_policies(mdp))
    gain, h, stationary, error = gain_and_bias(mdp, pi)
    true, law = exact_gain(mdp, pi)
    assert close(gain, true, error)
    np.testing.assert_allclose(stationary, law.astype(float), atol=1e-12)
    P_pi, r_pi = mdp.under(mdp.policy(pi))
    scale = max(abs(mdp.r).max(), abs(h).max(), 1e-300)
    assert error <= 1e-11 * scale
    assert abs(gain + h - r_pi - P_pi @ h).max() <= 1e-11 * scale
    assert abs(stationary @ h) <= 1e-11 * scale


@pytest.mark.parametrize("seed", range(3))
def test_sparse_solutions_are_those_of_the_dense_method(monkeypatch, seed):
    river, rng = average_river_swim(12), np.random.default_rng(seed)
    pi = rng.dirichlet(np.ones(river.n_actions), size=river.n_states)
    dense = gain_and_bias(river, pi)
    monkeypatch.setattr(average, "DIRECT", 0)
    sparse = gain_and_bias(river, pi)
    assert abs(dense.gain - sparse.gain) <= dense.error + sparse.error
    np.testing.assert_allclose(dense.bias, sparse.bias, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(dense.stationary, sparse.stationary, rtol=0, atol=1e-12)


@pytest.mark.parametrize("small", [average.SMALL, 0])  # with and without jumps to the bias
def test_periodic_two_cycle(monkeypatch, small):
    """Plain value iteration oscillates for ever; the gain is the mean, the bias half the difference, here a quarter."""
    monkeypatch.setattr(average, "SMALL", small)
    cycle = AverageMDP(P=[[[0, 1]], [[1, 0]]], r=[[0], [1]])
    solution = relative_value_iteration(cycle, 1e-12, max_sweeps=1000)
    assert abs(solution.gain - 0.5) <= solution.error <= 1e-12
    assert gain_and_bias(cycle, [0, 0]).bias.tolist() == [-0.25, 0.25]


def test_river_swim():
    """Swimming is optimal; birth-death chains have stationary laws in detailed balance, which gives its gain."""
    mdp = average_river_swim(12)
    solution = relative_value_iteration(mdp, 1e-10)
    assert (solution.policy == 1).all()
    up = np.array([mdp.P[s, 1, s + 1] for s in range(11)])
    down = np.array([mdp.P[s + 1, 1, s] for s in range(11)])
    law = np.append(1.0, np.cumprod(up / down))
    assert abs(solution.gain - law / law.sum() @ mdp.r[:, 1]) <= solution.error + 1e-14


def test_two_state_chain_in_closed_form():
    """JAO: leaving state 0 with delta + epsilon and state 1 with delta, the gain is (delta+eps) / (2 delta + eps)."""
    delta, epsilon = 0.1, 0.04
    solution = relative_value_iteration(jao(3, delta, epsilon), 1e-12)
    assert abs(solution.gain - (delta + epsilon) / (2 * delta + epsilon)) <= solution.error


def test_slow_mixing_costs_little():
    """Two states that are left with probability 1e-7: without jumps to the bias this takes some 1e8 sweeps."""
    leave = 1e-7
    mdp = AverageMDP(P=[[[1 - leave, leave]], [[leave, 1 - leave]]], r=[[0], [1]])
    solution = relative_value_iteration(mdp, 1e-6)
    assert abs(solution.gain - 0.5) <= solution.error <= 1e-6
    assert solution.iterations < 100


def test_large_sparse_problem(monkeypatch):
    discounted = garnet(3_000, 3, 4, 0.9, np.random.default_rng(0), sparse=True)
    mdp = AverageMDP(discounted.P, discounted.r)
    solution = relative_value_iteration(mdp, 1e-8)
    evaluation = gain_and_bias(mdp, solution.policy)
    assert abs(evaluation.gain - solution.gain) <= 2 * solution.error + evaluation.error
    monkeypatch.setattr(average, "DIRECT", 0)
    other = gain_and_bias(mdp, solution.policy)
    assert abs(other.gain - evaluation.gain) <= other.error + evaluation.error
    np.testing.assert_allclose(other.stationary, evaluation.stationary, atol=1e-12)


@pytest.mark.parametrize("sparse", [False, True])
def test_a_gain_that_depends_on_the_state_is_refused(sparse):
    P = np.array([[[1.0, 0, 0]], [[0, 1.0, 0]], [[0.5, 0.5, 0]]])
    mdp = AverageMDP(csr_array(P.reshape(3, 3)) if sparse else P, r=[[0], [1], [5]])
    with pytest.raises(NotConverged, match=r"depends on the state: at most .* from state 0, at least 1 from state 1"):
        relative_value_iteration(mdp)
    with pytest.raises(ValueError, match=r"pi has 2 recurrent classes \(states 0 and 1 never meet\)"):
        gain_and_bias(mdp, [0, 0, 0])


def test_several_classes_with_one_gain_are_solved():
    """Weakly communicating: staying in either state is a class of its own, but the worse one can be left."""
    mdp = AverageMDP(P=[[[1, 0], [0, 1]], [[0, 1], [1, 0]]], r=[[0, 0], [1, 0]])
    solution = relative_value_iteration(mdp, 1e-10)
    assert abs(solution.gain - 1) <= solution.error
    assert solution.policy.tolist() == [1, 0]


def test_a_tolerance_below_rounding_is_refused_with_both_bounds():
    with pytest.raises(NotConverged, match=r"tolerance 1e-18 asked, .* the gain lies between") as refusal:
        relative_value_iteration(average_river_swim(6), 1e-18)
    assert refusal.value.solution.error < 1e-12


@given(average_mdps(sparse=False, masked=True))
def test_dense_and_sparse_agree(mdp):
    twin = AverageMDP(csr_array(mdp.P.reshape(-1, mdp.n_states)), mdp.r, actions=mdp.actions)
    one, other = relative_value_iteration(mdp), relative_value_iteration(twin)
    assert abs(one.gain - other.gain) <= one.error + other.error


def test_rows_that_sum_to_one_only_roughly_widen_the_bounds():
    """The bias is some 250, so rows off by 9e-10 leave the gain uncertain by 1e-7: less cannot be certified."""
    leave, off = 1e-3, np.array([1 + 9e-10, 1 - 9e-10])
    P = off[:, None, None] * np.array([[[1 - leave, leave]], [[leave, 1 - leave]]])
    mdp = AverageMDP(P, r=[[0.0], [1.0]])
    with pytest.raises(NotConverged, match="tolerance 1e-08 asked") as refusal:
        relative_value_iteration(mdp, 1e-8)
    true, _ = exact_gain(mdp, np.zeros(2, int))
    assert close(refusal.value.solution.gain, true, refusal.value.solution.error)
    assert refusal.value.solution.error < 1e-5


@given(st.integers(0, 20))
def test_reachable_maxima_against_matrix_powers(seed):
    rng = np.random.default_rng(seed)
    moves = csr_array(random_array((6, 6), density=0.2, rng=rng) + csr_array(np.eye(6)[rng.permutation(6)]))
    d = rng.normal(size=6)
    reached = np.linalg.matrix_power((moves.toarray() > 0) + np.eye(6), 6) > 0
    expected = np.where(reached, d, -np.inf).max(axis=1)
    np.testing.assert_array_equal(average._largest_reached(moves, d), expected)
