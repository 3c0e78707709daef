import numpy as np
import pytest
from hypothesis import given, settings
from scipy.sparse import csr_array

from claimlab.mdps import NotConverged, TabularMDP, flow_residual, linear_program, occupancy, policy_value, solve_lp
from claimlab.mdps.instances import garnet
from claimlab.theory.strategies import tabular_mdps

from .oracles import CLOSE_TO_ONE, exact, hard_mdps, within


@settings(max_examples=50)
@given(hard_mdps(CLOSE_TO_ONE))
def test_primal_and_dual_are_within_their_certificates(mdp):
    solution, truth = solve_lp(mdp), exact(mdp)
    scale = max(mdp.value_bound, 1e-300)
    assert within(solution.v, truth.v, solution.error)
    assert solution.error <= 1e-5 * scale
    assert solution.duality_gap <= 1e-6 * scale
    assert solution.residual <= 1e-7
    # the flow equations summed over all states: so far can the total be from 1
    mass = (mdp.n_states * solution.residual + 2 * mdp.row_error) / (1 - mdp.gamma) + 1e-8
    assert abs(solution.occupancy.sum() - 1) <= mass
    assert (solution.occupancy >= 0).all()
    assert (solution.occupancy[~mdp.actions] == 0).all()
    mean = float(sum(truth.v)) / mdp.n_states
    assert abs((solution.occupancy * mdp.r).sum() / (1 - mdp.gamma) - mean) <= (1e-5 + mass) * scale


def test_occupancy_is_that_of_the_unique_optimal_policy():
    mdp = garnet(20, 3, 4, 0.9, np.random.default_rng(0))
    start = np.random.default_rng(1).dirichlet(np.ones(20))
    solution = solve_lp(mdp, initial=start)
    np.testing.assert_allclose(solution.occupancy, occupancy(mdp, solution.policy, start), atol=1e-8)
    assert flow_residual(mdp, solution.occupancy, start) == solution.residual
    gain = (solution.occupancy * mdp.r).sum() / (1 - mdp.gamma)
    assert abs(gain - start @ policy_value(mdp, solution.policy).v) <= 1e-8


def test_sparse_input_gives_the_same_program():
    dense, sparse = (garnet(200, 3, 4, 0.95, np.random.default_rng(0), sparse=kind) for kind in (False, True))
    one, other = solve_lp(dense), solve_lp(sparse)
    assert abs(one.v - other.v).max() <= one.error + other.error
    assert max(one.error, other.error) <= 1e-5


def test_states_that_the_start_does_not_reach_show_in_the_error():
    """State 1 is absorbing with value 2 and state 0 never reaches it from weight 0: any v(1) >= 2 is optimal."""
    mdp = TabularMDP(P=[[[1.0, 0.0]], [[0.0, 1.0]]], r=[[1.0], [1.0]], gamma=0.5)
    solution = solve_lp(mdp, initial=[1.0, 0.0])
    assert abs(solution.v[0] - 2) <= solution.error
    assert within(solution.v, exact(mdp).v, solution.error)


def test_failure_carries_the_message_of_the_solver(monkeypatch):
    class Failed:
        status, message = 4, "numerical difficulties"

    monkeypatch.setattr(linear_program, "linprog", lambda *args, **options: Failed)
    with pytest.raises(NotConverged, match="HiGHS found no optimum: numerical difficulties"):
        solve_lp(TabularMDP(P=[[[1.0]]], r=[[1.0]], gamma=0.5))


@given(tabular_mdps(max_states=3))
def test_bad_start_is_named(mdp):
    with pytest.raises(ValueError, match=r"initial must have shape \(S,\)"):
        solve_lp(mdp, initial=np.full(mdp.n_states + 1, 1 / (mdp.n_states + 1)))


def test_constraints_are_rows_of_gamma_p_minus_the_own_state():
    mdp = TabularMDP(P=[[[0.5, 0.5]], [[0.0, 1.0]]], r=[[1.0], [0.0]], gamma=0.5)
    twin = TabularMDP(csr_array(mdp.P.reshape(2, 2)), mdp.r, 0.5)
    for either in (mdp, twin):
        np.testing.assert_array_equal(linear_program._constraints(either).toarray(), [[-0.75, 0.25], [0, -0.5]])
