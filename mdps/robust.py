r"""Robust discounted MDPs: nature picks each row of transitions from a ball around it, and minimises.

.. math:: (Tv)(s) = \max_a\; r(s,a) + \gamma\, \sigma_{s,a}(v), \qquad
          \sigma_{s,a}(v) = \min\{\, q \cdot v : q \text{ a distribution},\ D(q, P(\cdot|s,a)) \le \rho(s,a) \,\}

The choices for different pairs are independent ((s, a)-rectangular), so `T` is monotone, shifts constants as the
optimality operator does, and its fixed point is the best value that a policy can guarantee, against stationary and
changing natures alike.  Nature's answers are computed with a bound on how far they are from the worst, and that bound
and rounding widen the certificate of :mod:`claimlab.mdps.certificates`.

Rows of `P` need sum to 1 only within 1e-9: the ball is around the row divided by its sum, and nature's row is scaled
back.  Terminal states have ended, and nature cannot reopen them.

Sources: Iyengar (2005), Robust dynamic programming; Nilim & El Ghaoui (2005), Robust control of Markov decision
processes with uncertain transition matrices.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from claimlab import checks
from claimlab.checks import Array, Ints, Sparse
from claimlab.mdps.balls import Ball
from claimlab.mdps.certificates import Evaluation, NotConverged, Solution, contraction
from claimlab.mdps.fixed_point import Backup, fixed_point
from claimlab.mdps.kernels import dot
from claimlab.mdps.planning import policy_value
from claimlab.mdps.resolvent import resolvent
from claimlab.mdps.tabular import EPS, TabularMDP, rounding
from claimlab.native import kernel, part, spread, threads_or_default

LEAST = 64  # rows that are worth a thread


def solve_robust(
    mdp: TabularMDP, ball: Ball, tol: float = 1e-9, *, max_iterations: int = 10_000, threads: int | None = None
) -> Solution:
    r"""Solve `mdp` against nature so that ``max |v - v*| <= tol``, proved.

    Newton's method on :math:`v = Tv`: the next `v` is the value of the greedy policy under nature's answers to the
    last.  Should that not narrow the certificate, policy iteration takes over, in which nature answers the policy
    itself (Hoffman & Karp 1966): its values increase to the optimum.

    Parameters
    ----------
    mdp : TabularMDP
    ball : TotalVariation, L1, ChiSquare or KL
    tol : float
    threads : int, optional
        Every core by default; the result does not depend on it.

    Returns
    -------
    Solution
        The policy's own guaranteed value lies within ``2 * error`` of `v*`.

    Raises
    ------
    NotConverged
        If `tol` is below what float64 can certify.

    Examples
    --------
    >>> bet = TabularMDP(P=[[[1, 0, 0], [0, 0.5, 0.5]], [[0, 1, 0]] * 2, [[0, 0, 1]] * 2],
    ...                  r=[[0.19, 0], [1, 1], [0, 0]], gamma=0.5)
    >>> from claimlab.mdps import TotalVariation
    >>> [int(solve_robust(bet, TotalVariation(radius)).policy[0]) for radius in (0, 0.1, 0.3)]
    [1, 1, 0]
    """
    return _solution(mdp, ball, tol, True, max_iterations, threads)


def robust_value_iteration(
    mdp: TabularMDP, ball: Ball, tol: float = 1e-9, *, max_sweeps: int = 1_000_000, threads: int | None = None
) -> Solution:
    """Apply the robust operator until the span certificate falls to `tol`; see :func:`solve_robust`."""
    return _solution(mdp, ball, tol, False, max_sweeps, threads)


def robust_policy_value(mdp: TabularMDP, pi: ArrayLike, ball: Ball, *, threads: int | None = None) -> Evaluation:
    r"""The value that `pi` guarantees, :math:`v = \sum_a \pi(a|s)\,(r + \gamma \sigma_{s,a}(v))`, with its error bound.

    Nature's policy iteration from the value under `P`: values decrease until nature's answers no longer change.
    """
    nature = _nature(mdp, ball, threads)
    return _evaluate(nature, mdp.policy(pi))


def worst_transitions(mdp: TabularMDP, ball: Ball, v: ArrayLike, *, threads: int | None = None) -> Array | Sparse:
    """Nature's answer to `v`: transitions float[S, A, S] or CSR (S*A, S), as those of `mdp` are."""
    values = checks.shaped("v", v, (mdp.n_states,), "(S,)").copy()  # writable, as the solvers' are: compiled once
    nature = _nature(mdp, ball, threads)
    rows = np.flatnonzero(mdp.actions)
    Q = _answers(nature, values, rows, keep=True).Q
    place = csr_array((np.ones(len(rows)), (rows, np.arange(len(rows)))), shape=(mdp.r.size, len(rows)))
    return place @ Q if mdp.is_sparse else np.asarray(place @ Q).reshape(*mdp.r.shape, mdp.n_states)


