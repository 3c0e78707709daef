r"""What a log proves about another policy: intervals for every sample size, and what no estimator can beat.

The intervals ask for the range of the rewards and for right propensities, and for nothing else: no bound on the
weights, no coverage.  For rewards in [0, 1] the terms :math:`w r` and :math:`w(1-r)` are nonnegative with means
:math:`L = E[wr]` and :math:`E[w(1-r)] = 1 - u - L`, `u` the target's probability of actions that are never logged, and
the value lies in :math:`[L, L + u]`, anywhere in it: so a lower bound on the first mean and one minus a lower bound on
the second enclose it, whether or not the log covers the target, and their gap cannot fall below `u`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.bandits.off_policy import BanditLog
from claimlab.mdps.off_policy import EpisodeLog, weight_products
from claimlab.mdps.staged import StagedMDP
from claimlab.theory.concentration import Interval, betting_lower, empirical_bernstein


def value_interval(log: BanditLog, level: float = 0.05) -> Interval:
    """An interval that holds the target's value with probability 1 - `level`, by betting on both sides.

    Premises: the propensities are right given the past, the rewards lie in ``log.reward_range``, and the target's
    value given the past does not change (independent rounds have both).  Weights may be unbounded and the target may
    leave the support of the logging policy.
    """
    low, high = _range(log)
    gain = log.weights * (log.rewards - low) / (high - low)
    loss = log.weights * (high - log.rewards) / (high - low)
    return _enclosed(gain, loss, low, high, level)


def episode_interval(log: EpisodeLog, reward_range: tuple[float, float], level: float = 0.05) -> Interval:
    """The same for the value of a log of episodes: per-decision terms of the rewards' distance from either bound."""
    low, high = (checks.interval("reward_range", bound, -np.inf, np.inf, "()") for bound in reward_range)
    if not low < high:
        raise ValueError(f"reward_range must be (low, high) with low < high, got {reward_range!r}.")
    bad = np.argwhere((log.rewards < low) | (log.rewards > high))  # after the end the reward is 0
    if len(bad):
        at = bad[0].tolist()
        raise ValueError(f"rewards{at} is {log.rewards[tuple(at)]:.6g}, outside reward_range [{low:g}, {high:g}].")
    weights = weight_products(log) * log.gamma ** np.arange(log.horizon)
    total = float((log.gamma ** np.arange(log.horizon)).sum())
    gain = (weights * (log.rewards - low)).sum(axis=1) / (total * (high - low))
    loss = (weights * (high - log.rewards)).sum(axis=1) / (total * (high - low))
    return _enclosed(gain, loss, total * low, total * high, level)


def _enclosed(gain: Any, loss: Any, low: float, high: float, level: float) -> Interval:
    level = checks.interval("level", level, 0, 1, "()")
    left, right = betting_lower(gain, level / 2), 1 - betting_lower(loss, level / 2)
    return Interval(low + (high - low) * min(left, 1.0), low + (high - low) * max(left, right, 0.0))


def bernstein_interval(log: BanditLog, level: float = 0.05) -> Interval:
    """The empirical Bernstein interval of the terms of DR, or of IPS without a model.

    Premises beyond those of :func:`value_interval`: independent and identically distributed rounds, the stated
    ``weight_bound``, a model from other data (cross-fitting ties the terms of the folds to each other), and coverage:
    where the target leaves the support, this interval is about another number.
    """
    low, high = _range(log)
    bound, scale = log.weight_bound, high - low
    if not np.isfinite(bound):
        raise ValueError(
            "weight_bound is infinite: state a bound on all weights that could occur, or use value_interval."
        )
    w, r = log.weights, (log.rewards - low) / scale
    if log.model is None:
        inner = empirical_bernstein(w * r, 0.0, bound, level)
    else:
        q = (log.model - low) / scale
        bad = np.argwhere((q < 0) | (q > 1))
        if len(bad):
            at = bad[0].tolist()
            raise ValueError(f"model{at} is {log.model[tuple(at)]:.6g}, outside reward_range [{low:g}, {high:g}].")
        terms = (log.target * q).sum(axis=1) + w * (r - q[np.arange(log.n), log.actions])
        inner = empirical_bernstein(terms, -bound, 1 + bound, level)
    return Interval(low + scale * max(inner.low, 0.0), low + scale * min(max(inner.high, 0.0), 1.0))


