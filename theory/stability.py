r"""How far a reward may move before the optimal policy changes: the exact distance to the cliff.

Let :math:`\pi` be the optimal policy of reward `R`.  For an action `a` that :math:`\pi` does not take in `s`, the
signed vector over state-action pairs

.. math:: g_{s,a} = \mathrm{Occ}^\pi(s) - e_{(s,a)} - \gamma \sum_k P(k|s,a)\, \mathrm{Occ}^\pi(k)

(:math:`\mathrm{Occ}^\pi(s)`: row `s` of :math:`(I-\gamma P_\pi)^{-1}`, spread over the pairs :math:`(k, \pi(k))`)
gives the gap,
:math:`g_{s,a}\cdot R = V^\pi_R(s) - Q^\pi_R(s,a)`.  So :math:`\pi` is optimal exactly on the cone
:math:`C_\pi = \{R : g_{s,a}\cdot R \ge 0\ \forall s,a\}`, and by duality of norms its boundary lies at

.. math:: r(R) = \min_{s,\,a\ne\pi(s)} \frac{\Delta(s,a)}{\|g_{s,a}\|_*},

with the L1 norm of `g` when reward errors are measured in the supremum norm.  One number certifies a facet: for every
`D` that closes the gap, :math:`\Delta = -g\cdot D \le \|g\|_*\|D\|` (Hoelder).  Ours; the cells are the normal fan of
the occupancy polytope.
"""

from __future__ import annotations

from itertools import product
from math import inf, prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import block_array, coo_array, csr_array, eye_array

from claimlab import checks
from claimlab.checks import Array, Bools, Ints
from claimlab.mdps.exact import rationals, solve_linear
from claimlab.mdps.planning import finest, gaps, optimal_actions, solve
from claimlab.mdps.resolvent import resolvent
from claimlab.mdps.tabular import EPS, TabularMDP

ALL_FACETS = 1_200  # states up to which every facet's norm is computed rather than the few that can be nearest
ENUMERATED = 4_096  # optimal deterministic policies up to which ties are enumerated rather than left to a MILP


class CliffRadius(NamedTuple):
    """The distance from a reward to the nearest one under which another policy is optimal, and its certificate."""

    radius: float
    error: float  # certified bound on the numerical error of `radius`
    state: int  # the nearest facet: here ...
    action: int  # ... this action becomes as good as the policy's
    gap: float  # of that action
    multiplier: float  # 1 / ||g||_*: the dual solution; radius = gap * multiplier
    perturbation: Array  # [S, A], of norm `radius`: adding it to the reward closes the gap
    policy: Ints  # [S], the optimal policy
    unique: bool  # False: actions are tied, the radius is 0, and `inclusion_radius` is the question to ask


def _weights(mdp: TabularMDP, scale: ArrayLike | None) -> Array:
    """`scale` checked; by default 1 for every action that exists in a state that is not terminal."""
    if scale is None:
        return (mdp.actions & ~mdp.terminal[:, None]).astype(np.float64)
    out = checks.shaped("scale", scale, mdp.r.shape, "(S, A)")
    if out.min() < 0:
        raise ValueError(f"scale{np.argwhere(out < 0)[0].tolist()} is negative; it is the size of a reward error.")
    return np.where(mdp.actions, out, 0.0)


def _deterministic(mdp: TabularMDP, policy: ArrayLike) -> Ints:
    pi = mdp.policy(policy, "policy")
    if pi.ndim != 1:
        raise ValueError(f"policy must be deterministic, int[S], got shape {pi.shape}.")
    return pi.astype(np.int64)


def facet_normal(mdp: TabularMDP, policy: ArrayLike, s: int, a: int) -> Array:
    r""":math:`g_{s,a}` of the module's formula, float[S, A]: ``(g * R).sum()`` is the gap of `a` in `s` under
    `policy`."""
    pi = _deterministic(mdp, policy)
    s, a = checks.integer("s", s, 0, mdp.n_states - 1), checks.integer("a", a, 0, mdp.n_actions - 1)
    if not mdp.actions[s, a]:
        raise ValueError(f"actions[{s}, {a}] is False: that action does not exist.")
    P_pi, _ = mdp.under(pi)
    start = -mdp.gamma * mdp.row(s, a)
    start[s] += 1
    return _spread(mdp, pi, resolvent(mdp, P_pi, start, transpose=True), s, a)


