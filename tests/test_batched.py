"""Batches against rationals, brute force and the solvers of one MDP, on the instances that are hard for those."""

from fractions import Fraction
from itertools import product

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimlab.mdps import (
    AverageMDP,
    NotConverged,
    TabularMDP,
    batched,
    certificates,
    planning,
    relative_value_iteration,
    river_swim,
)
from claimlab.mdps import batched_kernels as kernels
from claimlab.mdps import batched_lanes as lanes
from claimlab.mdps.batched import MDPBatch
from claimlab.mdps.exact import policy_value_exactly, rationals, solve_linear
from claimlab.mdps.instances import average_river_swim, garnet, jao
from claimlab.mdps.regularized import soft_solve
from claimlab.mdps.tabular import EPS
from claimlab.theory.batched import cliff_radii, dobrushin
from claimlab.theory.exact import exact_radius
from claimlab.theory.soft import dobrushin as dobrushin_of_one
from claimlab.theory.stability import cliff_radius
from claimlab.theory.strategies import average_mdps, periodic_mdps, policies, rewards, seeds, tabular_mdps

from .oracles import CLOSE_TO_ONE, MODERATE, SCALES, exact, hard_mdps, rational_mdp, tolerance, within
from .test_regularized import truth


def padded(mdps):
    """A batch of MDPs of any sizes: further states go to state 0, actions that an MDP lacks are missing."""
    S, A = max(m.n_states for m in mdps), max(m.n_actions for m in mdps)
    P, r, actions = np.zeros((len(mdps), S, A, S)), np.zeros((len(mdps), S, A)), np.zeros((len(mdps), S, A), bool)
    for n, m in enumerate(mdps):
        s, a = m.r.shape
        P[n, :s, :a, :s] = m.P.toarray().reshape(s, a, s) if m.is_sparse else m.P
        r[n, :s, :a], actions[n, :s, :a], actions[n, s:, 0], P[n, s:, 0, 0] = m.r, m.actions, True, 1.0
    gamma = [m.gamma if isinstance(m, TabularMDP) else 0.0 for m in mdps]
    return MDPBatch(P, r, gamma, actions)


def batches(mdps):
    return st.lists(mdps, min_size=1, max_size=3).map(padded)


def each(batch):
    return [(n, batch[n]) for n in range(len(batch))]


def dense_batch(N, S, A, gamma=0.9, seed=0):
    rng = np.random.default_rng(seed)
    P = rng.gamma(0.3, size=(N, S, A, S)) + 1e-12
    return MDPBatch(P / P.sum(axis=3, keepdims=True), rng.normal(size=(N, S, A)), gamma)


# discounted ----------------------------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(batches(hard_mdps(CLOSE_TO_ONE)))
def test_solutions_are_within_their_certificates(batch):
    """Exact rationals: values, action values, gaps, and what the policy is worth; and the certificates are narrow."""
    solutions = batched.solve(batch, np.inf)
    (q, q_error), (gap, gap_error) = batched.action_values(batch, solutions), batched.gaps(batch, solutions)
    for n, mdp in each(batch):
        true = exact(mdp)
        assert solutions.error[n] <= tolerance(mdp)
        assert within(solutions.v[n], true.v, solutions.error[n])
        assert within(q[n][mdp.actions], true.q[mdp.actions], q_error[n])
        assert (q[n][~mdp.actions] == -np.inf).all()
        true_gap = true.v[:, None] - true.q
        assert within(gap[n][mdp.actions], true_gap[mdp.actions], gap_error[n])
        worth = policy_value_exactly(*rational_mdp(mdp)[:3], solutions.policy[n], mdp.actions)
        assert max(true.v - worth) <= 2 * Fraction(solutions.error[n])


@settings(max_examples=50)
@given(batches(hard_mdps(MODERATE)))
def test_solutions_agree_with_the_solver_of_one(batch):
    """The bounds are the same but for counting S operations where one MDP counts its longest row."""
    solutions = batched.solve(batch, np.inf)
    for n, mdp in each(batch):
        one = planning.policy_iteration(mdp)
        assert abs(one.v - solutions.v[n]).max() <= one.error + solutions.error[n]
        assert one.error / 50 <= solutions.error[n] <= 8 * (mdp.n_states + 4) / 5 * one.error + 1e-300


@given(st.data())
def test_policies_are_evaluated_within_their_certificates(data):
    batch = data.draw(batches(hard_mdps(CLOSE_TO_ONE)))
    pi = np.array([data.draw(policies(mdp)) for _, mdp in each(batch)])
    greedy = batched.solve(batch, np.inf).policy
    for policy in (pi, greedy):
        found = batched.policy_value(batch, policy)
        for n, mdp in each(batch):
            P, r, gamma, _ = rational_mdp(mdp)
            weights = rationals(policy[n] if policy.ndim == 3 else np.eye(mdp.n_actions)[policy[n]])
            P_pi, r_pi = (weights[..., None] * P).sum(axis=1), (weights * r).sum(axis=1)
            true = solve_linear(np.eye(mdp.n_states, dtype=object) - gamma * P_pi, r_pi)
            assert within(found.v[n], true, found.error[n])
            assert found.error[n] <= tolerance(mdp)


