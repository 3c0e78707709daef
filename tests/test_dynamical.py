"""Dynamical linear bandits: the system against exact sums, DynLin-UCB against itself from scratch, authors' numbers."""

from fractions import Fraction
from math import e, inf, log, sqrt

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.linalg import block_diag, solve

from claimlab.bandits import (
    AR2,
    BatchedExp3,
    DLinUCB,
    DynamicalLinear,
    DynLinUCB,
    Growth,
    LinUCB,
    expected_rewards,
    finite_horizon_optimum,
    from_outputs,
    markov_parameters,
    play,
    transient_growth,
)
from claimlab.bandits.dynamical import expert_action, real_data, synthetic
from claimlab.bandits.dynlin import dynlin_radius, waiting_rounds
from claimlab.bandits.linear import ridge
from claimlab.experiments.papers.dynamical_linear_bandits.common import (
    exp3_scale,
    one_round_late,
    released_dlinucb,
    released_dynlin,
    released_linucb,
    undiscounted_dlinucb,
)
from claimlab.native import interpreted
from claimlab.theory.dynamical import (
    coverage_ratios,
    epochs_within,
    hypercube,
    lower_bound,
    lower_bound_constant,
    published_bias,
    regret_bound,
    schedule,
    sharper_bias,
    truncation_error,
)

ENV = synthetic(0.1)
ALGORITHMS = [
    DynLinUCB.knowing(ENV, lam=1.0, delta=0.05),
    DynLinUCB.knowing(ENV, lam=5.0, delta=0.05, sharper=True, extra=1),
    DynLinUCB.knowing(ENV, lam=5.0, delta=0.05, rho_bar=0.0, random_start=True),
    DynLinUCB.knowing(ENV, lam=5.0, delta=0.05, rho_bar=0.9),
    LinUCB(ENV.arms),
    DLinUCB(ENV.arms, 0.99),
    AR2(0.2, 0.1, 50, 1.0),
    BatchedExp3(2.0, 0.1, 3),
]


@st.composite
def systems(draw, noise=0.0):
    """Systems with whole numbers and halves, scaled to spectral radius 1/2 or 9/10 where it is not 0."""
    n, d, k = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 3))
    halves = st.sampled_from([0.0, 1.0, -1.0, 0.5, -0.5])

    def array(*shape):
        size = int(np.prod(shape))
        return np.array(draw(st.lists(halves, min_size=size, max_size=size))).reshape(shape)

    M = array(n, n)
    radius = abs(np.linalg.eigvals(M)).max()
    scale = draw(st.sampled_from([0.5, 0.9])) / radius if radius > 1e-6 else 0.0
    return DynamicalLinear(scale * M, array(n, d), array(n), array(d), array(k, d), noise, noise)


# the system ----------------------------------------------------------------------------------------------------------


@given(systems(), st.data())
@settings(max_examples=60, deadline=None)
def test_expected_rewards_are_sums_of_markov_parameters(env, data):
    T = data.draw(st.integers(1, 12))
    arms = np.array(data.draw(st.lists(st.integers(0, env.n_arms - 1), min_size=T, max_size=T)))
    start = np.array(data.draw(st.lists(st.sampled_from([0.0, 1.0, -2.0]), min_size=len(env.A), max_size=len(env.A))))
    h, u = markov_parameters(env, T - 1), env.arms[arms]
    by_sums = [
        sum(h[s] @ u[t - s] for s in range(t + 1)) + env.omega @ np.linalg.matrix_power(env.A, t) @ start
        for t in range(T)
    ]
    by_steps = expected_rewards(env, arms, T, start)
    np.testing.assert_allclose(by_steps, by_sums, rtol=0, atol=1e-12 * 3**T)
    seen = []

    def follow(t, x):
        seen.append(x)
        return arms[t]

    np.testing.assert_allclose(expected_rewards(env, follow, T, start), by_steps, rtol=0, atol=1e-12 * 3**T)
    np.testing.assert_array_equal(seen[0], start)


