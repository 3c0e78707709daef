"""Group-relative REINFORCE: its claims, limits against other computations, instances and mechanisms by hand."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.optimize import minimize

from claimlab.experiments.papers import group_relative_reinforce as paper
from claimlab.experiments.papers.group_relative_reinforce import (
    clipping,
    limits,
    regularised,
    shaping,
    staleness,
    surrogate,
)
from claimlab.experiments.papers.group_relative_reinforce.common import LAW, REWARD, flow
from claimlab.theory.claims import SMOKE
from claimlab.theory.data_laws import slope
from claimlab.theory.group_relative import (
    after_sync,
    attractors,
    flow_limit,
    least_cosine,
    logit_direction,
    masks,
    project,
    red_threshold,
    train,
)

BUDGET = replace(SMOKE, seed=20_26)


# Where training ends


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=6))
def test_projections_onto_the_simplex(v):
    """Against the optimality conditions: p = max(v - lambda, 0), and no nearer point among many."""
    x = np.array(v)
    p = project(x)
    assert p.sum() == pytest.approx(1)
    assert (p >= 0).all()
    shift = (x - p)[p > 0]
    assert np.ptp(shift) < 1e-12
    assert (x[p == 0] <= shift.max() + 1e-12).all()


def test_limits_on_the_three_arms():
    """Golden numbers of the research notes for AsymRE and RED-Weight."""
    A = REWARD - LAW @ REWARD
    for beta, end in (
        (0.3, (0, 0.9, 0.1)),
        (0.58, (0, 0.8276, 0.1724)),
        (1, (0.126, 0.732, 0.142)),
        (3, (0.242, 0.644, 0.114)),
    ):
        np.testing.assert_allclose(flow_limit(LAW * (A + beta)), end, atol=6e-4)
    for T, end in ((1, (0, 0.884, 0.116)), (0.5, (0, 0.717, 0.283)), (0.1, (0, 0.298, 0.702))):
        np.testing.assert_allclose(flow_limit(LAW * np.exp(A / T) * A), end, atol=6e-4)
    assert red_threshold(LAW, REWARD) == pytest.approx(0.1747, abs=5e-5)
    assert pytest.approx([-0.174, 0.132, 0.042]) == LAW * A


@given(st.lists(st.integers(-3, 5), min_size=2, max_size=4).filter(lambda c: sum(c) > 0), st.integers(0, 99))
def test_the_limit_by_an_adaptive_solver(c, seed):
    """The gradient flow itself, not Euler's steps, far out in time; the distance falls as one over it at worst."""
    weights = np.array(c) / 4
    start = np.random.default_rng(seed).normal(size=len(c))

    def velocity(_, x):
        p = np.exp(x - x.max())
        return weights - p / p.sum() * weights.sum()

    x = solve_ivp(velocity, (0, 3_000), start, method="LSODA", rtol=1e-8, atol=1e-8).y[:, -1]
    p = np.exp(x - x.max())
    np.testing.assert_allclose(p / p.sum(), flow_limit(weights), atol=5e-3)


def test_training_is_the_compiled_flow():
    """Two programs: `train` in NumPy with factors, `flow` and `stale` compiled."""
    A = REWARD - LAW @ REWARD
    end = train(LAW, REWARD, lambda ratio, advantage: advantage + 0.3, size=0.7, steps=300)[-1]
    np.testing.assert_allclose(end, flow(LAW * (A + 0.3), np.log(LAW), 300, 0.7), atol=1e-12)

    def clipped(ratio, advantage):
        return advantage * masks(ratio, advantage, 0.2, 0.2, 0.6, 2.0)[2]

    end = train(LAW, REWARD, clipped, size=0.5, steps=100, sync=7)[-1]
    np.testing.assert_allclose(end, staleness.stale(LAW, REWARD, 7, 0.5, True, 0.2, 0.2, 100), atol=1e-12)


def test_a_baseline_above_the_mean_attracts_twice():
    """tau = 1: log E e^r = .6456, c = (-.1937, .0926, .0354), B = -.0656; arms 2 and 3 gain on others next to them."""
    level = regularised.soft_mean(LAW, REWARD, 1.0)
    assert level == pytest.approx(np.log(0.3 + 0.6 * np.exp(0.8) + 0.1 * np.exp(1)))
    c = LAW * (REWARD - level)
    assert c == pytest.approx([-0.1937, 0.0926, 0.0354], abs=1e-4)
    assert attractors(c).tolist() == [1, 2]
    assert regularised._ends_check(BUDGET).witness["ends on, from near each"] == [2, 2, 3]


