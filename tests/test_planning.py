from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from claimlab.mdps import (
    NotConverged,
    TabularMDP,
    action_values,
    bellman,
    gaps,
    krylov_policy_iteration,
    modified_policy_iteration,
    occupancy,
    optimal_actions,
    planning,
    policy_iteration,
    policy_value,
    solve,
    solve_lp,
    value_iteration,
)
from claimlab.mdps import resolvent as linear
from claimlab.mdps.certificates import certify
from claimlab.mdps.exact import exact, policy_value_exactly, rational_mdp
from claimlab.mdps.instances import episodic_river_swim, garnet
from claimlab.mdps.linear_program import flow_residual
from claimlab.mdps.planning import improve
from claimlab.theory.strategies import deterministic_policies, policies, tabular_mdps, tied_mdps, values

from .oracles import CLOSE_TO_ONE, MODERATE, distance, hard_mdps, tolerance, within

EPS = np.finfo(float).eps


def as_if_large(mdp, tol):
    """`solve` by the methods for MDPs beyond policy iteration."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "SMALL", 0)
        return solve(mdp, tol)


SOLVERS = {  # name: (solver of (mdp, tol), discounts it is tried with, whether it promises tol)
    "value_iteration": (value_iteration, MODERATE, True),
    "modified_policy_iteration": (modified_policy_iteration, MODERATE, True),
    "shallow": (partial(modified_policy_iteration, depth=3), MODERATE, True),
    "policy_iteration": (lambda mdp, tol: policy_iteration(mdp), CLOSE_TO_ONE, True),
    "krylov_policy_iteration": (krylov_policy_iteration, CLOSE_TO_ONE, True),
    "solve": (solve, CLOSE_TO_ONE, True),
    "solve as if large": (as_if_large, CLOSE_TO_ONE, True),
    "solve_lp": (lambda mdp, tol: solve_lp(mdp), CLOSE_TO_ONE, False),
}


def rounding(mdp):
    """Condition x size x machine epsilon: what float64 may add to a value."""
    return 100 * EPS * mdp.n_states * max(mdp.value_bound, 1) / (1 - mdp.gamma)


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_is_within_its_certificate_of_the_exact_solution(name):
    solver, gammas, promises = SOLVERS[name]

    @settings(max_examples=40)
    @given(hard_mdps(gammas))
    def check(mdp):
        tol = tolerance(mdp)
        solution, truth = solver(mdp, tol), exact(mdp)
        assert within(solution.v, truth.v, solution.error)
        assert solution.error <= tol or not promises
        loss = truth.v - policy_value_exactly(*rational_mdp(mdp)[:3], solution.policy, mdp.actions)
        assert max(loss) <= 2 * solution.error

    check()


@given(st.data())
def test_certificate_encloses_the_optimum_from_any_value_function(data):
    """tv + low <= v_pi <= v* <= tv + high in exact arithmetic, for the computed backup of an arbitrary v."""
    mdp = data.draw(hard_mdps(CLOSE_TO_ONE))
    v = data.draw(values(mdp, bound=data.draw(st.sampled_from([1.0, 1e-9, 1e9]))))
    tv, policy = improve(mdp, v, mdp.gamma)
    low, high = certify(mdp, v, tv)
    truth, own = exact(mdp).v, policy_value_exactly(*rational_mdp(mdp)[:3], policy, mdp.actions)
    exactly = rational_mdp(mdp)._replace(r=tv[:, None]).r  # tv as the floats that they are
    for s in range(mdp.n_states):
        base = type(truth[s])(float(exactly[s, 0]))
        assert base + type(truth[s])(low) <= own[s] <= truth[s] <= base + type(truth[s])(high)


@given(st.data())
def test_bellman_is_a_contraction(data):
    mdp = data.draw(tabular_mdps(masked=True))
    v, w = data.draw(values(mdp)), data.draw(values(mdp))
    gap = abs(bellman(mdp, v).max(axis=1) - bellman(mdp, w).max(axis=1)).max()
    assert gap <= mdp.gamma * abs(v - w).max() + 100 * EPS * (10 + mdp.value_bound)


@given(st.data())
def test_performance_difference_lemma(data):
    """Kakade & Langford (2002), Lemma 6.1: v_pi - v_mu = (I - gamma P_pi)^-1 A_mu(pi)."""
    mdp = data.draw(tabular_mdps(sparse=False))
    pi, mu = data.draw(policies(mdp)), data.draw(policies(mdp))
    v_pi, v_mu = policy_value(mdp, pi).v, policy_value(mdp, mu).v
    advantage = (pi * (bellman(mdp, v_mu) - v_mu[:, None])).sum(axis=1)
    visits = np.linalg.inv(np.eye(mdp.n_states) - mdp.gamma * np.einsum("sa,sat->st", pi, mdp.P))
    np.testing.assert_allclose(v_pi - v_mu, visits @ advantage, rtol=0, atol=rounding(mdp))


@given(st.data())
def test_policy_value_is_within_its_certificate(data):
    mdp = data.draw(hard_mdps(CLOSE_TO_ONE))
    pi = data.draw(policies(mdp) | deterministic_policies(mdp))
    evaluation = policy_value(mdp, pi)
    assert within(evaluation.v, policy_value_exactly(*rational_mdp(mdp)[:3], pi, mdp.actions), evaluation.error)


@given(st.data())
def test_occupancies_are_flows_and_dual_to_values(data):
    mdp = data.draw(tabular_mdps(masked=True, terminal=True))
    pi = data.draw(policies(mdp) | deterministic_policies(mdp))
    d, gain = occupancy(mdp, pi), (1 - mdp.gamma) * mdp.initial @ policy_value(mdp, pi).v
    assert abs(d.sum() - 1) <= rounding(mdp)
    assert flow_residual(mdp, d, mdp.initial) <= rounding(mdp)
    assert (d >= -rounding(mdp)).all()
    assert abs((d * mdp.r).sum() - gain) <= rounding(mdp)


@given(tied_mdps(masked=True))
def test_ties_are_optimal_and_gaps_are_within_their_error(pair):
    mdp, q = pair
    computed, error = action_values(mdp)
    assert abs(np.where(mdp.actions, computed, 0) - np.where(mdp.actions, q, 0)).max() <= error
    optimal = q == q.max(axis=1, keepdims=True)
    assert (optimal_actions(mdp) == optimal).all()  # gaps are 0 or at least 1 here
    gap, gap_error = gaps(mdp)
    true = q.max(axis=1, keepdims=True) - q
    assert abs(np.where(mdp.actions, gap, 0) - np.where(mdp.actions, true, 0)).max() <= gap_error
    assert (gap[~mdp.actions] == np.inf).all()


@given(tabular_mdps(sparse=False, masked=True, gammas=MODERATE))
def test_dense_and_sparse_agree(mdp):
    P = csr_array(mdp.P.reshape(-1, mdp.n_states))
    twin = TabularMDP(P, mdp.r, mdp.gamma, actions=mdp.actions, initial=mdp.initial)
    one, other = modified_policy_iteration(mdp, tolerance(mdp)), modified_policy_iteration(twin, tolerance(mdp))
    assert abs(one.v - other.v).max() <= one.error + other.error
    (tv, _), (other_tv, policy) = improve(mdp, one.v, mdp.gamma), improve(twin, one.v, mdp.gamma)
    np.testing.assert_allclose(tv, other_tv, rtol=0, atol=rounding(mdp))
    q = bellman(mdp, one.v)  # of actions that tie up to rounding either may be chosen
    assert (q.max(axis=1) - q[np.arange(mdp.n_states), policy]).max() <= rounding(mdp)


def test_puterman_example():
    """Puterman (2005), Example 3.1.1, discounted in Section 6.1: v* in closed form for gamma = 0.95."""
    gamma = 0.95
    mdp = TabularMDP(
        P=[[[0.5, 0.5], [0, 1]], [[0, 1], [0, 0]]], r=[[5, 10], [-1, 0]], gamma=gamma, actions=[[1, 1], [1, 0]]
    )
    # "stay" is worth (5 - 5.5 gamma) / ((1 - 0.5 gamma)(1 - gamma)), "leave" 10 - gamma / (1 - gamma)
    stay, leave = (5 - 5.5 * gamma) / ((1 - 0.5 * gamma) * (1 - gamma)), 10 - gamma / (1 - gamma)
    v_star = [max(stay, leave), -1 / (1 - gamma)]
    for solver, _, _ in SOLVERS.values():
        solution = solver(mdp, 1e-8)
        assert abs(solution.v - v_star).max() <= solution.error + rounding(mdp)
        assert solution.policy.tolist() == [int(leave > stay), 0]


@pytest.mark.parametrize("name", ["value_iteration", "modified_policy_iteration", "shallow", "solve"])
def test_a_tolerance_below_rounding_is_refused_with_the_best_solution(name):
    mdp = TabularMDP(P=[[[0.3, 0.7], [1, 0]], [[0.1, 0.9], [0.5, 0.5]]], r=[[1, 0.3], [0, 0.7]], gamma=0.9)
    with pytest.raises(NotConverged, match=r"tolerance 1e-18 asked, .* certified") as refusal:
        SOLVERS[name][0](mdp, 1e-18)
    assert 1e-18 < refusal.value.solution.error < 1e-12
    assert within(refusal.value.solution.v, exact(mdp).v, refusal.value.solution.error)


@pytest.mark.parametrize("solver", [solve, value_iteration, modified_policy_iteration])
def test_values_beyond_float64_are_no_success(solver):
    mdp = TabularMDP(P=[[[1.0]]], r=[[1e308]], gamma=0.99)
    with np.errstate(all="ignore"), pytest.raises(NotConverged, match="tolerance 1e-06 asked"):
        solver(mdp, 1e-6)


def test_discounts_that_rounding_cannot_tell_from_one_are_refused():
    mdp = TabularMDP(P=[[[1.0 - 5e-10]]], r=[[1.0]], gamma=1 - 1e-10)
    for call in (solve, lambda m: policy_value(m, [0]), value_iteration):
        with pytest.raises(ValueError, match="need not make a contraction; normalise the rows of P"):
            call(mdp)


def test_policies_that_spoil_the_contraction_in_one_state_are_refused():
    """Rows of pi may sum to 1 + 1e-9; here one row does, and gamma is closer to 1."""
    mdp, pi = TabularMDP(np.eye(2)[:, None], np.ones((2, 1)), 1 - 5e-10), np.array([[1.0], [1.0 + 9e-10]])
    with pytest.raises(
        ValueError, match=r"gamma = 0\.9999999995 is too close to 1 for rows of pi that sum to 1 \+ 9e-10"
    ):
        policy_value(mdp, pi)


def test_action_values_are_had_without_a_tolerance_close_to_one():
    """By default as finely as float64 can prove."""
    mdp = TabularMDP(np.full((2, 2, 2), 0.5), [[1.0, 0.0], [0.25, 0.5]], 0.9999)
    q, error = action_values(mdp)
    assert error <= 1e-6 * mdp.value_bound
    assert within(q.max(axis=1), exact(mdp).v, error)


def test_iterations_are_counted_and_limited():
    mdp = garnet(50, 3, 4, 0.99, np.random.default_rng(1), sparse=True)
    enough = krylov_policy_iteration(mdp, 1e-8).iterations
    assert enough > 1
    with pytest.raises(NotConverged, match=f"certified after {enough - 1} iterations") as refusal:
        krylov_policy_iteration(mdp, 1e-8, max_iterations=enough - 1)
    assert refusal.value.solution.iterations == enough - 1


@settings(max_examples=30)
@given(tabular_mdps(gammas=st.just(0.9999), rewards=lambda shape: st.just(1e12 * np.ones(shape))))
def test_policy_iteration_stops_where_all_actions_tie_up_to_rounding(mdp):
    """Equal rewards of 1e12: actions differ by rounding alone, which must neither cycle nor spoil the certificate."""
    solution = policy_iteration(mdp, max_iterations=50)
    assert solution.error <= 1e-9 * mdp.value_bound
    assert within(solution.v, exact(mdp).v, solution.error)


@pytest.mark.parametrize("depth", [3, 100])
def test_a_rising_span_is_no_stall(depth):
    """Back or ahead, 1 a step for staying at the far end: each improvement reaches one more state, and the span rises.

    From the end n-1, v* = 1 / (1 - gamma); from s, gamma ** (n - 1 - s) times that.
    """
    n, gamma, s = 100, 0.99, np.arange(100)
    P, r = np.zeros((n, 2, n)), np.zeros((n, 2))
    P[s, 0, np.maximum(s - 1, 0)] = P[s, 1, np.minimum(s + 1, n - 1)] = 1
    r[-1, 1] = 1
    mdp = TabularMDP(P, r, gamma)
    solution = modified_policy_iteration(mdp, 1e-8, depth=depth)
    assert abs(solution.v - gamma ** (n - 1 - s) / (1 - gamma)).max() <= solution.error + rounding(mdp)
    assert solution.error <= 1e-8


def test_a_good_start_is_used():
    mdp = garnet(500, 2, 4, 0.99, np.random.default_rng(0), sparse=True)
    first = modified_policy_iteration(mdp, 1e-8)
    assert modified_policy_iteration(mdp, 1e-6, start=first.v).iterations == 1
    with pytest.raises(ValueError, match=r"start must have shape \(S,\) = \(500,\)"):
        modified_policy_iteration(mdp, start=[0.0])


def test_large_sparse_problem_in_few_sweeps():
    mdp = garnet(10_000, 3, 5, 0.99, np.random.default_rng(0), sparse=True)
    solution = solve(mdp, 1e-8)
    assert solution.iterations <= 100  # plain value iteration needs thousands: 0.99^n must fall below 1e-10
    evaluation = policy_value(mdp, solution.policy)
    assert abs(evaluation.v - solution.v).max() <= evaluation.error + 2 * solution.error
    d = occupancy(mdp, solution.policy)
    assert abs(d.sum() - 1) <= 1e-9
    assert abs((d * mdp.r).sum() - (1 - mdp.gamma) * evaluation.v.mean()) <= 1e-9


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("methods", [linear.METHODS, ()])  # without Krylov methods the Neumann series does it alone
@pytest.mark.parametrize("gamma", [0.0, 0.9, 0.99])
def test_iterative_resolvent_agrees_with_the_direct_one(monkeypatch, transpose, methods, gamma):
    """On a star (rows as long as columns are full) and a cycle; rounding keeps the star's residual above any floor."""
    n = 300
    star, cycle = np.full((n, n), 1 / n), np.roll(np.eye(n), 1, axis=1)
    P = csr_array((star + cycle) / 2)
    mdp = TabularMDP(P, np.ones((n, 1)), gamma)
    b = np.random.default_rng(0).normal(size=n)
    direct = linear.resolvent(mdp, mdp.P, b, transpose=transpose)
    monkeypatch.setattr(linear, "DIRECT", 0)
    banded = linear.resolvent(mdp, mdp.P, b, transpose=transpose)
    assert abs(banded - direct).max() <= 1e-9 / (1 - gamma)
    monkeypatch.setattr(linear, "FILL", 0)
    monkeypatch.setattr(linear, "METHODS", methods)
    iterated = linear.resolvent(mdp, mdp.P, b, transpose=transpose)
    assert abs(iterated - direct).max() <= 1e-9 / (1 - gamma)
    two = linear.resolvent(mdp, mdp.P, np.stack([b, 2 * b], axis=1), transpose=transpose)
    np.testing.assert_allclose(two, np.stack([iterated, 2 * iterated], axis=1), rtol=1e-9, atol=1e-9)