@given(systems())
@settings(max_examples=60, deadline=None)
def test_h_is_the_sum_of_all_markov_parameters(env):
    total = markov_parameters(env, 2000).sum(axis=0)
    size = np.linalg.cond(np.eye(len(env.A)) - env.A)
    np.testing.assert_allclose(env.h, total, rtol=0, atol=1e-11 * size**2)
    resting = solve(np.eye(len(env.A)) - env.A, env.drive.T)
    np.testing.assert_allclose(env.values, env.omega @ resting + env.direct, rtol=0, atol=1e-11 * size**2)
    assert env.gaps[env.best] == 0


def test_a_constant_action_brings_its_value_in_the_long_run():
    for env in (synthetic(), real_data()):
        for arm in range(6):
            y = expected_rewards(env, np.full(200, arm), 200)[-1]
            np.testing.assert_allclose(y, env.values[arm], rtol=1e-10)


@given(systems(), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_the_finite_horizon_optimum_is_that_of_brute_force(env, T):
    assume(env.n_arms**T <= 300)
    best, arms = finite_horizon_optimum(env, T)
    every = np.array(np.meshgrid(*[range(env.n_arms)] * T)).reshape(T, -1).T
    totals = [expected_rewards(env, sequence, T).sum() for sequence in every]
    np.testing.assert_allclose(best, max(totals), rtol=0, atol=1e-11 * 3**T)
    np.testing.assert_allclose(best, expected_rewards(env, arms, T).sum(), rtol=0, atol=1e-11 * 3**T)


def test_the_reward_comes_before_the_state_moves():
    env = DynamicalLinear([[0.5]], [[1.0]], [1.0], [10.0], [[1.0]])
    np.testing.assert_array_equal(expected_rewards(env, np.zeros(4, int), 4), [10, 11, 11.5, 11.75])


def test_noise_has_the_stated_size_and_feeds_back():
    """One state: the reward's variance at rest is omega^2 s^2 / (1 - rho^2) + r^2, and neighbours correlate by rho."""
    env = DynamicalLinear([[0.6]], [[0.0]], [2.0], [0.0], [[1.0]], 0.3, 0.5)
    rng = np.random.default_rng(0)
    state = env.begin(40_000, rng)
    y = np.array([env.pull(state, t, 0, rng) for t in range(40_000)])[100:]
    resting = 4 * 0.09 / (1 - 0.36)
    np.testing.assert_allclose(y.var(), resting + 0.25, rtol=0.05)
    np.testing.assert_allclose(np.cov(y[1:], y[:-1])[0, 1], 0.6 * resting, rtol=0.08)


def test_phi():
    assert transient_growth(np.diag([0.5, -0.2])) == 1.0
    assert transient_growth(np.zeros((2, 2))) == 1.0
    assert transient_growth(np.array([[0.0, 1.0], [0.0, 0.0]])) == inf, "nilpotent"
    assert transient_growth(np.array([[0.5, 1.0], [0.0, 0.5]])) == inf, "a Jordan block"
    assert transient_growth(np.array([[1e-200, 3e-200], [0.0, 0.5e-200]])) > 1, "powers of rho underflow"
    turn = 0.9 * np.array([[np.cos(1), -np.sin(1)], [np.sin(1), np.cos(1)]])
    np.testing.assert_allclose(transient_growth(turn), 1, rtol=1e-9)
    np.testing.assert_allclose(transient_growth(block_diag(turn, 0.3)), 1, rtol=1e-9)
    nearly = np.array([[1.0, 1.0], [0.0, 1.0 - 1e-3]])
    # A^t = [[1, (1 - q^t) / (1 - q)], [0, q^t]] for q = 1 - 1e-3: the supremum is the limit
    np.testing.assert_allclose(transient_growth(0.3 * nearly), sqrt(1 + 1e6), rtol=1e-5)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_phi_bounds_every_power(seed):
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(3, 3))
    phi, scaled = transient_growth(A), A / abs(np.linalg.eigvals(A)).max()
    norms = [np.linalg.norm(np.linalg.matrix_power(scaled, t), 2) for t in range(60)]
    assert max(norms) <= phi * (1 + 1e-9)


