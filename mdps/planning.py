r"""Planning in discounted MDPs, each answer with a proved error.

Throughout, ``v`` is float[S], ``q`` is float[S, A], a policy is int[S] (deterministic) or float[S, A].

The certificate.  Let :math:`T` be the optimality operator and :math:`a \le (Tv - v)(s) \le b` for all `s`.  Since `T` is
monotone and :math:`T(v + k) = Tv + \gamma k` for constants `k`,

.. math:: Tv + \tfrac{\gamma}{1-\gamma} a \;\le\; v^\pi \;\le\; v^* \;\le\; Tv + \tfrac{\gamma}{1-\gamma} b

for the policy :math:`\pi` that is greedy for `v` (MacQueen 1966; Puterman 2005, Theorem 6.6.3).  :func:`certify` computes
`a` and `b` outward-rounded and lets rows of `P` sum to :math:`1 \pm` ``mdp.row_error``, so the bounds hold for the stored
numbers, not for an idealised MDP.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse.linalg import LinearOperator, bicgstab

from claimlab import checks
from claimlab.checks import Array, Bools, Ints
from claimlab.mdps.kernels import sweep
from claimlab.mdps.tabular import EPS, FiniteMDP, TabularMDP

DIRECT = 3_000  # states up to which a dense LU factorisation beats iterating


class NotConverged(RuntimeError):
    """The requested tolerance was not reached; `solution` is the best there is, with its certificate."""

    def __init__(self, message: str, solution: Any) -> None:
        super().__init__(message)
        self.solution = solution


class Solution(NamedTuple):
    """A solution with its own certificate."""

    v: Array  # [S]
    policy: Ints  # [S], greedy; its own value lies within 2 * error of the optimum
    error: float  # certified bound on max |v - v*|
    iterations: int


class Evaluation(NamedTuple):
    """The value of a policy with its certificate."""

    v: Array  # [S]
    error: float  # certified bound on max |v - v_pi|


def backup(mdp: FiniteMDP, v: Array, gamma: float) -> Array:
    r"""One step ahead, :math:`q(s,a) = r(s,a) + \gamma \sum_t P(t|s,a) v(t)`; minus infinity for missing actions."""
    q = mdp.r + gamma * mdp.expect(v)
    return q if mdp.actions.all() else np.where(mdp.actions, q, -np.inf)


def bellman(mdp: TabularMDP, v: ArrayLike) -> Array:
    """Optimal action values one step ahead of `v`, float[S, A]; minus infinity for missing actions."""
    return backup(mdp, checks.shaped("v", v, (mdp.n_states,), "(S,)"), mdp.gamma)


def rounding(mdp: FiniteMDP, v: Array, gamma: float = 1.0) -> float:
    """Bound on the float64 error of a backup: n + 4 operations on numbers of the size of r and v (Higham 2002, 3.1)."""
    return (mdp.row_length + 4) * EPS * float(abs(mdp.r).max() + gamma * abs(v).max())


def certify(mdp: TabularMDP, v: Array, tv: Array) -> tuple[float, float]:
    """Shifts `low`, `high` with ``tv + low <= v_pi <= v* <= tv + high``, where `tv` is the computed backup of `v`."""
    slack = rounding(mdp, v, mdp.gamma)
    d = tv - v
    low, high = float(d.min()) - 2 * slack, float(d.max()) + 2 * slack
    less, more = mdp.gamma * (1 - mdp.row_error), mdp.gamma * (1 + mdp.row_error)
    if more >= 1:
        raise ValueError(
            f"gamma = {mdp.gamma!r} is so close to 1 that rows of P summing to 1 within {mdp.row_error:.2g} "
            "need not make a contraction; normalise the rows of P."
        )

    def geometric(x: float, outward: float) -> float:
        return x * outward / (1 - outward)

    low = geometric(low, less if low >= 0 else more) - 2 * slack
    high = geometric(high, more if high >= 0 else less) + 2 * slack
    return low, high


def _conclude(mdp: TabularMDP, v: Array, tv: Array, policy: Ints, iterations: int) -> Solution:
    low, high = certify(mdp, v, tv)
    middle = tv + (low + high) / 2
    return Solution(
        middle, policy, (high - low) / 2 + EPS * float(abs(middle).max() + abs(low) + abs(high)), iterations
    )


def improve(mdp: FiniteMDP, v: Array, gamma: float) -> tuple[Array, Ints]:
    """The optimality operator on `v`, float[S], and a greedy policy, int[S] (the first of tied actions)."""
    if mdp.is_sparse:
        P, tv, policy = mdp.P, np.empty(mdp.n_states), np.empty(mdp.n_states, np.int64)
        sweep(P.indptr, P.indices, P.data, mdp.r, gamma, mdp.actions, v, tv, policy)
        return tv, policy
    q = backup(mdp, v, gamma)
    policy = q.argmax(axis=1)
    return q[np.arange(len(q)), policy], policy


def value_iteration(mdp: TabularMDP, tol: float = 1e-10, *, max_sweeps: int = 1_000_000) -> Solution:
    """Apply the optimality operator until the span certificate falls to `tol`."""
    return modified_policy_iteration(mdp, tol, depth=0, max_sweeps=max_sweeps)


def modified_policy_iteration(
    mdp: TabularMDP, tol: float = 1e-10, *, depth: int = 100, max_sweeps: int = 1_000_000
) -> Solution:
    """Between improvements, evaluate the greedy policy for up to `depth` sweeps (Puterman & Shin 1978).

    Evaluation stops early once the span of its residual is a tenth of the improvement's: sweeping on would refine the
    value of a policy that the next improvement changes.
    """
    checks.interval("tol", tol, 0, np.inf, "()")
    v, sweeps, best, stalled = np.zeros(mdp.n_states), 0, np.inf, 0
    while True:
        tv, policy = improve(mdp, v, mdp.gamma)
        sweeps += 1
        low, high = certify(mdp, v, tv)
        if (high - low) / 2 <= tol or sweeps >= max_sweeps or stalled > 50:
            break
        stalled = 0 if high - low < best else stalled + 1  # at the floor of float64 the span wanders
        best = min(best, high - low)
        v, used = _evaluate(mdp, tv + (low + high) / 2, policy, 0.1 * float(np.ptp(tv - v)), depth)
        sweeps += used
    solution = _conclude(mdp, v, tv, policy, sweeps)
    if solution.error > tol:
        raise NotConverged(f"tolerance {tol:g} asked, {solution.error:.3g} certified after {sweeps} sweeps.", solution)
    return solution


def _evaluate(mdp: TabularMDP, v: Array, policy: Ints, span: float, depth: int) -> tuple[Array, int]:
    """Up to `depth` evaluation sweeps of `policy` from `v`, until the residual's span is at most `span`."""
    if depth == 0:
        return v, 0
    P_pi, r_pi = mdp.under(policy)
    for used in range(1, depth + 1):
        w = r_pi + mdp.gamma * (P_pi @ v)
        if np.ptp(w - v) <= span:
            return w, used
        v = w
    return v, depth


