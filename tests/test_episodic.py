from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from claimlab.mdps import EpisodicMDP, backward_induction, episodic_occupancy, episodic_policy_value
from claimlab.mdps.exact import rationals
from claimlab.theory.strategies import deterministic_policies, episodic_mdps, policies, rewards, token_trees

from .oracles import SCALES, within

scaled = st.sampled_from(SCALES).flatmap(
    lambda scale: episodic_mdps(masked=True, terminal=True, rewards=lambda shape: rewards(shape, scale=scale))
)


def dense(mdp):
    return mdp.P.toarray().reshape(*mdp.r.shape, -1) if mdp.is_sparse else mdp.P


def exactly(mdp, stages):
    """Values of the policy float[H, S, A] by recursion in rationals."""
    P, r, v = rationals(dense(mdp)), rationals(mdp.r), [rationals(np.zeros(mdp.n_states))]
    for pi in reversed(stages):
        q = r + (P * v[0]).sum(axis=2)
        v.insert(0, (rationals(pi) * q).sum(axis=1))
    return np.stack(v)


@settings(max_examples=40)
@given(episodic_mdps(max_states=2, max_actions=2, max_horizon=2, masked=True))
def test_optimum_is_the_best_of_all_policies(mdp):
    solution = backward_induction(mdp)
    stage = [np.array(pi) for pi in product(*(np.flatnonzero(row) for row in mdp.actions))]
    values = [exactly(mdp, [np.eye(mdp.n_actions)[pi] for pi in plan]) for plan in product(stage, repeat=mdp.horizon)]
    best = np.stack(values).max(axis=0)
    assert within(solution.v, best, solution.error)
    own = exactly(mdp, [np.eye(mdp.n_actions)[pi] for pi in solution.policy])
    assert (best - own).max() <= 2 * mdp.horizon * solution.error


@given(st.data())
def test_policy_values_are_within_their_certificate(data):
    mdp = data.draw(scaled)
    stages = [data.draw(policies(mdp)) for _ in range(mdp.horizon)]
    evaluation = episodic_policy_value(mdp, np.stack(stages))
    assert within(evaluation.v, exactly(mdp, stages), evaluation.error)


@given(st.data())
def test_the_four_forms_of_a_policy_agree(data):
    mdp = data.draw(scaled)
    pi = data.draw(deterministic_policies(mdp))
    plan, one_hot = np.stack([pi] * mdp.horizon), np.eye(mdp.n_actions)[pi]
    forms = [pi, plan, one_hot, np.stack([one_hot] * mdp.horizon)]
    evaluations = [episodic_policy_value(mdp, form) for form in forms]
    for evaluation in evaluations:
        assert within(evaluation.v, exactly(mdp, [one_hot] * mdp.horizon), evaluation.error)
        assert evaluation.v.shape == (mdp.horizon + 1, mdp.n_states)
    for form in forms:
        np.testing.assert_allclose(episodic_occupancy(mdp, form), episodic_occupancy(mdp, pi), atol=1e-12)


@given(st.data())
def test_occupancies_are_laws_and_dual_to_values(data):
    mdp = data.draw(episodic_mdps(masked=True, terminal=True))
    stages = np.stack([data.draw(policies(mdp)) for _ in range(mdp.horizon)])
    d = episodic_occupancy(mdp, stages)
    np.testing.assert_allclose(d.sum(axis=(1, 2)), 1, atol=1e-12)
    np.testing.assert_allclose(d[0].sum(axis=1), mdp.initial, atol=1e-12)
    inflow = np.einsum("hsa,sat->ht", d[:-1], dense(mdp))
    np.testing.assert_allclose(d[1:].sum(axis=2), inflow, atol=1e-12)
    value = mdp.initial @ episodic_policy_value(mdp, stages).v[0]
    assert abs((d * mdp.r).sum() - value) <= 1e-12 * mdp.horizon


@given(episodic_mdps(masked=True, terminal=True, sparse=False))
def test_dense_and_sparse_agree(mdp):
    P = csr_array(mdp.P.reshape(-1, mdp.n_states))
    twin = EpisodicMDP(P, mdp.r, mdp.horizon, actions=mdp.actions, terminal=mdp.terminal, initial=mdp.initial)
    one, other = backward_induction(mdp), backward_induction(twin)
    assert abs(one.v - other.v).max() <= one.error + other.error
    assert mdp.actions[np.arange(mdp.n_states), one.policy].all()


@given(token_trees())
def test_a_token_tree_is_worth_its_best_leaf(tree):
    solution = backward_induction(tree)
    assert abs(solution.v[0, 0] - tree.r.max()) <= solution.error
    assert (solution.v[-1] == 0).all()


def test_climbing_a_ladder_in_closed_form():
    """n rungs, one a step, 1 for each step on top: from rung s the value is max(H - (n - 1 - s), 0)."""
    n, H = 5, 7
    P = np.zeros((n, 2, n))
    P[np.arange(n), 0, 0] = P[np.arange(n), 1, np.minimum(np.arange(n) + 1, n - 1)] = 1
    r = np.zeros((n, 2))
    r[-1, 1] = 1
    v = backward_induction(EpisodicMDP(P, r, H)).v
    assert v[0].tolist() == [3, 4, 5, 6, 7]
    assert Fraction(v[5, 0]) == 0


@pytest.mark.parametrize(
    ("pi", "message"),
    [
        (np.zeros((3, 1), int), r"pi must have one policy for each of the 2 steps, got shape \(3, 1\)"),
        (np.array([[0], [2]]), r"pi\[1\]\[0\] is 2, which is not an action of state 0"),
        (np.array([[[1.0, 0.0]], [[0.5, 0.4]]]), r"pi\[1\]\[0\] sums to 0.9"),
        (np.array([3]), r"pi\[0\] is 3"),
    ],
)
def test_bad_policies_are_named(pi, message):
    mdp = EpisodicMDP(P=[[[1.0], [1.0]]], r=[[0.0, 1.0]], horizon=2)
    with pytest.raises(ValueError, match=message):
        episodic_policy_value(mdp, pi)
    with pytest.raises(ValueError, match=message):
        episodic_occupancy(mdp, pi)
