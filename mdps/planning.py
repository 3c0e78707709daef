r"""Planning in discounted MDPs, each answer with a proved error.

Throughout, ``v`` is float[S], ``q`` is float[S, A], a policy is int[S] (deterministic) or float[S, A].  Certificates
are those of :mod:`claimlab.mdps.certificates`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from claimlab import checks
from claimlab.checks import Array, Bools, Ints
from claimlab.mdps import batched_kernels
from claimlab.mdps.certificates import (
    Evaluation,
    NotConverged,
    Progress,
    Solution,
    conclude,
    contraction,
    middle,
)
from claimlab.mdps.corrections import Corrections, Pace
from claimlab.mdps.devices import DeviceSweeps, elsewhere, require_torch
from claimlab.mdps.kernels import row_maxima
from claimlab.mdps.resolvent import resolvent as resolvent
from claimlab.mdps.sweeps import Change, Sweeps
from claimlab.mdps.tabular import EPS, FiniteMDP, TabularMDP, rounding
from claimlab.native import threads_or_default

TINY = 120  # states up to which elimination compiled for small matrices beats LAPACK and the calls around it
SMALL = 300  # states up to which policy iteration with direct solves is the fastest
SPARSE = 8  # times the longest row is at most the number of states where CSR rows beat dense ones
DEPTH = 100  # evaluation sweeps between improvements
PATIENCE = 60  # evaluation sweeps still to come, as things go, at which sweeping is slow


def backup(mdp: FiniteMDP, v: Array, gamma: float) -> Array:
    r"""One step ahead, :math:`q(s,a) = r(s,a) + \gamma \sum_t P(t|s,a) v(t)`; minus infinity for missing actions."""
    q = mdp.r + gamma * mdp.expect(v)
    return q if mdp.actions.all() else np.where(mdp.actions, q, -np.inf)


def bellman(mdp: TabularMDP, v: ArrayLike) -> Array:
    """Optimal action values one step ahead of `v`, float[S, A]; minus infinity for missing actions."""
    return backup(mdp, checks.shaped("v", v, (mdp.n_states,), "(S,)"), mdp.gamma)


def improve(mdp: FiniteMDP, v: Array, gamma: float) -> tuple[Array, Ints]:
    """The optimality operator on `v`, float[S], and a greedy policy, int[S] (the first of tied actions)."""
    q = backup(mdp, v, gamma)
    policy = q.argmax(axis=1)
    return q[np.arange(len(q)), policy], policy


def value_iteration(
    mdp: TabularMDP, tol: float = 1e-10, *, max_sweeps: int = 1_000_000, threads: int | None = None
) -> Solution:
    """Apply the optimality operator until the span certificate falls to `tol`."""
    return modified_policy_iteration(mdp, tol, depth=0, max_sweeps=max_sweeps, threads=threads)


def modified_policy_iteration(
    mdp: TabularMDP,
    tol: float = 1e-10,
    *,
    depth: int = DEPTH,
    max_sweeps: int = 1_000_000,
    start: ArrayLike | None = None,
    threads: int | None = None,
) -> Solution:
    """Between improvements, evaluate the greedy policy for up to `depth` sweeps (Puterman & Shin 1978), from `start`.

    Evaluation stops early: sweeping on would refine the value of a policy that the next improvement changes.  A tenth
    of the improvement's span is enough at first, less as fewer states change their action.  Improvements look again
    only at the states where values have drifted further than the lead of their action, which is exact.
    """
    tol, sweeps, v = _begin(mdp, tol, start, threads)
    return _within(tol, _modify(mdp, sweeps, v, tol, depth, max_sweeps, np.inf)[0], "sweeps")


def krylov_policy_iteration(
    mdp: TabularMDP,
    tol: float = 1e-10,
    *,
    max_iterations: int = 10_000,
    start: ArrayLike | None = None,
    threads: int | None = None,
) -> Solution:
    r"""Gauss–Seidel sweeps of the optimality operator in turn with solutions of the greedy policy's equations.

    For MDPs in which news travels slowly (grids, chains, discounts near 1).  A sweep carries a reward across the whole
    state space in the order of the states, and the next in the other; the correction
    :math:`(I - \gamma P_\pi)^{-1}(Tv - v)` then settles what remains within the policy.  It is solved by BiCGSTAB and
    loosely, since the policy will change, or by a direct method where that stalls or rows are long.  Where actions
    share their successors, as on grids, groups of states give the first values, and corrections on several scales for
    as long as they work (:mod:`claimlab.mdps.multilevel`).  Where residuals do not fall, sweeps go on without
    corrections, and these become finer (:class:`claimlab.mdps.corrections.Pace`).
    """
    tol, sweeps, v = _begin(mdp, tol, start, threads)
    return _within(tol, _accelerate(mdp, sweeps, v, tol, max_iterations), "iterations")


def _begin(mdp: TabularMDP, tol: float, start: ArrayLike | None, threads: int | None) -> tuple[float, Sweeps, Array]:
    """The tolerance checked, a workspace and the first values: by default those of the mean best reward for ever."""
    tol = checks.interval("tol", tol, 0, np.inf, "()")
    sweeps = Sweeps(mdp, mdp.gamma, threads_or_default(threads))
    if start is not None:
        v = np.array(checks.shaped("start", start, (mdp.n_states,), "(S,)"))
    else:
        best = np.empty(mdp.n_states)
        row_maxima(sweeps.r, best)
        v = best + mdp.gamma / (1 - mdp.gamma) * best.mean()
    return tol, sweeps, v


def _modify(
    mdp: TabularMDP,
    sweeps: Sweeps | DeviceSweeps,
    start: Array,
    tol: float,
    depth: int,
    max_sweeps: int,
    patience: float,
) -> tuple[Solution, bool]:
    """Modified policy iteration; False with values, and no policy, once it would take more than `patience` sweeps yet.

    `start` may be overwritten.
    """
    v, tv = sweeps.vector(start), sweeps.vector(np.empty_like(start))
    used, progress = 0, Progress(mdp, tol)
    enough = 0.7 * tol * (1 - mdp.gamma) / max(mdp.gamma, EPS)  # a third of the span that certifies tol
    while True:
        change = sweeps.improve(v, tv)
        used += 1
        low, high, over = progress.bounds(change.low, change.high, sweeps.slack)
        if over or used >= max_sweeps:
            return middle(sweeps.host(tv), sweeps.policy, low, high, used), True
        v, tv = tv, v
        share = min(change.changed / mdp.n_states, 0.1)
        target = max(share * (change.high - change.low), enough)
        v, tv, done, hopeful = _evaluate(sweeps, v, tv, target, enough, depth, patience)
        used += done
        if not hopeful:
            change = sweeps.improve(v, tv)
            low, high, _ = progress.bounds(change.low, change.high, sweeps.slack)
            return middle(sweeps.host(tv), np.empty(0, np.int64), low, high, used + 1), False


def _evaluate(
    sweeps: Sweeps | DeviceSweeps, v: Any, w: Any, target: float, enough: float, depth: int, patience: float
) -> tuple[Any, Any, int, bool]:
    """Up to `depth` evaluation sweeps of the policy from `v`, until the residual's span is at most `target`.

    Returns the value, shifted by the middle of its residual's series, a spare array, the sweeps made, and whether the
    span falls fast enough to be at `enough` within `patience` sweeps.
    """
    if depth == 0:
        return v, w, 0, True
    first, change, done, gamma = 0.0, Change(0.0, 0.0, 0), 0, sweeps.gamma
    while done < depth:
        change = sweeps.evaluate(v, w)
        v, w, done = w, v, done + 1
        span = change.high - change.low
        if not span > target:
            break
        first = first or span
        if done % 8 == 0 and done * np.log(enough / span) < patience * np.log(span / first):
            return v, w, done, False
    v += gamma / (1 - gamma) * (change.low + change.high) / 2
    return v, w, done, True


def _accelerate(mdp: TabularMDP, sweeps: Sweeps, v: Array, tol: float, max_iterations: int) -> Solution:
    tv, spare, progress = np.empty_like(v), np.empty_like(v), Progress(mdp, tol)
    row_maxima(sweeps.r, tv)
    least, largest = float(tv.min()) / (1 - mdp.gamma), float(tv.max()) / (1 - mdp.gamma)  # v* is in between
    corrections, pace, iteration = Corrections(mdp, sweeps, tol), Pace(), 0
    if corrections.start(spare):
        v, spare = spare, v
    while True:
        np.clip(v, least, largest, out=v)
        for backward in (True, False, True, False):
            sweeps.gauss_seidel(v, backward=backward)
        change = sweeps.improve(v, tv)
        iteration += 1
        low, high, over = progress.bounds(change.low, change.high, sweeps.slack)
        if over or iteration >= max_iterations:
            return middle(tv, sweeps.policy, low, high, iteration)
        if pace.rests(max(-change.low, change.high), iteration == 1):
            v, tv = tv, v
        else:
            v, tv, spare = corrections.add(v, tv, spare, pace, iteration)


def _within(tol: float, solution: Solution, unit: str) -> Solution:
    if not solution.error <= tol:  # so that NaN is no success
        raise NotConverged(
            f"tolerance {tol:g} asked, {solution.error:.3g} certified after {solution.iterations} {unit}.", solution
        )
    return solution


def policy_iteration(mdp: TabularMDP, *, max_iterations: int = 10_000) -> Solution:
    """Evaluate exactly, improve where strictly better, until no action improves (Howard 1960).

    A switch is made where it is proved to improve, so rounding cannot make it cycle.  Where none is, whatever looks
    better is tried as long as that halves the certificate, which is that of the best backup seen.
    """
    _, policy = improve(mdp, np.zeros(mdp.n_states), mdp.gamma)
    states, best, tried = np.arange(mdp.n_states), None, np.inf
    for iteration in range(1, max_iterations + 1):
        v, error = _evaluation(mdp, policy)
        q = backup(mdp, v, mdp.gamma)
        greedy = q.argmax(axis=1)
        found = conclude(mdp, v, q[states, greedy], greedy, iteration)
        best = found if best is None or found.error < best.error else best
        gain = q[states, greedy] - q[states, policy]
        better = gain > 2 * (error + rounding(mdp, v, mdp.gamma))
        if not better.any():
            better = gain > 0
            if not better.any() or not found.error < tried / 2:
                return best
            tried = found.error
        policy = np.where(better, greedy, policy)
    assert best is not None  # max_iterations is at least 1
    raise NotConverged(f"no fixed point after {max_iterations} improvements.", best)


def _tiny_policy_iteration(mdp: TabularMDP) -> Solution:
    """:func:`policy_iteration` as compiled for batches of small MDPs, on a batch of one."""
    contraction(mdp)
    gamma, row_error = np.array([mdp.gamma]), np.array([mdp.row_error])
    gamma.flags.writeable = row_error.flags.writeable = False  # as in a batch: another type would be compiled anew
    v, policy = np.empty((1, mdp.n_states)), np.empty((1, mdp.n_states), np.int64)
    error, iterations = np.empty(1), np.empty(1, np.int64)
    batched_kernels.policy_iteration(
        mdp.P[None], mdp.r[None], gamma, mdp.actions[None], row_error, False, 0, 1, v, policy, error, iterations
    )
    return Solution(v[0], policy[0], float(error[0]), int(iterations[0]))


def solve(mdp: TabularMDP, tol: float = 1e-9, *, threads: int | None = None, device: str | None = None) -> Solution:
    """Solve `mdp` so that ``max |v - v*| <= tol``, proved; the method is chosen from the problem.

    Policy iteration with direct solves where the matrix is small.  Else modified policy iteration; and as soon as
    its sweeps turn out to need hundreds more, :func:`krylov_policy_iteration`.  Each can also be called by
    its name.

    Parameters
    ----------
    mdp : TabularMDP
    tol : float
    threads : int, optional
        How many to use; by default ``NUMBA_NUM_THREADS``, or every core.  The solution does not depend on it.
    device : str, optional
        "cpu", or a device of torch such as "cuda" for the sweeps of modified policy iteration.  By default a GPU sweeps
        where there is one, torch is installed, and `P` has more than two million entries.
    """
    checks.interval("tol", tol, 0, np.inf, "()")
    if not isinstance(mdp, TabularMDP):
        raise TypeError(
            f"solve takes a discounted TabularMDP, got {type(mdp).__name__}; see backward_induction for episodic and "
            "relative_value_iteration for average reward."
        )
    if device not in (None, "cpu"):
        require_torch(device)
    start = None
    if mdp.n_states <= SMALL:
        tiny = mdp.n_states <= TINY and not mdp.is_sparse
        solution = _tiny_policy_iteration(mdp) if tiny else policy_iteration(mdp)
        if solution.error <= tol or not np.isfinite(solution.v).all():
            return _within(tol, solution, "iterations")
        start = solution.v
    if not mdp.is_sparse and SPARSE * mdp.row_length <= mdp.n_states:
        rows = csr_array(mdp.P.reshape(-1, mdp.n_states))
        mdp = TabularMDP(rows, mdp.r, mdp.gamma, actions=mdp.actions, terminal=mdp.terminal)
    tol, sweeps, v = _begin(mdp, tol, start, threads)
    there = elsewhere(device, mdp.n_entries)
    work = DeviceSweeps(mdp, mdp.gamma, there) if there else sweeps
    solution, arrived = _modify(mdp, work, v, tol, depth=DEPTH, max_sweeps=1_000_000, patience=PATIENCE)
    if not arrived:
        v = solution.v
        found = _accelerate(mdp, sweeps, v, tol, max_iterations=10_000)
        solution = found._replace(iterations=solution.iterations + found.iterations)
    return _within(tol, solution, "iterations")


def policy_value(mdp: TabularMDP, pi: ArrayLike, *, device: str | None = None) -> Evaluation:
    r"""Value of `pi`, the solution of :math:`v = r_\pi + \gamma P_\pi v`, with a bound from its residual.

    For a stochastic `pi` the residual is that of :math:`\sum_a \pi(a|s) q(s,a)`, so that the rounding of
    :math:`P_\pi` needs no bound, and rows of `pi` need sum to 1 only about.

    Parameters
    ----------
    mdp : TabularMDP
    pi : int[S] or float[S, A]
    device : str, optional
        "cpu", or a device of torch such as "cuda" for the sparse systems that are solved by iteration; the bound is
        computed here in any case.  The default is that of :func:`solve`.
    """
    return _evaluation(mdp, mdp.policy(pi), elsewhere(device, mdp.n_entries))


def _evaluation(mdp: TabularMDP, pi: Array | Ints, device: str | None = None) -> Evaluation:
    P_pi, r_pi = mdp.under(pi)
    _, more = contraction(mdp)
    v = resolvent(mdp, P_pi, r_pi, device=device)
    if pi.ndim == 1:
        excess, slack, tv = 0.0, rounding(mdp, v, mdp.gamma), r_pi + mdp.gamma * (P_pi @ v)
    else:
        excess = max(float(pi.sum(axis=1).max()) - 1, 0.0) + mdp.n_actions * EPS
        slack = (1 + excess) * rounding(mdp, v, mdp.gamma, terms=mdp.n_actions)
        tv = (pi * (mdp.r + mdp.gamma * mdp.expect(v))).sum(axis=1)
    if more * (1 + excess) >= 1:
        raise ValueError(f"gamma = {mdp.gamma!r} is too close to 1 for rows of pi that sum to 1 + {excess:.2g}.")
    residual = float(abs(tv - v).max()) + 2 * slack
    return Evaluation(v, (1 + 8 * EPS) * residual / (1 - more * (1 + excess)))


def action_values(mdp: TabularMDP, solution: Solution | None = None) -> tuple[Array, float]:
    """Optimal action values float[S, A] and a certified bound on their error; `solution` is made if not given."""
    solution = solve(mdp, finest(mdp)) if solution is None else solution
    q = backup(mdp, solution.v, mdp.gamma)
    error = mdp.gamma * (1 + mdp.row_error) * solution.error + rounding(mdp, solution.v, mdp.gamma)
    return q, error


def finest(mdp: TabularMDP) -> float:
    """A tolerance near the floor of float64 for this MDP: a thousand roundings of its largest value."""
    scale = max(float(abs(mdp.r).max()), np.finfo(float).tiny) / (1 - mdp.gamma)
    return 1e3 * (mdp.row_length + 4) * EPS * scale / (1 - mdp.gamma)


def gaps(mdp: TabularMDP, solution: Solution | None = None) -> tuple[Array, float]:
    r""":math:`\Delta(s,a) = v^*(s) - q^*(s,a)`, float[S, A] (infinite for missing actions), and their error bound."""
    q, error = action_values(mdp, solution)
    return q.max(axis=1, keepdims=True) - q, 2 * error


def optimal_actions(mdp: TabularMDP, solution: Solution | None = None, *, atol: float | None = None) -> Bools:
    """Which actions are optimal, bool[S, A].

    An action counts as optimal unless its gap is proved to be positive: with ``atol=None``, unless the gap exceeds its
    certified error; otherwise unless it exceeds `atol`.  For rational data, `claimlab.mdps.exact` decides ties exactly.
    """
    gap, error = gaps(mdp, solution)
    if atol is not None and checks.interval("atol", atol, 0, np.inf, "[)") < error:
        raise ValueError(f"atol = {atol:g} is below the certified error {error:.3g} of the gaps.")
    return gap <= (error if atol is None else atol)


def occupancy(mdp: TabularMDP, pi: ArrayLike, initial: ArrayLike | None = None) -> Array:
    r"""Normalised discounted occupancy, float[S, A]: :math:`(1-\gamma)\sum_t \gamma^t \Pr(s_t{=}s, a_t{=}a)`."""
    start = mdp.initial if initial is None else checks.distributions("initial", initial, ndim=1)
    if start.shape != (mdp.n_states,):
        raise ValueError(f"initial must have shape (S,) = ({mdp.n_states},), got {start.shape}.")
    pi = mdp.policy(pi)
    P_pi, _ = mdp.under(pi)
    visits = (1 - mdp.gamma) * resolvent(mdp, P_pi, np.array(start), transpose=True)
    if pi.ndim == 1:
        out = np.zeros(mdp.r.shape)
        out[np.arange(mdp.n_states), pi.astype(np.int64)] = visits
        return out
    return visits[:, None] * pi