def test_the_normaliser_is_not_the_mean():
    """Two answers, half each, r = (0, 1), tau = 1: K = log((1 + e)/2) - 1/2, direction K (pi_old - optimum)."""
    half, optimum = np.array([0.5, 0.5]), np.array([1, np.e]) / (1 + np.e)
    K = np.log((1 + np.e) / 2) - 0.5
    g = np.array([0, 1]) - 0.5 - np.log(optimum / half)
    assert g == pytest.approx([K, K])
    assert logit_direction(half, optimum, g) == pytest.approx(K * (half - optimum))
    assert abs(K * (half - optimum)).max() == pytest.approx(0.02776, abs=1e-5)


# Directions


@pytest.mark.parametrize("answers", [3, 4, 5])
def test_the_least_cosine_by_optimisation(answers):
    """Over all laws, policies and rewards from many starts: none below the bound, and some near it."""
    rng, found = np.random.default_rng(answers), []

    def cosine(x):
        b, p = (np.exp(row) / np.exp(row).sum() for row in x[: 2 * answers].reshape(2, -1))
        r = 1 / (1 + np.exp(-x[2 * answers :]))
        c, g = b * (r - b @ r), p * (r - p @ r)
        return c @ g / max(np.linalg.norm(c) * np.linalg.norm(g), 1e-12)

    hard = limits.opposed(answers, rare=1e-6)
    starts = [rng.normal(size=3 * answers) for _ in range(6)]
    starts.append(np.concatenate([np.log(hard["law"]), np.log(hard["p"]), 8 * (hard["r"] - 0.5)]))
    for start in starts:
        found.append(minimize(cosine, start, method="Nelder-Mead", options={"maxfev": 1500}).fun)
    assert min(found) >= least_cosine(answers) - 1e-9
    assert min(found) == pytest.approx(least_cosine(answers), abs=2e-3)


def test_three_answers_oppose_by_a_half():
    """c = (-1, 1, 0) and g = (0, -1, 1), up to scale: data on answers 1 and 2, policy on 2 and 3."""
    assert least_cosine(2) == 0
    assert least_cosine(3) == -0.5
    c, g = np.array([-1, 1, 0]), np.array([0, -1, 1])
    assert c @ g / 2 == -0.5
    assert least_cosine(4) == pytest.approx(-1 / 3**0.5)
    assert slope([0.5, 0.5, 0], [0, 0.5, 0.5], [0, 0.5, 1]) < 0


# Groups


def test_pairs_only_hear_which_is_better():
    """Groups of two: advantages over their standard deviation are plus and minus 1/sqrt 2, whatever the rewards.

    Even law, r = (0, 0.1, 1): the ends get -+ 4/9 of that, the middle nothing, though its reward is below the mean.
    """
    third = np.full(3, 1 / 3)
    found = surrogate.normalised_direction(third, np.array([0, 0.1, 1.0]), 2, eps=0.0 + 1e-300)
    np.testing.assert_allclose(found, np.array([-4, 0, 4]) / 9 / 2**0.5, atol=1e-12)
    assert 0.1 - np.mean([0, 0.1, 1]) < -0.2


def test_dropping_by_hand():
    """One right answer of four: two wrong ones are dropped, the mean is 1/2, and each wrong one stays a third of the
    time."""
    right, wrong = Fraction(1), Fraction(0)
    assert shaping.dropped([right, wrong, wrong, wrong]) == [Fraction(1, 2), *[Fraction(-1, 6)] * 3]
    assert 1 / (2 * (1 - Fraction(1, 4))) * (1 - Fraction(1, 4)) == Fraction(1, 2)
    assert shaping.dropped([right, right, wrong]) == [Fraction(1, 3), Fraction(1, 3), Fraction(-2, 3)]
    np.testing.assert_allclose(shaping.drop_weights(LAW, REWARD), LAW * (REWARD - 0.58))  # 0.7 lie at or above
    rare = np.array([0.8, 0.1, 0.1])  # a quarter of the bad ones stays: 0.2 each side, the mean is 0.45
    np.testing.assert_allclose(shaping.drop_weights(rare, REWARD), [-0.2 * 0.45, 0.1 * 0.35, 0.1 * 0.55])


