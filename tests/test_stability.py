"""The distance to the cliff: closed form against rationals, against perturbations, against programs."""

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from claimlab.mdps import TabularMDP, gaps, optimal_actions, solve, with_optimal_values
from claimlab.mdps.convert import from_gymnasium
from claimlab.mdps.exact import exact
from claimlab.mdps.instances import garnet
from claimlab.theory import stability
from claimlab.theory.exact import exact_radius, verify_exactly
from claimlab.theory.inclusion import inclusion_by_milp, inclusion_radius
from claimlab.theory.stability import (
    cliff_radius,
    facet_distances,
    facet_normal,
    flip_probability,
    policy_gaps,
    subspace_radius,
)
from claimlab.theory.strategies import seeds, tabular_mdps, tied_mdps

BANDIT = TabularMDP(P=[[[1], [1]]], r=[[1, 0]], gamma=0.5)


def two_sinks(gamma, gap=1.0):
    P = np.zeros((3, 2, 3))
    P[0, 0, 1] = P[0, 1, 2] = P[1, :, 1] = P[2, :, 2] = 1
    return TabularMDP(P, [[gap, 0], [0, -4], [0, -4]], gamma)


def test_a_bandit_by_hand():
    """Gap 1: raise the loser and lower the winner by 1/2 each."""
    c = cliff_radius(BANDIT)
    assert (c.radius, c.gap, c.multiplier, c.state, c.action) == (0.5, 1.0, 0.5, 0, 1)
    np.testing.assert_array_equal(c.perturbation, [[-0.5, 0.5]])


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.9, 0.99])
def test_two_sinks_by_hand(gamma):
    """The gap closes by twice the perturbation each step for ever: r = (1 - gamma) gap / 2."""
    c = cliff_radius(two_sinks(gamma))
    assert abs(c.radius - (1 - gamma) / 2) <= c.error + 1e-15
    if gamma > 0:
        assert np.array_equal(np.sign(c.perturbation), [[-1, 1], [-1, 0], [1, 0]])


@given(tabular_mdps(masked=True))
def test_normals_give_the_gaps(mdp):
    pi = solve(mdp).policy
    gap = policy_gaps(mdp, pi, mdp.r[None])[0]
    for s, a in np.argwhere(mdp.actions):
        if a != pi[s]:
            g = facet_normal(mdp, pi, s, a)
            assert abs((g * mdp.r).sum() - gap[s, a]) <= 1e-12 * (1 + mdp.value_bound)


@given(tabular_mdps(sparse=False))
@settings(max_examples=60)
def test_the_radius_is_exact(mdp):
    """Within its error of the rational radius, and the certificate re-verifies."""
    c = cliff_radius(mdp)
    assume(c.unique and c.radius < np.inf)
    value, _ = exact_radius(mdp.P, mdp.r, mdp.gamma, c.policy)
    assert abs(float(value) - c.radius) <= c.error + 1e-15 * c.radius
    assert verify_exactly(mdp, c)
    assert not verify_exactly(mdp, c._replace(radius=1.001 * c.radius + 2 * c.error))
    assert not verify_exactly(mdp, c._replace(multiplier=1.001 * c.multiplier + 2 * c.error / c.gap))
    farther = np.argwhere(np.isfinite(d := facet_distances(mdp)) & (d > 1.001 * c.radius + 2 * c.error))
    assert not any(verify_exactly(mdp, c._replace(state=int(s), action=int(a))) for s, a in farther)


@given(mdp=tabular_mdps(sparse=False), ord=st.sampled_from([np.inf, 2, 1]), seed=seeds())
@settings(max_examples=60)
def test_no_change_inside_and_one_outside(mdp, ord, seed):
    c = cliff_radius(mdp, ord=ord)
    assume(c.unique and 1e-6 < c.radius < np.inf)
    rng = np.random.default_rng(seed)
    for D in (rng.normal(size=mdp.r.shape), rng.choice([-1.0, 1.0], size=mdp.r.shape), c.perturbation):
        D = 0.999 * c.radius * D / np.linalg.norm(D.ravel(), ord)
        assert (policy_gaps(mdp, c.policy, (mdp.r + D)[None])[0] >= -1e-9).all()
    beyond = policy_gaps(mdp, c.policy, (mdp.r + 1.001 * c.perturbation)[None])[0]
    assert beyond[c.state, c.action] < 0
    assert abs(np.linalg.norm(c.perturbation.ravel(), ord) - c.radius) <= 1e-12 * c.radius


