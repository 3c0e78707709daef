r"""LOOP with explicit constants: widths, in-sample errors, switches, regret.  The constants are ours, with proofs.

Setting: rewards known and deterministic, H finite with :math:`f^*` in it, sp the largest span of a :math:`V_f`,
:math:`d_t(g) = ((P_g - P_*) V_{f_t})(s_t, a_t)` and :math:`D_t(g) = \sum_{i \le t} d_i(g)^2`.

**Losses.**  With noise :math:`\eta_t = V_{f_t}(s_{t+1}) - (P_* V_{f_t})(s_t, a_t)`, of mean zero and range sp given the
past, :math:`L_t(g) - L_t(f^*) = D_t(g) - 2 \sum d_i(g) \eta_i`.  By Hoeffding's lemma
:math:`\exp(\pm 2 \lambda \sum d \eta - \lambda^2 \mathrm{sp}^2 \sum d^2 / 2)` is a supermartingale for either sign, so
by Ville's inequality, with probability at least :math:`1 - e^{-\iota}`, for all t at once,

.. math:: \pm 2 \textstyle\sum d \eta \le \lambda\, \mathrm{sp}^2 D / 2 + \iota / \lambda. \tag{1}

**Theorem (ours).**  Let :math:`\beta = \mathrm{sp}^2 \iota` with :math:`\iota = \log((2|H| + T)/\delta)`, and `trigger`
4.  With probability at least :math:`1 - \delta`, for all :math:`t \le T`,

1. :math:`L_t(f^*) - \min_g L_t(g) \le \beta/2`: the truth is in every confidence set, and :math:`J_{f_t} \ge J^*`
   whenever :math:`f_t` is chosen;
2. :math:`D_{t-1}(f_t) \le 4 \beta` when :math:`f_t` is chosen, and :math:`\le 10 \beta` always;
3. every completed epoch has :math:`\sum d_t(f_t)^2 \ge \beta`, so there are at most
   :math:`1 + \beta^{-1} \sum_t d_t(f_t)^2` epochs.

*Proof.*  (1) with sign +, :math:`\lambda = 2/\mathrm{sp}^2` and every g gives :math:`L(f^*) - L(g) \le \mathrm{sp}^2
\iota / 2`, that is 1.  With :math:`\lambda = 1/\mathrm{sp}^2`, :math:`L(g) - L(f^*) \ge D(g)/2 - \beta`; where the
excess loss of g is at most :math:`x \beta`, :math:`D(g) \le 2 (x + 1) \beta`: x = 1 in the confidence set, 4 before the
trigger, that is 2.  For 3, an epoch begins at a stopping time with a hypothesis f known then; (1) with sign -,
:math:`\lambda = 2/\mathrm{sp}^2`, started there, gives :math:`-2 \sum d \eta \le \sum d^2 + \beta/2` over the epoch; T
epochs at most.  The loss of f above that of :math:`f^*` is at most :math:`\beta` when chosen and, by 1, at least
:math:`4 \beta - \beta/2` when the trigger fires, so that :math:`5\beta/2 \le \sum d^2 - 2 \sum d \eta \le 2 \sum d^2 +
\beta/2`.  Failures: :math:`2|H| + T` events of probability :math:`e^{-\iota}`.  ∎

The value-based variant has the same proof with the functions g of G for each f, thus :math:`\iota =
\log((2|H||G| + T)/\delta)`; there :math:`d_i(f)` is the Bellman error of f itself.

**Regret.**  Since :math:`Q_{f_t}(s_t, a_t) = V_{f_t}(s_t)`, exactly,

.. math:: \textstyle\sum_t (J_{f_t} - r_t) = \sum_t E(f_t)(s_t,a_t)
    + \sum_t \bigl[P V_{f_t}(s_t,a_t) - V_{f_t}(s_{t+1})\bigr] + \sum_t \bigl[V_{f_t}(s_{t+1}) - V_{f_t}(s_t)\bigr] :

Bellman errors (:math:`E(f_t) = d_t(f_t)`), a martingale with steps of range sp, and a sum that telescopes within each
epoch, hence at most sp times the number of epochs.
"""

