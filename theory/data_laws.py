r"""Which laws of the data send REINFORCE downhill: exact worst cases on a softmax bandit.

The policy p on n answers with rewards r is trained by exact gradients on data of another law b, with the mean of b as
baseline.  Its logits move along :math:`c_a = b_a (r_a - E_b r)`, so the value :math:`J = E_p r` has the slope

.. math:: \dot J = \sum_a p_a (r_a - J)\, c_a = \mathrm{Cov}_b(r, g), \qquad g_a = p_a (r_a - J) .

*Worst law of all (ours).*  :math:`\mathrm{Cov}_b(r, g) = \sum_{i<j} b_i b_j (r_i - r_j)(g_i - g_j)`.  With
:math:`E_b r` held fixed it is linear in b, under two equations; so the least value is attained on two answers, half
each: :math:`\frac14 \min_{i,j} (r_i - r_j)(g_i - g_j)`.  No law sends J downhill iff g is ordered as r is.

*Worst law near the policy (ours).*  If :math:`p_a/\kappa \le b_a \le \kappa p_a` as well, all but two answers sit at
ends of their intervals at the optimum, and in the two that are left J's slope is a quadratic: a finite search is exact.
"""

from __future__ import annotations

from itertools import combinations, product
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array

MOST = 12  # answers that the finite search takes: it looks at n (n - 1) / 2 * 2^(n - 2) quadratics


class WorstLaw(NamedTuple):
    """A law of the data under which the value of the policy has the least slope."""

    law: Array  # [n]
    slope: float


def slope(law: ArrayLike, policy: ArrayLike, r: ArrayLike) -> float:
    """The derivative of the value of `policy` along REINFORCE's direction from data of `law`, float[n] each.

    >>> round(slope([0, 0.5, 0.5], [0.3, 0.6, 0.1], [0, 0.8, 1]), 4)  # better answers only, and yet downhill
    -0.0045
    """
    p, rewards = _bandit(policy, r)
    b = checks.distributions("law", law, ndim=1)
    if b.shape != p.shape:
        raise ValueError(f"law must have shape {p.shape}, as policy, got {b.shape}.")
    return _covariance(b, rewards, _advantages(p, rewards))


def _bandit(policy: ArrayLike, r: ArrayLike) -> tuple[Array, Array]:
    p = checks.distributions("policy", policy, ndim=1)
    return p, checks.shaped("r", r, p.shape, "(n,)")


def _advantages(p: Array, r: Array) -> Array:
    return np.asarray(p * (r - p @ r))


def _covariance(b: Array, r: Array, g: Array) -> float:
    return float(b @ ((r - b @ r) * g))


def worst_law(policy: ArrayLike, r: ArrayLike) -> WorstLaw:
    """The worst of all laws: two answers, half each, or the policy's own best answer where none goes downhill."""
    p, rewards = _bandit(policy, r)
    g = _advantages(p, rewards)
    products = np.subtract.outer(rewards, rewards) * np.subtract.outer(g, g)
    i, j = np.unravel_index(int(products.argmin()), products.shape)
    law = np.zeros(len(p))
    law[[i, j]] = 0.5 if i != j else 1.0
    return WorstLaw(law, float(products[i, j]) / 4)


def worst_law_within(policy: ArrayLike, r: ArrayLike, ratio: float) -> WorstLaw:
    r"""The worst law with :math:`1/\kappa \le b_a/p_a \le \kappa` for every answer, :math:`\kappa` = `ratio`."""
    p, rewards = _bandit(policy, r)
    kappa = checks.interval("ratio", ratio, 1, inf, "[)")
    n = checks.integer("the number of answers", len(p), 1, MOST)
    g, low, high = _advantages(p, rewards), p / kappa, np.minimum(p * kappa, 1.0)
    best = WorstLaw(p, _covariance(p, rewards, g))
    for i, j in combinations(range(n), 2):
        others = [a for a in range(n) if a not in (i, j)]
        for ends in product(*((low[a], high[a]) for a in others)):
            b = np.zeros(n)
            b[others] = ends
            left = 1 - b.sum()
            first, last = max(low[i], left - high[j]), min(high[i], left - low[j])
            if first > last:
                continue
            for t in _candidates(b, i, j, left, first, last, rewards, g):
                b[i], b[j] = t, left - t
                value = _covariance(b, rewards, g)
                if value < best.slope:
                    best = WorstLaw(b.copy(), value)
    return best


def _candidates(
    b: Array, i: int, j: int, left: float, first: float, last: float, r: Array, g: Array
) -> tuple[float, ...]:
    """Where the covariance can be least on the segment of ``b[i]``: its ends, and the vertex if that lies inside."""
    values = []
    for t in (first, (first + last) / 2, last):
        c = b.copy()
        c[i], c[j] = t, left - t
        values.append(_covariance(c, r, g))
    curvature = values[0] - 2 * values[1] + values[2]
    if curvature <= 0:
        return first, last
    vertex = (first + last) / 2 - (last - first) / 4 * (values[2] - values[0]) / curvature
    return first, last, float(np.clip(vertex, first, last))


def safe_ratio(policy: ArrayLike, r: ArrayLike, most: float = 100.0, tol: float = 1e-6) -> float:
    r"""The largest :math:`\kappa \le` `most` for which no law within that ratio of the policy goes downhill."""
    p, rewards = _bandit(policy, r)
    low, high = 1.0, checks.interval("most", most, 1, inf, "()")
    if worst_law_within(p, rewards, high).slope >= 0:
        return high
    while high - low > tol * low:
        middle = (low + high) / 2
        if worst_law_within(p, rewards, middle).slope >= 0:
            low = middle
        else:
            high = middle
    return low


def worst_limit(r: ArrayLike) -> float:
    r"""How much worse than the best answer the *limit* of such training can be, over all laws of full support.

    The limit is the answer of largest :math:`b_a(r_a - E_b r)`: any but the worst ones, as a law on it and the worst
    shows, and never the worst, for which that is negative.
    """
    rewards = np.unique(checks.array("r", r, ndim=1))
    if not len(rewards):
        raise ValueError("r must hold one reward at least.")
    return float(rewards[-1] - rewards[min(1, len(rewards) - 1)])
