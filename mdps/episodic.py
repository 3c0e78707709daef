r"""Finite-horizon MDPs: backward induction, policy values and occupancies, :math:`v_h = \max_a r + P v_{h+1}, v_H = 0`.

Step `h` runs over 0..H-1.  A policy is int[H, S], float[H, S, A], or a stationary one, int[S] or float[S, A].  A backup
is off by at most its rounding and carries the error of the next step times the largest row sum of `P`, so errors add up
to a bound (Puterman 2005, Section 4.5, for the recursion).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array, Ints
from claimlab.mdps.certificates import Evaluation
from claimlab.mdps.sweeps import Sweeps
from claimlab.mdps.tabular import EPS, EpisodicMDP, rounding
from claimlab.native import threads_or_default


class EpisodicSolution(NamedTuple):
    """Optimal values and policy of every step with their certificate."""

    v: Array  # [H + 1, S]; the last row is zero
    policy: Ints  # [H, S], the first of the greedy actions
    error: float  # certified bound on max |v - v*| over all steps


def backward_induction(mdp: EpisodicMDP, *, threads: int | None = None) -> EpisodicSolution:
    """Optimal values and a greedy policy for each step to go.

    Once values change little from step to step, only the states whose best two actions are close are looked at again
    (see :mod:`claimlab.mdps.kernels`), so a long horizon costs little more than the evaluation of a policy.

    >>> climb = EpisodicMDP(P=[[[1, 0], [0, 1]], [[0, 1], [0, 1]]], r=[[0, 0], [1, 0]], horizon=3)
    >>> backward_induction(climb).v[0]
    array([2., 3.])
    """
    H, S = mdp.horizon, mdp.n_states
    v, policy, error = np.empty((H + 1, S)), np.empty((H, S), np.int64), 0.0
    v[H] = 0
    sweeps = Sweeps(mdp, 1.0, threads_or_default(threads))
    for h in reversed(range(H)):
        sweeps.improve(v[h + 1], v[h])
        policy[h] = sweeps.greedy.policy
        error = (1 + mdp.row_error) * error + sweeps.slack
    return EpisodicSolution(v, policy, error)


def episodic_policy_value(mdp: EpisodicMDP, pi: ArrayLike) -> Evaluation:
    """Value of `pi` at each step, float[H + 1, S], with a bound on its error."""
    policies = episodic_policy(mdp, pi)
    v, error = np.zeros((mdp.horizon + 1, mdp.n_states)), 0.0
    for h, pi_h in reversed(list(enumerate(policies))):
        if pi_h.ndim == 1:
            P_pi, r_pi = mdp.under(pi_h)
            v[h], growth, terms = r_pi + P_pi @ v[h + 1], 1.0, 0
        else:
            v[h] = (pi_h * (mdp.r + mdp.expect(v[h + 1]))).sum(axis=1)
            growth, terms = max(float(pi_h.sum(axis=1).max()), 1.0) + mdp.n_actions * EPS, mdp.n_actions
        error = growth * ((1 + mdp.row_error) * error + rounding(mdp, v[h + 1], terms=terms))
    return Evaluation(v, error)


def episodic_occupancy(mdp: EpisodicMDP, pi: ArrayLike, initial: ArrayLike | None = None) -> Array:
    """Probability of being in `s` and taking `a` at step `h`, float[H, S, A]; each step sums to 1."""
    start = mdp.initial if initial is None else checks.distributions("initial", initial, ndim=1)
    if start.shape != (mdp.n_states,):
        raise ValueError(f"initial must have shape (S,) = ({mdp.n_states},), got {start.shape}.")
    P = mdp.P if mdp.is_sparse else mdp.P.reshape(-1, mdp.n_states)
    policies, law, out = episodic_policy(mdp, pi), start, np.zeros((mdp.horizon, *mdp.r.shape))
    for h, pi_h in enumerate(policies):
        if pi_h.ndim == 1:
            out[h, np.arange(mdp.n_states), pi_h.astype(np.int64)] = law
        else:
            out[h] = law[:, None] * pi_h
        law = P.T @ out[h].reshape(-1)
    return out


def episodic_policy(mdp: EpisodicMDP, pi: ArrayLike) -> list[Array | Ints]:
    """`pi` checked, as the list of the policies of each step; a two-dimensional int array is int[H, S]."""
    given = np.asarray(pi)
    varies = given.ndim == 3 or (given.ndim == 2 and given.dtype.kind in "iu")
    if not varies:
        return [mdp.policy(given)] * mdp.horizon
    if len(given) != mdp.horizon:
        raise ValueError(f"pi must have one policy for each of the {mdp.horizon} steps, got shape {given.shape}.")
    return [mdp.policy(pi_h, f"pi[{h}]") for h, pi_h in enumerate(given)]
