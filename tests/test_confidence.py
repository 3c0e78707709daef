"""Confidence sets: inner problems against linear programs and the balls of robust MDPs, bounds against brute force."""

import re
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from claimlab.mdps import BernsteinSets, L1Sets, balls, staged_optimum, staged_value
from claimlab.mdps.beliefs import (
    add_visits,
    learn_transition,
    lower_bound,
    new_beliefs,
    no_visits,
    plan_optimism,
    transition_counts,
    upper_bound,
)
from claimlab.mdps.confidence import (
    Sets,
    l1_radius,
    largest_mean,
    least_mean,
    sort_upwards,
)
from claimlab.native import interpreted
from claimlab.theory.strategies import seeds, staged_mdps

NOTHING = np.zeros((0, 0, 0, 0))
FAMILIES = [L1Sets(), L1Sets(0.3, 0.2), BernsteinSets(0.1, 1e-3), BernsteinSets()]


def ball_program(p, v, radius, sign):
    """The least of sign * q @ v over laws q within the L1 ball, by linear programming."""
    n = p.size
    eye = np.eye(n)
    answer = linprog(
        np.r_[sign * v, np.zeros(n)],
        A_ub=np.block([[eye, -eye], [-eye, -eye], [np.zeros((1, n)), np.ones((1, n))]]),
        b_ub=np.r_[p, -p, radius],
        A_eq=np.r_[np.ones(n), np.zeros(n)][None],
        b_eq=[1.0],
        bounds=(0, None),
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},  # 1e-7 by default
    )
    return sign * answer.fun


@given(st.data())
@settings(max_examples=60)
def test_inner_problems_are_those_linear_programs(data):
    n = data.draw(st.integers(1, 5))
    hits = np.array(data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)), float)
    v = np.array(data.draw(st.lists(st.sampled_from([0.0, 1.0, 2.5]) | st.floats(0, 3), min_size=n, max_size=n)))
    radius = data.draw(st.sampled_from([0.0, 0.5, 1.0, 2.0]) | st.floats(0, 2))
    order, visits = np.arange(n), float(hits.sum())
    sort_upwards(v, order)
    assert (np.diff(v[order]) >= 0).all()
    low, high = least_mean(visits, hits, radius, v, order), largest_mean(visits, hits, radius, v, order)
    if visits == 0:
        assert (low, high) == (v.min(), v.max())
        return
    p = hits / visits
    np.testing.assert_allclose(low, ball_program(p, v, radius, 1), atol=1e-8)
    np.testing.assert_allclose(high, ball_program(p, v, radius, -1), atol=1e-8)
    q = p.copy()
    if radius > 0:
        balls.L1(radius).answer(p, v, order[::-1].copy(), radius, q)
    np.testing.assert_allclose(low, q @ v, atol=1e-12)


def test_radius_is_weissmans():
    n, S, rows, delta = 7, 3, 12, 0.1
    expected = np.sqrt(2 * (np.log(2**S - 2) + np.log(rows * n * (n + 1) / delta)) / n)
    assert l1_radius(7.0, (2, 3, 2), delta, 0.5) == pytest.approx(expected / 2, rel=1e-14)
    assert l1_radius(0.0, (2, 3, 2), delta, 1.0) == 2
    assert l1_radius(5.0, (2, 1, 2), delta, 1.0) == 0  # one state: nothing is unknown
    assert l1_radius(1.0, (2, 3, 2), delta, 1.0) == 2


@given(mdp=staged_mdps(), seed=seeds())
@settings(max_examples=40)
def test_bounds_enclose_every_policy_where_the_truth_is_in_the_sets(mdp, seed):
    rng = np.random.default_rng(seed)
    hits = rng.multinomial(rng.integers(1, 50, size=mdp.r.shape), mdp.P / mdp.P.sum(axis=3, keepdims=True))
    sets = L1Sets()
    b = new_beliefs(sets, *mdp.r.shape, hits.astype(float))
    distance = abs(hits / hits.sum(axis=3, keepdims=True) - mdp.P).sum(axis=3)
    b.widths[..., 0] = np.maximum(b.widths[..., 0], distance + 1e-12)
    plan_optimism(sets, b, mdp.r)
    best = staged_optimum(mdp)
    slack = 10 * mdp.rounding
    assert (b.upper >= best.v - slack).all()
    assert (b.lower <= best.v + slack).all()
    pi = rng.dirichlet(np.ones(mdp.n_actions), size=mdp.r.shape[:2])
    value = staged_value(mdp, pi)
    assert lower_bound(sets, b, mdp.r, mdp.initial, pi, mdp.horizon) <= value + slack
    assert upper_bound(sets, b, mdp.r, mdp.initial, pi, mdp.horizon) >= value - slack


