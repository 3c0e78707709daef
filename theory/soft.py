r"""How smoothly the entropy-regularised policy depends on the reward, and what it tends to as the temperature falls."""

from __future__ import annotations

from itertools import product
from math import inf, log
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from claimlab import checks
from claimlab.checks import Array
from claimlab.mdps.planning import optimal_actions
from claimlab.mdps.regularized import soft_solve
from claimlab.mdps.tabular import EPS, TabularMDP


def soft_lipschitz(alpha: float, gamma: float) -> float:
    r"""Lipschitz constant of the soft policy, :math:`d_{TV}(\pi_{R,\alpha}(\cdot|s), \pi_{R',\alpha}(\cdot|s)) \le
    \frac{\|R-R'\|_\infty}{2\alpha(1-\gamma)}` (Xu 2025, arXiv 2507.20150, Proposition 4.7).  It cannot be improved."""
    alpha = checks.interval("alpha", alpha, 0, inf, "()")
    return 1 / (2 * alpha * (1 - checks.interval("gamma", gamma, 0, 1, "[)")))


def dobrushin(mdp: TabularMDP) -> float:
    r"""Ergodicity coefficient :math:`\tau = \max d_{TV}(P(\cdot|s,a), P(\cdot|s',a'))` over all pairs of available
    pairs."""
    rows = csr_array(mdp.P if mdp.is_sparse else mdp.P.reshape(-1, mdp.n_states))[np.flatnonzero(mdp.actions)]
    mass, tau = np.asarray(rows.sum(axis=1)), -np.inf
    for k in np.argsort(-mass):
        if tau >= mass[k]:
            break  # the rows left are no heavier, and two of them differ by half of both masses at most
        row = rows[[k]].toarray()[0]
        # what each row has in common with this one; TV is half of both masses less that
        common = np.add.reduceat(np.minimum(rows.data, row[rows.indices]), rows.indptr[:-1])
        tau = max(tau, float(((mass + mass[k]) / 2 - common).max()))
    return tau


def span_bound(mdp: TabularMDP, difference: ArrayLike, alpha: float) -> float:
    r"""Bound on the change of the soft policy by the *span* of the reward change and the mixing of the MDP.

    .. math:: d_{TV} \le \frac{\max D - \min D}{4\alpha(1-\gamma\tau)}

    Ours; it implies :func:`soft_lipschitz`, since the span is at most twice the norm and :math:`\tau \le 1`.  Proof:
    the soft backup contracts spans by :math:`\gamma\tau`, so the action values' change has span at most
    :math:`\mathrm{span}(D)/(1-\gamma\tau)`, and softmax at temperature :math:`\alpha` moves by at most a quarter of
    the span over :math:`\alpha` (its Jacobian has the norm :math:`4p(1-p)/4\alpha` at worst).
    """
    alpha = checks.interval("alpha", alpha, 0, inf, "()")
    D = checks.shaped("difference", difference, mdp.r.shape, "(S, A)")[mdp.actions]
    return float(np.ptp(D)) / (4 * alpha * (1 - mdp.gamma * dobrushin(mdp)))


def soft_policy_derivative(mdp: TabularMDP, alpha: float) -> Array:
    r"""Derivative of the soft policy in the reward, ``J[s, a, t, b]`` =
    :math:`\partial\pi_\alpha(a|s)/\partial R(t,b)`.

    .. math:: \mathrm{d}Q = (I - \gamma P\Pi_\alpha)^{-1}\mathrm{d}R, \qquad
              \mathrm{d}\pi(a|s) = \frac{\pi(a|s)}{\alpha}\Big(\mathrm{d}Q(s,a) - \sum_b \pi(b|s)\,\mathrm{d}Q(s,b)\Big)

    Ours (implicit differentiation of the soft Bellman equation).  Takes (S*A)^2 numbers: for small MDPs.
    """
    S, A = mdp.r.shape
    pi = soft_solve(mdp, alpha, _finest(mdp, alpha)).pi
    P = mdp.P.toarray() if mdp.is_sparse else mdp.P.reshape(S * A, S)
    onward = (P[:, :, None] * pi).reshape(S * A, S * A)
    dQ = np.linalg.inv(np.eye(S * A) - mdp.gamma * onward).reshape(S, A, S, A)
    dQ = np.where(mdp.actions & ~mdp.terminal[:, None], dQ, 0.0)  # nothing can be paid elsewhere
    mean = np.einsum("sb,sbtc->stc", pi, dQ)
    return pi[:, :, None, None] / alpha * (dQ - mean[:, None])