from __future__ import annotations

from math import inf, log, sqrt
from typing import NamedTuple

from claimlab import checks

PLANNED, PLAYED = 4.0, 10.0  # in-sample error in units of beta when a hypothesis is chosen, and always


def model_width(span: float, size: int, horizon: int, delta: float) -> float:
    r""":math:`\mathrm{sp}^2 \log((2|H| + T)/\delta)`, the width of the theorem above."""
    span, delta = checks.interval("span", span, 0, inf, "()"), checks.interval("delta", delta, 0, 1, "()")
    size, horizon = checks.integer("size", size, 1), checks.integer("horizon", horizon, 1)
    return span**2 * log((2 * size + horizon) / delta)


def value_width(span: float, size: int, targets: int, horizon: int, delta: float) -> float:
    r""":math:`\mathrm{sp}^2 \log((2|H||G| + T)/\delta)`, for the value-based discrepancy with `targets` = `|G|`."""
    return model_width(span, size * checks.integer("targets", targets, 1), horizon, delta)


def likelihood_width(size: int, delta: float) -> float:
    r""":math:`\log(2|H|/\delta)` nats, for MLE-LOOP; T does not enter.

    *Proof (ours).*  :math:`\exp(\ell(g) - \ell(f^*))` is a supermartingale, so the truth loses at most this, for all
    t; and with :math:`H^2 = 1 - \sum \sqrt{pq}` so is :math:`\exp((\ell(g) - \ell(f^*))/2 + \sum_i H^2(P_g, P_*))`,
    so that a model within :math:`x \beta` of the maximum has :math:`\sum_i H^2 \le (1 + x/2) \beta`: 3/2 when chosen,
    3 always.
    """
    size, delta = checks.integer("size", size, 1), checks.interval("delta", delta, 0, 1, "()")
    return log(2 * size / delta)


def linear_width(
    span: float, size: int, dim: int, horizon: int, delta: float, *, weight: float, feature: float = 1.0, ridge: float
) -> float:
    r"""Width for linear G with a ridge: :math:`\sqrt\beta = \frac{\mathrm{sp}}2 \sqrt{2 \log\frac{|H|}\delta + d
    \log(1 + \frac{T X^2}{\lambda d})} + \sqrt\lambda\, W`.

    `weight` W bounds the norm of every target's weights, `feature` X that of the features.

    *Proof (ours).*  The self-normalised bound of Abbasi-Yadkori, Pal & Szepesvari (2011, Theorem 2) for the targets of
    each f: the ridge estimate lies within :math:`\sqrt\beta` of the weights of :math:`\mathcal P f` in the norm of
    :math:`\Lambda_t`, for all t.  So :math:`f^*` is in every confidence set; a hypothesis with excess :math:`c \beta`
    has in-sample error at most :math:`(1 + \sqrt c)^2 \beta`, 4 when chosen and 25 before a trigger of 16; an epoch
    ends above :math:`(\sqrt{16} - 1)^2 \beta` and began below :math:`4 \beta`, so it adds :math:`5 \beta` at least.
    (A trigger of 4 ends above :math:`\beta` only: nothing would bound the switches.)  For the mixture, whose one
    regression has the true parameter for its target, `|H|` may be replaced by 1.
    """
    span, delta = checks.interval("span", span, 0, inf, "()"), checks.interval("delta", delta, 0, 1, "()")
    size, dim = checks.integer("size", size, 1), checks.integer("dim", dim, 1)
    weight, ridge = checks.interval("weight", weight, 0, inf, "[)"), checks.interval("ridge", ridge, 0, inf, "()")
    logs = 2 * log(size / delta) + dim * log(1 + horizon * feature**2 / (ridge * dim))
    return (span / 2 * sqrt(logs) + sqrt(ridge) * weight) ** 2


# eluder coefficients --------------------------------------------------------------------------------------------------