@given(st.data())
def test_occupancies_are_within_their_certificates(data):
    """The flow equations in rationals, for the numbers that are stored."""
    batch = data.draw(batches(hard_mdps(CLOSE_TO_ONE)))
    pi = np.array([data.draw(policies(mdp)) for _, mdp in each(batch)])
    first = np.random.default_rng(data.draw(seeds())).dirichlet(np.ones(batch.r.shape[1]), size=len(batch))
    found = batched.occupancy(batch, pi, first)
    for n, mdp in each(batch):
        P, _, gamma, _ = rational_mdp(mdp)
        weights = rationals(pi[n])
        P_pi = (weights[..., None] * P).sum(axis=1)
        system = np.eye(mdp.n_states, dtype=object) - gamma * P_pi.T
        true = weights * solve_linear(system, (1 - gamma) * rationals(first[n]))[:, None]
        assert abs(rationals(found.visits[n]) - true).sum() <= Fraction(found.error[n])
        assert found.error[n] <= 1e-7


def test_improvements_too_small_to_prove_are_tried():
    """State 0 leads to state 1 or, better by a hair, to state 2; the large reward of state 3 hides that in rounding."""
    P, r = np.zeros((1, 4, 2, 4)), np.zeros((1, 4, 2))
    P[0, 0, 0, 1] = P[0, 0, 1, 2] = P[0, 1, :, 1] = P[0, 2, :, 2] = P[0, 3, :, 3] = 1
    r[0, 2], r[0, 3] = 1e-13, 1
    batch = MDPBatch(P, r, 0.9999)
    solutions, one = batched.solve(batch, np.inf), planning.policy_iteration(batch[0])
    assert solutions.policy[0, 0] == 1
    assert within(solutions.v[0], exact(batch[0]).v, solutions.error[0])
    assert solutions.error[0] <= 3 * one.error < 1e-6


def test_puterman_two_states():
    """Puterman (2005), Example 3.1.1, discounted in Section 6.1: v* in closed form for every gamma."""
    gamma = np.array([0.0, 0.5, 0.9, 0.95, 0.99])
    P = np.tile([[[0.5, 0.5], [0, 1]], [[0, 1], [0, 0]]], (5, 1, 1, 1))
    batch = MDPBatch(P, np.tile([[5, 10], [-1, 0]], (5, 1, 1)), gamma, [[1, 1], [1, 0]])
    stay, leave = (5 - 5.5 * gamma) / ((1 - 0.5 * gamma) * (1 - gamma)), 10 - gamma / (1 - gamma)
    solutions = batched.solve(batch)
    true = np.stack([np.maximum(stay, leave), -1 / (1 - gamma)], axis=1)
    assert (abs(solutions.v - true).max(axis=1) <= solutions.error + 64 * EPS / (1 - gamma) ** 2).all()
    np.testing.assert_array_equal(solutions.policy[:, 0], leave > stay)


@pytest.mark.parametrize("mdp", [river_swim(30, 0.99), garnet(40, 5, 4, gamma=0.95, rng=np.random.default_rng(0))])
def test_larger_instances(mdp):
    plain = TabularMDP(mdp.P.toarray().reshape(*mdp.r.shape, -1) if mdp.is_sparse else mdp.P, mdp.r, mdp.gamma)
    solutions, one = batched.solve(MDPBatch.stack([plain, plain]), 1e-8), planning.solve(plain)
    assert (abs(solutions.v - one.v) <= one.error + solutions.error[:, None]).all()


def soft_floor(batch, alpha, base):
    """The solutions that float64 allows."""
    try:
        return batched.soft_solve(batch, alpha, 1e-300, base=base)
    except NotConverged as missed:
        return missed.solution


def drawn_base(data, batch):
    given = data.draw(st.booleans())
    return np.array([data.draw(policies(mdp)) for _, mdp in each(batch)]) if given else None


@settings(max_examples=20)
@given(st.data())
def test_soft_solutions_are_within_their_certificate_of_fifty_digits(data):
    small = tabular_mdps(max_states=3, gammas=st.sampled_from([0.0, 0.5, 0.9]), masked=True)
    batch = data.draw(batches(small))
    alpha, base = data.draw(st.sampled_from([1.0, 1e-6, 1e-2, 30.0, 1e6])), drawn_base(data, batch)
    found = soft_floor(batch, alpha, base)
    for n, mdp in each(batch):
        with mp.workdps(50):
            v, _ = truth(mdp, alpha, None if base is None else base[n], found.v[n])
            assert max(abs(x - mp.mpf(float(y))) for x, y in zip(v, found.v[n], strict=True)) <= found.error[n]
        assert found.error[n] <= 1e-7 * max(mdp.value_bound, alpha / (1 - mdp.gamma), 1e-300)


