r"""How far data are from the law they are to stand for: constants for on-policy and for adaptive sampling.

Notation of :mod:`claimlab.mdps.collection`: :math:`e_a=n_a-n\pi_a`.  The laws are ours.  Write
:math:`H=\mathrm{diag}(\pi)-\pi\pi^\top`.  A sampler that acts from :math:`\pi-De/n` to first order has
:math:`\mathrm{Cov}(e)\approx nC` with :math:`C+DC+CD^\top=H`, and
:math:`2n\,KL(\pi_D\|\pi)\approx\sum_ae_a^2/(n\pi_a)`.  ROS with averaged gradients has :math:`D=\alpha H`, PROPS has
:math:`D=I/\lambda`.
"""

from __future__ import annotations

from math import inf

import numpy as np
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array


def divergence(counts: ArrayLike, law: ArrayLike) -> Array:
    r""":math:`KL(\pi_D\|\pi)` of the shares in `counts`, float[..., A], in nats.

    It is infinite where an action has data and no probability, and 0 without data.

    Examples
    --------
    >>> divergence([2, 0], [0.5, 0.5]).round(6)
    np.float64(0.693147)
    """
    n, p = checks.numbers("counts", counts), checks.distributions("law", law, ndim=np.ndim(law))
    total = n.sum(axis=-1, keepdims=True)
    share = n / np.where(total > 0, total, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.maximum(np.where(share > 0, share * np.log(share / p), 0.0).sum(axis=-1), 0.0))


def total_variation(counts: ArrayLike, law: ArrayLike) -> Array:
    r"""Half the sum of :math:`|\pi_D-\pi|`, over the last axis."""
    n = checks.numbers("counts", counts)
    return np.asarray(abs(n / n.sum(axis=-1, keepdims=True) - law).sum(axis=-1) / 2)


def greedy_error(actions: int, *, ratio: bool = False) -> float:
    r"""A bound that no :math:`-e_a` exceeds under the greedy rules, for every law and sequence (ours).

    **Differences** (ROS with an infinite step): the harmonic number :math:`H_{A-1}`.  Let :math:`d=-e` and
    :math:`c_k=H_{A-1}-H_{k-1}`.  The `k` largest `d` never have a mean above :math:`c_k`.  For `k = A` it is 0.
    A step adds :math:`\pi_a` to each and takes 1 from the largest, `x`.  If `x` is among the `k` that are largest
    afterwards, their sum has not grown; if not, their mean before was at most that of them and `x`, at most
    :math:`c_{k+1}`, and grew by at most :math:`1/k=c_k-c_{k+1}`.  (The cup game of Dietz & Sleator 1987.)

    **Ratios** (``ratio=True``, PROPS with weight 0, the divisor method of Adams): A - 1, as the others have
    :math:`e\le1`; attained in the limit, for rare actions are all taken once at once.

    Examples
    --------
    >>> greedy_error(3), greedy_error(3, ratio=True)
    (1.5, 2.0)
    """
    actions = checks.integer("actions", actions, 2)
    return float(actions - 1) if ratio else float((1 / np.arange(1, actions)).sum())


def greedy_divergence(law: ArrayLike, n: float, *, ratio: bool = False) -> float:
    r"""Upper bound on the KL divergence after `n` visits under the greedy rules, for every sequence (ours).

    The action taken had :math:`e\le0` (the smallest difference is at most 0, the smallest ratio at most 1), so
    :math:`e\le1` always, and :math:`KL\le\chi^2=n^{-2}\sum_ae_a^2/\pi_a\le n^{-2}G^2\sum_a1/\pi_a` with
    :math:`G\ge1` of :func:`greedy_error`.
    """
    p = _positive(law)
    error = greedy_error(p.size, ratio=ratio)
    return error**2 * float((1 / p).sum()) / checks.interval("n", n, 1, inf, "[)") ** 2


def ros_factor(law: ArrayLike, step: float) -> float:
    r""":math:`\sum_{\lambda_i(H)>0}\frac1{1+2\alpha\lambda_i}`, the limit of :math:`2n\,E\,KL` for ROS, averaged.

    On-policy sampling, step 0, has A - 1, the mean of a chi-square: a finite step gains a constant factor only.

    Examples
    --------
    >>> ros_factor([0.5, 0.5], 1.0)
    0.5
    """
    p = _positive(law)
    spectrum = np.linalg.eigvalsh(np.diag(p) - np.outer(p, p))[1:]  # the smallest is 0: the shift of all logits
    return float((1 / (1 + 2 * checks.interval("step", step, 0, inf, "[)") * spectrum)).sum())