def test_the_papers_systems():
    """Numbers of the authors' program (its printout), and exact rationals for the diagonal system."""
    env = synthetic()
    assert env.rho == 0.2
    assert env.phi == 1.0
    h = [Fraction(45, 80), Fraction(1, 2), Fraction(1, 10) + Fraction(1, 90)]
    np.testing.assert_allclose(env.h, [float(x) for x in h], rtol=1e-15)
    assert env.arms[env.best].tolist() == [1, 0.5, 0]
    np.testing.assert_allclose(env.values.max(), 13 / 16, rtol=1e-15)
    assert env.reward_noise == 0.01 * sqrt(3)
    env = real_data()
    np.testing.assert_allclose(env.rho, 0.66689, atol=5e-6)
    np.testing.assert_allclose(env.phi, 2.7812, atol=5e-5)
    np.testing.assert_allclose(env.h, [0.2515, -0.0363, 0.1061], atol=5e-5)
    assert env.arms[env.best].tolist() == [1, 0, 0.5]
    np.testing.assert_allclose(expert_action(), [1.5 / 3 * 0.0062854, 0.49686, 1], atol=5e-6)


# DynLin-UCB ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ALGORITHMS, ids=lambda alg: type(alg).__name__)
def test_compiled_equals_interpreted(alg):
    for seed, horizon in ((0, 1), (1, 300)):
        records = [play(alg, ENV, horizon=horizon, runs=1, seed=seed, compiled=compiled) for compiled in (True, False)]
        for compiled, oracle in zip(*records):
            np.testing.assert_array_equal(compiled, oracle)


@pytest.mark.parametrize("alg", ALGORITHMS, ids=lambda alg: type(alg).__name__)
def test_runs_depend_on_the_seed_alone(alg):
    few = play(alg, ENV, horizon=60, runs=3, seed=7)
    many = play(alg, ENV, horizon=60, runs=7, seed=7, threads=2)
    np.testing.assert_array_equal(few.reward, many.reward[:3])
    assert (play(alg, ENV, horizon=60, runs=3, seed=8).reward != few.reward).any()


def test_waiting_rounds():
    """The largest H with rho_bar^-H <= m, in whole numbers: powers are where floors of logarithms go wrong."""
    for base in (2, 3, 5, 10):
        for m in range(1, 2001):
            expected = max(H for H in range(12) if base**H <= m)
            assert interpreted(waiting_rounds)(m, 1 / base) == expected
    assert interpreted(waiting_rounds)(10**6, 0.0) == 0
    rounds, once, twice = schedule(0.2, 1, 30)
    waits = [1 + max(H for H in range(12) if m >= 5**H) for m in range(1, 31)]
    assert rounds == 30 + sum(waits)
    np.testing.assert_allclose([once, twice], [sum(0.2**w for w in waits), sum(0.04**w for w in waits)])
    assert epochs_within(0.2, 1, rounds) == 30
    assert epochs_within(0.2, 1, rounds + 1) == 31


