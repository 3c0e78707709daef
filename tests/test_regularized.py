import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from claimlab.mdps import (
    NotConverged,
    TabularMDP,
    policy_value,
    regularized,
    soft_maximum,
    soft_policy_iteration,
    soft_solve,
    soft_value_iteration,
    solve,
)
from claimlab.mdps.instances import garnet
from claimlab.mdps.resolvent import resolvent
from claimlab.theory.strategies import policies, tabular_mdps

from .test_sweeps import LARGE

EPS = np.finfo(float).eps
SOLVERS = {"value iteration": soft_value_iteration, "policy iteration": soft_policy_iteration, "solve": soft_solve}
TEMPERATURES = st.sampled_from([1.0, 1e-6, 1e-2, 30.0, 1e6])
DISCOUNTS = st.sampled_from([0.0, 0.5, 0.9])


def tolerance(mdp, alpha):
    return 1e-7 * max(mdp.value_bound, alpha / (1 - mdp.gamma), 1e-3)


def weights(mdp, base):
    """Base measure as mpmath numbers, rows of a base policy normalised; terminal states earn no entropy."""
    out = []
    for s in range(mdp.n_states):
        row = [mp.mpf(float(x)) for x in (mdp.actions[s].astype(float) if base is None else base[s])]
        out.append([x / mp.fsum(row) if base is not None or mdp.terminal[s] else x for x in row])
    return out


def soft_backup(mdp, P, v, alpha, b):
    """T v and its derivative's rows pi P in fifty digits, straight from the definition."""
    S, A = mdp.r.shape
    tv, P_pi, pi = [], mp.matrix(S, S), mp.matrix(S, A)
    for s in range(S):
        q = [mp.mpf(float(mdp.r[s, a])) + mdp.gamma * mp.fdot(P[s][a], v) for a in range(A)]
        top = max(q[a] for a in range(A) if b[s][a] > 0)
        terms = [b[s][a] * mp.exp((q[a] - top) / alpha) if b[s][a] > 0 else mp.mpf(0) for a in range(A)]
        total = mp.fsum(terms)
        tv.append(top + alpha * mp.log(total))
        for a in range(A):
            pi[s, a] = terms[a] / total
            for t in range(S):
                P_pi[s, t] += pi[s, a] * P[s][a][t]
    return tv, P_pi, pi


def truth(mdp, alpha, base, start):
    """Newton's method in fifty digits from `start`, with the contraction's bound on what is left."""
    S, A = mdp.r.shape
    dense = mdp.P.toarray().reshape(S, A, S) if mdp.is_sparse else mdp.P
    P = [[[mp.mpf(float(x)) for x in row] for row in state] for state in dense]
    b, alpha, v = weights(mdp, base), mp.mpf(alpha), [mp.mpf(float(x)) for x in start]
    for _ in range(60):
        tv, P_pi, pi = soft_backup(mdp, P, v, alpha, b)
        residual = max(abs(x - y) for x, y in zip(tv, v, strict=True))
        if residual <= mp.mpf(10) ** -30:
            return v, pi
        step = mp.lu_solve(mp.eye(S) - mdp.gamma * P_pi, mp.matrix([x - y for x, y in zip(tv, v, strict=True)]))
        v = [x + step[s] for s, x in enumerate(v)]
    raise AssertionError(f"oracle: residual {residual}")


@pytest.mark.parametrize("name", SOLVERS)
def test_solutions_are_within_their_certificate_of_fifty_digits(name):
    @settings(max_examples=25)
    @given(st.data())
    def check(data):
        mdp = data.draw(tabular_mdps(max_states=3, gammas=DISCOUNTS, masked=True, terminal=True))
        alpha = data.draw(TEMPERATURES)
        base = data.draw(st.none() | policies(mdp))
        solution = SOLVERS[name](mdp, alpha, tolerance(mdp, alpha), base=base)
        assert solution.error <= tolerance(mdp, alpha)
        with mp.workdps(50):
            v, pi = truth(mdp, alpha, base, solution.v)
            assert max(abs(mp.mpf(float(x)) - y) for x, y in zip(solution.v, v, strict=True)) <= solution.error
            for s, a in np.ndindex(mdp.r.shape):
                ours = mp.mpf(float(solution.pi[s, a]))
                if ours > 1e-290 and pi[s, a] > 0:  # else both have underflowed
                    logs = mp.log(ours), mp.log(pi[s, a])
                    rounding = 100 * EPS * (1 + mdp.value_bound / alpha + abs(logs[1]))
                    assert abs(logs[0] - logs[1]) <= 2 * solution.error / alpha + rounding
        assert (solution.pi[~mdp.actions] == 0).all()
        assert (solution.q[~mdp.actions] == -np.inf).all()
        np.testing.assert_allclose(solution.pi.sum(axis=1), 1, atol=1e-12)
        assert (solution.v[mdp.terminal] <= solution.error).all()

    check()


