"""Linear bandits: rank-one updates against direct solves, radii against the papers' formulas, one contract for all."""

from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import cho_factor, cho_solve

from claimlab.bandits import AR2, BatchedExp3, Bernoulli, DLinUCB, Growth, LinearArms, LinUCB, play
from claimlab.bandits.linear import Discounted, deviation, observe, ridge
from claimlab.factor import cholesky, solve_factored
from claimlab.native import interpreted

ARMS = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [-1.0, 0.5], [1.0, 0.0]])  # two arms are the same
ENV = LinearArms(ARMS, [0.3, 0.7], 0.5)
ALGORITHMS = [
    LinUCB(ARMS),
    LinUCB(ARMS, growth=Growth.ROUNDS, random_start=True),
    LinUCB(ARMS, lam=0.1, sigma=0.5, growth=Growth.HORIZON, bound=3),
    DLinUCB(ARMS, gamma=0.9),
    DLinUCB(ARMS, gamma=0.99, growing=True, random_start=True),
    AR2(0.5, 0.1, 20, 3.0, truncation=1.0),
    AR2(0.9, 0.1, 1000, 1.0, released=True),
    BatchedExp3(1.0, 0.2),
    BatchedExp3(1.0, 0.2, batch=5),
    BatchedExp3(1.0, 0.2, batch=5, released=True),
]


@pytest.mark.parametrize("alg", ALGORITHMS, ids=str)
def test_compiled_equals_interpreted(alg):
    for seed, horizon in ((0, 1), (1, 2), (2, 250)):
        records = [play(alg, ENV, horizon=horizon, runs=1, seed=seed, compiled=compiled) for compiled in (True, False)]
        for compiled, oracle in zip(*records):
            np.testing.assert_array_equal(compiled, oracle)


@pytest.mark.parametrize("alg", ALGORITHMS, ids=str)
def test_runs_depend_on_the_seed_alone(alg):
    few = play(alg, ENV, horizon=50, runs=3, seed=7)
    many = play(alg, ENV, horizon=50, runs=8, seed=7, threads=2)
    np.testing.assert_array_equal(few.reward, many.reward[:3])
    assert (play(alg, ENV, horizon=50, runs=3, seed=8).reward != few.reward).any()
    assert (many.pulls.sum(axis=2) == many.times).all()


@st.composite
def histories(draw):
    """Arms float[K, d], a regulariser, and observations (arm, y) of them; equal and zero arms are likely."""
    entries = st.sampled_from([0.0, 1.0, -1.0]) | st.floats(-3, 3, allow_subnormal=False)
    d, n_arms = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    arms = np.array(draw(st.lists(st.lists(entries, min_size=d, max_size=d), min_size=n_arms, max_size=n_arms)))
    observations = draw(st.lists(st.tuples(st.integers(0, n_arms - 1), st.floats(-2, 2)), max_size=40))
    return arms, draw(st.sampled_from([0.1, 1.0, 13.8])), observations


@given(histories())
@settings(max_examples=60, deadline=None)
def test_rank_one_updates_equal_direct_solves(history):
    arms, lam, observations = history
    columns, V, b = np.ascontiguousarray(arms.T), lam * np.eye(arms.shape[1]), np.zeros(arms.shape[1])
    fit = interpreted(ridge)(columns, lam)
    for arm, y in observations:
        interpreted(observe)(fit, columns, arm, y)
        V, b = V + np.outer(arms[arm], arms[arm]), b + y * arms[arm]
    solved = cho_solve(cho_factor(V), np.c_[b, arms.T])
    atol = 1e-13 * (1 + len(observations)) * np.linalg.cond(V) / lam * (1 + abs(b).max())
    np.testing.assert_allclose(fit.theta, solved[:, 0], rtol=0, atol=atol)
    np.testing.assert_allclose(fit.mean, arms @ solved[:, 0], rtol=0, atol=10 * atol)
    np.testing.assert_allclose(fit.width, (arms * solved[:, 1:].T).sum(axis=1), rtol=0, atol=10 * atol)
    np.testing.assert_allclose(fit.inverse, np.linalg.inv(V), rtol=0, atol=atol)
    growth = np.linalg.slogdet(V)[1] - len(V) * log(lam)
    np.testing.assert_allclose(fit.log_det[0], growth, rtol=0, atol=1e-12 * (1 + len(observations)) * np.linalg.cond(V))
    np.testing.assert_array_equal(fit.samples, np.bincount([arm for arm, _ in observations], minlength=len(arms)))


def test_updates_stay_accurate_over_many_rounds():
    (fit, _), *_ = play(LinUCB(ARMS), ENV, horizon=200_000, runs=1, seed=0, keep_states=True).states
    V = np.eye(2) + (ARMS.T * fit.samples) @ ARMS
    np.testing.assert_allclose(fit.inverse, np.linalg.inv(V), rtol=1e-7)
    np.testing.assert_allclose(fit.width, np.einsum("ki,ij,kj->k", ARMS, np.linalg.inv(V), ARMS), rtol=1e-7)


