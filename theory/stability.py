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
from math import inf
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from claimlab import checks
from claimlab.checks import Array, Ints
from claimlab.mdps.exact import rationals, solve_linear
from claimlab.mdps.planning import finest, gaps, solve
from claimlab.mdps.resolvent import resolvent
from claimlab.mdps.tabular import EPS, TabularMDP

ALL_FACETS = 1_200  # states up to which every facet's norm is computed rather than the few that can be nearest


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
    gap, norms, _ = _facets(mdp, pi, reward_scale(mdp, scale), ord)
    return np.divide(gap, norms, out=np.full(norms.shape, inf), where=norms > 0)


def facet_norms(mdp: TabularMDP, policy: ArrayLike, *, ord: float = inf, scale: ArrayLike | None = None) -> Array:
    r""":math:`\|g_{s,a}\|_*` of every facet of a policy's cone, float[S, A]; 0 where there is none.

    It does not depend on the reward: what a gap must be divided by to become a distance.
    """
    return _facets(mdp, _deterministic(mdp, policy), reward_scale(mdp, scale), ord)[1]


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
    weights, solution = reward_scale(mdp, scale), solve(mdp, finest(mdp))
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