@pytest.mark.parametrize("sharper", [False, True])
@pytest.mark.parametrize("extra", [0, 1])
def test_dynlin_ucb_is_algorithm_1(sharper, extra):
    """Written down anew with lists and solves: epochs, last rewards, the constants and the radius."""
    arms = np.array([[1.0, 0.1], [0.2, 0.9], [0.7, 0.6]])
    Theta, Omega, B, X, sigma, phi, rho, lam, delta = 0.7, 0.9, 0.5, 2.0, 0.2, 1.5, 0.5, 3.0, 0.01
    U = np.linalg.norm(arms, axis=1).max()
    c1 = U * Omega * phi * (U * B / (1 - rho) + X)
    c2 = Theta + Omega * B * phi / (1 - rho)
    variance = sigma**2 * (1 + Omega**2 * phi**2 / (1 - rho**2))
    rewards = np.random.default_rng(3).normal(size=300)
    V, b, t, m, chosen, bias = lam * np.eye(2), np.zeros(2), 0, 0, [], 0.0
    while t < 300:
        m += 1
        first = c1 / U * sqrt(bias) if sharper else c1 / sqrt(lam) * log(e * (t + 1))
        noise = sqrt(2 * variance * (log(1 / delta) + log(1 + t * U**2 / (2 * lam))))
        beta = first + c2 * sqrt(lam) + noise
        index = arms @ solve(V, b) + beta * np.sqrt(np.einsum("ki,ij,kj->k", arms, np.linalg.inv(V), arms))
        wait = int(np.log2(m) + 1e-12) + extra
        chosen += [index.argmax()] * (1 + wait)
        t, bias = t + 1 + wait, bias + rho ** (2 * wait)
        u = arms[chosen[-1]]
        V, b = V + np.outer(u, u), b + u * (rewards[t - 1] if t <= 300 else 0.0)
    alg = DynLinUCB(arms, lam, rho, phi, Theta, Omega, B, X, sigma, delta, sharper, extra)
    state, rng, played = alg.init(3, 300), np.random.default_rng(), []
    for t in range(300):
        played.append(alg.act(state, t, rng))
        alg.learn(state, t, played[-1], rewards[t])
    assert played == chosen[:300]
    assert len(set(played)) > 1
    epochs = int(state.fit.samples.sum())
    first = sharper_bias(alg, epochs) if sharper else published_bias(alg, 300)
    rest = interpreted(dynlin_radius)(alg, state, 300) - first
    noise = sqrt(2 * variance * (log(1 / delta) + log(1 + 300 * U**2 / (2 * lam))))
    np.testing.assert_allclose(rest, c2 * sqrt(lam) + noise, rtol=1e-9)


def test_coverage_is_measured_in_the_norm_of_the_sample():
    """One run replayed from its final state: the last ellipsoid's ratio is at most the largest."""
    env, horizon = one_round_late(1e-6), 5_000
    alg = DynLinUCB.knowing(env, lam=1.0, delta=0.05)
    (state,) = play(alg, env, horizon=horizon, runs=1, seed=0, keep_states=True).states
    V = np.eye(2) + (env.arms.T * state.fit.samples) @ env.arms
    error = state.fit.theta - env.h
    last = sqrt(error @ V @ error) / dynlin_radius(alg, state, horizon)
    largest = coverage_ratios(alg, env, horizon, 1, np.random.default_rng(0))[0]
    np.testing.assert_allclose(largest, last, rtol=1e-3)  # here the ratio grows to the end, but for single steps
    assert last <= largest
    assert (
        largest
        > 1
        > coverage_ratios(
            DynLinUCB.knowing(env, lam=1.0, delta=0.05, extra=1), env, horizon, 1, np.random.default_rng(0)
        )[0]
    )


@pytest.mark.parametrize(
    ("system", "lam", "expected"),
    [(synthetic, log(1e6), 9784), (synthetic, 1.0, 24979), (real_data, log(1e6), 75613), (real_data, 1.0, 117152)],
)
def test_regret_of_the_authors_program(system, lam, expected):
    """Pseudo-regret after a million rounds within 1 % of one trial of the authors' program, unmodified (7fb103e)."""
    env, T = system(), 10**6
    (regret,) = play(released_dynlin(env, T, lam), env, horizon=T, runs=1, seed=0, checkpoints=1).regret[:, -1]
    np.testing.assert_allclose(regret, expected, rtol=0.01)


def test_regret_of_the_authors_baselines():
    """As above: Lin-UCB with lambda 1 on both systems, D-Lin-UCB and AR2 on the real data."""
    T = 10**6
    for env, alg, expected in (
        (synthetic(), released_linucb(synthetic(), T, 1.0), 33937),
        (real_data(), released_linucb(real_data(), T, 1.0), 216094),
        (real_data(), undiscounted_dlinucb(real_data(), T), 216222),
        (real_data(), AR2.tuned(6, real_data().rho, 0.01, released=True), 177550),
    ):
        (regret,) = play(alg, env, horizon=T, runs=1, seed=0, checkpoints=1).regret[:, -1]
        np.testing.assert_allclose(regret, expected, rtol=0.08 if isinstance(alg, AR2) else 0.01)


