"""Off-policy estimators of episodes and transitions against enumeration, exact rationals and exact ratios."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimlab.mdps import TabularMDP, policy_value, rollouts
from claimlab.mdps.exact import rationals, solve_linear
from claimlab.mdps.off_policy import (
    EpisodeLog,
    double_value,
    dr_value,
    evaluate_episodes,
    fitted_q,
    marginalised_sampling,
    occupancies,
    occupancy_ratios,
    ratio_value,
    sample_episodes,
)
from claimlab.mdps.off_policy_discounted import TransitionLog, evaluate_transitions, linear_view, stationary_ratios
from claimlab.mdps.staged import StagedMDP, staged_value
from claimlab.theory.off_policy import cramer_rao, episode_interval, tables, trajectory_variance, tree_bound
from claimlab.theory.strategies import seeds

SMALL = settings(deadline=None, max_examples=25)


def random_case(seed, H=3, S=2, A=2):
    rng = np.random.default_rng(seed)
    mdp = StagedMDP(rng.dirichlet(np.ones(S), (H, S, A)), rng.random((H, S, A)), rng.dirichlet(np.ones(S)))
    mu = 0.8 * rng.dirichlet(np.ones(A), (H, S)) + 0.2 / A
    return rng, mdp, rng.dirichlet(np.ones(A), (H, S)), mu


def every_episode(mdp, pi, mu):
    """A log that holds every trajectory once, and the probability of each under the logging policy."""
    H, S, A = mdp.r.shape
    rows = [(float(mdp.initial[s]), [s], []) for s in range(S)]
    for h in range(H):
        rows = [
            (p * mu[h, s[-1], a] * mdp.P[h, s[-1], a, t], [*s, t], [*b, a])
            for p, s, b in rows for a in range(A) for t in range(S)
        ]  # fmt: skip
    p = np.array([row[0] for row in rows])
    states, actions = np.array([row[1][:H] for row in rows]), np.array([row[2] for row in rows])
    steps = np.arange(H)
    return p, EpisodeLog(states, actions, mdp.r[steps, states, actions], mu[steps, states, actions], pi)


def term_by_term(log, estimator):
    """An estimator that is a mean, on each episode alone."""
    out = []
    for i in range(log.n):
        j = slice(i, i + 1)
        one = EpisodeLog(log.states[j], log.actions[j], log.rewards[j], log.propensities[j], log.target, log.gamma)
        out.append(estimator(one).value)
    return np.array(out)


@SMALL
@given(seeds())
def test_dr_and_known_ratios_are_unbiased_and_vary_as_the_theory_says(seed):
    rng, mdp, pi, mu = random_case(seed, H=2)
    p, log = every_episode(mdp, pi, mu)
    value, t = staged_value(mdp, pi), tables(mdp, pi, mu)
    v = [np.zeros(2)]
    for h in (1, 0):
        v.insert(0, (pi[h] * (mdp.r[h] + mdp.P[h] @ v[0])).sum(axis=1))
    q = np.array([mdp.r[h] + mdp.P[h] @ v[h + 1] for h in range(2)])
    ratios, wrong = occupancy_ratios(mdp, pi, mu), rng.normal(size=mdp.r.shape)
    cases = [
        (lambda one: dr_value(one, q), tree_bound(t)),
        (lambda one: dr_value(one, wrong), None),
        (lambda one: dr_value(one, np.zeros(q.shape)), None),
        (lambda one: double_value(one, ratios, q), cramer_rao(t)),
        (lambda one: double_value(one, ratios, wrong), None),
        (lambda one: double_value(one, 0 * ratios, q), None),
        (lambda one: ratio_value(one, ratios), None),
        (lambda one: _trajectory(one), trajectory_variance(t)),
    ]
    for estimator, variance in cases:
        terms = term_by_term(log, estimator)
        assert p @ terms == pytest.approx(value, abs=1e-10)
        if variance is not None:
            assert p @ (terms - value) ** 2 == pytest.approx(float(variance), abs=1e-9)


def _trajectory(one):
    return type("E", (), {"value": float(np.prod(one.ratios) * one.rewards.sum())})


@SMALL
@given(seeds(), st.sampled_from([1.0, 0.7]))
def test_products_of_weights_by_hand(seed, gamma):
    rng, mdp, pi, mu = random_case(seed)
    drawn = sample_episodes(mdp, mu, pi, 7, rng)
    log = EpisodeLog(drawn.states, drawn.actions, drawn.rewards, drawn.propensities, pi, gamma)
    found, whole, each, steps = evaluate_episodes(log), [], [], np.zeros((2, 3))
    for i in range(7):
        rho, total, returned = 1.0, 0.0, 0.0
        for h in range(3):
            s, a = log.states[i, h], log.actions[i, h]
            rho *= pi[h, s, a] / mu[h, s, a]
            total += gamma**h * rho * log.rewards[i, h]
            returned += gamma**h * log.rewards[i, h]
            steps[:, h] += rho, gamma**h * rho * log.rewards[i, h]
        whole.append(rho * returned)
        each.append(total)
    assert found.is_ == pytest.approx((np.mean(whole), np.std(whole, ddof=1) / np.sqrt(7)), abs=1e-12)
    assert found.pdis == pytest.approx((np.mean(each), np.std(each, ddof=1) / np.sqrt(7)), abs=1e-12)
    weighted = (steps[1] / np.where(steps[0] > 0, steps[0], 1)).sum()
    assert found.weighted_pdis.value == pytest.approx(weighted, abs=1e-12)


@SMALL
@given(seeds())
def test_fitted_q_is_the_estimated_model(seed):
    rng, mdp, pi, mu = random_case(seed)
    log = sample_episodes(mdp, mu, pi, 40, rng)
    model = fitted_q(log)
    visits, P, r = np.zeros((3, 2, 2)), np.zeros((3, 2, 2, 2)), np.zeros((3, 2, 2))
    for i in range(40):
        for h in range(3):
            s, a = log.states[i, h], log.actions[i, h]
            visits[h, s, a] += 1
            r[h, s, a] = log.rewards[i, h]  # rewards are deterministic
            if h < 2:
                P[h, s, a, log.states[i, h + 1]] += 1
    P[2, :, :, 0] = 1.0  # where the last step leads is not logged, and does not matter
    P[visits == 0] = [1.0, 0.0]
    P /= P.sum(axis=3, keepdims=True)
    first = np.bincount(log.states[:, 0], minlength=2) / 40
    estimated = StagedMDP(P, r, first)
    if (visits > 0).all():
        assert model.value == pytest.approx(staged_value(estimated, pi), abs=1e-12)
        np.testing.assert_allclose(model.occupancy, occupancies(estimated, pi), atol=1e-12)
        assert model.uncovered == 0
    np.testing.assert_array_equal(model.visits, visits)


def test_mrdr_is_least_squares_on_the_other_fold():
    """Against dense algebra, on the controls written out."""
    rng, mdp, pi, mu = random_case(6)
    log = sample_episodes(mdp, mu, pi, 60, rng)
    rho = np.cumprod(log.ratios, axis=1)
    z = np.zeros((60, 3, 2, 2))
    for i in range(60):
        for h in range(3):
            s, a = log.states[i, h], log.actions[i, h]
            z[i, h, s] -= (rho[i, h - 1] if h else 1.0) * pi[h, s]
            z[i, h, s, a] += rho[i, h]
    z, y, known = z.reshape(60, -1), (rho * log.rewards).sum(axis=1), np.eye(2)[log.states[:, 0]]
    terms, even = np.empty(60), np.arange(60) % 2 == 0
    for kept in (even, ~even):
        beta = np.linalg.lstsq(np.hstack([known, z])[kept], y[kept], rcond=None)[0][2:]
        terms[~kept] = y[~kept] - z[~kept] @ beta
    assert evaluate_episodes(log).mrdr.value == pytest.approx(terms.mean(), abs=1e-6)


def test_one_action_leaves_nothing_to_weigh():
    """With one action all estimators are the mean return, MIS and fitted Q too."""
    rng, mdp, _, _ = random_case(0, A=1)
    log = sample_episodes(mdp, np.ones((3, 2, 1)), np.ones((3, 2, 1)), 30, rng)
    found, mean = evaluate_episodes(log), log.rewards.sum(axis=1).mean()
    for estimate in (found.is_, found.pdis, found.weighted_pdis, found.dm, found.mis):
        assert estimate.value == pytest.approx(mean, abs=1e-12)
    assert found.dr.value == pytest.approx(mean, abs=1e-12)
    assert found.effective_sizes.tolist() == [30, 30, 30]


def test_standard_errors_are_those_of_many_logs():
    """The mean estimated standard error within 10 % of the spread over 600 logs (a spread known to 3 %)."""
    rng, mdp, pi, mu = random_case(5)
    logs = [evaluate_episodes(sample_episodes(mdp, mu, pi, 1_000, rng)) for _ in range(600)]
    value = staged_value(mdp, pi)
    for name in ("is_", "pdis", "weighted_pdis", "dm", "mis", "dr", "mrdr"):
        estimates = np.array([getattr(log, name) for log in logs])
        spread = estimates[:, 0].std()
        assert estimates[:, 1].mean() == pytest.approx(spread, rel=0.1), name
        assert abs(estimates[:, 0].mean() - value) <= 5 * spread / np.sqrt(600), name
    spreads = {name: np.std([getattr(log, name).value for log in logs]) for name in ("pdis", "dr", "mrdr")}
    assert max(spreads["dr"], spreads["mrdr"]) <= 0.7 * spreads["pdis"]
    bound = np.sqrt(cramer_rao(tables(mdp, pi, mu)) / 1_000)
    assert np.std([log.dm.value for log in logs]) == pytest.approx(bound, rel=0.1)


def test_episodes_that_end_early():
    """-1 as rollouts write it: the same as a state that pays nothing and is never left."""
    mdp = TabularMDP(
        P=[[[0.5, 0.5], [0.2, 0.8]], [[0, 1], [0, 1]]], r=[[1.0, 0.3], [0, 0]], gamma=0.9, terminal=[False, True]
    )  # fmt: skip
    mu = np.full((2, 2), 0.5)
    seen = rollouts(mdp, mu, runs=400, horizon=4, seed=0, start=0)
    assert (seen.actions < 0).any()
    pi = np.array([[0.9, 0.1], [0.5, 0.5]])
    short = EpisodeLog(seen.states[:, :-1], seen.actions, seen.rewards, np.full(seen.actions.shape, 0.5), pi, 0.9)
    full = EpisodeLog(
        seen.states[:, :-1], np.maximum(seen.actions, 0), seen.rewards,
        np.where(seen.actions < 0, 1.0, 0.5), np.where(np.arange(2)[:, None] == 1, [[1.0, 0.0]], pi), 0.9,
    )  # fmt: skip
    a, b = evaluate_episodes(short), evaluate_episodes(full)
    for x, y in zip(a[:7], b[:7]):
        assert x == pytest.approx(y, abs=1e-10)
    np.testing.assert_allclose(a.effective_sizes, b.effective_sizes)


@SMALL
@given(seeds())
def test_marginalised_sampling_with_the_logging_policy_is_the_mean_return(seed):
    rng, mdp, _, mu = random_case(seed)
    log = sample_episodes(mdp, mu, mu, 25, rng)
    assert marginalised_sampling(log).value == pytest.approx(log.rewards.sum(axis=1).mean(), abs=1e-12)


# Discounted.


def transitions(seed, n=60, S=3, A=2):
    rng = np.random.default_rng(seed)
    mdp = TabularMDP(rng.dirichlet(np.ones(S), (S, A)), rng.random((S, A)), 0.8)
    s, a = rng.integers(S, size=n), rng.integers(A, size=n)
    t = np.array([rng.choice(S, p=mdp.P[i, j]) for i, j in zip(s, a)])
    return rng, mdp, TransitionLog(s, a, mdp.r[s, a], t, rng.dirichlet(np.ones(A), S), rng.dirichlet(np.ones(S)), 0.8)


@SMALL
@given(seeds())
def test_values_and_weights_are_one_model_exactly(seed):
    """Fitted Q and marginalised sampling agree with the estimated model in rationals."""
    _, _, log = transitions(seed)
    found, (S, A) = evaluate_transitions(log), log.target.shape
    counts = np.zeros((S, A, S), dtype=int)
    np.add.at(counts, (log.states, log.actions, log.next_states), 1)
    if (counts.sum(axis=2) == 0).any():
        return
    P = rationals(counts) / rationals(counts.sum(axis=2))[..., None]
    target, r = rationals(log.target), np.zeros((S, A), dtype=object)
    for s, a, x in zip(log.states, log.actions, log.rewards):
        r[s, a] = rationals(x).item()
    gamma = rationals(0.8).item()
    P_pi = (target[:, :, None] * P).sum(axis=1)
    v = solve_linear(rationals(np.eye(S, dtype=int)) - gamma * P_pi, (target * r).sum(axis=1)[:, None])[:, 0]
    exact = float((rationals(log.initial) * v).sum())
    for estimate in (found.dm, found.mis, found.dr):
        assert estimate.value == pytest.approx(exact, abs=1e-10)
    assert found.uncovered == 0


def test_with_a_feature_for_each_pair_lstd_is_fitted_q():
    _, _, log = transitions(2)
    view = linear_view(log, np.eye(6).reshape(3, 2, 6))
    A = view.features.T @ (view.features - view.gamma * view.next_features)
    weights = np.linalg.solve(A, view.features.T @ view.rewards)
    assert view.start_features @ weights == pytest.approx(evaluate_transitions(log).dm.value, rel=1e-12)
    with pytest.raises(ValueError, match=r"features must have shape \(S, A, d\)"):
        linear_view(log, np.zeros((2, 2, 1)))


def test_stationary_ratios_carry_the_value():
    rng, mdp, log = transitions(1)
    mu = rng.dirichlet(np.ones(6)).reshape(3, 2)
    ratios = stationary_ratios(mdp, log.target, mu, log.initial)
    value = log.initial @ policy_value(mdp, log.target).v
    assert (mu * ratios * mdp.r).sum() / 0.2 == pytest.approx(value, rel=1e-12)
    assert (mu * ratios).sum() == pytest.approx(1, rel=1e-12)
    mu[0] = 0
    assert np.isinf(stationary_ratios(mdp, log.target, mu / mu.sum(), log.initial)[0]).all()


def test_what_the_log_never_saw_is_told():
    log = TransitionLog([0], [0], [1.0], [1], [[0.5, 0.5], [0.5, 0.5]], [1.0, 0.0], 0.5)
    found = evaluate_transitions(log)
    assert found.uncovered == pytest.approx(0.25 + 0.125)  # half of state 0 at once, a quarter of state 1 later
    assert found.dm.value == pytest.approx(0.5)


# Intervals, and what is no log.


def test_the_interval_of_episodes_holds():
    rng, mdp, pi, mu = random_case(2)
    value, missed = staged_value(mdp, pi), 0
    for _ in range(200):
        missed += not episode_interval(sample_episodes(mdp, mu, pi, 100, rng), (0, 1)).holds(value)
    assert missed <= 10
    whole = episode_interval(sample_episodes(mdp, mu, pi, 20_000, rng), (0, 1))
    assert whole.width < 0.3


def _tiny():
    return EpisodeLog(**{**GOOD, "propensities": [[1e-300, 1e-300], [0.5, 0.5]]})


GOOD = {
    "states": [[0, 1], [1, 0]],
    "actions": [[0, 1], [1, -1]],
    "rewards": [[0.0, 1.0], [1.0, 9.0]],
    "propensities": [[0.5, 0.5], [0.5, np.nan]],
    "target": [[0.5, 0.5], [0.2, 0.8]],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"propensities": [[0.5, 0.0], [0.5, 0.5]]}, r"propensities\[0, 1\] is 0: it says that the action taken"),
        ({"propensities": [[0.5, 0.5], [np.nan, 0.5]]}, r"propensities\[1, 0\] is nan: it is missing"),
        ({"propensities": [[0.5, 1.2], [0.5, 0.5]]}, r"propensities\[0, 1\] is 1.2: it is no probability"),
        ({"actions": [[0, 1], [-1, 1]]}, r"actions\[1, 1\] is 1 after -1"),
        ({"actions": [[0, 2], [1, 0]]}, r"actions\[0, 1\] is 2"),
        ({"states": [[0, 5], [1, 0]]}, r"states\[0, 1\] is 5"),
        ({"states": [[0, 1]]}, r"states must have shape \(N, H\)"),
        ({"rewards": [[0.0, np.inf], [1.0, 1.0]]}, r"rewards\[0, 1\] is inf"),
        ({"target": [[[0.5, 0.5], [0.5, 0.5]]]}, r"one policy for each of the H = 2 steps, got 1"),
        ({"target": [[0.5, 0.6], [0.5, 0.5]]}, r"target\[0\] sums to 1.1"),
        ({"gamma": 0.0}, "gamma must lie in"),
        ({"actions": np.zeros((0, 2), int)}, r"actions must have shape \(N, H\)"),
    ],
)
def test_a_bad_log_is_told(change, message):
    assert EpisodeLog(**GOOD).rewards[1, 1] == 0  # what is after the end is not read
    with pytest.raises(ValueError, match=message):
        EpisodeLog(**{**GOOD, **change})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda log: evaluate_episodes(log, folds=1), "folds must be"),
        (
            lambda log: evaluate_episodes(_tiny()),
            "episode 0 multiply to more than a float holds at step 1",
        ),
        (lambda log: ratio_value(log, -np.ones((2, 2, 2))), r"ratios\[0, 0, 0\] is -1"),
        (lambda log: dr_value(log, np.ones((2, 2))), "q must have 3 axes"),
        (lambda log: episode_interval(log, (0, 0.5)), r"rewards\[0, 1\] is 1, outside reward_range \[0, 0.5\]"),
        (lambda log: episode_interval(log, (0.5, 1)), r"rewards\[0, 0\] is 0, outside reward_range"),
        (lambda log: episode_interval(log, (1, 0)), "reward_range must be"),
    ],
)
def test_a_bad_call_is_told(call, message):
    with pytest.raises(ValueError, match=message):
        call(EpisodeLog(**GOOD))


def test_ratios_need_coverage():
    _, mdp, pi, mu = random_case(3)
    mu[1, 0] = [1.0, 0.0]
    with pytest.raises(ValueError, match=r"pi leaves the support of mu at \[h, s, a\] = \[1, 0, 1\]"):
        occupancy_ratios(mdp, pi, mu)
    with pytest.raises(ValueError, match=r"mu\[1, 0, 1\] is 0"):
        tables(mdp, pi, mu)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"states": [3]}, r"states\[0\] is 3"),
        ({"next_states": [-1]}, r"next_states\[0\] is -1"),
        ({"rewards": [np.nan]}, r"rewards\[0\] is nan"),
        ({"states": []}, "at least one transition"),
        ({"initial": [1.0]}, r"initial must have shape \(S,\) = \(2,\)"),
        ({"gamma": 1.0}, "gamma must lie in"),
    ],
)
def test_bad_transitions_are_told(change, message):
    good = {"states": [0], "actions": [0], "rewards": [1.0], "next_states": [1], "target": [[0.5, 0.5]] * 2}
    good |= {"initial": [1.0, 0.0], "gamma": 0.5}
    TransitionLog(**good)
    with pytest.raises(ValueError, match=message):
        TransitionLog(**{**good, **change})