def tabular_potential(n_pairs: int, horizon: int) -> float:
    r""":math:`\sum_t 1/N_t(s_t,a_t)` over repeated visits is at most :math:`k (1 + \log(T/k))`, k = min(SA, T) (ours).

    *Proof.*  A pair visited m times contributes :math:`\sum_{n<m} 1/n \le 1 + \log m`; the sum is concave in the m's,
    and increasing in the number of pairs visited.
    """
    k = min(checks.integer("n_pairs", n_pairs, 1), checks.integer("horizon", horizon, 1))
    return k * (1 + log(horizon / k))


def tabular_dominance(n_pairs: int, horizon: int, in_sample: float, scale: float) -> float:
    r""":math:`\sum_t |e_t| \le \sqrt{k(1 + \log(T/k)) \sum_t A_t} + k B`, with `in_sample` the sum of the A_t (ours).

    *Proof.*  First visits give at most kB.  At others :math:`|e_t| \le N_t^{-1/2} \sqrt{A_t}`; Cauchy-Schwarz.  ∎
    So the dominance coefficient of a tabular MDP is at most :math:`SA (1 + \log T)`.
    """
    return sqrt(tabular_potential(n_pairs, horizon) * in_sample) + min(n_pairs, horizon) * scale


def tabular_transfer(n_pairs: int, horizon: int, beta: float, scale: float) -> float:
    r"""If :math:`A_t \le \beta` for all t, :math:`\sum_t e_t^2 \le k(1 + \log(T/k)) \beta + k B^2` (ours).

    *Proof.*  :math:`N_t(s_t,a_t) e_t^2 \le A_t \le \beta`, and :math:`B^2` at first visits.
    """
    return tabular_potential(n_pairs, horizon) * beta + min(n_pairs, horizon) * scale**2


def linear_potential(dim: int, horizon: int) -> float:
    r""":math:`\sum_t \min\{1, \|x_t\|^2_{\Lambda_t^{-1}}\} \le d \log_2(1 + T^2/d)`, :math:`\Lambda_t = I/T +
    \sum_{i<t} x_i x_i^\top`, :math:`\|x_t\| \le 1` (ours).

    *Proof.*  :math:`\min\{1, u^2\} \le \log_2(1 + u^2)`; the determinant of :math:`\Lambda` grows by the factor
    :math:`1 + u_t^2` and in all by :math:`(1 + T^2/d)^d` at most (arithmetic and geometric mean of its eigenvalues).
    """
    return dim * log(1 + horizon**2 / dim) / log(2) if dim else 0.0


def linear_dominance(dim: int, horizon: int, in_sample: float, scale: float) -> float:
    r""":math:`\sum_t |e_t| \le \sqrt{K (\sum_t A_t + W^2)} + K W`, K = :func:`linear_potential` (ours).

    For :math:`e_t = \langle w_t, x_t \rangle`, :math:`\|x_t\| \le 1`, :math:`\|w_t\| \le W` = `scale`.

    *Proof.*  Rounds with :math:`u_t^2 > 1` add 1 each to the potential: there are at most K, each with
    :math:`|e_t| \le W`.  At others :math:`|e_t| \le u_t \sqrt{A_t + W^2/T}`; Cauchy-Schwarz.
    """
    potential = linear_potential(dim, horizon)
    return sqrt(potential * (in_sample + scale**2)) + scale * potential


def linear_transfer(dim: int, horizon: int, beta: float, scale: float) -> float:
    r"""If :math:`A_t \le \beta` for all t, :math:`\sum_t e_t^2 \le d \log_2(1 + T/d) (\beta + W^2)` (ours).

    *Proof.*  As above with :math:`\Lambda_t = I + \sum_{i<t} x_i x_i^\top`, where u is at most 1.
    """
    return dim * log(1 + horizon / dim) / log(2) * (beta + scale**2)


