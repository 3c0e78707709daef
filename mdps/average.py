r"""The long-run average reward: gain, bias, and bounds on the gain that hold in float64.

For any `v` and :math:`d = Lv - v`, :math:`(Lv)(s) = \max_a r(s,a) + \sum_t P(t|s,a) v(t)`, the optimal gain of every
state lies between :math:`\min d` and :math:`\max d` (Puterman 2005, Theorem 8.5.5).  More is true state by state: the
gain of `s` is at most the largest `d` that any policy reaches from `s`, and at least the smallest `d` that the greedy
policy reaches.  Where these bounds part, the optimal gain depends on the state, and no single number can be returned.

The bounds are for the MDP whose rows of `P` are divided by their sums, since other rows have no average reward.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csc_array, csr_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import spsolve

from claimlab import checks
from claimlab.checks import Array, Ints, Sparse
from claimlab.mdps.certificates import NotConverged
from claimlab.mdps.planning import SMALL, improve
from claimlab.mdps.resolvent import DIRECT
from claimlab.mdps.sweeps import Sweeps
from claimlab.mdps.tabular import EPS, AverageMDP, rounding
from claimlab.native import threads_or_default

DAMPING = 0.75  # the share of a step that is taken; below 1, so that every chain becomes aperiodic
QUICK = 0.9  # factor by which the span falls in a sweep where no damping is needed
PERIOD = 32  # sweeps before the chain structure is looked at


class AverageSolution(NamedTuple):
    """Optimal gain with its certificate."""

    gain: float
    bias: Array  # [S], relative values: the bias of an optimal policy up to a constant, 0 in state 0
    policy: Ints  # [S], greedy; its gain lies within 2 * error of the optimum
    error: float  # certified bound on |gain - gain*|
    iterations: int


class AverageEvaluation(NamedTuple):
    """Gain, bias and stationary law of a policy with one recurrent class."""

    gain: float
    bias: Array  # [S], normalised so that stationary @ bias = 0
    stationary: Array  # [S]
    error: float  # certified bound on the error of `gain`


def relative_value_iteration(
    mdp: AverageMDP, tol: float = 1e-9, *, max_sweeps: int = 1_000_000, threads: int | None = None
) -> AverageSolution:
    r"""Iterate :math:`v \leftarrow v + \tau (Lv - v)`, which is value iteration for :math:`(1-\tau) I + \tau P`.

    The transformed chains are aperiodic and have the same policies, bias and gains times :math:`\tau` (Puterman 2005,
    Section 8.5.4).  As long as that makes the span of :math:`Lv - v` fall quickly, steps are taken whole,
    :math:`\tau = 1`, and followed by sweeps of the greedy policy alone.  Small MDPs now and then try the bias of the
    greedy policy as `v`, so slow mixing costs little.

    Raises
    ------
    NotConverged
        If the optimal gain is proved to depend on the state, or `tol` is below what float64 can certify.

    Examples
    --------
    >>> cycle = AverageMDP(P=[[[0, 1]], [[1, 0]]], r=[[0], [1]])
    >>> round(relative_value_iteration(cycle).gain, 8)
    0.5
    """
    checks.interval("tol", tol, 0, np.inf, "()")
    v, sweeps, best, stalled, damping = np.zeros(mdp.n_states), 0, np.inf, 0, 1.0
    tv, work = np.empty(mdp.n_states), Sweeps(mdp, 1.0, threads_or_default(threads))
    while True:
        change = work.improve(v, tv)
        low, high, slack = _outward(mdp, v, change.low, change.high, work.slack)
        sweeps += 1
        stalled = stalled + 1 if best <= high - low <= 100 * slack else 0
        reached = (high - low) / 2 <= tol or not np.isfinite(high - low)
        if reached or sweeps >= max_sweeps or stalled > 50 + mdp.n_states:
            break
        damping = damping if high - low < QUICK * best else DAMPING
        best = min(best, high - low)
        if sweeps >= PERIOD and sweeps & (sweeps - 1) == 0:
            _refuse_varying_gain(mdp, v, tv, work.policy, sweeps)
        jump = _bias(mdp, work.policy, high - low) if sweeps % PERIOD == 0 and mdp.n_states <= SMALL else None
        if jump is not None:
            v = jump
        elif damping < 1:
            v += damping * (tv - v)
        else:
            share = min(change.changed / mdp.n_states, 0.1)
            v, tv = _follow(work, tv, v, max(share * (change.high - change.low), tol / 2))
        v -= (v.max() + v.min()) / 2  # a small v rounds little
    policy = work.policy
    gain = (low + high) / 2
    solution = AverageSolution(gain, v - v[0], policy, (high - low) / 2 + EPS * abs(gain), sweeps)
    if not solution.error <= tol:
        _refuse_varying_gain(mdp, v, tv, policy, sweeps)
        raise NotConverged(
            f"tolerance {tol:g} asked, {solution.error:.3g} certified after {sweeps} sweeps: "
            f"the gain lies between {low!r} and {high!r}.",
            solution,
        )
    return solution


def gain_and_bias(mdp: AverageMDP, pi: ArrayLike) -> AverageEvaluation:
    r"""Solve :math:`g + h = r_\pi + P_\pi h` for a policy with one recurrent class, by a direct method.

    With `h(s) = 0` in one state, `g` takes the place of that unknown: the matrix is :math:`I - P_\pi` with ones in that
    column, and the stationary law solves the transposed system (Puterman 2005, Section 8.2.3).

    >>> cycle = AverageMDP(P=[[[0, 1]], [[1, 0]]], r=[[0], [1]])
    >>> gain_and_bias(cycle, [0, 0]).bias
    array([-0.25,  0.25])
    """
    pi = mdp.policy(pi)
    P_pi, r_pi = mdp.under(pi / pi.sum(axis=1, keepdims=True) if pi.ndim == 2 else pi)
    P_pi = csr_array(P_pi / np.asarray(P_pi.sum(axis=1)).reshape(-1, 1))
    closed = _closed_classes(P_pi)
    if len(closed) > 1:
        raise ValueError(
            f"pi has {len(closed)} recurrent classes (states {closed[0]} and {closed[1]} never meet), "
            "so its gain depends on the first state."
        )
    gain, h, stationary = _poisson(P_pi, r_pi)
    h = h - stationary @ h
    tv = r_pi + P_pi @ h
    terms = mdp.n_actions * (mdp.row_length + 1) if pi.ndim == 2 else 2
    low, high, _ = _bounds(mdp, h, tv, terms=terms)
    error = max(high - gain, gain - low)
    evaluation = AverageEvaluation(gain, h, stationary, error)
    if not np.isfinite(error):
        raise NotConverged("the chain is too close to one with several recurrent classes for float64.", evaluation)
    return evaluation


def _bounds(mdp: AverageMDP, v: Array, tv: Array, *, terms: int = 0) -> tuple[float, float, float]:
    """Outward bounds on the gain from the computed backup `tv` of `v`, and how much of them is for rounding."""
    d = tv - v
    return _outward(mdp, v, float(d.min()), float(d.max()), rounding(mdp, v, terms=terms))


def _outward(mdp: AverageMDP, v: Array, low: float, high: float, slack: float) -> tuple[float, float, float]:
    slack += 2 * mdp.row_error * float(abs(v).max()) + EPS * max(abs(low), abs(high))
    return low - slack, high + slack, 2 * slack


def _follow(work: Sweeps, v: Array, w: Array, target: float) -> tuple[Array, Array]:
    """Sweeps of the policy alone as long as the span of its residual falls quickly, to `target`, and a spare array."""
    last = np.inf
    while True:
        change = work.evaluate(v, w)
        v, w, span = w, v, change.high - change.low
        if not target < span < QUICK * last:
            return v, w
        last = span


def _bias(mdp: AverageMDP, policy: Ints, width: float) -> Array | None:
    """The bias of `policy`, if it has one recurrent class and gives bounds narrower than `width`."""
    P_pi, r_pi = mdp.under(policy)
    if len(_closed_classes(csr_array(P_pi))) > 1:
        return None
    h = _poisson(csr_array(P_pi), r_pi)[1]
    h -= (h.max() + h.min()) / 2
    if not np.isfinite(h).all():
        return None
    low, high, _ = _bounds(mdp, h, improve(mdp, h, 1.0)[0])
    return h if high - low < width else None


def _poisson(P_pi: Sparse, r_pi: Array) -> tuple[float, Array, Array]:
    """Gain, relative values and stationary law; not finite where the system is singular in float64."""
    S = len(r_pi)
    first = np.arange(S) == 0
    if S <= DIRECT:
        A = np.eye(S) - P_pi.toarray()
        A[:, 0] = 1
        try:
            x, law = np.linalg.solve(A, r_pi), np.linalg.solve(A.T, first.astype(float))
        except np.linalg.LinAlgError:
            return np.nan, np.full(S, np.nan), np.full(S, np.nan)
    else:
        keep = csr_array((np.where(first, 0.0, 1.0), (np.arange(S),) * 2), shape=(S, S))
        ones = csr_array((np.ones(S), np.zeros(S, np.int64), np.arange(S + 1)), shape=(S, S))
        A = csc_array(keep - P_pi @ keep + ones)
        x, law = np.asarray(spsolve(A, r_pi)), np.asarray(spsolve(csc_array(A.T), first.astype(float)))
    return float(x[0]), np.where(first, 0.0, x), law


def _closed_classes(P_pi: Sparse) -> list[int]:
    """A state of each recurrent class."""
    P_pi.eliminate_zeros()
    count, label = connected_components(P_pi, connection="strong")
    rows, columns = P_pi.nonzero()
    leaves = np.zeros(count, bool)
    leaves[label[rows[label[rows] != label[columns]]]] = True
    return [int(np.argmax(label == k)) for k in np.flatnonzero(~leaves)]


def _refuse_varying_gain(mdp: AverageMDP, v: Array, tv: Array, policy: Ints, sweeps: int) -> None:
    """Raise if the bounds of two states on the optimal gain are disjoint."""
    S, d, slack = mdp.n_states, tv - v, _bounds(mdp, v, tv)[2]
    P = mdp.P if mdp.is_sparse else csr_array(mdp.P.reshape(-1, S))
    pair, target = P.nonzero()
    moves = csr_array((np.ones(len(pair)), (pair // mdp.n_actions, target)), shape=(S, S))
    upper = _largest_reached(moves, d) + slack
    lower = -_largest_reached(csr_array(mdp.under(policy)[0]), -d) - slack
    worst, best = int(upper.argmin()), int(lower.argmax())
    if upper[worst] < lower[best]:
        raise NotConverged(
            f"the optimal gain depends on the state: at most {upper[worst]:.6g} from state {worst}, at least "
            f"{lower[best]:.6g} from state {best}.  Solve the parts of the MDP that communicate one by one.",
            AverageSolution((upper[worst] + lower[best]) / 2, v - v[0], policy, np.inf, sweeps),
        )


def _largest_reached(moves: Sparse, d: Array) -> Array:
    """The largest `d` of the states that can be reached from each state, itself included."""
    best = d
    while True:
        further = np.maximum(best, np.maximum.reduceat(best[moves.indices], moves.indptr[:-1]))
        if (further == best).all():
            return best
        best = further
