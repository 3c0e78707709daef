"""Feature extractors: the frame, features by direct convolution, and a wave by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from claimlab.experiments.papers import scattering


@given(st.floats(-40, 40))
def test_the_filters_squares_sum_to_one(frequency):
    low, others = scattering.frame(np.array([frequency]))
    assert low[0] ** 2 + (others**2).sum() == pytest.approx(1)


def test_features_of_the_second_depth_are_those_of_sums_over_the_signal():
    """By convolution sums instead of transforms; pooling by 2, so the output filter sees twice the frequencies."""
    n = scattering.POINTS
    f, k = np.random.default_rng(0).normal(size=n), np.arange(n)

    def convolve(x, response):
        kernel = np.array([(response * np.exp(2j * np.pi * scattering.FREQUENCIES * i / n)).mean() for i in k])
        return np.array([(x * kernel[(i - k) % n]).sum() for i in k])

    _, others = scattering.frame(scattering.FREQUENCIES)
    middle = np.abs(convolve(f, others[0]))
    pooled = (np.roll(middle, 1) + middle + np.roll(middle, -1)) / 3
    expected = convolve(pooled, scattering.frame(2 * scattering.FREQUENCIES)[0]) / np.sqrt(n)
    np.testing.assert_allclose(scattering.features(f, 2.0, 0)[1][0], expected, atol=1e-12)


def test_a_wave_by_hand():
    """Five cycles pass the output filter by cos(pi/4); shifted by a quarter of a cycle, they move by the root of 2."""
    wave = np.cos(2 * np.pi * 5 * np.arange(scattering.POINTS) / scattering.POINTS)
    still, moved = (
        scattering.features(x, 1.0, 0)[:1]
        for x in (wave, np.sin(2 * np.pi * 5 * np.arange(scattering.POINTS) / scattering.POINTS))
    )
    size = np.sqrt(1 / 2)
    assert scattering.distance(still, [0 * still[0]]) == pytest.approx(np.cos(np.pi / 4) * size)
    assert scattering.distance(moved, still) == pytest.approx(np.cos(np.pi / 4) * size * np.sqrt(2))


def test_the_steepest_frequency():
    found = minimize_scalar(lambda x: -x * np.cos(np.pi * x / 20), bounds=(0, 10), method="bounded")
    assert -found.fun <= scattering.steepness() <= -found.fun + 2.1e-4  # twice the spacing of its grid