def _finest(mdp: TabularMDP, alpha: float) -> float:
    """A tolerance near the floor of float64 for soft values, which hold up to log A units of `alpha` a step."""
    alpha = checks.interval("alpha", alpha, 0, inf, "()")
    size = float(abs(mdp.r).max()) + alpha * (1 + log(mdp.n_actions))
    return 100 * (mdp.row_length + mdp.n_actions + 32) * EPS * size / (1 - mdp.gamma) ** 2


class SoftSensitivity(NamedTuple):
    """How fast the soft policy can move with the reward, in total variation for each unit of supremum norm."""

    uniform: float  # the bound that depends on alpha and gamma alone
    mixing: float  # 1 / (2 alpha (1 - gamma tau)), from the span bound
    local: Array  # [S], exact: the derivative's norm at this reward
    direction: Array  # [S, A], a reward change of norm one that attains the largest `local`


def soft_policy_sensitivity(mdp: TabularMDP, alpha: float) -> SoftSensitivity:
    r"""Global bounds and exact local constants :math:`\frac12\max_{\sigma\in\{\pm1\}^A}\|\sigma^\top J_s\|_1`.

    The maximum over signs is taken by enumeration, so at most 15 actions.
    """
    A = mdp.n_actions
    if A > 15:
        raise ValueError(f"the local constants enumerate 2^A signs; mdp has A = {A}, more than 15.")
    J = soft_policy_derivative(mdp, alpha)
    signs = np.array(list(product((1.0, -1.0), repeat=A)))
    pulled = np.einsum("ka,satb->sktb", signs, J)
    norms = abs(pulled).sum(axis=(2, 3)) / 2
    local = norms.max(axis=1)
    s = int(local.argmax())
    tau = dobrushin(mdp)
    return SoftSensitivity(
        soft_lipschitz(alpha, mdp.gamma),
        1 / (2 * alpha * (1 - mdp.gamma * tau)),
        local,
        np.sign(pulled[s, norms[s].argmax()]),
    )


def soft_limit(mdp: TabularMDP, base: ArrayLike | None = None, *, optimal: ArrayLike | None = None) -> Array:
    r"""The limit of the soft policy as the temperature falls to zero, float[S, A].

    .. math:: \pi_0(a|s) \propto \mathbf 1[a\in A^*(s)]\, b(a|s)\, e^{\gamma \mathbb E[H(s')|s,a]}, \qquad
              H(s) = \log\sum_{a\in A^*(s)} b(a|s)\, e^{\gamma\mathbb E[H(s')|s,a]}

    with `b` the base policy (1 for plain entropy).  It is the optimal policy of least discounted divergence to the
    base, not the uniform one over :math:`A^*(s)`.  Ours: soft control at temperature one with zero reward on the
    optimal actions.

    Parameters
    ----------
    base : float[S, A], optional
        The policy of a KL penalty.
    optimal : bool[S, A], optional
        The optimal actions; by default those whose gap is not proved positive.
    """
    best = optimal_actions(mdp) if optimal is None else checks.booleans("optimal", optimal, mdp.r.shape, "(S, A)")
    ties = TabularMDP(mdp.P, np.zeros(mdp.r.shape), mdp.gamma, actions=best & mdp.actions, terminal=mdp.terminal)
    if base is None:
        return soft_solve(ties, 1.0, _finest(ties, 1.0)).pi
    b = mdp.policy(checks.array("base", base, ndim=2), "base")
    mass = np.where(ties.actions, b, 0.0).sum(axis=1)
    if mass.min() <= 0:
        raise ValueError(f"base[{int(mass.argmin())}] gives no probability to an optimal action.")
    # soft_solve wants a policy: the rows' mass on optimal actions goes into the reward as log(mass)
    restricted = np.where(ties.actions, b, 0.0) / mass[:, None]
    paid = ties.with_reward(np.where(mdp.terminal, 0.0, np.log(mass))[:, None] * np.ones(mdp.r.shape))
    return soft_solve(paid, 1.0, _finest(paid, 1.0), base=restricted).pi
