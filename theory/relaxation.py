r"""Bounds on the iterations of SOR, symmetric SOR and SOR-preconditioned conjugate gradients, as functions.

Khodak, Chow, Balcan & Talwalkar (2024), Lemmas 2.1, E.1, E.2, F.1 to F.4, Theorem D.1 and its corollaries.  Where the
paper prints a bound that is false, the printed and the repaired one stand side by side.  Arguments are numbers or
arrays; `omega` is the relaxation parameter, `tol` the relative tolerance unless a line says otherwise.
"""

from __future__ import annotations

from math import e, pi, sqrt
from typing import TypeAlias

import numpy as np

from claimlab.bandits.relaxation.spectral import young_radius
from claimlab.checks import Array, Bools

Real: TypeAlias = float | Array

# Lemma 2.1: the surrogate of SOR ------------------------------------------------------------------------------------


def sor_surrogate(omega: Real, beta: Real, tau: Real, tol: Real) -> Array:
    r"""Upper bound on the sweeps of SOR under Assumption 2.1 (Lemma 2.1).

    .. math:: U(\omega) = 1 + \frac{-\log\varepsilon}{-\log(\rho(C_\omega) + \tau(1 - \rho(C_\omega)))}
    """
    gap = (1 - tau) * (1 - young_radius(beta, omega))
    return np.asarray(1 + np.log(tol) / np.log1p(-gap))


def surrogate_rate(beta: Real, tau: Real, omega_max: Real) -> Array:
    r""":math:`\alpha = \tau + (1 - \tau)\max\{\beta^2, \omega_{\max} - 1\}` (Lemma 2.1)."""
    return np.asarray(tau + (1 - tau) * np.maximum(np.square(beta), omega_max - 1))


def sor_surrogate_cap(beta: Real, tau: Real, omega_max: Real, tol: Real) -> Array:
    r"""Upper bound :math:`1 + \log\varepsilon/\log\alpha` on the surrogate over :math:`[1, \omega_{\max}]`."""
    return np.asarray(1 + np.log(tol) / np.log(surrogate_rate(beta, tau, omega_max)))


def sor_surrogate_lipschitz(beta: Real, tau: Real, omega_max: Real, tol: Real) -> Array:
    r"""Lipschitz constant :math:`(1 - \tau)\log(1/\varepsilon)/(\alpha\log^2\alpha)` of `U` right of
    :math:`\omega^*` (Lemma 2.1), under :func:`steep_enough`."""
    alpha = surrogate_rate(beta, tau, omega_max)
    return np.asarray((1 - tau) * -np.log(tol) / (alpha * np.log(alpha) ** 2))


def steep_enough(beta: Real, tau: Real) -> Bools:
    r"""The premise of :func:`sor_surrogate_lipschitz`: :math:`\tau \ge e^{-2}` or
    :math:`\beta^2 \ge 4e^{-2}(1 - e^{-2})`."""
    return np.asarray((tau >= e**-2) | (np.square(beta) >= 4 * e**-2 * (1 - e**-2)))


# Lemma E.1: how fast the best parameter moves -----------------------------------------------------------------------


def omega_lipschitz(beta: Real, diagonal: Real) -> Array:
    r"""Lipschitz constant of :math:`c \mapsto \omega^*(c)` of :math:`A + cI` (Lemma E.1).

    .. math:: \frac{6\beta(1 + \beta)}{\sqrt{1-\beta^2}(1 + \sqrt{1-\beta^2})^2}\Big(\frac{d + 1}{d}\Big)^2

    Parameters
    ----------
    beta : float
        Largest Jacobi radius over the shifts.
    diagonal : float
        `d`, least diagonal entry of the matrix at the least shift.
    """
    return np.asarray(3 * (1 + beta) * _omega_slope(beta) * (1 + 1 / diagonal) ** 2)


def sharp_omega_lipschitz(beta: Real, diagonal: Real) -> Array:
    r"""Ours: the constant of :func:`omega_lipschitz` can be
    :math:`\frac{2\beta}{\sqrt{1-\beta^2}(1 + \sqrt{1-\beta^2})^2}\cdot\frac{\beta}{d}`.

    Proof.  For :math:`S(c) = (D + cI)^{-1/2}(D - A)(D + cI)^{-1/2}`,
    :math:`S' = -\frac12((D + cI)^{-1}S + S(D + cI)^{-1})`, so the eigenvalue of modulus :math:`\beta` with unit
    eigenvector `u` moves at the rate :math:`\beta' = -\beta\,u^\top(D + cI)^{-1}u`, of modulus at most
    :math:`\beta/d`.  The first factor is :math:`d\omega^*/d\beta`.  Both grow with :math:`\beta` and fall with `d`.
    A constant diagonal attains the rate.
    """
    return np.asarray(_omega_slope(beta) * beta / diagonal)


def _omega_slope(beta: Real) -> Array:
    s = np.sqrt((1 - beta) * (1 + beta))
    return np.asarray(2 * beta / (s * (1 + s) ** 2))


# Lemma E.2: the surrogate of preconditioned conjugate gradients -----------------------------------------------------