@settings(max_examples=25)
@given(batches(hard_mdps(MODERATE)), st.sampled_from([1e-2, 1.0, 30.0]), st.data())
def test_soft_solutions_agree_with_the_solver_of_one(batch, alpha, data):
    """Temperatures may differ from instance to instance."""
    base = drawn_base(data, batch)
    temperatures = alpha * np.maximum(abs(batch.r).max(axis=(1, 2)), 1e-12) * (1 + np.arange(len(batch)))
    tol = 1e-9 * float((batch.value_bound + temperatures / (1 - batch.gamma)).max())
    found = batched.soft_solve(batch, temperatures, tol, base=base)
    for n, mdp in each(batch):
        one = soft_solve(mdp, temperatures[n], tol, base=None if base is None else base[n])
        assert found.error[n] <= tol
        assert abs(one.v - found.v[n]).max() <= one.error + found.error[n]
        available = mdp.actions
        assert abs(one.q[available] - found.q[n][available]).max() <= one.error + found.error[n]
        assert (found.q[n][~available] == -np.inf).all()
        # a softmax moves by at most its argument's error in the supremum norm (Xu 2025, Lemma C.2)
        moved = (one.error + found.error[n]) / temperatures[n] + 64 * EPS * (1 + mdp.value_bound / temperatures[n])
        assert abs(one.pi - found.pi[n]).sum(axis=1).max() <= moved


def test_soft_closed_form():
    """Two equal actions: log 2 a step for entropy; with a base, alpha log of the mean of exp(r / alpha)."""
    coins = MDPBatch(np.ones((2, 1, 2, 1)), [[[0, 0]], [[1, 3]]], 0.5)
    found = batched.soft_solve(coins, 1.0)
    assert abs(found.v[:, 0] - [2 * np.log(2), 2 * np.log(np.exp(1) + np.exp(3))]).max() <= found.error.max() + 1e-14
    found = batched.soft_solve(coins, 1.0, base=[[[0.5, 0.5]], [[1.0, 0.0]]])
    assert abs(found.v[:, 0] - [0, 2]).max() <= found.error.max() + 1e-14
    hot = batched.soft_solve(coins, 1e8, base=[[[0.5, 0.5]], [[0.5, 0.5]]])  # alpha log mean exp(r / alpha), expanded
    assert abs(hot.v[1, 0] - 2 * (2 + 1 / 2e8)) <= hot.error[1] + 1e-15
    assert hot.error.max() <= 1e-12


# other criteria ------------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(batches(hard_mdps(MODERATE)), st.integers(1, 5))
def test_backward_induction_in_rationals(batch, horizon):
    found = batched.backward_induction(batch, horizon)
    for n, mdp in each(batch):
        P, r, _, actions = rational_mdp(mdp)
        v = rationals(np.zeros(mdp.n_states, int))
        assert (found.v[n, horizon] == 0).all()
        for h in reversed(range(horizon)):
            q = np.where(actions, r + P @ v, -np.inf)
            v = q.max(axis=1)
            assert within(found.v[n, h], v, found.error[n])
            chosen = q[np.arange(mdp.n_states), found.policy[n, h]]
            assert max(v - chosen) <= 4 * Fraction(found.error[n])
        assert found.error[n] <= 1e-7 * max(abs(mdp.r).max() * horizon, 1e-300)


scaled = st.sampled_from(SCALES).flatmap(
    lambda scale: average_mdps(masked=True, rewards=lambda shape: rewards(shape, scale=scale))
)
off = st.sampled_from([1 + 9e-10, 1 - 9e-10])
unnormalised = st.builds(lambda m, c: AverageMDP(c * m.P, m.r, actions=m.actions), average_mdps(masked=True), off)
unichain = st.one_of(scaled, periodic_mdps(), unnormalised)


def exact_gain(mdp, pi):
    """Stationary law times reward in rationals, for a policy with one recurrent class."""
    P, r, _, _ = rational_mdp(mdp, normalise=True)
    states = np.arange(mdp.n_states)
    system = np.eye(mdp.n_states, dtype=object) - P[states, pi].T
    system[0] = 1
    return (solve_linear(system, np.eye(mdp.n_states, dtype=object)[0]) * r[states, pi]).sum()


def all_policies(actions):
    return (np.array(pi) for pi in product(*(np.flatnonzero(row) for row in actions)))


@settings(max_examples=60)
@given(batches(unichain))
def test_gains_are_the_best_of_all_policies(batch):
    found = batched.relative_value_iteration(batch, 1e-7 * max(abs(batch.r).max(), 1e-290))
    assert not found.varies.any()
    for n, mdp in each(batch):
        best = max(exact_gain(mdp, pi) for pi in all_policies(mdp.actions))
        assert abs(Fraction(found.gain[n]) - best) <= Fraction(found.error[n])
        assert exact_gain(mdp, found.policy[n]) >= best - 2 * Fraction(found.error[n])
        backup = (mdp.r + mdp.P @ found.bias[n])[np.arange(mdp.n_states), found.policy[n]]
        residual = abs(backup - found.gain[n] - found.bias[n]).max()
        assert residual <= 2 * found.error[n] + (2 * mdp.row_error + 64 * EPS) * (
            abs(mdp.r).max() + abs(found.bias[n]).max()
        )