def _range(log: BanditLog) -> tuple[float, float]:
    if log.reward_range is None:
        raise ValueError("reward_range is not known: intervals for every n rest on it; pass it to the log.")
    return log.reward_range


class Tables(NamedTuple):
    """A staged MDP and two policies as arrays of floats or of Fractions; what follows is exact in either."""

    P: Any  # [H, S, A, S]
    r: Any  # [H, S, A]
    initial: Any  # [S]
    pi: Any  # [H, S, A]
    mu: Any  # [H, S, A], positive


def tables(mdp: StagedMDP, pi: ArrayLike, mu: ArrayLike) -> Tables:
    logging = mdp.policy(mu, "mu")
    bad = np.argwhere(logging == 0)
    if len(bad):
        raise ValueError(f"mu{bad[0].tolist()} is 0: the bounds take logging policies that try every action.")
    return Tables(mdp.P, mdp.r, mdp.initial, mdp.policy(pi), logging)


def staged_values(t: Tables) -> Any:
    """The values of `pi`, [H + 1, S]."""
    H, S = t.r.shape[:2]
    v = np.zeros((H + 1, S), dtype=t.r.dtype)
    for h in reversed(range(H)):
        v[h] = (t.pi[h] * (t.r[h] + (t.P[h] * v[h + 1]).sum(axis=2))).sum(axis=1)
    return v


def _spread(t: Tables, v: Any) -> tuple[Any, Any]:
    """Variance of the value of the first state, and that of the value of the next state for each pair, [H, S, A]."""
    first = (t.initial * v[0] ** 2).sum() - (t.initial * v[0]).sum() ** 2
    ahead = v[1:, None, None, :]
    return first, (t.P * ahead**2).sum(axis=3) - (t.P * ahead).sum(axis=3) ** 2


def cramer_rao(t: Tables) -> Any:
    r"""The Cramer-Rao bound of one episode, for unbiased estimators of the value when the states are known.

    :math:`\mathrm{Var}\,V(s_0) + \sum_h\sum_{s,a} \frac{d^\pi_h(s,a)^2}{d^\mu_h(s,a)}\,\mathrm{Var}[V_{h+1}(s')|s,a]`
    with deterministic known rewards (Jiang & Li 2016, Theorem 3); n episodes divide it by n.
    """
    first, spread = _spread(t, staged_values(t))
    d, e, total = t.initial, t.initial, first
    for h in range(len(t.r)):
        pairs, logged = d[:, None] * t.pi[h], e[:, None] * t.mu[h]
        seen = logged > 0
        total = total + (pairs[seen] ** 2 / logged[seen] * spread[h][seen]).sum()
        d = (pairs[:, :, None] * t.P[h]).sum(axis=(0, 1))
        e = (logged[:, :, None] * t.P[h]).sum(axis=(0, 1))
    return total


def tree_bound(t: Tables) -> Any:
    r"""The same where no two histories share a state (Jiang & Li 2016, Theorem 2): what DR with the true Q attains.

    :math:`\mathrm{Var}\,V(s_0) + \sum_h E_\mu[\rho_{0:h}^2\,\mathrm{Var}[V_{h+1}(s')|s_h, a_h]]`.
    """
    first, spread = _spread(t, staged_values(t))
    second, total = t.initial, first  # E[rho^2; s_h = s]
    for h in range(len(t.r)):
        pairs = second[:, None] * t.pi[h] ** 2 / t.mu[h]
        total = total + (pairs * spread[h]).sum()
        second = (pairs[:, :, None] * t.P[h]).sum(axis=(0, 1))
    return total


def trajectory_variance(t: Tables) -> Any:
    r"""The variance of trajectory-wise importance sampling, one episode, by moments of weight and return."""
    H, S = t.r.shape[:2]
    zero = np.zeros(S, dtype=t.r.dtype)
    m0, m1, m2 = zero + 1, zero, zero  # of rho^2 G^k for the rest of the episode
    for h in reversed(range(H)):
        w, r = t.pi[h] ** 2 / t.mu[h], t.r[h]
        p0, p1, p2 = ((t.P[h] * m).sum(axis=2) for m in (m0, m1, m2))
        m0, m1, m2 = (
            (w * p0).sum(axis=1),
            (w * (r * p0 + p1)).sum(axis=1),
            (w * (r**2 * p0 + 2 * r * p1 + p2)).sum(axis=1),
        )
    return (t.initial * m2).sum() - (t.initial * staged_values(t)[0]).sum() ** 2