class _Nature(NamedTuple):
    mdp: TabularMDP
    ball: Ball  # without its radius, so that it is compiled once for floats and arrays
    radius: Array  # [S*A]
    threads: int


class _Answers(NamedTuple):
    value: Array  # [n], q @ v for each of the rows asked for
    gap: float  # how far any of them may lie above nature's minimum
    Q: Any  # [n, S], dense or CSR as the MDP is; empty unless asked for


def _nature(mdp: TabularMDP, ball: Ball, threads: int | None) -> _Nature:
    if not isinstance(mdp, TabularMDP):
        raise TypeError(f"mdp must be a discounted TabularMDP, got {type(mdp).__name__}.")
    if not isinstance(ball, Ball):
        raise TypeError(f"ball must be one of TotalVariation, L1, ChiSquare and KL, got {type(ball).__name__}.")
    if np.ndim(ball.radius) and np.shape(ball.radius) != mdp.r.shape:
        raise ValueError(f"radius must have shape (S, A) = {mdp.r.shape}, got {np.shape(ball.radius)}.")
    radius = np.where(mdp.terminal[:, None], 0.0, np.broadcast_to(ball.radius, mdp.r.shape)).reshape(-1)
    return _Nature(mdp, replace(ball, radius=0.0), radius, threads_or_default(threads))  # type: ignore[type-var]


def _solution(mdp: TabularMDP, ball: Ball, tol: float, jumps: bool, limit: int, threads: int | None) -> Solution:
    nature = _nature(mdp, ball, threads)
    found = fixed_point(mdp, lambda v: _backup(nature, v), tol, jumps=jumps, limit=limit)
    solution = Solution(found.v, _improve(nature, found.at)[1], found.error, found.iterations)
    if not found.error <= tol:
        raise NotConverged(
            f"tolerance {tol:g} asked, {found.error:.3g} certified after {found.iterations} iterations.", solution
        )
    return solution


def _improve(nature: _Nature, v: Array) -> tuple[Array, Ints, float]:
    """The robust operator on `v`, a greedy policy, and a bound on the error."""
    mdp, rows = nature.mdp, np.flatnonzero(nature.mdp.actions)
    answers = _answers(nature, v, rows)
    q = np.full(mdp.r.size, -np.inf)
    q[rows] = mdp.r.reshape(-1)[rows] + mdp.gamma * answers.value
    q = q.reshape(mdp.r.shape)
    policy = q.argmax(axis=1)
    return q[np.arange(mdp.n_states), policy], policy, _slack(mdp, v, answers.gap)


def _slack(mdp: TabularMDP, v: Array, gap: float, terms: int = 0) -> float:
    return rounding(mdp, v, mdp.gamma, terms=terms + 2) + mdp.gamma * gap  # nature may add one successor


def _backup(nature: _Nature, v: Array) -> Backup:
    tv, policy, slack = _improve(nature, v)

    def jump(proved: bool) -> Array:
        if proved:
            return _evaluate(nature, policy).v
        return v + resolvent(nature.mdp, _under(nature, v, policy)[2], tv - v)

    return Backup(tv, slack, jump)


