r"""Off-policy evaluation from a log of contextual-bandit rounds: what would another policy have earned?

Round `i` has action :math:`a_i`, drawn with *propensity* :math:`\mu_i(a_i) > 0`, and reward :math:`r_i`; the target
policy would have drawn from :math:`\pi_i`, and :math:`w_i = \pi_i(a_i)/\mu_i(a_i)`.  With a reward model `q`,
float[n, K],

- IPS :math:`\frac1n\sum w_i r_i` (Horvitz & Thompson 1952), unbiased if :math:`\mu_i > 0` wherever :math:`\pi_i > 0`;
- SNIPS :math:`\sum w_i r_i / \sum w_i` (Swaminathan & Joachims 2015), within the rewards' range, biased by O(1/n);
- clipped IPS :math:`\frac1n\sum \min(w_i, c) r_i`;
- DM :math:`\frac1n\sum_i\sum_a \pi_i(a) q_i(a)`, as good as the model;
- DR :math:`DM + \frac1n\sum w_i (r_i - q_i(a_i))` (Dudik, Langford & Li 2011), unbiased if the propensities or the
  model are right;
- SWITCH-DR, DR with the correction only where :math:`w_i \le c` (Wang, Agarwal & Dudik 2017, Section 4);
- MRDR, DR with the linear model that makes its variance least (Farajtabar, Chow & Ghavamzadeh 2018):
  :func:`minimum_variance_model`.

The value that is estimated is the mean over the rounds' contexts of the target's expected reward.  Intervals that hold
for every n are in :mod:`claimlab.theory.off_policy`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, nan, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import SUM_TOLERANCE, Array, Ints
from claimlab.estimates import MISSING, Estimate, control_coefficients, folds_of
from claimlab.native import fast_kernel, spread, threads_or_default

LEAST = 2**14  # rounds that are worth a thread
PILOT = 256  # rounds whose means the sums are centred at, so that no variance is a difference of large numbers


@dataclass(frozen=True, eq=False)
class BanditLog:
    """A log of independent rounds, validated once; arrays are read-only, and copied unless they were so before.

    Parameters
    ----------
    actions : int[n]
        Which of K actions was taken.
    rewards : float[n]
        What it brought; within `reward_range`, if that is given.
    propensities : float[n]
        With which probability the logging policy took the action taken, in (0, 1].  May be left out (None) where
        `logging` is given.
    target : float[n, K]
        The probabilities of the target policy in each round's context.
    model : float[n, K], optional
        Predicted rewards of every action, from a model that was not fitted on these rounds (or cross-fitted).
    logging : float[n, K], optional
        All probabilities of the logging policy: they show which share of the target it can never show.
    reward_range : (float, float), optional
        Between which bounds rewards must lie; what intervals for every n rest on.
    weight_bound : float
        A bound on every weight that could ever occur, known from how the log was made (for instance 1 over the least
        propensity), not read off the log; infinite by default.
    """

    actions: Ints
    rewards: Array
    propensities: Any
    target: Array
    model: Any = None
    logging: Any = None
    reward_range: tuple[float, float] | None = None
    weight_bound: float = inf
    weights: Array = field(init=False)  # [n], importance weights of the actions taken

    def __post_init__(self) -> None:
        target = checks.distributions("target", self.target, ndim=2)
        n, n_actions = target.shape
        if n == 0:
            raise ValueError("a log needs at least one round; target has shape (0, K).")
        actions = checks.indices("actions", self.actions, (n,), "(n,)", n_actions)
        rewards = checks.shaped("rewards", self.rewards, (n,), "(n,)")
        span = None if self.reward_range is None else _span(self.reward_range, rewards)
        logging = None if self.logging is None else checks.distributions("logging", self.logging, ndim=2)
        if logging is not None and logging.shape != target.shape:
            raise ValueError(f"logging must have the shape of target, {target.shape}, got {logging.shape}.")
        propensities = _propensities(self.propensities, logging, actions)
        model = None if self.model is None else checks.shaped("model", self.model, target.shape, "(n, K)")
        bound = checks.interval("weight_bound", self.weight_bound, 0, inf, "(]")
        with np.errstate(over="ignore"):
            weights = target[np.arange(n), actions] / propensities
        _refuse("propensities", propensities, ~np.isfinite(weights), "makes a weight that no float holds")
        weights.flags.writeable = False
        above = weights > bound * (1 + SUM_TOLERANCE)
        _refuse("propensities", propensities, above, f"makes a weight above weight_bound = {bound:g}")
        for name, value in (
            ("actions", actions),
            ("rewards", rewards),
            ("propensities", propensities),
            ("target", target),
            ("model", model),
            ("logging", logging),
            ("reward_range", span),
            ("weight_bound", bound),
            ("weights", weights),
        ):
            object.__setattr__(self, name, value)

    @property
    def n(self) -> int:
        return len(self.rewards)

    @property
    def n_actions(self) -> int:
        return int(self.target.shape[1])

    @property
    def uncovered(self) -> Array | None:
        """The target's probability of actions that the logging policy never takes, float[n]; None without `logging`."""
        return None if self.logging is None else np.where(self.logging > 0, 0.0, self.target).sum(axis=1)


