"""Finite Markov decision processes, one class for each criterion.

Transitions are a dense ``float[S, A, S]`` or a scipy CSR array of shape ``(S*A, S)`` with row ``s*A + a``.  Everything
that depends on this choice is in :meth:`FiniteMDP.expect` and :meth:`FiniteMDP.under`; the rest of the library calls
these two.
"""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array, issparse

from claimlab import checks
from claimlab.checks import Array, Bools, Ints, Sparse

EPS = float(np.finfo(np.float64).eps)
SUBNORMAL = float(np.finfo(np.float64).smallest_subnormal)  # what an operation may lose to underflow


@dataclass(frozen=True, eq=False)
class FiniteMDP(ABC):
    r"""What the three criteria share: states ``0..S-1``, actions ``0..A-1``, transitions, rewards.

    Parameters
    ----------
    P : float[S, A, S] or CSR (S*A, S)
        ``P[s, a, t]`` is the probability of moving from `s` to `t` under `a`.
    r : float[S, A], float[S, A, S] or CSR (S*A, S)
        Expected immediate reward, or the reward of each transition; the expectation is what is kept.
    actions : bool[S, A], optional
        Which actions exist in which state; all by default.  Rows of missing actions are ignored and kept as zeros.
    terminal : bool[S], optional
        States in which the process has ended: each of their actions must stay there with reward 0.
    initial : float[S], optional
        Law of the first state; uniform by default.

    Notes
    -----
    The arrays are copied and made read-only: an MDP cannot become invalid.
    """

    P: Any
    r: Any
    actions: Any = field(default=None, kw_only=True)
    terminal: Any = field(default=None, kw_only=True)
    initial: Any = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        S, A = _sizes(self.P, self.r)
        actions = checks.booleans("actions", _or(self.actions, np.ones((S, A), bool)), (S, A), "(S, A)")
        if not actions.any(axis=1).all():
            raise ValueError(f"actions[{int(np.argmin(actions.any(axis=1)))}] is empty: every state needs an action.")
        P = _transitions(self.P, actions)
        r = _rewards(P, self.r, actions)
        terminal = checks.booleans("terminal", _or(self.terminal, np.zeros(S, bool)), (S,), "(S,)")
        initial = checks.distributions("initial", _or(self.initial, np.full(S, 1 / S)), ndim=1)
        if initial.shape != (S,):
            raise ValueError(f"initial must have shape (S,) = ({S},), got {initial.shape}.")
        self._settle(P=P, r=r, actions=actions, terminal=terminal, initial=initial)
        self._check_terminal()
        _ = self.row_error  # and row_length: every solver asks for them, and here `P` is still in the cache

    def _settle(self, **fields: Any) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def _check_terminal(self) -> None:
        for s in np.flatnonzero(self.terminal):
            for a in np.flatnonzero(self.actions[s]):
                if self.row(int(s), int(a))[s] < 1 - checks.SUM_TOLERANCE or self.r[s, a] != 0:
                    raise ValueError(
                        f"terminal[{s}] is set, but action {a} there leaves the state or pays r[{s}, {a}] = "
                        f"{self.r[s, a]:g}; a terminal state must stay with reward 0."
                    )

    @property
    def n_states(self) -> int:
        return int(self.r.shape[0])

    @property
    def n_actions(self) -> int:
        return int(self.r.shape[1])

    @property
    def is_sparse(self) -> bool:
        return issparse(self.P)

    @property
    def n_entries(self) -> int:
        """How many numbers `P` stores."""
        return int(self.P.nnz if self.is_sparse else self.P.size)

    @cached_property
    def row_error(self) -> float:
        """How far, at most, an available row of `P` sums from 1, the rounding of that sum included."""
        if self.is_sparse:
            sums = np.asarray(self.P.sum(axis=1)).reshape(self.r.shape)
        else:
            sums = (self.P.reshape(-1, self.n_states) @ np.ones(self.n_states)).reshape(self.r.shape)
        return float(abs(sums[self.actions] - 1).max()) + self.row_length * EPS

    @cached_property
    def reward_bound(self) -> float:
        """The largest absolute reward."""
        return max(float(self.r.max()), -float(self.r.min()))

    @cached_property
    def row_length(self) -> int:
        """The largest number of successors of a state-action pair."""
        return int(np.diff(self.P.indptr).max() if self.is_sparse else np.count_nonzero(self.P, axis=2).max())

    def row(self, s: int, a: int) -> Array:
        """``P[s, a]`` as a dense float[S]."""
        row: Array
        if self.is_sparse:
            row, k = np.zeros(self.n_states), s * self.n_actions + a
            entries = slice(self.P.indptr[k], self.P.indptr[k + 1])
            row[self.P.indices[entries]] = self.P.data[entries]
        else:
            row = self.P[s, a]
        return row

    def expect(self, v: Array) -> Array:
        r""":math:`\sum_t P(t|s,a)\,v(t)` for every pair, float[S, A]; zero for missing actions."""
        flat = self.P if self.is_sparse else self.P.reshape(-1, self.n_states)
        return np.asarray(flat @ v).reshape(self.r.shape)

    def under(self, pi: Array | Ints) -> tuple[Array | Sparse, Array]:
        """Transitions (S, S), dense or CSR as `P` is, and rewards float[S] of a policy (see :meth:`policy`)."""
        S, A = self.r.shape
        if pi.ndim == 1:
            chosen = np.arange(S) * A + pi
            P_pi = self.P[chosen] if self.is_sparse else self.P.reshape(S * A, S)[chosen]
            return P_pi, self.r.reshape(-1)[chosen]
        if self.is_sparse:
            weights = csr_array((pi.reshape(-1), np.arange(S * A), np.arange(0, S * A + 1, A)), shape=(S, S * A))
            return weights @ self.P, (pi * self.r).sum(axis=1)
        return (pi[:, None, :] @ self.P)[:, 0, :], (pi * self.r).sum(axis=1)

    def policy(self, pi: ArrayLike, name: str = "pi") -> Array | Ints:
        """`pi` checked: int[S] of available actions, or float[S, A] of distributions over available actions."""
        given = np.asarray(pi)
        if given.ndim == 1 and given.dtype.kind in "iu":
            if given.shape != (self.n_states,):
                raise ValueError(f"{name} must have shape (S,) = ({self.n_states},), got {given.shape}.")
            outside = (given < 0) | (given >= self.n_actions)
            bad = np.flatnonzero(outside | ~self.actions[np.arange(self.n_states), np.where(outside, 0, given)])
            if len(bad):
                raise ValueError(f"{name}[{bad[0]}] is {given[bad[0]]}, which is not an action of state {bad[0]}.")
            return given.astype(np.int64)
        probabilities = checks.distributions(name, given, ndim=2)
        if probabilities.shape != self.r.shape:
            raise ValueError(f"{name} must have shape (S, A) = {self.r.shape}, got {probabilities.shape}.")
        missing = np.argwhere((probabilities > 0) & ~self.actions)
        if len(missing):
            raise ValueError(f"{name}{missing[0].tolist()} is positive, but that action does not exist.")
        return probabilities