@given(st.data())
def test_soft_maximum_is_within_its_bound_of_many_digits(data):
    mdp = data.draw(tabular_mdps(masked=True, gammas=st.just(0.0)))
    base = data.draw(st.none() | policies(mdp))
    size, alpha = data.draw(st.sampled_from([1.0, 1e-9, 1e9])), data.draw(TEMPERATURES)
    q = size * mdp.r
    v, pi, error = soft_maximum(mdp, q, alpha, base=base)
    with mp.workdps(400):  # base probabilities of 1e-308 count
        b = weights(mdp, base)
        for s in range(mdp.n_states):
            support = [a for a in range(mdp.n_actions) if b[s][a] > 0]
            top = max(mp.mpf(float(q[s, a])) for a in support)
            total = mp.fsum(b[s][a] * mp.exp((mp.mpf(float(q[s, a])) - top) / alpha) for a in support)
            assert abs(mp.mpf(float(v[s])) - top - alpha * mp.log(total)) <= error
    assert error <= 1e-12 * (abs(q).max() + alpha) + 1e-300
    np.testing.assert_allclose(pi.sum(axis=1), 1, atol=1e-12)


@given(tabular_mdps(masked=True, gammas=DISCOUNTS), st.sampled_from([1e-6, 1e-3, 1.0]))
def test_entropy_lifts_the_optimum_by_at_most_log_actions(mdp, alpha):
    """v* <= v_soft <= v* + alpha log A / (1 - gamma); Geist, Scherrer & Pietquin (2019), Proposition 3."""
    soft, hard = soft_solve(mdp, alpha, 1e-6), solve(mdp, 1e-8)
    slack = soft.error + hard.error
    assert (soft.v >= hard.v - slack).all()
    assert (soft.v <= hard.v + alpha * np.log(mdp.n_actions) / (1 - mdp.gamma) + slack).all()


@given(st.data())
def test_strong_regularisation_keeps_the_base_policy(data):
    """0 <= v_soft - v_base <= span^2 / (8 alpha) a step: Hoeffding's lemma on the log-moment-generating function."""
    mdp = data.draw(tabular_mdps(masked=True, gammas=DISCOUNTS))
    base = data.draw(policies(mdp))
    soft, plain = soft_solve(mdp, 1e6, 1e-6, base=base), policy_value(mdp, base)
    slack = soft.error + plain.error + 1e-9
    span = 2 * (mdp.value_bound + slack)
    assert (soft.v >= plain.v - slack).all()
    assert (soft.v <= plain.v + span**2 / (8e6 * (1 - mdp.gamma)) + slack).all()


@given(tabular_mdps(sparse=False, masked=True, gammas=DISCOUNTS), TEMPERATURES)
def test_dense_and_sparse_agree_and_so_do_the_methods(mdp, alpha):
    P = csr_array(mdp.P.reshape(-1, mdp.n_states))
    twin = TabularMDP(P, mdp.r, mdp.gamma, actions=mdp.actions)
    solutions = [method(m, alpha, tolerance(mdp, alpha)) for method in SOLVERS.values() for m in (mdp, twin)]
    for solution in solutions[1:]:
        assert abs(solution.v - solutions[0].v).max() <= solution.error + solutions[0].error


@pytest.mark.parametrize("alpha", [1e-6, 0.1, 1.0, 1e6])
def test_one_state_in_closed_form(alpha):
    """v = alpha log(sum exp(r / alpha)) / (1 - gamma) and pi = softmax(r / alpha) with a single state."""
    r, gamma = np.array([0.0, 0.5, 1.0]), 0.9
    solution = soft_solve(TabularMDP(np.ones((1, 3, 1)), r[None], gamma), alpha, 1e-9 * max(alpha, 1))
    v = alpha * np.logaddexp.reduce(r / alpha) / (1 - gamma)
    assert abs(solution.v[0] - v) <= solution.error + 10 * EPS * abs(v)
    np.testing.assert_allclose(solution.pi[0], np.exp((r - (1 - gamma) * v) / alpha), rtol=1e-6, atol=1e-12)


def test_the_base_policy_is_divided_by_its_sums():
    """Rows may sum to 1 + 1e-9; in one state v = alpha log sum_a b(a) exp(r(a) / alpha) / (1 - gamma)."""
    alpha, base = 0.1, np.array([0.5 + 9e-10, 0.5])
    mdp = TabularMDP(np.ones((1, 2, 1)), [[1.0, 0.0]], 0.5)
    solution = soft_solve(mdp, alpha, 1e-12, base=[base])
    true = alpha * np.log(base / base.sum() @ np.exp(mdp.r[0] / alpha)) / 0.5
    assert abs(solution.v[0] - true) <= solution.error + 8 * EPS <= 2e-12


def test_newton_takes_a_few_steps_also_where_the_discount_is_close_to_one():
    mdp = garnet(200, 3, 5, 0.9999, np.random.default_rng(0))
    assert soft_solve(mdp, 0.1, 1e-4).iterations <= 10


