r"""Learning from logs with linear functions: LSTD, fitted Q, plain and pessimistic least-squares value iteration.

The first part works on rows of features, for discounted problems and any log: row i holds :math:`\phi(s_i,a_i)`, the
reward, and the features of what comes next.  The second works on counts of transitions of a linear MDP with horizon H.

Sources: Bradtke & Barto (1996), Linear least-squares algorithms for temporal difference learning; Ernst, Geurts &
Wehenkel (2005), Tree-based batch mode reinforcement learning (fitted Q iteration); Le, Voloshin & Yue (2019), Batch
policy learning under constraints (fitted Q evaluation); Jin, Yang & Wang (2021), Is pessimism provably efficient for
offline RL? (PEVI).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array
from claimlab.factor import cholesky, solve_factored
from claimlab.mdps.beliefs import transition_counts
from claimlab.mdps.linear import LinearMDP, Policies, expect_features
from claimlab.mdps.lsvi import LeastSquares, greedy, new_least_squares, plan_least_squares, set_widths
from claimlab.mdps.tabular import EPS
from claimlab.native import kernel

# Rows of features ----------------------------------------------------------------------------------------------------


def lstd(
    features: ArrayLike, next_features: ArrayLike, rewards: ArrayLike, gamma: float, *, ridge: float = 0.0
) -> Array:
    r"""Least-squares temporal differences: w with :math:`\sum_i \phi_i(\phi_i - \gamma\phi'_i)^\top w + \lambda w =
    \sum_i \phi_i r_i`, float[d].

    Parameters
    ----------
    features, next_features : float[n, d]
        For action values of a policy, the mean feature of its actions in the next state; zero after the last.
    rewards : float[n]
    gamma : float
        In [0, 1].
    ridge : float
        lambda.

    Raises
    ------
    ValueError
        Where the matrix is singular to working precision: the fixed point does not exist or is not unique.

    Examples
    --------
    >>> lstd([[1.0], [1.0]], [[1.0], [0.0]], [1.0, 1.0], 0.5)  # w = 2 / (2 - 0.5)
    array([1.33333333])
    """
    phi, after, r, gamma = _rows(features, next_features, rewards, gamma)
    return solve_least_squares(*_summed(phi, phi - gamma * after, r, _ridge(ridge)))


def _summed(phi: Array, other: Array, r: Array, ridge: float) -> tuple[Array, Array]:
    r""":math:`\sum_i \phi_i x_i^\top + \lambda I`, x the rows of `other`, and :math:`\sum_i \phi_i r_i`."""
    matrix, right = ridge * np.eye(phi.shape[1]), np.zeros(phi.shape[1])
    _add_rows(phi, other, r, matrix, right)
    return matrix, right


@kernel
def _add_rows(phi: Array, other: Array, r: Array, matrix: Array, right: Array) -> None:
    """An update of rank one for each row."""
    n, d = phi.shape
    for row in range(n):
        for i in range(d):
            right[i] += phi[row, i] * r[row]
            for j in range(d):
                matrix[i, j] += phi[row, i] * other[row, j]


@kernel
def _recursive_lstd(phi: Array, after: Array, r: Array, gamma: float, ridge: float, path: Array) -> None:
    n, d = phi.shape
    inverse, left, right = np.eye(d) / ridge, np.zeros(d), np.zeros(d)
    for row in range(n):
        growth, surprise = 1.0, r[row]
        w = path[row]
        for i in range(d):
            left[i], right[i] = 0.0, 0.0
            for j in range(d):
                left[i] += inverse[i, j] * phi[row, j]
                right[i] += (phi[row, j] - gamma * after[row, j]) * inverse[j, i]
            surprise -= (phi[row, i] - gamma * after[row, i]) * w[i]
        for i in range(d):
            growth += right[i] * phi[row, i]
        for i in range(d):
            path[row + 1, i] = w[i] + left[i] * surprise / growth
            for j in range(d):
                inverse[i, j] -= left[i] * right[j] / growth


def recursive_lstd(
    features: ArrayLike, next_features: ArrayLike, rewards: ArrayLike, gamma: float, *, ridge: float
) -> Array:
    """The weights of :func:`lstd` after each row, float[n + 1, d], by updates of rank one; `ridge` is positive.

    Source: Bradtke & Barto (1996), Section 5.4 (RLS TD).
    """
    phi, after, r, gamma = _rows(features, next_features, rewards, gamma)
    path = np.zeros((len(r) + 1, phi.shape[1]))
    _recursive_lstd(phi, after, r, gamma, checks.interval("ridge", ridge, 0, np.inf, "()"), path)
    if not np.isfinite(path).all():
        raise ValueError("the matrix became singular after a row: there is no fixed point; a larger ridge may help.")
    return path


def fitted_q_evaluation(
    features: ArrayLike, next_features: ArrayLike, rewards: ArrayLike, gamma: float, *, iterations: int,
    ridge: float = 0.0,
) -> Array:  # fmt: skip
    r"""The weights of fitted Q evaluation from zero on, float[iterations + 1, d].

    Each is the regression of :math:`r + \gamma\langle\phi', w\rangle` on :math:`\phi`.  They converge, to
    :func:`lstd`'s, exactly if the spectral radius of :math:`\gamma(\Phi^\top\Phi+\lambda I)^{-1}\Phi^\top\Phi'` is
    below 1: realisability and coverage do not ensure it.
    """
    phi, after, r, gamma = _rows(features, next_features, rewards, gamma)
    return _fit(phi, after[:, None, :], r, gamma, _ridge(ridge), iterations)


def fitted_q_iteration(
    features: ArrayLike, next_features: ArrayLike, rewards: ArrayLike, gamma: float, *, iterations: int,
    ridge: float = 0.0,
) -> Array:  # fmt: skip
    r"""The weights of fitted Q iteration from zero on, float[iterations + 1, d].

    `next_features`, float[n, A, d], are those of each action in the next state; targets are
    :math:`r + \gamma\max_a\langle\phi'_a, w\rangle`.
    """
    after = checks.array("next_features", next_features, ndim=3)
    if 0 in after.shape:
        raise ValueError(f"next_features must have shape (n, A, d) without zeros, got {after.shape}.")
    phi, _, r, gamma = _rows(features, after[:, 0], rewards, gamma)
    return _fit(phi, after, r, gamma, _ridge(ridge), iterations)


def _fit(phi: Array, after: Array, r: Array, gamma: float, ridge: float, iterations: int) -> Array:
    """Fitted Q for any number of next actions; evaluation has one."""
    path = np.zeros((checks.integer("iterations", iterations, 1) + 1, phi.shape[1]))
    gram, right = _summed(phi, phi, r, ridge)
    solve_least_squares(gram, right)  # refuses features that do not span
    factor = np.zeros(gram.shape)
    cholesky(gram, factor)
    _iterate(phi, after, r, gamma, factor, path)
    return path


@kernel
def _iterate(phi: Array, after: Array, r: Array, gamma: float, factor: Array, path: Array) -> None:
    (n, A, d), right = after.shape, np.zeros(phi.shape[1])
    for k in range(path.shape[0] - 1):
        for i in range(d):
            right[i] = 0.0
        for row in range(n):
            best = -np.inf
            for a in range(A):
                q = 0.0
                for i in range(d):
                    q += after[row, a, i] * path[k, i]
                best = max(best, q)
            for i in range(d):
                right[i] += phi[row, i] * (r[row] + gamma * best)
        solve_factored(factor, right, path[k + 1])


def _rows(
    features: ArrayLike, next_features: ArrayLike, rewards: ArrayLike, gamma: float
) -> tuple[Array, Array, Array, float]:
    phi = checks.array("features", features, ndim=2)
    if 0 in phi.shape:
        raise ValueError(f"features must have shape (n, d) without zeros, got {phi.shape}.")
    after = checks.shaped("next_features", next_features, phi.shape, "(n, d)")
    r = checks.shaped("rewards", rewards, phi.shape[:1], "(n,)")
    return phi, after, r, checks.interval("gamma", gamma, 0, 1)


def _ridge(ridge: float) -> float:
    return checks.interval("ridge", ridge, 0, np.inf, "[)")


def solve_least_squares(matrix: Array, right: Array) -> Array:
    """Solution of a linear system, float[d, d] and float[d], that is refused where singular to working precision."""
    smallest, largest = np.linalg.svd(matrix, compute_uv=False)[[-1, 0]]
    if smallest <= 16 * len(right) * EPS * largest:
        raise ValueError(
            f"the least-squares matrix is singular (singular values {largest:.3g} to {smallest:.3g}): "
            "features do not span, or there is no fixed point; a ridge > 0 may help."
        )
    try:
        return np.asarray(np.linalg.solve(matrix, right), np.float64)
    except np.linalg.LinAlgError as error:
        raise ValueError(f"the least-squares matrix is singular: {error}") from None


# Counts of transitions of a linear MDP -------------------------------------------------------------------------------


class PEVI(NamedTuple):
    """A policy learned from a log, with what it is certified to be worth on the event of the widths."""

    policy: Array  # [H, S, A], deterministic
    lower: Array  # [H + 1, S], below the policy's values
    value: float  # the same for the law of the first state
    bonus: Array  # [H, S, A], beta ||phi||
    state: LeastSquares


def pevi(
    mdp: LinearMDP, data: ArrayLike, *, delta: float = 0.1, scale: float = 1.0, ridge: float = 1.0, beta: Any = None
) -> PEVI:
    r"""Pessimistic value iteration; `scale` 0 is LSVI on the log.

    **Theorem** (Jin, Yang & Wang 2021, Theorem 4.2, for linear MDPs Theorem 4.4).  On the event of the widths,

    .. math:: \underline v \le v^{\hat\pi}, \qquad
              v^* - v^{\hat\pi} \le 2\,E_{\pi^*} \sum_h \beta_h \|\phi(s_h,a_h)\|_{\Lambda_h^{-1}} .

    Parameters
    ----------
    mdp : LinearMDP
        Its features, rewards and first state are read, its transitions are not.
    data : int[H, S, A, S]
        How often each transition was seen (:func:`~claimlab.mdps.staged.transition_data`).
    delta, scale, ridge : float
        Of the widths in :mod:`claimlab.mdps.lsvi`.
    beta : float[H], optional
        Widths to use instead.
    """
    state = least_squares(mdp, data, ridge)
    if beta is None:
        delta = checks.interval("delta", delta, 0, 1, "()")
        set_widths(state, ridge, delta, checks.interval("scale", scale, 0, np.inf, "[)"))
    else:
        state.beta[:] = _widths(mdp, beta)
    plan_least_squares(state, mdp.phi, -1.0)
    policy = np.zeros(state.q.shape)
    greedy(state, policy)
    bonus = state.beta[:, None, None] * np.sqrt(state.square)
    return PEVI(policy, state.v, float(mdp.initial @ state.v[0]), bonus, state)


def least_squares(mdp: LinearMDP, data: ArrayLike, ridge: float = 1.0) -> LeastSquares:
    """The statistics of a log, int[H, S, A, S], without a plan."""
    counts = transition_counts(data)
    if counts.shape != mdp.staged.P.shape:
        raise ValueError(f"data must have shape (H, S, A, S) = {mdp.staged.P.shape}, got {counts.shape}.")
    ridge = checks.interval("ridge", ridge, 0, np.inf, "()")
    return new_least_squares(mdp.phi, mdp.staged.r, mdp.initial, ridge, counts)


class Estimates(NamedTuple):
    """What a log says about `N` policies."""

    value: Array  # [N], fitted Q evaluation
    features: Array  # [N, H, d], estimated expected features
    norms: Array  # [N, H], of them in Lambda^-1


def evaluate_offline(mdp: LinearMDP, policies: Policies, data: ArrayLike, *, ridge: float = 1.0) -> Estimates:
    r"""Fitted Q evaluation of many policies at once, through their estimated features.

    With :math:`\hat\mu_h = \Lambda_h^{-1}\sum\phi_\tau 1\{s'_\tau = \cdot\}` and :math:`\hat\theta_h` likewise, the
    features follow :math:`\hat\phi_{\pi,h+1} = \sum_t \langle\hat\phi_{\pi,h}, \hat\mu_h(t)\rangle\,\phi_\pi(t)` (the
    recursion of PEDEL) and :math:`\hat v^\pi = \sum_h\langle\hat\phi_{\pi,h}, \hat\theta_h\rangle`.

    **Theorem (ours).** On the event of the widths, for all policies at once,
    :math:`|\hat v^\pi - v^\pi| \le \sum_h \beta_h \|\hat\phi_{\pi,h}\|_{\Lambda_h^{-1}}`.
    *Proof.* :math:`\hat v^\pi - v^\pi = \sum_h \langle\hat\phi_{\pi,h},
    \hat\theta_h + \hat\mu_h v^\pi_{h+1} - w^\pi_h\rangle`, as :math:`\langle\hat\phi_{\pi,h}, \hat\mu_h
    v^\pi_{h+1}\rangle = \langle\hat\phi_{\pi,h+1}, w^\pi_{h+1}\rangle` makes the sum telescope; the event is about
    every :math:`v^\pi_{h+1} \in [0, H-h-1]^S`.
    """
    state = least_squares(mdp, data, ridge)
    features = np.empty(policies.features.shape)
    theta, mu = np.einsum("hij,hj->hi", state.inverse, state.earned), state.inverse @ state.followed
    expect_features(mdp.phi, mu, mdp.initial, policies.policies, features)
    squares = np.einsum("nhi,hij,nhj->nh", features, state.inverse, features)
    return Estimates(np.einsum("nhi,hi->n", features, theta), features, np.sqrt(np.maximum(squares, 0.0)))


class PessimisticChoice(NamedTuple):
    """The policy of a class with the largest lower bound."""

    best: int  # its place
    lower: float  # below its value on the event of the widths
    penalty: Array  # [N], sum of beta_h ||phi_hat||, what value and estimate may differ by


def pessimistic_choice(
    mdp: LinearMDP, policies: Policies, data: ArrayLike, *, delta: float = 0.1, scale: float = 1.0, ridge: float = 1.0,
    beta: Any = None,
) -> PessimisticChoice:  # fmt: skip
    r"""Pessimism over whole policies: the largest :math:`\hat v^\pi - \sum_h\beta_h\|\hat\phi_{\pi,h}\|`.

    On the event of the widths it loses at most :math:`2\sum_h\beta_h\|\hat\phi_{\pi,h}\|_{\Lambda_h^{-1}}` against
    every policy :math:`\pi` of the class, by the theorem of :func:`evaluate_offline`: the norm of a mean, where
    :func:`pevi` pays the mean of a norm.
    """
    found, state = evaluate_offline(mdp, policies, data, ridge=ridge), least_squares(mdp, data, ridge)
    if beta is None:
        delta = checks.interval("delta", delta, 0, 1, "()")
        set_widths(state, ridge, delta, checks.interval("scale", scale, 0, np.inf, "[)"))
    else:
        state.beta[:] = _widths(mdp, beta)
    penalty = found.norms @ state.beta
    best = int((found.value - penalty).argmax())
    return PessimisticChoice(best, float(found.value[best] - penalty[best]), penalty)


def _widths(mdp: LinearMDP, beta: ArrayLike) -> Array:
    widths = checks.shaped("beta", beta, (mdp.horizon,), "(H,)")
    if widths.min() < 0:
        raise ValueError(f"beta[{int(widths.argmin())}] is {widths.min():.6g}; widths cannot be negative.")
    return widths
