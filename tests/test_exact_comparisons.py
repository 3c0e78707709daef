"""Exact comparisons against enumeration, and against what they must refuse."""

from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from claimlab.theory.evidence import from_json, judge, to_json
from claimlab.theory.exact_comparisons import bound_comparison, settled, settled_rate, sign_comparison


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


@pytest.mark.parametrize(("low", "high", "share"), [(0.0, 2.0, 0.5), (0.5, 5.5, 0.1), (0.0, 10.0, 0.1)])
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
    ("call", "message"),
    [
        (lambda: sign_comparison([1.0] * 9, [0.0] * 9, effect=0.0), "10 pairs at least"),
        (lambda: sign_comparison([1.0] * 10, [0.0] * 11, effect=0.0), "must be paired"),
        (lambda: bound_comparison([1.0, -1.0], 1.0, effect=0.0), r"x\[1\] is -1"),
        (lambda: bound_comparison([1.0], 1.0, effect=1.0, reverse=True), "leave no positive mean"),
        (lambda: bound_comparison([1.0], -1.0, effect=0.0), "most"),
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
