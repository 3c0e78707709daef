"""Processes with submodular rewards: paths and gradients against plain enumeration, and the counterexamples by hand."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimlab.experiments.papers import submodular_rl
from claimlab.theory import submodular


@st.composite
def processes(draw):
    """A process of at most two steps with all its weights in hundredths, and a policy."""
    H, S, A, U = (draw(st.integers(1, n)) for n in (2, 2, 3, 3))

    def rows(*shape):
        x = np.array(
            draw(st.lists(st.integers(1, 4), min_size=int(np.prod(shape)), max_size=int(np.prod(shape)))), float
        )
        return x.reshape(shape) / x.reshape(shape).sum(axis=-1, keepdims=True)

    n = (H + 1) * S * U
    cover = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), float).reshape(H + 1, S, U)
    w = np.array(draw(st.lists(st.integers(0, 100), min_size=U, max_size=U))) / 100
    return rows(S), rows(H, S, A, S), rows(H, S, A), cover, w


def runs(rho, P, policy):
    """Every (probability, states, actions)."""
    H, S, A, _ = P.shape
    for states in product(range(S), repeat=H + 1):
        for actions in product(range(A), repeat=H):
            chance = rho[states[0]]
            for h in range(H):
                chance *= policy[h, states[h], actions[h]] * P[h, states[h], actions[h], states[h + 1]]
            yield chance, states, actions


def paid(cover, w, states):
    """F of what was visited, as a set of items."""
    items = {u for h, s in enumerate(states) for u in np.flatnonzero(cover[h, s])}
    return sum(w[u] for u in items)


@settings(max_examples=25)
@given(processes())
def test_rewards_and_gradients_equal_those_of_all_runs(process):
    rho, P, policy, cover, w = process
    H, S, A, _ = P.shape
    values = submodular.prefix_values(cover, w)
    expected = sum(p * paid(cover, w, states) for p, states, _ in runs(rho, P, policy))
    assert submodular.objective(rho, P, policy, values[:, -1]) == pytest.approx(expected, abs=1e-12)
    by_hand = np.zeros((H, S, A))  # by the log-derivative of each run, with the gains from there on
    for p, states, actions in runs(rho, P, policy):
        for h in range(H):
            gain = paid(cover, w, states) - paid(cover, w, states[: h + 1])
            by_hand[h, states[h]] += p * gain * (np.eye(A)[actions[h]] - policy[h, states[h]])
    weights = submodular.future_gains(values, A)
    np.testing.assert_allclose(submodular.score_gradient(rho, P, policy, weights), by_hand, atol=1e-12)
    exact = submodular_rl.exact_gradient(rho, P, np.log(policy), values[:, -1])
    np.testing.assert_allclose(exact, by_hand, atol=1e-12)


@settings(max_examples=25)
@given(processes())
def test_the_best_policy_is_that_of_all_trees_of_decisions(process):
    rho, P, _, cover, w = process
    H, S, A, _ = P.shape

    def best(states):
        h = len(states) - 1
        if h == H:
            return paid(cover, w, states)
        return max(sum(P[h, states[-1], a, t] * best((*states, t)) for t in range(S)) for a in range(A))

    values = submodular.prefix_values(cover, w)[:, -1]
    expected = sum(rho[s] * best((s,)) for s in range(S))
    assert submodular.history_optimum(rho, P, values) == pytest.approx(expected, abs=1e-12)
    markov = submodular.objective(rho, P, submodular_rl.deterministic(H, S, A), values).max()
    assert markov <= expected + 1e-12


@given(processes())
def test_curvature_is_the_largest_share_that_is_lost_to_all_others(process):
    *_, cover, w = process
    pairs = list(np.ndindex(cover.shape[:2]))

    def worth(chosen):
        return w @ np.any([cover[v] for v in chosen], axis=0) if chosen else 0.0

    lost = [1 - (worth(pairs) - worth([u for u in pairs if u != v])) / worth([v]) for v in pairs if worth([v]) > 0]
    assert submodular.curvature(cover, w) == pytest.approx(max(lost, default=0.0), abs=1e-9)


def test_a_policy_that_no_change_improves_has_less_than_half_of_the_best_though_the_curvature_is_a_half():
    """By hand, in rational numbers: the docstring of the instance has the weights."""
    case = submodular_rl.detour()
    cover, w = case["cover"], case["w"]
    assert submodular.curvature(cover, w) == pytest.approx(0.5)
    stays = Fraction("0.9") * (Fraction("0.25") + Fraction("0.25"))  # X and its stay
    exits = Fraction("0.05") * (Fraction("0.5") + Fraction("0.35"))  # Y and the exit
    takes = Fraction("0.05") * (Fraction("1") + Fraction("0.55"))  # Z and a
    stuck = stays + exits + takes
    reaches = Fraction("0.9") * (Fraction("0.25") + 1) + Fraction("0.05") * (Fraction("0.5") + 1) + takes
    values = submodular.prefix_values(cover, w)[:, -1]
    policies = submodular_rl.deterministic(3, 3, 2)
    ends = policies[submodular.stationary(case["rho"], case["P"], policies, values, 1e-12)]
    found = submodular.objective(case["rho"], case["P"], ends, values)
    assert found.min() == pytest.approx(float(stuck), abs=1e-12)
    assert submodular.history_optimum(case["rho"], case["P"], values) == pytest.approx(float(reaches), abs=1e-12)
    assert stuck < reaches / 2
    assert submodular.least_visits(case["rho"], case["P"]) == pytest.approx(0.05)


def test_ascent_from_near_that_policy_stays_there():
    case = submodular_rl.detour()
    near = np.zeros((3, 3, 2))
    near[0, 0], near[1, 1], near[2, 2] = (6, 0), (6, 0), (6, 0)  # stay, exit, a: few others come
    reward, _ = submodular_rl.ascent(case, near, "paper", 300, 5.0)
    assert reward[-1] == pytest.approx(0.57, abs=2e-3)


def test_the_released_weights_lead_away_from_a_delayed_reward():
    case = submodular_rl.CORRIDOR
    values = submodular.prefix_values(submodular_rl._cover(case["cover"], 2), case["w"])
    policy = np.full((2, 2, 2), 0.5)
    true, released = (
        submodular.score_gradient(case["rho"], case["P"], policy, submodular_rl.weights_of(values, 2, how))[0, 0, 1]
        for how in ("paper", "released")
    )
    assert true == pytest.approx((1 - 0.25) / 4)  # of the second action, at equal odds: half of half the difference
    assert released == pytest.approx((0 - 0.25) / 4)


def test_a_process_is_checked_before_it_is_used():
    P, cover = np.tile(np.eye(2), (2, 2, 1, 1)), np.zeros((3, 2, 1))
    with pytest.raises(ValueError, match=r"w\[0\] is -1; weights cannot be negative"):
        submodular.SubmodularMDP(P, cover, [-1.0], [1.0, 0.0])
    with pytest.raises(ValueError, match=r"cover\[1, 0, 0\] is 0\.5; entries must be 0 or 1"):
        submodular.SubmodularMDP(P, cover + np.eye(3)[1][:, None, None] * [[0.5], [0]], [1.0], [1.0, 0.0])
    with pytest.raises(ValueError, match=r"P\[0, 0, 0\] sums to 2"):
        submodular.SubmodularMDP(P * 2, cover, [1.0], [1.0, 0.0])
    with pytest.raises(ValueError, match=r"paths; at most 1000000"):
        submodular.SubmodularMDP(np.full((20, 2, 1, 2), 0.5), np.zeros((21, 2, 1)), [1.0], [1.0, 0.0])
    with pytest.raises(ValueError, match=r"rho must have shape"):
        submodular.SubmodularMDP(P, cover, [1.0], [1.0])
    with pytest.raises(ValueError, match=r"policy must have shape"):
        submodular.SubmodularMDP(P, cover, [1.0], [1.0, 0.0]).reward(np.full((1, 2, 2), 0.5))
