r"""Submodular rewards: decision processes paid by a set function of all visited states, solved by enumeration.

A path :math:`s_0,\dots,s_H` is paid :math:`F(\{(0,s_0),\dots,(H,s_H)\})`, where F is a weighted coverage function:
``cover[h, s, u]`` says whether being in s at time h covers the item u of weight ``w[u]``.  Transitions may depend on
time, ``P[H, S, A, S]``; policies are ``policy[H, S, A]``.  All arrays below that run over paths have the length
:math:`S^{H+1}`, in the order of :func:`paths`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from claimlab import checks
from claimlab.checks import Array, Bools, Ints

MANY = 1_000_000  # paths at most: all of them are gone through


@dataclass(frozen=True)
class SubmodularMDP:
    """A process that is paid for what its path covers.

    Parameters
    ----------
    P : float[H, S, A, S]
        ``P[h, s, a, t]`` is the probability of moving from `s` to `t` under `a` at step `h`.
    cover : float[H + 1, S, U]
        One where being in `s` at time `h` covers the item `u`, else zero.
    w : float[U]
        Weights of the items, none negative.
    rho : float[S]
        Law of the first state.

    Examples
    --------
    Two steps to two places; the second time in the first place brings nothing.

    >>> P = np.tile(np.eye(2), (2, 2, 1, 1))  # each action leads to the place of its name
    >>> cover = np.concatenate([np.zeros((1, 2, 2)), np.tile(np.eye(2), (2, 1, 1))])
    >>> mdp = SubmodularMDP(P, cover, w=[1.0, 0.5], rho=[1.0, 0.0])
    >>> mdp.best, mdp.curvature
    (1.5, 1.0)
    >>> float(mdp.reward(np.full((2, 2, 2), 0.5)))  # 3/4 of the first item and 3/4 of the second
    1.125
    """

    P: Any
    cover: Any
    w: Any
    rho: Any

    def __post_init__(self) -> None:
        P, rho = checks.distributions("P", self.P, ndim=4), checks.distributions("rho", self.rho, ndim=1)
        H, S, A, _ = P.shape
        if 0 in (H, S, A) or P.shape[3] != S:
            raise ValueError(f"P must have shape (H, S, A, S), none of them 0; got {P.shape}.")
        if S ** (H + 1) > MANY:
            raise ValueError(f"P has {S} states and {H} steps: {S ** (H + 1)} paths; at most {MANY} are gone through.")
        if rho.shape != (S,):
            raise ValueError(f"rho must have shape (S,) = ({S},), got {rho.shape}.")
        w = checks.array("w", self.w, ndim=1)
        if len(bad := np.flatnonzero(w < 0)):
            raise ValueError(f"w[{bad[0]}] is {w[bad[0]]:.6g}; weights cannot be negative.")
        cover = checks.shaped("cover", self.cover, (H + 1, S, w.size), "(H + 1, S, U)")
        if len(odd := np.argwhere((cover != 0) & (cover != 1))):
            raise ValueError(f"cover{odd[0].tolist()} is {cover[tuple(odd[0])]:.6g}; entries must be 0 or 1.")
        for name, value in (("P", P), ("cover", cover), ("w", w), ("rho", rho)):
            object.__setattr__(self, name, value)

    @cached_property
    def values(self) -> Array:
        """F of each prefix of each path, float[N, H + 1]."""
        return prefix_values(self.cover, self.w)

    @cached_property
    def curvature(self) -> float:
        """The curvature of F over all pairs of time and state."""
        return curvature(self.cover, self.w)

    @cached_property
    def best(self) -> float:
        """The largest expected reward of any policy, which may look at all that was visited."""
        return history_optimum(self.rho, self.P, self.values[:, -1])

    def reward(self, policy: Array) -> Array:
        """The expected reward of a policy of time and state, float[..., H, S, A]."""
        given = checks.distributions("policy", policy, ndim=np.ndim(policy))
        if given.shape[-3:] != self.P.shape[:3]:
            raise ValueError(f"policy must have shape (..., H, S, A) = (..., {self.P.shape[:3]}), got {given.shape}.")
        return objective(self.rho, self.P, given, self.values[:, -1])


def paths(n_states: int, horizon: int) -> Ints:
    """All sequences of states, int[S^(H+1), H+1]."""
    return np.indices((n_states,) * (horizon + 1)).reshape(horizon + 1, -1).T


def prefix_values(cover: Array, w: Array) -> Array:
    """The value F of each prefix of each path, float[N, H+1]; `cover` is [H+1, S, U], of zeros and ones."""
    H, S, _ = cover.shape
    at = paths(S, H - 1)
    return np.asarray(np.maximum.accumulate(cover[np.arange(H), at], axis=1) @ w)


def steps(P: Array, policy: Array) -> Array:
    """The probability of each step of each path, [..., N, H]; `policy` is [..., H, S, A], and may be complex."""
    H, S = P.shape[:2]
    at, h = paths(S, H), np.arange(H)
    M = np.einsum("...hsa,hsat->...hst", policy, P)
    return np.asarray(M[..., h, at[:, :-1], at[:, 1:]])


def objective(rho: Array, P: Array, policy: Array, paid: Array) -> Array:
    """The expected reward of a policy; `rho` float[S] is the law of the first state, `paid` float[N] that of a path."""
    first = rho[paths(len(rho), len(P))[:, 0]]
    return np.asarray((steps(P, policy).prod(axis=-1) * first) @ paid)


def entry_gradient(rho: Array, P: Array, policy: Array, weights: Array) -> Array:
    r"""The sum over paths of weights[N, H, A] of the action that was taken, per entry of the policy: [..., H, S, A].

    With the reward as weight these are the derivatives of :func:`objective` in the entries of `policy`.
    """
    H, S, A, _ = P.shape
    at, out = paths(S, H), np.empty(policy.shape)
    chance, first = steps(P, policy), rho[at[:, 0]]
    for h in range(H):
        others = np.delete(chance, h, axis=-1).prod(axis=-1) * first
        through = others[..., None] * (P[h, at[:, h], :, at[:, h + 1]] * weights[:, h])
        out[..., h, :, :] = through.reshape(*policy.shape[:-3], S**h, S, S ** (H - h), A).sum(axis=(-4, -2))
    return out


def score_gradient(rho: Array, P: Array, policy: Array, weights: Array) -> Array:
    r""":math:`E\sum_h\nabla\log\pi(a_h|s_h)\,w_h` in a softmax policy's logits, [H, S, A]; w may know the action."""
    g = entry_gradient(rho, P, policy, weights)
    return np.asarray(policy * (g - (policy * g).sum(axis=-1, keepdims=True)))


