r"""Regret of bandits that tune a linear solver: bounds of Khodak, Chow, Balcan & Talwalkar (2024), arXiv 2310.02246.

Where the paper's constant does not follow from its proof, or is false, the printed and the repaired bound stand side by
side.  Throughout, T counts the instances, d the grid's values of :math:`\omega`, losses lie in [0, K], and regret is in
units of the loss (iterations).  :math:`\gamma` stands for the mean of :math:`1/\log^2\alpha_t`.
"""

from __future__ import annotations

from math import log, pi, sqrt


def tsallis_printed(d: int, T: int, K: float = 1.0) -> float:
    r"""Upper bound :math:`2K\sqrt{2dT}` on the regret of Tsallis-INF with :math:`\eta = 1/\sqrt T`, as printed.

    Source: Theorem B.1.  False: it belongs to :math:`\eta = 2\sqrt{2/T}` (:func:`tsallis_constant_rate`).  With
    :math:`\eta = 1/\sqrt T`, losses (0, 1, ..., 1) cost :math:`4(\sqrt d - 1)\sqrt T` in the limit of many rounds
    (:func:`tsallis_fluid`), more than the bound for 12 arms on; up to 5 arms the bound is true, as it then exceeds the
    repaired one.
    """
    return 2 * K * sqrt(2 * d * T)


def tsallis_constant_rate(d: int, T: int, eta: float, K: float = 1.0) -> float:
    r"""Upper bound on the regret of 1/2-Tsallis-INF with a constant learning rate, ours, repairs Theorem B.1.

    .. math:: K\Big(\frac{4(\sqrt d - 1)}{\eta} + \frac{\eta T\sqrt d}{2}\Big)

    Proof.  Follow the regularised leader with :math:`\psi(p) = -\frac4\eta\sum_i\sqrt{p_i}` on importance-weighted
    losses in units of K.  Its regret is at most :math:`\max\psi - \min\psi = \frac4\eta(\sqrt d - 1)` plus, for losses
    that are not negative, :math:`\frac12\mathbb E\sum_i \hat\ell_i^2/\psi''(p_i) \le \frac12\sum_i p_i^{-1}\,\eta
    p_i^{3/2} = \frac\eta2\sum_i\sqrt{p_i} \le \frac\eta2\sqrt d` a round.  With :math:`\eta = 1/\sqrt T` that is
    :math:`K(4.5\sqrt d - 4)\sqrt T`; with :math:`\eta = 2\sqrt{2/T}` it is :math:`K(2\sqrt{2d} - \sqrt2)\sqrt T`.
    """
    return K * (4 * (sqrt(d) - 1) / eta + eta * T * sqrt(d) / 2)


def tsallis_fluid(d: int, T: int) -> float:
    r"""Regret on losses (0, 1, ..., 1) with :math:`\eta = 1/\sqrt T` when estimates equal losses and T is large, ours.

    The share q of the wrong arms satisfies :math:`\eta t = 2\sqrt{(d-1)/q} - 2/\sqrt{1-q}`, and :math:`\int q\,dt =
    \int t\,dq` from 0 to :math:`(d-1)/d` is :math:`4(\sqrt d - 1)\sqrt T`: the whole range of the regulariser.
    """
    return 4 * (sqrt(d) - 1) * sqrt(T)


def tsallis_anytime_printed(d: int, T: int, K: float = 1.0) -> float:
    r"""Upper bound :math:`4K\sqrt{dT} + 1` on the regret of Tsallis-INF with :math:`\eta_t = 2/\sqrt t`, as printed.

    Source: Theorem B.2.  It is not homogeneous in K; the proof (Zimmert & Seldin 2021, Theorem 1) gives
    :func:`tsallis_anytime`.
    """
    return 4 * K * sqrt(d * T) + 1


def tsallis_anytime(d: int, T: int, K: float = 1.0) -> float:
    r"""Upper bound :math:`4K\sqrt{dT} + K` on the regret of Tsallis-INF with :math:`\eta_t = 2/\sqrt t`; Theorem B.2
    with the K that is missing in print."""
    return 4 * K * sqrt(d * T) + K


def semi_lipschitz(d: int, T: int, K: float, width: float, slopes: float) -> float:
    r"""Upper bound on the regret against every point of [a, b], with a grid that holds z.

    .. math:: 2K\sqrt{2dT} + \frac{b-a}{d}\sum_t L_t

    Source: Theorem B.3, for losses that are :math:`(L_t, z)`-semi-Lipschitz, and
    :math:`\eta = 2\sqrt{2/T}`; `width` is b - a and `slopes` the sum.
    """
    return tsallis_printed(d, T, K) + width / d * slopes


def semi_lipschitz_tuned(T: int, K: float, width: float, slope: float) -> float:
    r""":func:`semi_lipschitz` at its best d (not rounded), :math:`3(2(b-a)\bar LK^2T^2)^{1/3}`, mean slope `slope`."""
    return 3 * (2 * width * slope * K**2 * T**2) ** (1 / 3)


def contextual(
    d: int, m: int, T: int, K: float, span: float, width: float, policy_slope: float, slopes: float
) -> float:
    r"""Upper bound on the regret of Tsallis-INF in each of m bins against every Lipschitz policy f of the context.

    .. math:: Km + 4K\sqrt{dmT} + \Big(\frac{CL_f}{m} + \frac{b-a}{d}\Big)\sum_t L_t

    Source: Theorem B.4, whose first term is printed m.  `span` is C, `policy_slope` is :math:`L_f`.
    """
    return K * m + 4 * K * sqrt(d * m * T) + (span * policy_slope / m + width / d) * slopes