def gains_of_cycles(moves, r):
    """Where transitions are deterministic: the best mean reward of a cycle that each state reaches, by enumeration."""
    S, A = moves.shape
    best = [None] * S
    for pi in product(range(A), repeat=S):
        for s in range(S):
            path, at = [], s
            while at not in path:
                path.append(at)
                at = moves[at, pi[at]]
            cycle = path[path.index(at) :]
            mean = sum(Fraction(r[t, pi[t]]) for t in cycle) / len(cycle)
            best[s] = mean if best[s] is None else max(best[s], mean)
    return best


@settings(max_examples=60)
@given(st.integers(1, 4), st.integers(1, 2), seeds())
def test_gains_that_depend_on_the_state_are_never_one_number(S, A, seed):
    """Deterministic transitions, multichain and periodic: certified where all states agree, `varies` elsewhere."""
    rng = np.random.default_rng(seed)
    moves, r = rng.integers(S, size=(8, S, A)), rng.integers(-1, 2, size=(8, S, A)).astype(float)
    found = batched.relative_value_iteration(MDPBatch(np.eye(S)[moves], r, 0.0))
    for n in range(8):
        best = gains_of_cycles(moves[n], r[n])
        assert found.varies[n] == (len(set(best)) > 1)
        if found.varies[n]:
            assert np.isnan(found.gain[n]), "a number that is not the gain of every state"
            assert found.error[n] == np.inf
        else:
            assert abs(Fraction(found.gain[n]) - best[0]) <= Fraction(found.error[n]) <= Fraction(1e-9)


def test_gains_agree_with_the_solver_of_one():
    """Slow mixing: RiverSwim, JAO, and chains that leave a state once in a million steps."""
    rng = np.random.default_rng(3)
    slow = (1 - 1e-6) * np.eye(6)[:, None, :] + 1e-6 * rng.dirichlet(np.ones(6), size=(6, 2))
    for mdp in (average_river_swim(20), jao(4, 0.01, 0.002), AverageMDP(slow, np.arange(12.0).reshape(6, 2))):
        found = batched.relative_value_iteration(padded([mdp, mdp]), 1e-6)
        one = relative_value_iteration(mdp, 1e-6)
        assert (abs(found.gain - one.gain) <= found.error + one.error).all()


def test_a_costly_switch_does_not_make_the_gain_vary():
    """Staying pays 1 in state 1 and 0 in state 0, leaving costs 100: it pays in the long run, so every gain is 1."""
    P = np.zeros((1, 2, 2, 2))
    P[0, 0, 0, 0] = P[0, 1, 0, 1] = P[0, 0, 1, 1] = P[0, 1, 1, 0] = 1
    found = batched.relative_value_iteration(MDPBatch(P, [[[0, -100], [1, -100]]], 0.0))
    assert found.iterations[0] > 32  # by then the first check has been made
    assert not found.varies[0]
    assert abs(found.gain[0] - 1) <= found.error[0] <= 1e-9


def test_slow_chains_whose_last_state_is_transient():
    """States 0 and 1 change places once in a million steps: the gain is the mean of their rewards."""
    P = np.zeros((1, 3, 1, 3))
    P[0, 0, 0], P[0, 1, 0], P[0, 2, 0] = [1 - 1e-6, 1e-6, 0], [1e-6, 1 - 1e-6, 0], [1, 0, 0]
    found = batched.relative_value_iteration(MDPBatch(P, [[[0], [1], [5]]], 0.0), 1e-7)
    assert abs(found.gain[0] - 0.5) <= found.error[0]


def test_equal_gains_of_two_cycles_are_not_told_apart_by_rounding():
    """Two classes with the same three rewards in another order: below rounding nothing is proved, either way."""
    P = np.eye(6)[None, [1, 2, 0, 4, 5, 3], None]
    with pytest.raises(NotConverged) as caught:
        batched.relative_value_iteration(MDPBatch(P, [[[0.1], [0.2], [0.7], [0.1], [0.7], [0.2]]], 0.0), 1e-18)
    assert not caught.value.solution.varies[0]
    assert abs(Fraction(caught.value.solution.gain[0]) - sum(map(Fraction, (0.1, 0.2, 0.7))) / 3) <= Fraction(
        caught.value.solution.error[0]
    )