def axelsson_bound(omega: Real, mu: Real, nu: Real) -> Array:
    r"""Upper bound on :math:`\kappa(\breve W_\omega^{-1}A)` (Eq. 33, Axelsson 1994, Theorem 7.17).

    .. math:: \frac{1 + \frac{\mu}{4\omega}(2-\omega)^2 + \omega\nu}{2-\omega}
    """
    return np.asarray((1 + mu * (2 - omega) ** 2 / (4 * omega) + omega * nu) / (2 - omega))


def krylov_length(kappa: Real, tol: Real) -> Array:
    r""":math:`\Lambda = \log(\sqrt\kappa/\varepsilon + \sqrt{\kappa/\varepsilon^2 - 1})`, the numerator of Eq. (31)."""
    return np.asarray(np.arccosh(np.sqrt(kappa) / tol))


def cg_surrogate(omega: Real, mu: Real, nu: Real, kappa: Real, tol: Real, tau: Real = 1) -> Array:
    r"""Upper bound, at ``tau=1``, on the steps of preconditioned conjugate gradients (Eq. 31).

    .. math:: U^{CG}(\omega) = 1 + \frac{\tau\Lambda}{-\log\big(1 - \frac{4}{2 + S}\big)}, \qquad S = 2\sqrt{\bar\kappa}

    with :func:`axelsson_bound` for :math:`\bar\kappa`.
    """
    root = np.sqrt(np.maximum(axelsson_bound(omega, mu, nu), 1))
    with np.errstate(divide="ignore"):  # a condition number of 1: one step
        return np.asarray(1 + tau * krylov_length(kappa, tol) / -np.log1p(-2 / (1 + root)))


def cg_omega(mu: Real, nu: Real) -> Array:
    r"""Minimiser :math:`2/(1 + \sqrt{\frac2\mu(1 + 2\nu)})` of :func:`cg_surrogate` (Lemma E.2, item 2)."""
    return np.asarray(2 / (1 + np.sqrt(2 * (1 + 2 * nu) / mu)))


def cg_semi_lipschitz(mu: Real, nu: Real) -> Array:
    r"""The constant :math:`\frac{\mu + 4\nu + 4}{4\mu\nu + 2\mu - 1}\sqrt{\mu\sqrt2}` of Lemma E.2, item 3, at
    :math:`\tau = 1`: as printed, and false.

    The derivative in Eq. (34) lacks the factor :math:`\Lambda/\log^2(1 - 4/(2 + S))`.  Times :math:`\Lambda` the
    constant is still false: it grows like :math:`\sqrt\mu`, the slope like :math:`\mu^{3/4}`.
    """
    return np.asarray((mu + 4 * nu + 4) / (4 * mu * nu + 2 * mu - 1) * np.sqrt(mu * sqrt(2)))


def repaired_cg_semi_lipschitz(mu: Real, kappa: Real, tol: Real) -> Array:
    r"""Ours, for Lemma E.2, item 3, at :math:`\tau = 1`: :math:`0.55\,\Lambda\mu^{3/4}`, if
    :math:`(2 + 4\nu)\mu \ge 4` and :math:`\nu \in [-1/4, 0]`.

    Proof.  Let :math:`t = (2 - \omega)/\omega \le \sqrt2` and :math:`a = 2 + 4\nu \ge 1`, so that
    :math:`S^2 = 2 + a/t + \mu t`.  `U` falls where :math:`\mu t > a/t`.  As :math:`\log\frac{S+2}{S-2} \ge 4/S`, its
    slope is at most :math:`\frac{\Lambda S^2}{4(S^2 - 4)}|S'|`.  From :math:`a\mu \ge 4` follows
    :math:`S^2 - 4 \ge 2\sqrt{a\mu} - 2 \ge 2`, so :math:`S^2/(S^2 - 4) \le 3`.  With :math:`x = t\sqrt{\mu/a} > 1`,

    .. math:: |S'| = \frac{\mu - a/t^2}{2S}\cdot\frac{(1 + t)^2}{2}
              \le \frac{(1 + \sqrt2)^2}{4}\,\frac{\mu^{3/4}}{a^{1/4}}\,\frac{1 - x^{-2}}{\sqrt{x + 1/x}},

    and the last factor is below 1/2: :math:`4(x^2 - 1)^2 < x^3(x^2 + 1)` for :math:`x > 0`.  In all,
    :math:`\frac34\cdot\frac{(1 + \sqrt2)^2}{4}\cdot\frac12 < 0.55`.
    """
    return np.asarray(0.55 * krylov_length(kappa, tol) * mu**0.75)


def cg_surrogate_cap(mu_max: Real, kappa: Real, tol: Real) -> Array:
    r"""Upper bound on :func:`cg_surrogate` over :math:`[2\sqrt2 - 2, 2/(1 + 1/\sqrt{\mu_{\max}})]` (Lemma E.2, item 4).

    .. math:: 1 + \frac{\log(2\sqrt\kappa/\varepsilon)}{-\log(1 - 2/(1 + \sqrt\gamma))}, \qquad
              \gamma = \frac{7 + 3\mu_{\max}}{8}
    """
    root = np.sqrt((7 + 3 * mu_max) / 8)
    return np.asarray(1 + np.log(2 * np.sqrt(kappa) / tol) / -np.log1p(-2 / (1 + root)))


