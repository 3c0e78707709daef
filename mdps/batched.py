r"""Thousands to millions of small MDPs of one size at once: the solvers of this package, compiled over instances.

What each function computes and what its certificate means is said where one MDP is solved
(:mod:`claimlab.mdps.planning`, :mod:`~claimlab.mdps.regularized`, :mod:`~claimlab.mdps.average`,
:mod:`~claimlab.mdps.episodic`); here every array has a leading axis of instances, and every instance its own ``error``.
No instance depends on the others or on the number of threads.

Linear systems with :math:`I - \gamma P_\pi` are solved by elimination without pivoting, since the matrix is diagonally
dominant by rows and stays so (Higham 2002, Section 9.5).  No certificate rests on that: each is one of a residual.

>>> from claimlab.mdps import batched
>>> coins = batched.MDPBatch(P=np.ones((2, 1, 2, 1)), r=[[[0, 1]], [[0, 3]]], gamma=[0.5, 0.0])
>>> batched.solve(coins).v
array([[2.],
       [3.]])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array, Bools, Ints
from claimlab.mdps import batched_average, batched_devices, batched_lanes
from claimlab.mdps import batched_kernels as kernels
from claimlab.mdps.certificates import NotConverged
from claimlab.mdps.kernels import LARGEST
from claimlab.mdps.tabular import TabularMDP
from claimlab.native import Native, spread, threads_or_default

LANES = 16_384  # entries of P an instance up to which eight at a time are faster than each by itself

Found = TypeVar("Found", bound=tuple[Any, ...])


@dataclass(frozen=True, eq=False)
class MDPBatch(Native):
    """`N` MDPs with `S` states and `A` actions each; meant for small ones (S <= 32, A <= 8), correct beyond.

    Parameters
    ----------
    P : float[N, S, A, S]
        ``P[n, s, a, t]`` is the probability of moving from `s` to `t` under `a` in instance `n`.
    r : float[N, S, A]
        Expected immediate reward.
    gamma : float or float[N]
        Discount factors in [0, 1); without a part in :func:`backward_induction` and :func:`relative_value_iteration`.
    actions : bool[N, S, A] or bool[S, A], optional
        Which actions exist; all by default.  Rows of missing actions are ignored and kept as zeros.

    Notes
    -----
    The arrays are copied and made read-only; a `P` or `r` that is read-only already is taken as it is.  Terminal states
    are states that stay where they are with reward 0.
    """

    P: Any
    r: Any
    gamma: Any
    actions: Any = None
    row_error: Any = field(init=False, repr=False)  # [N], how far at most an available row of P sums from 1

    def __post_init__(self) -> None:
        P, r = (
            given if self.actions is None and _frozen(given) else checks.numbers(name, given)
            for name, given in (("P", self.P), ("r", self.r))
        )
        if P.ndim != 4 or r.shape != P.shape[:3] or P.shape[1] != P.shape[3]:
            raise ValueError(f"P must have shape (N, S, A, S) for r of shape (N, S, A); got P {P.shape}, r {r.shape}.")
        if 0 in P.shape:
            raise ValueError(f"P has shape {P.shape}: a batch needs at least one instance, one state and one action.")
        gamma, actions, row_error = _discounts(self.gamma, len(P)), _available(self.actions, r.shape), np.empty(len(P))
        if not actions.all():
            P[~actions], r[~actions] = 0.0, 0.0
        P.flags.writeable = r.flags.writeable = False
        check, least = partial(kernels.measure, P, r, actions, row_error), 1 + 100_000 // P[0].size
        if not all(spread(check, len(P), threads_or_default(None), least=least)):
            _explain(P, r, actions)
        row_error.flags.writeable = False
        self._settle(P=P, r=r, gamma=gamma, actions=actions, row_error=row_error)

    @classmethod
    def stack(cls, mdps: Sequence[TabularMDP]) -> MDPBatch:
        """The batch of discounted MDPs of one size; their start laws are not kept."""
        if not mdps:
            raise ValueError("mdps is empty: a batch needs at least one instance.")
        for n, mdp in enumerate(mdps):
            if mdp.r.shape != mdps[0].r.shape:
                raise ValueError(f"mdps[{n}] has (S, A) = {mdp.r.shape}, mdps[0] has {mdps[0].r.shape}.")
            if mdp.terminal.any():
                raise ValueError(
                    f"mdps[{n}] has terminal states, which a batch does not mark; without the mark they would earn "
                    "entropy and reward errors."
                )
        dense = [mdp.P.toarray().reshape(*mdp.r.shape, -1) if mdp.is_sparse else mdp.P for mdp in mdps]
        return cls(dense, [mdp.r for mdp in mdps], [mdp.gamma for mdp in mdps], [mdp.actions for mdp in mdps])

    def __len__(self) -> int:
        return len(self.r)

    @property
    def arrays(self) -> tuple[Array, Array, Array, Bools, Array]:
        """`P`, `r`, `gamma`, `actions` and `row_error`."""
        return self.P, self.r, self.gamma, self.actions, self.row_error

    @property
    def value_bound(self) -> Array:
        """Every value function of instance `n` lies within entry `n`, float[N], of zero."""
        return np.asarray(abs(self.r).max(axis=(1, 2)) / (1 - self.gamma))

    def __getitem__(self, n: int) -> TabularMDP:
        return TabularMDP(self.P[n], self.r[n], float(self.gamma[n]), actions=self.actions[n])


def _frozen(x: Any) -> bool:
    """Whether kernels can read `x` where it is, and nobody will write to it."""
    if not isinstance(x, np.ndarray) or x.dtype != np.float64:
        return False
    return x.flags.c_contiguous and x.flags.aligned and not x.flags.writeable


def _discounts(gamma: ArrayLike, n: int) -> Array:
    out = checks.numbers("gamma", gamma)
    if out.shape not in ((), (n,)):
        raise ValueError(f"gamma must be a number or have shape (N,) = ({n},), got {out.shape}.")
    bad = np.flatnonzero(~((out >= 0) & (out < 1)))
    if len(bad):
        checks.interval(f"gamma[{bad[0]}]" if out.ndim else "gamma", out.flat[bad[0]], 0, 1, "[)")
    out = np.full(n, out) if out.ndim == 0 else out
    out.flags.writeable = False
    return out


def _available(actions: ArrayLike | None, shape: tuple[int, ...]) -> Bools:
    if actions is None:
        out = np.ones(shape, bool)
    elif np.ndim(actions) == 2:
        out = np.tile(checks.booleans("actions", actions, shape[1:], "(S, A)"), (shape[0], 1, 1))
    else:
        out = checks.booleans("actions", actions, shape, "(N, S, A)")
    out.flags.writeable = False
    return out


def _explain(P: Array, r: Array, actions: Bools) -> None:
    """Raise the error for what :func:`kernels.measure` objects to; sums at the very tolerance may pass after all."""
    empty = np.argwhere(~actions.any(axis=2))
    if len(empty):
        raise ValueError(f"actions{empty[0].tolist()} is empty: every state needs an action.")
    checks.array("r", r, ndim=3)
    checks.array("P", P, ndim=4)
    checks.distributions("P", np.where(actions[..., None], P, np.eye(P.shape[1])[:, None]), ndim=4)


class Solutions(NamedTuple):
    """Solutions of `N` MDPs, each with its own certificate."""

    v: Array  # [N, S]
    policy: Ints  # [N, S], greedy; its own value lies within 2 * error of the optimum
    error: Array  # [N], certified bounds on max |v - v*|
    iterations: Ints  # [N]


class Evaluations(NamedTuple):
    """Values of `N` policies with their certificates."""

    v: Array  # [N, S]
    error: Array  # [N], certified bounds on max |v - v_pi|


class Occupancies(NamedTuple):
    """Occupancies of `N` policies with their certificates."""

    visits: Array  # [N, S, A]
    error: Array  # [N], certified bounds on the L1 distance from the true ones


class SoftSolutions(NamedTuple):
    """Solutions of `N` regularised MDPs, each with its own certificate."""

    v: Array  # [N, S]
    q: Array  # [N, S, A]; minus infinity for missing actions
    pi: Array  # [N, S, A]; its log-ratios are within 2 * error / alpha of the optimum's, up to rounding
    error: Array  # [N], certified bounds on max |v - v*| and on max |q - q*|
    iterations: Ints  # [N]


class EpisodicSolutions(NamedTuple):
    """Optimal values and policies of every step with their certificates."""

    v: Array  # [N, H + 1, S]; zero at step H
    policy: Ints  # [N, H, S], the first of the greedy actions
    error: Array  # [N], certified bounds on max |v - v*| over all steps


class AverageSolutions(NamedTuple):
    """Optimal gains with their certificates."""

    gain: Array  # [N]; NaN where `varies`
    bias: Array  # [N, S], relative values, 0 in state 0
    policy: Ints  # [N, S], greedy; its gain lies within 2 * error of the optimum
    error: Array  # [N], certified bounds on |gain - gain*|; infinite where `varies`
    iterations: Ints  # [N]
    varies: Bools  # [N], whether the optimal gain is proved to depend on the state


def solve(batch: MDPBatch, tol: float = 1e-9, *, threads: int | None = None, device: str | None = None) -> Solutions:
    """Solve each instance so that ``max |v - v*| <= tol``, proved, by policy iteration.

    Policy iteration ends where float64 does; with ``tol=np.inf`` the errors are for the caller to judge.

    Parameters
    ----------
    batch : MDPBatch
    tol : float
    threads : int, optional
        How many to use; by default ``NUMBA_NUM_THREADS``, or every core.  The solutions do not depend on it.
    device : str, optional
        "cpu", or a device of torch such as "cuda" for the policy iteration; certificates are computed here all the
        same, and what misses `tol` is solved again.  By default a GPU where there is one, torch is installed, and the
        batch is large, of 32 states or more.

    Raises
    ------
    NotConverged
        If an instance misses `tol`; the exception's `solution` holds all of them.
    """
    tol = checks.interval("tol", tol, 0, np.inf, "(]")
    _contracting(batch)
    elsewhere = batched_devices.worth_a_gpu(batch.r.shape) if device is None else device
    if elsewhere not in (None, "cpu"):
        found = _solve_elsewhere(batch, tol, threads, elsewhere)
    else:
        N, S, _ = batch.r.shape
        found = Solutions(np.empty((N, S)), np.empty((N, S), np.int64), np.empty(N), np.empty(N, np.int64))
        _each(batch, threads, lambda start, stop: _iterate(batch, start, stop, found))
    return _within(tol, found, found.error)


def _iterate(batch: MDPBatch, start: int, stop: int, found: Solutions) -> None:
    """Policy iteration on instances from `start` to `stop - 1`, by the kernel that is faster at their size.

    Their number does not matter: the kernels round differently, and no solution may depend on the company.
    """
    if batch.P[0].size <= LANES:
        batched_lanes.policy_iteration(*batch.arrays, start, stop, *found)
    else:
        kernels.policy_iteration(*batch.arrays, False, start, stop, *found)


def _solve_elsewhere(batch: MDPBatch, tol: float, threads: int | None, device: str) -> Solutions:
    """Policy iteration on `device`, certified by the compiled kernel, which solves again what misses `tol`."""
    v, policy, iterations = batched_devices.policy_iteration(batch, device)
    found = Solutions(v, policy, np.empty(len(batch)), iterations)
    _each(batch, threads, lambda start, stop: kernels.policy_iteration(*batch.arrays, True, start, stop, *found))
    missed = np.flatnonzero(~(found.error <= min(tol, LARGEST)))  # NaN is a miss, and so is infinity

    def again(start: int, stop: int) -> None:
        for n in missed[start:stop]:
            _iterate(batch, n, n + 1, found)

    spread(again, len(missed), threads_or_default(threads))
    return found


def action_values(
    batch: MDPBatch, solutions: Solutions | None = None, *, threads: int | None = None
) -> tuple[Array, Array]:
    """Optimal action values float[N, S, A] and certified bounds on their errors, float[N].

    `solutions` are made if not given.  Missing actions have minus infinity.
    """
    found = solve(batch, np.inf, threads=threads) if solutions is None else solutions
    if found.v.shape != batch.r.shape[:2]:
        raise ValueError(f"solutions are of {found.v.shape} states, the batch has {batch.r.shape[:2]}.")
    q, rounded = np.empty(batch.r.shape), np.empty(len(batch))
    _each(batch, threads, lambda start, stop: kernels.backup(batch, found.v, start, stop, q, rounded))
    return q, batch.gamma * (1 + batch.row_error) * found.error + rounded


def gaps(batch: MDPBatch, solutions: Solutions | None = None, *, threads: int | None = None) -> tuple[Array, Array]:
    r""":math:`v^*(s) - q^*(s,a)`, float[N, S, A] (infinite for missing actions), and error bounds, float[N]."""
    q, error = action_values(batch, solutions, threads=threads)
    return q.max(axis=2, keepdims=True) - q, 2 * error


def policy_value(batch: MDPBatch, pi: ArrayLike, *, threads: int | None = None) -> Evaluations:
    """Values of the policies `pi`, int[N, S] or float[N, S, A].

    An error is infinite where gamma is too close to 1 for rows of `pi` that sum to more than 1.
    """
    _contracting(batch)
    weights, found = _policies(batch, pi), Evaluations(np.empty(batch.r.shape[:2]), np.empty(len(batch)))
    _each(batch, threads, lambda start, stop: kernels.evaluate(batch, weights, start, stop, *found))
    return found


def occupancy(
    batch: MDPBatch, pi: ArrayLike, initial: ArrayLike | None = None, *, threads: int | None = None
) -> Occupancies:
    r"""Normalised discounted occupancies :math:`(1-\gamma)\sum_t \gamma^t \Pr(s_t{=}s, a_t{=}a)` of the policies `pi`.

    Parameters
    ----------
    pi : int[N, S] or float[N, S, A]
    initial : float[S] or float[N, S], optional
        Laws of the first state; uniform by default.
    """
    _contracting(batch)
    N, S, _ = batch.r.shape
    first = np.full(S, 1 / S) if initial is None else checks.distributions("initial", initial, ndim=np.ndim(initial))
    if first.shape not in ((S,), (N, S)):
        raise ValueError(f"initial must have shape (S,) = ({S},) or (N, S) = ({N}, {S}), got {first.shape}.")
    weights, first = _policies(batch, pi), np.array(np.broadcast_to(first, (N, S)))
    found = Occupancies(np.empty(batch.r.shape), np.empty(N))
    _each(batch, threads, lambda start, stop: kernels.occupy(batch, weights, first, start, stop, *found))
    return found


class _Regulariser(NamedTuple):
    """Temperatures, base weights that sum to 1 with their logarithms, and what is added to each soft maximum."""

    alpha: Array  # [N]
    b: Array  # [N, S, A]
    log_b: Array  # [N, S, A]
    offset: Array  # [N, S]


def soft_solve(
    batch: MDPBatch,
    alpha: ArrayLike,
    tol: float = 1e-9,
    *,
    base: ArrayLike | None = None,
    threads: int | None = None,
) -> SoftSolutions:
    """Solve each regularised instance so that ``max |v - v*| <= tol`` and ``max |q - q*| <= tol``, proved.

    Parameters
    ----------
    batch : MDPBatch
    alpha : float or float[N]
        Temperatures, above 0.
    tol : float
    base : int[N, S] or float[N, S, A], optional
        The regulariser is `alpha` times KL(pi, base), rows of `base` normalised; the entropy by default.

    Raises
    ------
    NotConverged
        If an instance misses `tol`; the exception's `solution` holds all of them.
    """
    tol = checks.interval("tol", tol, 0, np.inf, "(]")
    _contracting(batch)
    soft, shape = _regulariser(batch, alpha, base), batch.r.shape
    v, q, pi = np.empty(shape[:2]), np.empty(shape), np.empty(shape)
    error, count = np.empty(len(batch)), np.empty(len(batch), np.int64)

    def work(start: int, stop: int) -> None:
        kernels.soft_policy_iteration(batch, soft, tol, start, stop, v, q, pi, error, count)

    _each(batch, threads, work)
    return _within(tol, SoftSolutions(v, np.where(batch.actions, q, -np.inf), pi, error, count), error)


def _regulariser(batch: MDPBatch, alpha: ArrayLike, base: ArrayLike | None) -> _Regulariser:
    T, N = checks.numbers("alpha", alpha), len(batch)
    if T.shape not in ((), (N,)):
        raise ValueError(f"alpha must be a number or have shape (N,) = ({N},), got {T.shape}.")
    bad = np.flatnonzero(~((T > 0) & np.isfinite(T)))
    if len(bad):
        checks.interval(f"alpha[{bad[0]}]" if T.ndim else "alpha", T.flat[bad[0]], 0, np.inf, "()")
    T = np.array(np.broadcast_to(T, N))
    if base is None:
        available = batch.actions.sum(axis=2)
        b, offset = batch.actions / available[..., None], T[:, None] * np.log(available)
    else:
        weights = _policies(batch, base, "base")
        b, offset = weights / weights.sum(axis=2, keepdims=True), np.zeros(batch.r.shape[:2])
    with np.errstate(divide="ignore"):
        return _Regulariser(T, b, np.log(b), offset)


def backward_induction(batch: MDPBatch, horizon: int, *, threads: int | None = None) -> EpisodicSolutions:
    """Optimal undiscounted values and greedy policies over `horizon` steps."""
    (N, S, _), H = batch.r.shape, checks.integer("horizon", horizon, 1)
    found = EpisodicSolutions(np.zeros((N, H + 1, S)), np.zeros((N, H, S), np.int64), np.empty(N))
    _each(batch, threads, lambda start, stop: kernels.backward_induction(batch, start, stop, *found))
    return found


def relative_value_iteration(
    batch: MDPBatch, tol: float = 1e-9, *, max_sweeps: int = 100_000, threads: int | None = None
) -> AverageSolutions:
    """Optimal long-run average reward of each instance to within `tol`, proved, or the proof that it varies.

    Where the optimal gain depends on the state there is no number to return: such instances have ``varies`` set, gain
    NaN and error infinite.

    Raises
    ------
    NotConverged
        If an instance misses `tol` and its gain is not proved to vary; the exception's `solution` holds all of them.
    """
    tol = checks.interval("tol", tol, 0, np.inf, "()")
    max_sweeps = checks.integer("max_sweeps", max_sweeps, 1)
    N, S, _ = batch.r.shape
    found = AverageSolutions(
        np.empty(N), np.empty((N, S)), np.empty((N, S), np.int64), np.empty(N), np.empty(N, np.int64), np.empty(N, bool)
    )

    def work(start: int, stop: int) -> None:
        batched_average.relative_value_iteration(batch, tol, max_sweeps, start, stop, found)

    _each(batch, threads, work)
    found.gain[found.varies], found.error[found.varies] = np.nan, np.inf
    return _within(tol, found, np.where(found.varies, 0.0, found.error))


def _each(batch: MDPBatch, threads: int | None, work: Callable[[int, int], None]) -> None:
    """`work` on blocks of instances, each long enough (some tens of microseconds) to be worth a thread."""
    _, S, A = batch.r.shape
    spread(work, len(batch), threads_or_default(threads), least=1 + 20_000 // (S * S * (S + A)))


def _contracting(batch: MDPBatch) -> None:
    """An error where rows of `P` that need not sum to 1 spoil the contraction."""
    bad = np.flatnonzero(batch.gamma * (1 + batch.row_error) >= 1)
    if len(bad):
        raise ValueError(
            f"gamma[{bad[0]}] = {batch.gamma[bad[0]]!r} is so close to 1 that rows of P[{bad[0]}] summing to 1 within "
            f"{batch.row_error[bad[0]]:.2g} need not make a contraction; normalise the rows of P."
        )


def _within(tol: float, found: Found, error: Array) -> Found:
    bad = np.flatnonzero(~(error <= tol))  # so that NaN is no success
    if len(bad):
        raise NotConverged(
            f"instance {bad[0]}: tolerance {tol:g} asked, {error[bad[0]]:.3g} certified ({len(bad)} such instances).",
            found,
        )
    return found


def _policies(batch: MDPBatch, pi: ArrayLike, name: str = "pi") -> Array:
    """`pi` checked, int[N, S] or float[N, S, A], as float[N, S, A]."""
    given, (N, S, A) = np.asarray(pi), batch.r.shape
    if given.ndim == 2 and given.dtype.kind in "iu":
        if given.shape != (N, S):
            raise ValueError(f"{name} must have shape (N, S) = {(N, S)}, got {given.shape}.")
        weights = (given[..., None] == np.arange(A)).astype(np.float64)
        bad = np.argwhere(~(weights.astype(bool) & batch.actions).any(axis=2))
        if len(bad):
            n, s = bad[0]
            raise ValueError(f"{name}{[int(n), int(s)]} is {given[n, s]}, which is not an action of that state.")
        return weights
    weights = checks.distributions(name, given, ndim=3)
    if weights.shape != (N, S, A):
        raise ValueError(f"{name} must have shape (N, S, A) = {(N, S, A)}, got {weights.shape}.")
    missing = np.argwhere((weights > 0) & ~batch.actions)
    if len(missing):
        raise ValueError(f"{name}{missing[0].tolist()} is positive, but that action does not exist.")
    return weights