# cliff radii ---------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(batches(hard_mdps(MODERATE)))
def test_cliff_radii_in_rationals(batch):
    """The exact distance of the nearest facet where every action exists; that of the solver of one elsewhere."""
    found = cliff_radii(batch)
    for n, mdp in each(batch):
        one, error = cliff_radius(mdp), Fraction(found.error[n])
        if not found.unique[n]:
            true = exact(mdp)
            gap = (true.v[:, None] - true.q)[mdp.actions & (np.arange(mdp.n_actions) != found.policy[n][:, None])]
            assert found.radius[n] == 0
            assert min(gap) <= Fraction(found.gap_error[n])
        elif not mdp.actions.all():
            assert one.radius == found.radius[n] or abs(one.radius - found.radius[n]) <= one.error + found.error[n]
        else:
            radius, _ = exact_radius(*rational_mdp(mdp)[:3], found.policy[n])
            assert radius == found.radius[n] or abs(Fraction(found.radius[n]) - radius) <= error
        if np.isfinite(found.radius[n]):
            assert np.isclose(found.gap[n] * found.multiplier[n], found.radius[n], rtol=4 * EPS, atol=0)
            assert found.gap[n] >= found.least_gap[n]


def test_ties_up_to_rounding_have_no_radius():
    """0.1 + 0.2 is not 0.3 in float64, but nothing proves it."""
    found = cliff_radii(MDPBatch(np.ones((2, 1, 2, 1)), [[[0.1 + 0.2, 0.3]], [[0.1 + 0.2, 0.1]]], 0.0))
    np.testing.assert_array_equal(found.unique, [False, True])
    assert found.radius[0] == 0 < found.error[0]
    assert abs(found.radius[1] - 0.1) <= found.error[1] + EPS  # half the gap, a bandit's


@settings(max_examples=30)
@given(batches(hard_mdps(MODERATE)), st.sampled_from([1, 2, np.inf]))
def test_cliff_radii_in_three_norms(batch, ord):
    found = cliff_radii(batch, ord=ord)
    for n, mdp in each(batch):
        one = cliff_radius(mdp, ord=ord)
        if one.unique and found.unique[n]:
            assert one.radius == found.radius[n] or abs(one.radius - found.radius[n]) <= one.error + found.error[n]
            assert found.error[n] <= 1e-6 * (1 + found.radius[n]) * max(1, abs(mdp.r).max())


@settings(max_examples=30)
@given(batches(hard_mdps(MODERATE)))
def test_dobrushin_coefficients(batch):
    tau = dobrushin(batch)
    for n, mdp in each(batch):
        assert abs(tau[n] - dobrushin_of_one(mdp)) <= 8 * mdp.n_states * EPS


# the batch itself ----------------------------------------------------------------------------------------------------


