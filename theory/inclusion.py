r"""Stability with ties: how far the reward may move before a new action becomes optimal.

Where actions tie, every neighbourhood of the reward holds rewards with fewer optimal actions, and the distance to the
cliff is 0.  What has a positive radius is the inclusion :math:`A^*(s;R+D) \subseteq A^*(s;R)` (upper hemicontinuity).
"""

from __future__ import annotations

from itertools import product
from math import inf, prod
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import block_array, coo_array, csr_array, eye_array

from claimlab import checks
from claimlab.checks import Array, Bools, Ints
from claimlab.mdps.planning import gaps, optimal_actions
from claimlab.mdps.tabular import TabularMDP
from claimlab.theory.stability import cliff_radius, facet_distances, facet_normals, policy_gaps, reward_scale

ENUMERATED = 4_096  # optimal deterministic policies up to which ties are enumerated rather than left to a MILP


class InclusionRadius(NamedTuple):
    """The distance to the nearest reward under which a formerly suboptimal action becomes optimal."""

    radius: float
    lower: float  # no smaller change does it: proved by dual solutions (by HiGHS, to its tolerance, in a MILP)
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
    best = optimal_actions(mdp) if optimal is None else _optimal(mdp, optimal)
    weights = reward_scale(mdp)
    outside = mdp.actions & ~best & ~mdp.terminal[:, None]
    if not outside.any():
        return InclusionRadius(inf, inf, -1, -1, np.zeros(mdp.r.shape))
    policies = prod(int(n) for n in best.sum(axis=1))
    if policies > ENUMERATED:
        return inclusion_by_milp(mdp, best, time_limit=time_limit)
    if policies == 1:  # nothing is tied: the nearest facet of the one optimal policy, without a program
        c = cliff_radius(mdp)
        if c.unique and np.array_equal(c.policy, best.argmax(axis=1)):
            return InclusionRadius(c.radius, c.radius - c.error, c.state, c.action, c.perturbation)
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


def _optimal(mdp: TabularMDP, optimal: ArrayLike) -> Bools:
    best = checks.booleans("optimal", optimal, mdp.r.shape, "(S, A)") & mdp.actions
    if not best.any(axis=1).all():
        raise ValueError(f"optimal[{int(best.any(axis=1).argmin())}] is empty: every state has an optimal action.")
    return best


def _unit(gap: Array) -> float:
    """What rewards are measured in: the solvers' tolerances are absolute, the radius is at most the least gap."""
    return float(gap.min()) or 1.0


def _tie_program(mdp: TabularMDP, pi: Ints, s: int, a: int, weights: Array) -> tuple[float, float, Array]:
    r"""min ||D|| such that `pi` is optimal under r + D and `a` ties with it in `s`: value, dual bound, D.

    The rows read :math:`N D \le b`; any :math:`\lambda \ge 0` proves
    :math:`\|D\| \ge -\lambda^\top b/\|N^\top\lambda\|_1` for every feasible `D`, whatever the solver's tolerances
    were.  Infinite if no `D` is feasible.
    """
    S, A = mdp.r.shape
    others = [(k, b) for k in range(S) for b in range(A) if mdp.actions[k, b] and b != pi[k] and not mdp.terminal[k]]
    normals = facet_normals(mdp, pi, np.array(others)).reshape(len(others), -1) * weights.ravel()
    slack = policy_gaps(mdp, pi, mdp.r[None])[0][tuple(np.transpose(others))]
    unit = _unit(abs(slack[[others.index((s, a))]]))
    slack = slack / unit
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
    return unit * float(result.fun), unit * dual, unit * result.x[:n].reshape(S, A) * weights


def inclusion_by_milp(mdp: TabularMDP, optimal: ArrayLike, *, time_limit: float = 60.0) -> InclusionRadius:
    """The same by one integer program, for many ties: variables D, V, z (z = 1 forces the action to attain V) and t.

    After `time_limit` seconds the best change found so far is returned, and `lower` says what is proved; at worst these
    are the reward change on one entry by its gap, and the lower end of the sandwich.
    """
    time_limit = checks.interval("time_limit", time_limit, 0, inf, "()")
    outside = mdp.actions & ~_optimal(mdp, optimal) & ~mdp.terminal[:, None]
    if not outside.any():
        return InclusionRadius(inf, inf, -1, -1, np.zeros(mdp.r.shape))
    gaps_, weights = np.where(outside, gaps(mdp)[0], inf), reward_scale(mdp)
    gap, (s, a) = float(gaps_.min()), map(int, np.unravel_index(gaps_.argmin(), gaps_.shape))
    by_hand = np.zeros(mdp.r.shape)
    by_hand[s, a] = gap
    S, A = mdp.r.shape
    n = S * A
    pairs = np.flatnonzero(mdp.actions)
    unit = _unit(gaps_)
    big = 2 * (float(abs(mdp.r).max()) + gap) / unit / (1 - mdp.gamma)  # raising one entry by its gap is always enough
    P = mdp.P if mdp.is_sparse else csr_array(mdp.P.reshape(n, S))
    owner = coo_array((np.ones(n), (np.arange(n), np.arange(n) // A)), shape=(n, S)).tocsr()
    ahead = (owner - mdp.gamma * P)[pairs]  # V(s) - gamma P V
    scaled = csr_array((weights.ravel(), (np.arange(n), np.arange(n))), shape=(n, n))
    shift, choose = scaled[pairs], csr_array(eye_array(n))[pairs]
    zero = csr_array((len(pairs), 1))
    r = mdp.r.ravel()[pairs] / unit
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
        options={"mip_rel_gap": 0.0, "time_limit": time_limit},
    )
    proved = -inf if result.mip_dual_bound is None else unit * float(result.mip_dual_bound)
    lower = max(proved, (1 - mdp.gamma) * gap / 2)
    if result.x is None:
        if result.status != 1:
            raise ArithmeticError(f"the integer program failed: {result.message}")
        return InclusionRadius(gap, lower, s, a, by_hand)
    z = result.x[n + S : 2 * n + S].reshape(S, A) > 0.5
    s, a = map(int, np.argwhere(z & outside)[0])
    D = unit * result.x[:n].reshape(S, A) * weights
    radius = unit * float(result.fun)
    return InclusionRadius(radius, min(lower, radius), s, a, D)