def test_regret_of_the_authors_short_run():
    """20,000 rounds, 2 trials of the authors' program: DynLin-UCB 1021 and 1028; 2328 and 2331."""
    env, T = synthetic(), 20_000
    for lam, expected in ((log(T), 1024.6), (1.0, 2329.8)):
        mean = play(released_dynlin(env, T, lam), env, horizon=T, runs=6, seed=0, checkpoints=1).regret.mean()
        np.testing.assert_allclose(mean, expected, rtol=0.01)


def test_the_released_dlinucb_barely_discounts():
    """Its V and that of Lin-UCB differ by what a billionth of a discount and a growing regulariser can do."""
    env, T = real_data(), 2_000
    (state,) = play(released_dlinucb(env, T), env, horizon=T, runs=1, seed=0, keep_states=True).states
    assert abs(np.trace(state.gram) - 3 - 1.25 * T) < 1e-2
    assert exp3_scale(env) > 0


def test_dlinucb_released_without_a_discount():
    """Every choice against least squares on the whole history and the radius of the authors' program written out."""
    env, T = synthetic(), 300
    lam, noise, d = log(T), 0.01**2 * (1 + env.norms.omega**2 / (1 - 0.2**2)), 3  # Phi is 1
    c1 = env.norms.theta + env.norms.omega * env.norms.B / (1 - 0.2)
    alg, rng, twice = undiscounted_dlinucb(env, T), np.random.default_rng(0), (1 - 1e-6) ** 2
    state, history, rewards, differs = alg.init(6, T), np.zeros((0, 3)), np.zeros(0), 0
    for t in range(T):
        arm = alg.act(state, t, rng)
        if t > 0:
            V = lam * np.eye(3) + history.T @ history
            mean, width = (
                env.arms @ solve(V, history.T @ rewards),
                np.sqrt((env.arms @ solve(V, env.arms.T)).diagonal()),
            )
            rounds = np.array([t * (1 - twice**t) / (1 - twice), t])
            growth = np.log(1 + rounds * env.norms.U**2 / (d * lam))
            radius = c1 * sqrt(lam) + np.sqrt(2 * noise * (log(T) + d / 2 * growth))
            index, plain = mean + radius[:, None] * width
            assert index[arm] >= index.max() - 1e-12
            differs += not np.allclose(index, plain)
        reward = env.values[arm] + rng.standard_normal() / 100
        alg.learn(state, t, arm, reward)
        history, rewards = np.vstack([history, env.arms[arm]]), np.append(rewards, reward)
    assert differs > T / 2  # from Lin-UCB


# bounds --------------------------------------------------------------------------------------------------------------


def test_lower_bound_by_its_definition():
    """Small horizon against the sum of normal tails written out, and the constant against a long horizon."""
    from statistics import NormalDist

    tails = [1 - NormalDist().cdf(1.25 * sqrt(t / 7)) for t in range(7)]
    np.testing.assert_allclose(lower_bound(3, 0.5, 2.0, 7), 2 * 3 * 1.25 * 2 / (0.5 * sqrt(7)) * sum(tails))
    np.testing.assert_allclose(lower_bound(1, 0.0, 1.0, 10**6) / 1000, lower_bound_constant(), rtol=1e-3)
    assert 0.529 < lower_bound_constant() < 0.53


def test_the_hard_family():
    env = hypercube(np.array([1.0, -1.0]), 0.75, 2.0, 0.5, 100)
    np.testing.assert_allclose(env.h, [0.4, -0.4])
    assert env.arms[env.best].tolist() == [1, -1]
    np.testing.assert_allclose(np.sort(env.gaps), [0, 0.8, 0.8, 1.6])
    assert (env.state_noise, env.reward_noise) == (0.5, 0.0)


