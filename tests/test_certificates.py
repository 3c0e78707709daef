"""Certificates of discounted MDPs against exact rational values, where every rounding would show."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimlab.mdps import TabularMDP, bellman, river_swim
from claimlab.mdps.certificates import (
    Evaluation,
    NotConverged,
    Progress,
    Solution,
    certify,
    conclude,
    contraction,
    middle,
    series,
)
from claimlab.mdps.exact import exact
from claimlab.mdps.tabular import EPS, rounding
from claimlab.theory.strategies import tabular_mdps

LOOP = TabularMDP([[[1.0]]], [[1.0]], 0.5)  # v* = 2; from v = 0 the bounds are known by hand


def test_bounds_by_hand():
    """tv = 1, residual 1, gamma / (1 - gamma) = 1: both ends are at 2, but for roundings outward."""
    low, high = certify(LOOP, np.zeros(1), np.ones(1))
    assert low < 1 < high
    assert high - low < 60 * EPS
    found = conclude(LOOP, np.zeros(1), np.ones(1), np.zeros(1, np.int64), 7)
    assert found.iterations == 7
    assert found.v[0] == pytest.approx(2, abs=40 * EPS)
    assert 0 < found.error < 60 * EPS
    assert abs(found.v[0] - 2) <= found.error


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_rows_that_sum_to_less_or_more_than_1_widen_the_worse_end(sign):
    """Row sums of 1 +- 1e-10: the series of a residual d is d g / (1 - g) with g the worse of gamma (1 +- 1e-10)."""
    mdp = TabularMDP([[[1.0 - sign * 1e-10]]], [[1.0]], 0.9)
    less, more = contraction(mdp)
    assert less <= 0.9 * (1 - 1e-10) <= 0.9 * (1 + 1e-10) <= more
    assert more - less == pytest.approx(1.8e-10, rel=1e-3)
    low, high = series(mdp, np.array([sign]), 0.0)
    ends = [sign * g / (1 - g) for g in (less, more)]
    assert low <= min(ends)
    assert max(ends) <= high
    assert (low, high) == pytest.approx((min(ends), max(ends)), abs=1e-13)


def test_slack_widens_both_ends_by_itself_and_its_series():
    plain, wide = series(LOOP, np.array([1.0, 3.0]), 0.0), series(LOOP, np.array([1.0, 3.0]), 0.25)
    assert plain == pytest.approx((1.0, 3.0), abs=1e-13)
    assert wide == pytest.approx((1.0 - 0.5, 3.0 + 0.5), abs=1e-13)  # slack + gamma / (1 - gamma) slack


@given(tabular_mdps(masked=True), st.data())
def test_the_bounds_enclose_the_exact_optimum(mdp, data):
    v = np.array(data.draw(st.lists(st.floats(-5, 5), min_size=mdp.n_states, max_size=mdp.n_states)))
    tv = bellman(mdp, v).max(axis=1)
    low, high = certify(mdp, v, tv)
    for t, true in zip(tv, exact(mdp).v):
        assert Fraction(float(t)) + Fraction(low) <= true <= Fraction(float(t)) + Fraction(high)
    found = conclude(mdp, v, tv, np.zeros(mdp.n_states, np.int64), 1)
    assert all(abs(Fraction(float(x)) - true) <= Fraction(found.error) for x, true in zip(found.v, exact(mdp).v))
    width = mdp.gamma / (1 - mdp.gamma) * float(np.ptp(tv - v))
    rounded = rounding(mdp, v, mdp.gamma) + EPS * (abs(tv).max() + abs(v).max())
    assert high - low <= width * (1 + 1e-9) + 40 * rounded / (1 - mdp.gamma) + 1e-300


def test_no_contraction_is_an_error():
    mdp = TabularMDP([[[1.0 + 9e-10]]], [[1.0]], 1 - 1e-10)
    with pytest.raises(
        ValueError, match=r"gamma = 0\.9999999999 is so close to 1 that rows of P summing to 1 within 9"
    ):
        contraction(mdp)


def test_a_discount_that_rounds_to_no_contraction_is_an_error():
    """gamma (1 + row_error) = (1 - EPS)(1 + EPS) rounds to 1."""
    with pytest.raises(ValueError, match="need not make a contraction"):
        contraction(TabularMDP([[[1.0]]], [[1.0]], 1 - EPS))


def test_the_middle_of_two_bounds():
    found = middle(np.array([1.0, 4.0]), np.array([0, 1]), -1.0, 2.0, 3)
    assert found.v.tolist() == [1.5, 4.5]
    assert found.error == pytest.approx(1.5 + EPS * (4.5 + 1.0 + 2.0), abs=1e-18)
    assert found.error > 1.5
    assert (found.policy.tolist(), found.iterations) == ([0, 1], 3)


def test_progress_stops_at_the_tolerance_and_not_before():
    mdp = river_swim(3, 0.5)
    progress = Progress(mdp, 0.1)
    low, high, over = progress.bounds(-0.2, 0.2, 0.0)
    assert (low, high) == pytest.approx((-0.2, 0.2), abs=1e-12)
    assert not over
    assert progress.best == high - low
    assert Progress(mdp, 0.1).bounds(-0.09, 0.09, 0.0)[2]
    assert not Progress(mdp, 0.1).bounds(-0.1, 0.0999, 0.0)[2]  # 1.99 tolerances: the middle rounds once more
    assert Progress(mdp, 0.1).bounds(-0.099, 0.099, 0.0)[2]


def test_progress_gives_up_near_the_floor_only_after_50_fruitless_looks():
    """With slack 1 the floor is a width of 4; a span of 8 + 4 is near it, one of 1000 is not, however long it lasts."""
    near, far = Progress(LOOP, 1e-9), Progress(LOOP, 1e-9)
    looks = [near.bounds(-4.0, 4.0, 1.0)[2] for _ in range(60)]
    assert looks.index(True) == 51
    assert not any(far.bounds(-1000.0, 1000.0, 1.0)[2] for _ in range(60))
    falling = Progress(LOOP, 1e-9)
    assert not any(falling.bounds(-x, x, 1.0)[2] for x in np.linspace(9, 4, 60))
    assert Progress(LOOP, 1e-9).bounds(0.0, 0.0, 1.0)[2]  # at the floor
    assert not Progress(LOOP, 1e-9).bounds(-2.5, 2.5, 1.0)[2]
    assert Progress(LOOP, 1.0).bounds(-np.inf, np.inf, 0.0)[2]


def test_an_answer_that_did_not_converge_is_kept():
    solution = Solution(np.zeros(1), np.zeros(1, np.int64), 3.0, 5)
    error = NotConverged("too few sweeps", solution)
    assert str(error) == "too few sweeps"
    assert error.solution is solution
    assert Evaluation(np.zeros(1), 0.5).error == 0.5
