r"""Confidence sets of transitions, and what planning inside them bounds: the optimum, and the value of every policy.

Visits are counted for each step of a :class:`~claimlab.mdps.staged.StagedMDP`, or, where transitions are known not to
depend on the step, for all steps together.  Two families of sets come with their theorems, :class:`L1Sets` and
:class:`BernsteinSets`.  On the event of either,

.. math:: \underline v^\pi \le v^\pi \le v^* \le \overline v \qquad\text{for all policies } \pi \text{ at once},

so that a policy may be chosen by looking at the very data that certify it.

Sums run over indices in a fixed order, so compiled and interpreted code agree to the last bit.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import exp, inf, log, log1p, sqrt
from typing import Any, NamedTuple

import numpy as np

from claimlab import checks
from claimlab.checks import Array, Ints
from claimlab.native import Native, kernel


class Visits(NamedTuple):
    """What was seen, for Z = H steps or Z = 1 if steps are pooled."""

    n: Array  # [Z, S, A], visits
    hits: Array  # [Z, S, A, S], of them those followed by each state
    seen: Ints  # [Z, S, A], how many states have followed
    successors: Ints  # [Z, S, A, S], which: the first `seen`


class Beliefs(NamedTuple):
    """Visits, the widths of the sets around their frequencies, and the bounds planned in them."""

    visits: Visits
    widths: Array  # [Z, S, A, 2], what the sets' `width` says
    upper: Array  # [H + 1, S], above v*
    lower: Array  # [H + 1, S], below the value of the greedy policy
    greedy: Ints  # [H, S], maximises the upper bound
    trial: Array  # [H + 1, S], below the value of the policy looked at last
    rising: Ints  # [H + 1, S], sorts `upper`
    falling: Ints  # [2, S], sorts a row of `lower` or of `trial`


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
            pooled=bool(self.pooled),
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
            pooled=bool(self.pooled),
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


@kernel
def no_visits(Z: int, S: int, A: int) -> Visits:
    return Visits(
        np.zeros((Z, S, A)), np.zeros((Z, S, A, S)), np.zeros((Z, S, A), np.int64), np.zeros((Z, S, A, S), np.int64)
    )


@kernel
def add_visits(visits: Visits, z: int, s: int, a: int, t: int, count: float) -> None:
    """Count `count` more transitions from (s, a) to `t`."""
    if visits.hits[z, s, a, t] == 0:
        visits.successors[z, s, a, visits.seen[z, s, a]] = t
        visits.seen[z, s, a] += 1
    visits.n[z, s, a] += count
    visits.hits[z, s, a, t] += count


@kernel
def new_beliefs(sets: Sets, H: int, S: int, A: int, data: Array) -> Beliefs:
    """Beliefs after the transitions counted in `data`, float[Z, S, A, S], which is empty where there are none."""
    Z = 1 if sets.pooled else H
    b = Beliefs(
        no_visits(Z, S, A), np.zeros((Z, S, A, 2)), np.zeros((H + 1, S)), np.zeros((H + 1, S)),
        np.zeros((H, S), np.int64), np.zeros((H + 1, S)), np.zeros((H + 1, S), np.int64), np.zeros((2, S), np.int64),
    )  # fmt: skip
    for s in range(S):
        b.rising[:, s] = s
        b.falling[:, s] = s
    for z in range(Z):
        for s in range(S):
            for a in range(A):
                if data.size > 0:
                    for t in range(S):
                        if data[z, s, a, t] > 0:
                            add_visits(b.visits, z, s, a, t, data[z, s, a, t])
                _set_widths(sets, b, z, s, a)
    return b


@kernel
def _set_widths(sets: Sets, b: Beliefs, z: int, s: int, a: int) -> None:
    for which in range(2):
        b.widths[z, s, a, which] = sets.width(b.visits.n[z, s, a], b.visits.n.shape, which)


@kernel
def learn_transition(sets: Sets, b: Beliefs, h: int, s: int, a: int, t: int) -> None:
    z = 0 if sets.pooled else h
    add_visits(b.visits, z, s, a, t, 1.0)
    _set_widths(sets, b, z, s, a)


@kernel
def plan_optimism(sets: Sets, b: Beliefs, r: Array) -> None:
    """Fill `upper`, `greedy`, the first of the maximisers, and `lower`, for rewards float[H, S, A] in [0, 1]."""
    H, S, A = r.shape
    for h in range(H - 1, -1, -1):
        z, order = 0 if sets.pooled else h, b.rising[h + 1]
        sort_upwards(b.upper[h + 1], order)
        sort_upwards(b.lower[h + 1], b.falling[0])
        for s in range(S):
            best, chosen = -inf, 0
            for a in range(A):
                more = sets.most(
                    b.visits.n[z, s, a], b.visits.hits[z, s, a], b.widths[z, s, a], b.upper[h + 1], b.lower[h + 1],
                    order, H,
                )  # fmt: skip
                q = min(r[h, s, a] + more, 1.0 * (H - h))
                if q > best:
                    best, chosen = q, a
            b.upper[h, s], b.greedy[h, s] = best, chosen
            b.lower[h, s] = pessimistic(sets, b, r, h, s, chosen, b.lower[h + 1], b.falling[0])


@kernel
def pessimistic(sets: Sets, b: Beliefs, r: Array, h: int, s: int, a: int, lower: Array, order: Ints) -> float:
    """Lower bound on the value of taking `a` at step `h` and going on with a policy of values at least `lower`."""
    z = 0 if sets.pooled else h
    fewer = sets.fewest(
        b.visits.n[z, s, a], b.visits.hits[z, s, a], b.widths[z, s, a], b.upper[h + 1], lower, order, r.shape[0]
    )
    return max(0.0, r[h, s, a] + fewer)


@kernel
def lower_bound(sets: Sets, b: Beliefs, r: Array, initial: Array, policy: Array, steps: int) -> float:
    """Lower bound on the value of following `policy`, float[H, S, A], for `steps` steps and the greedy policy after.

    Needs :func:`plan_optimism` first.  Fills ``trial[0..steps]``.
    """
    S, A = r.shape[1], r.shape[2]
    b.trial[steps] = b.lower[steps]
    for h in range(steps - 1, -1, -1):
        sort_upwards(b.trial[h + 1], b.falling[1])
        for s in range(S):
            total = 0.0
            for a in range(A):
                if policy[h, s, a] > 0:
                    total += policy[h, s, a] * pessimistic(sets, b, r, h, s, a, b.trial[h + 1], b.falling[1])
            b.trial[h, s] = total
    return mean(initial, b.trial[0])


@kernel
def upper_bound(sets: Sets, b: Beliefs, r: Array, initial: Array, policy: Array, steps: int) -> float:
    """Upper bound on the value of the policy of :func:`lower_bound`; for ``L1Sets``, whose sets bound any value.

    Fills ``trial[0..steps]``.
    """
    S, A, H = r.shape[1], r.shape[2], r.shape[0]
    b.trial[steps] = b.upper[steps]
    for h in range(steps - 1, -1, -1):
        z, order = 0 if sets.pooled else h, b.falling[1]
        sort_upwards(b.trial[h + 1], order)
        for s in range(S):
            total = 0.0
            for a in range(A):
                if policy[h, s, a] > 0:
                    more = sets.most(
                        b.visits.n[z, s, a], b.visits.hits[z, s, a], b.widths[z, s, a], b.trial[h + 1], b.lower[h + 1],
                        order, H,
                    )  # fmt: skip
                    total += policy[h, s, a] * (r[h, s, a] + more)
            b.trial[h, s] = total
    return mean(initial, b.trial[0])


@kernel
def mean(law: Array, v: Array) -> float:
    total = 0.0
    for s in range(v.size):
        total += law[s] * v[s]
    return total


def transition_counts(data: Any, name: str = "data") -> Array:
    """`data` checked: how often each transition was seen, float[Z, S, A, S]; None is an empty array, for no data."""
    counts = checks.array(name, np.zeros((0, 0, 0, 0)) if data is None else data, ndim=4)
    bad = np.argwhere((counts < 0) | (counts != np.floor(counts)))
    if len(bad):
        raise ValueError(f"{name}{bad[0].tolist()} is {counts[tuple(bad[0])]:.6g}; counts are whole numbers from 0 on.")
    return counts
