r"""What Gaussian noise on the observations certifies about returns under attack: the bounds of policy smoothing.

The agent adds :math:`\delta_t \sim N(0, \sigma^2 I)` to each observation before it acts.  An adversary who has seen all
of the past adds :math:`\epsilon_t` before the noise is drawn, with :math:`\sum_t \|\epsilon_t\|_2^2 \le B^2` for sure.
Then every event of probability `p` without attack keeps :math:`f_b(p) = \Phi(\Phi^{-1}(p) - b)`, :math:`b = B/\sigma`,
whatever the horizon and the dimension (Kumar, Levine & Feizi, ICLR 2022, arXiv 2106.11420).

Proof (ours, short).  :math:`f_b(p)` is the least mass that :math:`N(\mu, I)`, :math:`\|\mu\| = b`, gives to a test
of mass `p` under :math:`N(0, I)` (Neyman & Pearson); it is convex in `p`.  Spend `e` at the first step and
:math:`b' = \sqrt{b^2-e^2}` later: by induction the event keeps at least :math:`E f_{b'}(p(z + e))`, where `p(z)` is its
probability without attack after the first noise `z`.  That is the mass of a test on :math:`(z, z')` under the shift
:math:`(e, b')`, of norm `b`, so at least :math:`f_b(E p(z))`.
"""

from __future__ import annotations

from math import inf, log, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, ndtr, ndtri

from claimlab import checks
from claimlab.checks import Array


def certified_probability(p: ArrayLike, budget: ArrayLike, sigma: float) -> Any:
    r"""Least probability under attack of an event of probability `p` without, :math:`\Phi(\Phi^{-1}(p) - B/\sigma)`.

    Parameters
    ----------
    p : float or array
        In [0, 1].
    budget : float or array
        Bound `B` on the l2 norm of all perturbations of an episode together; at most e in each of T steps is
        :math:`B = e\sqrt T`.  Broadcast against `p`.
    sigma : float
        Standard deviation of the noise, in the units of the observations.

    >>> float(certified_probability(0.9, 1.0, 1.0).round(4))
    0.6109
    """
    p_checked, shift = np.asarray(p, dtype=np.float64), _shift(budget, sigma)
    checks.unit("p", np.atleast_1d(p_checked), ndim=max(1, p_checked.ndim))
    return shifted(p_checked, shift)


def shifted(p: Any, shift: Any) -> Any:
    """:func:`certified_probability` in multiples of sigma, unchecked."""
    return ndtr(ndtri(p) - shift)


def _shift(budget: ArrayLike, sigma: float) -> Array:
    sigma = checks.interval("sigma", sigma, 0, inf, "()")
    budgets = checks.numbers("budget", budget)
    if not (budgets >= 0).all() or not np.isfinite(budgets).all():
        raise ValueError(f"budget must be finite and nonnegative, got {budget!r}.")
    return np.asarray(budgets / sigma)


def integrated(values: Array, survival: Array, shift: ArrayLike) -> Any:
    r"""Lower bound on a mean under attack, :math:`v_0 + \sum_i (v_i - v_{i-1}) f_b(P(R \ge v_i))`.

    Parameters
    ----------
    values : float[n]
        Increasing; the first is a lower bound on the return.
    survival : float[n - 1]
        Probabilities without attack, or lower bounds on them, of a return of ``values[i + 1]`` at least.
    shift : float or array
        Budget over sigma; the result has its shape.
    """
    kept = shifted(survival, np.asarray(shift, dtype=np.float64)[..., None])
    return values[0] + kept @ np.diff(values)


def certified_mean(values: ArrayLike, law: ArrayLike, budget: ArrayLike, sigma: float) -> Any:
    r"""Least mean return under attack, if the law of the return without attack is known.

    :math:`E_{adv} R \ge v_0 + \int_{v_0}^\infty f_b(P(R > y))\,dy`: each :math:`P(R > y)` is that of an event.

    Parameters
    ----------
    values : float[n]
        The possible returns, increasing, of any sign.
    law : float[n]
        Their probabilities without attack.

    >>> float(certified_mean([0, 1, 2], [0.1, 0.2, 0.7], 0.5, 1.0).round(4))
    1.2925
    """
    values, law = _increasing("values", values), checks.distributions("law", law, ndim=1)
    if law.shape != values.shape:
        raise ValueError(f"law must have shape {values.shape}, as values, got {law.shape}.")
    survival = np.clip(law[::-1].cumsum()[::-1][1:], 0.0, 1.0)
    return integrated(values, survival, _shift(budget, sigma))


def certified_mean_from_mean(mean: float, low: float, high: float, budget: ArrayLike, sigma: float) -> Any:
    r"""What the mean alone certifies for returns in [`low`, `high`]: :math:`l + (h-l) f_b((m-l)/(h-l))`.

    Never more than :func:`certified_mean` (ours): :math:`f_b` is convex, and Jensen's inequality applies.
    """
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f"low and high must be finite with low < high, got {low!r} and {high!r}.")
    share = (checks.interval("mean", mean, low, high) - low) / (high - low)
    return low + (high - low) * shifted(share, _shift(budget, sigma))