@dataclass(frozen=True, eq=False)
class TabularMDP(FiniteMDP):
    r"""A discounted MDP, :math:`M = (S, A, P, r, \gamma)`; `gamma` in [0, 1).  See :class:`FiniteMDP` for the rest.

    Examples
    --------
    >>> stay_or_go = TabularMDP(P=[[[1, 0], [0, 1]], [[0, 1], [1, 0]]], r=[[0, 0], [1, 0]], gamma=0.5)
    >>> stay_or_go.n_states, stay_or_go.n_actions
    (2, 2)
    """

    gamma: float

    def __post_init__(self) -> None:
        gamma = checks.interval("gamma", self.gamma, 0, 1, "[)")
        super().__post_init__()
        self._settle(gamma=gamma)

    @property
    def value_bound(self) -> float:
        """Every value function of the MDP lies within this distance of zero."""
        return self.reward_bound / (1 - self.gamma)

    def with_reward(self, r: ArrayLike) -> TabularMDP:
        """The same dynamics under another reward; terminal states must still pay nothing."""
        return TabularMDP(self.P, r, self.gamma, actions=self.actions, terminal=self.terminal, initial=self.initial)


@dataclass(frozen=True, eq=False)
class EpisodicMDP(FiniteMDP):
    r"""A time-homogeneous MDP that is stopped after `horizon` steps, :math:`M = (S, A, P, r, H)`."""

    horizon: int

    def __post_init__(self) -> None:
        horizon = checks.integer("horizon", self.horizon, 1)
        super().__post_init__()
        self._settle(horizon=horizon)


@dataclass(frozen=True, eq=False)
class AverageMDP(FiniteMDP):
    r"""An MDP under the long-run average reward, :math:`M = (S, A, P, r)`."""


def rounding(mdp: FiniteMDP, v: Array, gamma: float = 1.0, *, terms: int = 0) -> float:
    """Bound on the float64 error of a backup of `v`, and of a weighted mean of such backups over `terms` actions.

    These are n + 4 (+ terms) operations on numbers of the size of r and v, each off by half of EPS, in any order of
    summation (Higham 2002, 3.1): the bound is twice what is needed, and the other half pays for the arithmetic done
    with it.
    """
    return rounding_at(mdp, max(float(v.max()), -float(v.min())), gamma, terms=terms)


