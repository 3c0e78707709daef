"""Exact comparisons against enumeration, and against what they must refuse."""

from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from claimlab.theory.concentration import betting_interval, betting_lower
from claimlab.theory.evidence import from_json, judge, to_json
from claimlab.theory.exact_comparisons import (
    bound_comparison,
    bounded_comparison,
    settled,
    settled_rate,
    sign_comparison,
    sign_rate,
)


@given(st.lists(st.integers(-3, 3), min_size=10, max_size=40), st.integers(-1, 1))
def test_signs_are_a_binomial_test(differences, effect):
    a, n, wins = np.array(differences, float), len(differences), sum(d > effect for d in differences)
    found = sign_comparison(a, np.zeros(n), effect=effect)
    assert found.p_support == pytest.approx(binomtest(wins, n, 0.5, alternative="greater").pvalue)
    assert found.p_refute == pytest.approx(binomtest(wins, n, 0.5, alternative="less").pvalue)
    assert found.low <= found.difference <= found.high
    assert from_json(to_json(found)) == found


def test_the_interval_covers_the_median():
    """All 2^12 orders of 12 pairs below or above the median: it lies outside with probability 0.05 at most."""
    missed = 0
    for signs in product([-1.0, 1.0], repeat=12):
        found = sign_comparison(np.array(signs) * np.arange(1, 13), np.zeros(12), effect=0.0)
        missed += not found.low <= 0 <= found.high
    assert 0 < missed / 2**12 <= 0.05


LAWS = [
    (0.0, 2.0, 0.5),
    (0.5, 5.5, 0.1),
    (0.0, 10.0, 0.1),
    (0.9, 1.9, 0.1),
]  # two points and the second one's probability


@pytest.mark.parametrize(("low", "high", "share"), LAWS)
@pytest.mark.parametrize("level", [0.5, 0.05, 1e-3])
def test_the_product_is_a_p_value(low, high, share, level):
    """Two-point laws of mean 1, all outcomes of ten runs: p falls below the level with at most its probability."""
    assert (1 - share) * low + share * high == pytest.approx(1)
    chance = 0.0
    for k in range(11):
        found = bound_comparison([high] * k + [low] * (10 - k), 1.0, effect=0.0)
        if found.p_support <= level:
            chance += comb(10, k) * share**k * (1 - share) ** (10 - k)
    assert chance <= level


def test_a_bound_from_above_decides_one_side():
    large = bound_comparison([50.0] * 10, 4.0, effect=1.0)
    reverse = bound_comparison([50.0] * 10, 4.0, effect=1.0, reverse=True)
    assert (large.p_support, large.p_refute) == (pytest.approx(10.0**-10), 1.0)
    assert (reverse.p_support, reverse.p_refute) == (1.0, pytest.approx((3 / 50) ** 10))
    verdicts = judge({"a": large, "b": reverse})
    assert [str(v.outcome) for v in verdicts.values()] == ["supported", "refuted"]
    assert bound_comparison([0.0] + [50.0] * 9, 4.0, effect=1.0).p_support == 1.0  # a zero loses every stake


@pytest.mark.parametrize(
    ("low", "high", "share"), [(0.0, 2.0, 0.5), (0.5, 5.5, 0.1), (0.0, 10.0, 0.1), (0.9, 1.9, 0.1)]
)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("level", [0.5, 0.05, 1e-3])
def test_both_products_are_p_values(low, high, share, reverse, level):
    """The same in [0, 10] with the number itself: the mean lies on the edge, so neither side may be excluded often."""
    assert (1 - share) * low + share * high == pytest.approx(1)
    chance = np.zeros(2)
    for k in range(11):
        found = bounded_comparison([high] * k + [low] * (10 - k), 1.0, most=10.0, reverse=reverse)
        chance += (np.array(found.p_values) <= level) * comb(10, k) * share**k * (1 - share) ** (10 - k)
    assert chance.max() <= level


