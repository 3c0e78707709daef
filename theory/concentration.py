r"""Confidence intervals for the mean of bounded observations that hold for every sample size.

Both need observations :math:`X_1, \dots, X_n` in a known interval with :math:`E[X_i | X_1, \dots, X_{i-1}] = m`; the
empirical Bernstein bound needs them to be independent and identically distributed as well.
"""

from __future__ import annotations

from math import inf, log, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array
from claimlab.native import kernel

TRUNCATION = 0.75  # c of Waudby-Smith & Ramdas (2024), who use 1/2 or 3/4: no bet loses more than this share
BISECTIONS = 60
SHARES = np.array([1, 1 / 2, 1 / 4, 1 / 8])  # of the capital that is staked; fixed before any run
LEAST = 1e-300  # levels above which halves and inverses are numbers


class Interval(NamedTuple):
    low: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


def _bounded(x: ArrayLike, low: float, high: float, level: float) -> tuple[Array, float]:
    """Observations scaled to [0, 1] and the level, checked."""
    low, high = checks.interval("low", low, -inf, inf, "()"), checks.interval("high", high, -inf, inf, "()")
    if not low < high:
        raise ValueError(f"low and high must be finite with low < high, got {low!r} and {high!r}.")
    values = checks.array("x", x, ndim=1)
    if len(values) < 2:
        raise ValueError(f"x must hold 2 observations at least, got {len(values)}.")
    bad = np.flatnonzero((values < low) | (values > high))
    if len(bad):
        raise ValueError(f"x[{bad[0]}] is {values[bad[0]]:.6g}, outside [{low:g}, {high:g}].")
    return (values - low) / (high - low), checks.interval("level", level, LEAST, 1, "()")


def empirical_bernstein(x: ArrayLike, low: float, high: float, level: float = 0.05) -> Interval:
    r"""Two-sided interval at error `level` of Maurer & Pontil (2009), Theorem 4, for independent observations.

    For observations in [0, 1] with sample variance :math:`V_n` the mean exceeds the sample mean with probability at
    most :math:`\delta` by more than :math:`\sqrt{2 V_n \ln(2/\delta)/n} + 7\ln(2/\delta)/(3(n-1))`; each side gets
    half of the level.

    >>> round(empirical_bernstein([0.0, 1.0] * 500, 0, 1).width, 3)
    0.114
    """
    values, level = _bounded(x, low, high, level)
    n, mean = len(values), float(values.mean())
    radius = bernstein_radius(float(values.var(ddof=1)), n, level / 2)
    scale = high - low
    return Interval(low + scale * max(mean - radius, 0.0), low + scale * min(mean + radius, 1.0))


def bernstein_radius(variance: float, n: int, delta: float) -> float:
    r"""The one-sided radius of Maurer & Pontil (2009), Theorem 4, at error `delta`, for observations in [0, 1]."""
    term = log(2 / delta)
    return sqrt(2 * variance * term / n) + 7 * term / (3 * (n - 1))


@kernel
def _bets(x: Array, level: float) -> Array:
    r"""The predictable plug-in bets, :math:`\sqrt{2\ln(1/\alpha)/(n\hat\sigma^2_{i-1})}`, that know only the past."""
    n = x.size
    out = np.empty(n)
    total, squares = 0.5, 0.25
    target = 2 * np.log(1 / level) / n
    for i in range(n):
        out[i] = np.sqrt(target * (i + 1) / squares)
        total += x[i]
        squares += (x[i] - total / (i + 2)) ** 2
    return out


@kernel
def _reaches(x: Array, bets: Array, mean: float, truncation: float, goal: float) -> bool:
    r"""Whether the capital :math:`\prod_i (1 + \lambda_i (x_i - m))` ever reaches :math:`e^{goal}`."""
    banked, product, most = 0.0, 1.0, truncation / mean
    limit = np.exp(min(goal, 700.0))
    for i in range(x.size):
        product *= 1 + min(bets[i], most) * (x[i] - mean)
        if product >= limit:
            return True
        if product < 1e-100 or product > 1e100:
            banked += np.log(product)
            product, limit = 1.0, np.exp(min(goal - banked, 700.0))
    return False


