r"""Group-relative REINFORCE and its variants (Yao et al. 2025, arXiv 2509.24203), exactly, for one softmax policy.

A sample y with probability ratio :math:`\rho=\pi_\theta(y)/\pi_{old}(y)` and advantage A adds
:math:`g(\rho,A)\nabla\log\pi_\theta(y)` to the direction of the update.  `masks` is written with operators alone, so
that it takes NumPy arrays and torch tensors alike: what is proven and what is trained cannot differ.

**Flows (ours).**  From data of a fixed law :math:`\pi_b` with factors g that do not depend on the policy the logits
move along :math:`\dot\theta=c-p\sum_ac_a`, :math:`c_a=\pi_b(a)g_a`.  If :math:`B=\sum_ac_a=0` they move linearly and
end on the largest :math:`c_a`; if :math:`B>0` they descend a convex function whose infimum has the Euclidean projection
of :math:`c/B` onto the simplex for its law.  If :math:`B<0` what is likely is made likelier, and the end depends on the
start: answer a attracts wherever :math:`c_a-B` exceeds every other :math:`c_j`.

**Stale data (ours).**  REINFORCE without clip on data refreshed every m steps moves the logits linearly between two
refreshes, so that only the product of m and the step size counts: :func:`after_sync`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array, Ints


def masks(ratio: Any, A: Any, low: Any, high: Any, far_low: Any, far_high: Any) -> tuple[Any, Any, Any]:
    """Which samples keep their gradient: two-side, ring and one-side masks."""
    two = (ratio >= 1 - low) & (ratio <= 1 + high)
    ring = two | ((A >= 0) & (ratio <= 1 - far_low)) | ((A <= 0) & (ratio >= 1 + far_high))
    one = ((A >= 0) & (ratio <= 1 + high)) | ((A <= 0) & (ratio >= 1 - low))
    return two, ring, one


def logit_direction(law: Array, policy: Array, g: Array) -> Array:
    r"""The expected direction :math:`E_{y\sim law}[g(y)\nabla_\theta\log\pi_\theta(y)]` of logits, float[Y].

    Args:
        law: float[Y], the law of the data.
        policy: float[Y], the softmax policy of the logits.
        g: float[Y], the factor of each answer's score.
    """
    c = law * g
    direction: Array = c - policy * np.sum(c)
    return direction


def project(v: Array) -> Array:
    """The Euclidean projection onto the simplex (Duchi et al. 2008), float[Y]."""
    u = np.sort(v)[::-1]
    k = np.arange(1, len(v) + 1)
    count = int(k[u - (u.cumsum() - 1) / k > 0][-1])
    return np.maximum(v - (u[:count].sum() - 1) / count, 0.0)


def flow_limit(c: ArrayLike) -> Array:
    r"""Where exact training from data of a fixed law ends, float[Y], with :math:`c_a=\pi_b(a)g_a` (the module's head).

    Ties of the largest `c` are not resolved where the sum is zero: the first is returned, and the truth depends on the
    start.

    >>> flow_limit([0.12, 0.6, 0.28])  # all positive: in proportion
    array([0.12, 0.6 , 0.28])
    >>> flow_limit([-0.174, 0.132, 0.042])  # REINFORCE with the mean as baseline: the largest
    array([0., 1., 0.])
    """
    weights = checks.array("c", c, ndim=1)
    if not len(weights):
        raise ValueError("c must hold an answer at least.")
    total, scale = float(weights.sum()), float(abs(weights).max())
    if total < -1e-12 * scale:
        raise ValueError(f"c sums to {total:.6g}, which is negative: where training ends depends on the start.")
    return project(weights / total) if total > 1e-12 * scale else np.eye(len(weights))[int(weights.argmax())]


def attractors(c: ArrayLike) -> Ints:
    r"""The answers on which training from data of a fixed law may end where :math:`\sum_ac_a<0`, as indices.

    Near the vertex of answer a the logit of a gains on that of j at the rate :math:`c_a-B-c_j`.

    >>> attractors([-0.2, 0.1, 0.05])
    array([1, 2])
    """
    weights = checks.array("c", c, ndim=1)
    total = float(weights.sum())
    if total >= 0:
        raise ValueError(f"c sums to {total:.6g}: not negative, see flow_limit.")
    others = np.where(np.eye(len(weights), dtype=bool), -inf, weights[None]).max(axis=1)
    return np.flatnonzero(weights - total > others)


def train(
    law: ArrayLike,
    r: ArrayLike,
    factor: Callable[[Array, Array], ArrayLike],
    *,
    size: float,
    steps: int,
    sync: int = 0,
    start: ArrayLike | None = None,
) -> Array:
    r"""Exact gradient steps of a softmax policy with your own factors: the policies, float[steps + 1, Y].

    Parameters
    ----------
    law : float[Y]
        The law of the first data, positive; the group mean is the baseline, as for infinitely many answers.
    r : float[Y]
        The rewards of the answers.
    factor : callable
        Takes the ratios of the policy to the law of the data and the advantages, float[Y] each, and returns the factor
        g of each answer's score, float[Y].
    size : float
        The step size.
    sync : int
        The data become the policy's own every `sync` steps; 0 is never.
    start : float[Y], optional
        The first policy, positive; the law of the data if there is none.

    >>> train([0.3, 0.6, 0.1], [0, 0.8, 1], lambda ratio, A: A, size=1.0, steps=200)[-1].round(2)
    array([0., 1., 0.])
    """
    old = _positive("law", law)
    rewards = checks.shaped("r", r, old.shape, "(Y,)")
    p = old if start is None else _positive("start", checks.shaped("start", start, old.shape, "(Y,)"))
    size, every = checks.interval("size", size, 0, inf, "()"), checks.integer("sync", sync, 0)
    logs, before = np.log(p), np.log(old)
    out = np.empty((checks.integer("steps", steps, 0) + 1, len(p)))
    out[0] = p
    for k in range(steps):
        if every and k % every == 0:
            before = logs
        data = np.exp(before)
        A = rewards - data @ rewards
        g = checks.shaped("factor(ratio, A)", factor(np.exp(logs - before), A), A.shape, "(Y,)")
        logs = logs + size * logit_direction(data, np.exp(logs), g)
        logs = logs - logs.max()
        logs = logs - np.log(np.exp(logs).sum())
        out[k + 1] = np.exp(logs)
    return out


def after_sync(law: ArrayLike, r: ArrayLike, product: float) -> Array:
    r"""The policy after m steps of size lr of REINFORCE on data of the policy `law` itself, in closed form (ours).

    :math:`p'_a\propto p_a\exp(s\,p_a(r_a-\bar r))`, s = `product` = m lr: the factors do not depend on the policy and
    sum to zero.

    >>> after_sync([0.3, 0.6, 0.1], [0, 0.8, 1], 20.0).round(4)
    array([0.0016, 0.9723, 0.0261])
    """
    p = _positive("law", law)
    rewards = checks.shaped("r", r, p.shape, "(Y,)")
    x = np.log(p) + checks.interval("product", product, 0, inf, "[)") * p * (rewards - p @ rewards)
    moved = np.exp(x - x.max())
    return np.asarray(moved / moved.sum())


def red_threshold(law: ArrayLike, r: ArrayLike) -> float:
    r"""RED-Weight's temperature below which the best of three arms gets more mass than the second (ours).

    :math:`(r_3-r_2)/\log\frac{\pi_b(2)A_2}{\pi_b(3)A_3}`, for rewards in increasing order, the second above the mean;
    infinite where the best leads at every temperature.
    """
    b = _positive("law", law)
    rewards = checks.shaped("r", r, (3,), "(3,)")
    A = rewards - b @ rewards
    if len(b) != 3 or not rewards[0] < rewards[1] < rewards[2] or A[1] <= 0:
        raise ValueError(f"r must hold three increasing rewards, the second above the mean, got {rewards.tolist()}.")
    odds = b[1] * A[1] / (b[2] * A[2])
    return float((rewards[2] - rewards[1]) / np.log(odds)) if odds > 1 else inf


def least_cosine(answers: int) -> float:
    r"""The least cosine of REINFORCE's direction from other data with the true gradient, in logits, over all laws and
    policies on so many answers (ours): :math:`-1/\sqrt{(1+1/l)(1+1/h)}`, l and h the halves of n - 1; 0 for two.

    Proof.  Both directions, :math:`c_a=b_a(r_a-E_br)` and :math:`g_a=p_a(r_a-J)`, sum to zero.  Their signs differ only
    on the answers M with rewards between :math:`E_br` and J, say :math:`c>0>g` there.  On the l answers below c is
    negative with a sum of :math:`\|c_M\|_1\ge\|c_M\|_2` at least in modulus, so
    :math:`\|c\|^2\ge(1+1/l)\|c_M\|^2`; on the h answers above g is positive, and
    :math:`\|g\|^2\ge(1+1/h)\|g_M\|^2`.  With :math:`|M|\ge1`, :math:`l+h\le n-1`.  Attained in the limit by one answer
    in the middle, without others shared: it tends to -1 with n and is -1/2 for three.

    >>> least_cosine(3)
    -0.5
    """
    rest = checks.integer("answers", answers, 2) - 1
    low, high = rest // 2, rest - rest // 2
    return -1 / ((1 + 1 / low) * (1 + 1 / high)) ** 0.5 if low else 0.0


def _positive(name: str, law: ArrayLike) -> Array:
    p = checks.distributions(name, law, ndim=1)
    if p.min() <= 0:
        raise ValueError(f"{name}[{int(p.argmin())}] is 0; logits need positive probabilities.")
    return p
