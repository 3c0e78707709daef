import numpy as np
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from claimlab.mdps import AverageMDP, EpisodicMDP, TabularMDP, solve
from claimlab.mdps.exact import exact
from claimlab.theory.strategies import (
    average_mdps,
    bernoullis,
    deterministic_policies,
    episodic_mdps,
    periodic_mdps,
    policies,
    rewards,
    seeds,
    simplices,
    tabular_mdps,
    tied_mdps,
    token_trees,
    values,
)

quick = settings(max_examples=1000, database=None)


def dense(mdp):
    return mdp.P.toarray().reshape(*mdp.r.shape, -1) if mdp.is_sparse else mdp.P


@given(simplices((2, 3)))
def test_simplices_are_distributions(p):
    assert p.shape == (2, 3)
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-15)


@given(rewards((2, 2), low=-2, high=3, scale=10))
def test_rewards_stay_in_their_range(r):
    assert r.shape == (2, 2)
    assert (r >= -20).all()
    assert (r <= 30).all()
    assert not np.signbit(r[r == 0]).any()


@given(
    tabular_mdps(max_states=3, max_actions=2, masked=True, terminal=True)
    | episodic_mdps(max_states=3, max_actions=2, masked=True, terminal=True)
    | average_mdps(max_states=3, max_actions=2, masked=True)
)
def test_sizes_are_kept(mdp):
    assert mdp.n_states <= 3
    assert mdp.n_actions <= 2


@pytest.mark.parametrize("strategy", [tabular_mdps, episodic_mdps, average_mdps, periodic_mdps, tied_mdps, token_trees])
@pytest.mark.parametrize("sparse", [True, False])
def test_storage_is_what_was_asked(strategy, sparse):
    @settings(max_examples=10)
    @given(strategy(sparse=sparse))
    def check(drawn):
        assert (drawn[0] if strategy is tied_mdps else drawn).is_sparse is sparse

    check()


@given(average_mdps(masked=True))
def test_average_mdps_pull_towards_state_zero(mdp):
    assert isinstance(mdp, AverageMDP)
    assert (dense(mdp)[..., 0][mdp.actions] >= 1 / 16 - 1e-15).all()


@given(periodic_mdps(max_period=3, max_width=2))
def test_periodic_mdps_have_eigenvalues_on_the_unit_circle(mdp):
    P_pi, _ = mdp.under(np.zeros(mdp.n_states, int))
    eigenvalues = np.linalg.eigvals(P_pi.toarray() if mdp.is_sparse else P_pi)
    on_circle = eigenvalues[abs(eigenvalues) > 1 - 1e-6]
    assert len(on_circle) in (2, 3)  # the period: its roots of unity, the one of 1 only once
    assert (abs(on_circle - 1) < 1e-6).sum() == 1


@given(tied_mdps(masked=True))
def test_ties_are_exact(pair):
    mdp, q = pair
    truth = exact(mdp)
    assert (truth.q == q).all()
    assert (truth.v == q.max(axis=1)).all()


@given(st.data())
def test_policies_use_available_actions(data):
    mdp = data.draw(tabular_mdps(masked=True))
    pi, choice, v = data.draw(policies(mdp)), data.draw(deterministic_policies(mdp)), data.draw(values(mdp, bound=3))
    mdp.policy(pi)
    assert mdp.policy(choice).tolist() == choice.tolist()
    assert v.shape == (mdp.n_states,)
    assert abs(v).max() <= 3


@given(token_trees(max_vocabulary=2, max_depth=3))
def test_token_trees_pay_at_the_leaves_alone(tree):
    assert isinstance(tree, EpisodicMDP)
    assert set(dense(tree).ravel()) <= {0.0, 1.0}
    assert tree.terminal[-1]
    assert (tree.r >= 0).all()


@given(bernoullis(max_arms=3), seeds())
def test_bandits_and_seeds(env, seed):
    assert 1 <= env.means.size <= 3
    np.random.default_rng(seed)


def test_everything_shrinks_to_one_state_and_one_action():
    for strategy in (tabular_mdps(), tabular_mdps(masked=True, terminal=True), episodic_mdps(), average_mdps()):
        mdp = find(strategy, lambda mdp: True, settings=quick)
        assert mdp.r.tolist() == [[0.0]]
        assert dense(mdp).tolist() == [[[1.0]]]
        assert mdp.actions.all()
        assert not mdp.terminal.any()


def test_a_false_theorem_about_values_shrinks_to_one_state_and_reward_one():
    mdp = find(tabular_mdps(), lambda mdp: solve(mdp).v.max() > 1.5, settings=quick)
    assert mdp.r.shape == (1, 1)
    assert mdp.r[0, 0] in (0.5, 1.0)


@pytest.mark.parametrize(
    ("strategy", "wanted"),
    [
        (tabular_mdps(), lambda m: m.is_sparse),
        (tabular_mdps(masked=True), lambda m: not m.actions.all()),
        (tabular_mdps(terminal=True), lambda m: m.terminal.any() and not m.terminal.all()),
        (tabular_mdps(sparse=False), lambda m: m.n_states > 2 and (m.P == 0).any() and (m.P % 1 > 0).any()),
        (tabular_mdps(), lambda m: m.n_actions > 1 and len(set(m.r.ravel())) < m.r.size and (m.r != 0).all()),
        (tabular_mdps(), lambda m: m.gamma == 0.99),
        (tied_mdps(), lambda p: ((p[1] == p[1].max(axis=1, keepdims=True)).sum(axis=1) > 1).any() and p[1].any()),
    ],
)
def test_the_interesting_cases_are_found(strategy, wanted):
    assert wanted(find(strategy, wanted, settings=quick))


def test_gamma_and_rewards_can_be_given():
    strategy = tabular_mdps(gammas=st.just(0.25), rewards=lambda shape: rewards(shape, low=2, high=3))
    mdp = find(strategy, lambda mdp: isinstance(mdp, TabularMDP), settings=quick)
    assert mdp.gamma == 0.25
    assert mdp.r.tolist() == [[2.0]]