def _spread(mdp: TabularMDP, pi: Ints, visits: Array, s: int, a: int) -> Array:
    """Visits float[S] on the pairs of `pi`, less one for the pair ``(s, a)``."""
    g = np.zeros(mdp.r.shape)
    g[np.arange(mdp.n_states), pi] = visits
    g[s, a] -= 1
    return g


def _dual_norm(g: Array, scale: Array, ord: float) -> float:
    r"""The norm dual to ``||D / scale||_ord``, :math:`\|scale \cdot g\|_{ord^*}`."""
    return float(np.linalg.norm((scale * g).ravel(), _dual_order(ord)))


def _dual_order(ord: float) -> float:
    dual = {inf: 1.0, 2.0: 2.0, 1.0: inf}.get(float(ord))
    if dual is None:
        raise ValueError(f"ord must be 1, 2 or inf, got {ord!r}.")
    return dual


def _steepest(g: Array, scale: Array, ord: float) -> Array:
    """The direction `D` of norm one (as above) that lowers ``g . D`` most."""
    weighted = scale * g
    if ord == inf:
        return 0.0 - scale * np.sign(g)  # no negative zeros
    if ord == 2:
        return -scale * weighted / np.linalg.norm(weighted)
    out, at = np.zeros_like(g), np.unravel_index(abs(weighted).argmax(), g.shape)
    out[at] = -scale[at] * np.sign(g[at])
    return out


def facet_distances(
    mdp: TabularMDP, *, ord: float = inf, scale: ArrayLike | None = None, policy: ArrayLike | None = None
) -> Array:
    r"""Distance from the reward to each facet, :math:`\Delta(s,a)/\|g_{s,a}\|_*`, float[S, A].

    Entry `(s, a)` is the norm of the smallest reward change under which playing `a` in `s` is as good as the optimal
    policy, the rest of that policy kept; infinite on the policy's own actions, on missing ones, in terminal states, and
    where no change allowed by `scale` matters.  The least entry is the cliff radius.

    Parameters
    ----------
    ord : {inf, 2, 1}
        The norm in which a reward change is measured.
    scale : float[S, A], optional
        Relative size of the error of each entry: ``|D / scale|`` is measured, entries with 0 are exact.  By default 1
        for each existing action of a state that is not terminal.
    policy : int[S], optional
        An optimal policy; solved for if not given.
    """
    pi = solve(mdp, finest(mdp)).policy if policy is None else _deterministic(mdp, policy)
    gap, norms, _ = _facets(mdp, pi, _weights(mdp, scale), ord)
    return np.divide(gap, norms, out=np.full(norms.shape, inf), where=norms > 0)


def facet_norms(mdp: TabularMDP, policy: ArrayLike, *, ord: float = inf, scale: ArrayLike | None = None) -> Array:
    r""":math:`\|g_{s,a}\|_*` of every facet of a policy's cone, float[S, A]; 0 where there is none.

    It does not depend on the reward: what a gap must be divided by to become a distance.
    """
    return _facets(mdp, _deterministic(mdp, policy), _weights(mdp, scale), ord)[1]


