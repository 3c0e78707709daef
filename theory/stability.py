r"""How far a reward may move before the optimal policy changes: the exact distance to the cliff.

Let :math:`\pi` be the optimal policy of reward `R`.  For an action `a` that :math:`\pi` does not take in `s`, the
signed vector over state-action pairs

.. math:: g_{s,a} = \mathrm{Occ}^\pi(s) - e_{(s,a)} - \gamma \sum_k P(k|s,a)\, \mathrm{Occ}^\pi(k)

(:math:`\mathrm{Occ}^\pi(s)`: row `s` of :math:`(I-\gamma P_\pi)^{-1}`, spread over the pairs :math:`(k, \pi(k))`)
gives the gap, :math:`g_{s,a}\cdot R = V^\pi_R(s) - Q^\pi_R(s,a)`.  So :math:`\pi` is optimal exactly on the cone
:math:`C_\pi = \{R : g_{s,a}\cdot R \ge 0\ \forall s,a\}`, and by duality of norms its boundary lies at

.. math:: r(R) = \min_{s,\,a\ne\pi(s)} \frac{\Delta(s,a)}{\|g_{s,a}\|_*},

with the L1 norm of `g` when reward errors are measured in the supremum norm.  One number certifies a facet: for every
`D` that closes the gap, :math:`\Delta = -g\cdot D \le \|g\|_*\|D\|` (Hoelder).  Ours; the cells are the normal fan of
the occupancy polytope.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from claimlab import checks
from claimlab.checks import Array, Bools, Ints
from claimlab.mdps.planning import finest, gaps, solve
from claimlab.mdps.resolvent import DIRECT, resolvent, solver
from claimlab.mdps.tabular import EPS, TabularMDP

ALL_FACETS = 1_200  # states up to which every facet's norm is computed rather than the few that can be nearest
BLOCK = 4_000_000  # numbers of visits that are held at once where not all pairs of states are


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
    unique: bool  # False: actions are tied, the radius is 0 (unless `scale` lets no error part them), and
    # `inclusion_radius` is the question to ask


def reward_scale(mdp: TabularMDP, scale: ArrayLike | None = None) -> Array:
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
    r""":math:`g_{s,a}` of the module's formula, float[S, A]: ``(g * R).sum()`` is the gap of `a` in `s`."""
    pi = _deterministic(mdp, policy)
    s, a = checks.integer("s", s, 0, mdp.n_states - 1), checks.integer("a", a, 0, mdp.n_actions - 1)
    if not mdp.actions[s, a]:
        raise ValueError(f"actions[{s}, {a}] is False: that action does not exist.")
    return facet_normals(mdp, pi, np.array([[s, a]]))[0]


def facet_normals(mdp: TabularMDP, pi: Ints, facets: Ints) -> Array:
    """The same for several facets, int[n, 2] to float[n, S, A]; arguments are trusted."""
    (s, a), states = facets.T, np.arange(mdp.n_states)
    visits, _ = _visits(mdp, pi)(facets)
    g = np.zeros((len(facets), *mdp.r.shape))
    g[:, states, pi] = visits.T
    g[np.arange(len(facets)), s, a] -= 1
    return g


def _visits(mdp: TabularMDP, pi: Ints) -> Callable[[Ints], tuple[Array, Array]]:
    r"""The function from facets, int[n, 2], to their :math:`g_{s,a}` on the pairs of `pi`, float[S, n].

    With it a bound on the L1 error of each, float[n]: the residual, with its rounding, over :math:`1-\gamma`.
    """
    P_pi, _ = mdp.under(pi)
    solve_for, backward = solver(mdp, P_pi, transpose=True), P_pi.T
    terms = int((P_pi > 0).sum(axis=0).max()) + mdp.row_length + 4  # of the sums that make the residual

    def visits(facets: Ints) -> tuple[Array, Array]:
        s, a = facets.T
        start = mdp.gamma * (_rows(mdp, s, pi[s]) - _rows(mdp, s, a)).T
        x = solve_for(start)
        residual = abs(start - x + mdp.gamma * (backward @ x)).sum(axis=0)
        off = (residual + terms * EPS * (abs(x).sum(axis=0) + 1)) / (1 - mdp.gamma)
        x[s, np.arange(len(s))] += 1
        return x, off

    return visits


def _rows(mdp: TabularMDP, s: Ints, a: Ints) -> Array:
    """``P[s, a]`` for several pairs, dense float[n, S]."""
    return np.asarray(mdp.P[s * mdp.n_actions + a].toarray() if mdp.is_sparse else mdp.P[s, a])


