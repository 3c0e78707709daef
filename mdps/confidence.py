r"""Confidence sets of transitions, and what planning inside them bounds: the optimum, and the value of every policy.

Two families of sets come with their theorems, :class:`L1Sets` and :class:`BernsteinSets`; the planning in them is
:mod:`claimlab.mdps.beliefs`.  On the event of either,

.. math:: \underline v^\pi \le v^\pi \le v^* \le \overline v \qquad\text{for all policies } \pi \text{ at once},

so that a policy may be chosen by looking at the very data that certify it.

Sums run over indices in a fixed order, so compiled and interpreted code agree to the last bit.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import exp, inf, log, log1p, sqrt

from claimlab import checks
from claimlab.checks import Array, Ints
from claimlab.native import Native, kernel


class Sets(Native):
    """Confidence sets; the methods bound expectations of a next value from frequencies and two widths.

    `hits`, float[S], has sum `n`; `order` sorts upwards what is bounded.  `upper` and `lower` are bounds on the
    optimal value of the next step and on the value of the policy in question there.
    """

    delta: float
    pooled: bool

    @abstractmethod
    def width(self, n: float, shape: tuple[int, int, int], which: int) -> float:
        """Width 0 or 1 after `n` visits to one of ``Z * S * A`` rows, `shape` being (Z, S, A)."""

    @abstractmethod
    def most(self, n: float, hits: Array, widths: Array, upper: Array, lower: Array, order: Ints, H: int) -> float:
        """A bound from above on the expectation of the optimal value of the next step; `order` sorts `upper`."""

    @abstractmethod
    def fewest(self, n: float, hits: Array, widths: Array, upper: Array, lower: Array, order: Ints, H: int) -> float:
        """A bound from below on the expectation of a policy's value of the next step; `order` sorts `lower`."""


@dataclass(frozen=True)
class L1Sets(Sets):
    r"""Balls :math:`\|q - \hat p_n\|_1 \le \mathrm{rad}(n)` around the frequencies, at all times at once.

    .. math:: \mathrm{rad}(n) = \min\Bigl\{2,\
              \sqrt{\tfrac2n\bigl[\log(2^S-2) + \log\tfrac{ZSA\,n(n+1)}{\delta}\bigr]}\Bigr\}

    **Theorem.** With probability at least :math:`1-\delta` all rows lie in their balls after every number of visits;
    then the planned bounds hold for all policies at once.

    *Proof.* Successive next states of a row are independent draws of it, whatever the learner does.  By Weissman et al.
    (2003), :math:`P(\|\hat p_n - p\|_1 \ge \epsilon) \le (2^S-2)\,e^{-n\epsilon^2/2}`, which at rad(n) is
    :math:`\delta / (ZSA\,n(n+1))`; sum over n, where :math:`\sum_n 1/(n(n+1)) = 1`, and over the rows.  Given that,
    induction on the step: the least of :math:`q \cdot \underline v_{h+1}` over the ball is at most
    :math:`p \cdot \underline v_{h+1} \le p \cdot v^\pi_{h+1}`, and the largest of :math:`q \cdot \overline v_{h+1}` at
    least :math:`p \cdot v^*_{h+1}`.  No policy is named before the end, so any may depend on the data.

    Parameters
    ----------
    delta : float
    scale : float
        Factor on the radii: 1 is the theorem, less is a falsehood to test against.
    pooled : bool
        Whether visits of all steps count together, for transitions that do not depend on the step (then Z = 1).

    Source: Weissman, Ordentlich, Seroussi, Verdu & Weinberger (2003), Inequalities for the L1 deviation of the
    empirical distribution; the extended evaluation is Jaksch, Ortner & Auer's (2010), Figure 2.
    """

    delta: float = 0.1
    scale: float = 1.0
    pooled: bool = False

    def __post_init__(self) -> None:
        self._settle(
            delta=checks.interval("delta", self.delta, 0, 1, "()"),
            scale=checks.interval("scale", self.scale, 0, inf, "[)"),
            pooled=checks.boolean("pooled", self.pooled),
        )

    def width(self, n: float, shape: tuple[int, int, int], which: int) -> float:
        return l1_radius(n, shape, self.delta, self.scale)

    def most(self, n: float, hits: Array, widths: Array, upper: Array, lower: Array, order: Ints, H: int) -> float:
        return largest_mean(n, hits, widths[0], upper, order)

    def fewest(self, n: float, hits: Array, widths: Array, upper: Array, lower: Array, order: Ints, H: int) -> float:
        return least_mean(n, hits, widths[0], lower, order)


