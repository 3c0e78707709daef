r"""Regret bounds of K-armed bandits, with the constants of their theorems.

Rewards lie in [0, 1].  `gaps`, float[K], are :math:`\Delta_i = \mu^* - \mu_i`; T is the horizon; all bounds are on the
pseudo-regret unless said otherwise, and all logarithms natural.
"""

from __future__ import annotations

from math import e, inf, log, pi, sqrt

import numpy as np
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array


def bernoulli_kl(p: ArrayLike, q: ArrayLike) -> Array:
    r""":math:`\mathrm{kl}(p, q) = p\log\frac pq + (1-p)\log\frac{1-p}{1-q}`, elementwise; infinite where it must be."""
    p, q = np.broadcast_arrays(checks.numbers("p", p), checks.numbers("q", q))
    with np.errstate(divide="ignore", invalid="ignore"):
        wins = np.where(p > 0, p * np.log(p / q), 0.0)
        drift = (p - q) / (1 - p)
        # the first keeps its digits where p and q are small or near each other, the second where q is next to 1
        ratio = np.where(drift > -0.5, np.log1p(drift), np.log((1 - q) / (1 - p)))
        return wins - np.where(p < 1, (1 - p) * ratio, 0.0)


def lai_robbins(means: ArrayLike) -> float:
    r""":math:`\sum_{\Delta_i > 0} \Delta_i / \mathrm{kl}(\mu_i, \mu^*)`: what no consistent algorithm beats.

    Lai & Robbins (1985): if the regret is :math:`o(T^a)` for all a > 0 and all Bernoulli bandits, then
    :math:`\liminf_T R_T / \log T` is at least this.
    """
    means = checks.unit("means", means, ndim=1)
    rest = means[means < means.max()]
    return float(((means.max() - rest) / bernoulli_kl(rest, means.max())).sum())


def ucb1(gaps: ArrayLike, horizon: int) -> float:
    r""":math:`8 \sum_{\Delta_i>0} \frac{\log T}{\Delta_i} + (1 + \frac{\pi^2}{3}) \sum_i \Delta_i`.

    Auer, Cesa-Bianchi & Fischer (2002), Theorem 1.
    """
    gaps = _positive(gaps)
    return float(8 * log(_rounds(horizon)) * (1 / gaps).sum() + (1 + pi**2 / 3) * gaps.sum())


def delayed_ucb1(gaps: ArrayLike, horizon: int, delay: int) -> float:
    r"""The bound :func:`ucb1` plus :math:`D \sum_i \Delta_i`, for rewards that arrive up to D rounds late.

    Joulani, Gyorgy & Szepesvari (2013) for UCB1.  In the proof of Auer et al. an arm's *observed* pulls take the place
    of its pulls; once :math:`\ell = \lceil 8\log T/\Delta_i^2 \rceil` are observed everything goes as before, and until
    then the arm is pulled at most :math:`\ell + D` times.
    """
    return ucb1(gaps, horizon) + checks.integer("delay", delay, 0) * float(_positive(gaps).sum())


def kl_ucb(means: ArrayLike, horizon: int) -> float:
    r"""KL-UCB of level :math:`f(t) = 1 + t\log^2 t`:

    .. math:: \sum_{\Delta_i>0} \inf_{\epsilon_1 + \epsilon_2 < \Delta_i} \Delta_i \Big(
       \frac{\log f(T)}{\mathrm{kl}(\mu_i + \epsilon_1, \mu^* - \epsilon_2)} + \frac{1}{2\epsilon_1^2}
       + \frac{2}{\epsilon_2^2} \Big).

    Lattimore & Szepesvari (2020), Theorem 10.6, the finite-time bound of Garivier & Cappe (2011) with all constants.
    The infimum is taken over a grid, which can only enlarge the bound.
    """
    means, T = checks.unit("means", means, ndim=1), _rounds(horizon)
    level = log(1 + T * log(T) ** 2)
    shares = np.geomspace(1e-4, 0.97, 120)
    first, second = (x.ravel() for x in np.meshgrid(shares, shares))
    first, second = first[first + second < 1], second[first + second < 1]
    total = 0.0
    for mean in means[means < means.max()]:
        gap = means.max() - mean
        e1, e2 = first * gap, second * gap
        divergence = bernoulli_kl(mean + e1, means.max() - e2)
        total += gap * float((level / divergence + 1 / (2 * e1**2) + 2 / e2**2).min())
    return total


