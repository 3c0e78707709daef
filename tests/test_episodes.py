"""Staged MDPs and the loop over episodes: exact values against enumeration, learners against the interpreter."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimlab.mdps import (
    UCBVI,
    BernsteinBonus,
    BernsteinSets,
    BudgetExploration,
    EpsMix,
    Fixed,
    HoeffdingBonus,
    HybridQ,
    L1Sets,
    Optimism,
    SimplifiedBonus,
    StagedMDP,
    StepMix,
    backward_induction,
    episodic_policy_value,
    episodic_river_swim,
    play_episodes,
    softened,
    staged,
    staged_optimum,
    staged_value,
    transition_data,
)
from claimlab.theory.strategies import episodic_mdps, rewards, seeds, staged_mdps


def learners(mdp):
    """One contract, every learner."""
    baseline = softened(mdp, 0.2)
    floor = 0.8 * staged_value(mdp, baseline)
    tight = L1Sets(scale=0.1)
    data = np.round(20 * mdp.P)
    return [
        UCBVI(), UCBVI(HoeffdingBonus(), monotone=False), UCBVI(SimplifiedBonus(), pooled=True, monotone=False),
        UCBVI(BernsteinBonus(), pooled=True), Optimism(), Optimism(BernsteinSets(scale=1e-3, pooled=True)),
        Optimism(tight, data), Fixed(baseline), StepMix(baseline, floor), StepMix(baseline, floor, tight, data=data),
        StepMix(baseline, floor, tight, floor / 0.8), StepMix(baseline, floor, BernsteinSets(scale=1e-3)),
        EpsMix(baseline, floor, tight, data=data), BudgetExploration(baseline, floor, tight, floor / 0.8),
        HybridQ(data),
    ]  # fmt: skip


KINDS = range(15)
SMALL = StagedMDP(
    np.random.default_rng(0).dirichlet([0.5] * 3, size=(3, 3, 2)), np.random.default_rng(1).random((3, 3, 2))
)


def test_the_contract_has_every_learner():
    assert len(learners(SMALL)) == len(KINDS)


@pytest.mark.parametrize("which", KINDS)
@given(seed=seeds())
@settings(max_examples=5)
def test_compiled_equals_interpreted(which, seed):
    learner = learners(SMALL)[which]
    records = [
        play_episodes(learner, SMALL, episodes=25, runs=1, seed=seed, threshold=0.5, compiled=how, keep_states=True)
        for how in (True, False)
    ]
    for compiled, oracle in zip(records[0][:-1], records[1][:-1]):
        np.testing.assert_array_equal(compiled, oracle)
    assert_same(records[0].states[0], records[1].states[0])


def assert_same(one, two):
    if isinstance(one, tuple):
        for x, y in zip(one, two):
            assert_same(x, y)
    else:
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("which", KINDS)
def test_runs_depend_on_the_seed_alone(which):
    learner = learners(SMALL)[which]
    few = play_episodes(learner, SMALL, episodes=60, runs=3, seed=7, threads=1)
    many = play_episodes(learner, SMALL, episodes=60, runs=6, seed=7, threads=2)
    other = play_episodes(learner, SMALL, episodes=60, runs=3, seed=8)
    for x, y in zip(few[1:-1], many[1:-1]):
        np.testing.assert_array_equal(x, y[:3])
    assert (few.reward != other.reward).any()


@pytest.mark.parametrize("which", KINDS)
def test_every_episode_is_accounted_for(which):
    record = play_episodes(learners(SMALL)[which], SMALL, episodes=200, runs=2, seed=3, checkpoints=9, threshold=np.inf)
    assert (record.kinds.sum(axis=2) == record.times).all()
    assert (record.violations == record.times).all()
    assert (np.diff(record.regret, axis=1) >= -SMALL.rounding).all()
    assert (record.least <= record.value).all()


@given(mdp=episodic_mdps(masked=True, terminal=True, rewards=lambda shape: rewards(shape, low=0.0)))
@settings(max_examples=40)
def test_staged_values_are_those_of_the_episodic_mdp(mdp):
    other, solution = staged(mdp), backward_induction(mdp)
    atol = other.rounding + solution.error
    np.testing.assert_allclose(staged_optimum(other).v, solution.v, rtol=0, atol=atol)
    pi = np.eye(mdp.n_actions)[solution.policy]
    value = mdp.initial @ episodic_policy_value(mdp, pi).v[0]
    np.testing.assert_allclose(staged_value(other, pi), value, rtol=0, atol=2 * atol)


@given(mdp=staged_mdps(max_states=2, max_actions=2), seed=seeds())
@settings(max_examples=40)
def test_value_is_the_sum_over_all_paths(mdp, seed):
    pi = np.random.default_rng(seed).dirichlet(np.ones(mdp.n_actions), size=mdp.r.shape[:2])

    def ahead(h, s):
        return 0.0 if h == mdp.horizon else sum(
            pi[h, s, a] * (mdp.r[h, s, a] + sum(mdp.P[h, s, a, t] * ahead(h + 1, t) for t in range(mdp.n_states)))
            for a in range(mdp.n_actions)
        )  # fmt: skip

    expected = sum(mdp.initial[s] * ahead(0, s) for s in range(mdp.n_states))
    np.testing.assert_allclose(staged_value(mdp, pi), expected, rtol=0, atol=mdp.rounding)


def test_a_fixed_policy_is_followed():
    """Counts of transitions and mean reward against their expectations, five standard errors wide."""
    pi, n = softened(SMALL, 0.5), 20_000
    record = play_episodes(Fixed(pi), SMALL, episodes=n, runs=1, seed=1, keep_states=True)
    hits = record.states[0].hits
    law, P = SMALL.initial, SMALL.P
    for h in range(3):
        expected = n * law[:, None, None] * pi[h][..., None] * P[h]
        assert (abs(hits[h] - expected) <= 5 * np.sqrt(expected) + 5).all()
        law = np.einsum("s,sa,sat->t", law, pi[h], P[h])
    assert record.reward[0, -1] / n == pytest.approx(staged_value(SMALL, pi), abs=5 * 1.5 / np.sqrt(n))
    np.testing.assert_allclose(record.regret[0, -1], n * (staged_optimum(SMALL).value - staged_value(SMALL, pi)))


def test_transition_data_has_the_law_of_episodes():
    pi, n = softened(SMALL, 0.5), 200_000
    one = transition_data(SMALL, pi, n, np.random.default_rng(0))
    two = play_episodes(Fixed(pi), SMALL, episodes=n, runs=1, seed=2, keep_states=True).states[0].hits
    assert one.sum() == 3 * n
    np.testing.assert_array_equal(one[1:].sum(axis=(2, 3)), one[:-1].sum(axis=(1, 2)))
    assert (abs(one - two) <= 6 * np.sqrt(one + two + 1)).all()


def test_learners_find_the_optimum():
    swim = staged(episodic_river_swim(3, 6))
    for learner in (
        UCBVI(SimplifiedBonus(0.3), pooled=True, monotone=False),
        Optimism(L1Sets(scale=0.1, pooled=True)),
        Optimism(BernsteinSets(scale=1e-3, pooled=True)),
    ):
        record = play_episodes(learner, swim, episodes=3_000, runs=2, seed=0)
        assert (staged_optimum(swim).value - record.value[:, -1] < 0.02).all()


def test_ucbvi_bonuses_by_hand():
    """One state, one action after one visit: L = log(5 S A K H / delta)."""
    mdp = StagedMDP(np.ones((2, 1, 1, 1)), np.full((2, 1, 1), 0.25))
    learner = UCBVI(HoeffdingBonus(), 0.1, monotone=False)
    state = learner.ready(mdp.r, mdp.initial, 10)
    learner.watch(state, 0, 0, 0, 0)
    L = np.log(5 * 10 * 2 / 0.1)
    assert HoeffdingBonus().bonus(state, 0, 0, 0, 0, 0.0) == pytest.approx(7 * 2 * L)
    expected = 14 * 2 * L / 3 + np.sqrt(8 * min(1e4 * 8 * L**2, 4.0))
    assert BernsteinBonus().bonus(state, 0, 0, 0, 0, 0.0) == pytest.approx(expected)
    assert SimplifiedBonus(0.5).bonus(state, 1, 0, 0, 0, 0.0) == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: StagedMDP(np.ones((1, 1, 1, 1)), [[[2.0]]]), "r[0, 0, 0] is 2; rewards must lie in [0, 1]"),
        (lambda: StagedMDP(np.ones((1, 1, 1, 1)), [[[np.nan]]]), "r[0, 0, 0] is nan"),
        (lambda: StagedMDP(np.full((1, 1, 1, 1), 0.9), [[[1.0]]]), "P[0, 0, 0] sums to 0.9"),
        (lambda: StagedMDP(np.ones((1, 1, 1, 1)), [[1.0]]), "r must have 3 axes"),
        (lambda: StagedMDP(np.ones((2, 1, 1, 1)), [[[1.0]]]), "P must have shape (H, S, A, S)"),
        (lambda: StagedMDP(np.ones((1, 1, 1, 1)), [[[1.0]]], [0.5, 0.5]), "initial must have shape (S,) = (1,)"),
        (lambda: staged_value(SMALL, np.ones((3, 3, 1))), "pi must have shape (H, S, A) = (3, 3, 2)"),
        (lambda: softened(SMALL, 0.0), "temperature must lie in (0, inf), got 0.0"),
        (lambda: play_episodes(Optimism(), SMALL, episodes=0, runs=1, seed=0), "episodes must be at least 1, got 0"),
        (lambda: play_episodes(Optimism(), SMALL, episodes=1, runs=0, seed=0), "runs must be at least 1, got 0"),
        (lambda: UCBVI(delta=0.0), "delta must lie in (0, 1), got 0.0"),
        (
            lambda: transition_data(SMALL, softened(SMALL, 1.0), -1, np.random.default_rng(0)),
            "episodes must be at least 0",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_wrong_types():
    with pytest.raises(TypeError, match="takes a Learner and a StagedMDP, got str, StagedMDP"):
        play_episodes("UCBVI", SMALL, episodes=1, runs=1, seed=0)  # type: ignore[arg-type]


@given(st.integers(1, 40), st.integers(1, 10))
def test_memory_does_not_grow_with_episodes(episodes, checkpoints):
    record = play_episodes(
        Fixed(softened(SMALL, 1.0)), SMALL, episodes=episodes, runs=1, seed=0, checkpoints=checkpoints, threads=1
    )
    assert record.times[-1] == episodes
    assert record.times.size <= checkpoints