# Staleness


@pytest.mark.parametrize(
    ("m", "size", "collapses"), [(1, 0.5, False), (20, 0.5, False), (100, 5.0, True), (1000, 0.5, True)]
)
def test_staleness_collapses_where_the_notes_say(m, size, collapses):
    value = staleness.stale(LAW, REWARD, m, size, False, 0.2, 0.2, 40_000) @ REWARD
    assert (value < 0.81) == collapses


@given(st.lists(st.integers(1, 9), min_size=2, max_size=5), st.integers(1, 30), st.floats(0.1, 3), st.integers(1, 90))
def test_intervals_in_closed_form_are_the_simulation(parts, m, size, total):
    law, r = np.array(parts) / sum(parts), np.linspace(0, 1, len(parts)) ** 2
    found = staleness.synced(law, r, m, size, total)
    np.testing.assert_allclose(found, staleness.stale(law, r, m, size, False, 0.2, 0.2, total), atol=1e-9)
    first = staleness.synced(law, r, m, size, m)
    np.testing.assert_allclose(first, after_sync(law, r, m * size), atol=1e-12)


def test_the_boundary_is_where_the_simulation_crosses():
    for m in (10, 60):
        size = staleness.boundary(LAW, REWARD, m, 10_000, 0.9, 0.5, 1e3)
        near = (0.99 * size, 1.01 * size)
        ends = [staleness.stale(LAW, REWARD, m, x, False, 0.2, 0.2, 10_000) @ REWARD for x in near]
        assert ends[1] < 0.9 <= ends[0]


def test_offline_clipping_stops_where_the_notes_say():
    """Clip 0.2 with importance weights or without: ratios (.533, 1.2, 1.2) on the three arms."""
    for own in (False, True):
        end = clipping.offline_end(LAW, REWARD, own, 0.2, 0.01, 100_000)
        np.testing.assert_allclose(end, [0.16, 0.72, 0.12], atol=2e-3)


def test_masks_by_hand():
    ratio, A = np.array([0.5, 1.0, 1.5, 1.5]), np.array([1.0, -1.0, 1.0, -1.0])
    two, ring, one = masks(ratio, A, 0.2, 0.2, 0.4, 0.4)
    assert two.tolist() == [False, True, False, False]
    assert ring.tolist() == [True, True, False, True]
    assert one.tolist() == [True, True, False, True]


BAD = [
    (lambda: flow_limit([-1.0, 0.5]), "c sums to -0.5, which is negative"),
    (lambda: flow_limit([]), "c must hold an answer"),
    (lambda: flow_limit([1.0, np.inf]), r"c\[1\] is inf"),
    (lambda: attractors([1.0, 0.5]), "not negative"),
    (lambda: train([0.0, 1.0], [0, 1], lambda x, A: A, size=1.0, steps=1), r"law\[0\] is 0"),
    (lambda: train([0.5, 0.5], [0, 1], lambda x, A: A[:1], size=1.0, steps=1), r"factor\(ratio, A\) must have shape"),
    (lambda: train([0.5, 0.5], [0, 1, 2], lambda x, A: A, size=1.0, steps=1), "r must have shape"),
    (lambda: train([0.5, 0.5], [0, 1], lambda x, A: A, size=0.0, steps=1), "size must lie in"),
    (lambda: after_sync([0.5, 0.5], [0, 1], -1.0), "product must lie in"),
    (lambda: red_threshold([0.3, 0.3, 0.4], [0, 0.1, 1]), "three increasing rewards, the second above the mean"),
    (lambda: least_cosine(1), "answers must be"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=range(len(BAD)))
def test_bad_calls(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_figures_hold_their_numbers():
    """Simulated flows end at the stars; the map's boundary has the collapsed cells above it and no others."""
    table = next(figure for figure in paper.FIGURES if figure.name == "flows").draw()[1]
    for _, part in table.groupby("method"):
        star = part.loc[part["start"] == -1, ["p1", "p2", "p3"]].to_numpy()[0]
        for start in range(5):
            end = part.loc[part["start"] == start, ["p1", "p2", "p3"]].to_numpy()[-1]
            np.testing.assert_allclose(end, star, atol=0.03)
