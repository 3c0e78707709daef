"""StepMix and its relatives step by step, against plain NumPy; pessimism; the bounds of theory.conservative."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimlab.experiments.papers.stepmix.common import around, knowledge
from claimlab.mdps import (
    BudgetExploration,
    EpsMix,
    L1Sets,
    StagedMDP,
    StepMix,
    pessimistic_value_iteration,
    play_episodes,
    staged_optimum,
    staged_value,
)
from claimlab.mdps.beliefs import mean
from claimlab.mdps.conservative import CREDIT, RHO, plan_pessimism
from claimlab.theory.conservative import (
    conservative_regret,
    offline_episodes,
    offline_shortfall,
    price_of_safety,
    published_regret,
    union_log,
    widths_bound,
)
from claimlab.theory.strategies import seeds

RNG = np.random.default_rng


def drawn(seed):
    """A random situation: the true MDP, a baseline, frequencies and radii that contain the truth."""
    rng = RNG(seed)
    H, S, A = rng.integers(1, 4), rng.integers(2, 4), rng.integers(2, 4)
    P, Q = rng.dirichlet(np.full(S, 0.3), size=(2, H, S, A))
    r = rng.random((H, S, A)) * (rng.random((H, S, A)) < 0.5)
    frequencies, radii = around(P, Q, rng.random(), 2 * rng.random())
    cautious, baseline = np.zeros((H + 1, S)), np.zeros((H, S, A))
    plan_pessimism(L1Sets(), knowledge(frequencies, radii, r).beliefs, r, cautious, baseline)
    return StagedMDP(P, r), 0.9 * baseline + 0.1 / A, frequencies, radii  # one whose certificate is often the best


def certificate(r, frequencies, radii, policy):
    """The lower bound of a policy by plain NumPy: mass moves from the best states to the worst."""
    v = np.zeros(r.shape[1])
    for h in reversed(range(len(r))):
        q, order = np.empty(r.shape[1:]), np.argsort(v)
        for s, a in np.ndindex(*q.shape):
            p, left = frequencies[h, s, a].copy(), radii[h, s, a] / 2
            for t in order[:0:-1]:
                part = min(p[t], left)
                p[t], p[order[0]], left = p[t] - part, p[order[0]] + part, left - part
            q[s, a] = r[h, s, a] + p @ v
        v = (policy[h] * q).sum(axis=1)
    return v[0]


@given(seed=seeds(), level=st.floats(-0.1, 1.1))
@settings(max_examples=80)
def test_stepmix_is_its_definition(seed, level):
    mdp, baseline, frequencies, radii = drawn(seed)
    state = knowledge(frequencies, radii, mdp.r)
    H, A = mdp.horizon, mdp.n_actions
    optimistic = np.eye(A)[state.beliefs.greedy]
    candidates = [np.concatenate([baseline[:h0], optimistic[h0:]]) for h0 in range(H + 1)]
    low = [certificate(mdp.r, frequencies, radii, pi) for pi in candidates]
    threshold = max(low[0] + level * (low[-1] - low[0]), 0.0)
    if min(abs(np.array(low) - threshold)) < 1e-9:  # a tie up to rounding may go either way
        return
    policy = np.zeros(mdp.r.shape)
    kind = StepMix(baseline, threshold).plan(state, 0, RNG(0), policy)
    if low[0] >= threshold:
        expected, pi = 0, optimistic
    elif low[H] < threshold:
        expected, pi = H + 1, baseline
    else:
        expected = next(h0 for h0 in range(1, H + 1) if low[h0] >= threshold)
        rho = (threshold - low[expected - 1]) / (low[expected] - low[expected - 1])
        pi = (1 - rho) * candidates[expected - 1] + rho * candidates[expected]
    assert kind == expected
    np.testing.assert_allclose(policy, pi, atol=1e-6)
    assert staged_value(mdp, policy) >= min(threshold, staged_value(mdp, baseline)) - 10 * mdp.rounding


@given(seed=seeds(), level=st.floats(0.05, 0.95))
@settings(max_examples=60)
def test_the_coin_of_epsmix_is_fair_to_the_threshold(seed, level):
    mdp, baseline, frequencies, radii = drawn(seed)
    state = knowledge(frequencies, radii, mdp.r)
    low = mean(state.initial, state.beliefs.lower[0])
    high = certificate(mdp.r, frequencies, radii, baseline)
    threshold = (1 - level) * low + level * high
    if high <= low + 1e-9:
        return
    learner, policy, rng = EpsMix(baseline, threshold), np.zeros(mdp.r.shape), RNG(seed)
    kinds = [learner.plan(state, 0, rng, policy) for _ in range(400)]
    assert state.notes[RHO] == pytest.approx(level, abs=1e-6)
    assert set(kinds) <= {1, mdp.horizon + 1}
    share = kinds.count(mdp.horizon + 1) / 400
    assert abs(share - level) <= 6 * np.sqrt(level * (1 - level) / 400) + 1e-9
    values = [staged_value(mdp, pi) for pi in (np.eye(mdp.n_actions)[state.beliefs.greedy], baseline)]
    assert (1 - level) * values[0] + level * values[1] >= threshold - 1e-9


@given(seed=seeds())
@settings(max_examples=30)
def test_the_budget_is_never_overdrawn(seed):
    mdp, baseline, frequencies, radii = drawn(seed)
    state = knowledge(frequencies, radii, mdp.r)
    value = staged_value(mdp, baseline)
    learner, policy, credit = BudgetExploration(baseline, 0.8 * value, known=value), np.zeros(mdp.r.shape), 0.0
    for k in range(30):
        kind = learner.plan(state, k, RNG(0), policy)
        gain = mean(state.initial, state.beliefs.lower[0]) - 0.8 * value if kind == 0 else 0.2 * value
        if kind:
            gain = max(certificate(mdp.r, frequencies, radii, baseline), value) - 0.8 * value
        credit += gain
        assert state.notes[CREDIT] == pytest.approx(credit, abs=1e-9)
        assert credit >= -1e-9


def test_known_values_of_the_baseline_spare_its_certificate():
    """Without data nothing is certified, but the known value is: the first mixture keeps some of the optimist."""
    P, r = np.full((2, 2, 2, 2), 0.5), np.zeros((2, 2, 2))
    r[1, 1] = 1
    baseline = np.full((2, 2, 2), 0.5)
    mdp = StagedMDP(P, r)
    assert play_episodes(StepMix(baseline, 0.4), mdp, episodes=1, runs=1, seed=0).kinds[0, 0].argmax() == 3
    assert play_episodes(StepMix(baseline, 0.4, known=0.5), mdp, episodes=1, runs=1, seed=0).kinds[0, 0].argmax() == 2


@given(seed=seeds())
@settings(max_examples=40)
def test_pessimism_has_the_best_certificate_of_all_policies(seed):
    rng = RNG(seed)
    P = rng.dirichlet(np.ones(2), size=(2, 2, 2))
    mdp = StagedMDP(P, rng.random((2, 2, 2)))
    data = rng.multinomial(rng.integers(0, 400, size=(2, 2, 2)), P).astype(float)
    found, n = pessimistic_value_iteration(mdp, data), data.sum(axis=3)
    sets = L1Sets()
    radii = np.array([sets.width(x, (2, 2, 2), 0) for x in n.ravel()]).reshape(n.shape)
    frequencies = np.where(n[..., None] > 0, data / np.maximum(n, 1)[..., None], 0.5)
    best = max(
        certificate(mdp.r, frequencies, radii, np.eye(2)[np.array(code).reshape(2, 2)])
        for code in np.ndindex(2, 2, 2, 2)
    )
    assert found.value == pytest.approx(best, abs=1e-12)
    assert certificate(mdp.r, frequencies, radii, found.policy) == pytest.approx(best, abs=1e-12)


def test_plenty_of_data_make_pessimism_optimal():
    rng = RNG(4)
    mdp = StagedMDP(rng.dirichlet(np.ones(3), size=(3, 3, 2)), rng.random((3, 3, 2)))
    found = pessimistic_value_iteration(mdp, np.round(1e12 * mdp.P))
    assert found.value == pytest.approx(staged_optimum(mdp).value, abs=1e-4)
    np.testing.assert_array_equal(found.policy, staged_optimum(mdp).policy)


@given(st.integers(2, 6), st.integers(1, 5), st.integers(2, 5), st.floats(0.01, 1), st.floats(0.001, 0.3))
def test_price_is_the_largest_number_the_theorem_admits(S, A, H, slack, delta):
    N = price_of_safety(S, A, H, slack, delta)
    assert slack * N >= widths_bound(S, A, H, N, delta) * (1 - 1e-8)
    assert slack * 0.99 * N <= widths_bound(S, A, H, 0.99 * N, delta)


def test_bounds_by_hand():
    """S = A = H = 2, delta = 1/10, N = 10: c = 1, L = log 2 + log(8 * 110 * 10)."""
    L = np.log(2) + np.log(8 * 110 * 10)
    expected = np.e / (np.e - 1) * (4 + 4 * np.sqrt(2 * L * 4 * 10) + np.log(10))
    assert widths_bound(2, 2, 2, 10, 0.1) == pytest.approx(expected, rel=1e-12)
    assert widths_bound(1, 2, 2, 10, 0.1) == 0
    shortfall = 2 * np.sqrt(L * 4 / 10) + 8 * 4 / 10 * np.log(80)
    assert offline_shortfall(2, 2, 2, 10, 0.1) == pytest.approx(shortfall, rel=1e-12)
    assert union_log(2, 2, 2, 10, 0.1) == pytest.approx(L, rel=1e-12)
    n = offline_episodes(2, 2, 2, 0.5, 0.1)
    assert offline_shortfall(2, 2, 2, n, 0.1) <= 0.5 < offline_shortfall(2, 2, 2, n - 1, 0.1)
    regret = conservative_regret(2, 2, 2, 10**9, 0.1, 0.5, 0.1)
    price = 0.6 * price_of_safety(2, 2, 2, 0.5, 0.1)
    assert regret == pytest.approx(price + widths_bound(2, 2, 2, 10**9, 0.1), rel=1e-12)
    assert published_regret(2, 3, 2, 100, 0.5, 0.25) == pytest.approx(
        np.sqrt(8 * 600) + 8 * 4 * 3 + 8 * 6 * 0.5 * (16 + 8)
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: StepMix(np.full((1, 1, 2), 0.4), 0.0), "baseline[0, 0] sums to 0.8"),
        (lambda: StepMix(np.ones((1, 1, 1)), -1.0), "threshold must lie in [0, inf), got -1.0"),
        (lambda: EpsMix(np.ones((1, 1, 1)), np.nan), "threshold must lie in [0, inf), got nan"),
        (lambda: BudgetExploration(np.ones((1, 1, 1)), 0.0, known=-0.1), "known must lie in [0, inf), got -0.1"),
        (lambda: price_of_safety(2, 2, 2, 0.0, 0.1), "slack must lie in (0, inf), got 0.0"),
        (lambda: widths_bound(2, 2, 2, 1, 1.0), "delta must lie in (0, 1), got 1.0"),
        (lambda: offline_episodes(2, 2, 2, 0.0, 0.1), "shortfall must lie in (0, inf), got 0.0"),
        (
            lambda: pessimistic_value_iteration(StagedMDP(np.ones((1, 1, 1, 1)), [[[1.0]]]), np.ones((2, 1, 1, 1))),
            "data must have shape (Z, S, A, S) = (1, 1, 1, 1), got (2, 1, 1, 1)",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
