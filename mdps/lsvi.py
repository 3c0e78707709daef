r"""Least-squares value iteration in linear MDPs, plain, optimistic and pessimistic, by rank-one updates.

With :math:`\Lambda_h = \lambda I + \sum_\tau \phi_\tau \phi_\tau^\top` over what was seen at step `h`,

.. math:: \hat w_h = \Lambda_h^{-1} \sum_\tau \phi_\tau \bigl(r_\tau + \hat v_{h+1}(s'_\tau)\bigr), \qquad
          \hat q_h = \langle\phi, \hat w_h\rangle \pm \beta_h \|\phi\|_{\Lambda_h^{-1}} ,

clipped to [0, H-h].  States are finite, so sums over what followed are kept for each state.

**Theorem (widths, ours).** With probability at least :math:`1-\delta`, at all times, steps h and pairs, and for all
:math:`v \in [0, H-h-1]^S` at once, :math:`|\langle\phi, \hat w_h\rangle - r_h - P_h v| \le
\beta_h\|\phi\|_{\Lambda_h^{-1}}` where

.. math:: \beta_h = \sqrt{\lambda d}\,(H-h) + (H-h-1)
          \sqrt{\tfrac12\bigl(\tfrac12\log\tfrac{\det\Lambda_h}{\lambda^d} + (S-1)\log 2 + \log\tfrac H\delta\bigr)} .

*Proof.* With :math:`w = \theta_h + \mu_h v` and :math:`\varepsilon_\tau = v(s'_\tau) - P_h v(s_\tau,a_\tau)`,
:math:`\hat w_h - w = \Lambda_h^{-1}(\sum_\tau\phi_\tau\varepsilon_\tau - \lambda w)`, and
:math:`\|w\| \le \sqrt d(1 + H-h-1)`.  For one v the noise lies in an interval of length H-h-1, and the self-normalised
bound of Abbasi-Yadkori, Pal & Szepesvari (2011), Theorem 1, holds at all times.  The norm of the sum is convex in v,
hence largest at a vertex of the cube, and v and H-h-1-v have the same norm: a union over :math:`2^{S-1}` vertices and H
steps.  Jin et al. (2020) cover a class of value functions instead and get :math:`\beta = c\,dH\sqrt{\log(2dT/p)}` with
a constant c that is not printed; ours needs few states and is explicit.

Sources: Jin, Yang, Wang & Jordan (2020), Algorithm 1 (LSVI-UCB); Jin, Yang & Wang (2021), Algorithm 2 (PEVI).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.checks import Array
from claimlab.mdps.beliefs import transition_counts
from claimlab.mdps.episodes import Learner
from claimlab.native import kernel


class LeastSquares(NamedTuple):
    """What was seen, and the plan made of it."""

    inverse: Array  # [H, d, d], of Lambda
    square: Array  # [H, S, A], squared norm of each feature in Lambda^-1
    followed: Array  # [H, d, S], sums of the features that each state followed
    earned: Array  # [H, d], sums of features times rewards
    log_det: Array  # [H], log(det Lambda / ridge^d)
    hits: Array  # [H, S, A, S], transitions counted
    r: Array  # [H, S, A]
    initial: Array  # [S]
    beta: Array  # [H], widths of the last plan
    w: Array  # [H, d]
    q: Array  # [H, S, A]
    v: Array  # [H + 1, S]
    lowest: Array  # [1], least planned value of the first state so far
    solved: Array  # [d], scratch


@kernel
def new_least_squares(phi: Array, r: Array, initial: Array, ridge: float, data: Array) -> LeastSquares:
    """After the transitions counted in `data`, float[H, S, A, S], which is empty where there are none."""
    H, S, A = r.shape
    d = phi.shape[2]
    state = LeastSquares(
        np.zeros((H, d, d)), np.zeros((H, S, A)), np.zeros((H, d, S)), np.zeros((H, d)), np.zeros(H),
        np.zeros((H, S, A, S)), r, initial, np.zeros(H), np.zeros((H, d)), np.zeros((H, S, A)), np.zeros((H + 1, S)),
        np.full(1, inf), np.zeros(d),
    )  # fmt: skip
    for h in range(H):
        for i in range(d):
            state.inverse[h, i, i] = 1 / ridge
        for s in range(S):
            for a in range(A):
                for i in range(d):
                    state.square[h, s, a] += phi[s, a, i] ** 2 / ridge
        if data.size > 0:
            for s in range(S):
                for a in range(A):
                    add_transitions(state, phi, h, s, a, data[h, s, a])
    return state


@kernel
def add_transitions(state: LeastSquares, phi: Array, h: int, s: int, a: int, counts: Array) -> None:
    """Count `counts`, float[S], more transitions from (s, a): one update of rank one (Sherman & Morrison 1950)."""
    S, A, d = phi.shape
    n = 0.0
    for t in range(S):
        n += counts[t]
    if n == 0:
        return
    x, inverse, solved, growth = phi[s, a], state.inverse[h], state.solved, 1.0
    for i in range(d):
        total = 0.0
        for j in range(d):
            total += inverse[i, j] * x[j]
        solved[i] = total
        growth += n * total * x[i]
    for i in range(d):
        for j in range(d):
            inverse[i, j] -= n / growth * (solved[i] * solved[j])
        state.earned[h, i] += n * state.r[h, s, a] * x[i]
        for t in range(S):
            state.followed[h, i, t] += counts[t] * x[i]
    for other in range(S):
        for b in range(A):
            along = 0.0
            for i in range(d):
                along += solved[i] * phi[other, b, i]
            state.square[h, other, b] = max(state.square[h, other, b] - n / growth * along * along, 0.0)
    for t in range(S):
        state.hits[h, s, a, t] += counts[t]
    state.log_det[h] += log(growth)


@kernel
def set_widths(state: LeastSquares, ridge: float, delta: float, scale: float) -> None:
    """The widths of the theorem, times `scale`."""
    H, d = state.w.shape
    S = state.initial.size
    for h in range(H):
        noise = 0.5 * (0.5 * state.log_det[h] + (S - 1) * log(2.0) + log(H / delta))
        state.beta[h] = scale * (sqrt(ridge * d) * (H - h) + (H - h - 1) * sqrt(noise))


@kernel
def plan_least_squares(state: LeastSquares, phi: Array, sign: float) -> None:
    """Fill w, q and v by backward induction with the widths in `beta`, added or (`sign` -1) subtracted."""
    S, A, d = phi.shape
    H = state.w.shape[0]
    for h in range(H - 1, -1, -1):
        for i in range(d):
            total = state.earned[h, i]
            for t in range(S):
                total += state.followed[h, i, t] * state.v[h + 1, t]
            state.solved[i] = total
        for i in range(d):
            total = 0.0
            for j in range(d):
                total += state.inverse[h, i, j] * state.solved[j]
            state.w[h, i] = total
        for s in range(S):
            best = -inf
            for a in range(A):
                q = sign * state.beta[h] * sqrt(state.square[h, s, a])
                for i in range(d):
                    q += phi[s, a, i] * state.w[h, i]
                q = max(min(q, 1.0 * (H - h)), 0.0)
                state.q[h, s, a] = q
                best = max(best, q)
            state.v[h, s] = best


@kernel
def greedy(state: LeastSquares, policy: Array) -> None:
    """Write the policy that is greedy for q, first action first, to `policy`, float[H, S, A]."""
    H, S, A = policy.shape
    for h in range(H):
        for s in range(S):
            chosen = 0
            for a in range(A):
                policy[h, s, a] = 0.0
                if state.q[h, s, a] > state.q[h, s, chosen]:
                    chosen = a
            policy[h, s, chosen] = 1.0


@dataclass(frozen=True, eq=False)
class LSVIUCB(Learner):
    """LSVI-UCB: play the greedy policy of the optimistic plan (Jin et al. 2020, Algorithm 1).

    The paper clips at H; rewards lie in [0, 1], so H-h is above the optimum too.

    Parameters
    ----------
    phi : float[S, A, d]
        Features, no longer than 1.
    delta : float
        Of the widths.
    scale : float
        Multiplies the widths; 0 is plain LSVI without exploration.
    ridge : float
        lambda.
    data : int[H, S, A, S], optional
        Transitions known beforehand.

    Examples
    --------
    >>> from claimlab.mdps import informative_detour, play_episodes
    >>> mdp = informative_detour(3)
    >>> play_episodes(LSVIUCB(mdp.phi, scale=0.1), mdp.staged, episodes=2000, runs=1, seed=0).regret[0, -1] < 50
    np.True_
    """

    phi: Array
    delta: float = 0.1
    scale: float = 1.0
    ridge: float = 1.0
    data: Any = None

    def __post_init__(self) -> None:
        self._settle(
            phi=checks.array("phi", self.phi, ndim=3),
            delta=checks.interval("delta", self.delta, 0, 1, "()"),
            scale=checks.interval("scale", self.scale, 0, inf, "[)"),
            ridge=checks.interval("ridge", self.ridge, 0, inf, "()"),
            data=transition_counts(self.data),
        )

    def ready(self, r: Array, initial: Array, episodes: int) -> LeastSquares:
        if r.shape[1:] != self.phi.shape[:2]:
            raise ValueError("phi must have shape (S, A, d) for rewards of shape (H, S, A).")
        return new_least_squares(self.phi, r, initial, self.ridge, self.data)

    def plan(self, state: LeastSquares, k: int, rng: Generator, policy: Array) -> int:
        set_widths(state, self.ridge, self.delta, self.scale)
        plan_least_squares(state, self.phi, 1.0)
        greedy(state, policy)
        value = 0.0
        for s in range(state.initial.size):
            value += state.initial[s] * state.v[0, s]
        state.lowest[0] = min(state.lowest[0], value)
        return 0

    def watch(self, state: LeastSquares, h: int, s: int, a: int, t: int) -> None:
        counts = np.zeros(state.initial.size)
        counts[t] = 1.0
        add_transitions(state, self.phi, h, s, a, counts)