@dataclass(frozen=True)
class BernsteinSets(Sets):
    r"""BPI-UCBVI's bonuses: empirical Bernstein for the optimum, Kullback-Leibler for everything else.

    With :math:`\beta(n) = \log\frac{3ZSA}{\delta} + S\log(8e(n+1))`,
    :math:`\beta^*(n) = \log\frac{3ZSA}{\delta} + \log(8e(n+1))`, :math:`w = \overline v - \underline v`,

    .. math:: \overline q = r + \hat p\,\overline v + 3\sqrt{\mathrm{Var}_{\hat p}(\overline v)\tfrac{\beta^*}{n}}
              + 14H^2\tfrac{\beta}{n} + \tfrac1H \hat p\,w, \qquad
              \underline q^\pi = r + \hat p\,\underline v^\pi
              - 3\sqrt{\mathrm{Var}_{\hat p}(\overline v)\tfrac{\beta^*}{n}}
              - 13H^2\tfrac{\beta}{n} - \tfrac2H \hat p\,w ,

    clipped to [0, H - h].  The upper bound is as published; the lower one, valid for every policy, is ours:

    **Theorem.** On the event that :math:`KL(\hat p_n, p) \le \beta(n)/n` for all n and rows, and Bernstein's inequality
    holds for the fixed function :math:`v^*` with :math:`\beta^*`, each of probability at least :math:`1-\delta/3`, the
    bounds hold for all policies at once.

    *Proof.* :math:`(\hat p - p) v^\pi = (\hat p - p) v^* - (\hat p - p)(v^* - v^\pi)`.  The first part is at most
    :math:`\sqrt{2\mathrm{Var}_p(v^*)\beta^*/n} + 3H\beta^*/n`; with
    :math:`\mathrm{Var}_p(v^*) \le 4\mathrm{Var}_{\hat p}(\overline v) + 4H\hat p(\overline v - v^*) + 4H^2\beta/n` and
    :math:`\sqrt{xy} \le x/(2H) + Hy/2` that is :math:`3\sqrt{\mathrm{Var}_{\hat p}(\overline v)\beta^*/n} +
    \frac1H\hat p(\overline v - v^*) + 7.9H^2\beta/n`.  For the second, with f = :math:`v^* - v^\pi`, the Bernstein form
    of the KL bound gives :math:`\sqrt{2\mathrm{Var}_p(f)\beta/n} + \frac23 H\beta/n` and
    :math:`\mathrm{Var}_p(f) \le 2H\hat p f + 4H^2\beta/n`, hence :math:`\frac1H\hat p f + 4.5H^2\beta/n`.  The sum has
    12.4 in place of 13, and both f and :math:`\overline v - v^*` are at most w.

    Parameters are those of :class:`L1Sets`; `scale` multiplies :math:`\beta` and :math:`\beta^*`.

    Source: Menard, Domingues, Jonsson, Kaufmann, Leurent & Valko (2021), Fast active learning for pure exploration in
    reinforcement learning, Appendix; used by Li, Huang, Shen & Yang (2023).
    """

    delta: float = 0.1
    scale: float = 1.0
    pooled: bool = False

    def __post_init__(self) -> None:
        self._settle(
            delta=checks.interval("delta", self.delta, 0, 1, "()"),
            scale=checks.interval("scale", self.scale, 0, inf, "[)"),
            pooled=checks.boolean("pooled", self.pooled),
        )

    def width(self, n: float, shape: tuple[int, int, int], which: int) -> float:
        Z, S, A = shape
        if n == 0:
            return inf if which == 0 else 0.0
        factor = S if which == 0 else 1
        return self.scale * (log(3 * Z * S * A / self.delta) + factor * log(8 * exp(1.0) * (n + 1))) / n

    def most(self, n: float, hits: Array, widths: Array, upper: Array, lower: Array, order: Ints, H: int) -> float:
        mean, variance, gap = _moments(n, hits, upper, lower)
        return mean + 3 * sqrt(variance * widths[1]) + 14 * H * H * widths[0] + gap / H

    def fewest(self, n: float, hits: Array, widths: Array, upper: Array, lower: Array, order: Ints, H: int) -> float:
        mean, variance, gap = _moments(n, hits, upper, lower)
        return mean - gap - 3 * sqrt(variance * widths[1]) - 13 * H * H * widths[0] - 2 * gap / H


@kernel
def l1_radius(n: float, shape: tuple[int, int, int], delta: float, scale: float) -> float:
    """Weissman's radius at all times for ``Z * S * A`` rows, times `scale`; see :class:`L1Sets`."""
    Z, S, A = shape
    if S == 1:
        return 0.0
    if n == 0:
        return 2.0
    outcomes = S * log(2.0) + log1p(-(2.0 ** (1 - S)))  # log(2^S - 2)
    return min(2.0, scale * sqrt(2 * (outcomes + log(Z * S * A * n * (n + 1) / delta)) / n))


@kernel
def least_mean(n: float, hits: Array, radius: float, v: Array, order: Ints) -> float:
    """The least mean of `v` over laws within `radius` (L1) of the frequencies ``hits / n``; `order` sorts `v` upwards.

    Half the radius moves from the states with the largest values to the one with the least.
    """
    low = float(v[order[0]])
    if n == 0:
        return low
    total, left = 0.0, radius / 2 * n
    for j in range(v.size - 1, 0, -1):
        i = order[j]
        moved = min(hits[i], left)
        left -= moved
        total += (hits[i] - moved) * (v[i] - low)
    return float(low + total / n)


@kernel
def largest_mean(n: float, hits: Array, radius: float, v: Array, order: Ints) -> float:
    """The largest mean of `v`, as :func:`least_mean`."""
    high = float(v[order[v.size - 1]])
    if n == 0:
        return high
    total, left = 0.0, radius / 2 * n
    for j in range(v.size - 1):
        i = order[j]
        moved = min(hits[i], left)
        left -= moved
        total += (hits[i] - moved) * (high - v[i])
    return float(high - total / n)


@kernel
def _moments(n: float, hits: Array, upper: Array, lower: Array) -> tuple[float, float, float]:
    """Mean and variance of `upper` under the frequencies, and the mean of `upper` - `lower`."""
    mean, gap, variance = 0.0, 0.0, 0.0
    share = 1 / n if n > 0 else 0.0
    for i in range(upper.size):
        mean += share * hits[i] * upper[i]
        gap += share * hits[i] * (upper[i] - lower[i])
    for i in range(upper.size):
        variance += share * hits[i] * (upper[i] - mean) ** 2
    return mean, variance, gap


@kernel
def sort_upwards(v: Array, order: Ints) -> None:
    """Rearrange `order`, a permutation, so that it sorts `v`; quick where it nearly does already."""
    for j in range(1, v.size):
        i, k = order[j], j
        while k > 0 and v[order[k - 1]] > v[i]:
            order[k] = order[k - 1]
            k -= 1
        order[k] = i