@given(tabular_mdps(sparse=False))
def test_the_sandwich(mdp):
    c = cliff_radius(mdp)
    assume(c.unique and c.radius < np.inf)
    other = np.arange(mdp.n_actions) != c.policy[:, None]
    least = policy_gaps(mdp, c.policy, mdp.r[None])[0][other].min()
    assert (1 - mdp.gamma) * least / 2 <= c.radius + c.error
    assert c.radius <= least / 2 + c.error


@given(mdp=tabular_mdps(masked=True, terminal=True), ord=st.sampled_from([np.inf, 2, 1]))
def test_both_searches_find_the_same_facet(mdp, ord):
    every = cliff_radius(mdp, ord=ord)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stability, "ALL_FACETS", 0)
        few = cliff_radius(mdp, ord=ord)
    assert every.unique == few.unique
    if every.radius < np.inf:
        assert abs(every.radius - few.radius) <= every.error + few.error
    else:
        assert few.radius == np.inf


def test_terminal_and_missing_rewards_do_not_move():
    P = np.zeros((3, 2, 3))
    P[0, 0, 1] = P[0, 1, 2] = P[1, :, 1] = P[2, :, 2] = 1
    actions = np.array([[True, True], [True, False], [True, False]])
    mdp = TabularMDP(P, [[1, 0], [0, 0], [0, 0]], 0.9, actions=actions, terminal=[False, True, True])
    c = cliff_radius(mdp)  # with the sinks' rewards free it would be (1 - 0.9) / 2
    assert c.radius == 0.5
    assert not c.perturbation[1:].any()
    free = cliff_radius(mdp, scale=np.ones((3, 2)))
    assert abs(free.radius - 0.05) <= free.error + 1e-15


def test_scales_weigh_the_entries():
    assert cliff_radius(BANDIT, scale=[[1, 0]]).radius == 1.0
    assert cliff_radius(BANDIT, scale=[[1, 3]]).radius == 0.25
    assert cliff_radius(BANDIT, scale=[[0, 0]]).radius == np.inf


def test_one_policy_has_no_cliff():
    mdp = TabularMDP([[[0.5, 0.5]], [[0, 1]]], [[1], [0]], 0.9)
    assert cliff_radius(mdp).radius == np.inf
    assert verify_exactly(mdp, cliff_radius(mdp))
    assert inclusion_radius(mdp).radius == np.inf


def test_ties_have_radius_zero():
    c = cliff_radius(TabularMDP([[[1], [1]]], [[1, 1]], 0.5))
    assert (c.radius, c.unique) == (0.0, False)


@pytest.mark.parametrize("ord", [np.inf, 2, 1])
@pytest.mark.parametrize("size", [1e-6, 1.0])
def test_the_error_of_a_tie_covers_what_it_may_hide(ord, size):
    """A gap below its own error counts as 0; in units of `scale` it may still be a long way."""
    at_zero = cliff_radius(TabularMDP([[[1], [1]]], [[1, 1]], 0.5))
    hidden = TabularMDP([[[1], [1]]], [[1 + at_zero.error / 4, 1]], 0.5)
    c = cliff_radius(hidden, ord=ord, scale=[[size, size]])
    assert not c.unique
    true = (hidden.r[0, 0] - 1) / size / {np.inf: 2, 2: np.sqrt(2), 1: 1}[ord]
    assert abs(c.radius - true) <= c.error


def test_a_tie_that_no_error_can_part_is_no_cliff():
    tie = TabularMDP([[[1], [1]]], [[1, 1]], 0.5)
    c = cliff_radius(tie, scale=[[0, 0]])
    assert (c.radius, c.unique) == (np.inf, False)
    assert facet_distances(tie, scale=[[0, 0]]).min() == np.inf


def walk(n, gamma):
    """Back or ahead on a line, 1 a step until the far end: all gaps are of one size, and no gap rules a facet out."""
    s = np.arange(n)
    P = csr_array((np.ones(2 * n), (np.arange(2 * n), np.c_[np.maximum(s - 1, 0), np.minimum(s + 1, n - 1)].ravel())))
    return TabularMDP(P, np.where(s == n - 1, 0.0, -1.0)[:, None] - [0.5, 0.0], gamma)


