"""Regression oracles against exact rationals, scipy and cvxpy; inverse gap weights against their definition."""

from fractions import Fraction

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import lsq_linear

from claimlab.bandits.interval_contextual import GAP, RIDGE, normalisation, truncation
from claimlab.bandits.linear_contextual import inverse_gap_weights
from claimlab.bandits.oracles import (
    EPS,
    box_least_squares,
    box_scratch,
    chebyshev,
    ridge,
    ridge_predict,
    ridge_update,
    ridge_widths,
)
from claimlab.native import interpreted

SMALL = st.sampled_from([0.0, 1.0, -1.0, 0.5]) | st.floats(-2, 2, allow_subnormal=False)


def exact_ridge(X, y, penalty):
    """A^-1 and theta in rationals, by Gauss-Jordan elimination."""
    d = X.shape[1]
    X, y = [[Fraction(v) for v in row] for row in X], [Fraction(v) for v in y]
    A = [[sum(r[i] * r[j] for r in X) + Fraction(penalty) * (i == j) for j in range(d)] for i in range(d)]
    b = [sum(r[i] * v for r, v in zip(X, y)) for i in range(d)]
    M = [A[i] + [Fraction(int(i == j)) for j in range(d)] for i in range(d)]
    for i in range(d):
        M[i] = [v / M[i][i] for v in M[i]]
        for k in range(d):
            if k != i:
                M[k] = [v - M[k][i] * w for v, w in zip(M[k], M[i])]
    inverse = [row[d:] for row in M]
    theta = [sum(w * v for w, v in zip(row, b)) for row in inverse]
    return np.array(inverse, dtype=float), np.array(theta, dtype=float)


def full(fit, arm):
    d = fit.gain.size
    out = np.zeros((d, d))
    out[np.tril_indices(d)] = fit.inverse[:, arm]
    return out + np.tril(out, -1).T


@given(st.data(), st.sampled_from([0.1, 1.0, 10.0]))
@settings(max_examples=40)
def test_ridge_agrees_with_rational_least_squares(data, penalty):
    n, d = data.draw(st.integers(0, 12)), data.draw(st.integers(1, 4))
    X = data.draw(arrays(np.float64, (n, d), elements=SMALL))
    y = data.draw(arrays(np.float64, n, elements=SMALL))
    fit = ridge(2, d, penalty)
    for x, value in zip(X, y):
        ridge_update(fit, 1, x, value)
    inverse, theta = exact_ridge(X, y, penalty)
    condition = 1 + (X**2).sum() / penalty
    error = 4 * d * (n + 1) * EPS * condition**2
    np.testing.assert_allclose(full(fit, 1), inverse, rtol=0, atol=error * np.linalg.norm(inverse, 2))
    size = np.linalg.norm(inverse, 2) * abs(X).sum() * 2 + 1
    np.testing.assert_allclose(fit.theta[:, 1], theta, rtol=0, atol=error * size)
    np.testing.assert_array_equal(full(fit, 0), np.eye(d) / penalty)  # the other arm has seen nothing


def test_predictions_and_widths_are_those_of_the_matrices():
    rng = np.random.default_rng(0)
    fit, out = ridge(3, 4, 1.0), np.empty(3)
    for x in rng.normal(size=(50, 4)):
        ridge_update(fit, int(rng.integers(3)), x, rng.normal())
    x = rng.normal(size=4)
    ridge_predict(fit, x, out)
    np.testing.assert_allclose(out, x @ fit.theta, rtol=1e-13)
    ridge_widths(fit, x, out)
    np.testing.assert_allclose(out, [np.sqrt(x @ full(fit, arm) @ x) for arm in range(3)], rtol=1e-13)


@given(st.floats(-1, 1) | st.sampled_from([-1.0, 0.0, 1.0]))
def test_chebyshev_recurrence_errs_by_no_more_than_stated(x):
    out, exact = np.empty(30), [Fraction(1), Fraction(x)]
    chebyshev(x, out)
    for _ in range(28):
        exact.append(2 * Fraction(x) * exact[-1] - exact[-2])
    for j, value in enumerate(exact):
        assert abs(Fraction(out[j]) - value) <= Fraction(3, 4) * j**2 * Fraction(EPS)


def objective(gram, moment, theta):
    return theta @ gram @ theta - 2 * moment @ theta


@st.composite
def regressions(draw):
    """Few or many rows, dependent columns, bounds that hold, do not, or leave no room."""
    n, m = draw(st.integers(0, 12)), draw(st.integers(1, 5))
    X = draw(arrays(np.float64, (n, m), elements=SMALL))
    if m > 1 and draw(st.booleans()):
        X[:, -1] = X[:, 0]
    y = draw(arrays(np.float64, n, elements=SMALL))
    radius = draw(arrays(np.float64, m, elements=st.sampled_from([0.0, 0.1, 0.5, 1.0, 10.0])))
    return X, y, radius