SOLVERS = {
    "solve": lambda batch, threads: batched.solve(batch, np.inf, threads=threads),
    "action_values": lambda batch, threads: batched.action_values(batch, threads=threads),
    "policy_value": lambda batch, threads: batched.policy_value(batch, np.zeros((len(batch), 2), int), threads=threads),
    "occupancy": lambda batch, threads: batched.occupancy(batch, np.zeros((len(batch), 2), int), threads=threads),
    "soft_solve": lambda batch, threads: batched.soft_solve(batch, 0.5, threads=threads),
    "backward_induction": lambda batch, threads: batched.backward_induction(batch, 4, threads=threads),
    "relative_value_iteration": lambda batch, threads: batched.relative_value_iteration(batch, threads=threads),
    "cliff_radii": lambda batch, threads: cliff_radii(batch, threads=threads),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_no_instance_depends_on_the_others_or_on_threads(name):
    batch = dense_batch(6_000, 2, 3)
    whole, parts = SOLVERS[name](batch, 1), SOLVERS[name](batch, 3)
    for x, y in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(x, y)
    for n in (0, 2_500, 5_999):
        alone = SOLVERS[name](MDPBatch(batch.P[n : n + 1], batch.r[n : n + 1], 0.9), 1)
        for x, y in zip(whole, alone, strict=True):
            np.testing.assert_array_equal(x[n], y[0])


@given(st.lists(hard_mdps(MODERATE), min_size=1, max_size=1))
def test_a_batch_gives_back_what_was_stacked(mdps):
    (mdp,) = mdps
    if mdp.terminal.any():
        with pytest.raises(ValueError, match=r"mdps\[1\] has terminal states"):
            MDPBatch.stack([TabularMDP(mdp.P, mdp.r, mdp.gamma, actions=mdp.actions), mdp])
        return
    batch = MDPBatch.stack([mdp, mdp])
    dense = mdp.P.toarray().reshape(*mdp.r.shape, -1) if mdp.is_sparse else mdp.P
    for back in (batch[0], batch[-1]):
        np.testing.assert_array_equal(back.P, dense)
        np.testing.assert_array_equal(back.r, mdp.r)
        np.testing.assert_array_equal(back.actions, mdp.actions)
        assert back.gamma == mdp.gamma
    assert len(batch) == 2
    assert batch.row_error[0] >= mdp.row_error - 8 * EPS * mdp.n_states
    assert batch.value_bound[1] == mdp.value_bound


def test_row_errors_are_those_of_the_worst_available_row():
    P = np.ones((2, 2, 2, 2)) / 2
    P[0, 0, 0], P[1, 1, 1] = 0.5 - 2e-10, 7.0
    batch = MDPBatch(P, np.zeros((2, 2, 2)), 0.5, changed(np.ones((2, 2, 2), bool), (1, 1, 1), False))
    assert (abs(batch.row_error - [4e-10, 0]) <= 8 * EPS).all()
    assert (batch.row_error >= [4e-10, 0]).all()


def test_a_batch_cannot_be_changed():
    P, r, gamma, actions = np.ones((2, 1, 2, 1)), np.zeros((2, 1, 2)), np.zeros(2), np.ones((2, 1, 2), bool)
    batch = MDPBatch(P, r, gamma, actions)
    P[:], r[:], gamma[:], actions[:] = 7, 7, 7, False
    assert (batch.P.max(), batch.r.max(), batch.gamma.max(), batch.actions.all()) == (1, 0, 0, True)
    for array in (batch.P, batch.r, batch.gamma, batch.actions, batch.row_error):
        assert not array.flags.writeable


def test_missing_actions_may_hold_anything():
    P, r = np.full((1, 1, 2, 1), np.nan), np.full((1, 1, 2), np.inf)
    P[0, 0, 0], r[0, 0, 0] = 1, 3
    assert batched.solve(MDPBatch(P, r, 0.5, [[True, False]])).v == 6


ONES, ZEROS = np.ones((2, 1, 2, 1)), np.zeros((2, 1, 2))


def changed(array, index, value):
    out = array.copy()
    out[index] = value
    return out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (np.ones((1, 2, 1)), ZEROS, 0.5),
            r"P must have shape \(N, S, A, S\) for r of shape \(N, S, A\); got P \(1, 2",
        ),
        ((ONES, ZEROS[:1], 0.5), r"got P \(2, 1, 2, 1\), r \(1, 1, 2\)"),
        ((np.ones((0, 1, 2, 1)), np.ones((0, 1, 2)), 0.5), "a batch needs at least one instance"),
        ((changed(ONES, (1, 0, 1, 0), 0.9), ZEROS, 0.5), r"P\[1, 0, 1\] sums to 0.9, not to 1"),
        ((changed(ONES, (1, 0, 1, 0), 1 + 5e-9), ZEROS, 0.5), r"P\[1, 0, 1\] sums to 1.000000005, not to 1"),
        ((changed(ONES, (1, 0, 1, 0), -1), ZEROS, 0.5), r"P\[1, 0, 1, 0\] is -1; probabilities cannot be negative"),
        ((changed(ONES, (1, 0, 1, 0), np.nan), ZEROS, 0.5), r"P\[1, 0, 1, 0\] is nan; every entry must be finite"),
        ((changed(ONES, (0, 0, 1, 0), np.inf), ZEROS, 0.5), r"P\[0, 0, 1, 0\] is inf"),
        ((ONES, changed(ZEROS, (1, 0, 0), np.nan), 0.5), r"r\[1, 0, 0\] is nan"),
        ((ONES, ZEROS, 1.0), r"gamma must lie in \[0, 1\), got"),
        ((ONES, ZEROS, [0.5, -0.1]), r"gamma\[1\] must lie in \[0, 1\), got"),
        ((ONES, ZEROS, [0.5, np.nan]), r"gamma\[1\] must lie in"),
        ((ONES, ZEROS, [0.5, 0.5, 0.5]), r"gamma must be a number or have shape \(N,\) = \(2,\), got \(3,\)"),
        ((ONES, ZEROS, 0.5, changed(ZEROS > -1, (1, 0), False)), r"actions\[1, 0\] is empty"),
        ((ONES, ZEROS, 0.5, np.ones((3, 1, 2))), r"actions must have shape \(N, S, A\) = \(2, 1, 2\)"),
        ((ONES, ZEROS, 0.5, np.ones((2, 2))), r"actions must have shape \(S, A\) = \(1, 2\)"),
        (("abc", ZEROS, 0.5), "P must be an array of real numbers"),
        ((ONES, ZEROS + 1j, 0.5), "r must be an array of real numbers"),
    ],
)
def test_bad_batches_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        MDPBatch(*arguments)


