from fractions import Fraction
from itertools import product

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.sparse import csr_array

from claimlab.mdps import NotConverged, TabularMDP, garnet, river_swim, solve
from claimlab.mdps.balls import KL, L1, ChiSquare, TotalVariation, _flatten, _tilt
from claimlab.mdps.exact import rational_mdp, rationals, solve_linear
from claimlab.mdps.robust import (
    _answers,
    _nature,
    robust_policy_value,
    robust_value_iteration,
    solve_robust,
    worst_transitions,
)
from claimlab.native import interpreted
from claimlab.theory.oracles import nearly_absorbing_mdps, unnormalised_mdps
from claimlab.theory.strategies import deterministic_policies, policies, seeds, tabular_mdps, values

from .oracles import CLOSE_TO_ONE, MODERATE, SCALES, hard_mdps, tolerance, within

EPS = np.finfo(float).eps
BALLS = {
    "total variation": TotalVariation,
    "on the support": lambda radius: TotalVariation(radius, support=True),
    "L1": L1,
    "chi-square": ChiSquare,
    "KL": KL,
}
RADII = st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0, 1e-3, 1e-12, 1e6]) | st.floats(0, 2)
MOVES = st.builds(lambda radius, support: TotalVariation(radius, support), RADII, st.booleans()) | RADII.map(L1)


def moved(p, v, ball):
    """The least expectation within total variation, exactly: mass from the top, one state after the other."""
    p, v = rationals(p), rationals(v)
    mass, on_support = sum(p), ball.support
    left = mass * Fraction(ball.radius) / (2 if isinstance(ball, L1) else 1)
    lowest = min(v[t] for t in range(len(p)) if p[t] > 0 or not on_support)
    total = Fraction(0)
    for t in sorted(range(len(p)), key=lambda t: -v[t]):
        part = min(p[t], left) if v[t] > lowest else Fraction(0)
        left -= part
        total += (p[t] - part) * v[t] + part * lowest
    return total


def dual(p, v, ball):
    """The least expectation within chi-square or KL: the concave dual, maximised with 60 digits by golden section."""
    mpmath.mp.dps = 60
    p, v = [mpmath.mpf(float(x)) for x in p], [mpmath.mpf(float(x)) for x in v]
    mass, radius = sum(p), mpmath.mpf(ball.radius)
    kept = [(pi / mass, vi) for pi, vi in zip(p, v, strict=True) if pi > 0]
    low, high = min(x for _, x in kept), max(x for _, x in kept)
    mean = sum(w * x for w, x in kept)
    if high == low or radius == 0:
        return mass * mean
    x = [(w, (y - low) / (high - low)) for w, y in kept]
    if isinstance(ball, KL):

        def g(s):  # beta is exp(s)
            beta = mpmath.exp(s)
            return -(mpmath.log(sum(w * mpmath.exp(-beta * y) for w, y in x)) + radius) / beta

    else:

        def g(s):  # eta is exp(s) above the least value
            eta = mpmath.exp(s)
            return eta - mpmath.sqrt((1 + radius) * sum(w * max(eta - y, 0) ** 2 for w, y in x))

    best = max(g(golden(g, mpmath.mpf(-60), mpmath.mpf(60))), 0)  # sure of the lowest states: the dual's limit
    return mass * (low + (high - low) * best)


def golden(g, a, b):
    ratio = (mpmath.sqrt(5) - 1) / 2
    c, d = b - ratio * (b - a), a + ratio * (b - a)
    gc, gd = g(c), g(d)
    for _ in range(110):
        if gc >= gd:
            b, d, gd = d, c, gc
            c = b - ratio * (b - a)
            gc = g(c)
        else:
            a, c, gc = c, d, gd
            d = a + ratio * (b - a)
            gd = g(d)
    return (a + b) / 2


def least(p, v, ball):
    return dual(p, v, ball) if isinstance(ball, (KL, ChiSquare)) else moved(p, v, ball)


def rarest(mdp):
    """The least positive probability; far below EPS squared, chi-square's bounds are wide."""
    return (mdp.P.data if mdp.is_sparse else mdp.P[mdp.P > 0]).min()


COMMON = tabular_mdps(gammas=MODERATE, masked=True, terminal=True).filter(lambda mdp: rarest(mdp) > 1e-25)


