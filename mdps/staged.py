r"""Finite-horizon MDPs whose transitions and rewards change from step to step, as episodic learners meet them.

Step `h` runs over 0..H-1, rewards lie in [0, 1], and :math:`v_h = r_h + P_h v_{h+1}`, :math:`v_H = 0`.  A policy is
float[H, S, A].  The value of a policy is the mean of :math:`v_0` under the law of the first state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array, Ints
from claimlab.mdps.tabular import EPS, EpisodicMDP
from claimlab.native import Native, kernel


@dataclass(frozen=True, eq=False)
class StagedMDP(Native):
    """A finite-horizon MDP with transitions and rewards for each step; every action exists in every state.

    Parameters
    ----------
    P : float[H, S, A, S]
        ``P[h, s, a, t]`` is the probability of moving from `s` to `t` under `a` at step `h`.
    r : float[H, S, A]
        Rewards in [0, 1].
    initial : float[S], optional
        Law of the first state; state 0 by default.
    """

    P: Array
    r: Array
    initial: Any = None
    targets: Ints = field(init=False)  # [H, S, A, D], the successors of each row
    weights: Array = field(init=False)  # [H, S, A, D], their probabilities
    degree: Ints = field(init=False)  # [H, S, A], how many there are

    def __post_init__(self) -> None:
        P, r = checks.distributions("P", self.P, ndim=4), checks.array("r", self.r, ndim=3)
        if 0 in P.shape or P.shape != (*r.shape, r.shape[1]):
            raise ValueError(f"P must have shape (H, S, A, S) for r of shape (H, S, A); got P {P.shape}, r {r.shape}.")
        bad = np.argwhere((r < 0) | (r > 1))
        if len(bad):
            raise ValueError(f"r{bad[0].tolist()} is {r[tuple(bad[0])]:.6g}; rewards must lie in [0, 1].")
        start = np.eye(r.shape[1])[0] if self.initial is None else self.initial
        initial = checks.distributions("initial", start, ndim=1)
        if initial.shape != (r.shape[1],):
            raise ValueError(f"initial must have shape (S,) = ({r.shape[1]},), got {initial.shape}.")
        degree = np.count_nonzero(P, axis=3)
        targets = np.argsort(P == 0, axis=3, kind="stable")[..., : degree.max()].copy()
        weights = np.take_along_axis(P, targets, axis=3)
        for x in (degree, targets, weights):
            x.flags.writeable = False
        self._settle(P=P, r=r, initial=initial, targets=targets, weights=weights, degree=degree)

    @property
    def horizon(self) -> int:
        return int(self.r.shape[0])

    @property
    def n_states(self) -> int:
        return int(self.r.shape[1])

    @property
    def n_actions(self) -> int:
        return int(self.r.shape[2])

    @property
    def rounding(self) -> float:
        """Bound on the float64 error of the value of a policy, or of the optimum.

        A step adds S + A + 4 roundings of numbers of at most H, and carries the error of the next; rows that sum to
        1 only within the tolerance of the checks are taken as they are.
        """
        return 2 * self.horizon**2 * (self.n_states + self.n_actions + 4) * EPS

    def policy(self, pi: ArrayLike, name: str = "pi") -> Array:
        """`pi` checked: distributions over actions, float[H, S, A]."""
        out = checks.distributions(name, pi, ndim=3)
        if out.shape != self.r.shape:
            raise ValueError(f"{name} must have shape (H, S, A) = {self.r.shape}, got {out.shape}.")
        return out


class StagedOptimum(NamedTuple):
    """Optimal values and an optimal policy."""

    v: Array  # [H + 1, S]
    q: Array  # [H, S, A]
    policy: Array  # [H, S, A], the first of the greedy actions
    value: float  # of the law of the first state


def staged(mdp: EpisodicMDP) -> StagedMDP:
    """`mdp` as a staged one; a missing action becomes a copy of the first action of its state.

    >>> from claimlab.mdps import combination_lock
    >>> staged(combination_lock(2)).P.shape
    (2, 3, 2, 3)
    """
    S, A = mdp.r.shape
    P = (mdp.P.toarray() if mdp.is_sparse else mdp.P).reshape(S, A, S)
    first = mdp.actions.argmax(axis=1)
    chosen = np.where(mdp.actions, np.arange(A), first[:, None])
    rows = np.arange(S)[:, None]
    return StagedMDP(
        np.tile(P[rows, chosen], (mdp.horizon, 1, 1, 1)), np.tile(mdp.r[rows, chosen], (mdp.horizon, 1, 1)), mdp.initial
    )


def staged_optimum(mdp: StagedMDP) -> StagedOptimum:
    """Backward induction.

    >>> climb = StagedMDP(P=[[[[1, 0], [0, 1]], [[0, 1], [0, 1]]]] * 3, r=[[[0, 0], [1, 0]]] * 3)
    >>> staged_optimum(climb).value
    2.0
    """
    v, q = np.zeros((mdp.horizon + 1, mdp.n_states)), np.empty(mdp.r.shape)
    for h in reversed(range(mdp.horizon)):
        q[h] = mdp.r[h] + mdp.P[h] @ v[h + 1]
        v[h] = q[h].max(axis=1)
    return StagedOptimum(v, q, np.eye(mdp.n_actions)[q.argmax(axis=2)], float(mdp.initial @ v[0]))


def staged_value(mdp: StagedMDP, pi: ArrayLike) -> float:
    """Value of `pi`, float[H, S, A], off by at most ``mdp.rounding``."""
    v = np.zeros((mdp.horizon + 1, mdp.n_states))
    return evaluate(mdp, mdp.policy(pi), v)


def staged_occupancy(mdp: StagedMDP, pi: ArrayLike) -> Array:
    """Probability of being in `s` and taking `a` at step `h` under `pi`, float[H, S, A]; each step sums to 1."""
    policy, out, law = mdp.policy(pi), np.empty(mdp.r.shape), mdp.initial
    for h in range(mdp.horizon):
        out[h] = law[:, None] * policy[h]
        law = np.einsum("sa,sat->t", out[h], mdp.P[h])
    return out


@kernel
def evaluate(mdp: StagedMDP, policy: Array, v: Array) -> float:
    """Value of `policy`, float[H, S, A], exact but for rounding; fills `v`, float[H + 1, S], whose last row is zero."""
    return evaluate_again(mdp, policy, v, policy.shape[0])


@kernel
def evaluate_again(mdp: StagedMDP, policy: Array, v: Array, steps: int) -> float:
    """The same where `v` is right from step `steps` on, as the policy has changed only before."""
    _, S, A = policy.shape
    for h in range(steps - 1, -1, -1):
        for s in range(S):
            total = 0.0
            for a in range(A):
                if policy[h, s, a] > 0:
                    q = mdp.r[h, s, a]
                    for j in range(mdp.degree[h, s, a]):
                        q += mdp.weights[h, s, a, j] * v[h + 1, mdp.targets[h, s, a, j]]
                    total += policy[h, s, a] * q
            v[h, s] = total
    value = 0.0
    for s in range(S):
        value += mdp.initial[s] * v[0, s]
    return value


@kernel
def draw(laws: Array, start: int, size: int, rng: Generator) -> int:
    """An index with probabilities ``laws[start : start + size]``, float[any]; a sure one costs no random number.

    A slice would do, but makes counts of references in the innermost loop of the simulations.
    """
    last = size - 1
    while laws[start + last] == 0:
        last -= 1
    first = 0
    while laws[start + first] == 0:
        first += 1
    if first == last:
        return first
    u, i = rng.random(), first
    while i < last and u >= laws[start + i]:
        u -= laws[start + i]
        i += 1
    return i


def softened(mdp: StagedMDP, temperature: float) -> Array:
    r"""The Boltzmann policy on optimal action values, :math:`\pi_h(a|s) \propto e^{q^*_h(s,a)/\tau}`, float[H, S, A].

    A baseline whose distance from the optimum is set by `temperature`.
    """
    tau = checks.interval("temperature", temperature, 0, np.inf, "()")
    q = staged_optimum(mdp).q
    weights = np.exp((q - q.max(axis=2, keepdims=True)) / tau)
    out: Array = weights / weights.sum(axis=2, keepdims=True)
    return out


def transition_data(mdp: StagedMDP, pi: ArrayLike, episodes: int, rng: Generator) -> Array:
    """How often each transition happens in `episodes` independent episodes of `pi`, float[H, S, A, S].

    The counts are drawn from their exact joint law, as multinomials step by step, so the cost does not depend on
    `episodes`.

    >>> coin = StagedMDP(P=[[[[0.5, 0.5]], [[0.5, 0.5]]]], r=[[[0.0], [0.0]]])
    >>> transition_data(coin, [[[1.0], [1.0]]], 100, np.random.default_rng(0)).sum()
    np.float64(100.0)
    """
    policy, counts = mdp.policy(pi), np.zeros(mdp.P.shape)
    crowd = rng.multinomial(checks.integer("episodes", episodes, 0), _unit(mdp.initial))
    for h in range(mdp.horizon):
        acting = rng.multinomial(crowd, _unit(policy[h]))
        counts[h] = rng.multinomial(acting, _unit(mdp.P[h]))
        crowd = counts[h].sum(axis=(0, 1)).astype(np.int64)
    return counts


def _unit(law: Array) -> Array:
    """Rows that sum to 1 as closely as floats can: NumPy's multinomial refuses more."""
    return np.asarray(law / law.sum(axis=-1, keepdims=True))