def _under(nature: _Nature, v: Array, pi: Array | Ints) -> tuple[Array, float, Any]:
    """One step ahead of `v` under `pi` and nature's answers, a bound on its error, and the transitions (S, S)."""
    mdp, (S, A) = nature.mdp, nature.mdp.r.shape
    weights = np.eye(A)[pi.astype(np.int64)] if pi.ndim == 1 else pi
    rows = np.flatnonzero(weights)
    share = csr_array((weights.reshape(-1)[rows], (rows // A, np.arange(len(rows)))), shape=(S, len(rows)))
    answers = _answers(nature, v, rows, keep=True)
    tv = share @ (mdp.r.reshape(-1)[rows] + mdp.gamma * answers.value)
    return np.asarray(tv), _slack(mdp, v, answers.gap, terms=A), share @ answers.Q


def _evaluate(nature: _Nature, pi: Array | Ints) -> Evaluation:
    mdp, more = nature.mdp, contraction(nature.mdp)[1]
    excess = max(float(pi.sum(axis=1).max()) - 1, 0.0) + mdp.n_actions * EPS if pi.ndim == 2 else 0.0
    if more * (1 + excess) >= 1:
        raise ValueError(f"gamma = {mdp.gamma!r} is too close to 1 for rows of pi that sum to 1 + {excess:.2g}.")
    v, best, stalled = policy_value(mdp, pi).v, Evaluation(np.zeros(mdp.n_states), np.inf), 0
    while True:
        tv, slack, P_pi = _under(nature, v, pi)
        residual = float(abs(tv - v).max())
        error = (1 + 8 * EPS) * (residual + 2 * (1 + excess) * slack) / (1 - more * (1 + excess))
        # residuals may rise while values fall, so only near the floor of float64 is standing still the end
        stalled = stalled + 1 if best.error <= error and residual <= 100 * slack else 0
        if error < best.error:
            best = Evaluation(v, error)
        if residual <= 2 * slack or stalled > 5 or not np.isfinite(error):
            return best
        v = v + resolvent(mdp, P_pi, tv - v)


def _answers(nature: _Nature, v: Array, rows: Ints, *, keep: bool = False) -> _Answers:
    """Nature's answers to `v` in the rows ``s * A + a`` of `rows`; the transitions only where they are to be kept."""
    mdp, ball, n = nature.mdp, nature.ball, len(rows)
    value, gap, radius = np.empty(n), np.empty(n), nature.radius
    if not mdp.is_sparse:
        P, order = mdp.P.reshape(-1, mdp.n_states), np.argsort(-v)
        Q = np.empty((n if keep else 0, mdp.n_states))
        spread(
            lambda start, stop: _dense(ball, P, v, order, radius, rows, start, stop, value, gap, Q),
            n, nature.threads, least=LEAST,
        )  # fmt: skip
        return _Answers(value, float(gap.max()), Q)
    P, ends = mdp.P, np.concatenate([[0], np.cumsum(np.diff(mdp.P.indptr)[rows] + 1)])
    data, indices = np.empty(ends[-1] if keep else 0), np.empty(ends[-1] if keep else 0, np.int64)
    lowest = int(v.argmin())
    spread(
        lambda start, stop: _sparse(
            ball, P.indptr, P.indices, P.data, v, lowest, radius, rows, start, stop, value, gap, ends, indices, data
        ),
        n, nature.threads, least=LEAST,
    )  # fmt: skip
    Q = csr_array((data, indices, ends if keep else np.zeros(n + 1, np.int64)), shape=(n, mdp.n_states))
    Q.sum_duplicates()
    Q.eliminate_zeros()
    return _Answers(value, float(gap.max()), Q)


@kernel
def _dense(
    ball: Ball, P: Array, v: Array, order: Ints, radius: Array, rows: Ints, start: int, stop: int,
    value: Array, gap: Array, Q: Array,
) -> None:  # fmt: skip
    """Answers to `v` in dense rows, all of which share the `order` of `v`."""
    scratch = np.empty(v.size)
    for i in range(start, stop):
        row = rows[i]
        q = Q[i] if len(Q) else scratch
        q[:] = P[row]
        gap[i] = ball.answer(P[row], v, order, float(radius[row]), q) if radius[row] > 0 else 0.0
        value[i] = dot(q, v)


@kernel
def _sparse(
    ball: Ball, indptr: Ints, indices: Ints, data: Array, v: Array, lowest: int, radius: Array, rows: Ints,
    start: int, stop: int, value: Array, gap: Array, ends: Ints, out_indices: Ints, out: Array,
) -> None:  # fmt: skip
    """Answers to `v` in sparse rows, to each of which the `lowest` state is added with probability 0."""
    longest = 1
    for i in range(start, stop):
        longest = max(longest, indptr[rows[i] + 1] - indptr[rows[i]] + 1)
    p, x, q, order = np.empty(longest), np.empty(longest), np.empty(longest), np.empty(longest, np.int64)
    for i in range(start, stop):
        row = rows[i]
        begin, n = indptr[row], indptr[row + 1] - indptr[row]
        for k in range(n):
            p[k], x[k] = data[begin + k], v[indices[begin + k]]
        p[n], x[n] = 0.0, v[lowest]
        q[: n + 1] = p[: n + 1]
        gap[i] = 0.0
        if radius[row] > 0:
            _sort_downwards(x[:n], order[:n])
            order[n] = n
            gap[i] = ball.answer(p[: n + 1], x[: n + 1], order[: n + 1], float(radius[row]), q[: n + 1])
        value[i] = dot(q[: n + 1], x[: n + 1])
        if len(out):
            out[ends[i] : ends[i + 1]] = q[: n + 1]
            out_indices[ends[i] : ends[i + 1] - 1] = indices[begin : begin + n]
            out_indices[ends[i + 1] - 1] = lowest


@part
def _sort_downwards(x: Array, order: Ints) -> None:
    """Heapsort of indices (Williams 1964): no memory, no bad case, and short rows cost little."""
    n = x.size
    for i in range(n):
        order[i] = i
    for top in range(n // 2 - 1, -1, -1):
        _sift(x, order, top, n)
    for last in range(n - 1, 0, -1):
        order[0], order[last] = order[last], order[0]
        _sift(x, order, 0, last)


@part
def _sift(x: Array, order: Ints, top: int, n: int) -> None:
    """Let the entry at `top` of a heap with the least value on top sink to its place."""
    entry = order[top]
    while 2 * top + 1 < n:
        child = 2 * top + 1
        if child + 1 < n and x[order[child + 1]] < x[order[child]]:
            child += 1
        if x[order[child]] >= x[entry]:
            break
        order[top] = order[child]
        top = child
    order[top] = entry
