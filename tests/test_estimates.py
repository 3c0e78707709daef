"""Means, errors and control variates against scipy and the moments that define them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from claimlab.estimates import MISSING, Estimate, control_coefficients, folds_of, mean_of


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30))
def test_a_mean_and_its_standard_error(terms):
    found = mean_of(np.array(terms))
    assert found == pytest.approx((np.mean(terms), stats.sem(terms)), rel=1e-9, abs=1e-9)


@pytest.mark.filterwarnings("error")
def test_one_term_has_no_standard_error():
    assert mean_of(np.array([3.0])).value == 3
    assert np.isnan(mean_of(np.array([3.0])).stderr)
    assert np.isnan(MISSING).all()
    assert Estimate(1.0, 2.0).stderr == 2


def test_coefficients_are_covariance_over_variance():
    """With a constant alone known, they are those of the sample's moments; what is left is uncorrelated with them."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(200, 2)) @ [[1.0, 0.5], [0.0, 2.0]]
    y = z @ [0.7, -1.3] + rng.normal(size=200) + 4
    found = control_coefficients(y, z, np.ones((200, 1)))
    moments = np.cov(z.T, y)
    np.testing.assert_allclose(found, np.linalg.solve(moments[:2, :2], moments[:2, 2]), rtol=1e-10)
    assert np.abs(np.cov(z.T, y - z @ found)[2, :2]).max() < 1e-12


def test_what_is_known_is_taken_out_first():
    """Two groups of different means: without them known, the coefficient takes up their difference."""
    group = np.repeat([0.0, 1.0], 50)
    z = np.random.default_rng(1).normal(size=(100, 1)) + group[:, None]
    y = 2 * z[:, 0] + 10 * group
    known = np.column_stack([np.ones(100), group])
    np.testing.assert_allclose(control_coefficients(y, z, known), [2.0], rtol=1e-10)
    assert control_coefficients(y, z, known[:, :1])[0] > 3
    np.testing.assert_allclose(control_coefficients(y, np.hstack([z, z]), known), [1.0, 1.0], rtol=1e-10)  # least norm


def test_folds_take_turns():
    np.testing.assert_array_equal(folds_of(7, 3), [0, 1, 2, 0, 1, 2, 0])
    assert folds_of(7, 3).dtype == np.int64