def _refuse(name: str, values: Array, bad: Any, why: str) -> None:
    if bad.any():
        i = int(np.argmax(bad))
        raise ValueError(f"{name}[{i}] is {values[i]:.6g}: it {why} ({int(bad.sum())} such rounds).")


def _span(given: tuple[float, float], rewards: Array) -> tuple[float, float]:
    low, high = (checks.interval("reward_range", bound, -inf, inf, "()") for bound in given)
    if not low < high:
        raise ValueError(f"reward_range must be (low, high) with low < high, got {given!r}.")
    _refuse("rewards", rewards, (rewards < low) | (rewards > high), f"lies outside reward_range [{low:g}, {high:g}]")
    return low, high


def _propensities(given: Any, logging: Array | None, actions: Ints) -> Array:
    if given is None and logging is None:
        raise ValueError("propensities are missing: pass them, or all probabilities of the logging policy as logging.")
    chosen = None if logging is None else logging[np.arange(len(actions)), actions]
    out = checks.numbers("propensities", given if given is not None else np.asarray(chosen))
    if out.shape != actions.shape:
        raise ValueError(f"propensities must have shape (n,) = {actions.shape}, got {out.shape}.")
    _refuse(
        "propensities", out, np.isnan(out), "is missing; drop such rounds only if that depends on the context alone"
    )
    _refuse("propensities", out, out <= 0, "says that the action taken cannot be taken; propensities lie in (0, 1]")
    _refuse("propensities", out, out > 1, "is no probability; propensities lie in (0, 1]")
    if chosen is not None and given is not None:
        _refuse("propensities", out, abs(out - chosen) > SUM_TOLERANCE, "differs from logging at the action taken")
    out.flags.writeable = False
    return out


class Evaluation(NamedTuple):
    """The value of the target policy by several estimators, and how much the log can say of it."""

    ips: Estimate
    snips: Estimate
    clipped: Estimate
    dm: Estimate  # the standard error takes the model as given; NaN without a model, as the next two
    dr: Estimate
    switch: Estimate
    effective_size: float  # (sum of weights)^2 / sum of squared weights: rounds from the target worth as much
    max_weight: float
    mean_weight: Estimate  # 1 if the propensities are right and the target is covered; below by the uncovered mass
    uncovered: float  # mean probability of actions that are never logged; NaN where `logging` is not known


