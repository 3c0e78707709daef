"""Rewards under which given numbers are the optimal action values: MDPs whose solution is known in advance."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import issparse

from claimlab import checks
from claimlab.checks import Array
from claimlab.mdps.tabular import TabularMDP


def inverse_bellman(P: Any, q: ArrayLike, gamma: float, actions: ArrayLike | None = None) -> Array:
    r"""The one reward for which `q` is the optimal action-value function.

    .. math:: r(s,a) = q(s,a) - \gamma \sum_t P(t|s,a) \max_{b} q(t,b)

    Since the optimality operator has one fixed point, the optimal action values under this reward are `q`, up to the
    rounding of this line.

    Parameters
    ----------
    P : float[S, A, S] or CSR (S*A, S)
    q : float[S, A]
        Any real numbers; entries of missing actions are not read.
    gamma : float
    actions : bool[S, A], optional
        Which actions exist; all by default.

    Returns
    -------
    float[S, A]
        The expected rewards, 0 for missing actions.

    Examples
    --------
    >>> inverse_bellman([[[1.0], [1.0]]], [[4.0, 3.0]], gamma=0.5)
    array([[2., 1.]])
    """
    gamma = checks.interval("gamma", gamma, 0, 1, "[)")
    shape = np.shape(q)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"q must have shape (S, A), got {shape}.")
    S, A = shape
    here = checks.booleans("actions", np.ones(shape, bool) if actions is None else actions, shape, "(S, A)")
    if not here.any(axis=1).all():
        raise ValueError(f"actions[{int(np.argmin(here.any(axis=1)))}] is empty: every state needs an action.")
    given = checks.array("q", np.where(here, q, 0.0), ndim=2)
    expected_shape = (S * A, S) if issparse(P) else (S, A, S)
    if np.shape(P) != expected_shape:
        raise ValueError(f"P must have shape {expected_shape} for q of shape {shape}, got {np.shape(P)}.")
    v = np.where(here, given, -np.inf).max(axis=1)
    rows = P if issparse(P) else np.asarray(P, dtype=np.float64).reshape(S * A, S)
    return np.where(here, given - gamma * np.asarray(rows @ v).reshape(S, A), 0.0)


def with_optimal_values(
    P: Any, q: ArrayLike, gamma: float, actions: ArrayLike | None = None, *, initial: ArrayLike | None = None
) -> TabularMDP:
    """The MDP with transitions `P` whose optimal action values are `q`; see :func:`inverse_bellman`."""
    return TabularMDP(P, inverse_bellman(P, q, gamma, actions), gamma, actions=actions, initial=initial)