def test_equal_gaps_of_many_states():
    mdp = walk(5_000, 0.98)
    c = cliff_radius(mdp)
    distances = facet_distances(mdp, policy=c.policy)
    assert abs(distances.min() - c.radius) <= c.error
    short = cliff_radius(walk(2_000, 0.98))  # by dense factors; 0.98^2000 is below the errors
    assert abs(short.radius - c.radius) <= short.error + c.error


def test_a_large_dense_problem_is_factored_once():
    mdp = garnet(1_300, 3, 5, 0.9, np.random.default_rng(0))
    equal = with_optimal_values(mdp.P, -np.tile([0.0, 1.0, 1.0], (1_300, 1)), 0.9)
    c = cliff_radius(equal)
    distances = facet_distances(equal, policy=c.policy)
    assert abs(distances.min() - c.radius) <= c.error


def test_a_large_sparse_problem_makes_no_square_matrix():
    import tracemalloc

    mdp = garnet(10_000, 3, 5, 0.99, np.random.default_rng(0), sparse=True)
    cliff_radius(garnet(50, 3, 5, 0.99, np.random.default_rng(0), sparse=True))  # compile
    tracemalloc.start()
    c = cliff_radius(mdp)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000**2 * 8 / 20
    assert c.unique
    assert c.error < 1e-3 * c.radius
    flipped = solve(mdp.with_reward(mdp.r + 1.01 * c.perturbation)).policy
    kept = solve(mdp.with_reward(mdp.r + 0.99 * c.perturbation)).policy
    assert kept[c.state] == c.policy[c.state]
    assert flipped[c.state] == c.action


@given(tied_mdps())
@settings(max_examples=30, deadline=None)
def test_inclusion_radius_three_ways(drawn):
    """Facet programs, the integer program, and the bounds; then the change itself, solved."""
    mdp, _ = drawn
    best = exact(mdp).actions
    radius = inclusion_radius(mdp, optimal=best)
    assume(radius.radius < np.inf)
    gap = (exact(mdp).v[:, None] - exact(mdp).q)[~best].min()
    assert radius.lower <= radius.radius * (1 + 1e-12)
    assert radius.radius - radius.lower <= 1e-7 * (1 + radius.radius)
    assert (1 - mdp.gamma) * float(gap) / 2 <= radius.radius + 1e-7
    assert radius.lower <= float(gap) / 2 + 1e-9
    integer = inclusion_by_milp(mdp, best)
    assert abs(integer.radius - radius.radius) <= 1e-5 * (1 + mdp.value_bound)
    inside = optimal_actions(mdp.with_reward(mdp.r + 0.99 * radius.perturbation))
    assert not (inside & ~best).any()
    outside = solve(mdp.with_reward(mdp.r + 1.01 * radius.perturbation + 0.0))
    q = mdp.r + 1.01 * radius.perturbation + mdp.gamma * mdp.expect(outside.v)
    assert q[radius.state].max() - q[radius.state, radius.action] <= 0.05 * float(gap) / (1 - mdp.gamma) + 1e-9


def test_too_many_ties_give_bounds_that_hold():
    """Four million optimal policies and a second of time: an interval, and a change that does what it says."""
    mdp = from_gymnasium("CliffWalking-v1", 0.95)
    best = optimal_actions(mdp)
    radius = inclusion_radius(mdp, time_limit=1.0)
    assert 0 < radius.lower <= radius.radius
    assert not best[radius.state, radius.action]
    gap, _ = gaps(mdp.with_reward(mdp.r + radius.perturbation))
    assert gap[radius.state, radius.action] <= 1e-4
    assert not (
        optimal_actions(mdp.with_reward(mdp.r + 0.99 * radius.lower * np.sign(radius.perturbation))) & ~best
    ).any()


@pytest.mark.parametrize("unit", [1e-12, 1e-6, 1e6, 1e12])
def test_inclusion_does_not_depend_on_the_unit(unit):
    """The programs' tolerances are absolute: rewards of 1e-12 would all be zero to them."""
    mdp = garnet(3, 2, 2, 0.9, np.random.default_rng(0))
    scaled, best = mdp.with_reward(unit * mdp.r), optimal_actions(mdp)
    for radius in (inclusion_radius(scaled), inclusion_by_milp(scaled, best)):
        assert abs(radius.radius / unit - cliff_radius(mdp).radius) <= 1e-9
        assert 0 < radius.lower <= radius.radius