BATCH = MDPBatch(ONES, ZEROS, 0.5, [[True, False]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MDPBatch.stack([]), "mdps is empty"),
        (lambda: MDPBatch.stack([BATCH[0], river_swim(3, 0.5)]), r"mdps\[1\] has \(S, A\) = \(3, 2\)"),
        (lambda: batched.solve(BATCH, 0.0), "tol must lie in"),
        (lambda: batched.soft_solve(BATCH, 1.0, -1.0), "tol must lie in"),
        (lambda: batched.gaps(BATCH, batched.solve(dense_batch(3, 2, 2))), r"solutions are of \(3, 2\) states"),
        (lambda: batched.policy_value(BATCH, [[0], [1]]), r"pi\[1, 0\] is 1, which is not an action of that state"),
        (lambda: batched.policy_value(BATCH, [[0], [5]]), r"pi\[1, 0\] is 5"),
        (lambda: batched.policy_value(BATCH, [[0]]), r"pi must have shape \(N, S\) = \(2, 1\), got \(1, 1\)"),
        (lambda: batched.policy_value(BATCH, [[[1, 0]]]), r"pi must have shape \(N, S, A\)"),
        (lambda: batched.policy_value(BATCH, [[[1, 0]], [[0.5, 0.5]]]), r"pi\[1, 0, 1\] is positive"),
        (lambda: batched.policy_value(BATCH, [[[1, 0]], [[0.5, 0.1]]]), r"pi\[1, 0\] sums to 0.6"),
        (lambda: batched.occupancy(BATCH, [[0], [0]], [0.5, 0.5]), r"initial must have shape \(S,\) = \(1,\)"),
        (lambda: batched.soft_solve(BATCH, 0.0), r"alpha must lie in \(0, inf\), got"),
        (lambda: batched.soft_solve(BATCH, [1.0, np.inf]), r"alpha\[1\] must lie in"),
        (lambda: batched.soft_solve(BATCH, [1.0]), r"alpha must be a number or have shape \(N,\) = \(2,\)"),
        (lambda: batched.soft_solve(BATCH, 1.0, base=[[0], [1]]), r"base\[1, 0\] is 1"),
        (lambda: batched.backward_induction(BATCH, 0), "horizon must be at least 1"),
        (lambda: batched.relative_value_iteration(BATCH, np.inf), "tol must lie in"),
        (lambda: batched.solve(BATCH, threads=0), "threads must be at least 1"),
        (lambda: cliff_radii(BATCH, ord=3), "ord must be 1, 2 or inf, got 3"),
    ],
)
def test_bad_calls_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_tolerance_below_float64_is_refused_with_the_solution():
    batch = dense_batch(5, 3, 2, gamma=[0.0, 0.5, 0.99, 0.9999, 0.9999])
    errors = batched.solve(batch, np.inf).error
    with pytest.raises(NotConverged, match=rf"instance 3: tolerance {2 * errors[2]:g} asked, .* \(2 such") as caught:
        batched.solve(batch, 2 * errors[2])
    np.testing.assert_array_equal(caught.value.solution.error, errors)
    for solver in (
        lambda: batched.soft_solve(batch, 1.0, 1e-15),
        lambda: batched.relative_value_iteration(batch, 1e-17),
    ):
        with pytest.raises(NotConverged, match="instance 0: tolerance 1e-1"):
            solver()


def test_rows_that_spoil_the_contraction_are_named():
    P = np.ones((2, 1, 1, 1))
    P[1] += 9e-10
    for call in (batched.solve, lambda batch: batched.policy_value(batch, [[0], [0]])):
        with pytest.raises(ValueError, match=r"gamma\[1\] = .* is so close to 1 that rows of P\[1\]"):
            call(MDPBatch(P, np.zeros((2, 1, 1)), 1 - 1e-10))


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("S", [1, 2])
@pytest.mark.parametrize("signs", [(1, 1), (-1, -1), (1, -1)])
def test_overflow_is_no_success(S, signs):
    """Values of a hundred times the largest float: no number of them is certified."""
    r = 1e308 * np.array(signs)[:S, None] * np.ones((1, S, 1))
    for P in (np.eye(S)[None, :, None], np.full((1, S, 1, S), 1 / S)):
        batch = MDPBatch(P, r, 0.999)
        if abs((r[0] * P[0]).sum()) < 1e308:
            continue  # opposite rewards, evenly mixed, have values again
        for call in (batched.solve, lambda batch: batched.soft_solve(batch, 1.0)):
            with pytest.raises(NotConverged, match="instance 0"), np.errstate(all="ignore"):
                call(batch)
        assert not batched.policy_value(batch, np.zeros((1, S), int)).error[0] < np.inf
        assert not batched.backward_induction(batch, 100).error[0] < np.inf
        with pytest.raises(NotConverged, match="instance 0"), np.errstate(all="ignore"):
            batched.relative_value_iteration(batch, 1e200)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
@pytest.mark.parametrize("signs", [(1, 1), (1, -1)])
def test_an_infinite_certificate_ends_soft_policy_iteration(signs):
    """The first backup is finite but its bounds are not; the solver of one ends there, too."""
    batch = MDPBatch(np.full((1, 2, 1, 2), 0.5), 1e307 * np.array(signs)[None, :, None], 0.999)
    for call in (lambda: batched.soft_solve(batch, 1.0), lambda: soft_solve(batch[0], 1.0)):
        with pytest.raises(NotConverged) as missed, np.errstate(all="ignore"):
            call()
        assert missed.value.solution.iterations == 1


def test_the_certificates_geometric_series_is_plannings():
    """One formula in two languages."""
    rng = np.random.default_rng(0)
    mdp = garnet(6, 3, 2, gamma=0.97, rng=rng)
    less, more = certificates.contraction(mdp)
    for _ in range(100):
        d, slack = rng.normal(size=6) + rng.normal() * 3, 10 ** rng.uniform(-20, 0)
        assert kernels.series(d.min(), d.max(), slack, less, more) == certificates.series(mdp, d, slack)
    assert kernels.contraction(mdp.gamma, mdp.row_error) == (less, more)