def _dual_order(ord: float) -> float:
    """The order of the norm dual to the one of order `ord`."""
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
    gap, norms, _ = _facets(mdp, pi, reward_scale(mdp, scale), ord)
    return np.divide(gap, norms, out=np.full(norms.shape, inf), where=norms > 0)


def facet_norms(mdp: TabularMDP, policy: ArrayLike, *, ord: float = inf, scale: ArrayLike | None = None) -> Array:
    r""":math:`\|g_{s,a}\|_*` of every facet of a policy's cone, float[S, A]; 0 where there is none.

    It does not depend on the reward: what a gap must be divided by to become a distance.
    """
    return _facets(mdp, _deterministic(mdp, policy), reward_scale(mdp, scale), ord)[1]


def _facets(mdp: TabularMDP, pi: Ints, weights: Array, ord: float) -> tuple[Array, Array, float]:
    """Gap and dual norm of every facet, float[S, A] each, and a bound on the error of the norms; 0 where none is."""
    P_pi, r_pi = mdp.under(pi)
    v = resolvent(mdp, P_pi, r_pi)
    gap = np.maximum(v[:, None] - mdp.r - mdp.gamma * mdp.expect(v), 0.0)
    free = mdp.actions & (np.arange(mdp.n_actions) != pi[:, None]) & ~mdp.terminal[:, None]
    norms, error = np.zeros(mdp.r.shape), 0.0
    if not mdp.is_sparse or mdp.n_states <= DIRECT:
        return gap, *_norms_of_all(mdp, pi, free, weights, ord)
    for facets, norm, off in _norms(mdp, pi, np.argwhere(free), weights, ord):
        norms[tuple(facets.T)] = norm
        error = max(error, float(off.max()))
    return gap, norms, error


def _norms_of_all(mdp: TabularMDP, pi: Ints, free: Bools, weights: Array, ord: float) -> tuple[Array, float]:
    r"""Norms of all `free` facets and a bound on their error, from an S-by-S matrix.

    With :math:`X \approx M^{-1}`, :math:`M = I - \gamma P_\pi`, each row of `X` is off by at most
    :math:`\|I - XM\|_\infty/(1-\gamma)` in L1, and a normal combines two of them.
    """
    P_pi, _ = mdp.under(pi)
    eye = np.eye(mdp.n_states)
    visits = resolvent(mdp, P_pi, eye)  # row s: discounted visits from s
    residual = eye - visits + mdp.gamma * np.asarray((P_pi.T @ visits.T).T)
    off = (float(abs(residual).sum(axis=1).max()) + mdp.n_states * EPS / (1 - mdp.gamma)) / (1 - mdp.gamma)
    norms = np.zeros(mdp.r.shape)
    for a in range(mdp.n_actions):
        at = np.flatnonzero(free[:, a])
        P_a = mdp.P[at * mdp.n_actions + a] if mdp.is_sparse else mdp.P[at, a]
        flow = (visits[at] - mdp.gamma * np.asarray(P_a @ visits)) * weights[np.arange(mdp.n_states), pi]
        norms[at, a] = np.linalg.norm(np.c_[flow, weights[at, a]], _dual_order(ord), axis=1)
    return norms, 2 * off * float(weights.max())


