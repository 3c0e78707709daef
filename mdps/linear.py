r"""Linear MDPs: transitions and rewards linear in known features, over finitely many states so that all is exact.

.. math:: P_h(t|s,a) = \langle \phi(s,a), \mu_h(t) \rangle, \qquad r_h(s,a) = \langle \phi(s,a), \theta_h \rangle .

A policy enters through its expected features :math:`\phi_{\pi,h} = E_\pi \phi(s_h, a_h)` alone:
:math:`v^\pi = \sum_h \langle \phi_{\pi,h}, \theta_h \rangle`, and the law of the state after step `h` is
:math:`\mu_h^\top \phi_{\pi,h}`.

Sources: Jin, Yang, Wang & Jordan (2020), Provably efficient reinforcement learning with linear function approximation,
Assumption A; Wagenmaker & Jamieson (2022), Instance-dependent near-optimal policy identification in linear MDPs via
online experiment design (PEDEL).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import SUM_TOLERANCE, Array
from claimlab.mdps.staged import StagedMDP, staged_occupancy, staged_optimum
from claimlab.native import Native, kernel


@dataclass(frozen=True, eq=False)
class LinearMDP(Native):
    r"""A finite-horizon linear MDP.

    The norms are those of Jin et al. (2020): :math:`\|\phi(s,a)\| \le 1`, :math:`\|\theta_h\| \le \sqrt d`, and
    :math:`\|\,|\mu_h|(S)\,\| \le \sqrt d` for the vector of total variations of the d measures.

    Parameters
    ----------
    phi : float[S, A, d]
        Features, the same at every step.
    mu : float[H, d, S]
        ``mu[h, i]`` is a signed measure over the next state.
    theta : float[H, d]
        Rewards ``phi @ theta[h]`` must lie in [0, 1].
    initial : float[S], optional
        Law of the first state; state 0 by default.
    """

    phi: Array
    mu: Array
    theta: Array
    initial: Any = None
    staged: StagedMDP = field(init=False)  # the same MDP as tables

    def __post_init__(self) -> None:
        phi, theta = checks.array("phi", self.phi, ndim=3), checks.array("theta", self.theta, ndim=2)
        (S, _, d), H = phi.shape, len(theta)
        if 0 in (*phi.shape, H) or theta.shape[1] != d:
            raise ValueError(
                f"phi and theta must have shapes (S, A, d), (H, d) without zeros, got {phi.shape}, {theta.shape}."
            )
        mu = checks.shaped("mu", self.mu, (H, d, S), "(H, d, S)")
        _short("phi", phi, 1.0, "1")
        _short("theta", theta, sqrt(d), "sqrt(d)")
        _short("mu", abs(mu).sum(axis=2), sqrt(d), "sqrt(d)", " as total variations")
        P, r = np.einsum("sai,hit->hsat", phi, mu), np.einsum("sai,hi->hsa", phi, theta)
        _within("phi @ mu", P, "transitions")
        _within("phi @ theta", r, "rewards")
        staged = StagedMDP(np.clip(P, 0.0, 1.0), np.clip(r, 0.0, 1.0), self.initial)
        self._settle(phi=phi, mu=mu, theta=theta, initial=staged.initial, staged=staged)

    @property
    def horizon(self) -> int:
        return int(self.theta.shape[0])

    @property
    def n_states(self) -> int:
        return int(self.phi.shape[0])

    @property
    def n_actions(self) -> int:
        return int(self.phi.shape[1])

    @property
    def dim(self) -> int:
        return int(self.phi.shape[2])


def _short(name: str, x: Array, bound: float, formula: str, what: str = "") -> None:
    """Refuse `x` if a row is longer than `bound`; the tolerance is that of rounding in the norm."""
    length = np.linalg.norm(x, axis=-1)
    bad = np.argwhere(length > bound * (1 + 1e-9))
    if len(bad):
        raise ValueError(
            f"{name}{bad[0].tolist()} has norm {length[tuple(bad[0])]:.6g}{what}; it may be at most {formula}"
            f"{f' = {bound:.6g}' if formula != '1' else ''}. Rescaling phi and, inversely, mu and theta may help."
        )


def _within(name: str, x: Array, what: str) -> None:
    bad = np.argwhere((x < -SUM_TOLERANCE) | (x > 1 + SUM_TOLERANCE))
    if len(bad):
        raise ValueError(f"({name}){bad[0].tolist()} is {x[tuple(bad[0])]:.6g}; {what} must lie in [0, 1].")


def optimal_weights(mdp: LinearMDP) -> Array:
    r"""Weights of the optimal action values, :math:`w_h = \theta_h + \mu_h v^*_{h+1}`, float[H, d]."""
    v = staged_optimum(mdp.staged).v
    return np.asarray(mdp.theta + np.einsum("hit,ht->hi", mdp.mu, v[1:]))


# Expected features ---------------------------------------------------------------------------------------------------


@kernel
def expect_features(phi: Array, mu: Array, initial: Array, policies: Array, out: Array) -> None:
    """Fill `out`, float[N, H, d], with the expected features of `policies`, float[N, H, S, A].

    `mu` may be an estimate, whose measures need not be positive.
    """
    N, H, S, A = policies.shape
    d, law = phi.shape[2], np.zeros(S)
    for n in range(N):
        law[:] = initial
        for h in range(H):
            for i in range(d):
                out[n, h, i] = 0.0
            for s in range(S):
                for a in range(A):
                    p = law[s] * policies[n, h, s, a]
                    if p != 0:
                        for i in range(d):
                            out[n, h, i] += p * phi[s, a, i]
            for t in range(S):
                law[t] = 0.0
            for i in range(d):
                for t in range(S):
                    law[t] += out[n, h, i] * mu[h, i, t]


def feature_expectations(mdp: LinearMDP, policies: ArrayLike) -> Array:
    r""":math:`\phi_{\pi,h}`, float[H, d], of a policy float[H, S, A]; float[N, H, d] of `N` stacked policies.

    >>> from claimlab.mdps import simplex_linear_mdp
    >>> mdp = simplex_linear_mdp(3, 4, 2, 2, np.random.default_rng(0))
    >>> feature_expectations(mdp, np.full((2, 4, 2), 0.5)).sum(axis=1).round(12)  # features on the simplex
    array([1., 1.])
    """
    given = np.asarray(policies)
    checked = checks.distributions("policies", given[None] if given.ndim == 3 else given, ndim=4)
    if checked.shape[1:] != mdp.staged.r.shape:
        raise ValueError(f"policies must have shape (N, H, S, A) with {mdp.staged.r.shape}, got {given.shape}.")
    out = np.empty((len(checked), mdp.horizon, mdp.dim))
    expect_features(mdp.phi, mdp.mu, mdp.initial, checked, out)
    return out[0] if given.ndim == 3 else out


def policy_covariance(mdp: LinearMDP, policy: ArrayLike) -> Array:
    r""":math:`\Lambda_{\pi,h} = E_\pi \phi(s_h,a_h)\phi(s_h,a_h)^\top`, float[H, d, d]."""
    return np.einsum("hsa,sai,saj->hij", staged_occupancy(mdp.staged, policy), mdp.phi, mdp.phi)


# Policy classes ------------------------------------------------------------------------------------------------------


class Policies(NamedTuple):
    """Finitely many policies, no two with the same expected features at every step."""

    policies: Array  # [N, H, S, A]
    features: Array  # [N, H, d]


DISTINCT = 10  # decimals to which features are compared


def deterministic_policies(mdp: LinearMDP, limit: int = 100_000) -> Policies:
    """Every deterministic policy, up to those that agree in all expected features.

    Built step by step: prefixes with equal features lead to equal laws of the next state, so only one is continued.
    A step that would hold more than `limit` prefixes and choices raises.

    >>> one = LinearMDP(phi=[[[1, 0], [0, 1], [0, 1]]], mu=[[[1], [1]]], theta=[[0, 1]])
    >>> len(deterministic_policies(one).policies)
    2
    """
    H, S, A = mdp.staged.r.shape
    checks.integer("limit", limit, 1)
    if limit < A**S:
        raise ValueError(f"there are {A}^{S} deterministic decision rules at each step, more than limit = {limit}.")
    rules = np.array(list(product(range(A), repeat=S)))
    chosen = mdp.phi[np.arange(S), rules]  # [R, S, d]
    law, taken, features = mdp.initial[None], np.zeros((1, 0, S), int), np.zeros((1, 0, mdp.dim))
    for h in range(H):
        if len(law) * len(rules) > limit:
            raise ValueError(f"step {h} has {len(law)} prefixes with {len(rules)} choices, more than limit = {limit}.")
        ahead = np.einsum("ns,rsi->nri", law, chosen).reshape(-1, mdp.dim)
        key = np.column_stack([np.repeat(np.arange(len(law)), len(rules)), np.round(ahead, DISTINCT) + 0.0])
        kept = np.sort(np.unique(key, axis=0, return_index=True)[1])
        before, rule = np.divmod(kept, len(rules))
        taken = np.concatenate([taken[before], rules[rule][:, None]], axis=1)
        features = np.concatenate([features[before], ahead[kept][:, None]], axis=1)
        law = np.maximum(ahead[kept] @ mdp.mu[h], 0.0)
    return Policies(np.eye(A)[taken], features)


def softmax_policies(mdp: LinearMDP, weights: ArrayLike) -> Policies:
    r"""The policies :math:`\pi_h(a|s) \propto e^{\langle\phi(s,a), w_h\rangle}` of `weights`, float[N, H, d].

    With :math:`w = \eta w^*`, the weights of the optimal action values, the value is within :math:`H\log(A)/\eta` of
    the optimum: a step loses :math:`\max_a q - \sum_a \pi(a) q \le \log(A)/\eta` (maximum-entropy duality).
    """
    w = checks.array("weights", weights, ndim=3)
    if w.shape[1:] != mdp.theta.shape:
        raise ValueError(f"weights must have shape (N, H, d) with {mdp.theta.shape}, got {w.shape}.")
    logits = np.einsum("sai,nhi->nhsa", mdp.phi, w)
    pi = np.exp(logits - logits.max(axis=3, keepdims=True))
    pi /= pi.sum(axis=3, keepdims=True)
    features = feature_expectations(mdp, pi)
    kept = np.sort(np.unique(np.round(features.reshape(len(w), -1), DISTINCT) + 0.0, axis=0, return_index=True)[1])
    return Policies(pi[kept], features[kept])


def softmax_cover(mdp: LinearMDP, size: int, rng: Generator, *, scale: float = 20.0) -> Policies:
    """`size` linear-softmax policies with Gaussian weights of standard deviation `scale`."""
    size, scale = checks.integer("size", size, 1), checks.interval("scale", scale, 0, np.inf, "[)")
    return softmax_policies(mdp, scale * rng.normal(size=(size, *mdp.theta.shape)))