def betting_lower(x: ArrayLike, level: float = 0.025) -> float:
    r"""A lower confidence bound, at error `level`, on the mean of nonnegative observations, however large.

    Someone who believes that the mean is at most m finds it a fair or losing game when the capital
    :math:`K_i(m) = \prod_{j \le i} (1 + \lambda_j (X_j - m))` is staked with bets :math:`0 \le \lambda_j \le c/m` that
    depend on the past alone; by Ville's inequality it ever reaches :math:`1/\alpha` with probability at most
    :math:`\alpha`.  The bound is the supremum of the m for which it does: the capital falls in m, so those m are an
    interval (Waudby-Smith & Ramdas 2024, Theorem 3, one side of the hedged capital with its predictable plug-in
    bets).  It needs no independence, and as the observations need no upper bound either, importance weights may be as
    large as they like (Waudby-Smith, Wu, Ramdas, Karampatziakis & Mineiro 2024).
    """
    values = checks.array("x", x, ndim=1)
    if len(values) == 0:
        raise ValueError("a bound needs at least one observation in x.")
    bad = np.flatnonzero(values < 0)
    if len(bad):
        raise ValueError(f"x[{bad[0]}] is {values[bad[0]]:.6g}; observations must be nonnegative.")
    level = checks.interval("level", level, LEAST, 1, "()")
    bets, goal = _bets(values, level), log(1 / level)
    low, high = 0.0, float(values.max())  # at the largest observation no bet wins
    for _ in range(BISECTIONS if high > 0 else 0):
        middle = (low + high) / 2
        if middle > 0 and _reaches(values, bets, middle, TRUNCATION, goal):
            low = middle
        else:
            high = middle
    return low


def betting_p_value(x: ArrayLike, mean: float, low: float) -> float:
    r"""An exact p-value against "the mean is at most `mean`", from independent observations of at least `low`.

    The capital :math:`\prod_i (1 + \lambda (x_i - m)/(m - low))` then has expectation at most 1 for each fixed share
    :math:`\lambda \in [0, 1]`, and so has its average over the `SHARES`: by Markov's inequality one over it is a
    p-value, for any law, though nearly all observations be equal.  If all n are v, it is at most 4 times
    :math:`((m - low)/(v - low))^n`; so large must n be.

    >>> f"{betting_p_value([1.0] * 10, 0.5, 0.0):.2g}"  # about 4 / 2^10
    '0.0037'
    """
    values = checks.array("x", x, ndim=1)
    bad = np.flatnonzero(values < low)
    if len(bad):
        raise ValueError(f"x[{bad[0]}] is {values[bad[0]]:.6g}, below low = {low:g}.")
    if not -inf < low < mean < inf:
        raise ValueError(f"mean must exceed low, both finite; got {mean!r} and {low!r}.")
    gains = (values - mean) / (mean - low)
    with np.errstate(divide="ignore"):
        capital = np.log1p(np.maximum(SHARES[:, None] * gains, -1.0)).sum(axis=1)
    return float(np.exp(min(0.0, log(len(SHARES)) - float(np.logaddexp.reduce(capital)))))


def betting_interval(x: ArrayLike, low: float, high: float, level: float = 0.05) -> Interval:
    r"""The hedged-capital interval of Waudby-Smith & Ramdas (2024), Theorem 3, at error `level`.

    Half of the capital bets on a larger mean and half on a smaller one; the interval is the running intersection over
    the sample sizes up to n, so it holds at all of them together.

    >>> round(betting_interval([0.0, 1.0] * 500, 0, 1).width, 3)
    0.085
    """
    values, level = _bounded(x, low, high, level)
    left, right = betting_lower(values, level / 2), 1 - betting_lower(1 - values, level / 2)
    return Interval(low + (high - low) * left, low + (high - low) * max(left, right))


def normal_interval(value: float, stderr: float, level: float = 0.05) -> Interval:
    """The interval of the central limit theorem: right in the limit, and with no promise at any sample size."""
    from scipy.stats import norm

    radius = float(norm.ppf(1 - checks.interval("level", level, LEAST, 1, "()") / 2)) * stderr
    return Interval(value - radius, value + radius) if np.isfinite(radius) else Interval(-inf, inf)