def _norms(mdp: TabularMDP, pi: Ints, facets: Ints, weights: Array, ord: float) -> Iterator[tuple[Ints, Array, Array]]:
    """The facets, int[n, 2], in blocks of growing length, the norms of each block and bounds on their errors."""
    visits, on_policy, start, length = _visits(mdp, pi), weights[np.arange(mdp.n_states), pi], 0, 1
    while start < len(facets):
        block = facets[start : start + length]
        x, off = visits(block)
        entries = np.vstack([on_policy[:, None] * x, weights[tuple(block.T)]])
        yield block, np.linalg.norm(entries, _dual_order(ord), axis=0), off * float(weights.max())
        start, length = start + length, min(2 * length, 64, max(1, BLOCK // mdp.n_states))


def cliff_radius(mdp: TabularMDP, *, ord: float = inf, scale: ArrayLike | None = None) -> CliffRadius:
    r"""The largest `rho` such that the optimal policy stays optimal under every reward change of norm below `rho`.

    Exact (closed form, see the module).  In the supremum norm, with every entry free to move,
    :math:`(1-\gamma)\Delta_{\min}/2 \le r \le \Delta_{\min}/2`.  Large problems solve one linear system for each
    facet that may still be the nearest, in order of the gap, and make no S-by-S matrix of their own.  A facet counts
    as out of reach if its norm is 0 up to rounding.

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
    weights, solution = reward_scale(mdp, scale), solve(mdp, finest(mdp))
    pi = solution.policy
    gap, gap_error = gaps(mdp, solution)
    free = mdp.actions & ~mdp.terminal[:, None]
    free[np.arange(mdp.n_states), pi] = False
    tied = free & (gap <= gap_error)
    if tied.any():
        gap, gap_error = np.where(tied, 0.0, gap), 2 * gap_error  # a true gap below the error, and one more
    find = _nearest_of_all if mdp.n_states <= ALL_FACETS else _nearest_by_gap
    s, a, norm, least, norm_error = find(mdp, pi, np.where(free, gap, inf), weights, ord)
    if norm == 0:
        return CliffRadius(inf, 0.0, -1, -1, inf, 0.0, np.zeros(mdp.r.shape), pi, not tied.any())
    radius = float(gap[s, a]) / norm
    error = (gap_error + radius * norm_error) / (least - norm_error) + 4 * EPS * radius
    move = radius * _steepest(facet_normal(mdp, pi, s, a), weights, ord)
    return CliffRadius(radius, error, s, a, float(gap[s, a]), 1 / norm, move, pi, not tied.any())


Nearest = tuple[int, int, float, float, float]  # a facet (s, a), its norm, the least norm in reach, the norms' error


def _nearest_of_all(mdp: TabularMDP, pi: Ints, gap: Array, weights: Array, ord: float) -> Nearest:
    norms, norm_error = _norms_of_all(mdp, pi, np.isfinite(gap), weights, ord)
    crossable = norms > 2 * norm_error
    if not crossable.any():
        return -1, -1, 0.0, 0.0, 0.0
    distance = np.divide(gap, norms, out=np.full(norms.shape, inf), where=crossable)
    s, a = map(int, np.unravel_index(distance.argmin(), distance.shape))
    return s, a, float(norms[s, a]), float(norms[crossable].min()), norm_error


def _nearest_by_gap(mdp: TabularMDP, pi: Ints, gap: Array, weights: Array, ord: float) -> Nearest:
    """The same from few facets: by growing gap, until no later one can be nearer.

    No norm exceeds that of total mass 2 / (1 - gamma), whichever of the three it is.
    """
    largest = 2 / (1 - mdp.gamma) * float(weights.max())
    order = np.argsort(gap, axis=None, kind="stable")[: np.isfinite(gap).sum()]
    best, nearest, least, off = inf, (-1, -1, 0.0), inf, 0.0
    for facets, norms, errors in _norms(mdp, pi, np.stack(divmod(order, mdp.n_actions), axis=1), weights, ord):
        gap_here = gap[tuple(facets.T)]
        if not gap_here[0] < best * largest:
            break
        off, crossable = max(off, float(errors.max())), norms > 2 * errors
        distance = np.divide(gap_here, norms, out=np.full(len(norms), inf), where=crossable)
        k = int(distance.argmin())
        if distance[k] < best:
            best, nearest = float(distance[k]), (int(facets[k, 0]), int(facets[k, 1]), float(norms[k]))
        least = min(least, float(norms[crossable].min(initial=inf)))
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
        :math:`F_1, \dots, F_J`; entries of missing actions and terminal states are not read.  Facets that they cannot
        cross count as infinitely far; 0 if actions are tied across them.
    """
    F = checks.array("directions", directions, ndim=3)
    if F.shape[1:] != mdp.r.shape:
        raise ValueError(f"directions must have shape (J, S, A) = (J, {mdp.n_states}, {mdp.n_actions}), got {F.shape}.")
    F = F * reward_scale(mdp)
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


def flip_probability(mdp: TabularMDP, sigma: float) -> float:
    r"""Upper bound on the probability that Gaussian reward errors change the optimal policy.

    .. math:: \Pr(\pi \text{ not optimal for } R + \sigma Z)
              \le \sum_{s,a} \Phi\big(-\Delta(s,a) / (\sigma \|g_{s,a}\|_2)\big)

    for independent standard normal errors `Z` of all entries outside terminal states (union bound over the facets of
    the cone).  Ours.
    """
    sigma = checks.interval("sigma", sigma, 0, inf, "()")
    distance = facet_distances(mdp, ord=2)
    return float(min(1.0, stats.norm.sf(distance[np.isfinite(distance)] / sigma).sum()))