def _facets(mdp: TabularMDP, pi: Ints, weights: Array, ord: float) -> tuple[Array, Array, float]:
    r"""Gap and dual norm of every facet, float[S, A] each, and a bound on the error of the norms.

    The norm is 0 where there is no facet.  With :math:`X \approx M^{-1}`, :math:`M = I - \gamma P_\pi`, each row of
    `X` is off by at most :math:`\|I - XM\|_\infty/(1-\gamma)` in L1, and a normal combines two of them.
    """
    states = np.arange(mdp.n_states)
    P_pi, r_pi = mdp.under(pi)
    visits = resolvent(mdp, P_pi, np.eye(mdp.n_states))  # row s: discounted visits from s
    residual = np.eye(mdp.n_states) - visits + mdp.gamma * np.asarray((P_pi.T @ visits.T).T)
    off = (float(abs(residual).sum(axis=1).max()) + mdp.n_states * EPS / (1 - mdp.gamma)) / (1 - mdp.gamma)
    v = visits @ r_pi
    gap = np.maximum(v[:, None] - mdp.r - mdp.gamma * mdp.expect(v), 0.0)
    norms = np.zeros(mdp.r.shape)
    for a in range(mdp.n_actions):
        at = states[mdp.actions[:, a] & (pi != a) & ~mdp.terminal]
        P_a = mdp.P[at * mdp.n_actions + a] if mdp.is_sparse else mdp.P[at, a]
        flow = (visits[at] - mdp.gamma * np.asarray(P_a @ visits)) * weights[states, pi]
        norms[at, a] = np.linalg.norm(np.c_[flow, weights[at, a]], _dual_order(ord), axis=1)
    return gap, norms, 2 * off * float(weights.max())


def cliff_radius(mdp: TabularMDP, *, ord: float = inf, scale: ArrayLike | None = None) -> CliffRadius:
    r"""The largest `rho` such that the optimal policy stays optimal under every reward change of norm below `rho`.

    Exact (closed form, see the module).  In the supremum norm, with every entry free to move,
    :math:`(1-\gamma)\Delta_{\min}/2 \le r \le \Delta_{\min}/2`.  Large sparse problems solve one linear system for each
    facet that may still be the nearest, in order of the gap, and make no S-by-S matrix.

    Parameters
    ----------
    ord, scale
        As in :func:`facet_distances`.

    Examples
    --------
    >>> bandit = TabularMDP(P=[[[1], [1]]], r=[[1, 0]], gamma=0.5)
    >>> cliff_radius(bandit).radius
    0.5
    """
    weights, solution = _weights(mdp, scale), solve(mdp, finest(mdp))
    pi = solution.policy
    gap, gap_error = gaps(mdp, solution)
    free = mdp.actions & ~mdp.terminal[:, None]
    free[np.arange(mdp.n_states), pi] = False
    if not free.any():
        return CliffRadius(inf, 0.0, -1, -1, inf, 0.0, np.zeros(mdp.r.shape), pi, True)
    unique = bool((gap[free] > gap_error).all())
    if not unique:
        s, a = np.argwhere(free & (gap <= gap_error))[0]
        return CliffRadius(0.0, gap_error, int(s), int(a), 0.0, 0.0, np.zeros(mdp.r.shape), pi, False)
    find = _nearest_of_all if mdp.n_states <= ALL_FACETS else _nearest_by_gap
    s, a, norm, least, norm_error = find(mdp, pi, np.where(free, gap, inf), weights, ord)
    if norm == 0:
        return CliffRadius(inf, 0.0, -1, -1, inf, 0.0, np.zeros(mdp.r.shape), pi, True)
    radius = float(gap[s, a]) / norm
    error = (gap_error + radius * norm_error) / least + 4 * EPS * radius
    move = radius * _steepest(facet_normal(mdp, pi, s, a), weights, ord)
    return CliffRadius(radius, error, s, a, float(gap[s, a]), 1 / norm, move, pi, True)


def _nearest_of_all(
    mdp: TabularMDP, pi: Ints, gap: Array, weights: Array, ord: float
) -> tuple[int, int, float, float, float]:
    """The nearest facet (s, a), its norm, the least norm of all facets, and the error of the norms."""
    _, norms, norm_error = _facets(mdp, pi, weights, ord)
    crossable = norms > 2 * norm_error
    if not crossable.any():
        return -1, -1, 0.0, 0.0, 0.0
    distance = np.divide(gap, norms, out=np.full(norms.shape, inf), where=crossable)
    s, a = map(int, np.unravel_index(distance.argmin(), distance.shape))
    return s, a, float(norms[s, a]), float(norms[crossable].min()), norm_error


