"""Comparisons by exact tests: p-values that no bootstrap holds up, so that they survive ledgers of any size.

Where there is no noise at all, :func:`settled` and :func:`settled_rate` state what one run found.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom

from claimlab import checks
from claimlab.theory.concentration import betting_lower
from claimlab.theory.evidence import Comparison, Rate, growth_threshold, log_slopes


def sign_comparison(a: ArrayLike, b: ArrayLike, *, effect: float) -> Comparison:
    r"""Evidence on "A exceeds B by more than `effect` in most runs", from paired runs, float[n] each: the sign test.

    The number of independent pairs with :math:`a_i - b_i >` `effect` is binomial, so both p-values are exact whatever
    the laws are.  They say something of the mean too if the difference is as likely above its mean as below, as where
    A less the mean difference and B have the same law.  The interval is that of order statistics for the median.

    >>> sign_comparison([3.0] * 20, [1.0] * 20, effect=1.0).p_support == 0.5**20
    True
    """
    first, second = checks.array("a", a, ndim=1), checks.array("b", b, ndim=1)
    if first.shape != second.shape or len(first) < 10:
        raise ValueError(f"a and b must be paired, with 10 pairs at least; got {first.shape}, {second.shape}.")
    difference, n = np.sort(first - second), len(first)
    wins = int((difference > effect).sum())
    place = int(binom.ppf(0.025, n, 0.5))  # fewer than that many lie below the median with probability 0.025 at most
    low, high = (difference[place - 1], difference[n - place]) if place else (-np.inf, np.inf)
    return Comparison(
        float(binom.sf(wins - 1, n, 0.5)), float(binom.cdf(wins, n, 0.5)), float(np.median(difference)), float(low),
        float(high), effect, n, {"pairs beyond the effect": wins}, "median",
    )  # fmt: skip


def bound_comparison(a: ArrayLike, most: float, *, effect: float, reverse: bool = False) -> Comparison:
    r"""Evidence on "the mean of A exceeds that of B by more than `effect`" where B's is proved to be at most `most`.

    `a`, float[n], are independent nonnegative observations of A.  If :math:`E a_i \le m` then
    :math:`E\prod_i a_i/m \le 1`, so by Markov's inequality :math:`p = \prod_i m/a_i` is an exact p-value: no moment but
    the first is assumed.  With `reverse` the claim is that B's mean exceeds A's, which large `a` refute.  A bound from
    above says nothing for the other side: its p-value is 1.

    >>> found = bound_comparison([64.0] * 10, 1.0, effect=1.0)  # mean 64 against 2: 32^-10
    >>> f"{found.p_support:.3g}", found.p_refute
    ('8.88e-16', 1.0)
    """
    values, most = checks.array("a", a, ndim=1), checks.interval("most", most, 0, np.inf, "[)")
    threshold = most - effect if reverse else most + effect
    if threshold <= 0:
        raise ValueError(f"most = {most:g} and effect = {effect:g} leave no positive mean to test against.")
    least = betting_lower(values) - most  # which refuses negative observations
    with np.errstate(divide="ignore"):
        p = float(min(1.0, np.exp((np.log(threshold) - np.log(values)).sum())))
    difference = float(values.mean()) - most
    if reverse:
        return Comparison(1.0, p, -difference, -np.inf, -least, effect, len(values))
    return Comparison(p, 1.0, difference, least, np.inf, effect, len(values))


def settled(a: float, b: float, *, effect: float) -> Comparison:
    """ "A exceeds B by more than `effect`" where neither has any noise, which the caller has proved: one run decides.

    >>> settled(3, 1, effect=1).p_values
    (0.0, 1.0)
    """
    first, second = checks.real("a", a), checks.real("b", b)
    effect, difference = checks.real("effect", effect), first - second
    holds = difference > effect
    return Comparison(float(not holds), float(holds), difference, difference, difference, effect, 1)


def settled_rate(x: ArrayLike, y: ArrayLike, *, exponent: float, side: str, resolution: float = 0.05) -> Rate:
    """Evidence on the growth of `y`, float[K], in `x` where its slope has no noise, which the caller has proved.

    >>> settled_rate([1, 10, 100], [2, 20, 200], exponent=1, side="at least").p_values
    (0.0, 1.0)
    """
    slope = float(log_slopes(x, checks.array("y", y, ndim=1)[None])[0])
    threshold = growth_threshold(exponent, side, resolution)
    holds = slope <= threshold if side == "at most" else slope >= threshold
    return Rate(float(not holds), float(holds), slope, slope, slope, exponent, side, resolution, 1)
