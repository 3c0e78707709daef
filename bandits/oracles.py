r"""Regression oracles in compiled code: ridge for many arms side by side, least squares in a box, Chebyshev features.

Arrays of the ridge oracle have the arm as their last axis, so that one pass over it serves all arms in vector
registers; symmetric matrices are stored as their lower triangle, row by row.
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numpy as np

from claimlab.checks import Array
from claimlab.native import kernel, part

EPS = 2.0**-52


class Ridge(NamedTuple):
    r"""A ridge regression for each arm, :math:`A = \lambda I + \sum_s x_s x_s^\top` over the rounds of that arm."""

    inverse: Array  # [d(d+1)/2, K], the lower triangle of A^-1
    theta: Array  # [d, K], A^-1 sum_s x_s y_s
    gain: Array  # [d], scratch


@kernel
def ridge(n_arms: int, dim: int, penalty: float) -> Ridge:
    """Regressions that have seen nothing: A = `penalty` I."""
    inverse = np.zeros((dim * (dim + 1) // 2, n_arms))
    for i in range(dim):
        inverse[i * (i + 1) // 2 + i, :] = 1 / penalty
    return Ridge(inverse, np.zeros((dim, n_arms)), np.zeros(dim))


@kernel
def ridge_predict(fit: Ridge, x: Array, out: Array) -> None:
    r"""``out[a]`` becomes :math:`\hat\theta_a^\top x`."""
    out[:] = 0.0
    for i in range(x.size):
        for a in range(out.size):
            out[a] += x[i] * fit.theta[i, a]


@kernel
def ridge_widths(fit: Ridge, x: Array, out: Array) -> None:
    r"""``out[a]`` becomes :math:`\sqrt{x^\top A_a^{-1} x}`."""
    out[:] = 0.0
    row = 0
    for i in range(x.size):
        for j in range(i + 1):
            weight = x[i] * x[j] if i == j else 2 * x[i] * x[j]
            for a in range(out.size):
                out[a] += weight * fit.inverse[row, a]
            row += 1
    for a in range(out.size):
        out[a] = sqrt(max(out[a], 0.0))


@kernel
def ridge_update(fit: Ridge, arm: int, x: Array, y: float) -> None:
    r"""One more observation `y` at `x` for `arm`, by the formula of Sherman & Morrison (1950).

    The update contracts earlier errors: after n of them, the relative error of :math:`A^{-1}` is, to first order, at
    most :math:`4dn\epsilon\,\kappa^2` with the largest condition number :math:`\kappa \le 1 + \sum_s |x_s|^2/\lambda`
    so far, as :math:`A_t^{-1}A_s` carries the error of step s to step t from both sides.
    """
    inverse, gain, d = fit.inverse, fit.gain, x.size
    spread, residual = 1.0, y
    for i in range(d):
        total = 0.0
        for j in range(d):
            high, low = max(i, j), min(i, j)
            total += inverse[high * (high + 1) // 2 + low, arm] * x[j]
        gain[i] = total
        spread += x[i] * total
        residual -= x[i] * fit.theta[i, arm]
    row = 0
    for i in range(d):
        fit.theta[i, arm] += gain[i] * (residual / spread)
        for j in range(i + 1):
            inverse[row, arm] -= gain[i] * gain[j] / spread
            row += 1


@kernel
def chebyshev(x: float, out: Array) -> None:
    r"""``out[j]`` becomes the Chebyshev polynomial :math:`T_j(x)`, for x in [-1, 1].

    The three-term recurrence errs by at most :math:`\tfrac34 j^2\epsilon`: each step rounds by at most
    :math:`\tfrac32\epsilon`, and :math:`|U_k(x)| \le k+1` carries it on.
    """
    out[0] = 1.0
    if out.size > 1:
        out[1] = x
    for j in range(2, out.size):
        out[j] = 2 * x * out[j - 1] - out[j - 2]


class BoxScratch(NamedTuple):
    """Room for :func:`box_least_squares`."""

    gradient: Array  # [m]
    step: Array  # [m]
    factor: Array  # [m, m]


@kernel
def box_scratch(m: int) -> BoxScratch:
    return BoxScratch(np.zeros(m), np.zeros(m), np.zeros((m, m)))


@kernel
def box_least_squares(
    gram: Array, moment: Array, radius: Array, theta: Array, scratch: BoxScratch, tol: float, rounds: int = 50
) -> float:
    r"""Minimise :math:`F(\theta) = \theta^\top G\theta - 2h^\top\theta` over :math:`|\theta_j| \le u_j`.

    With :math:`G = \sum_s f_s f_s^\top` and :math:`h = \sum_s f_s y_s` that is least squares up to the constant
    :math:`\sum_s y_s^2`.  Cyclic coordinate descent finds which bounds hold, a Newton step on the other coordinates
    (cut where it meets a bound) then ends it: every move lowers F, and the last one is exact.

    Returns the certificate :math:`2\sum_j (g_j\theta_j + |g_j|u_j)` with :math:`g = G\theta - h`: by convexity
    :math:`F(\theta)` exceeds the minimum by at most that.  It is at most `tol`, or what rounding allows,
    :math:`8m\epsilon\sum_j u_j(|h_j| + \sum_i |G_{ij}|u_i)`, unless `rounds` rounds were not enough.

    Parameters
    ----------
    gram, moment : float[m, m], float[m]
        G, symmetric and positive semidefinite, and h.
    radius : float[m]
        u, at least 0.
    theta : float[m]
        The start, within the box; overwritten by the minimiser.
    """
    m, gradient = theta.size, scratch.gradient
    floor = 0.0
    for j in range(m):
        size = abs(moment[j])
        for i in range(m):
            size += abs(gram[j, i]) * radius[i]
        floor += 8 * m * EPS * radius[j] * size
    gap = _gradient(gram, moment, radius, theta, gradient)
    for _ in range(rounds):
        if gap <= max(tol, floor):
            break
        _descend(gram, radius, theta, gradient)
        _newton(gram, radius, theta, scratch)
        gap = _gradient(gram, moment, radius, theta, gradient)
    return gap


@kernel
def _gradient(gram: Array, moment: Array, radius: Array, theta: Array, gradient: Array) -> float:
    """Fill `gradient` with G theta - h; the certificate."""
    gap = 0.0
    for j in range(theta.size):
        total = -moment[j]
        for i in range(theta.size):
            total += gram[j, i] * theta[i]
        gradient[j] = total
        gap += 2 * (total * theta[j] + abs(total) * radius[j])
    return gap


@kernel
def _descend(gram: Array, radius: Array, theta: Array, gradient: Array) -> None:
    """One sweep of coordinate descent; `gradient` follows."""
    for j in range(theta.size):
        if gram[j, j] > 0:
            wanted = min(max(theta[j] - gradient[j] / gram[j, j], -radius[j]), radius[j])
            change = wanted - theta[j]
            theta[j] = wanted
            if change != 0:
                for i in range(theta.size):
                    gradient[i] += gram[i, j] * change


@part
def _newton(gram: Array, radius: Array, theta: Array, scratch: BoxScratch) -> None:
    """To the minimum over the coordinates inside their bounds, or as far as the box reaches on the way.

    Coordinates at a bound, and those that the others determine (a pivot that vanishes), stay.
    """
    m, step, L = theta.size, scratch.step, scratch.factor
    for j in range(m):
        free = abs(theta[j]) < radius[j]
        pivot = gram[j, j]
        for k in range(j):
            total = gram[j, k]
            for i in range(k):
                total -= L[j, i] * L[k, i]
            L[j, k] = total / L[k, k] if free and L[k, k] > 0 else 0.0
            pivot -= L[j, k] * L[j, k]
        L[j, j] = sqrt(pivot) if free and pivot > 4 * m * EPS * gram[j, j] else 0.0
        total = -scratch.gradient[j]
        for k in range(j):
            total -= L[j, k] * step[k]
        step[j] = total / L[j, j] if L[j, j] > 0 else 0.0
    share, stopped = 1.0, -1
    for back in range(m):
        j = m - 1 - back
        total = step[j]
        for k in range(j + 1, m):
            total -= L[k, j] * step[k]
        step[j] = total / L[j, j] if L[j, j] > 0 else 0.0
        if step[j] != 0:
            room = (radius[j] - theta[j] if step[j] > 0 else radius[j] + theta[j]) / abs(step[j])
            if room < share:
                share, stopped = room, j
    for j in range(m):
        theta[j] = min(max(theta[j] + share * step[j], -radius[j]), radius[j])
    if stopped >= 0:
        theta[stopped] = radius[stopped] if step[stopped] > 0 else -radius[stopped]
