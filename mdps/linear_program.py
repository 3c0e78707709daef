r"""A discounted MDP as a linear program, solved by HiGHS and then certified without it.

.. math:: \min_v \; \mu^\top v \quad\text{s.t.}\quad v(s) - \gamma \sum_t P(t|s,a) v(t) \ge r(s,a)
          \qquad\text{dual: } \max_{d \ge 0} \frac{\langle d, r\rangle}{1-\gamma} \text{ over occupancies } d

Puterman (2005), Section 6.9.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog
from scipy.sparse import csr_array

from claimlab import checks
from claimlab.checks import Array, Ints, Sparse
from claimlab.mdps.certificates import NotConverged, certify
from claimlab.mdps.planning import improve
from claimlab.mdps.tabular import EPS, TabularMDP

TOLERANCE = 1e-10  # the smallest that HiGHS takes, for a problem scaled to rewards of about 1


class LPSolution(NamedTuple):
    """Primal and dual solution of the linear program, with certificates that do not depend on the solver."""

    v: Array  # [S]
    policy: Ints  # [S], greedy; its own value lies within 2 * error of the optimum
    error: float  # certified bound on max |v - v*|, from the Bellman residual
    occupancy: Array  # [S, A], the normalised dual: discounted visits of an optimal policy from `initial`
    duality_gap: float  # |mu v - <d, r> / (1 - gamma)| of the solver's primal and dual
    residual: float  # largest violation of the occupancy's flow equations


def solve_lp(mdp: TabularMDP, *, initial: ArrayLike | None = None) -> LPSolution:
    """Solve `mdp` by linear programming.

    Parameters
    ----------
    mdp : TabularMDP
        CSR transitions give HiGHS a sparse program.
    initial : float[S], optional
        The weights mu, and the start of the occupancy; uniform by default.  States that cannot be reached from where
        it is positive leave `v` undetermined there, which shows in `error`.

    Examples
    --------
    >>> stay_or_go = TabularMDP(P=[[[1, 0], [0, 1]], [[0, 1], [1, 0]]], r=[[0, 0], [1, 0]], gamma=0.5)
    >>> solve_lp(stay_or_go, initial=[1, 0]).occupancy.round(6) + 0.0
    array([[0. , 0.5],
           [0.5, 0. ]])
    """
    S = mdp.n_states
    mu = np.full(S, 1 / S) if initial is None else checks.distributions("initial", initial, ndim=1)
    if mu.shape != (S,):
        raise ValueError(f"initial must have shape (S,) = ({S},), got {mu.shape}.")
    available = mdp.actions.reshape(-1)
    largest = float(abs(mdp.r).max())
    scale = 2.0 ** np.frexp(largest)[1] if largest else 1.0  # a power of two, so that scaling rounds nothing
    result = linprog(
        mu,
        A_ub=_constraints(mdp)[available],
        b_ub=-mdp.r.reshape(-1)[available] / scale,
        bounds=(None, None),
        method="highs",
        options={"primal_feasibility_tolerance": TOLERANCE, "dual_feasibility_tolerance": TOLERANCE},
    )
    if result.status != 0:
        raise NotConverged(f"HiGHS found no optimum: {result.message}", result)
    v, occupancy = scale * result.x, np.zeros(mdp.r.shape)
    occupancy[mdp.actions] = np.maximum(-(1 - mdp.gamma) * result.ineqlin.marginals, 0.0)
    tv, policy = improve(mdp, v, mdp.gamma)
    low, high = certify(mdp, v, tv)
    middle = tv + (low + high) / 2
    error = (high - low) / 2 + EPS * float(abs(middle).max() + abs(low) + abs(high))
    gap = abs(float(mu @ v) - float((occupancy * mdp.r).sum()) / (1 - mdp.gamma))
    return LPSolution(middle, policy, error, occupancy, gap, flow_residual(mdp, occupancy, mu))


def flow_residual(mdp: TabularMDP, occupancy: Array, initial: Array) -> float:
    r"""How far `occupancy` is from one: max over t of the violation of the flow equations

    .. math:: \sum_a d(t,a) = (1-\gamma)\mu(t) + \gamma \sum_{s,a} P(t|s,a)\, d(s,a) .
    """
    P = mdp.P if mdp.is_sparse else mdp.P.reshape(-1, mdp.n_states)
    inflow = (1 - mdp.gamma) * initial + mdp.gamma * (P.T @ occupancy.reshape(-1))
    return float(abs(occupancy.sum(axis=1) - inflow).max())


def _constraints(mdp: TabularMDP) -> Sparse:
    """Row (s, a): gamma P[s, a] - e_s, as CSR (S*A, S)."""
    S, A = mdp.r.shape
    P = mdp.P if mdp.is_sparse else csr_array(mdp.P.reshape(-1, S))
    own = csr_array((np.ones(S * A), np.repeat(np.arange(S), A), np.arange(S * A + 1)), shape=(S * A, S))
    return csr_array(mdp.gamma * P - own)
