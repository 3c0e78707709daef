"""Intervals against the formulas of their papers, written out, and against all outcomes."""

from itertools import product
from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from claimlab.bandits import BanditLog
from claimlab.native import interpreted
from claimlab.theory import concentration
from claimlab.theory.concentration import (
    Interval,
    betting_interval,
    betting_lower,
    betting_p_value,
    empirical_bernstein,
    normal_interval,
)
from claimlab.theory.off_policy import bernstein_interval, value_interval

UNIT = st.lists(st.floats(0, 1, allow_subnormal=False), min_size=2, max_size=30)
LEVELS = st.sampled_from([0.01, 0.05, 0.3])


@given(UNIT, LEVELS)
def test_empirical_bernstein_is_the_papers(x, level):
    n, m = len(x), sum(x) / len(x)
    pairs = sum((a - b) ** 2 for a in x for b in x) / (2 * n * (n - 1))  # V_n as the paper defines it
    radius = sqrt(2 * pairs * log(4 / level) / n) + 7 * log(4 / level) / (3 * (n - 1))
    found = empirical_bernstein(x, 0, 1, level)
    assert found == pytest.approx((max(m - radius, 0), min(m + radius, 1)), abs=1e-7)


def capital(x, m, level, sign):
    """One side of the hedged capital at each time, in plain Python (Waudby-Smith & Ramdas 2024, Section 4)."""
    n, out, wealth, total, squares = len(x), [], 1.0, 0.5, 0.25
    for i, value in enumerate(x):
        bet = sqrt(2 * log(2 / level) / (n * squares / (i + 1)))  # the variance known before this observation
        most = 0.75 / (m if sign > 0 else 1 - m)
        wealth *= 1 + sign * min(bet, most) * (value - m)
        out.append(wealth)
        total += value
        squares += (value - total / (i + 2)) ** 2
    return out


@settings(deadline=None, max_examples=60)
@given(UNIT, LEVELS)
def test_the_interval_ends_where_the_capital_excludes_the_mean(x, level):
    found = betting_interval(x, 0, 1, level)
    step = 1e-7

    def excluded(m, sign):
        return max(capital(x, m, level, sign)) >= 2 / level

    if found.low > 2 * step:
        assert excluded(found.low - step, 1)
    if found.high < 1 - 2 * step:
        assert excluded(found.high + step, -1)
    if found.low + step < 1:
        assert not excluded(found.low + step, 1)
    if found.high - step > 0:
        assert not excluded(found.high - step, -1)


@settings(deadline=None, max_examples=30)
@given(UNIT, LEVELS, st.sampled_from([1.0, 7.0]), st.floats(-5, 5))
def test_intervals_move_and_stretch_with_the_observations(x, level, scale, shift):
    moved = [shift + scale * value for value in x]
    for interval in (empirical_bernstein, betting_interval):
        plain, other = (
            interval(x, 0, 1, level),
            interval(np.clip(moved, shift, shift + scale), shift, shift + scale, level),
        )
        assert other == pytest.approx((shift + scale * plain.low, shift + scale * plain.high), abs=1e-6)


@given(UNIT, st.floats(0.1, 50))
def test_the_lower_bound_scales(x, scale):
    """Not exactly: its first bets guess a variance of 1/4.  It stays below the mean, and at 0 where all are 0."""
    assert 0 <= betting_lower(scale * np.array(x)) <= scale * max(x) + 1e-12
    assert betting_lower(np.zeros(3)) == 0.0


@pytest.mark.parametrize(("high", "share"), [(1.0, 0.3), (3.0, 0.1), (30.0, 0.01)])
def test_a_bet_is_a_p_value(high, share):
    """Laws of two values, all outcomes of twelve runs: p is below a level with at most its probability."""
    chance, p = stats.binom.pmf(np.arange(13), 12, share), []
    for k in range(13):
        p.append(betting_p_value([-1.0 + high] * k + [-1.0] * (12 - k), share * high - 1, -1.0))
    assert all(chance[np.array(p) <= level].sum() <= level for level in p)
    assert min(p) == p[12] < 1e-3
    assert p[0] == 1.0


def test_the_p_value_of_equal_runs_is_at_most_the_whole_capital_shared():
    p = betting_p_value(np.full(20, 5.0), 2.0, 1.0)
    np.testing.assert_allclose(p, 4 / sum((1 + share * 3) ** 20 for share in (1, 0.5, 0.25, 0.125)), rtol=1e-12)
    assert p <= 4 * (1 / 4) ** 20
    assert betting_p_value([1.0] + [5.0] * 20, 2.0, 1.0) < 1e-6  # a bet that may lose all is not the only one


def test_compiled_and_interpreted_agree(monkeypatch):
    x = np.random.default_rng(0).random(40) ** 3
    compiled = betting_interval(x, 0, 1)
    for name in ("_bets", "_reaches"):
        monkeypatch.setattr(concentration, name, interpreted(getattr(concentration, name)))
    assert betting_interval(x, 0, 1) == pytest.approx(compiled, rel=1e-13)