@st.composite
def rows(draw):
    """A row and values: ties, zeros, tiny masses at either end, values of every size and far from zero."""
    n, rng = draw(st.integers(1, 8)), np.random.default_rng(draw(seeds()))
    p = rng.random(n) * 10.0 ** -rng.choice([0, 0, 0, 3, 9, 15], size=n) * (rng.random(n) < 0.8)
    p[rng.integers(n)] += 1
    v = rng.normal(size=n) if draw(st.booleans()) else rng.integers(0, 3, size=n).astype(float)
    return p / p.sum(), draw(st.sampled_from(SCALES)) * (v + draw(st.sampled_from([0.0, 1e4])))


def answer(row, ball, sparse):
    """Nature's answer to the values of a row, and the bound that comes with it."""
    (p, v), n = row, len(row[0])
    P = np.tile(p, (n, 1))
    mdp = TabularMDP(csr_array(P) if sparse else P[:, None], np.zeros((n, 1)), 0.5)
    found = _answers(_nature(mdp, ball, 1), v, np.array([0]), keep=True)
    q = found.Q.toarray()[0] if sparse else found.Q[0]
    assert abs(found.value[0] - q @ v) <= 2 * (n + 4) * EPS * abs(v).max()
    return q, found.gap


@settings(max_examples=60)
@given(rows(), RADII, st.sampled_from(sorted(BALLS)), st.booleans())
def test_natures_answer_is_within_its_gap_of_the_least(row, radius, name, sparse):
    """Exactly: q @ v in rationals, the least expectation in rationals or with 60 digits, no other allowance."""
    ball = BALLS[name](radius)
    q, gap = answer(row, ball, sparse)
    expectation, truth = rationals(q) @ rationals(row[1]), least(*row, ball)
    if isinstance(truth, Fraction):
        assert abs(expectation - truth) <= Fraction(gap)
    else:
        assert abs(mpmath.mpf(expectation.numerator) / expectation.denominator - truth) <= gap + 1e-24 * abs(truth)


@settings(max_examples=400)
@given(rows(), RADII, st.sampled_from(sorted(BALLS)), st.booleans())
def test_natures_answer_is_in_the_ball_and_its_gap_near_rounding(row, radius, name, sparse):
    (p, v), ball = row, BALLS[name](radius)
    q, gap = answer(row, ball, sparse)
    assert (q >= 0).all()
    assert abs(q.sum() - p.sum()) <= 8 * (len(p) + 2) * EPS
    inside(q, p, ball)
    assert gap <= 1e-12 * abs(v).max() or radius < 1e-12


def inside(q, p, ball):
    if isinstance(ball, (TotalVariation, L1)):
        distance = abs(q - p).sum() / (2 if isinstance(ball, TotalVariation) else 1)
        assert not (ball.support and q[p == 0].any())
    else:
        assert not q[p == 0].any()
        q, p = q[p > 0], p[p > 0]
        with mpmath.workdps(40):
            pairs = [(mpmath.mpf(float(a)), mpmath.mpf(float(b))) for a, b in zip(q, p, strict=True)]
            if isinstance(ball, KL):
                distance = float(sum(a * mpmath.log(a / b) for a, b in pairs if a > 0))
            else:
                distance = float(sum((a - b) ** 2 / b for a, b in pairs))
    assert distance <= ball.radius * (1 + 1e-9) + 1e-12 + 40 * EPS * len(p)


@pytest.mark.parametrize("gap_free", [TotalVariation(0.3), ChiSquare(0.3), KL(0.3)])
def test_the_gap_stays_near_rounding_on_long_rows(gap_free):
    mdp = TabularMDP(np.random.default_rng(0).dirichlet(np.ones(200), size=(200, 1)), np.zeros((200, 1)), 0.5)
    v = np.random.default_rng(1).normal(size=200)
    found = _answers(_nature(mdp, gap_free, 1), v, np.arange(200))
    assert found.gap <= 2e4 * EPS
    for s in (0, 100):
        assert abs(float(least(mdp.P[s, 0], v, gap_free)) - found.value[s]) <= found.gap + 500 * EPS


def worst_value_exactly(mdp, pi, ball):
    """Nature's policy iteration in rationals: its best answers to the last value, until the value no longer falls."""
    P, r, gamma, _ = rational_mdp(mdp)
    S = mdp.n_states
    pi = np.eye(mdp.n_actions, dtype=int)[pi] if pi.ndim == 1 else pi
    v, weights = None, rationals(pi)
    Q = P.copy()
    while True:
        new = solve_linear(
            np.eye(S, dtype=object) - gamma * (weights[..., None] * Q).sum(axis=1), (weights * r).sum(axis=1)
        )
        if v is not None and (new == v).all():
            return v
        v = new
        for s, a in product(range(S), range(mdp.n_actions)):
            if mdp.actions[s, a] and not mdp.terminal[s]:
                Q[s, a] = worst_row(P[s, a], v, ball)


