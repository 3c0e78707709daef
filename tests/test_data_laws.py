"""Worst laws of the data for REINFORCE: against gradients and optimisers, and by hand; claims: test_exact_language."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from claimlab.experiments.papers import group_relative_reinforce as paper
from claimlab.experiments.papers.group_relative_reinforce import laws
from claimlab.theory.data_laws import safe_ratio, slope, worst_law, worst_law_within, worst_limit

P, R = np.array([0.3, 0.6, 0.1]), np.array([0.0, 0.8, 1.0])


def bandits(n):
    return st.tuples(
        st.lists(st.integers(1, 9), min_size=n, max_size=n).map(lambda w: np.array(w) / sum(w)),
        st.lists(st.integers(0, 4), min_size=n, max_size=n).map(lambda x: np.array(x) / 4),
    )


@given(st.integers(2, 4).flatmap(lambda n: st.tuples(bandits(n), bandits(n))))
def test_the_slope_is_a_difference_quotient(drawn):
    (p, r), (b, _) = drawn
    c, h = b * (r - b @ r), 1e-5

    def value(t):
        e = p * np.exp(t * c)
        return e @ r / e.sum()

    assert slope(b, p, r) == pytest.approx((value(h) - value(-h)) / (2 * h), abs=1e-8)


@settings(max_examples=15)
@given(bandits(3), st.sampled_from([1.0, 1.5, 4.0]))
def test_no_optimiser_finds_a_worse_law(bandit, ratio):
    p, r = bandit
    found = worst_law_within(p, r, ratio)
    assert found.law.sum() == pytest.approx(1)
    assert (found.law <= ratio * p + 1e-12).all()
    assert (found.law >= p / ratio - 1e-12).all()
    assert slope(found.law, p, r) == pytest.approx(found.slope)
    for seed in range(3):
        start = np.random.default_rng(seed).dirichlet(np.ones(3))
        best = minimize(
            lambda b: b @ ((r - b @ r) * p * (r - p @ r)),
            start,
            bounds=list(zip(p / ratio, np.minimum(ratio * p, 1))),
            constraints={"type": "eq", "fun": lambda b: b.sum() - 1},
        )
        if best.success:
            assert best.fun >= found.slope - 1e-6
    assert worst_law(p, r).slope <= found.slope + 1e-12


def test_the_finite_search_is_not_above_a_grid():
    """Laws of four answers on a grid within the ratio; the worst of some has two answers at each end."""
    rng, share = np.random.default_rng(4), np.linspace(0, 1, 21)
    for _ in range(150):
        p, r, ratio = rng.dirichlet(np.full(4, 0.5)) * 0.94 + 0.015, rng.random(4), rng.uniform(1.1, 6)
        low, high = p / ratio, np.minimum(ratio * p, 1)
        b = np.stack(np.meshgrid(*(low[a] + share * (high[a] - low[a]) for a in range(3))), axis=3).reshape(-1, 3)
        b = np.column_stack([b, 1 - b.sum(axis=1)])
        b = b[(b[:, 3] >= low[3]) & (b[:, 3] <= high[3])]
        g = p * (r - p @ r)
        slopes = b @ (r * g) - (b @ r) * (b @ g)
        assert worst_law_within(p, r, ratio).slope <= slopes.min() + 1e-12


def test_the_three_arms_by_hand():
    """J = 0.58, g = (-.174, .132, .042): half of each of the better answers gives (0.2)(-0.09)/4 = -0.0045."""
    found = worst_law(P, R)
    assert found.law.tolist() == [0, 0.5, 0.5]
    assert found.slope == pytest.approx(-0.0045)
    assert slope(P, P, R) > 0
    kappa = safe_ratio(P, R)
    assert worst_law_within(P, R, kappa * 1.01).slope < 0 <= worst_law_within(P, R, kappa * 0.99).slope
    assert kappa == pytest.approx(15.645, abs=1e-3)


def test_a_law_within_the_clip_range_in_rationals():
    """200 unlikely answers of each kind: the good ones 1.25 times as often in the data, the bad ones 1/1.2 times."""
    _, p, r = laws.crowd(200, 0.1, 0.1, 1.25, 1 / 1.2)
    half, exact = Fraction(1, 2), [Fraction(9, 10), Fraction(9, 40_000), Fraction(11, 40_000)]
    assert p[[0, 1, 201]] == pytest.approx([float(x) for x in exact])
    data = [None, exact[1] * Fraction(5, 4), exact[2] * Fraction(5, 6)]
    data[0] = 1 - 200 * (data[1] + data[2])
    assert all(Fraction(4, 5) <= x / y <= Fraction(6, 5) for x, y in zip(exact, data))
    copies, rewards = (1, 200, 200), (half, Fraction(1), Fraction(0))
    J = sum(k * x * y for k, x, y in zip(copies, exact, rewards))
    mean = sum(k * x * y for k, x, y in zip(copies, data, rewards))
    fall = sum(k * b * (y - mean) * x * (y - J) for k, b, x, y in zip(copies, data, exact, rewards))
    assert fall < 0
    law, _, _ = laws.crowd(200, 0.1, 0.1, 1.25, 1 / 1.2)
    assert slope(law, p, r) == pytest.approx(float(fall))
    assert laws._clip(200, 0.1, 0.1, clip=0.2).violated


def test_the_limit_is_any_answer_but_the_worst():
    assert worst_limit([0.0, 0.5, 1.0]) == 0.5
    assert worst_limit([0.2, 0.2]) == 0
    b = np.array([0.49, 0.49, 0.02])
    c = b * (np.array([0, 0.5, 1]) - 0.265)
    assert c.argmax() == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: slope([0.5, 0.5], P, R), "law must have shape \\(3,\\)"),
        (lambda: slope(P, [0.5, 0.6], R), "policy sums to 1.1"),
        (lambda: worst_law(P, [0, 1]), "r must have shape"),
        (lambda: worst_law_within(P, R, 0.5), "ratio must lie in"),
        (lambda: worst_law_within(np.full(20, 0.05), np.arange(20.0), 2), "number of answers must be in 1..12"),
        (lambda: safe_ratio(P, R, most=1.0), "most must lie in"),
        (lambda: worst_limit([]), "one reward at least"),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_figure_agrees_with_the_worst_law():
    _, data = next(figure for figure in paper.FIGURES if figure.name == "laws").draw()
    assert data["slope"].min() == pytest.approx(worst_law(P, R).slope)
    inside = (data["b2"] > 0) & (data["b3"] > 0) & (data["b2"] + data["b3"] < 1)
    assert set(data["limit"][inside]) == {2, 3}