@fast_kernel
def _weighted(weights: Array, rewards: Array, at: Array, clip: float) -> Array:
    """Sums without a model; `at` holds the centres of the terms of IPS and clipped IPS, and of the rewards."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = s9 = top = 0.0
    for i in range(rewards.size):
        w, r = weights[i], rewards[i]
        top = max(top, w)
        x, c, d = w * r - at[0], min(w, clip) * r - at[1], w * (r - at[2])
        s0 += w
        s1 += w * w
        s9 += (w - 1) * (w - 1)
        s2 += x
        s3 += x * x
        s4 += c
        s5 += c * c
        s6 += d
        s7 += w * d
        s8 += d * d
    return np.array([top, s0, s1, s2, s3, s4, s5, s6, s7, s8, s9])


@fast_kernel
def _modelled(
    weights: Array, rewards: Array, actions: Ints, target: Array, model: Array, at: Array, clip: float
) -> Array:
    """The same with a model: `at` holds three more centres, of the terms of DM, DR and SWITCH-DR."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = s9 = top = 0.0
    t0 = t1 = t2 = t3 = t4 = t5 = 0.0
    for i in range(rewards.size):
        w, r = weights[i], rewards[i]
        top = max(top, w)
        x, c, d = w * r - at[0], min(w, clip) * r - at[1], w * (r - at[2])
        s0 += w
        s1 += w * w
        s9 += (w - 1) * (w - 1)
        s2 += x
        s3 += x * x
        s4 += c
        s5 += c * c
        s6 += d
        s7 += w * d
        s8 += d * d
        m = 0.0
        for k in range(target.shape[1]):
            m += target[i, k] * model[i, k]
        e = w * (r - model[i, actions[i]])
        y, z, u = m - at[3], m + e - at[4], m + (e if w <= clip else 0.0) - at[5]
        t0 += y
        t1 += y * y
        t2 += z
        t3 += z * z
        t4 += u
        t5 += u * u
    return np.array([top, s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, t0, t1, t2, t3, t4, t5])


def _centres(log: BanditLog, clip: float) -> Array:
    """Rough means of everything that is summed, from the first rounds."""
    k = slice(min(log.n, PILOT))
    w, r = log.weights[k], log.rewards[k]
    out = [(w * r).mean(), (np.minimum(w, clip) * r).mean(), r.mean()]
    if log.model is not None:
        q = log.model[k]
        m, e = (log.target[k] * q).sum(axis=1), w * (r - q[np.arange(len(r)), log.actions[k]])
        out += [m.mean(), (m + e).mean(), (m + np.where(w <= clip, e, 0.0)).mean()]
    return np.array(out)


def evaluate_log(log: BanditLog, *, clip: float = inf, threads: int | None = None) -> Evaluation:
    r"""All estimators and their standard errors in one pass over the log.

    The standard error of SNIPS is that of its linearisation,
    :math:`\sqrt{\sum w_i^2 (r_i - \hat v)^2} / \sum w_i`; the others' are those of a mean.

    Parameters
    ----------
    log : BanditLog
    clip : float
        The threshold of clipped IPS and SWITCH-DR; infinite by default, which makes them IPS and DR.
    threads : int, optional
        Every core by default; changes results by rounding only.

    >>> log = BanditLog([0, 1, 1], [0, 1, 1], [0.5, 0.5, 0.5], [[0, 1]] * 3)
    >>> evaluate_log(log).snips.value, evaluate_log(log).effective_size
    (1.0, 2.0)
    """
    clip = checks.interval("clip", clip, 0, inf, "(]")
    at = _centres(log, clip)

    def work(start: int, stop: int) -> Array:
        part = slice(start, stop)
        w, r = log.weights[part], log.rewards[part]
        if log.model is None:
            return _weighted(w, r, at, clip)
        return _modelled(w, r, log.actions[part], log.target[part], log.model[part], at, clip)

    blocks = np.array(spread(work, log.n, threads_or_default(threads), least=LEAST))
    total, n = blocks.sum(axis=0), log.n

    def mean(k: int, centre: float) -> Estimate:
        return _mean(float(total[k]), float(total[k + 1]), n, centre)

    modelled = [mean(k, at[j]) if log.model is not None else MISSING for k, j in ((11, 3), (13, 4), (15, 5))]
    w, ww, wr, wwr, wwrr, about_one = (float(total[k]) for k in (1, 2, 7, 8, 9, 10))
    uncovered = log.uncovered
    return Evaluation(
        ips=mean(3, at[0]),
        snips=_ratio(w, ww, wr, wwr, wwrr, float(at[2])),
        clipped=mean(5, at[1]),
        dm=modelled[0],
        dr=modelled[1],
        switch=modelled[2],
        effective_size=w * w / ww if ww > 0 else 0.0,
        max_weight=float(blocks[:, 0].max()),
        mean_weight=_mean(w - n, about_one, n, 1.0),
        uncovered=nan if uncovered is None else float(uncovered.mean()),
    )


