r"""Soft planning: discounted MDPs regularised by the entropy of the policy or its divergence from a base policy.

.. math:: (Tv)(s) = \alpha \log \sum_a b(a|s) \exp\bigl(q(s,a)/\alpha\bigr), \qquad
          q(s,a) = r(s,a) + \gamma \sum_t P(t|s,a) v(t), \qquad \pi(a|s) \propto b(a|s) \exp(q(s,a)/\alpha)

with :math:`b = 1` (entropy) or a policy (Kullback–Leibler); missing actions have :math:`b = 0`.  `T` is monotone and
shifts constants as the hard operator does, so the certificate of :mod:`claimlab.mdps.planning` holds with the rounding
of the logarithm added; its derivative is :math:`\gamma P_\pi`, so Newton's method on :math:`v = Tv` is soft policy
iteration.  Terminal states have ended: they are worth 0 and earn no entropy.

Sources: Haarnoja et al. (2017), Theorem 1; Geist, Scherrer & Pietquin (2019), Propositions 1–2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array
from claimlab.mdps.planning import SUBNORMAL, NotConverged, contraction, rounding, series
from claimlab.mdps.resolvent import DIRECT, resolvent
from claimlab.mdps.tabular import EPS, TabularMDP

Step = Callable[[Array, Array, Array, float], Array]  # (v, tv, pi, middle of the certificate) -> next v


class SoftSolution(NamedTuple):
    """A solution of the regularised MDP with its own certificate."""

    v: Array  # [S]
    q: Array  # [S, A]; minus infinity for missing actions
    pi: Array  # [S, A]; its log-ratios are within 2 * error / alpha of the optimum's, up to rounding
    error: float  # certified bound on max |v - v*| and on max |q - q*|
    iterations: int


class SoftMaximum(NamedTuple):
    """The regularised maximum over the actions of each state."""

    v: Array  # [S]
    pi: Array  # [S, A], where it is attained
    error: float  # bound on the rounding of `v`


def soft_solve(mdp: TabularMDP, alpha: float, tol: float = 1e-9, *, base: ArrayLike | None = None) -> SoftSolution:
    """Solve the regularised `mdp` so that ``max |v - v*| <= tol`` and ``max |q - q*| <= tol``, proved.

    Parameters
    ----------
    mdp : TabularMDP
    alpha : float
        Temperature, above 0.
    tol : float
    base : policy, optional
        The regulariser is `alpha` times KL(pi, base), rows of `base` normalised; the entropy by default.

    Examples
    --------
    >>> coin = TabularMDP(P=[[[1.0], [1.0]]], r=[[0.0, 0.0]], gamma=0.5)
    >>> float(soft_solve(coin, alpha=1.0).v[0] / np.log(2))  # two equal actions: log 2 a step
    2.0
    """
    method = soft_policy_iteration if mdp.is_sparse or mdp.n_states <= DIRECT else soft_value_iteration
    return method(mdp, alpha, tol, base=base)


def soft_value_iteration(
    mdp: TabularMDP, alpha: float, tol: float = 1e-9, *, base: ArrayLike | None = None, max_sweeps: int = 1_000_000
) -> SoftSolution:
    """Apply the soft operator until the certificate falls to `tol`."""
    return _iterate(mdp, alpha, tol, base, lambda v, tv, pi, middle: tv + middle, max_sweeps)


def soft_policy_iteration(
    mdp: TabularMDP, alpha: float, tol: float = 1e-9, *, base: ArrayLike | None = None, max_iterations: int = 10_000
) -> SoftSolution:
    r"""Newton's method, :math:`v \leftarrow v + (I - \gamma P_\pi)^{-1}(Tv - v)`: a few steps to the floor of float64.

    That is the regularised value of :math:`\pi`, so the iterates increase and each is at least as good as a sweep.
    """

    def newton(v: Array, tv: Array, pi: Array, middle: float) -> Array:
        return v + resolvent(mdp, mdp.under(pi)[0], tv - v)

    return _iterate(mdp, alpha, tol, base, newton, max_iterations)


def soft_maximum(mdp: TabularMDP, q: ArrayLike, alpha: float, *, base: ArrayLike | None = None) -> SoftMaximum:
    r""":math:`\alpha \log \sum_a b(a|s) \exp(q(s,a)/\alpha)` for each state, and the policy that attains it."""
    alpha, given = checks.interval("alpha", alpha, 0, np.inf, "()"), np.asarray(q)
    if given.shape == mdp.r.shape:
        given = np.where(mdp.actions, given, 0.0)  # missing actions may have minus infinity, as in a solution
    return _soft_maximum(checks.shaped("q", given, mdp.r.shape, "(S, A)"), alpha, *_base(mdp, alpha, base))


def _base(mdp: TabularMDP, alpha: float, base: ArrayLike | None) -> tuple[Array, Array]:
    """Weights b that sum to 1, and what to add to the maximum: alpha log(number of actions) for entropy, else 0."""
    if base is None:
        count = mdp.actions.sum(axis=1)
        return mdp.actions / count[:, None], np.where(mdp.terminal, 0.0, alpha * np.log(count))
    given = mdp.policy(base, "base")
    weights = np.eye(mdp.n_actions)[given.astype(np.int64)] if given.ndim == 1 else given
    return weights / weights.sum(axis=1, keepdims=True), np.zeros(mdp.n_states)


def _soft_maximum(q: Array, alpha: float, b: Array, offset: Array) -> SoftMaximum:
    r"""With c the maximum of q on the support of b and x = (q - c) / alpha <= 0, it is c + alpha log sum b exp(x).

    Where the spread of q is at most alpha, log1p(sum b expm1(x)) has an error relative to that spread; elsewhere
    log-sum-exp of x + log b has one relative to alpha < spread.  The bounds: x is off by EPS |x|, functions by four
    units in the last place, sums of A terms by A EPS / 2; expm1 and log1p multiply by at most 2 on that range, and the
    mean of |x| under pi is at most log A + max |log b|, because log pi = x + log b - log sum b exp(x).
    """
    A, support = q.shape[1], b > 0
    c = np.where(support, q, -np.inf).max(axis=1)
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        x = np.where(support, (q - c[:, None]) / alpha, 0.0)
        log_b = np.log(b)
        y = x + log_b
        m = y.max(axis=1, keepdims=True)
        weights = np.exp(y - m)
        total = weights.sum(axis=1)
        near = x.min(axis=1) >= -1
        z = np.where(near, (b * np.expm1(np.where(near[:, None], x, 0.0))).sum(axis=1), 0.0)
        rise = alpha * np.where(near, np.log1p(z), m[:, 0] + np.log(total))
    v = c + offset + rise
    widest = abs(np.where(support, log_b, 0.0)).max(axis=1)
    far = (A + 32) * (1 + np.log(A) + widest) * alpha
    terms = np.where(near, (4 * A + 32) * abs(rise), far) + 8 * (abs(c) + abs(offset) + abs(rise))
    error = EPS * float(terms.max()) + (A + 4) * max(alpha, 1.0) * SUBNORMAL
    return SoftMaximum(v, weights / total[:, None], error)


def _iterate(mdp: TabularMDP, alpha: float, tol: float, base: ArrayLike | None, step: Step, limit: int) -> SoftSolution:
    alpha = checks.interval("alpha", alpha, 0, np.inf, "()")
    checks.interval("tol", tol, 0, np.inf, "()")
    b, offset = _base(mdp, alpha, base)
    v, iterations, best, stalled = np.zeros(mdp.n_states), 0, np.inf, 0
    while True:
        tv, pi, loss = _soft_maximum(mdp.r + mdp.gamma * mdp.expect(v), alpha, b, offset)
        iterations += 1
        slack = rounding(mdp, v, mdp.gamma) + loss
        low, high = series(mdp, tv - v, slack)
        floor = float(np.ptp(series(mdp, np.zeros(1), slack)))
        stalled = stalled + 1 if best <= high - low <= 100 * floor else 0
        # half a tolerance, since the bound on q adds the rounding of one more backup
        reached = high - low <= tol or high - low <= 2 * floor
        if reached or iterations >= limit or stalled > 50 or not np.isfinite(high - low):
            break
        best, v = min(best, high - low), step(v, tv, pi, (low + high) / 2)
    v = tv + (low + high) / 2
    error = (high - low) / 2 + EPS * float(abs(v).max() + abs(low) + abs(high))
    q = mdp.r + mdp.gamma * mdp.expect(v)
    error = max(error, contraction(mdp)[1] * error + rounding(mdp, v, mdp.gamma))
    pi = _soft_maximum(q, alpha, b, offset).pi
    solution = SoftSolution(v, np.where(mdp.actions, q, -np.inf), pi, error, iterations)
    if not error <= tol:
        raise NotConverged(f"tolerance {tol:g} asked, {error:.3g} certified after {iterations} iterations.", solution)
    return solution
