"""Regret bounds against direct computations: numerical optimisers, loops, and hand calculation."""

from math import log, pi, sqrt

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import rel_entr

from claimlab.theory import regret

UNIT = st.floats(0, 1, allow_subnormal=False)
means = st.lists(st.sampled_from([0.0, 0.5, 1.0]) | UNIT, min_size=1, max_size=5)


@given(UNIT, UNIT)
def test_kl_is_the_relative_entropy_of_two_coins(p, q):
    np.testing.assert_allclose(
        regret.bernoulli_kl(p, q), rel_entr(p, q) + rel_entr(1 - p, 1 - q), rtol=1e-9, atol=1e-15
    )


@given(means)
@example([0.625, 1 - 2**-53])
def test_lai_robbins_by_a_loop(mu):
    best = max(mu)
    assume(all(m == best or best - m > 1e-6 for m in mu))  # the loop below would divide by a rounding error
    expected = sum((best - m) / (rel_entr(m, best) + rel_entr(1 - m, 1 - best)) for m in mu if m < best)
    assert regret.lai_robbins(mu) == pytest.approx(expected, rel=1e-6)


def test_lai_robbins_where_one_mean_is_next_to_nothing():
    """kl(0, q) = -log(1 - q), about q."""
    assert regret.lai_robbins([0.0, 1e-200]) == pytest.approx(1, rel=1e-12)


def test_ucb1_by_hand():
    """Gaps 0, 1/2, 1/4, T = e^3: 8 * 3 * (2 + 4) + (1 + pi^2/3) * 3/4, at the whole number below e^3."""
    T = 20
    assert regret.ucb1([0, 0.5, 0.25], T) == pytest.approx(8 * log(20) * 6 + (1 + pi**2 / 3) * 0.75, rel=1e-14)
    assert regret.delayed_ucb1([0, 0.5, 0.25], T, 7) == pytest.approx(regret.ucb1([0, 0.5, 0.25], T) + 7 * 0.75)


@pytest.mark.parametrize(
    ("low", "high", "T"), [(0.4, 0.6, 1000), (0.1, 0.9, 10**5), (0.05, 0.1, 10**6), (0.0, 1.0, 100)]
)
def test_the_infimum_of_kl_ucb_is_nearly_attained(low, high, T):
    gap, level = high - low, log(1 + T * log(T) ** 2)

    def value(x):
        a, b = np.exp(x) / (1 + np.exp(x).sum()) * gap
        p, q = low + a, high - b
        return gap * (level / (rel_entr(p, q) + rel_entr(1 - p, 1 - q)) + 1 / (2 * a**2) + 2 / b**2)

    least = min(minimize(value, [s, s], method="Nelder-Mead").fun for s in (-1.5, -0.5, 0.5))
    assert least * (1 - 1e-9) <= regret.kl_ucb([low, high], T) <= 1.02 * least


def test_adversarial_bounds_by_hand():
    assert regret.exp3(2, 50) == pytest.approx(sqrt(200 * log(2)))
    assert regret.exp3_anytime(2, 50) == pytest.approx(2 * sqrt(100 * log(2)))
    assert regret.exp3_mixing(2, 10.0, 0.5) == pytest.approx((np.e - 1) * 5 + 4 * log(2))
    assert regret.exp3_ix(2, 50, 0.1) == pytest.approx(2 * sqrt(200 * log(2)) + (sqrt(200 / log(2)) + 1) * log(20))
    assert regret.tsallis_inf(4, 25) == 41
    assert regret.tsallis_inf_sharp(4, 25) == 20 + 10
    assert regret.moss([0, 0.5], 200) == pytest.approx(39 / 2 * 20 + 0.5)


@given(st.floats(0.05, 1), st.sampled_from([1, 5, 100, 2_000, 4_000]))
@settings(max_examples=20)
@example(1.0, 2_000)  # where the bound for adversaries is the larger
@example(0.6, 4_000)
def test_the_stochastic_bound_maximises_over_the_weight_of_each_round(gap, T):
    w = np.linspace(0, 1, 2_001) ** 2
    total = 4.58 * sqrt(2)
    for t in range(1, T + 1):
        total += ((4 / sqrt(t) + 2 / t**1.5) * np.sqrt(w) - (gap - 2 / sqrt(t) - 8 / t) * w).max()
    expected = min(total, regret.tsallis_inf_sharp(2, T))
    assert regret.tsallis_inf_stochastic([0, gap], T) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("gap", [1.0, 0.5, 0.25])
def test_the_stochastic_bound_grows_by_four_log_over_gap(gap):
    grown = regret.tsallis_inf_stochastic([0, gap], 10**7) - regret.tsallis_inf_stochastic([0, gap], 10**6)
    assert grown / log(10) == pytest.approx(4 / gap, rel=0.02)


def test_the_proof_of_the_stochastic_bound_step_by_step():
    """The three elementary inequalities that the docstring uses, on grids."""
    a = np.linspace(0, 0.5, 1001)
    assert (1 / (1 - a) <= 1 + 2 * a + 1e-15).all()
    t = np.arange(1, 10_000.0)
    assert (2 * (np.sqrt(t) - np.sqrt(t - 1)) <= (1 + 1 / t) / np.sqrt(t) + 1e-15).all()
    assert (1 / np.sqrt([1, 2, 3])).sum() < 2.29
    w, eta = np.meshgrid(np.linspace(0, 1, 201), np.linspace(0, 1, 51))
    left = np.sqrt(w) * (1 - w) ** 2 + w**1.5 * (1 - w) / (1 - eta * np.sqrt(w) / 2)
    assert (left <= np.sqrt(w) * (1 - w) * (1 + eta * w**1.5) + 1e-15).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: regret.ucb1([0.1, 0.5], 10), "gaps must hold a 0"),
        (lambda: regret.ucb1([0, 1.5], 10), r"gaps\[1\] must lie in \[0, 1\]"),
        (lambda: regret.ucb1([0, 0.5], 0), "horizon must be at least 1"),
        (lambda: regret.delayed_ucb1([0, 0.5], 10, -1), "delay must be at least 0"),
        (lambda: regret.lai_robbins([0.5, np.nan]), r"means\[1\] is nan"),
        (lambda: regret.exp3(1, 10), "n_arms must be at least 2"),
        (lambda: regret.exp3_mixing(2, 10, 0), "gamma must lie in"),
        (lambda: regret.exp3_ix(2, 10, 1.0), "delta must lie in"),
        (lambda: regret.tsallis_inf_stochastic([0, 0], 10), "gaps must hold exactly one 0"),
        (lambda: regret.moss([0, 0.1], 10, sigma=0), "sigma must lie in"),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises(ValueError, match=message):
        call()