def relaxation(d: int, T: int, K: float, eps: float, inverse_log2: float) -> float:
    r"""Upper bound on the expected iterations of SOR beyond :math:`\min_\omega\sum_t U_t(\omega)`.

    .. math:: 2K\sqrt{2dT} + \sum_t \frac{\log(1/\epsilon)}{d\log^2\alpha_t}

    Source: Theorem 2.1, with :math:`\eta = 2\sqrt{2/T}`; `inverse_log2` is :math:`\gamma`.
    """
    return semi_lipschitz(d, T, K, 1.0, T * log(1 / eps) * inverse_log2)


def relaxation_grid(T: int, alpha_max: float, inverse_log2: float) -> float:
    r"""The d that Theorem 2.1 takes, :math:`(\tfrac T2\gamma^2\log^2\alpha_{\max})^{1/3}`, not rounded."""
    return (T / 2 * inverse_log2**2 * log(alpha_max) ** 2) ** (1 / 3)


def relaxation_tuned(T: int, eps: float, alpha_max: float, inverse_log2: float) -> float:
    r""":func:`relaxation` at that d, :math:`3\log\frac1\epsilon(2\gamma T^2/\log^2\alpha_{\max})^{1/3}`."""
    return 3 * log(1 / eps) * (2 * inverse_log2 * T**2 / log(alpha_max) ** 2) ** (1 / 3)


def shifted_printed(T: int, eps: float, alpha_max: float, span: float, slope: float) -> float:
    r"""Upper bound on the iterations beyond :math:`\sum_tU_t(\omega^*(c_t))`, as printed in Theorems 2.2 and E.1.

    .. math:: \Big(\frac{54C^3L^3T}{\log^2\alpha_{\max}}\Big)^{1/4}
        + \frac{4\log(1/\epsilon)}{\log(1/\alpha_{\max})}(24CLT^3)^{1/4}

    Its second term does not follow: the proof's optimum is :func:`shifted`.
    """
    bins = (54 * (span * slope) ** 3 * T / log(alpha_max) ** 2) ** 0.25
    return bins + 4 * log(1 / eps) / log(1 / alpha_max) * (24 * span * slope * T**3) ** 0.25


def shifted(T: int, eps: float, alpha_max: float, span: float, slope: float) -> float:
    r"""Theorem E.1 with the optimum of its own proof, :math:`4\log\frac1\epsilon(24CLT^3)^{1/4}/\log^{3/2}
    \frac1{\alpha_{\max}}`, and K for each bin, :math:`K = \log\epsilon/\log\alpha_{\max}`."""
    bins = (54 * (span * slope) ** 3 * T / log(alpha_max) ** 2) ** 0.25
    K = log(eps) / log(alpha_max)
    return K * bins + 4 * log(1 / eps) * (24 * span * slope * T**3) ** 0.25 / log(1 / alpha_max) ** 1.5


def conjugate_gradient_printed(T: int, eps: float, kappa: float, mu: float, mean_root_mu: float) -> float:
    r"""Theorem 2.3 up to its constant, with the largest :math:`\kappa` and :math:`\mu`, as printed.

    .. math:: \Big(\frac{\log^2(\sqrt\kappa/\epsilon)}{\log^2((\sqrt\mu-1)/(\sqrt\mu+1))}
        \overline{\sqrt{\mu_t}}\,T^2\Big)^{1/3}
    """
    rate = log((sqrt(mu) - 1) / (sqrt(mu) + 1))
    return ((log(sqrt(kappa) / eps) / rate) ** 2 * mean_root_mu * T**2) ** (1 / 3)


def conjugate_gradient(T: int, eps: float, kappa: float, mu: float, mean_root_mu: float) -> float:
    r"""Theorem 2.3 up to its constant with the cube of :math:`\log(\sqrt\kappa/\epsilon)`: the semi-Lipschitz constant
    of Lemma E.2 lacks one such factor, and Theorem B.3 takes the cube root of :math:`K^2L`."""
    return log(sqrt(kappa) / eps) ** (1 / 3) * conjugate_gradient_printed(T, eps, kappa, mu, mean_root_mu)


def symmetric_sor(d: int, T: int, n: int, K: float, beta_min: float, kappa_max: float) -> float:
    r"""Upper bound on the regret over SSOR with right-hand sides of random length, Theorem 3.1.

    .. math:: 2K\sqrt{2dT} + \frac{32K^4T}{\beta_{\min}^4d}\sqrt{\frac{2n\kappa_{\max}}\pi}

    Its proof lets a factor :math:`\frac1{2-\omega_{\max}} + 2\rho(DA^{-1})` of Corollary F.1 go.
    """
    return tsallis_printed(d, T, K) + 32 * K**4 * T / (beta_min**4 * d) * sqrt(2 * n * kappa_max / pi)


def square_cb(d: int, T: int, square_regret: float, misspecified: float) -> float:
    r"""Upper bound :math:`2\sqrt{dTR_T} + 5\alpha T\sqrt d` on the regret of SquareCB for losses in [0, 1].

    Source: Theorem C.2; `square_regret` is the oracle's :math:`R_T`, `misspecified` the distance :math:`\alpha` of the
    expected losses from its class.
    """
    return 2 * sqrt(d * T * square_regret) + 5 * misspecified * T * sqrt(d)


def follow_the_leader(T: int, n: int, bound: float, features: float, diameter: float) -> float:
    r"""Upper bound :math:`4B^2n(1 + \log\frac{XDT}{2B})` on the squared-loss regret of least squares over a convex set.

    Source: Theorem C.3; n coefficients, predictions and labels within `bound`, features of length at most `features`, a
    set of the given `diameter`.
    """
    return 4 * bound**2 * n * (1 + log(features * diameter * T / (2 * bound)))