@given(st.integers(1, 5), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_cholesky_solves(n, seed):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, n))
    matrix, b = root @ root.T + 0.1 * np.eye(n), rng.normal(size=n)
    factor, out = np.zeros((n, n)), np.zeros(n)
    interpreted(cholesky)(matrix, factor)
    interpreted(solve_factored)(factor, b, out)
    np.testing.assert_allclose(factor, np.linalg.cholesky(matrix), rtol=0, atol=1e-12 * abs(matrix).max())
    np.testing.assert_allclose(matrix @ out, b, rtol=0, atol=1e-13 * np.linalg.cond(matrix) * (1 + abs(b).max()))


def linucb_by_hand(arms, rewards, choose, lam, beta):
    """The first rounds of optimism, each from scratch: the arms chosen."""
    V, b, chosen = lam * np.eye(arms.shape[1]), np.zeros(arms.shape[1]), []
    for t in range(len(rewards)):
        theta = np.linalg.solve(V, b)
        index = arms @ theta + beta(t, V) * np.sqrt(np.einsum("ki,ij,kj->k", arms, np.linalg.inv(V), arms))
        chosen.append(choose(index))
        u = arms[chosen[-1]]
        V, b = V + np.outer(u, u), b + rewards[t] * u
    return chosen


@pytest.mark.parametrize("growth", list(Growth))
def test_linucb_is_the_algorithm_of_the_paper(growth):
    """Arms without ties, and a radius written down anew: Abbasi-Yadkori et al. (2011), Theorem 2 and Lemma 10."""
    arms, lam, sigma, norm, delta, T = np.array([[1.0, 0.1], [0.2, 0.9], [0.7, 0.5]]), 0.5, 0.3, 2.0, 0.05, 60
    longest = np.linalg.norm(arms, axis=1).max()

    def beta(t, V):
        bound = 2 * log(1 + (t if growth == Growth.ROUNDS else T) * longest**2 / (2 * lam))
        log_det = np.linalg.slogdet(V / lam)[1] if growth == Growth.DETERMINANT else bound
        return sqrt(lam) * norm + sigma * sqrt(2 * log(1 / delta) + log_det)

    rewards = np.random.default_rng(5).normal(size=T)
    expected = linucb_by_hand(arms, rewards, np.argmax, lam, beta)
    alg = LinUCB(arms, lam, sigma, norm, delta, growth)
    state, rng, chosen = alg.init(3, T), np.random.default_rng(), []
    for t in range(T):
        chosen.append(alg.act(state, t, rng))
        alg.learn(state, t, chosen[-1], rewards[t])
    assert chosen == expected
    assert len(set(chosen)) > 1


def test_dlinucb_is_weighted_least_squares():
    """Russac et al. (2019), Eqs. 3-6, summed from scratch with the weights gamma^(t - s)."""
    gamma, lam, rng = 0.8, 0.7, np.random.default_rng(0)
    alg = DLinUCB(ARMS, gamma, lam)
    state, pulled, rewards = alg.init(5, 30), rng.integers(0, 5, 30), rng.normal(size=30)
    for t in range(30):
        alg.learn(state, t, pulled[t], rewards[t])
    assert isinstance(state, Discounted)
    weights, U = gamma ** np.arange(29, -1, -1.0), ARMS[pulled]
    V = (U.T * weights) @ U + lam * np.eye(2)
    V2 = (U.T * weights**2) @ U + lam * np.eye(2)
    theta = np.linalg.solve(V, U.T @ (weights * rewards))
    np.testing.assert_allclose(state.gram, V, rtol=1e-12)
    np.testing.assert_allclose(state.squared, V2, rtol=1e-12)
    np.testing.assert_allclose(state.theta, theta, rtol=1e-10)
    inverse = np.linalg.inv(V)
    growth = 2 * log(1 + (5 / 4) * (1 - gamma**60) / (2 * lam * (1 - gamma**2)))
    radius = sqrt(lam) + sqrt(2 * log(100) + growth)
    index = ARMS @ theta + radius * np.sqrt(np.einsum("ki,ij,kj->k", ARMS, inverse @ V2 @ inverse, ARMS))
    assert alg.act(state, 30, rng) == index.argmax()


def test_dlinucb_follows_a_change_that_linucb_does_not():
    """What forgetting is for: the best arm changes once."""

    def late_reward(alg):
        state, rng, total = alg.init(2, 4000), np.random.default_rng(0), 0.0
        for t in range(4000):
            arm = alg.act(state, t, rng)
            y = float(arm == (0 if t < 2000 else 1)) + 0.1 * rng.standard_normal()
            alg.learn(state, t, arm, y)
            total += y * (t >= 2000)
        return total

    assert (
        2000 - late_reward(DLinUCB(np.eye(2), 0.98, sigma=0.1)) < (2000 - late_reward(LinUCB(np.eye(2), sigma=0.1))) / 3
    )