def policy_iteration(mdp: TabularMDP, *, max_iterations: int = 10_000) -> Solution:
    """Evaluate exactly, improve where strictly better, until no action improves (Howard 1960).

    Ties keep the current action, so rounding cannot make it cycle.  The certificate is that of the last backup.
    """
    _, policy = improve(mdp, np.zeros(mdp.n_states), mdp.gamma)
    states = np.arange(mdp.n_states)
    for iteration in range(1, max_iterations + 1):
        v, error = policy_value(mdp, policy)
        q = backup(mdp, v, mdp.gamma)
        greedy = q.argmax(axis=1)
        better = q[states, greedy] > q[states, policy] + 2 * (error + rounding(mdp, v, mdp.gamma))
        if not better.any():
            return _conclude(mdp, v, q[states, greedy], greedy, iteration)
        policy = np.where(better, greedy, policy)
    solution = _conclude(mdp, v, q[states, greedy], greedy, max_iterations)
    raise NotConverged(f"no fixed point after {max_iterations} improvements.", solution)


def solve(mdp: TabularMDP, tol: float = 1e-9) -> Solution:
    """Solve `mdp` so that ``max |v - v*| <= tol``, proved; the method is chosen from its size.

    Policy iteration with direct solves where the dense matrix is small, modified policy iteration beyond.
    """
    checks.interval("tol", tol, 0, np.inf, "()")
    solution = policy_iteration(mdp) if mdp.n_states <= DIRECT // 10 else None
    if solution is not None and solution.error <= tol:
        return solution
    return modified_policy_iteration(mdp, tol)