def test_inclusion_where_every_action_is_optimal():
    assert inclusion_by_milp(BANDIT, [[True, True]]).radius == np.inf


def test_inclusion_radius_without_ties_is_the_cliff_radius():
    """By the shortcut, and by the integer program, which knows nothing of facets."""
    rng = np.random.default_rng(1)
    for _ in range(10):
        mdp = garnet(3, 2, 2, 0.8, rng)
        a, b = cliff_radius(mdp), inclusion_radius(mdp)
        assert (a.radius, a.state, a.action) == (b.radius, b.state, b.action)
        assert abs(inclusion_by_milp(mdp, optimal_actions(mdp)).radius - a.radius) <= 1e-5 * (1 + mdp.value_bound)


def test_a_subspace_of_everything_is_the_whole_space():
    rng = np.random.default_rng(2)
    mdp = garnet(3, 2, 2, 0.9, rng)
    c = cliff_radius(mdp)
    whole = subspace_radius(mdp, np.eye(6).reshape(6, 3, 2))
    assert abs(whole.radius - c.radius) <= whole.error + c.error
    assert subspace_radius(mdp, np.ones((1, 3, 2))).radius == np.inf  # a constant shift changes nothing


def test_directions_do_not_reach_into_terminal_states():
    P = np.zeros((2, 2, 2))
    P[:, :, 1] = 1
    mdp = TabularMDP(P, [[1, 0], [0, 0]], 0.9, terminal=[False, True])
    assert subspace_radius(mdp, [[[0, 1], [0, 1]]]).radius == 1.0


def test_flip_probability_of_a_bandit_is_exact():
    """Two normal errors of size s: the difference has size s sqrt(2)."""
    from scipy.stats import norm

    assert abs(flip_probability(BANDIT, 0.4) - norm.sf(1 / (0.4 * np.sqrt(2)))) < 1e-15
    assert flip_probability(BANDIT, 1e-3) < 1e-100


def test_gymnasium_tables_have_a_radius():
    for name in ("FrozenLake8x8-v1", "Taxi-v4", "CliffWalking-v1"):
        mdp = from_gymnasium(name, 0.95)
        c = cliff_radius(mdp)
        assert c.radius >= 0
        distances = facet_distances(mdp, policy=c.policy)
        assert (distances[mdp.terminal] == np.inf).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cliff_radius(BANDIT, ord=3), "ord must be 1, 2 or inf, got 3"),
        (lambda: cliff_radius(BANDIT, scale=[[1, -1]]), r"scale\[0, 1\] is negative"),
        (lambda: cliff_radius(BANDIT, scale=[1, 1]), "scale must have 2 axes"),
        (lambda: facet_normal(BANDIT, [0], 1, 0), r"s must be in 0\.\.0, got 1"),
        (lambda: facet_normal(BANDIT, [[0.5, 0.5]], 0, 0), "policy must be deterministic"),
        (lambda: subspace_radius(BANDIT, np.ones((1, 2, 2))), r"directions must have shape \(J, S, A\)"),
        (lambda: flip_probability(BANDIT, 0), "sigma must lie in"),
        (lambda: inclusion_radius(BANDIT, optimal=[[2, 0]]), "optimal must hold booleans"),
        (lambda: inclusion_radius(BANDIT, optimal=[[0, 0]]), r"optimal\[0\] is empty"),
        (lambda: inclusion_by_milp(BANDIT, [[False, False]]), r"optimal\[0\] is empty"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_exact_radius_tells_a_policy_that_is_not_optimal():
    assert exact_radius([[[1], [1]]], [[1, 0]], "1/2", np.array([1]))[0] < 0


def test_brute_force_over_every_sign_vector():
    """2 states, 2 actions: the radius is the least over all sign vectors of the step to the first change."""
    rng = np.random.default_rng(5)
    for _ in range(10):
        mdp = garnet(2, 2, 2, 0.7, rng)
        c = cliff_radius(mdp)
        steps = []
        for signs in product((-1.0, 1.0), repeat=4):
            D = np.array(signs).reshape(2, 2)
            base, slope = (policy_gaps(mdp, c.policy, R[None])[0] for R in (mdp.r, D))
            falling = slope < -1e-12
            steps += list(base[falling] / -slope[falling])
        assert abs(min(steps) - c.radius) <= 1e-10