def _nearest_by_gap(
    mdp: TabularMDP, pi: Ints, gap: Array, weights: Array, ord: float
) -> tuple[int, int, float, float, float]:
    """The same from few facets: by growing gap, until no later one can be nearer.

    No norm exceeds that of total mass 2 / (1 - gamma), whichever of the three it is.
    """
    P_pi, _ = mdp.under(pi)
    largest = 2 / (1 - mdp.gamma) * float(weights.max())
    best, nearest, least, off = inf, (-1, -1, 0.0), inf, 0.0
    for k in np.argsort(gap, axis=None, kind="stable"):
        s, a = divmod(int(k), mdp.n_actions)
        if not gap[s, a] < best * largest:
            break
        start = mdp.gamma * (mdp.row(s, int(pi[s])) - mdp.row(s, a))
        visits = resolvent(mdp, P_pi, start, transpose=True)
        residual = float(abs(start - visits + mdp.gamma * (P_pi.T @ visits)).sum())
        visits[s] += 1
        norm = _dual_norm(_spread(mdp, pi, visits, s, a), weights, ord)
        norm_error = (residual + mdp.row_length * EPS * float(abs(visits).sum())) / (1 - mdp.gamma) * weights.max()
        off = max(off, norm_error)
        if norm > 2 * norm_error:
            least = min(least, norm)
            if gap[s, a] / norm < best:
                best, nearest = gap[s, a] / norm, (s, a, norm)
    return *nearest, least, off


class SubspaceRadius(NamedTuple):
    """The cliff radius along given directions; `error` bounds its numerical error."""

    radius: float
    error: float


def subspace_radius(mdp: TabularMDP, directions: ArrayLike, *, ord: float = inf) -> SubspaceRadius:
    r"""Cliff radius when the reward moves only by :math:`\sum_j x_j F_j`, measured by ``||x||_ord``.

    .. math:: r = \min_{s,a} \Delta(s,a) / \|(g_{s,a}\cdot F_j)_j\|_*

    Parameters
    ----------
    directions : float[J, S, A]
        :math:`F_1, \dots, F_J`.  Facets that they cannot cross count as infinitely far; 0 if actions are tied across
        them.
    """
    F = checks.array("directions", directions, ndim=3)
    if F.shape[1:] != mdp.r.shape:
        raise ValueError(f"directions must have shape (J, S, A) = (J, {mdp.n_states}, {mdp.n_actions}), got {F.shape}.")
    pi = solve(mdp, finest(mdp)).policy
    gap = np.maximum(policy_gaps(mdp, pi, mdp.r[None])[0], 0.0)
    dual = _dual_order(ord)
    norms = np.linalg.norm(policy_gaps(mdp, pi, F), dual, axis=0)
    noise = len(F) * gap_rounding(mdp, float(abs(F).max()))
    crossed = mdp.actions & (np.arange(mdp.n_actions) != pi[:, None]) & (norms > 2 * noise)
    if not crossed.any():
        return SubspaceRadius(inf, 0.0)
    distance, of_gap = gap[crossed] / norms[crossed], gap_rounding(mdp, float(abs(mdp.r).max()))
    nearest = int(distance.argmin())
    # a facet that is farther by the computed numbers may be nearer by the true ones, but not by more than its own error
    errors = (of_gap + distance * noise) / (norms[crossed] - noise)
    reachable = distance - errors <= distance[nearest] + errors[nearest]
    return SubspaceRadius(float(distance[nearest]), float(errors[reachable].max()))


def gap_rounding(mdp: TabularMDP, size: float) -> float:
    r"""Bound on the float64 error of :func:`policy_gaps` for rewards of at most `size`.

    A dense solve leaves a residual of a few `S` roundings of the values, at most size/(1 - gamma), and
    :math:`(I-\gamma P_\pi)^{-1}` magnifies it by 1/(1 - gamma) (Higham 2002, Chapter 9, without pivot growth: the
    matrix is row diagonally dominant).
    """
    return 8 * (mdp.n_states + 4) * EPS * size / (1 - mdp.gamma) ** 2