def _increasing(name: str, x: ArrayLike) -> Array:
    out = checks.array(name, x, ndim=1)
    if len(out) == 0 or (np.diff(out) <= 0).any():
        raise ValueError(f"{name} must increase and hold a number at least, got {out[:6].tolist()}.")
    return out


def clopper_pearson_lower(successes: ArrayLike, n: int, level: float) -> Any:
    """Lower confidence bound, at error `level`, on a probability with `successes` in `n` trials (Clopper & Pearson)."""
    k = np.asarray(successes, dtype=np.float64)
    return np.where(k > 0, betaincinv(np.maximum(k, 1), n - np.maximum(k, 1) + 1, level), 0.0)


def certify_grid(returns: ArrayLike, grid: ArrayLike, budget: ArrayLike, sigma: float, level: float = 0.05) -> Any:
    r"""Lower confidence bound on the mean return under every attack, for returns on a known finite grid.

    Each :math:`P(R \ge v_i)` gets a one-sided Clopper-Pearson bound at level :math:`\alpha/(n-1)`, so that all hold
    together (Bonferroni), at all budgets at once: the authors' construction for CartPole, whose grid is 0..200.

    Parameters
    ----------
    returns : float[N]
        Returns of independent episodes *without* attack of the very policy that will run, noise included.
    grid : float[n]
        All values that a return can take, increasing, stated and not read off the sample.
    budget : float or array
        l2 budgets B; the result has its shape.
    level : float
        Error probability over the N episodes.

    >>> float(certify_grid([1.0] * 900 + [0.0] * 100, [0, 1], 1.0, 1.0).round(4))
    0.5754
    """
    grid, sample = _increasing("grid", grid), _sample(returns)
    bad = np.flatnonzero(~np.isin(sample, grid))
    if len(bad):
        raise ValueError(f"returns[{bad[0]}] is {sample[bad[0]]:.6g}, which grid does not hold; or use certify_range.")
    level = checks.interval("level", level, 0, 1, "()") / max(len(grid) - 1, 1)
    successes = len(sample) - np.searchsorted(np.sort(sample), grid[1:], side="left")
    return integrated(grid, clopper_pearson_lower(successes, len(sample), level), _shift(budget, sigma))


def certify_range(returns: ArrayLike, low: float, budget: ArrayLike, sigma: float, level: float = 0.05) -> Any:
    r"""The same for returns of which only a lower bound `low` is known: a DKW band below the survival function.

    :math:`P(R \ge y)` exceeds the sample's by less than :math:`\sqrt{\ln(1/\alpha)/(2N)}` for all y together, with
    probability :math:`1-\alpha` (Massart 1990, one-sided, :math:`\alpha \le 1/2`).  The authors' scripts use the
    two-sided :math:`\ln(2/\alpha)`, which is valid as well, and start the integral at 0 whatever the returns are, which
    is not valid for negative ones.

    >>> round(float(certify_range([1.0] * 900 + [0.0] * 100, 0.0, 1.0, 1.0)), 4)
    0.5343
    """
    sample = np.sort(_sample(returns))
    low = checks.interval("low", low, -inf, inf, "()")
    if sample[0] < low:
        raise ValueError(f"returns hold {sample[0]:.6g}, below low = {low:g}.")
    n, level = len(sample), checks.interval("level", level, 0, 0.5, "(]")
    values, first = np.unique(sample, return_index=True)
    survival = np.maximum((n - first) / n - sqrt(log(1 / level) / (2 * n)), 0.0)
    if values[0] == low:
        values, survival = values[1:], survival[1:]
    return integrated(np.concatenate([[low], values]), survival, _shift(budget, sigma))


def _sample(returns: ArrayLike) -> Array:
    sample = checks.array("returns", returns, ndim=1)
    if len(sample) == 0:
        raise ValueError("returns must hold one episode at least.")
    return sample


def certified_steps(means: ArrayLike, budget: float, sigma: float) -> Any:
    r"""Lower bound on the mean total reward if each *step's* perturbation has norm at most `budget`.

    Rewards lie in [0, 1] and have the means :math:`m_t` without attack; the reward of step t (from 0) depends on t + 1
    perturbations, of norm :math:`\sqrt{t+1}\,e` at most together, so it keeps :math:`f_{\sqrt{t+1}\,e/\sigma}(m_t)`.

    >>> float(certified_steps([0.99, 0.98], 0.5, 1.0).round(4))
    1.8771
    """
    m = checks.unit("means", means, ndim=1)
    return shifted(m, _shift(budget, sigma) * np.sqrt(np.arange(1, len(m) + 1))).sum()