def worst_row(p, v, ball):
    left = sum(p) * Fraction(ball.radius) / (2 if isinstance(ball, L1) else 1)
    allowed = [t for t in range(len(p)) if p[t] > 0 or not ball.support]
    lowest, q = min(allowed, key=lambda t: v[t]), p.copy()
    for t in sorted(range(len(p)), key=lambda t: -v[t]):
        if v[t] > v[lowest]:
            part = min(p[t], left)
            q[t], q[lowest], left = q[t] - part, q[lowest] + part, left - part
    return q


def solve_exactly_against(mdp, ball):
    """The robust optimum in rationals: the best of all deterministic policies (Iyengar 2005)."""
    choices = product(*[np.flatnonzero(row).tolist() for row in mdp.actions])
    return np.max([worst_value_exactly(mdp, np.array(pi), ball) for pi in choices], axis=0)


SOLVERS = {"solve_robust": (solve_robust, CLOSE_TO_ONE), "robust_value_iteration": (robust_value_iteration, MODERATE)}


def small_mdps(gammas):
    """As the hard ones, with fewer policies; rows off by 1e-9 and nearly absorbing states among them."""
    general = tabular_mdps(max_states=3, max_actions=2, gammas=gammas, masked=True, terminal=True)
    scaled = st.builds(
        lambda m, k: TabularMDP(m.P, k * m.r, m.gamma, actions=m.actions, terminal=m.terminal),
        general, st.sampled_from(SCALES),
    )  # fmt: skip
    hard = (nearly_absorbing_mdps(gammas=gammas) | unnormalised_mdps(gammas=gammas)).filter(
        lambda m: m.n_states * m.n_actions <= 6
    )
    return st.one_of(scaled, hard)


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_is_within_its_certificate_of_the_exact_robust_value(name):
    solver, gammas = SOLVERS[name]

    @settings(max_examples=40)
    @given(small_mdps(gammas), MOVES)
    def check(mdp, ball):
        solution, truth = solver(mdp, ball, tolerance(mdp)), solve_exactly_against(mdp, ball)
        assert solution.error <= tolerance(mdp)
        assert within(solution.v, truth, solution.error)
        assert max(truth - worst_value_exactly(mdp, solution.policy, ball)) <= 2 * Fraction(solution.error)

    check()


@settings(max_examples=60)
@given(st.data(), MOVES)
def test_policy_value_is_within_its_certificate_of_the_exact_one(data, ball):
    mdp = data.draw(small_mdps(CLOSE_TO_ONE))
    pi = data.draw(policies(mdp) | deterministic_policies(mdp))
    found = robust_policy_value(mdp, pi, ball)
    assert within(found.v, worst_value_exactly(mdp, pi, ball), found.error)
    assert found.error <= tolerance(mdp, 1e-5)


@settings(max_examples=30)
@given(
    tabular_mdps(max_states=3, max_actions=2, gammas=MODERATE, terminal=True).filter(lambda mdp: rarest(mdp) > 1e-25),
    RADII,
    st.sampled_from([KL, ChiSquare]),
)
def test_smooth_balls_reach_the_fixed_point_of_the_exact_dual(mdp, radius, kind):
    """|Tv - v| <= (1 + gamma) error for the operator with 60 digits."""
    ball = kind(radius)
    solution = solve_robust(mdp, ball, tolerance(mdp))
    P = mdp.P.toarray().reshape(*mdp.r.shape, -1) if mdp.is_sparse else mdp.P
    for s in range(mdp.n_states):
        q = [
            mpmath.mpf(mdp.r[s, a])
            + mpmath.mpf(mdp.gamma) * dual(P[s, a], solution.v, kind(0) if mdp.terminal[s] else ball)
            for a in range(mdp.n_actions)
        ]
        assert abs(max(q) - mpmath.mpf(solution.v[s])) <= (1 + mdp.gamma) * solution.error + 1e-300