def test_the_ellipsoid_covers():
    """Abbasi-Yadkori et al. (2011), Theorem 2 at the horizon: 200 runs at 5 %, of which none is expected to fail."""
    alg, sigma = LinUCB(ARMS, lam=1.0, sigma=0.5, norm=0.8, delta=0.05), 0.5
    failures = 0
    for fit, _ in play(alg, ENV, horizon=2000, runs=200, seed=1, keep_states=True).states:
        e = fit.theta - ENV.theta
        V = np.eye(2) + (ARMS.T * fit.samples) @ ARMS
        radius = 0.8 + deviation(sigma**2, 0.05, fit.log_det[0])
        failures += sqrt(e @ V @ e) > radius
    assert failures <= 10


def test_regret_is_that_of_the_means():
    record = play(LinUCB(ARMS, sigma=0.5), ENV, horizon=500, runs=4, seed=0)
    np.testing.assert_allclose(record.regret, record.pulls @ (0.74 - ARMS @ [0.3, 0.7]), rtol=1e-9, atol=1e-9)
    assert (record.regret[:, -1] < 500 * 0.2).all()


def test_exp3_prefers_the_better_arm_and_its_released_batches_do_not():
    """The authors' code credits a batch's mean to the next batch's arm, which tells the arms apart hardly at all."""
    env = Bernoulli([0.0, 1.0])
    own = play(BatchedExp3.tuned(2, 4000, 0.5, 8), env, horizon=4000, runs=20, seed=0).regret[:, -1]
    late = play(BatchedExp3.tuned(2, 4000, 0.5, 8, released=True), env, horizon=4000, runs=20, seed=0).regret[:, -1]
    assert own.mean() < 0.25 * 4000 < late.mean()


def test_ar2_by_hand():
    """alpha 1/2, c1 large enough to trigger everything at once: initial order, estimates and alternation by hand."""
    alg, rng = AR2(0.5, 1.0, 100, 1e9), np.random.default_rng(0)
    state, arms, rewards = alg.init(3, 100), [], [1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 0.0]
    for t, y in enumerate(rewards):
        arms.append(alg.act(state, t, rng))
        alg.learn(state, t, arms[-1], y)
        if t == 2:
            np.testing.assert_array_equal(state.estimate, [0.125, 0.5, 2.0])  # alpha^(K - i) alpha R_i
    # round 4 (even): arm 2, superior; 5: arm 0, triggered first; 6: superior of (0, 2), both estimate 4, so the later
    # arm 0; 7: arm 1, which waited since round 4
    assert arms == [0, 1, 2, 2, 0, 0, 1]
    (left,) = play(AR2(0.5, 1.0, 100, 1e9), ENV, horizon=50, runs=1, seed=0, keep_states=True).states
    (kept,) = play(AR2(0.5, 1.0, 100, 1e9, released=True), ENV, horizon=50, runs=1, seed=0, keep_states=True).states
    assert left.since[left.last[0]] == 0, "an arm that was pulled leaves the list"
    assert ((kept.since > 0) & (kept.since <= 8)).all(), "in the released code nobody leaves"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LinearArms([[1, 0]], [1.0], 1), r"theta must have shape \(d,\) = \(2,\)"),
        (lambda: LinearArms(np.zeros((0, 2)), [1.0, 1.0], 1), "arms must hold one arm"),
        (lambda: LinearArms([[1.0]], [np.nan], 1), r"theta\[0\] is nan"),
        (lambda: LinearArms([[1.0]], [1.0], -1), r"sigma must lie in \[0, inf\), got -1"),
        (lambda: LinUCB([[1.0, np.inf]]), r"arms\[0, 1\] is inf"),
        (lambda: LinUCB(ARMS, lam=0), r"lam must lie in \(0, inf\)"),
        (lambda: LinUCB(ARMS, delta=1), r"delta must lie in \(0, 1\)"),
        (lambda: LinUCB(ARMS, growth=3), r"growth must be in 0\.\.2, got 3"),
        (lambda: DLinUCB(ARMS, gamma=1), r"gamma must lie in \(0, 1\)"),
        (lambda: play(LinUCB(ARMS), Bernoulli([0.5]), horizon=3, runs=1, seed=0), "the same number of arms"),
        (lambda: play(DLinUCB(ARMS, 0.9), Bernoulli([0.5]), horizon=3, runs=1, seed=0), "the same number of arms"),
        (lambda: AR2(1.0, 0.1, 5, 1.0), r"alpha must lie in \(0, 1\)"),
        (lambda: BatchedExp3(1.0, 0.0), r"gamma must lie in \(0, 1\]"),
        (lambda: BatchedExp3(1.0, 0.5, batch=0), "batch must be at least 1"),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises(ValueError, match=message):
        call()
