"""The contract of contextual algorithms, their formulas, and that they learn."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimlab.bandits import (
    AdaptiveChebCB,
    ChebCB,
    ContextualEnvironment,
    DisjointLinear,
    DisjointLinUCB,
    PiecewiseLinear,
    SharedLinear,
    SharedLinUCB,
    SquareCB,
    TsallisCB,
    chebcb_rate,
    play_contextual,
    squarecb_rate,
)
from claimlab.bandits.interval_contextual import _bin, square_regret
from claimlab.theory.strategies import cost_functions, linear_contextuals, seeds

LINEAR = [DisjointLinUCB(), DisjointLinUCB(0.3, 2.0), SquareCB(20.0)]  # one contract, every algorithm
INTERVAL = [
    ChebCB(0, 1, 2.0, 3, 30.0),
    AdaptiveChebCB(0, 1),
    AdaptiveChebCB(0, 1, 1),
    TsallisCB(0, 1, 3),
    TsallisCB(0, 1, 2, True),
]
CROSSING = PiecewiseLinear([0.0, 1.0], [[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]], bernoulli=True)


def equal(alg, env, seed, horizon):
    records = [
        play_contextual(alg, env, horizon=horizon, runs=1, seed=seed, compiled=compiled) for compiled in (True, False)
    ]
    for compiled, oracle in zip(*records):
        np.testing.assert_array_equal(compiled, oracle)


@pytest.mark.parametrize("alg", LINEAR, ids=str)
@given(env=linear_contextuals(), seed=seeds(), horizon=st.integers(1, 60))
@settings(max_examples=20)
def test_compiled_equals_interpreted_in_linear_environments(alg, env, seed, horizon):
    equal(alg, env, seed, horizon)


@pytest.mark.parametrize("alg", [*INTERVAL, *LINEAR], ids=str)
@given(env=cost_functions(), seed=seeds(), horizon=st.integers(1, 60))
@settings(max_examples=20)
def test_compiled_equals_interpreted_with_given_costs(alg, env, seed, horizon):
    equal(alg, env, seed, horizon)


@given(st.data(), seeds(), st.integers(1, 60))
@settings(max_examples=20)
def test_compiled_equals_interpreted_with_a_shared_parameter(data, seed, horizon):
    theta = np.array(data.draw(st.lists(st.floats(-2, 2), min_size=1, max_size=3)))
    equal(SharedLinUCB(), SharedLinear(theta, data.draw(st.integers(1, 4))), seed, horizon)


@pytest.mark.parametrize("alg", [*INTERVAL, *LINEAR, SharedLinUCB()], ids=str)
def test_runs_depend_on_the_seed_alone_and_change_with_it(alg):
    env = SharedLinear(np.ones(2), 3) if isinstance(alg, SharedLinUCB) else CROSSING
    few = play_contextual(alg, env, horizon=80, runs=3, seed=7)
    many = play_contextual(alg, env, horizon=80, runs=8, seed=7, threads=2)
    other = play_contextual(alg, env, horizon=80, runs=3, seed=8)
    np.testing.assert_array_equal(few.pulls, many.pulls[:3])
    assert (few.regret != other.regret).any()
    assert (few.pulls.sum(axis=2) == few.times).all()
    assert (np.diff(few.regret, axis=1) >= 0).all()


def test_linucb_pulls_the_arm_of_its_definition():
    """One state of 200 rounds: the index from matrices, inverted anew, picks the same arm."""
    rng, K, d, alpha = np.random.default_rng(1), 4, 3, 0.7
    alg = DisjointLinUCB(alpha, 1.5)
    state = alg.start(K, d, 200)
    A, b = np.array([1.5 * np.eye(d)] * K), np.zeros((K, d))
    for t in range(200):
        x = rng.normal(size=d)
        index = [x @ np.linalg.solve(A[a], b[a]) + alpha * np.sqrt(x @ np.linalg.solve(A[a], x)) for a in range(K)]
        arm, reward = alg.choose(state, t, x, rng), rng.normal()
        assert arm == np.argmax(index)
        alg.update(state, t, x, arm, reward)
        A[arm] += np.outer(x, x)
        b[arm] += reward * x


def test_squarecb_draws_with_inverse_gaps_of_its_predictions():
    rng, alg = np.random.default_rng(2), SquareCB(10.0)
    state = alg.start(3, 2, 100)
    for t in range(100):
        x = rng.normal(size=2)
        arm = alg.choose(state, t, x, rng)
        gaps = (predicted := x @ state.fit.theta).max() - predicted
        others = gaps > 0
        np.testing.assert_allclose(state.width[others], 1 / (3 + 10 * gaps[others]), rtol=1e-12)
        alg.update(state, t, x, arm, rng.normal())


def test_chebcb_follows_the_leader():
    """Its fits are those of least squares in the box, from all rounds anew."""
    from scipy.optimize import lsq_linear

    rng, alg = np.random.default_rng(4), ChebCB(-1, 3, 0.3, 3, 20.0)
    state, rounds = alg.start(2, 1, 100), []
    for t in range(100):
        c = rng.uniform(-1, 3)
        arm = alg.choose(state, t, np.array([c]), rng)
        loss = abs(c - arm) / 4
        alg.update(state, t, np.array([c]), arm, 1 - loss)
        rounds.append((arm, np.cos(np.arange(4) * np.arccos((c - 1) / 2)), loss))
    radius = np.r_[1, 2 * 4 * 0.3 / np.arange(1, 4)]
    for arm in range(2):
        X = np.array([f for a, f, _ in rounds if a == arm])
        y = np.array([loss for a, _, loss in rounds if a == arm])
        np.testing.assert_allclose(state.theta[arm], lsq_linear(X, y, (-radius, radius), tol=1e-14).x, atol=1e-5)


def test_adaptive_chebcb_has_the_box_and_rate_of_the_release():
    """The learning rate from its formula, on the released scale of losses: K N with K the largest loss so far."""
    rng, alg = np.random.default_rng(5), AdaptiveChebCB(0, 1)
    state, N, seen = alg.start(3, 1, 60), 2 + 4 * (1 + np.log(6)), []
    for t in range(60):
        x = np.array([rng.random()])
        arm, predicted = alg.choose(state, t, x, rng), state.predicted.copy()
        loss = [abs(x[0] - 0.3), 0.4, x[0] ** 2][arm]
        alg.update(state, t, x, arm, 1 - loss)
        seen.append((arm, np.cos(np.arange(6) * np.arccos(2 * x[0] - 1)), loss, predicted[arm]))
        K = max(s[2] for s in seen)
        assert (abs(state.theta) <= np.r_[K, 2 * K / np.arange(1, 6)] * (1 + 1e-12)).all()
        if t % 10 == 9:
            inside = (abs(state.theta[arm]) < np.r_[K, 2 * K / np.arange(1, 6)]).all()
            r = 0.0 if inside else sum((s[2] - state.theta[arm] @ s[1]) ** 2 for s in seen if s[0] == arm)
            R = sum((s[2] - s[3]) ** 2 for s in seen)
            alpha = (np.pi + 2 / np.pi * np.log(13)) / (2 * K * N * 7) * K
            n = t + 1
            eta = 2 * n * np.sqrt(3 * n / ((R - r) / (K * N) ** 2 + 2 * alpha**2 * n))
            assert state.running[2] == pytest.approx(eta / (K * N), rel=1e-5)


def test_bins_are_those_of_the_nearest_centre():
    centres = (np.arange(5) + 0.5) / 5
    for x in np.linspace(0.001, 0.999, 731):
        assert _bin(x, 0.0, 1.0, 5) == abs(centres - x).argmin()
    assert [_bin(x, 0.0, 1.0, 5) for x in (-1.0, 0.0, 1.0, 2.0)] == [0, 0, 4, 4]


def test_one_bin_is_tsallis_inf_and_adaptive_losses_are_in_units_of_their_mean():
    """Weights from the definition, by the estimated losses alone: p = 4 / (eta (L - x))^2 sums to one."""
    from scipy.optimize import brentq

    rng = np.random.default_rng(6)
    for adaptive in (False, True):
        alg = TsallisCB(0, 1, 1, adaptive)
        state, k, paid = alg.start(3, 1, 60), np.zeros(3), 0.0
        for t in range(60):
            x = np.array([rng.random()])
            arm = alg.choose(state, t, x, rng)
            eta, loss = 2 / np.sqrt(t + 1), k / (paid / t) if adaptive and paid > 0 else k
            ends = loss.min() - np.array([2 * 2, 2]) / eta
            root = brentq(lambda x, loss=loss, eta=eta: (4 / (eta * (loss - x)) ** 2).sum() - 1, *ends)
            np.testing.assert_allclose(state.p, 4 / (eta * (loss - root)) ** 2, rtol=1e-7)
            cost = rng.random() * [0.2, 0.5, 0.3][arm]
            k[arm] += cost / state.p[arm]
            paid += cost
            alg.update(state, t, x, arm, 1 - cost)


def test_context_pays_where_arms_cross():
    """The best fixed arm loses a quarter a round on average; contextual learners lose ever less."""
    horizon = 4000
    for alg in (ChebCB(0, 1, 1.0, 2, 200.0), AdaptiveChebCB(0, 1, 2), TsallisCB(0, 1, 4)):
        regret = play_contextual(alg, CROSSING, horizon=horizon, runs=20, seed=0).regret
        assert regret[:, -1].mean() < 0.15 * horizon


def test_costs_are_interpolated():
    env = PiecewiseLinear([0.0, 0.5, 2.0], [[0.0, 1.0, 0.5]])
    rng = np.random.default_rng(0)
    state = env.begin(10, rng)
    for t in range(200):
        x = env.observe(state, t, rng)
        assert 0 <= x[0] <= 2
        assert 1 - env.respond(state, t, x, 0, rng) == pytest.approx(np.interp(x[0], env.knots, env.costs[0]))


def test_rates_by_hand():
    assert squarecb_rate(4, 100, 10.0, 2 / np.e**6) == pytest.approx(np.sqrt(400 / 16))
    assert square_regret(1, 100, 0.0, 1) == pytest.approx(2 * (1 + np.log(100 * np.sqrt(2) / 2)))
    assert chebcb_rate(2, 50, 1.0, 0.0, 1) == pytest.approx(2 * np.sqrt(100 / square_regret(2, 50, 0.0, 1)))


BAD = [
    (lambda: DisjointLinUCB(-1.0), r"alpha must lie in \[0, inf\), got -1.0"),
    (lambda: DisjointLinUCB(1.0, 0.0), r"penalty must lie in \(0, inf\), got 0.0"),
    (lambda: SquareCB(float("nan")), "gamma must lie in"),
    (lambda: ChebCB(1, 1, 1.0, 3, 1.0), r"high must lie in \(1, inf\), got 1"),
    (lambda: ChebCB(0, 1, 1.0, 0, 1.0), "degree must be at least 1, got 0"),
    (lambda: TsallisCB(0, 1, 2.5), "bins must be a whole number, got 2.5"),
    (lambda: AdaptiveChebCB(float("inf"), 1), "low must lie in"),
    (lambda: DisjointLinear([[1.0, np.inf]]), r"theta\[0, 1\] is inf"),
    (lambda: DisjointLinear([[1.0]], noise=-1), "noise must lie in"),
    (lambda: SharedLinear(np.zeros(0), 2), "theta must hold one number at least"),
    (lambda: PiecewiseLinear([0.0, 0.0], [[0.0, 1.0]]), "knots must be two increasing numbers"),
    (lambda: PiecewiseLinear([0.0, 1.0], [[0.0, 1.5]]), r"costs\[0, 1\] is 1.5"),
    (lambda: PiecewiseLinear([0.0, 1.0], [[0.0, 1.0, 0.0]]), r"costs must have shape \(K, m\) with m = 2"),
    (lambda: squarecb_rate(2, 0, 1.0, 0.1), "horizon must be at least 1"),
    (lambda: chebcb_rate(2, 10, 1.0, -1.0, 3), "lipschitz must lie in"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("alg", INTERVAL, ids=str)
def test_contexts_of_the_wrong_dimension_are_refused(alg, compiled):
    with pytest.raises(ValueError, match="dim is not 1"):
        play_contextual(alg, DisjointLinear(np.ones((2, 3))), horizon=5, runs=1, seed=0, compiled=compiled)


@dataclass(frozen=True, eq=False)
class Lying(ContextualEnvironment):
    """Announces contexts of `dim` numbers and shows two."""

    dim: int
    n_arms: int = 2

    def begin(self, horizon, rng):
        return np.zeros(2)

    def observe(self, state, t, rng):
        return state

    def shortfall(self, state, t, context, arm):
        return 0.0

    def respond(self, state, t, context, arm, rng):
        return 0.0


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("dim", [1, 3])
def test_an_environment_keeps_to_its_dimension(dim, compiled):
    with pytest.raises(ValueError, match="observe gave a context whose length is not the environment's dim"):
        play_contextual(DisjointLinUCB(), Lying(dim), horizon=5, runs=1, seed=0, compiled=compiled)


@pytest.mark.parametrize("compiled", [True, False])
def test_features_must_divide_among_the_arms(compiled):
    with pytest.raises(ValueError, match="dim is no multiple of n_arms"):
        play_contextual(SharedLinUCB(), DisjointLinear(np.ones((2, 3))), horizon=5, runs=1, seed=0, compiled=compiled)