@pytest.mark.parametrize("name", BALLS)
def test_radius_zero_is_planning(name):
    @settings(max_examples=30)
    @given(hard_mdps(CLOSE_TO_ONE))
    def check(mdp):
        robust, plain = solve_robust(mdp, BALLS[name](0), tolerance(mdp)), solve(mdp, tolerance(mdp))
        assert abs(robust.v - plain.v).max() <= robust.error + plain.error

    check()


@pytest.mark.parametrize("name", BALLS)
def test_a_huge_radius_lets_nature_choose_the_state(name):
    """v = max_a r + gamma times the least v, of all states or of the support: a deterministic shortest path."""

    @settings(max_examples=30)
    @given(tabular_mdps(gammas=MODERATE))
    def check(mdp):
        assume(rarest(mdp) > 1e-8)  # or 1e9 is not huge
        solution = solve_robust(mdp, BALLS[name](1e9), tolerance(mdp))
        P = mdp.P.toarray().reshape(*mdp.r.shape, -1) if mdp.is_sparse else mdp.P
        reach = P > 0 if name in ("on the support", "chi-square", "KL") else np.ones(P.shape, bool)
        tv = (mdp.r + mdp.gamma * np.where(reach, solution.v, np.inf).min(axis=2)).max(axis=1)
        assert abs(tv - solution.v).max() <= (1 + mdp.gamma) * solution.error + 1e-8 * mdp.value_bound

    check()


@settings(max_examples=30)
@given(st.data(), st.sampled_from(sorted(BALLS)))
def test_worst_transitions_and_the_greedy_policy_are_a_saddle_point(data, name):
    """Neither side gains by changing: planning against nature's answer, and nature against the greedy policy."""
    mdp, ball = data.draw(COMMON), BALLS[name](data.draw(RADII))
    solution = solve_robust(mdp, ball, tolerance(mdp))
    P = worst_transitions(mdp, ball, solution.v)
    worst = TabularMDP(P, mdp.r, mdp.gamma, actions=mdp.actions, terminal=mdp.terminal)
    against, guaranteed = solve(worst, tolerance(mdp)), robust_policy_value(mdp, solution.policy, ball)
    bound = 4 * (solution.error + against.error + guaranteed.error) / (1 - mdp.gamma)
    assert abs(against.v - solution.v).max() <= bound + 1e-6 * mdp.value_bound
    assert abs(guaranteed.v - solution.v).max() <= guaranteed.error + 2 * solution.error


@given(st.data(), st.sampled_from(sorted(BALLS)))
def test_values_fall_as_the_radius_grows(data, name):
    mdp = data.draw(COMMON)
    small, large = sorted([data.draw(RADII), data.draw(RADII)])
    one, other = (solve_robust(mdp, BALLS[name](radius), tolerance(mdp)) for radius in (small, large))
    assert (other.v <= one.v + one.error + other.error).all()


@given(st.data(), st.sampled_from(sorted(BALLS)))
def test_dense_and_sparse_and_any_number_of_threads_agree(data, name):
    mdp = data.draw(tabular_mdps(sparse=False, masked=True))
    v, radius = data.draw(values(mdp)), data.draw(RADII)
    twin = TabularMDP(csr_array(mdp.P.reshape(-1, mdp.n_states)), mdp.r, mdp.gamma, actions=mdp.actions)
    rows = np.flatnonzero(mdp.actions)
    found = [_answers(_nature(m, BALLS[name](radius), 1), v, rows) for m in (mdp, twin)]
    assert abs(found[0].value - found[1].value).max() <= found[0].gap + found[1].gap + 100 * EPS * abs(v).max()


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("name", BALLS)
def test_threads_change_nothing(name, sparse):
    mdp = garnet(150, 3, 6, 0.95, np.random.default_rng(3), sparse=sparse)
    one, three = (solve_robust(mdp, BALLS[name](0.2), 1e-7, threads=threads) for threads in (1, 3))
    assert one.v.tobytes() == three.v.tobytes()
    assert one.policy.tolist() == three.policy.tolist()


def test_a_radius_for_each_pair():
    """Sure of the ladder, unsure of the slide: only the slide's value falls."""
    mdp = TabularMDP([[[0, 1, 0], [0, 0.5, 0.5]], [[0, 1, 0]] * 2, [[0, 0, 1]] * 2], [[0, 0.5], [1, 1], [0, 0]], 0.5)
    radius = np.zeros((3, 2))
    radius[0, 1] = 0.25
    # v(1) = 2, v(2) = 0: the ladder is worth 1, the slide 1/2 + (1/2)(1/2 - 1/4) 2 = 3/4 instead of 1
    solution = solve_robust(mdp, TotalVariation(radius), 1e-10)
    assert abs(solution.v - [1, 2, 0]).max() <= solution.error
    assert solution.policy[0] == 0
    slide = robust_policy_value(mdp, [1, 0, 0], TotalVariation(radius))
    assert abs(slide.v - [0.75, 2, 0]).max() <= slide.error