def policy_gaps(mdp: TabularMDP, pi: Ints, rewards: Array) -> Array:
    r""":math:`V^\pi_R(s) - Q^\pi_R(s,a) = g_{s,a}\cdot R` for several rewards: float[J, S, A] to float[J, S, A]."""
    P_pi, _ = mdp.under(pi)
    on_policy = rewards[:, np.arange(mdp.n_states), pi]
    v = resolvent(mdp, P_pi, on_policy.T.copy()).T
    ahead = np.stack([mdp.expect(row) for row in v])
    return v[:, :, None] - rewards - mdp.gamma * ahead


def exact_radius(P: ArrayLike, r: ArrayLike, gamma: Any, policy: Ints) -> tuple[Any, tuple[int, int]]:
    """Supremum-norm cliff radius of the optimal `policy` and its nearest facet, in exact rationals.

    Dense ``P[S, A, S]``; a facet whose gap is negative makes the radius negative: then `policy` is not optimal.  S^3
    operations on big integers: for small MDPs.
    """
    P, r, gamma = rationals(P), rationals(r), rationals(gamma).item()
    (S, A), pi = r.shape, np.asarray(policy)
    eye = rationals(np.eye(S, dtype=int))
    visits = solve_linear(eye - gamma * P[np.arange(S), pi], eye)
    v = visits @ r[np.arange(S), pi]
    best: tuple[Any, tuple[int, int]] = (inf, (-1, -1))
    for s, a in product(range(S), range(A)):
        if a != pi[s]:
            gap = v[s] - r[s, a] - gamma * (P[s, a] @ v)
            norm = 1 + sum(abs(x) for x in visits[s] - gamma * (P[s, a] @ visits))
            best = min(best, (gap / norm, (s, a)))
    return best


def verify_exactly(mdp: TabularMDP, claimed: CliffRadius) -> bool:
    """Whether a supremum-norm certificate holds in exact rationals of the stored numbers.

    The policy must be optimal, and the radius the exact one up to the claimed error.
    """
    if not mdp.actions.all() or mdp.terminal.any() or mdp.is_sparse:
        raise ValueError("verify_exactly takes dense MDPs in which every action exists and no state is terminal.")
    exact, _ = exact_radius(mdp.P, mdp.r, mdp.gamma, claimed.policy)
    return bool(exact >= 0) and abs(float(exact) - claimed.radius) <= claimed.error + EPS * claimed.radius


class InclusionRadius(NamedTuple):
    """The distance to the nearest reward under which a formerly suboptimal action becomes optimal."""

    radius: float
    lower: float  # certified: no smaller change does it
    state: int
    action: int
    perturbation: Array  # [S, A]


def inclusion_radius(mdp: TabularMDP, *, optimal: ArrayLike | None = None, time_limit: float = 60.0) -> InclusionRadius:
    r"""How far the optimal-action sets only shrink: the largest `rho` with :math:`A^*(s;R+D) \subseteq A^*(s;R)` for
    all `s` and :math:`\|D\|_\infty < \rho`, ties in `R` allowed.

    On the way to the nearest `R+D` with a new optimal action, some policy :math:`\pi` built from the old optimal
    actions stays optimal, and at the end the new action ties with it: so the radius is the least value, over those
    :math:`\pi` and the formerly suboptimal `(s, a)`, of the linear program

    .. math:: \min_D \|D\|_\infty \quad\text{s.t.}\quad g^\pi_{s,a}\cdot(R+D) = 0,\; g^\pi\cdot(R+D) \ge 0,

    pruned by its relaxation :math:`\Delta(s,a)/\|g^\pi_{s,a}\|_1`; beyond `ENUMERATED` policies a MILP with a binary
    for each action being optimal.  Ours.  Always :math:`(1-\gamma)\Delta^+/2 \le \rho \le \Delta^+/2`,
    :math:`\Delta^+` the least positive gap (upper end: raise `(s, a)` by :math:`\Delta^+/2` and lower all else by as
    much; without the right to move every entry, as with terminal states, only :math:`\rho \le \Delta^+`: raise
    `(s, a)` alone).

    Parameters
    ----------
    optimal : bool[S, A], optional
        The optimal actions; by default those whose gap is not proved positive.
    time_limit : float
        Seconds for the MILP; see :func:`inclusion_by_milp`.
    """
    best = optimal_actions(mdp) if optimal is None else checks.booleans("optimal", optimal, mdp.r.shape, "(S, A)")
    best = best & mdp.actions
    weights = _weights(mdp, None)
    outside = mdp.actions & ~best & ~mdp.terminal[:, None]
    if not outside.any():
        return InclusionRadius(inf, inf, -1, -1, np.zeros(mdp.r.shape))
    if prod(int(n) for n in best.sum(axis=1)) > ENUMERATED:
        return inclusion_by_milp(mdp, best, time_limit=time_limit)
    answer, lower = InclusionRadius(inf, inf, -1, -1, np.zeros(mdp.r.shape)), inf
    for choice in product(*(np.flatnonzero(row) for row in best)):
        pi = np.array(choice)
        relaxed = facet_distances(mdp, policy=pi, scale=weights)
        for s, a in sorted(map(tuple, np.argwhere(outside)), key=lambda at: relaxed[at]):
            if relaxed[s, a] >= answer.radius:
                break
            t, dual, D = _tie_program(mdp, pi, int(s), int(a), weights)
            lower = min(lower, dual)
            if t < answer.radius:
                answer = InclusionRadius(t, dual, int(s), int(a), D)
    return answer._replace(lower=min(lower, answer.radius))