@given(regressions())
@settings(max_examples=150)
def test_box_least_squares_keeps_its_certificate(case):
    X, y, radius = case
    gram, moment, theta = X.T @ X, X.T @ y, np.zeros(len(radius))
    gap = box_least_squares(gram, moment, radius, theta, box_scratch(len(radius)), 1e-12)
    assert (abs(theta) <= radius).all()
    rounding = 8 * len(radius) * EPS * (radius @ (abs(moment) + abs(gram) @ radius))
    assert gap <= max(1e-12, rounding), "it converges to the certificate asked for"
    if len(X):
        scipy = lsq_linear(X, y, (-radius - 1e-300, radius + 1e-300), tol=1e-14, lsmr_tol=1e-14).x
        scipy = np.clip(scipy, -radius, radius)
        assert objective(gram, moment, theta) <= objective(gram, moment, scipy) + gap + rounding


@given(regressions())
@settings(max_examples=25)
def test_box_least_squares_agrees_with_cvxpy(case):
    X, y, radius = case
    gram, moment, theta = X.T @ X, X.T @ y, np.zeros(len(radius))
    gap = box_least_squares(gram, moment, radius, theta, box_scratch(len(radius)), 1e-12)
    x = cp.Variable(len(radius))
    value = cp.Problem(cp.Minimize(cp.sum_squares(X @ x - y)), [cp.abs(x) <= radius]).solve(solver=cp.CLARABEL)
    assert abs(((X @ theta - y) ** 2).sum() - value) <= gap + 1e-5 * (1 + value)


@given(regressions(), st.data())
@settings(max_examples=50)
def test_the_certificate_bounds_the_excess_of_an_unfinished_fit(case, data):
    """Stopped after no round at all, the certificate of an arbitrary start is still true."""
    X, y, radius = case
    share = data.draw(arrays(np.float64, len(radius), elements=st.floats(-1, 1)))
    gram, moment = X.T @ X, X.T @ y
    start, best = share * radius, share * radius
    claimed = box_least_squares(gram, moment, radius, start, box_scratch(len(radius)), 0.0, 0)
    gap = box_least_squares(gram, moment, radius, best, box_scratch(len(radius)), 1e-12)
    np.testing.assert_array_equal(start, share * radius)
    excess = objective(gram, moment, start) - objective(gram, moment, best)
    assert -gap - 1e-9 <= excess <= claimed + 1e-9


def test_a_line_of_least_squares_by_hand():
    """One column of ones: the mean, cut at the bound."""
    gram, moment = np.array([[4.0]]), np.array([6.0])
    for radius, answer in ((2.0, 1.5), (1.0, 1.0)):
        theta = np.zeros(1)
        box_least_squares(gram, moment, np.array([radius]), theta, box_scratch(1), 1e-12)
        assert theta[0] == answer


def test_compiled_fits_equal_interpreted_ones():
    rng = np.random.default_rng(3)
    for _ in range(20):
        X, y, radius = rng.normal(size=(9, 4)), rng.normal(size=9), rng.random(4)
        thetas = [np.zeros(4), np.zeros(4)]
        for theta, solver in zip(thetas, (box_least_squares, interpreted(box_least_squares))):
            solver(X.T @ X, X.T @ y, radius, theta, box_scratch(4), 1e-12)
        np.testing.assert_array_equal(*thetas)


@given(arrays(np.float64, st.integers(1, 8), elements=SMALL), st.floats(0, 1e9))
def test_inverse_gap_weights(loss, eta):
    p, K = np.empty(loss.size), loss.size
    best = inverse_gap_weights(loss, eta, p)
    assert best == loss.argmin()
    assert abs(p.sum() - 1) <= 2 * K * EPS
    assert p[best] >= 1 / K - K * EPS
    others = np.arange(K) != best
    np.testing.assert_allclose(p[others], 1 / (K + eta * (loss[others] - loss.min())), rtol=4 * EPS)
    assert (p >= 0).all()


@pytest.mark.parametrize("K", [1, 2, 7])
def test_inverse_gap_weights_at_ties_and_without_learning(K):
    for loss, eta in ((np.ones(K), 1e6), (np.arange(K, dtype=float), 0.0)):
        p = np.empty(K)
        inverse_gap_weights(loss, eta, p)
        np.testing.assert_allclose(p, 1 / K, rtol=1e-14)


@given(st.integers(1, 40), st.floats(0, 50))
def test_predictions_within_the_box_lie_between_minus_and_plus_one_half(degree, slope):
    """(1 + 2 CL sum 1/j) / N <= 1/2, the reason for N."""
    harmonic = sum(1 / j for j in range(1, degree + 1))
    assert (1 + 2 * slope * harmonic) / normalisation(slope, degree) <= 0.5 + 1e-12


def test_truncation_bound_at_degree_one():
    assert truncation(1.0, 1) == pytest.approx((np.pi + 2 / np.pi * np.log(3)) / 4)


def test_the_ridge_of_chebcb_is_negligible_beside_its_tolerance():
    assert RIDGE * (1 + 4 * np.pi**2 / 6) <= 100 * GAP