# Theorem D.1: contraction in the energy norm ------------------------------------------------------------------------


def energy_bound(omega: Real, beta: Real, lower: Real, *, repaired: bool = True) -> Array:
    r"""Upper bound on :math:`\|M_\omega\|_A^2` (Theorem D.1, after Hackbusch 2016, Theorem 3.44).

    .. math:: 1 - \frac{\frac{2-\omega}{\omega}\gamma}
              {\big(\frac{2-\omega}{2\omega}\big)^2 + \frac\gamma\omega
              + \max\{0, \rho(D^{-1}LD^{-1}L^\top) - \frac14\}}

    The paper prints no maximum (``repaired=False``).  The proof bounds
    :math:`LD^{-1}L^\top - D/4 \preceq (\rho - \frac14)D` by a multiple of :math:`A \succeq \gamma D`, which takes
    :math:`\rho \ge \frac14`; below, the term is dropped.

    Parameters
    ----------
    beta : float
        Jacobi radius, :math:`\gamma = 1 - \beta`.
    lower : float
        :math:`\rho(D^{-1}LD^{-1}L^\top)`.
    """
    w, gamma, extra = omega, 1 - beta, lower - 0.25
    extra = np.maximum(extra, 0) if repaired else extra
    return np.asarray(1 - (2 - w) / w * gamma / (((2 - w) / (2 * w)) ** 2 + gamma / w + extra))


def sor_sweeps_bound(contraction: Real, kappa: Real, tol: Real) -> Array:
    r"""Upper bound :math:`1 + \log(2\sqrt\kappa/\varepsilon)/(-\log\nu_\omega)` on the sweeps of SOR (Corollary D.1),
    `contraction` being :math:`\nu_\omega^2` from :func:`energy_bound`."""
    return np.asarray(1 + np.log(2 * np.sqrt(kappa) / tol) / (-np.log(contraction) / 2))


def ssor_iterations_bound(contraction: Real, kappa: Real, tol: Real) -> Array:
    r"""Upper bound :math:`1 + \log(2\|b\|\sqrt\kappa/\varepsilon)/(-2\log\nu_\omega)` on the iterations of symmetric
    SOR (Corollary D.2); `tol` is :math:`\varepsilon/\|b\|`."""
    return np.asarray(1 + np.log(2 * np.sqrt(kappa) / tol) / -np.log(contraction))


# Appendix F: symmetric SOR on random right-hand sides ---------------------------------------------------------------


def ssor_residual_lipschitz(k: int, rho: Real, kappa: Real, omega_max: Real, mu: Real) -> Array:
    r"""Lipschitz constant in :math:`\omega` of :math:`\|\breve C_\omega^kb\|_2`, for a unit `b` (Lemma F.1).

    .. math:: \rho(\breve C_\omega)^{k-1}k\sqrt\kappa\Big(\frac{1}{2-\omega_{\max}} + 2\rho(DA^{-1})\Big)

    The proof's Eq. (39) yields four times as much.
    """
    return np.asarray(np.power(rho, k - 1) * k * np.sqrt(kappa) * (1 / (2 - omega_max) + 2 * mu))


def ssor_shift_lipschitz(k: int, rho: Real, kappa: Real, least: Real) -> Array:
    r"""Lipschitz constant in `c` of :math:`\|\breve C_\omega(c)^kb\|_2`, for a unit `b` (Lemma F.2):
    :math:`\frac{10}{\lambda_{\min}(A) + c_{\min}}\rho^{k-1}k\sqrt\kappa`; `least` is the denominator.

    The paper prints the condition number of `A`, which is false near :math:`c = -\lambda_{\min}(A)`; that of
    :math:`A + cI`, as in its Eq. (40), repairs it.
    """
    return np.asarray(10 / least * np.power(rho, k - 1) * k * np.sqrt(kappa))


def anti_concentration(width: Real, radius: Real) -> Array:
    r"""Upper bound :math:`\frac{2\Delta}{\rho(X)}\sqrt{2/\pi}` on the probability that :math:`\|Xb\|_2` falls into an
    interval of length `width`, `b` truncated normal (Lemma F.3)."""
    return np.asarray(2 * width / radius * sqrt(2 / pi))


def ssor_expectation_lipschitz(cap: Real, slope: Real, beta: Real) -> Array:
    r"""Lipschitz constant :math:`32K^3L\sqrt{2/\pi}/\beta^4` of the expected iterations of symmetric SOR (Lemma F.4).

    Parameters
    ----------
    cap : float
        `K`, most iterations.
    slope : float
        `L`: :math:`\|\breve C_x^kb\|_2` is :math:`L\rho(\breve C_x)^{k-1}`-Lipschitz in the parameter `x`.
    beta : float
        Least Jacobi radius.
    """
    return np.asarray(32 * cap**3 * slope * sqrt(2 / pi) / beta**4)