def test_large_sparse_problem():
    """Sweeps narrow fast on a random graph, so they are what is chosen."""
    mdp = garnet(5_000, 3, 5, 0.99, np.random.default_rng(0), sparse=True)
    chosen, other = soft_solve(mdp, 0.5, 1e-6), soft_policy_iteration(mdp, 0.5, 1e-6)
    np.testing.assert_array_equal(chosen.v, soft_value_iteration(mdp, 0.5, 1e-6).v)
    assert abs(chosen.v - other.v).max() <= chosen.error + other.error


def value_under(mdp, pi, alpha):
    """Value of `pi` with its entropy as a reward, by a dense solve; terminal states are worth 0."""
    P_pi, r_pi = mdp.under(pi)
    entropy = -(pi * np.log(np.where(pi > 0, pi, 1))).sum(axis=1)
    dense = P_pi.toarray() if mdp.is_sparse else P_pi
    return np.linalg.solve(np.eye(mdp.n_states) - mdp.gamma * dense, r_pi + alpha * np.where(mdp.terminal, 0, entropy))


@pytest.mark.parametrize("gamma", [0.99, 0.9999])
@pytest.mark.parametrize("name", ["slippery maze", "chain", "lazy ring"])
def test_newton_steps_take_over_where_sweeps_are_slow(name, gamma):
    """From the residual, the policy's own value is within 2 error / (1 - gamma) of `v`."""
    mdp = LARGE[name](gamma)
    alpha, tol = 0.01, 1e-7 * mdp.value_bound
    solution = soft_solve(mdp, alpha, tol)
    assert solution.error <= tol
    assert solution.iterations <= 100
    off = (2 * solution.error + 1e-13 * mdp.value_bound) / (1 - gamma)
    assert abs(solution.v - value_under(mdp, solution.pi, alpha)).max() <= off
    with pytest.raises(NotConverged, match="after 100 iterations"):
        soft_value_iteration(mdp, alpha, tol, max_sweeps=100)


def test_loose_newton_steps_and_exact_ones_agree():
    """On a grid systems are solved loosely; where that was fruitless, to rounding.

    How many loose steps in turn bring nothing near the end hangs on the last digits, so on the machine's sums.
    """
    mdp = LARGE["slippery maze"](0.9999)
    to_rounding = []

    def counted(*call):
        to_rounding[-1] += 1
        return resolvent(*call)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regularized, "resolvent", counted)
        to_rounding.append(0)
        loose = soft_policy_iteration(mdp, 0.1, 1e-6)
        patch.setattr(regularized, "FRUITLESS", -1)
        to_rounding.append(0)
        exact = soft_policy_iteration(mdp, 0.1, 1e-6)
    assert to_rounding[0] < loose.iterations / 2
    assert to_rounding[1] == exact.iterations - 1 < loose.iterations
    assert abs(loose.v - exact.v).max() <= loose.error + exact.error <= 2e-6


def test_solutions_do_not_depend_on_threads():
    sparse = garnet(3_000, 3, 5, 0.9, np.random.default_rng(0), sparse=True)
    for mdp in (sparse, garnet(900, 5, 900, 0.9, np.random.default_rng(1)), LARGE["slippery maze"](0.999)):
        for call in (soft_solve, soft_value_iteration, soft_policy_iteration):
            for x, y in zip(call(mdp, 0.5, 1e-5, threads=1), call(mdp, 0.5, 1e-5, threads=3), strict=True):
                np.testing.assert_array_equal(x, y)
        q = mdp.r * 3
        for x, y in zip(soft_maximum(mdp, q, 0.5, threads=1), soft_maximum(mdp, q, 0.5, threads=3), strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("solver", SOLVERS.values())
def test_overflow_is_no_success_and_ends(solver):
    mdp = TabularMDP(np.ones((1, 1, 1)), [[1e308]], 0.999)
    with pytest.raises(NotConverged) as refusal, np.errstate(all="ignore"):
        solver(mdp, 1.0)
    assert refusal.value.solution.iterations <= 5


def test_a_tolerance_below_rounding_is_refused():
    mdp = garnet(5, 2, 3, 0.9, np.random.default_rng(0))
    for method in SOLVERS.values():
        with pytest.raises(NotConverged, match=r"tolerance 1e-18 asked, .* certified") as refusal:
            method(mdp, 1.0, 1e-18)
        assert refusal.value.solution.error < 1e-11


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: soft_solve(m, 0.0), r"alpha must lie in \(0, inf\), got 0"),
        (lambda m: soft_solve(m, 1.0, threads=0), "threads must be at least 1"),
        (lambda m: soft_solve(m, 1.0, 0.0), r"tol must lie in \(0, inf\), got 0"),
        (lambda m: soft_solve(m, 1.0, base=[[0.5, 0.4]]), r"base\[0\] sums to 0.9"),
        (lambda m: soft_maximum(m, [[0.0, 1.0, 2.0]], 1.0), r"q must have shape \(S, A\) = \(1, 2\)"),
    ],
)
def test_bad_calls_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(TabularMDP(P=[[[1.0], [1.0]]], r=[[1.0, 0.0]], gamma=0.5))