def class_dominance(size: int, horizon: int, in_sample: float, scale: float) -> float:
    r""":math:`\sum_t |d_t(f_t)| \le \sqrt{K (\sum_t D_{t-1}(f_t) + B^2)} + K B` for a finite class (ours), with
    :math:`K = m \log_2(1 + T^2/m)` and :math:`m = |H| - 1`; `in_sample` is the sum of the D's, B = `scale`.

    *The reduction.*  Whatever the hypotheses are about, the rounds of one of them are a problem in one dimension, and
    the class an orthogonal sum of m of these: let f be in use at :math:`t_1 < \dots < t_n` with
    :math:`e_j = d_{t_j}(f)`.  All of these count in its in-sample error,
    :math:`D_{t_j-1}(f) \ge S_{j-1} := \sum_{l<j} e_l^2`, and data that others have brought only add to it.  So

    .. math:: e_j^2 = u_j^2 (S_{j-1} + \lambda) \le u_j^2 (D_{t_j-1}(f) + \lambda), \qquad
              \textstyle\prod_j (1 + u_j^2) = 1 + S_n / \lambda.

    *Proof.*  Take :math:`\lambda = B^2/T`.  As :math:`S_n \le n B^2` and :math:`\min\{1, u^2\} \le \log_2(1 + u^2)`,
    the sum of :math:`\min\{1, u^2\}` is at most :math:`\log_2(1 + n T)` for each wrong hypothesis, and at most K over
    all: the logarithm is concave, and the n's add up to T at most.  The truth errs nowhere.  Rounds with
    :math:`u^2 > 1` are at most K, with errors of at most B; for the others, Cauchy-Schwarz.  ∎

    Hence the dominance coefficient of any finite class is at most :math:`K + \sqrt K`
    (:func:`dominance_coefficient`), with no assumption on its structure.
    """
    return linear_dominance(checks.integer("size", size, 1) - 1, horizon, in_sample, scale)


def dominance_coefficient(potential: float) -> float:
    r""":math:`K + \sqrt K`: the d of :func:`claimlab.mdps.agec.dominance` that a bound :math:`\sqrt{K(\sum A + B^2)} +
    KB` implies, by :math:`\sqrt{K(\sum A + B^2)} \le \sqrt{K \sum A} + B\sqrt K` (where d exceeds T, any sequence obeys
    it)."""
    return potential + sqrt(potential)


def class_transfer(size: int, beta: float, scale: float) -> float:
    r""":math:`\sum_t d_t(f_t)^2 \le (|H| - 1)(\beta + B^2)` if :math:`D_{t-1}(f_t) \le \beta` for all t (ours).

    *Proof.*  The rounds in which a hypothesis f is in use are among those of :math:`D_{t-1}(f)`: before the last of
    them their squares sum to at most :math:`\beta`, and the last adds :math:`B^2`.  The truth errs nowhere.
    """
    return (checks.integer("size", size, 1) - 1) * (beta + scale**2)


# regret ---------------------------------------------------------------------------------------------------------------


class RegretBound(NamedTuple):
    """An upper bound on the regret after T steps, reward units, by the three terms of the decomposition."""

    errors: float
    martingale: float
    telescoping: float
    epochs: float  # upper bound on the number of hypotheses chosen

    @property
    def total(self) -> float:
        return self.errors + self.martingale + self.telescoping


def regret_bound(horizon: int, span: float, squared: float, epochs: float, delta: float) -> RegretBound:
    r"""From :math:`\sum_t d_t^2 \le` `squared` and the number of `epochs`, w.p. at least 1 - `delta`.

    Cauchy-Schwarz for the errors, Azuma-Hoeffding for the martingale (its maximal form, so for all t <= T at once).
    """
    horizon, delta = checks.integer("horizon", horizon, 1), checks.interval("delta", delta, 0, 1, "()")
    spread = span * sqrt(horizon * log(1 / delta) / 2)
    return RegretBound(sqrt(horizon * squared), spread, span * epochs, epochs)