def _tie_program(mdp: TabularMDP, pi: Ints, s: int, a: int, weights: Array) -> tuple[float, float, Array]:
    r"""min ||D|| such that `pi` is optimal under r + D and `a` ties with it in `s`: value, dual bound, D.

    The rows read :math:`N D \le b`; any :math:`\lambda \ge 0` proves
    :math:`\|D\| \ge -\lambda^\top b/\|N^\top\lambda\|_1` for every feasible `D`, whatever the solver's tolerances
    were.  Infinite if no `D` is feasible.
    """
    S, A = mdp.r.shape
    others = [(k, b) for k in range(S) for b in range(A) if mdp.actions[k, b] and b != pi[k] and not mdp.terminal[k]]
    normals = np.stack([facet_normal(mdp, pi, k, b).ravel() * weights.ravel() for k, b in others])
    gap = policy_gaps(mdp, pi, mdp.r[None])[0]
    slack = np.array([gap[k, b] for k, b in others])
    n, tie = S * A, others.index((s, a))
    signs = np.where(np.arange(len(others)) == tie, 1.0, -1.0)  # tie: g.D <= -gap; elsewhere g.D >= -gap
    rows = np.hstack([signs[:, None] * normals, np.zeros((len(others), 1))])
    box = np.vstack([np.hstack([sign * np.eye(n), -np.ones((n, 1))]) for sign in (1.0, -1.0)])
    result = linprog(
        np.r_[np.zeros(n), 1.0],
        A_ub=np.vstack([rows, box]),
        b_ub=np.r_[-signs * slack, np.zeros(2 * n)],
        bounds=[(None, None)] * n + [(0, None)],
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if result.status == 2:
        return inf, inf, np.zeros((S, A))
    if result.status != 0:
        raise ArithmeticError(f"the linear program of facet ({s}, {a}) failed: {result.message}")
    multipliers = np.maximum(-result.ineqlin.marginals[: len(others)], 0.0)
    mass = float(abs(rows[:, :n].T @ multipliers).sum())
    dual = float(signs * slack @ multipliers) / mass if mass > 0 else 0.0
    return float(result.fun), dual, result.x[:n].reshape(S, A) * weights


def inclusion_by_milp(mdp: TabularMDP, optimal: Bools, *, time_limit: float = 60.0) -> InclusionRadius:
    """The same by one integer program, for many ties: variables D, V, z (z = 1 forces the action to attain V) and t.

    After `time_limit` seconds the best change found so far is returned, and `lower` says what is proved; at worst these
    are the reward change on one entry by its gap, and the lower end of the sandwich.
    """
    best = optimal & mdp.actions
    outside = mdp.actions & ~best & ~mdp.terminal[:, None]
    gaps_, weights = np.where(outside, gaps(mdp)[0], inf), _weights(mdp, None)
    gap, (s, a) = float(gaps_.min()), map(int, np.unravel_index(gaps_.argmin(), gaps_.shape))
    by_hand = np.zeros(mdp.r.shape)
    by_hand[s, a] = gap
    S, A = mdp.r.shape
    n = S * A
    pairs = np.flatnonzero(mdp.actions)
    big = 2 * (float(abs(mdp.r).max()) + gap) / (1 - mdp.gamma)  # raising one entry by its gap is always enough
    P = mdp.P if mdp.is_sparse else csr_array(mdp.P.reshape(n, S))
    owner = coo_array((np.ones(n), (np.arange(n), np.arange(n) // A)), shape=(n, S)).tocsr()
    ahead = (owner - mdp.gamma * P)[pairs]  # V(s) - gamma P V
    scaled = csr_array((weights.ravel(), (np.arange(n), np.arange(n))), shape=(n, n))
    shift, choose = scaled[pairs], csr_array(eye_array(n))[pairs]
    zero = csr_array((len(pairs), 1))
    r = mdp.r.ravel()[pairs]
    ones = csr_array(np.ones((n, 1)))
    new = csr_array(outside.reshape(1, n).astype(float))
    constraints = [
        LinearConstraint(block_array([[-shift, ahead, csr_array(choose.shape), zero]]), r, inf),
        LinearConstraint(block_array([[-shift, ahead, big * choose, zero]]), -inf, r + big),
        LinearConstraint(block_array([[csr_array((S, n)), csr_array((S, S)), owner.T, csr_array((S, 1))]]), 1, inf),
        LinearConstraint(block_array([[csr_array((1, n)), csr_array((1, S)), new, csr_array((1, 1))]]), 1, inf),
        LinearConstraint(block_array([[eye_array(n), csr_array((n, S)), csr_array((n, n)), -ones]]), -inf, 0),
        LinearConstraint(block_array([[eye_array(n), csr_array((n, S)), csr_array((n, n)), ones]]), 0, inf),
    ]
    free, binary = np.full(n, -inf), mdp.actions.ravel().astype(float)
    result = milp(
        np.r_[np.zeros(2 * n + S), 1.0],
        integrality=np.r_[np.zeros(n + S), np.ones(n), 0],
        bounds=Bounds(np.r_[free, np.full(S, -inf), np.zeros(n), 0], np.r_[-free, np.full(S, inf), binary, inf]),
        constraints=constraints,
        options={"mip_rel_gap": 0.0, "time_limit": checks.interval("time_limit", time_limit, 0, inf, "()")},
    )
    proved = -inf if result.mip_dual_bound is None else float(result.mip_dual_bound)
    lower = max(proved, (1 - mdp.gamma) * gap / 2)
    if result.x is None:
        if result.status != 1:
            raise ArithmeticError(f"the integer program failed: {result.message}")
        return InclusionRadius(gap, lower, s, a, by_hand)
    z = result.x[n + S : 2 * n + S].reshape(S, A) > 0.5
    s, a = map(int, np.argwhere(z & outside)[0])
    D = result.x[:n].reshape(S, A) * weights
    return InclusionRadius(float(result.fun), min(lower, float(result.fun)), s, a, D)


def flip_probability(mdp: TabularMDP, sigma: float) -> float:
    r"""Upper bound on the probability that Gaussian reward errors change the optimal policy.

    .. math:: \Pr(\pi \text{ not optimal for } R + \sigma Z) \le \sum_{s,a} \Phi\big(-\Delta(s,a) / (\sigma
    \|g_{s,a}\|_2)\big)

    for independent standard normal errors `Z` of all entries outside terminal states (union bound over the facets of
    the cone).  Ours.
    """
    sigma = checks.interval("sigma", sigma, 0, inf, "()")
    distance = facet_distances(mdp, ord=2)
    return float(min(1.0, stats.norm.sf(distance[np.isfinite(distance)] / sigma).sum()))