def ros_sum_factor(law: ArrayLike, step: float) -> float:
    r"""The limit of :math:`n^2E\,KL` for ROS with summed gradients and a small step.

    :math:`\frac{1-1/A}{4\alpha}\sum_a\frac1{\pi_a}`: acting from :math:`\pi-\alpha He` makes errors stationary, with a
    covariance `K` that solves :math:`HK+KH=H/\alpha`, the projection onto vectors that sum to 0 over :math:`2\alpha`.
    """
    p = _positive(law)
    return float((1 - 1 / p.size) * (1 / p).sum() / (4 * checks.interval("step", step, 0, inf, "()")))


def props_factor(actions: int, weight: float) -> float:
    r""":math:`(A-1)\frac\lambda{\lambda+2}`, the limit of :math:`2n\,E\,KL` for PROPS solved anew at every step."""
    actions, weight = checks.integer("actions", actions, 1), checks.interval("weight", weight, 0, inf, "[)")
    return (actions - 1) * weight / (weight + 2)


def clipped_factor(p: float, clip: float) -> float:
    r""":math:`\frac{p^3+q^3}{4\epsilon^2pq}`, q = 1 - `p`: the limit of :math:`n^2E\,KL` for PROPS without regulariser.

    For two actions and small clips, solved anew at every step (ours).  It acts from :math:`(1-\epsilon)\pi` and gives
    the rest to the action that is short: the error e of the first has the drift :math:`-\epsilon p` above zero and
    :math:`\epsilon q` below, and the variance pq a step.  Its law becomes stationary, with exponential tails of rates
    :math:`2\epsilon/q` and :math:`2\epsilon/p` and masses q and p, so :math:`E e^2=(p^3+q^3)/(2\epsilon^2)`.

    >>> clipped_factor(0.5, 0.5)
    1.0
    """
    p, clip = checks.interval("p", p, 0, 1, "()"), checks.interval("clip", clip, 0, 1, "(]")
    return (p**3 + (1 - p) ** 3) / (4 * clip**2 * p * (1 - p))


def _positive(law: ArrayLike) -> Array:
    p = checks.distributions("law", law, ndim=1)
    if p.min() <= 0:
        raise ValueError(f"law[{int(p.argmin())}] is {p.min():.6g}; the laws need positive probabilities.")
    return p


def fundamental(chain: ArrayLike) -> tuple[Array, Array]:
    r"""The stationary law `d` of a chain with one recurrent class, and :math:`Z=(I-P+1d^\top)^{-1}`."""
    P = checks.distributions("chain", chain, ndim=2)
    S = len(P)
    if P.shape != (S, S):
        raise ValueError(f"chain must be square, got {P.shape}.")
    system = np.eye(S) - P.T
    spectrum = np.linalg.svd(system, compute_uv=False)
    if S > 1 and spectrum[-2] <= 1e-10:
        raise ValueError("chain has more than one recurrent class: its long-run shares depend on chance.")
    system[-1] = 1.0
    d = np.linalg.solve(system, np.eye(S)[-1])
    return d, np.asarray(np.linalg.inv(np.eye(S) - P + d[None]))


def visitation_bound(P: ArrayLike, pi: ArrayLike, n: int) -> float:
    r"""Upper bound on TV of the states' shares after `n` greedy steps to :math:`d_\pi` (ours).

    For deterministic transitions and every sequence; the actions may be taken by differences or by ratios.

    With :math:`N` the visits, :math:`(N-nd)(I-P_\pi)=b`, where `b` collects the two ends of the trajectory and
    :math:`\sum e(s,a)P(\cdot|s,a)`; it sums to zero and has :math:`\|b\|_1\le2+2\sum_s(A_s-1)`, `A_s` the actions that
    the target takes.  So :math:`TV\le(1+\sum_s(A_s-1))\tau/n`, :math:`\tau=\max_{s,t}\frac12\|Z_s-Z_t\|_1`.
    """
    P, pi = np.asarray(P, dtype=float), checks.distributions("pi", pi, ndim=2)
    _, Z = fundamental(np.einsum("sa,sat->st", pi, P))
    tau = abs(Z[:, None] - Z[None]).sum(axis=2).max() / 2
    return float((1 + ((pi > 0).sum(axis=1) - 1).sum()) * tau / n)


def visitation_covariance(P: ArrayLike, pi: ArrayLike, *, greedy: bool) -> Array:
    r"""The limit of `n` times the covariance of the states' shares, float[S, S] (ours for greedy sampling).

    :math:`Z^\top\Sigma Z`, where :math:`\Sigma` is the covariance of a transition given the state (on-policy) or given
    state and action: greedy sampling takes away what the actions add, and nothing of what the transitions do.
    """
    P, pi = np.asarray(P, dtype=float), checks.distributions("pi", pi, ndim=2)
    chain = np.einsum("sa,sat->st", pi, P)
    d, Z = fundamental(chain)
    given = np.einsum("s,sa,sat,sau->tu", d, pi, P, P) if greedy else np.einsum("s,st,su->tu", d, chain, chain)
    return np.asarray(Z.T @ (np.diag(d @ chain) - given) @ Z)