def model_regret(
    horizon: int, span: float, size: int, delta: float, *, dim: int | None = None, weight: float = inf
) -> RegretBound:
    r"""Regret of ModelLOOP with ``model_width(span, size, horizon, delta / 2)``, w.p. at least 1 - `delta` (ours).

    .. math:: \sqrt{T \Phi} + \mathrm{sp} \sqrt{T \log(2/\delta)/2} + \mathrm{sp} (1 + \Phi/\beta)

    with :math:`\Phi` the smaller of :func:`class_transfer` and, where the class is linear in `dim` dimensions
    (features of norm at most 1, weights of differences at most `weight`), :func:`linear_transfer`.
    """
    beta = model_width(span, size, horizon, delta / 2)
    squared = class_transfer(size, PLAYED * beta, span)
    if dim is not None:
        squared = min(squared, linear_transfer(dim, horizon, PLAYED * beta, weight))
    return regret_bound(horizon, span, squared, 1 + squared / beta, delta / 2)


def value_regret(
    horizon: int, span: float, size: int, targets: int, n_pairs: int, error: float, delta: float
) -> RegretBound:
    r"""Regret of ValueLOOP on a tabular MDP with ``value_width(..., delta / 2)``, w.p. at least 1 - `delta` (ours).

    `error` bounds :math:`|E(f)|` over H, `n_pairs` is SA; the terms are those of :func:`model_regret` with the smaller
    of :func:`class_transfer` and :func:`tabular_transfer`.  G must be complete.
    """
    beta = value_width(span, size, targets, horizon, delta / 2)
    squared = tabular_transfer(n_pairs, horizon, PLAYED * beta, error)
    squared = min(squared, class_transfer(size, PLAYED * beta, error))
    return regret_bound(horizon, span, squared, 1 + squared / beta, delta / 2)


def likelihood_regret(horizon: int, span: float, size: int, n_pairs: int, epochs: int, delta: float) -> RegretBound:
    r"""Regret of MLELOOP with ``likelihood_width(size, delta / 2)`` after `epochs` choices, w.p. at least 1 - `delta`.

    Ours: the squared Hellinger errors transfer like a tabular sequence, :math:`\sum_t H_t^2 \le 3\beta k(1 + \log(T/k))
    + k`, and :math:`|E| \le \mathrm{sp}\, TV \le \mathrm{sp} \sqrt{2 H^2}`.  The number of choices is that of the run:
    likelihood ratios are unbounded, so nothing bounds it beforehand.
    """
    beta = likelihood_width(size, delta / 2)
    squared = 2 * span**2 * tabular_transfer(n_pairs, horizon, 3 * beta, 1.0)
    return regret_bound(horizon, span, squared, float(epochs), delta / 2)


def linear_regret(
    horizon: int, span: float, dim: int, beta: float, delta: float, *, error: float, feature: float = 1.0, ridge: float
) -> RegretBound:
    r"""Regret of LinearLOOP and MixtureLOOP, trigger 16, with `beta` = ``linear_width(..., delta / 2)``, w.p. at least
    1 - `delta` (ours).

    As :func:`model_regret` with :math:`\Phi = \max\{25 \beta, B^2\}\, d \log_2(1 + T X^2/(\lambda d))` and at most
    :math:`1 + \Phi/(5\beta)` epochs; `error` B bounds the Bellman errors, `feature` X the norm of features.

    *Proof.*  The weights of an error lie within :math:`5\sqrt\beta` of 0 in the norm of :math:`\Lambda_t`, so that
    :math:`e_t^2 \le \min\{25 \beta u_t^2, B^2\} \le \max\{25 \beta, B^2\} \log_2(1 + u_t^2)`, whose sum is a
    log-determinant.
    """
    dim, ridge = checks.integer("dim", dim, 1), checks.interval("ridge", ridge, 0, inf, "()")
    squared = max(25 * beta, error**2) * dim * log(1 + horizon * feature**2 / (ridge * dim)) / log(2)
    return regret_bound(horizon, span, squared, 1 + squared / (5 * beta), delta / 2)