def moss(gaps: ArrayLike, horizon: int, *, sigma: float = 0.5) -> float:
    r""":math:`39\sigma\sqrt{KT} + \sum_i \Delta_i` for `sigma`-subgaussian rewards.

    Lattimore & Szepesvari (2020), Theorem 9.1, for ``sigma=1``; the rest is a change of units.
    """
    gaps = _gaps(gaps)
    return 39 * checks.interval("sigma", sigma, 0, inf, "()") * sqrt(gaps.size * _rounds(horizon)) + float(gaps.sum())


def exp3(n_arms: int, horizon: int) -> float:
    r""":math:`\sqrt{2 T K \log K}` for the rate :func:`claimlab.bandits.exp3_rate`, against every oblivious adversary.

    Bubeck & Cesa-Bianchi (2012), Theorem 3.1; Lattimore & Szepesvari (2020), Theorem 11.2.
    """
    K = _arms(n_arms)
    return sqrt(2 * _rounds(horizon) * K * log(K))


def exp3_anytime(n_arms: int, horizon: int) -> float:
    r""":math:`2\sqrt{T K \log K}` for :math:`\eta_t = \sqrt{\log K/(Kt)}` (Bubeck & Cesa-Bianchi 2012, Theorem 3.1)."""
    return sqrt(2) * exp3(n_arms, horizon)


def exp3_mixing(n_arms: int, gain: float, gamma: float) -> float:
    r""":math:`(e-1)\gamma G + K\log K/\gamma` against an arm that earns `G`.

    Auer, Cesa-Bianchi, Freund & Schapire (2002), Theorem 3.1.
    """
    K, gamma = _arms(n_arms), checks.interval("gamma", gamma, 0, 1, "(]")
    return (e - 1) * gamma * checks.interval("gain", gain, 0, inf) + K * log(K) / gamma


def exp3_ix(n_arms: int, horizon: int, delta: float) -> float:
    r"""With probability :math:`1-\delta` the regret of Exp3-IX with rate :func:`claimlab.bandits.exp3_rate` is below

    .. math:: 2\sqrt{2KT\log K} + \Big(\sqrt{2KT/\log K} + 1\Big) \log(2/\delta).

    Neu (2015), Theorem 1.
    """
    K, T, delta = _arms(n_arms), _rounds(horizon), checks.interval("delta", delta, 0, 1, "()")
    return 2 * sqrt(2 * K * T * log(K)) + (sqrt(2 * K * T / log(K)) + 1) * log(2 / delta)


def tsallis_inf(n_arms: int, horizon: int) -> float:
    r""":math:`4\sqrt{KT} + 1` for :math:`\eta_t = 2/\sqrt t`, against every adversary.

    Zimmert & Seldin (2021), Theorem 1.
    """
    return 4 * sqrt(_arms(n_arms) * _rounds(horizon)) + 1


def tsallis_inf_sharp(n_arms: int, horizon: int) -> float:
    r""":math:`2\sqrt{KT} + 2(\sqrt K - 1)\sqrt T`, ours: :func:`tsallis_inf` without the terms that its proof drops.

    Proof.  Follow the regularised leader with :math:`\Psi_t(w) = -\frac{4}{\eta_t}\sum_i \sqrt{w_i}`.  *Stability*: for
    an estimate :math:`\hat\ell \ge 0` that is :math:`\ell/w_i` at the drawn arm and 0 elsewhere, the divergence of the
    unconstrained step is, with :math:`a = \eta\hat\ell_i\sqrt{w_i}/2 \ge 0`,

    .. math:: \frac{\eta}{2} \frac{w_i^{3/2} \hat\ell_i^2}{1 + a} \le \frac{\eta}{2} w_i^{-1/2},

    in expectation at most :math:`\frac{\eta_t}{2} \sum_i \sqrt{w_i} \le \sqrt{K/t}`; summed, :math:`2\sqrt{KT}`.
    *Penalty*: :math:`\sum_t 4 (\frac{1}{\eta_t} - \frac{1}{\eta_{t-1}}) (\sum_i \sqrt{w_{t,i}} - 1)`, with
    :math:`1/\eta_t = \sqrt t/2` at most :math:`2\sqrt T (\sqrt K - 1)`.
    """
    K, T = _arms(n_arms), _rounds(horizon)
    return 2 * sqrt(K * T) + 2 * (sqrt(K) - 1) * sqrt(T)