def test_bounds_in_closed_form():
    env = DynamicalLinear([[0.5]], [[2.0]], [3.0], [0.0], [[1.0], [-1.0]])
    np.testing.assert_allclose(truncation_error(env, 3), 3 * 2 * 0.125 / 0.5)
    np.testing.assert_allclose(np.linalg.norm(env.h - markov_parameters(env, 3).sum(axis=0)), 1.5)
    alg = DynLinUCB.knowing(env, lam=2.0, delta=0.1)
    few, many = regret_bound(alg, 100, 24.0), regret_bound(alg, 10_000, 24.0)
    assert 100 * 0.1 * 24 < few < many
    np.testing.assert_allclose(published_bias(alg, 99), alg.c1 / sqrt(2) * (1 + log(100)))
    assert interpreted(ridge)(alg.columns, 2.0).width.tolist() == [0.5, 0.5]


# bad input -----------------------------------------------------------------------------------------------------------

GOOD = {"A": [[0.5]], "B": [[1.0]], "omega": [1.0], "theta": [0.0], "arms": [[1.0]]}
JORDAN = DynamicalLinear([[0.5, 1.0], [0.0, 0.5]], np.ones((2, 1)), np.ones(2), [0.0], [[1.0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"A": [[1.0]]}, "A has spectral radius 1, the largest |eigenvalue|; it must be below 1"),
        ({"A": [[-1.5]]}, "A has spectral radius 1.5"),
        ({"A": [[0.0, -1.0], [1.0, 0.0]], "B": [[1.0]] * 2, "omega": [1.0, 1.0]}, "A has spectral radius 1"),
        ({"A": [[0.5, 0.0]]}, "A must be square with one state at least, got shape (1, 2)"),
        ({"A": [[np.nan]]}, "A[0, 0] is nan"),
        ({"B": [[1.0, 2.0]]}, "B must have shape (states of A, dimensions of arms) = (1, 1), got (1, 2)"),
        ({"omega": [1.0, 2.0]}, "omega must have shape (states of A,) = (1,), got (2,)"),
        ({"theta": [1.0, 2.0]}, "theta must have shape (dimensions of arms,) = (1,), got (2,)"),
        ({"arms": np.zeros((0, 1))}, "arms must hold one arm"),
        ({"state_noise": -1.0}, "state_noise must lie in [0, inf), got -1.0"),
        ({"reward_noise": np.nan}, "reward_noise must lie in [0, inf), got nan"),
    ],
)
def test_bad_systems(change, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        DynamicalLinear(**(GOOD | change))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DynLinUCB.knowing(JORDAN, lam=1.0, delta=0.1), "Phi(A) is infinite"),
        (lambda: DynLinUCB.knowing(ENV, lam=1.0, delta=0.1, rho_bar=1.0), "rho_bar must lie in [0, 1), got 1.0"),
        (lambda: DynLinUCB.knowing(ENV, lam=1.0, delta=0.1, phi_bar=0.5), "phi_bar must lie in [1, inf)"),
        (lambda: DynLinUCB.knowing(ENV, lam=1.0, delta=0.1, extra=-1), "extra must be at least 0"),
        (lambda: DynLinUCB.knowing(ENV, lam=0.0, delta=0.1), "lam must lie in (0, inf)"),
        (lambda: play(ALGORITHMS[0], JORDAN, horizon=2, runs=1, seed=0), "the same number of arms"),
        (lambda: expected_rewards(ENV, np.zeros(3, int), 4), "policy must hold 4 arms in 0..5"),
        (lambda: expected_rewards(ENV, np.array([6]), 1), "policy must hold 1 arms in 0..5"),
        (lambda: expected_rewards(ENV, lambda t, x: 9, 1), "the policy's arm must be in 0..5, got 9"),
        (lambda: expected_rewards(ENV, np.array([0]), 1, np.zeros(2)), "x must have shape (states,) = (3,)"),
        (lambda: finite_horizon_optimum(ENV, 0), "horizon must be at least 1"),
        (
            lambda: from_outputs(np.eye(1) / 2, np.eye(1), np.ones((2, 1)), np.ones((1, 1)), np.eye(1)),
            "C and D must have one row an output, got 2 and 1",
        ),
        (lambda: LinUCB(ENV.arms, growth=Growth.ROUNDS, bound=1.0), "bound is 1.0, but arms hold one of norm 1.11803"),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        call()
    assert message in str(error.value)