@pytest.mark.parametrize(
    ("ball", "share"),
    [
        (TotalVariation(0.2), 0.3),
        (L1(0.4), 0.3),
        (ChiSquare(0.16), 0.3),  # (q - p)^2 / p for both: 4 (0.2)^2
        (KL(np.log(2) + 0.3 * np.log(0.3) + 0.7 * np.log(0.7)), 0.3),
    ],
)
def test_a_fair_coin_against_nature_in_closed_form(ball, share):
    """Heads stays and pays 1, tails pays nothing for ever: v = 1 / (1 - gamma q) for nature's chance q of heads."""
    gamma = 0.9
    mdp = TabularMDP([[[0.5, 0.5]], [[0, 1]]], [[1], [0]], gamma)
    solution = solve_robust(mdp, ball, 1e-9)
    assert abs(solution.v - [1 / (1 - gamma * share), 0]).max() <= solution.error + 1e-12


def test_chi_square_is_a_mean_minus_a_deviation():
    """While no state is emptied, the least mean is M - sqrt(radius Var) (Duchi & Namkoong 2019)."""
    p, v = np.array([0.2, 0.3, 0.5]), np.array([3.0, 1.0, 2.0])
    mdp = TabularMDP(np.tile(p, (3, 1))[:, None], np.zeros((3, 1)), 0.5)
    mean, variance = p @ v, p @ (v - p @ v) ** 2
    found = _answers(_nature(mdp, ChiSquare(0.1), 1), v, np.arange(3))
    assert abs(found.value - (mean - np.sqrt(0.1 * variance))).max() <= found.gap + 1e-15


@pytest.mark.parametrize("rare", [1e-300, 1e-100, 1e-20, 1e-3])
@pytest.mark.parametrize("kind", [KL, ChiSquare])
def test_a_state_that_is_hardly_ever_reached(rare, kind):
    """Nature can make it as likely as the radius pays for, and finds out how likely in few steps."""
    p, v = np.array([rare, 1 - rare]), np.array([-1.0, 1.0])
    q, gap = answer((p, v), kind(0.1), False)
    assert gap <= 1e-13
    assert abs(mpmath.mpf(float(q @ v)) - dual(p, v, kind(0.1))) <= gap + 1e-15


def test_kl_is_the_inverse_of_the_binary_divergence():
    p, radius = 0.3, 0.07
    q = brentq(lambda q: q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p)) - radius, 1e-9, p, xtol=1e-15)
    mdp = TabularMDP([[[p, 1 - p]]] * 2, np.zeros((2, 1)), 0.5)
    found = _answers(_nature(mdp, KL(radius), 1), np.array([1.0, 0.0]), np.arange(2))
    assert abs(found.value - q).max() <= 1e-13


def test_terminal_states_stay_closed():
    mdp = TabularMDP([[[0, 1]], [[0, 1]]], [[-1], [0]], 0.9, terminal=[False, True])
    solution = solve_robust(mdp, TotalVariation(0.5), 1e-9)
    # nature brings half of the mass back to the state that costs 1: v = -1 + 0.45 v
    assert abs(solution.v - [-1 / 0.55, 0]).max() <= solution.error


@pytest.mark.parametrize("sparse", [False, True])
def test_the_gap_of_several_answers_is_that_of_the_worst(sparse):
    mdp = garnet(6, 2, 4, 0.9, np.random.default_rng(0), sparse=sparse)
    nature, rows = _nature(mdp, ChiSquare(0.3), None), np.arange(12)
    v = np.random.default_rng(1).random(6)
    each = [_answers(nature, v, rows[i : i + 1]).gap for i in rows]
    assert min(each) < max(each) == _answers(nature, v, rows).gap


def test_policies_that_spoil_the_contraction_in_one_state_are_refused():
    mdp, pi = TabularMDP(np.eye(2)[:, None], np.ones((2, 1)), 1 - 5e-10), np.array([[1.0], [1.0 + 9e-10]])
    with pytest.raises(ValueError, match=r"is too close to 1 for rows of pi that sum to 1 \+ 9e-10"):
        robust_policy_value(mdp, pi, TotalVariation(0.1))


