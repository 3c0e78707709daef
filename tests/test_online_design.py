"""Designs found online, hybrid Q-iteration and track-and-stop, against independent computations."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from claimlab.bandits.identification import bernoulli_kl, meeting_point, track_and_stop
from claimlab.mdps import UCBVI, HybridQ, KnownRewardBonus, StagedMDP, combination_lock, play_episodes, staged
from claimlab.mdps.certificates import NotConverged
from claimlab.mdps.coverage import o2o_episodes
from claimlab.mdps.design import design_goals
from claimlab.mdps.fine_tuning import fine_tune
from claimlab.mdps.online_design import RegretDesign, collect_covariates, regret_frank_wolfe
from claimlab.mdps.policy_classes import deterministic_policies, values
from claimlab.mdps.prefixes import prefixes
from claimlab.mdps.staged import staged_occupancy, staged_optimum, staged_value, transition_data
from claimlab.theory.strategies import seeds


def dense(seed, H=2, S=3, A=2, initial=None):
    rng = np.random.default_rng(seed)
    return StagedMDP(rng.dirichlet(np.ones(S), size=(H, S, A)), rng.random((H, S, A)), initial)


# Large classes, and logs that are just enough


def test_nineteen_thousand_policies():
    """3^9 policies, each walked through by hand: the design covers all of them, and no fewer episodes do."""
    mdp, eps, beta = dense(0, H=3, A=3, initial=np.full(3, 1 / 3)), 0.1, 8.0
    offline = np.random.default_rng(1).integers(0, 200, size=(3, 3)).astype(float)
    design = o2o_episodes(mdp, 2, eps, beta, offline)
    assert 0 < design.gap <= 1e-5 * design.value
    best = staged_optimum(mdp)
    visits = offline + design.episodes * design.occupancy
    law, lost, w = mdp.initial[None], np.zeros(1), np.zeros((1, 3, 3))
    rules = np.array(list(product(range(3), repeat=3)))
    for h in range(3):
        w = law[:, None, :, None] * np.eye(3)[rules][None]  # [n, 27, S, A]
        lost = (lost[:, None] + (w * (best.v[h][:, None] - best.q[h])).sum(axis=(2, 3))).ravel()
        w = w.reshape(-1, 3, 3)
        law = np.einsum("nsa,sat->nt", w, mdp.P[h])
    assert len(lost) == len(prefixes(mdp, 2).gap) == 27**3
    scores = (w**2 / visits).sum(axis=(1, 2)) / np.maximum(lost, eps) ** 2
    assert scores.max() <= 1 / beta * (1 + 1e-9)
    assert scores.max() >= 1 / beta * (1 - 1e-4)  # some policy binds


@pytest.mark.parametrize(("beta", "eps"), [(1.0, 0.05), (20.0, 0.05), (8.0, 0.3)])
def test_a_log_that_is_exactly_enough(beta, eps):
    """An expert seen beta / eps^2 times, to the ulp: three other occupancies of gap 1 need beta visits each."""
    mdp = staged(combination_lock(4))
    w = staged_occupancy(mdp, staged_optimum(mdp).policy)[3]
    design = o2o_episodes(mdp, 3, eps, beta, np.ceil(beta / eps**2) * w)
    assert design.value == pytest.approx(3 * beta, rel=1e-5)
    assert design.gap <= 1e-5 * design.value


# FWRegret and OptCov


def test_online_frank_wolfe_on_a_bandit_by_hand():
    """Targets e_0, e_1, 2 e_2 ask for shares 1/6, 1/6, 4/6; after a log of 1000 pulls of arm 2 none goes there."""
    bandit = StagedMDP(P=np.ones((1, 1, 3, 1)), r=np.array([[[0.9, 0.7, 0.4]]]))
    goals = design_goals(np.ones((1, 3), bool), np.diag([1.0, 1.0, 2.0]), None, None)
    visits = regret_frank_wolfe(bandit, 0, goals, 16, 256, np.random.default_rng(0))[0].sum(axis=2)
    assert visits.sum() == 16 * 256
    np.testing.assert_allclose(visits[0] / visits.sum(), [1 / 6, 1 / 6, 4 / 6], atol=1 / 16)  # a round moves that much
    goals = design_goals(np.ones((1, 3), bool), np.diag([1.0, 1.0, 2.0]), [[0.0, 0.0, 1000.0]], None)
    visits = regret_frank_wolfe(bandit, 0, goals, 8, 16, np.random.default_rng(0))[0].sum(axis=2)
    assert visits[0, 2] == 0


@given(seeds())
@settings(max_examples=8, deadline=None)
def test_collected_covariates_do_what_was_asked(seed):
    rng = np.random.default_rng(seed)
    mdp, found = dense(seed), prefixes(dense(seed), 1)
    targets, offline = found.occupancy.reshape(len(found.gap), -1), rng.integers(0, 50, size=(3, 2)).astype(float)
    tol = 10 ** rng.uniform(-2.5, -0.5)
    done = collect_covariates(mdp, 1, targets, tol, rng, offline=offline)
    assert done.visits.sum() == 8**done.stages
    assert done.episodes == sum(8**i for i in range(1, done.stages + 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        norms = np.where(targets > 0, targets**2 / (offline + done.visits).ravel(), 0.0).sum(axis=1)
    assert norms.max() == pytest.approx(done.value)
    assert done.value <= tol


@given(seeds())
@settings(max_examples=5, deadline=None)
def test_known_rewards_leave_room_for_optimism(seed):
    """With probability 0.9 every plan is above the optimum; in 40 runs more than 12 failures have probability 1e-4."""
    mdp = dense(seed)
    record = play_episodes(
        UCBVI(KnownRewardBonus(), monotone=True), mdp, episodes=300, runs=40, seed=seed, checkpoints=1, keep_states=True
    )
    best = staged_optimum(mdp).value
    assert sum(float(mdp.initial @ state.v[0]) < best - 1e-9 for state in record.states) <= 12  # q only falls: lowest


@given(seeds())
@settings(max_examples=5, deadline=None)
def test_ftpedel_explores_by_what_learners_found(seed):
    """Its own episodes are fresh, the learners' are counted apart; estimates are those of an empirical MDP."""
    mdp, rng = dense(seed, S=2), np.random.default_rng(seed)
    explorer = RegretDesign(mdp, rng, rounds=4, batch=64)
    found = fine_tune(mdp, explorer, 0.8, 0.1, rng)
    assert explorer.spent == 4 * 64 * found.played.astype(bool).sum()
    assert found.episodes == found.played.sum() + explorer.spent
    true = values(mdp, deterministic_policies(mdp))[0] @ mdp.initial
    assert np.nanmax(abs(found.estimates - true) / found.widths[:, None]) < 1
    assert true.max() - staged_value(mdp, np.eye(2)[found.policy]) <= 0.8


