"""The cliff radius in every norm against convex programs in rewards and values (cvxpy), which know no occupancies."""

import cvxpy as cp
import numpy as np
import pytest

from claimlab.mdps import TabularMDP, solve
from claimlab.mdps.instances import garnet
from claimlab.theory.stability import cliff_radius, facet_distances

SOLVER = 1e-6  # Clarabel stops at a duality gap of 1e-8, absolute and relative, of each of these small programs


def program(mdp: TabularMDP, pi, s: int, a: int, ord: float) -> float:
    """min ||D|| such that playing `a` in `s` once is as good as `pi` under r + D."""
    D, V = cp.Variable(mdp.r.shape), cp.Variable(mdp.n_states)
    states = np.arange(mdp.n_states)
    P_pi, r_pi = mdp.under(pi)
    on_policy = cp.hstack([D[k, pi[k]] for k in states])
    constraints = [
        r_pi + on_policy + mdp.gamma * (P_pi @ V) == V,
        V[s] <= mdp.r[s, a] + D[s, a] + mdp.gamma * (mdp.P[s, a] @ V),
    ]
    return float(cp.Problem(cp.Minimize(cp.norm(cp.vec(D, order="C"), ord)), constraints).solve(solver=cp.CLARABEL))


@pytest.mark.parametrize("ord", [np.inf, 2, 1])
@pytest.mark.parametrize("gamma", [0.5, 0.95])
def test_every_facet_is_as_far_as_the_program_says(ord, gamma):
    mdp = garnet(4, 3, 2, gamma, np.random.default_rng(11))
    pi = solve(mdp).policy
    distances = facet_distances(mdp, ord=ord)
    for s, a in np.argwhere(np.isfinite(distances)):
        assert abs(program(mdp, pi, s, a, ord) - distances[s, a]) <= SOLVER * (1 + distances[s, a])
    c = cliff_radius(mdp, ord=ord)
    assert abs(c.radius - distances.min()) <= c.error