@given(mdp=staged_mdps())
@settings(max_examples=30)
def test_sets_without_width_plan_exactly(mdp):
    """Frequencies equal to the truth and no width: upper and lower bounds are the optimum."""
    for sets in (L1Sets(scale=0.0), BernsteinSets(scale=0.0)):
        b = new_beliefs(sets, *mdp.r.shape, NOTHING)
        b.visits.n[:], b.visits.hits[:], b.widths[:] = 1.0, mdp.P, 0.0
        plan_optimism(sets, b, mdp.r)
        best = staged_optimum(mdp)
        slack = 10 * mdp.rounding * (10 if isinstance(sets, BernsteinSets) else 1)
        np.testing.assert_allclose(b.upper, best.v, rtol=0, atol=slack)
        np.testing.assert_allclose(b.lower, best.v, rtol=0, atol=slack)


@pytest.mark.parametrize("sets", FAMILIES, ids=str)
@given(mdp=staged_mdps(), seed=seeds(), pooled=st.booleans())
@settings(max_examples=15)
def test_compiled_equals_interpreted(sets, mdp, seed, pooled):
    """Bit for bit, with the interpreted planner on beliefs that the compiled one shares."""
    sets = type(sets)(sets.delta, sets.scale, pooled)
    H, S, A = mdp.r.shape
    rng = np.random.default_rng(seed)
    results = []
    steps = [(int(rng.integers(H)), *rng.integers([S, A, S])) for _ in range(30)]
    pi = rng.dirichlet(np.ones(A), size=(H, S))
    for plan, look in ((plan_optimism, lower_bound), (interpreted(plan_optimism), interpreted(lower_bound))):
        b = new_beliefs(sets, H, S, A, NOTHING)
        for h, s, a, t in steps:
            learn_transition(sets, b, h, s, a, t)
        plan(sets, b, mdp.r)
        results.append((b, look(sets, b, mdp.r, mdp.initial, pi, H)))
    (one, x), (two, y) = results
    assert x == y
    for field in ("upper", "lower", "greedy", "trial", "widths"):
        np.testing.assert_array_equal(getattr(one, field), getattr(two, field))


def test_bernstein_bounds_are_the_published_formula():
    """One backup by hand: two states, v = (0, 1), half the visits each."""
    n, H, delta, shape = 8.0, 2, 0.1, (2, 2, 1)
    sets = BernsteinSets(delta)
    beta = (np.log(3 * 4 / delta) + 2 * np.log(8 * np.e * 9)) / n
    star = (np.log(3 * 4 / delta) + np.log(8 * np.e * 9)) / n
    widths = np.array([sets.width(n, shape, which) for which in range(2)])
    np.testing.assert_allclose(widths, [beta, star], rtol=1e-14)
    upper, lower, order = np.array([0.0, 1.0]), np.array([0.0, 0.5]), np.arange(2)
    arguments = (n, np.array([4.0, 4.0]), widths, upper, lower, order, H)
    up = 0.5 + 3 * np.sqrt(0.25 * star) + 14 * H**2 * beta + 0.25 / H
    down = 0.25 - 3 * np.sqrt(0.25 * star) - 13 * H**2 * beta - 2 * 0.25 / H
    assert sets.most(*arguments) == pytest.approx(up, rel=1e-14)
    assert sets.fewest(*arguments) == pytest.approx(down, rel=1e-14)
    assert sets.width(0.0, shape, 0) == inf


@given(seed=seeds())
@settings(max_examples=20)
def test_visits_are_counted(seed):
    rng = np.random.default_rng(seed)
    visits, expected = no_visits(2, 3, 2), np.zeros((2, 3, 2, 3))
    for z, s, a, t in rng.integers([2, 3, 2, 3], size=(40, 4)):
        add_visits(visits, z, s, a, t, 1.0)
        expected[z, s, a, t] += 1
    np.testing.assert_array_equal(visits.hits, expected)
    np.testing.assert_array_equal(visits.n, expected.sum(axis=3))
    np.testing.assert_array_equal(visits.seen, np.count_nonzero(expected, axis=3))
    for index in np.ndindex(2, 3, 2):
        found = visits.successors[index][: visits.seen[index]]
        assert sorted(found) == list(np.flatnonzero(expected[index]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: L1Sets(0.0), "delta must lie in (0, 1), got 0.0"),
        (lambda: L1Sets(0.1, -1.0), "scale must lie in [0, inf), got -1.0"),
        (lambda: BernsteinSets(1.5), "delta must lie in (0, 1), got 1.5"),
        (lambda: transition_counts(np.full((1, 1, 1, 1), 0.5)), "data[0, 0, 0, 0] is 0.5; counts are whole numbers"),
        (lambda: transition_counts(np.full((1, 1, 1), 1.0)), "data must have 4 axes, got shape (1, 1, 1)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_interfaces_are_checked():
    with pytest.raises(TypeError, match=r"Wrong\.width takes"):
        type("Wrong", (Sets,), {"width": lambda self, n: 0.0})