def test_slow_chains_take_few_iterations():
    mdp = river_swim(100, 0.9999)
    for ball in (TotalVariation(0.01), ChiSquare(0.01), KL(0.01)):
        solution = solve_robust(mdp, ball, 1e-3)
        assert solution.iterations <= 200  # value iteration takes tens of thousands: 0.9999^n must fall below 1e-7
        guaranteed = robust_policy_value(mdp, solution.policy, ball)
        assert guaranteed.error <= 1e-5
        assert abs(guaranteed.v - solution.v).max() <= guaranteed.error + 2 * solution.error


def test_evaluation_goes_on_while_residuals_rise():
    """Nature may turn the traveller back at each of 60 cells, and finds out one cell a step; the end costs nothing.

    Cell s is left ahead with probability 1 - radius, else back to the worst cell, which is the first.
    """
    n, gamma, radius = 60, 0.999, 0.3
    P = np.zeros((n + 1, 1, n + 1))
    P[np.arange(n), 0, np.arange(1, n + 1)] = P[n, 0, n] = 1
    mdp = TabularMDP(P, np.append(-np.ones(n), 0)[:, None], gamma, terminal=np.arange(n + 1) == n)
    found = robust_policy_value(mdp, np.zeros(n + 1, np.int64), TotalVariation(radius))
    # v(s) = -1 + gamma ((1 - radius) v(s + 1) + radius v(0)): affine in v(0), from the end backwards
    constant, slope = 0.0, 0.0
    for _ in range(n):
        constant, slope = -1 + gamma * (1 - radius) * constant, gamma * ((1 - radius) * slope + radius)
    assert abs(found.v[0] - constant / (1 - slope)) <= found.error + 1e-9
    assert found.error <= 1e-6


def test_kernels_say_the_same_in_the_interpreter():
    rng = np.random.default_rng(0)
    for kernel in (_flatten, _tilt):
        p, v = rng.dirichlet(np.ones(6)), rng.normal(size=6)
        order, one, other = np.argsort(-v), p.copy(), p.copy()
        gaps = kernel(p, v, order, 0.3, one), interpreted(kernel)(p, v, order, 0.3, other)
        np.testing.assert_allclose(one, other, rtol=1e-12)
        assert abs(gaps[0] - gaps[1]) <= 1e-12


def test_a_tolerance_below_rounding_is_refused_with_the_best_solution():
    mdp = garnet(10, 2, 4, 0.9, np.random.default_rng(0))
    for solver in (solve_robust, robust_value_iteration):
        with pytest.raises(NotConverged, match=r"tolerance 1e-18 asked, .* certified") as refusal:
            solver(mdp, KL(0.1), 1e-18)
        assert 1e-18 < refusal.value.solution.error < 1e-10


ONE = TabularMDP([[[1.0], [1.0]]], [[1.0, 0.1]], 0.5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: TotalVariation(-0.1), ValueError, r"radius must lie in \[0, inf\), got -0.1"),
        (lambda: KL(np.nan), ValueError, r"radius must lie in \[0, inf\), got nan"),
        (lambda: L1([[0.1, -0.5]]), ValueError, r"radius\[0, 1\] is -0.5; a radius cannot be negative"),
        (lambda: ChiSquare([[0.1, np.inf]]), ValueError, r"radius\[0, 1\] is inf; every entry must be finite"),
        (lambda: KL([0.1]), ValueError, r"radius must have 2 axes"),
        (lambda: solve_robust(ONE, KL(np.ones((2, 2)))), ValueError, r"radius must have shape \(S, A\) = \(1, 2\)"),
        (lambda: solve_robust(ONE, 0.1), TypeError, r"ball must be one of TotalVariation.* got float"),
        (lambda: solve_robust(0.1, KL(0.1)), TypeError, r"mdp must be a discounted TabularMDP, got float"),
        (lambda: solve_robust(ONE, KL(0.1), 0), ValueError, r"tol must lie in \(0, inf\), got 0"),
        (lambda: solve_robust(ONE, KL(0.1), threads=0), ValueError, r"threads must be at least 1, got 0"),
        (lambda: robust_policy_value(ONE, [2], KL(0.1)), ValueError, r"pi\[0\] is 2"),
        (lambda: worst_transitions(ONE, KL(0.1), [1, 2]), ValueError, r"v must have shape \(S,\) = \(1,\)"),
    ],
)
def test_bad_calls_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
