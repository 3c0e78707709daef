r"""Balls around a distribution, and the distribution in one that makes an expectation least.

.. math:: \sigma(v) = \min\{\, q \cdot v : q \ge 0,\ \textstyle\sum_t q(t) = \sum_t p(t),\ D(q, p) \le \rho \,\}

with D between the normalised rows.  Every ball has a solver of its own, in time linear in the row once `v` is sorted,
and each proves how far its answer may lie above the minimum.

Sources: Iyengar (2005), Robust dynamic programming; Nilim & El Ghaoui (2005), Robust control of Markov decision
processes with uncertain transition matrices; Ho, Petrik & Wiesemann (2018), Fast Bellman updates for robust MDPs.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from claimlab import checks
from claimlab.checks import Array, Ints
from claimlab.mdps.tabular import EPS, SUBNORMAL
from claimlab.native import Native, fast_part, kernel, part

FAR = 1e100  # a tilt beyond which values on [0, 1] gain nothing


class Ball(Native):
    """Distributions within `radius`, a float or float[S, A], of a row of transitions."""

    radius: Any

    def __post_init__(self) -> None:
        if checks.ragless("radius", self.radius).ndim == 0:
            self._settle(radius=checks.interval("radius", self.radius, 0, np.inf, "[)"))
            return
        radius = checks.array("radius", self.radius, ndim=2)
        bad = np.argwhere(radius < 0)
        if len(bad):
            raise ValueError(f"radius{bad[0].tolist()} is {radius[tuple(bad[0])]:.6g}; a radius cannot be negative.")
        self._settle(radius=radius)

    @abstractmethod
    def answer(self, p: Array, v: Array, order: Ints, radius: float, q: Array) -> float:
        """Write to `q` a row of the ball around `p` that (nearly) minimises ``q @ v``; return how far it may be off.

        All arrays are float[n] over the same states, and `q` comes as a copy of `p`; `order` sorts `v` downwards;
        `radius` is above 0.  What is returned covers the roundings of `q`, not those of ``q @ v``.
        """


@dataclass(frozen=True)
class TotalVariation(Ball):
    r""":math:`\tfrac12 \sum_t |q(t) - p(t)| \le \rho`, over all states or, with `support`, those that `p` reaches.

    Nature moves mass :math:`\rho` from the best states to the worst one.
    """

    radius: Any
    support: bool = False

    def answer(self, p: Array, v: Array, order: Ints, radius: float, q: Array) -> float:
        return _move(p, v, order, radius, self.support, q)


@dataclass(frozen=True)
class L1(Ball):
    r""":math:`\sum_t |q(t) - p(t)| \le \rho`, twice the total variation; `support` as there."""

    radius: Any
    support: bool = False

    def answer(self, p: Array, v: Array, order: Ints, radius: float, q: Array) -> float:
        return _move(p, v, order, radius / 2, self.support, q)


@dataclass(frozen=True)
class ChiSquare(Ball):
    r""":math:`\sum_t (q(t) - p(t))^2 / p(t) \le \rho`, on the support of `p`.

    The error bound is wide, though it holds, where the worst states have probabilities below some 1e-28.
    """

    radius: Any

    def answer(self, p: Array, v: Array, order: Ints, radius: float, q: Array) -> float:
        return _flatten(p, v, order, radius, q)


@dataclass(frozen=True)
class KL(Ball):
    r""":math:`\sum_t q(t) \log\frac{q(t)}{p(t)} \le \rho`, on the support of `p`."""

    radius: Any

    def answer(self, p: Array, v: Array, order: Ints, radius: float, q: Array) -> float:
        return _tilt(p, v, order, radius, q)


@kernel
def _move(p: Array, v: Array, order: Ints, radius: float, support: bool, q: Array) -> float:
    """Total variation: take mass from the top until `radius` is used up, and put it on the lowest state.

    Each step misplaces at most EPS of mass, and the sum of `p` is off by at most EPS a term.
    """
    lowest = order[_frame(p, v, order)[1]] if support else order[-1]
    mass, n = _mass(p)
    left, moved = radius * mass, 0.0
    for i in order:
        if left <= 0 or v[i] <= v[lowest]:
            break
        part = min(p[i], left)
        q[i] = p[i] - part
        left -= part
        moved += part
    q[lowest] += moved
    return 4 * (n + 2) * EPS * float(max(abs(v[order[0]]), abs(v[lowest])))


@kernel
def _flatten(p: Array, v: Array, order: Ints, radius: float, q: Array) -> float:
    r"""Chi-square: :math:`q = p\,(1 + u)_+`, with u falling linearly in v, from a scan of the dual's pieces.

    With x the values scaled to [0, 1] and m the sum of p, the dual is
    :math:`\max_\eta \eta m - \sqrt{m(1+\rho) \sum_t p(t)\,(\eta - x(t))_+^2}` (Duchi & Namkoong 2021).  On the piece
    whose lowest states K have mass P, mean M and squared deviation D, its slope at :math:`\eta = M + y` is negative iff
    :math:`m (P y^2 + D) < (1+\rho) P^2 y^2`; the first x where that holds ends K.

    The gap holds for any u of the form :math:`\max(-1, -\beta(x - b))`: with :math:`W = \sum_t p u^2`, Lagrange's bound
    is :math:`b\,|\sum_t p u| + \sqrt{W}\,|\sqrt{m \rho} - \sqrt{W}| / \beta`, and u shrunk into the ball loses at most
    :math:`(1 - \sqrt{m \rho / W})\, |\sum_t p u x|`.
    """
    first, last, low, span, scale = _frame(p, v, order)
    if span <= 0:
        return 0.0
    m, n = _mass(p)
    P, M, D, end = 0.0, 0.0, 0.0, last
    while end >= first:
        i = order[end]
        x = (v[i] - low) / span
        y = x - M
        if m * (P * y * y + D) < (1 + radius) * P * P * y * y:
            break
        if p[i] > 0:
            D += p[i] * (P / (P + p[i])) * y * y  # not from x - M, which loses a tiny P
            P += p[i]
            M += y * p[i] / P
        end -= 1
    rounded = 8 * (n + 8) * EPS * scale
    if D <= 0:  # the lowest states alone
        _lowest_alone(p, order, end, float(P), m, q)
        return rounded
    excess = radius * m if end < first else max((1 + radius) * P - m, EPS * m)
    beta = np.sqrt(m * excess) / np.sqrt(P) / np.sqrt(D)
    if not 0 < beta < np.inf:  # beyond the range of float64: nature gives the row as it is
        return span
    b = M if end < first else M + (m / P - 1) / beta
    drift = 0.0  # what beta times the rounding of b adds to the mass
    for i in range(p.size):
        drift += p[i] * max(-1.0, -beta * ((v[i] - low) / span - b))
    total, W, ux = 0.0, 0.0, 0.0
    for i in range(p.size):
        x = (v[i] - low) / span
        u = max(-1.0, -beta * (x - b) - drift / P)
        q[i] = p[i] + p[i] * u
        total += p[i] * u
        W += p[i] * u * u
        ux += p[i] * u * x
    if W == 0:
        return float(np.sqrt(radius)) * span + rounded  # a radius so small that its squares vanish
    root = np.sqrt(m * radius)
    gap = abs(b) * abs(total) + np.sqrt(W) * abs(root - np.sqrt(W)) / beta
    outside = max(1 - root / np.sqrt(W), 0.0) * abs(ux)
    return float((gap + outside) * span + 2 * abs(total) * scale + rounded)


@kernel
def _tilt(p: Array, v: Array, order: Ints, radius: float, q: Array) -> float:
    r"""Kullback–Leibler: :math:`q \propto p\,e^{-\beta x}` with :math:`k(\beta) = KL(q, p) = \rho`, by Newton's method.

    With x the values scaled to [0, 1], :math:`k' = \beta \operatorname{Var}_q x`, so that :math:`\sqrt{k}` is nearly
    linear while :math:`\beta` is small; steps that leave the bracket are replaced by bisection.  Where
    :math:`k \le \rho`, q is in the ball and duality bounds its distance from the minimum by :math:`(\rho - k)/\beta`.
    If the lowest states have mass of at least :math:`e^{-\rho}`, nature can be sure of them.
    """
    _, last, low, span, scale = _frame(p, v, order)
    if span <= 0:
        return 0.0
    m, n = _mass(p)
    end, P, unit = last, 0.0, 2 * (n + 8) * EPS
    while v[order[end]] <= low:
        P += p[order[end]]
        end -= 1
    if m * np.exp(-radius) <= P:
        _lowest_alone(p, order, end, float(P), m, q)
        return unit * span + unit * scale
    mean, variance = _moments(p, v, low, span, m)
    inside, above, gap, weight = 0.0, np.inf, float(np.sqrt(radius)), 1.0  # q = p, by Pinsker's inequality
    beta = min(np.sqrt(2 * radius) / np.sqrt(variance), FAR) if variance > 0 else 1.0
    for _ in range(100):
        divergence, spread, weight = _tilted(p, v, low, span, mean, m, beta, q)
        error = unit * beta + n * SUBNORMAL / weight
        if divergence + error <= radius:
            inside, gap = beta, min(gap, (radius - divergence + error) / beta)
            if gap <= 4 * unit:
                break
        else:
            above = beta
        goal, root = np.sqrt(max(radius - 2 * error, 0.0)), np.sqrt(max(divergence, 0.0))
        step = (goal - root) * 2 * root / beta / spread if spread > 0 else np.nan
        beta = beta + step
        if not inside < beta < above:
            beta = _between(inside, above)
        if beta in (inside, above):
            break
    if inside == 0:
        q[:] = p
        return gap * span
    if beta != inside:
        weight = _tilted(p, v, low, span, mean, m, inside, q)[2]
    for i in range(p.size):
        q[i] = q[i] / weight * m
    return gap * span + 2 * unit * scale


@part
def _between(inside: float, above: float) -> float:
    """A point of the bracket, near its geometric mean while its ends are far apart; 1 is the scale of x."""
    if above == np.inf:
        return 2 * inside
    low = max(inside, 1.0)
    return float(np.sqrt(low) * np.sqrt(above)) if above > 4 * low else (inside + above) / 2


@kernel
def _moments(p: Array, v: Array, low: float, span: float, m: float) -> tuple[float, float]:
    """Mean and variance of the scaled values under p / m."""
    mean = 0.0
    for i in range(p.size):
        if p[i] > 0:
            mean += p[i] / m * ((v[i] - low) / span)
    variance = 0.0
    for i in range(p.size):
        if p[i] > 0:
            variance += p[i] / m * ((v[i] - low) / span - mean) ** 2
    return mean, variance


@kernel
def _tilted(
    p: Array, v: Array, low: float, span: float, mean: float, m: float, beta: float, q: Array
) -> tuple[float, float, float]:
    r"""Write the weights :math:`p\,e^{-\beta (x - c)}` to `q`; return KL, the variance of x under them, and their sum.

    For small beta c is the mean and exponentials are taken off 1, which keeps the digits of a small divergence: it is
    off by a few EPS a term, times beta, in both cases.
    """
    near = beta <= 1
    c = mean if near else 0.0
    z, first, second = 0.0, 0.0, 0.0
    for i in range(p.size):
        q[i] = 0.0
        if p[i] > 0:
            y = (v[i] - low) / span - c
            share = p[i] / m
            e = np.expm1(-beta * y) if near else np.exp(-beta * y)
            w = share + share * e if near else share * e
            z += share * e
            first += w * y
            second += w * y * y
            q[i] = w
    weight = 1 + z if near else z
    average = first / weight
    log_z = np.log1p(z) if near else np.log(z)
    return -beta * average - log_z, max(second / weight - average * average, 0.0), weight


@fast_part
def _mass(p: Array) -> tuple[float, int]:
    """The sum of a row and the size of its support."""
    total, count = 0.0, 0
    for i in range(p.size):
        total += p[i]
        count += p[i] > 0
    return total, count


@part
def _frame(p: Array, v: Array, order: Ints) -> tuple[int, int, float, float, float]:
    """Where in `order` the support begins and ends, the least value there, their range, and the largest modulus."""
    first, last = 0, order.size - 1
    while p[order[first]] == 0:
        first += 1
    while p[order[last]] == 0:
        last -= 1
    high, low = float(v[order[first]]), float(v[order[last]])
    return first, last, low, high - low, max(abs(high), abs(low))


@part
def _lowest_alone(p: Array, order: Ints, end: int, P: float, m: float, q: Array) -> None:
    """All mass m on the states after position `end`, in proportion to what they have, which is P together."""
    for position in range(order.size):
        i = order[position]
        q[i] = p[i] / P * m if position > end else 0.0