def rounding_at(mdp: FiniteMDP, largest: float, gamma: float = 1.0, *, terms: int = 0) -> float:
    """:func:`rounding` for values of at most `largest`."""
    operations = mdp.row_length + 4 + terms
    return operations * (EPS * (mdp.reward_bound + gamma * largest) + SUBNORMAL)


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _sizes(P: Any, r: Any) -> tuple[int, int]:
    if issparse(P):
        S = int(P.shape[1])
        if issparse(r):
            if r.shape != P.shape:
                raise ValueError(f"a sparse r must have the shape of a sparse P, got P {P.shape}, r {r.shape}.")
            A = int(P.shape[0]) // max(S, 1)
        else:
            shape = _shape("r", r)
            A = int(shape[1]) if len(shape) > 1 else 0
            if shape not in ((S, A), (S, A, S)):
                raise ValueError(f"sparse P of shape {P.shape} needs r of shape (S, A) or (S, A, S), got {shape}.")
        if 0 in P.shape or P.shape != (S * A, S):
            raise ValueError(f"sparse P must have shape (S*A, S), row s*A + a; got {P.shape} with A = {A}.")
        return S, A
    P_shape, r_shape = _shape("P", P), _shape("r", r)
    if len(P_shape) != 3 or P_shape[0] != P_shape[2]:
        raise ValueError(f"P must have shape (S, A, S), got {P_shape}.")
    if 0 in P_shape:
        raise ValueError(f"P has shape {P_shape}: an MDP needs at least one state and one action.")
    if r_shape not in (P_shape[:2], P_shape):
        raise ValueError(
            f"r must have shape (S, A) or (S, A, S) for P of shape (S, A, S); got P {P_shape}, r {r_shape}."
        )
    return int(P_shape[0]), int(P_shape[1])


def _shape(name: str, value: Any) -> tuple[int, ...]:
    try:
        return np.shape(value)
    except ValueError as error:
        raise ValueError(f"{name} must be an array of real numbers: {str(error).rstrip('.')}.") from None


def _transitions(P: Any, actions: Bools) -> Array | Sparse:
    """P with rows checked where the action exists and zero elsewhere, read-only."""
    if issparse(P):
        filled = _sparse_transitions(P, actions)
        for part in (filled.data, filled.indices, filled.indptr):
            part.flags.writeable = False
        return filled
    if actions.all():
        return checks.distributions("P", P, ndim=3)
    given = checks.array("P", np.where(actions[..., None], checks.numbers("P", P), 0.0), ndim=3)
    checks.distributions("P", np.where(actions[..., None], given, np.eye(given.shape[0])[:, None, :]), ndim=3)
    return given


def _sparse_transitions(P: Any, actions: Bools) -> Sparse:
    A = actions.shape[1]
    if actions.all():
        return checks.sparse_distributions("P", P, A)
    given, missing = checks.csr("P", P), np.flatnonzero(~actions)
    rows, available = _entry_rows(given, actions)
    kept = csr_array((given.data[available], (rows[available], given.indices[available])), shape=given.shape)
    loops = csr_array((np.ones(missing.size), (missing, missing // A)), shape=given.shape)
    checks.sparse_distributions("P", kept + loops, A)  # missing rows pass as self-loops
    kept.eliminate_zeros()
    return kept


def _entry_rows(P: Sparse, actions: Bools) -> tuple[Ints, Bools]:
    """For each stored entry of `P`, its row s*A + a, and whether that action exists."""
    rows = np.repeat(np.arange(P.shape[0]), np.diff(P.indptr))
    return rows, actions.reshape(-1)[rows]


def _rewards(P: Any, r: Any, actions: Bools) -> Array:
    """Expected rewards float[S, A], zero where the action does not exist; `P` is checked already."""
    if issparse(r):
        paid = checks.csr("r", r)
        _, available = _entry_rows(paid, actions)
        bad = ~np.isfinite(paid.data) & available
        checks.sparse_entries("r", paid, actions.shape[1], bad, "every entry must be finite")
        paid.data[~available] = 0.0
        if paid.shape != (actions.size, actions.shape[0]):
            raise ValueError(
                f"sparse r must have shape (S*A, S) = {(actions.size, actions.shape[0])}, got {paid.shape}."
            )
        flat = P if issparse(P) else P.reshape(paid.shape)
        expected = np.asarray(paid.multiply(flat).sum(axis=1)).reshape(actions.shape)
        return checks.array("r", expected, ndim=2)
    numbers = checks.numbers("r", r)
    mask = actions if numbers.ndim == 2 else actions[..., None]
    given = checks.array("r", np.where(mask, numbers, 0.0), ndim=numbers.ndim)
    if given.ndim == 2:
        return given
    if issparse(P):
        expected = np.asarray(P.multiply(given.reshape(-1, given.shape[2])).sum(axis=1)).reshape(actions.shape)
    else:
        expected = (P * given).sum(axis=2)
    return checks.array("r", expected, ndim=2)