def test_a_number_that_the_mean_is_far_from():
    """(1 / 4)^10 against a mean of at most 1, and ((10 - 5) / (10 - 4))^10 against one of at least 5."""
    above, below = (bounded_comparison([4.0] * 10, known, most=10.0) for known in (1.0, 5.0))
    assert (above.p_support, above.p_refute) == (pytest.approx(0.25**10), 1.0)
    assert (below.p_support, below.p_refute) == (1.0, pytest.approx((5 / 6) ** 10))
    turned = bounded_comparison([4.0] * 10, 5.0, most=10.0, reverse=True)
    assert (turned.p_values, turned.difference) == ((below.p_refute, below.p_support), 1.0)
    assert turned.low <= 1.0 <= turned.high


@given(st.lists(st.floats(0.5, 3), min_size=10, max_size=30), st.sampled_from(["at most", "at least"]))
def test_slopes_are_a_binomial_test(slopes, side):
    x = np.array([1.0, 2.0, 8.0])
    found = sign_rate(x, x ** np.array(slopes)[:, None], exponent=1.7, side=side, resolution=0.1)
    wins = sum(s <= 1.8 if side == "at most" else s >= 1.6 for s in slopes)
    assert found.p_support == pytest.approx(binomtest(wins, len(slopes), 0.5, alternative="greater").pvalue)
    assert found.p_refute == pytest.approx(binomtest(wins, len(slopes), 0.5, alternative="less").pvalue)
    assert found.slope == pytest.approx(np.median(slopes))
    assert from_json(to_json(found)) == found


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sign_comparison([1.0] * 9, [0.0] * 9, effect=0.0), "10 pairs at least"),
        (lambda: sign_comparison([1.0] * 10, [0.0] * 11, effect=0.0), "must be paired"),
        (lambda: bound_comparison([1.0, -1.0], 1.0, effect=0.0), r"x\[1\] is -1"),
        (lambda: bound_comparison([1.0], 1.0, effect=1.0, reverse=True), "leave no positive mean"),
        (lambda: bound_comparison([1.0], -1.0, effect=0.0), "most"),
        (lambda: bounded_comparison([1.0, 3.0], 1.0, most=2.0), r"a\[1\] is 3, more than most = 2"),
        (lambda: bounded_comparison([1.0], 2.0, most=2.0), "known"),
        (lambda: sign_rate([1.0, 2.0, 3.0], np.ones((9, 3)), exponent=1.0, side="at most"), "10 runs at least"),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("a", "b", "supported"), [(3.0, 1.0, True), (2.0, 1.0, False), (0.0, 1.0, False)])
def test_what_has_no_noise_is_decided_by_one_run(a, b, supported):
    found = settled(a, b, effect=1.0)
    assert found.p_values == (float(not supported), float(supported))
    assert (found.low, found.difference, found.high, found.runs) == (a - b, a - b, a - b, 1)
    assert from_json(to_json(found)) == found
    assert str(judge({"it": found})["it"].outcome) == ("supported" if supported else "refuted")


@given(st.floats(-2, 2), st.floats(-2, 2), st.sampled_from(["at most", "at least"]))
def test_a_slope_without_noise_is_decided_beyond_its_resolution(slope, exponent, side):
    x = np.array([1.0, 10.0, 100.0])
    found = settled_rate(x, 3 * x**slope, exponent=exponent, side=side, resolution=0.1)
    beyond = slope - exponent if side == "at most" else exponent - slope
    if abs(beyond - 0.1) > 1e-9:
        assert found.p_values == (float(beyond > 0.1), float(beyond < 0.1))
    assert found.slope == pytest.approx(slope, abs=1e-9)


def test_intervals_are_those_of_the_mean_less_what_is_known():
    """Either way round; and what is known may be any positive number."""
    x = [0.25, 0.75] * 30
    mean = betting_interval(x, 0.0, 2.0)
    forward, back = (bounded_comparison(x, 0.4, most=2.0, reverse=reverse) for reverse in (False, True))
    np.testing.assert_allclose((forward.low, forward.high), (mean.low - 0.4, mean.high - 0.4))
    np.testing.assert_allclose((back.low, back.high), (-forward.high, -forward.low))
    assert (forward.effect, back.effect) == (0, 0)
    least = betting_lower(x)
    above, below = (bound_comparison(x, 0.4, effect=0.1, reverse=reverse) for reverse in (False, True))
    np.testing.assert_allclose((above.low, above.high), (least - 0.4, np.inf))
    np.testing.assert_allclose((below.low, below.high), (-np.inf, 0.4 - least))