def _mean(s1: float, s2: float, n: int, centre: float) -> Estimate:
    """The mean of n terms, and its standard error, from their sum and sum of squares about `centre`."""
    mean = s1 / n
    spread_ = max(s2 / n - mean * mean, 0.0)
    return Estimate(float(centre) + mean, sqrt(spread_ / (n - 1)) if n > 1 else nan)


def _ratio(w: float, ww: float, wr: float, wwr: float, wwrr: float, centre: float) -> Estimate:
    """SNIPS from sums of w, w^2, w r, w^2 r and w^2 r^2, rewards about `centre`; none without weight."""
    if w == 0:
        return MISSING
    value = wr / w
    return Estimate(centre + value, sqrt(max(wwrr - 2 * value * wwr + value * value * ww, 0.0)) / w)


def least_squares_model(log: BanditLog, contexts: ArrayLike, *, folds: int = 2) -> Array:
    """Rewards predicted by least squares in the contexts, for each action by itself, float[n, K]; cross-fitted.

    `contexts` is float[n, d]; a constant is added.  Each round is predicted from the other folds, so the DR estimate
    with this model stays unbiased.  An action that the other folds never took is predicted 0.
    """
    x = _with_constant(log, contexts)
    chosen = np.eye(log.n_actions)[log.actions]
    design = (chosen[:, :, None] * x[:, None, :]).reshape(log.n, -1)
    return _cross_fitted(log, x, folds, lambda kept: np.linalg.lstsq(design[kept], log.rewards[kept], rcond=None)[0])


def minimum_variance_model(log: BanditLog, contexts: ArrayLike, *, folds: int = 2) -> Array:
    r"""The linear model that makes the DR estimate's variance least (MRDR), float[n, K]; cross-fitted.

    With features :math:`\phi(x, a) = e_a \otimes (1, x)` DR is :math:`\frac1n\sum (w_i r_i - z_i^\top\beta)` with
    controls :math:`z_i = w_i\phi(x_i, a_i) - \sum_a \pi_i(a)\phi(x_i, a)` of mean zero, so the minimiser of Farajtabar,
    Chow & Ghavamzadeh (2018) in this class is a regression of :math:`w r` on `z` and the context; it needs no
    other propensities than those of the actions taken.
    """
    x = _with_constant(log, contexts)
    surplus = log.weights[:, None] * np.eye(log.n_actions)[log.actions] - log.target
    z, y = (surplus[:, :, None] * x[:, None, :]).reshape(log.n, -1), log.weights * log.rewards
    return _cross_fitted(log, x, folds, lambda kept: control_coefficients(y[kept], z[kept], x[kept]))


def _with_constant(log: BanditLog, contexts: ArrayLike) -> Array:
    x = checks.array("contexts", contexts, ndim=2)
    if len(x) != log.n:
        raise ValueError(f"contexts must have shape (n, d) with n = {log.n}, got {x.shape}.")
    return np.hstack([np.ones((log.n, 1)), x])


def _cross_fitted(log: BanditLog, x: Array, folds: int, fit: Any) -> Array:
    """Predictions whose coefficients each come from the other folds."""
    if log.n < 2:
        raise ValueError("cross-fitting needs 2 rounds at least, got 1.")
    folds = checks.integer("folds", folds, 2, log.n)
    fold, out = folds_of(log.n, folds), np.empty(log.target.shape)
    for k in range(folds):
        beta = fit(fold != k).reshape(log.n_actions, x.shape[1])
        out[fold == k] = x[fold == k] @ beta.T
    return out