def test_resolvent_ends_below_the_floor_of_float64(monkeypatch):
    P = csr_array(np.random.default_rng(0).dirichlet(np.ones(50), size=50))
    b = np.ones(50)
    x = linear._iterate(0.99, P, b, np.inf, 1e-30, linear.METHODS)  # no residual gets that small
    assert abs(x - 100).max() <= 1e-9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: solve(m, 0), r"tol must lie in \(0, inf\), got 0"),
        (lambda m: value_iteration(m, -1), r"tol must lie in \(0, inf\), got -1"),
        (lambda m: policy_value(m, [2]), r"pi\[0\] is 2, which is not an action of state 0"),
        (lambda m: policy_value(m, [[0.5, 0.4]]), r"pi\[0\] sums to 0.9, not to 1"),
        (lambda m: bellman(m, [1, 2]), r"v must have shape \(S,\) = \(1,\), got \(2,\)"),
        (lambda m: occupancy(m, [0], [0.5, 0.5]), r"initial must have shape \(S,\) = \(1,\)"),
        (lambda m: optimal_actions(m, atol=1e-300), r"atol = 1e-300 is below the certified error"),
    ],
)
def test_bad_calls_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(TabularMDP(P=[[[1.0], [1.0]]], r=[[1.0, 0.1]], gamma=0.5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"P": [[[0.5, 0.4], [0, 1]]] * 2, "r": np.zeros((2, 2)), "gamma": 0.9}, r"P\[0, 0\] sums to 0.9, not to 1"),
        ({"P": [[[1.5, -0.5], [0, 1]]] * 2, "r": np.zeros((2, 2)), "gamma": 0.9}, r"P\[0, 0, 1\] is -0.5"),
        ({"P": [[[1, 0], [0, 1]]] * 2, "r": np.zeros((3, 2)), "gamma": 0.9}, r"r must have shape \(S, A\)"),
        ({"P": [[[1, 0], [0, 1]]] * 2, "r": np.zeros((2, 2)), "gamma": 1}, r"gamma must lie in \[0, 1\)"),
    ],
)
def test_bad_models_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        TabularMDP(**arguments)


def test_distance_is_exact():
    assert distance(np.array([0.1]), exact(TabularMDP([[[1.0]]], [[0.1]], 0.0)).v) == 0


def test_solve_names_the_solver_of_another_criterion():
    with pytest.raises(TypeError, match="got EpisodicMDP; see backward_induction"):
        solve(episodic_river_swim(4, 5))