def test_a_read_only_array_is_taken_as_it_is_and_any_other_is_copied():
    P, r = np.ones((2, 1, 3, 1)), np.zeros((2, 1, 3))
    assert not np.shares_memory(MDPBatch(P, r, 0.5).P, P)
    assert not np.shares_memory(MDPBatch(P, r, 0.5).r, r)
    P.flags.writeable = r.flags.writeable = False
    assert np.shares_memory(MDPBatch(P, r, 0.5).P, P)
    assert np.shares_memory(MDPBatch(P, r, 0.5).r, r)
    masked = MDPBatch(P, r, 0.5, actions=np.array([[True, False, True]]))  # rows of missing actions become zeros
    assert not np.shares_memory(masked.P, P)
    assert not np.shares_memory(masked.r, r)
    bad = np.ones((2, 1, 3, 1))
    bad[1, 0, 2] = 2
    bad.flags.writeable = False
    with pytest.raises(ValueError, match=r"P\[1, 0, 2\] sums to 2"):
        MDPBatch(bad, r, 0.5)


@given(seeds(), st.integers(1, 40), st.sampled_from([1, 2, 9]))
@settings(max_examples=60, deadline=None)
def test_elimination_against_lapack(seed, n, columns):
    """Sizes on both sides of whole blocks, even and odd numbers of pivots, one right-hand side and several."""
    rng = np.random.default_rng(seed)
    A, b = np.eye(n) - 0.99 * rng.dirichlet(np.full(n, 0.3), size=n), rng.normal(size=(n, columns))
    M = kernels.tableau(n, columns)
    M[:, :n], M[:, n : n + columns] = A, b
    kernels.eliminate(M, columns)
    assert M[:, n : n + columns] == pytest.approx(np.linalg.solve(A, b), rel=1e-9, abs=1e-9 * 100 * abs(b).max())


@given(seeds(), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_eliminations_side_by_side_against_lapack(seed, n):
    rng = np.random.default_rng(seed)
    A, b = np.eye(n) - 0.99 * rng.dirichlet(np.full(n, 0.3), size=(8, n)), rng.normal(size=(8, n, 1))
    M, x = np.moveaxis(np.concatenate([A, b], axis=2), 0, 2).flatten(), np.empty(8 * n)
    lanes.eliminate(M, n, x)
    assert pytest.approx(np.linalg.solve(A, b)[:, :, 0], rel=1e-9, abs=1e-7 * abs(b).max()) == x.reshape(n, 8).T


def partial_batch(N, S, A, seed):
    """Actions missing at random, discounts of all sizes."""
    rng, full = np.random.default_rng(seed), dense_batch(N, S, A, seed=seed)
    actions = rng.random((N, S, A)) < 0.7
    actions[:, :, rng.integers(A)] = True
    return MDPBatch(full.P, full.r, rng.uniform(0, 0.9999, N), actions if seed % 2 else None)


@pytest.mark.parametrize("size", [(1, 1, 1), (7, 1, 3), (8, 3, 2), (9, 5, 3), (20, 8, 1), (21, 17, 4), (3, 40, 2)])
@pytest.mark.parametrize("seed", [0, 1])
def test_eight_at_a_time_and_each_by_itself(size, seed):
    """Whole and broken groups of eight, odd and even sizes, entries that fill whole blocks or do not."""
    batch = partial_batch(*size, seed)
    (N, S, _), found = batch.r.shape, []
    for solve in (lanes.policy_iteration, lambda *a: kernels.policy_iteration(*a[:5], False, *a[5:])):
        each = batched.Solutions(np.empty((N, S)), np.empty((N, S), np.int64), np.empty(N), np.empty(N, np.int64))
        solve(*batch.arrays, 0, N, *each)
        found.append(each)
    together, alone = found
    np.testing.assert_array_equal(together.policy, alone.policy)
    assert (abs(together.v - alone.v).max(axis=1) <= together.error + alone.error).all()
    assert (together.error <= 2 * alone.error).all()
    assert (alone.error <= 2 * together.error).all()


def test_a_solution_does_not_depend_on_the_company():
    """The same floating-point numbers in every lane, and beside instances that take longer or overflow."""
    batch, order = partial_batch(21, 5, 3, 1), np.random.default_rng(0).permutation(21)
    here = batched.solve(batch, np.inf)
    P, r, gamma, actions, _ = (x[order] for x in batch.arrays)
    r[:2] *= 1e307
    there = batched.solve(MDPBatch(P, r, gamma, actions), np.inf)
    for x, y in zip(here, there):
        np.testing.assert_array_equal(x[order][2:], y[2:])
    last = MDPBatch(*(x[-1:] for x in batch.arrays[:4]))
    for x, y in zip(here, batched.solve(last, np.inf)):
        np.testing.assert_array_equal(x[-1:], y)
