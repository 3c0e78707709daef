"""From the arrays of QuantEcon and pymdptoolbox to ours, and back; neither library need be installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array, csr_matrix, issparse, vstack

from claimlab import checks
from claimlab.checks import Array, Ints
from claimlab.mdps.tabular import TabularMDP


class QuantEconArrays(NamedTuple):
    """Arguments of QuantEcon's `DiscreteDP`, in its order: ``DiscreteDP(*to_quantecon(mdp))``."""

    R: Array  # [S, A], minus infinity for missing actions; or [L], one a pair
    Q: Any  # [S, A, S]; or CSR (L, S)
    beta: float
    s_indices: Ints | None  # [L]
    a_indices: Ints | None  # [L]


def to_quantecon(mdp: TabularMDP) -> QuantEconArrays:
    """`mdp` as arguments of QuantEcon's `DiscreteDP`: the product form if dense, state-action pairs if sparse.

    Terminal states and the initial law, which `DiscreteDP` does not know, are left out.
    """
    if not mdp.is_sparse:
        return QuantEconArrays(np.where(mdp.actions, mdp.r, -np.inf), np.array(mdp.P), mdp.gamma, None, None)
    s, a = np.nonzero(mdp.actions)
    return QuantEconArrays(mdp.r[s, a], csr_matrix(mdp.P[s * mdp.n_actions + a]), mdp.gamma, s, a)


def from_quantecon(
    R: ArrayLike, Q: Any, beta: float, s_indices: ArrayLike | None = None, a_indices: ArrayLike | None = None
) -> TabularMDP:
    """A TabularMDP from the arguments of QuantEcon's `DiscreteDP`, in either of its two formulations.

    Parameters
    ----------
    R : float[S, A], or float[L] with indices
        Rewards; minus infinity marks an infeasible action, and pairs that are not listed are infeasible.
    Q : float[S, A, S]; or float[L, S] or sparse (L, S) with indices
        Transitions; sparse gives a sparse MDP.
    beta : float
        Discount factor in [0, 1).
    s_indices, a_indices : int[L], optional
        State and action of each pair, in any order.
    """
    if (s_indices is None) != (a_indices is None):
        raise ValueError("s_indices and a_indices must be given together.")
    beta = checks.interval("beta", beta, 0, 1, "[)")
    rewards = np.asarray(R, dtype=np.float64)
    feasible = rewards != -np.inf  # NaN and plus infinity stay, and are refused below
    if s_indices is None:
        if rewards.ndim != 2:
            raise ValueError(f"R must have shape (S, A) where no indices are given, got {rewards.shape}.")
        if issparse(Q):
            raise ValueError("a sparse Q needs s_indices and a_indices, one entry a row.")
        return TabularMDP(Q, np.where(feasible, rewards, 0.0), beta, actions=feasible)
    if rewards.ndim != 1 or np.ndim(Q) != 2 or np.shape(Q)[0] != rewards.size:
        raise ValueError(f"with indices, R must have shape (L,) and Q (L, S); got R {rewards.shape}, Q {np.shape(Q)}.")
    L, S = np.shape(Q)
    s, a = _indices("s_indices", s_indices, L, S), _indices("a_indices", a_indices, L, None)
    A = int(a.max(initial=0)) + 1
    rows = s * A + a
    repeated = np.flatnonzero(np.bincount(rows, minlength=1) > 1)
    if len(repeated):
        raise ValueError(f"the pair (s, a) = {divmod(int(repeated[0]), A)} is listed more than once.")
    r, actions = np.zeros(S * A), np.zeros(S * A, bool)
    r[rows], actions[rows] = np.where(feasible, rewards, 0.0), feasible
    place = csr_array((np.ones(L), (rows, np.arange(L))), shape=(S * A, L))
    P = place @ csr_array(Q) if issparse(Q) else (place @ np.asarray(Q, dtype=np.float64)).reshape(S, A, S)
    return TabularMDP(P, r.reshape(S, A), beta, actions=actions.reshape(S, A))


def _indices(name: str, value: ArrayLike | None, length: int, below: int | None) -> Ints:
    given = np.asarray(value)
    if given.shape != (length,) or given.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers of shape (L,) = ({length},), got {given.dtype} {given.shape}.")
    bad = np.flatnonzero((given < 0) | (given >= (np.inf if below is None else below)))
    if len(bad):
        raise ValueError(f"{name}[{bad[0]}] is {given[bad[0]]}, out of range.")
    return given.astype(np.int64)


def from_pymdptoolbox(transitions: Any, reward: Any, discount: float) -> TabularMDP:
    """A TabularMDP from pymdptoolbox's ``(transitions, reward, discount)``.

    Parameters
    ----------
    transitions : float[A, S, S] or sequence of A matrices (S, S), dense or sparse
        Sparse matrices give a sparse MDP.
    reward : float[S], float[S, A], float[A, S, S] or sequence of A matrices (S, S), dense or sparse
        Of a state, of a pair, or of a transition (of which the expectation is kept).
    discount : float
        In [0, 1); pymdptoolbox takes 1 too, which has no bounded value.
    """
    discount = checks.interval("discount", discount, 0, 1, "[)")
    matrices = _matrices("transitions", transitions)
    A, S = len(matrices), int(matrices[0].shape[0])
    if isinstance(reward, Sequence) and len(reward) and issparse(reward[0]):
        r = _expected(matrices, _matrices("reward", reward))
    else:
        given = np.asarray(reward, dtype=np.float64)
        if given.shape == (S,):
            r = np.repeat(given[:, None], A, axis=1)
        elif given.shape == (S, A):
            r = given
        elif given.shape == (A, S, S):
            r = _expected(matrices, list(given))
        else:
            raise ValueError(
                f"reward must have shape (S,) = ({S},), (S, A) = ({S}, {A}) or (A, S, S) = ({A}, {S}, {S}), "
                f"got {given.shape}."
            )
    if any(issparse(matrix) for matrix in matrices):
        order = np.arange(S)[:, None] + S * np.arange(A)  # row a * S + s goes to s * A + a
        return TabularMDP(csr_array(vstack([csr_array(m) for m in matrices]))[order.ravel()], r, discount)
    return TabularMDP(np.stack(matrices, axis=1), r, discount)


def _matrices(name: str, value: Any) -> list[Any]:
    """A list of square matrices of one size, dense ones as float64 arrays."""
    if issparse(value) or not np.iterable(value):
        raise ValueError(f"{name} must be an array (A, S, S) or a sequence of A matrices (S, S).")
    out = [m if issparse(m) else checks.array(f"{name}[{a}]", m, ndim=2) for a, m in enumerate(value)]
    if not out:
        raise ValueError(f"{name} is empty: an MDP needs at least one action.")
    for a, m in enumerate(out):
        if m.shape != (out[0].shape[0],) * 2:
            raise ValueError(f"{name}[{a}] has shape {m.shape}, not (S, S) as {name}[0] of shape {out[0].shape}.")
    return out


def _expected(P: list[Any], r: list[Any]) -> Array:
    """Expected rewards float[S, A] from lists of A matrices (S, S)."""
    if len(P) != len(r) or P[0].shape != r[0].shape:
        raise ValueError(
            f"reward has {len(r)} matrices {r[0].shape}, transitions {len(P)} of {P[0].shape}; they must agree."
        )
    columns = []
    for p, x in zip(P, r):
        product = csr_array(p).multiply(x) if issparse(p) else csr_array(x).multiply(p) if issparse(x) else p * x
        columns.append(np.asarray(product.sum(axis=1)).ravel())
    return np.stack(columns, axis=1)
