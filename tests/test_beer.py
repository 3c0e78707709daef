"""BEER's bound: where it is attained, and by hand where the released program's form of it fails."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimlab.experiments.papers import beer

coordinates = st.lists(st.floats(-1, 1), min_size=3, max_size=3).map(np.array)


@given(coordinates, coordinates, st.floats(0.05, 1), st.floats(0.1, 2))
def test_the_bound_is_attained_by_weights_along_the_difference_and_by_no_others(phi, following, gamma, length):
    difference = phi - gamma * following
    norm = np.linalg.norm(difference)
    if norm < 1e-3:
        return
    w = length * difference / norm
    value, bound = beer.slack(phi, following, w, np.array(gamma), beer.dot(difference, w))
    assert value == pytest.approx(bound, abs=1e-12)
    across = np.linalg.svd(difference[None])[2][-1] * length  # no reward at all: the norms' difference is left
    value, bound = beer.slack(phi, following, across, np.array(gamma), beer.dot(difference, across))
    assert bound - value == pytest.approx(norm**2, abs=1e-9)


def test_one_sampled_successor_breaks_the_bound_by_hand():
    """Successors 1 and -1, equally likely, of a pair with feature 1: the mean is 0, so Q = r = 1 = w; B = (1+1-1)/2."""
    value, bound = beer.slack(np.array([1.0]), np.array([1.0]), np.array([1.0]), np.array(1.0), np.array(1.0))
    assert (value / 2, bound / 2) == (1.0, 0.5)


def test_an_output_bias_breaks_the_bound_by_hand():
    """Equal features 1, w = 1, discount 1/2 and bias 1: r = (1 + 1) / 2 = 1, so B = (1 + 1/4 - 1) / 1 and cos = 1."""
    value, bound = beer.slack(np.array([1.0]), np.array([1.0]), np.array([1.0]), np.array(0.5), np.array(1.0))
    assert (float(value), float(bound)) == (1.0, 0.25)
