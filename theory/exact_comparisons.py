"""Comparisons and rates by exact tests: p-values that no bootstrap holds up, so that they survive ledgers of any size.

Where there is no noise at all, :func:`settled` and :func:`settled_rate` state what one run found.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom

from claimlab import checks
from claimlab.checks import Array
from claimlab.theory.concentration import betting_interval, betting_lower
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
    return Comparison(
        *_sign_test(wins, n), float(np.median(difference)), *_median_interval(difference), effect, n,
        {"pairs beyond the effect": wins}, "median",
    )  # fmt: skip


def sign_rate(x: ArrayLike, y: ArrayLike, *, exponent: float, side: str, resolution: float = 0.05) -> Rate:
    """Evidence on "the log-log slope of most runs is at most (at least) the exponent": the sign test on their slopes.

    Parameters are those of :func:`~claimlab.theory.evidence.rate`, without a generator; slope and interval are those of
    the median.

    >>> x = [1.0, 2.0, 4.0]
    >>> sign_rate(x, [[1.0, 4.0, 16.0]] * 20, exponent=2.0, side="at most").p_support == 0.5**20
    True
    """
    slopes, threshold = np.sort(log_slopes(x, y)), growth_threshold(exponent, side, resolution)
    if len(slopes) < 10:
        raise ValueError(f"a rate needs 10 runs at least; got {len(slopes)}.")
    agree = slopes <= threshold if side == "at most" else slopes >= threshold
    tests, n = _sign_test(int(agree.sum()), len(slopes)), len(slopes)
    return Rate(*tests, float(np.median(slopes)), *_median_interval(slopes), exponent, side, resolution, n)


def _sign_test(wins: int, n: int) -> tuple[float, float]:
    """The p-values of "most win" and of its contrary."""
    return float(binom.sf(wins - 1, n, 0.5)), float(binom.cdf(wins, n, 0.5))


def _median_interval(ordered: Array) -> tuple[float, float]:
    """A 95 % interval for the median: fewer than `place` lie below it with probability 0.025 at most."""
    n = len(ordered)
    place = int(binom.ppf(0.025, n, 0.5))
    return (float(ordered[place - 1]), float(ordered[n - place])) if place else (-np.inf, np.inf)


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
    p = _product_test(values, threshold)
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


def bounded_comparison(a: ArrayLike, known: float, *, most: float, reverse: bool = False) -> Comparison:
    r"""Evidence on "the mean of A exceeds the number `known`", or with `reverse` falls below it, for A in [0, `most`].

    Both p-values are exact, by the products of :func:`bound_comparison` of A and of `most` less A.

    >>> found = bounded_comparison([3.0] * 50, 4.0, most=10.0)
    >>> found.p_support, f"{found.p_refute:.2g}"  # (6 / 7)^50
    (1.0, '0.00045')
    """
    values, known = checks.array("a", a, ndim=1), checks.interval("known", known, 0, most, "()")
    if values.max() > most:
        raise ValueError(f"a[{int(values.argmax())}] is {values.max():.6g}, more than most = {most:.6g}.")
    low, high = betting_interval(values, 0.0, most)
    above, below = _product_test(values, known), _product_test(most - values, most - known)
    difference = float(values.mean()) - known
    if reverse:
        return Comparison(below, above, -difference, known - high, known - low, 0.0, len(values))
    return Comparison(above, below, difference, low - known, high - known, 0.0, len(values))


def _product_test(values: Array, mean: float) -> float:
    """p-value of "nonnegative observations have a mean of at most `mean`": see :func:`bound_comparison`."""
    with np.errstate(divide="ignore"):
        return float(min(1.0, np.exp((np.log(mean) - np.log(values)).sum())))