def policy_value(mdp: TabularMDP, pi: ArrayLike) -> Evaluation:
    r"""Value of `pi`, the solution of :math:`v = r_\pi + \gamma P_\pi v`, with a bound from its residual."""
    P_pi, r_pi = mdp.under(mdp.policy(pi))
    v = resolvent(mdp, P_pi, r_pi)
    residual = float(abs(r_pi + mdp.gamma * (P_pi @ v) - v).max()) + 2 * rounding(mdp, v, mdp.gamma)
    return Evaluation(v, residual / (1 - mdp.gamma * (1 + mdp.row_error)))


def resolvent(mdp: TabularMDP, P_pi: Any, b: Array, *, transpose: bool = False) -> Array:
    r"""Solve :math:`(I - \gamma P_\pi) x = b`, or its transpose, for one or several right-hand sides float[S, ...].

    Dense matrices by LU; sparse ones by BiCGSTAB, whose failures are made good by the Neumann series
    (:math:`\gamma P_\pi` contracts, so that always converges).  No S-by-S dense matrix is made from sparse input beyond
    `DIRECT` states.
    """
    M = P_pi.T if transpose else P_pi
    if not mdp.is_sparse or mdp.n_states <= DIRECT:
        dense = M.toarray() if mdp.is_sparse else M
        return np.linalg.solve(np.eye(mdp.n_states) - mdp.gamma * dense, b)
    if b.ndim > 1:
        return np.stack([resolvent(mdp, P_pi, column, transpose=transpose) for column in b.T], axis=1)
    operator = LinearOperator(M.shape, matvec=lambda x: x - mdp.gamma * (M @ x), dtype=np.float64)
    x, _ = bicgstab(operator, b, rtol=1e-14, atol=0.0, maxiter=500)
    x = x if np.isfinite(x).all() else b.copy()
    scale = abs(b).max() or 1.0
    while abs(step := b + mdp.gamma * (M @ x) - x).max() > 8 * EPS * (scale + abs(x).max()):
        x = x + step
    return x


def action_values(mdp: TabularMDP, solution: Solution | None = None) -> tuple[Array, float]:
    """Optimal action values float[S, A] and a certified bound on their error; `solution` is made if not given."""
    solution = solve(mdp, _finest(mdp)) if solution is None else solution
    q = backup(mdp, solution.v, mdp.gamma)
    error = mdp.gamma * (1 + mdp.row_error) * solution.error + rounding(mdp, solution.v, mdp.gamma)
    return q, error


def _finest(mdp: TabularMDP) -> float:
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
    r"""Normalised discounted occupancy :math:`d(s,a) = (1-\gamma)\sum_t \gamma^t \Pr(s_t{=}s, a_t{=}a)`, float[S, A]."""
    start = mdp.initial if initial is None else checks.distributions("initial", initial, ndim=1)
    if start.shape != (mdp.n_states,):
        raise ValueError(f"initial must have shape (S,) = ({mdp.n_states},), got {start.shape}.")
    pi = mdp.policy(pi)
    P_pi, _ = mdp.under(pi)
    visits = (1 - mdp.gamma) * resolvent(mdp, P_pi, np.array(start), transpose=True)
    if pi.ndim == 1:
        out = np.zeros(mdp.r.shape)
        out[np.arange(mdp.n_states), pi] = visits
        return out
    return visits[:, None] * pi