def test_long_samples_neither_overflow_nor_vanish():
    """Capital of e^(n/4) and e^(-n/4) alike; the interval closes around the mean."""
    x = np.tile([0.0, 1.0], 50_000)
    found = betting_interval(x, 0, 1)
    assert found.holds(0.5)
    assert found.width < 0.01
    assert betting_lower(np.ones(10_000)) > 0.99


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9])
def test_miscoverage_over_all_sequences(p):
    """Two-sided, at a level of 0.2, over the 256 sequences of 8 coins."""
    missed = 0.0
    for bits in product((0.0, 1.0), repeat=8):
        if not betting_interval(bits, 0, 1, 0.2).holds(p):
            missed += p ** sum(bits) * (1 - p) ** (8 - sum(bits))
    assert missed <= 0.2


def test_normal():
    assert normal_interval(1.0, 2.0) == pytest.approx((1 - 2 * 1.959964, 1 + 2 * 1.959964), abs=1e-5)
    assert normal_interval(1.0, np.nan) == (-np.inf, np.inf)  # nothing known
    assert Interval(0.0, 1.0).width == 1.0


# Logs.


def log_of(rng, n, target, reward=0.7):
    a = rng.integers(2, size=n)
    r = (rng.random(n) < reward).astype(float)
    return BanditLog(a, r, None, [target] * n, logging=[[0.5, 0.5, 0.0]] * n, reward_range=(0, 1), weight_bound=2.0)


def test_an_uncovered_target_is_enclosed_wherever_its_value_is():
    """0.6 of the target is logged and pays 0.7 on average; the rest may pay 0 or 1."""
    log = log_of(np.random.default_rng(0), 20_000, [0.3, 0.3, 0.4])
    found = value_interval(log)
    assert found.low < 0.42
    assert found.high > 0.82
    assert found.width < 0.4 + 0.05


def test_rewards_may_have_another_range():
    rng = np.random.default_rng(1)
    log = log_of(rng, 500, [0.9, 0.1, 0.0])
    other = BanditLog(
        log.actions, 3 + 4 * log.rewards, log.propensities, log.target, reward_range=(3, 7), weight_bound=2.0
    )
    for interval in (value_interval, bernstein_interval):
        plain, moved = interval(log), interval(other)
        assert moved == pytest.approx((3 + 4 * plain.low, 3 + 4 * plain.high), abs=1e-6)


def test_bernstein_of_dr_is_of_its_terms():
    log = log_of(np.random.default_rng(2), 4_000, [0.9, 0.1, 0.0])
    modelled = BanditLog(log.actions, log.rewards, None, log.target, np.full((4_000, 3), 0.7), log.logging, (0, 1), 2.0)
    terms = 0.7 + log.weights * (log.rewards - 0.7)
    assert bernstein_interval(modelled) == pytest.approx(empirical_bernstein(terms, -2, 3), abs=1e-12)
    assert bernstein_interval(log) == pytest.approx(empirical_bernstein(log.weights * log.rewards, 0, 2), abs=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: empirical_bernstein([0.5], 0, 1), "2 observations at least"),
        (lambda: empirical_bernstein([0.5, 1.5], 0, 1), r"x\[1\] is 1.5, outside \[0, 1\]"),
        (lambda: betting_interval([0.5, 0.5], 1, 0), "low and high must be finite with low < high"),
        (lambda: betting_interval([0.5, np.nan], 0, 1), r"x\[1\] is nan"),
        (lambda: betting_interval([0.5, 0.5], 0, 1, 1.0), "level must lie in"),
        (lambda: betting_lower([-0.1]), r"x\[0\] is -0.1; observations must be nonnegative"),
        (lambda: betting_lower([]), "at least one observation"),
        (lambda: betting_p_value([0.5, -0.1], 0.5, 0.0), r"x\[1\] is -0.1, below low = 0"),
        (lambda: betting_p_value([0.5], 0.0, 0.0), "mean must exceed low, both finite; got 0.0 and 0.0"),
        (lambda: betting_p_value([0.5], 0.5, -np.inf), "mean must exceed low, both finite"),
        (lambda: normal_interval(0, 1, 0), "level must lie in"),
        (
            lambda: bernstein_interval(BanditLog([0], [0.0], [0.5], [[1.0]], reward_range=(0, 1))),
            "weight_bound is infinite",
        ),
        (
            lambda: bernstein_interval(BanditLog([0], [0.0], [0.5], [[1.0]], [[2.0]], None, (0, 1), 2.0)),
            r"model\[0, 0\] is 2, outside reward_range",
        ),
    ],
)
def test_bad_calls_are_told(call, message):
    with pytest.raises(ValueError, match=message):
        call()