def future_gains(values: Array, n_actions: int) -> Array:
    """The sum of the marginal gains from each step on, as weights [N, H, A]."""
    return np.repeat((values[:, -1:] - values[:, :-1])[:, :, None], n_actions, axis=2)


def history_optimum(rho: Array, P: Array, paid: Array) -> float:
    """The largest expected reward of any policy, which may look at all that was visited."""
    H, S = P.shape[:2]
    v = paid.reshape((S,) * (H + 1))
    for h in range(H - 1, -1, -1):
        v = np.einsum("...st,sat->...sa", v, P[h]).max(axis=-1)
    return float(rho @ v)


def curvature(cover: Array, w: Array) -> float:
    r""":math:`1-\min_v F(v|V\setminus v)/F(v)` over the pairs v of time and state that have a value."""
    rows = cover.reshape(-1, cover.shape[-1])
    alone = rows @ w
    last = (rows * (rows.sum(axis=0) <= 1)) @ w
    return float(1 - (last[alone > 0] / alone[alone > 0]).min(initial=1.0))


def additive_policy(P: Array, r: Array) -> Array:
    """A best policy where each visit is paid r[H+1, S] whatever was visited before, [H, S, A] of zeros and ones."""
    v, out = r[-1], np.zeros(P.shape[:3])
    for h in range(len(P) - 1, -1, -1):
        q = P[h] @ v
        out[h] = np.eye(P.shape[2])[q.argmax(axis=1)]
        v = r[h] + q.max(axis=1)
    return out


def least_visits(rho: Array, P: Array) -> float:
    """The least probability, over policies and over the pairs of time and state with a choice, that a path passes."""
    S, least = len(rho), 1.0
    for h, s in np.argwhere((P[:, :, :1] != P).any(axis=(2, 3))):
        v = np.eye(S)[s]
        for k in range(h - 1, -1, -1):
            v = (P[k] @ v).min(axis=1)
        least = min(least, float(rho @ v))
    return least


def stationary(rho: Array, P: Array, policies: Array, paid: Array, slack: float) -> Bools:
    """Which policies [n, H, S, A] cannot gain more than `slack` in first order by moving at one time and state."""
    weights = np.broadcast_to(paid[:, None, None], (len(paid), len(P), P.shape[2]))
    g = entry_gradient(rho, P, policies, weights)
    return np.asarray((g.max(axis=-1) <= (policies * g).sum(axis=-1) + slack).all(axis=(-2, -1)))