# Hy-Q


@given(seeds())
@settings(max_examples=8, deadline=None)
def test_hybrid_q_is_fitted_q_on_all_data(seed):
    mdp = dense(seed)
    log = transition_data(mdp, np.full(mdp.r.shape, 0.5), 5, np.random.default_rng(seed))
    one, two = (
        play_episodes(HybridQ(log), mdp, episodes=7, runs=1, seed=seed, compiled=how, keep_states=True)
        for how in (True, False)
    )
    state = one.states[0]
    np.testing.assert_array_equal(state.q, two.states[0].q)
    assert state.visits.n[0].sum() == 12
    last = play_episodes(HybridQ(state.visits.hits), mdp, episodes=1, runs=1, seed=0, keep_states=True).states[0]
    hits, v = state.visits.hits, np.zeros(3)
    for h in (1, 0):
        n = hits[h].sum(axis=2)
        q = np.where(n > 0, mdp.r[h] + hits[h] @ v / np.maximum(n, 1), 0.0)
        np.testing.assert_allclose(last.q[h], q, atol=1e-12)
        v = q.max(axis=1)


# Track-and-stop


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 500), st.integers(1, 500), st.floats(0.01, 0.9))
@settings(deadline=None)
def test_the_evidence_is_the_least_likelihood_ratio(p, q, n, m, eps):
    p, q = max(p, q), min(p, q)

    def ratio(x):
        return n * bernoulli_kl(p, x) + m * bernoulli_kl(q, x + eps)

    brute = minimize_scalar(ratio, bounds=(1e-9, 1 - eps - 1e-9), method="bounded", options={"xatol": 1e-10})
    assert ratio(meeting_point(p, float(n), q, float(m), eps)) <= brute.fun + 1e-6 * (1 + brute.fun)


def test_a_log_that_decides_needs_no_pulls():
    found = track_and_stop(
        [0.9, 0.2], 0.1, 0.01, np.random.default_rng(0), offline=[300, 300], offline_rewards=[270, 60]
    )
    assert (found.arm, found.pulls.tolist(), found.stopped) == (0, [0, 0], True)
    short = track_and_stop([0.5, 0.5, 0.5], 0.05, 0.01, np.random.default_rng(0), limit=50)
    assert (short.pulls.sum(), short.stopped) == (50, False)


def test_pulls_go_where_the_log_did_not():
    """Of two equal logs, one short of the other arm: the runs pull that one more."""
    pulls = [
        track_and_stop(
            [0.7, 0.4], 0.1, 1e-4, np.random.default_rng(i), offline=[200, 0], offline_rewards=[140, 0]
        ).pulls
        for i in range(20)
    ]
    assert np.mean([p[1] for p in pulls]) > 3 * np.mean([p[0] for p in pulls])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, g: track_and_stop([0.5], 0.1, 0.1, g), "means must hold two arms"),
        (lambda m, g: track_and_stop([0.5, 1.5], 0.1, 0.1, g), r"means\[1\]"),
        (lambda m, g: track_and_stop([0.5, 0.4], 0.0, 0.1, g), "eps must lie in"),
        (lambda m, g: track_and_stop([0.5, 0.4], 0.1, 0.1, g, offline=[1, 2], offline_rewards=[2, 0]), r"offline\[0\]"),
        (lambda m, g: HybridQ(-np.ones((2, 3, 2, 3))), "data"),
        (lambda m, g: KnownRewardBonus(-1.0), "span must lie in"),
        (lambda m, g: collect_covariates(m, 1, np.ones((1, 3)), 0.1, g), "targets must have shape"),
        (lambda m, g: collect_covariates(m, 1, np.eye(6), 0.0, g), "tol must lie in"),
        (lambda m, g: collect_covariates(m, 1, np.eye(6), 0.1, g, offline=np.ones(2)), "offline must have 2 axes"),
    ],
)
def test_bad_calls(call, message):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=message):
        call(dense(0), rng)


def test_a_limit_on_episodes_is_kept():
    with pytest.raises(NotConverged, match="more than 100"):
        collect_covariates(dense(0), 1, np.eye(6), 1e-6, np.random.default_rng(0), limit=100)