def tsallis_inf_stochastic(gaps: ArrayLike, horizon: int) -> float:
    r"""Tsallis-INF under fixed gaps with one best arm, :math:`\sum_i (4\log T + O(1))/\Delta_i`: the constants ours.

    .. math:: 4.58\sqrt K + \sum_{\Delta_i>0} \sum_{t \le T} \max_{0 \le w \le 1} \Big[ \Big(\frac{4}{\sqrt t}
       + \frac{2}{t^{3/2}}\Big)\sqrt w - \Big(\Delta_i - \frac{2}{\sqrt t} - \frac{8}{t}\Big) w \Big],

    or :func:`tsallis_inf_sharp` where that is less.  The order is that of Zimmert & Seldin (2021), Theorem 1, whose
    environments (stochastic, or stochastically constrained adversaries) are meant.

    Proof.  Let * be the best arm.  Stability as in :func:`tsallis_inf_sharp`, but first the loss of the drawn arm `i`
    is taken from all estimates, which changes no weight.  The estimates are then :math:`\ell(1/w_i - 1)` at `i` and
    :math:`-\ell` at all others, and for :math:`\eta \le 1`, by :math:`1/(1-a) \le 1 + 2a` for :math:`a \le 1/2`, the
    expected stability is at most

    .. math:: \frac{\eta}{2} \sum_i \sqrt{w_i} (1 - w_i) (1 + \eta w_i^{3/2})
       \le \frac{1}{\sqrt t} \sum_{i \ne *} (\sqrt{w_i} + w_i) + \frac{4}{t} \sum_{i \ne *} w_i,

    as :math:`\sqrt{w_*}(1-w_*) \le \sum_{i \ne *} w_i`.  That is for :math:`t \ge 4`; the first three rounds cost
    :math:`\sum_{t \le 3} \sqrt{K/t} < 2.29\sqrt K`.  The penalty is at most
    :math:`\sum_t 2(\sqrt t - \sqrt{t-1}) \sum_{i \ne *} \sqrt{w_i}` as :math:`\sqrt{w_*} \le 1`, and
    :math:`2(\sqrt t - \sqrt{t-1}) \le t^{-1/2}(1 + 1/t)`.  Twice their sum minus the regret itself,
    :math:`\sum_t \sum_i \Delta_i w_i`, bounds the regret; the bracket is what an arm contributes to it in a round.
    """
    gaps, T = _gaps(gaps), _rounds(horizon)
    if (gaps == 0).sum() != 1:
        raise ValueError(f"gaps must hold exactly one 0: the best arm must be unique, got {gaps.tolist()}.")
    t = np.arange(1, T + 1, dtype=np.float64)
    slope, total = 4 / np.sqrt(t) + 2 * t**-1.5, 4.58 * sqrt(gaps.size)
    for gap in gaps[gaps > 0]:
        cost = gap - 2 / np.sqrt(t) - 8 / t
        inside = cost > slope / 2
        total += float(np.where(inside, slope**2 / (4 * np.where(inside, cost, 1.0)), slope - cost).sum())
    return min(total, tsallis_inf_sharp(gaps.size, T))


def _gaps(gaps: ArrayLike) -> Array:
    out = checks.unit("gaps", gaps, ndim=1)
    if not out.size or out.min() != 0:
        raise ValueError(f"gaps must hold a 0, for the best arm, got {out.tolist()}.")
    return out


def _positive(gaps: ArrayLike) -> Array:
    out = _gaps(gaps)
    return out[out > 0]


def _arms(n_arms: int) -> int:
    return checks.integer("n_arms", n_arms, 2)


def _rounds(horizon: int) -> int:
    return checks.integer("horizon", horizon, 1)
