"""One contract for all algorithms and environments; indices and weights against other ways to compute them."""

import subprocess
import sys
from dataclasses import dataclass
from math import log, sqrt
from typing import Any, NamedTuple

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import brentq
from scipy.special import rel_entr, softmax

from claimlab.bandits import (
    KLUCB,
    MOSS,
    UCB1,
    Algorithm,
    AnytimeMOSS,
    AutoRegressive,
    Batched,
    Bernoulli,
    BetaThompson,
    DecreasingEpsilonGreedy,
    Delayed,
    Drifting,
    EpsilonGreedy,
    Exp3,
    Exp3IX,
    Exp3Mixing,
    Gaussian,
    GaussianKLUCB,
    GaussianThompson,
    StochasticallyConstrained,
    Switching,
    Table,
    TsallisINF,
    anytime_rate,
    exp3_rate,
    expected_regret,
    mixing_rate,
    play,
    tsallis_weights,
)
from claimlab.bandits.optimism import kl_upper, negative_entropy, optimist
from claimlab.checks import Array, Ints
from claimlab.draws import sample
from claimlab.theory.strategies import (
    auto_regressive_bandits,
    bernoullis,
    constrained_adversaries,
    drifting_bandits,
    gaussians,
    reward_tables,
    seeds,
    simplices,
    switching_bandits,
)

U = 2.0**-53  # unit roundoff
THREE = Bernoulli(np.array([0.2, 0.5, 0.6]))

# The contract --------------------------------------------------------------------------------------------------------

ALGORITHMS = [
    *(UCB1(), UCB1(0.5), KLUCB(), KLUCB(2.0), GaussianKLUCB(0.5), MOSS(), AnytimeMOSS(), BetaThompson()),
    *(GaussianThompson(), EpsilonGreedy(0.3), DecreasingEpsilonGreedy(0.5), Exp3(0.1), Exp3(1.0, anytime=True)),
    *(Exp3IX(0.1), Exp3IX(1.0, anytime=True), Exp3Mixing(0.2), TsallisINF(), TsallisINF(0.1, anytime=False)),
    *(TsallisINF(4.0, reduced_variance=True), TsallisINF(scale=2.0), Delayed(UCB1(), 3), Delayed(KLUCB(), 4, True)),
    *(Batched(Exp3(0.1), 3), Batched(Delayed(BetaThompson(), 1), 2)),
]
ENVIRONMENTS = {
    "gaussian": gaussians(),
    "table": reward_tables(min_rounds=60),
    "switching": switching_bandits(),
    "drifting": drifting_bandits(),
    "constrained": constrained_adversaries(),
    "auto-regressive": auto_regressive_bandits(),
}


def same(records):
    for compiled, oracle in zip(*records):
        np.testing.assert_array_equal(compiled, oracle)


@pytest.mark.parametrize("alg", ALGORITHMS, ids=str)
@given(env=bernoullis(), seed=seeds(), horizon=st.integers(1, 60))
@settings(max_examples=15)
def test_compiled_equals_interpreted(alg, env, seed, horizon):
    same([play(alg, env, horizon=horizon, runs=1, seed=seed, compiled=compiled) for compiled in (True, False)])


@pytest.mark.parametrize("alg", [UCB1(), TsallisINF()], ids=str)
@pytest.mark.parametrize("envs", ENVIRONMENTS.values(), ids=ENVIRONMENTS.keys())
@given(data=st.data(), seed=seeds(), horizon=st.integers(1, 60))
@settings(max_examples=15)
def test_environments_compiled_equal_interpreted(alg, envs, data, seed, horizon):
    env = data.draw(envs)
    same([play(alg, env, horizon=horizon, runs=1, seed=seed, compiled=compiled) for compiled in (True, False)])


@pytest.mark.parametrize("alg", ALGORITHMS, ids=str)
@given(env=bernoullis(), seed=seeds())
@settings(max_examples=5)
def test_every_round_is_accounted_for(alg, env, seed):
    record = play(alg, env, horizon=100, runs=3, seed=seed, checkpoints=7)
    assert (record.pulls.sum(axis=2) == record.times).all()
    assert (np.diff(record.regret, axis=1) >= 0).all()
    np.testing.assert_allclose(record.regret, record.pulls @ env.gaps, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("alg", ALGORITHMS, ids=str)
def test_runs_depend_on_the_seed_and_on_it_alone(alg):
    few = play(alg, THREE, horizon=50, runs=3, seed=7)
    many = play(alg, THREE, horizon=50, runs=8, seed=7, threads=2)
    np.testing.assert_array_equal(few.pulls, many.pulls[:3])
    other = play(alg, THREE, horizon=50, runs=3, seed=8)
    assert (few.reward != other.reward).any()
    assert (many.reward[0] != many.reward[1]).any()


GAMES = """
import numpy as np
from claimlab.bandits import *
from claimlab.bandits.dynamical import synthetic
from claimlab.bandits.relaxation import SOR, RelaxationBandit, SPDMatrix, Systems

def curves(threads):
    table, slow = Bernoulli([0.2, 0.5, 0.6]), synthetic()
    solver = RelaxationBandit(Systems(SOR(SPDMatrix([[2.0, -1], [-1, 2]])), 0.0, 0.5), [1.0, 1.3], 50, [9.0, 8.0])
    games = [(KLUCB(), table), (TsallisINF(), table), (BetaThompson(), table), (TsallisINF(), solver)]
    games += [(DynLinUCB.knowing(slow, lam=1.0, delta=0.1), slow), (LinUCB(slow.arms), slow)]
    how = {"horizon": 200, "runs": 4, "seed": 5, "threads": threads}
    records = [play(alg, env, **how) for alg, env in games]
    costs = PiecewiseLinear([0.0, 1.0], [[0.1, 0.9], [0.8, 0.2]])
    records += [play_contextual(TsallisCB(0, 1, 3), costs, **how)]
    records += [play_contextual(DisjointLinUCB(), DisjointLinear(np.eye(3)), **how)]
    return [(record.regret.tobytes() + record.reward.tobytes()).hex() for record in records]
"""


def test_curves_do_not_depend_on_process_and_threads():
    """Bit for bit: one thread here, four in another process."""
    here: dict[str, Any] = {}
    exec(GAMES, here)
    code = GAMES + "print(*curves(4))"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    curves = here["curves"](1)
    assert there == curves
    assert len(set(curves)) == len(curves)


class Window(NamedTuple):
    last: Array  # [K], the last reward of each arm


def test_an_algorithm_defined_on_the_spot_runs_compiled():
    @dataclass(frozen=True)
    class WinStay(Algorithm):
        start: float = 1.0

        def init(self, n_arms: int, horizon: int) -> Window:
            return Window(np.full(n_arms, self.start))

        def act(self, state: Window, t: int, rng: np.random.Generator) -> int:
            return int(state.last.argmax()) if rng.random() < 0.9 else 0

        def learn(self, state: Window, t: int, arm: int, reward: float) -> None:
            state.last[arm] = reward

    same([play(WinStay(), THREE, horizon=200, runs=2, seed=3, compiled=compiled) for compiled in (True, False)])
    same([play(Delayed(WinStay(), 5), THREE, horizon=200, runs=2, seed=3, compiled=c) for c in (True, False)])


# Indices -------------------------------------------------------------------------------------------------------------


def kl(p: float, q: float) -> float:
    return float(rel_entr(p, q) + rel_entr(1 - p, 1 - q))


@given(
    st.sampled_from([0.0, 1.0, 0.5, 1e-9]) | st.floats(0, 1, allow_subnormal=False),
    st.floats(1e-9, 20) | st.sampled_from([1e-6, 0.1]),
    st.sampled_from([0.0, 1.0]) | st.floats(-1, 2),
)
@settings(max_examples=300)
def test_kl_index_is_the_root_that_scipy_finds(p, limit, start):
    q, top = kl_upper(p, limit, start), 1 - 1e-15
    if p >= 1 or kl(p, top) <= limit:
        assert q >= min(top, 1 - 1e-9)
    else:
        root = brentq(lambda x: kl(p, x) - limit, p, top, xtol=1e-15)
        assert abs(q - root) <= 2e-9


counts = st.integers(1, 6).flatmap(
    lambda k: st.tuples(*(arrays(np.int64, k, elements=st.integers(low, 60)) for low in (1, 0)))
)


@given(counts, st.floats(0.01, 10), st.data())
@settings(max_examples=200)
def test_lazy_kl_ucb_pulls_an_arm_of_largest_index(drawn, level, data):
    pulls, wins = drawn[0].astype(float), np.minimum(*drawn).astype(float)
    means = wins / pulls
    entropy = np.array([negative_entropy(m) for m in means])
    leader = data.draw(st.integers(0, len(pulls) - 1))
    arm = optimist(pulls, wins, entropy, np.zeros(len(pulls)), leader, level)
    indices = [kl_upper(m, level / n, 0.0) for m, n in zip(means, pulls)]
    assert indices[arm] >= max(indices) - 3e-9


@given(counts, st.integers(60, 10_000))
@settings(max_examples=100)
def test_closed_indices(drawn, t):
    """UCB1, Gaussian KL-UCB, MOSS and its anytime form against their formulas in NumPy."""
    n, K = drawn[0].astype(float), len(drawn[0])
    wins = np.minimum(*drawn).astype(float)
    means, rng = wins / n, np.random.default_rng(0)
    plus = np.log(np.maximum(t / (K * n), 1.0))
    cases = [
        (UCB1(), means + np.sqrt(2 * log(t) / n)),
        (GaussianKLUCB(0.5), means + np.sqrt(0.5 * log(1 + (t + 1) * log(t + 1) ** 2) / n)),
        (MOSS(), means + np.sqrt(plus / n)),
        (AnytimeMOSS(), means + np.sqrt(plus / n)),
        (EpsilonGreedy(0.0), means),
    ]
    for alg, index in cases:
        state = alg.init(K, t)
        for arm in range(K):
            for win in range(int(n[arm])):
                alg.learn(state, 0, arm, float(win < wins[arm]))
        assert index[alg.act(state, t, rng)] >= index.max() - 1e-12


# Weights -------------------------------------------------------------------------------------------------------------

losses = st.integers(1, 8).flatmap(
    lambda k: arrays(np.float64, k, elements=st.sampled_from([0.0, 1.0]) | st.floats(0, 1, allow_subnormal=False))
)
scales = st.sampled_from([0.0, 1.0, 100.0, 1e6, 1e12])


@given(losses, scales, st.sampled_from([1e-4, 0.01, 1.0, 2.0, 100.0]), st.sampled_from([0.0, 1.0, -1.0, 1e9, 1.7]))
@settings(max_examples=150)
def test_tsallis_weights_solve_their_equation_to_the_stated_error(L, scale, eta, start):
    """The root in thirty digits: sum_i 4 / (eta (L_i - x))^2 = 1 with x below min L."""
    L, K, p = scale * L, len(L), np.zeros(len(L))
    z = tsallis_weights(L, eta, p, start)
    assert 1 <= z <= sqrt(K) * (1 + 1e-10)
    assert abs(p.sum() - 1) <= (2 * K + 2) * U
    with mpmath.workdps(30):
        half = [mpmath.mpf(eta) / 2 * (mpmath.mpf(x) - mpmath.mpf(L.min())) for x in L]
        low, high = mpmath.mpf(1), mpmath.sqrt(K)
        for _ in range(90):
            middle = (low + high) / 2
            low, high = (middle, high) if sum((h + middle) ** -2 for h in half) > 1 else (low, middle)
        exact = np.array([float((h + low) ** -2) for h in half])
    np.testing.assert_allclose(p, exact, rtol=sqrt(K) * (1e-11 + 8 * K * U) + 50 * U)


def test_tsallis_weights_minimise_the_regularised_loss():
    import cvxpy as cp

    L, eta, p = np.array([3.0, 1.0, 4.0, 1.0, 5.0]), 0.7, np.zeros(5)
    tsallis_weights(L, eta, p, 0.0)
    w = cp.Variable(5)
    cp.Problem(cp.Minimize(L @ w - 4 / eta * cp.sum(cp.sqrt(w))), [cp.sum(w) == 1]).solve(cp.CLARABEL)
    np.testing.assert_allclose(p, w.value, atol=1e-5)


def after(alg, rewards, arms):
    """The state after the given draws."""
    state, rng = alg.init(rewards.shape[1], len(rewards)), np.random.default_rng(0)
    for t, arm in enumerate(arms):
        alg.act(state, t, rng)
        assume(state.p[arm] > 1e-12)
        alg.learn(state, t, arm, rewards[t, arm])
    return state


@given(reward_tables(min_rounds=3, max_rounds=8, max_arms=4), st.data())
@settings(max_examples=50)
def test_exponential_weights_by_their_formulas(table, data):
    """p after the last act, and the estimates of loss or gain, written with NumPy."""
    x, (T, K) = table.rewards, table.rewards.shape
    arms = data.draw(st.lists(st.integers(0, K - 1), min_size=T, max_size=T))
    for alg in (Exp3(0.3), Exp3(0.7, anytime=True), Exp3IX(0.3), Exp3IX(0.7, anytime=True), Exp3Mixing(0.4)):
        total = np.zeros(K)
        for t, arm in enumerate(arms):
            eta = getattr(alg, "eta", 0.0) / (sqrt(t + 1) if getattr(alg, "anytime", False) else 1.0)
            if isinstance(alg, Exp3Mixing):
                p = 0.6 * softmax(0.4 / K * total) + 0.4 / K
                total[arm] += x[t, arm] / p[arm]
            else:
                p = softmax(-eta * total)
                assume(p[arm] > 1e-12)  # the rest is never drawn
                total[arm] += (1 - x[t, arm]) / (p[arm] + (eta / 2 if isinstance(alg, Exp3IX) else 0.0))
        np.testing.assert_allclose(after(alg, x, arms).p, p, rtol=1e-10)


@pytest.mark.parametrize(
    "alg",
    [Exp3(0.5), Exp3IX(0.5), TsallisINF(), TsallisINF(4.0, reduced_variance=True), TsallisINF(1.0, scale=3.0)],
    ids=str,
)
@given(reward_tables(min_rounds=2, max_rounds=8, max_arms=4), st.data())
@settings(max_examples=20)
def test_estimated_losses_are_unbiased(alg, table, data):
    """Averaged over the draw of the last round an estimate is the loss; that of Exp3-IX is below it."""
    scale = getattr(alg, "scale", 1.0)
    x, (T, K) = scale * table.rewards, table.rewards.shape
    arms = data.draw(st.lists(st.integers(0, K - 1), min_size=T - 1, max_size=T - 1))
    mean = np.zeros(K)
    for arm in range(K):
        state = after(alg, x, arms)
        alg.act(state, T - 1, np.random.default_rng(0))
        before, p = state.loss.copy(), state.p.copy()
        assume(p[arm] > 1e-9)
        alg.learn(state, T - 1, arm, x[T - 1, arm])
        mean += p[arm] * (state.loss - before)
    rounding = 1e-13 * (1 + abs(before).max())
    if isinstance(alg, Exp3IX):
        assert (mean <= 1 - x[-1] + rounding).all()
    else:
        np.testing.assert_allclose(mean, 1 - x[-1] / scale, atol=rounding)


@given(simplices(5), st.sampled_from([0.0, np.nextafter(1.0, 0.0)]) | st.floats(0, 1, exclude_max=True))
def test_draws_follow_the_cumulative_sum_and_are_possible(p, u):
    kept = p.copy()
    arm = sample(p, u)
    assert p[arm] > 0
    np.testing.assert_array_equal(p, kept)
    assert p[:arm].sum() <= u + 4 * U
    assert u < p[: arm + 1].sum() + 8 * U


def recursive(x, eta):
    """Expected reward of Exp3 by recursion, in thirty digits."""

    def go(t, L):
        if t == len(x):
            return mpmath.mpf(0)
        w = [mpmath.exp(-mpmath.mpf(eta) * loss) for loss in L]
        p = [v / mpmath.fsum(w) for v in w]
        return mpmath.fsum(
            p[a] * (x[t][a] + go(t + 1, [*L[:a], L[a] + (1 - x[t][a]) / p[a], *L[a + 1 :]]))
            for a in range(len(L))
            if p[a] > 1e-25  # what is left out weighs less than the digits
        )

    with mpmath.workdps(30):
        x = [[mpmath.mpf(v) for v in row] for row in x.tolist()]
        return float(go(0, [mpmath.mpf(0)] * len(x[0])))


@given(reward_tables(min_rounds=1, max_rounds=6, max_arms=3), st.sampled_from([0.1, 0.5, 1.0]))
@settings(max_examples=30)
def test_expected_regret_by_recursion(table, eta):
    x = table.rewards
    assert abs(expected_regret(Exp3(eta), table) - (x.sum(axis=0).max() - recursive(x, eta))) <= 1e-12


@pytest.mark.parametrize("alg", [Exp3Mixing(0.3), TsallisINF(), Exp3IX(0.4)], ids=str)
def test_expected_regret_is_the_mean_of_games(alg):
    table = Table(np.array([[1, 0, 0.5], [0, 1, 0.5], [1, 0, 0], [1, 0.2, 1], [0, 0, 1]]))
    found = play(alg, table, horizon=5, runs=20_000, seed=1, checkpoints=1).regret[:, -1]
    assert abs(found.mean() - expected_regret(alg, table)) <= 5 * found.std() / sqrt(20_000)


# Wrappers ------------------------------------------------------------------------------------------------------------


class Diary(NamedTuple):
    learnt: Ints  # [T], the round whose reward was learnt n-th
    size: Ints  # [1]
    rewards: Array  # [T], by round


@dataclass(frozen=True)
class Recorder(Algorithm):
    """Pulls arms in turn and writes down what it learns."""

    def init(self, n_arms: int, horizon: int) -> Diary:
        return Diary(np.full(horizon, -1), np.zeros(1, dtype=np.int64), np.full(horizon, np.nan))

    def act(self, state: Diary, t: int, rng: np.random.Generator) -> int:
        return t % 2

    def learn(self, state: Diary, t: int, arm: int, reward: float) -> None:
        assert arm == t % 2
        state.learnt[state.size[0]] = t
        state.size[0] += 1
        state.rewards[t] = reward


@given(st.integers(0, 7), st.booleans(), seeds())
@settings(max_examples=30)
def test_delayed_rewards_arrive_once_and_in_time(delay, random, seed):
    alg, env, T = Delayed(Recorder(), delay, random), Table(np.arange(40).reshape(20, 2) / 40), 20
    state, rng = alg.init(2, T), np.random.default_rng(seed)
    arrived = {}
    for t in range(T):
        arm = alg.act(state, t, rng)
        alg.learn(state, t, arm, env.rewards[t, arm])
        arrived |= {int(s): t for s in state.base.learnt[: state.base.size[0]] if s not in arrived}
    assert state.base.size[0] == len(arrived)
    assert all(t - s <= delay if random else t - s == delay for s, t in arrived.items())
    assert set(range(T - delay)) <= set(arrived)
    for s in arrived:
        assert state.base.rewards[s] == env.rewards[s, s % 2]


@pytest.mark.parametrize("alg", [UCB1(), BetaThompson()], ids=str)
def test_no_delay_and_batches_of_one_change_nothing(alg):
    plain, delayed, batched = (
        play(a, THREE, horizon=100, runs=2, seed=1) for a in (alg, Delayed(alg, 0), Batched(alg, 1))
    )
    for a, b, c in zip(plain, delayed, batched):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


def test_batches_are_learnt_by_their_means():
    alg, x = Batched(Recorder(), 3), np.arange(16).reshape(8, 2) / 16
    state, rng = alg.init(2, 8), np.random.default_rng(0)
    arms = []
    for t in range(8):
        arms.append(alg.act(state, t, rng))
        alg.learn(state, t, arms[-1], x[t, arms[-1]])
    assert arms == [0, 0, 0, 1, 1, 1, 0, 0]
    assert state.base.learnt.tolist() == [0, 1]  # the third batch is not complete
    np.testing.assert_allclose(state.base.rewards[:2], [x[:3, 0].mean(), x[3:6, 1].mean()])


# Environments --------------------------------------------------------------------------------------------------------


@given(reward_tables(max_rounds=30), seeds())
@settings(max_examples=30)
def test_regret_on_a_table_is_against_the_best_arm_in_hindsight(table, seed):
    T = len(table.rewards)
    record = play(UCB1(), table, horizon=T, runs=1, seed=seed)
    best = table.rewards.sum(axis=0).max()
    assert abs(record.regret[0, -1] - (best - record.reward[0, -1])) <= 1e-12 * T


@given(switching_bandits(), seeds())
@settings(max_examples=30)
def test_switching_means_and_gaps_by_round(env, seed):
    state, rng = env.begin(60, np.random.default_rng(0)), np.random.default_rng(seed)
    for t in range(60):
        means = env.means[np.searchsorted(env.starts, t, side="right") - 1]
        for arm in range(env.n_arms):
            assert env.gap(state, t, arm) == means.max() - means[arm]
            if means[arm] in (0, 1):
                assert env.pull(state, t, arm, rng) == means[arm]


@given(drifting_bandits(), seeds())
@settings(max_examples=30)
def test_drifting_means_are_reflected(env, seed):
    rng = np.random.default_rng(seed)
    state = env.begin(50, rng)
    for t in range(50):
        twin = np.random.default_rng()
        twin.bit_generator.state = rng.bit_generator.state
        before = state.copy()
        assert env.gap(state, t, 0) == before.max() - before[0]
        env.pull(state, t, 0, rng)
        twin.random()
        moved = abs(before + env.step * twin.standard_normal(env.n_arms)) % 2
        np.testing.assert_allclose(state, np.where(moved > 1, 2 - moved, moved), atol=1e-15)


def test_a_constrained_adversary_lifts_all_means_in_odd_phases():
    """Growth 2: phases of 1, 2, 4, 8, ... rounds; with gaps 0 and 1 arms pay 1 - gap in odd phases, 1 - gap in even."""
    env = StochasticallyConstrained(np.array([0.25, 0.0]), growth=2.0)
    rng = np.random.default_rng(0)
    paid = np.zeros((2, 31))
    for _ in range(400):
        for arm in range(2):
            state = env.begin(31, rng)
            paid[arm] += [env.pull(state, t, arm, rng) for t in range(31)]
    phase = np.repeat([0, 1, 0, 1, 0], [1, 2, 4, 8, 16])
    for arm, gap in enumerate(env.gaps):
        for odd, top in ((0, 0.25), (1, 1.0)):
            assert abs(paid[arm, phase == odd].mean() / 400 - (top - gap)) <= 0.02
        assert env.gap(state, 5, arm) == gap


@given(auto_regressive_bandits(), seeds())
@settings(max_examples=30)
def test_auto_regressive_rewards_by_their_recursion(env, seed):
    rng, twin = np.random.default_rng(seed), np.random.default_rng(seed)
    state = env.begin(20, rng)
    spread = env.alpha * env.sigma / sqrt(1 - env.alpha**2)
    r = np.clip(spread * twin.standard_normal(env.n_arms), -env.alpha, env.alpha)
    for t in range(20):
        assert abs(env.gap(state, t, 0) - (r.max() - r[0])) <= 1e-12
        x = np.clip(r + env.sigma * twin.standard_normal(env.n_arms), -1, 1)
        assert abs(env.pull(state, t, t % env.n_arms, rng) - x[t % env.n_arms]) <= 1e-12
        r = env.alpha * x


def test_gaussian_rewards_have_their_moments():
    env = Gaussian(np.array([3.0, -1.0]), sigma=2.0)
    rng = np.random.default_rng(0)
    x = np.array([env.pull(env.begin(1, rng), 0, 1, rng) for _ in range(20_000)])
    assert abs(x.mean() + 1) <= 5 * 2 / sqrt(20_000)
    assert abs(x.std() - 2) <= 0.06


@dataclass(frozen=True)
class Astray(Algorithm):
    """Pulls an arm that may not exist."""

    arm: int

    def init(self, n_arms, horizon):
        return np.zeros(1)

    def act(self, state, t, rng):
        return self.arm

    def learn(self, state, t, arm, reward):
        pass


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("arm", [-1, 3])
def test_arms_that_do_not_exist_are_refused(arm, compiled):
    with pytest.raises(ValueError, match=r"act gave an arm outside 0\.\.n_arms - 1"):
        play(Astray(arm), THREE, horizon=5, runs=1, seed=0, compiled=compiled)


# Bad calls -----------------------------------------------------------------------------------------------------------

HALF = np.array([0.5, 0.5])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: UCB1(-1.0), r"c must lie in \[0, inf\)"),
        (lambda: KLUCB(np.nan), "c must lie in"),
        (lambda: GaussianKLUCB(0.0), "sigma must lie in"),
        (lambda: MOSS(-0.5), "sigma must lie in"),
        (lambda: AnytimeMOSS(np.inf), "sigma must lie in"),
        (lambda: BetaThompson(0.0), "prior must lie in"),
        (lambda: GaussianThompson(-1), "sigma must lie in"),
        (lambda: EpsilonGreedy(1.5), r"epsilon must lie in \[0, 1\], got 1.5"),
        (lambda: DecreasingEpsilonGreedy(0.0), "d must lie in"),
        (lambda: Exp3(0.0), "eta must lie in"),
        (lambda: Exp3(0.1, anytime=1), "anytime must be True or False, got 1"),
        (lambda: Exp3IX(-1), "eta must lie in"),
        (lambda: Exp3Mixing(0.0), r"gamma must lie in \(0, 1\]"),
        (lambda: TsallisINF(rate=0.0), "rate must lie in"),
        (lambda: TsallisINF(scale=-1.0), "scale must lie in"),
        (lambda: Delayed(UCB1(), -1), "delay must be at least 0"),
        (lambda: Delayed(Exp3(0.1), 3), "base must not weight by the last draw's probability, got Exp3"),
        (lambda: Delayed(Batched(TsallisINF(), 2), 3), "base must not weight by the last draw's probability"),
        (lambda: Delayed("UCB1", 3), "base must be an Algorithm, got str"),
        (lambda: Batched(UCB1(), 0), "size must be at least 1"),
        (lambda: exp3_rate(0, 10), "n_arms must be at least 1"),
        (lambda: anytime_rate(2.5), "n_arms must be a whole number"),
        (lambda: mixing_rate(2, 0.0), "gain must lie in"),
        (lambda: Bernoulli(np.array([0.5, 1.2])), r"means\[1\] must lie in \[0, 1\], got 1.2"),
        (lambda: Gaussian(HALF, sigma=0.0), "sigma must lie in"),
        (lambda: Gaussian(np.array([np.nan])), r"means\[0\] is nan"),
        (lambda: Table(np.array([[0.5], [2.0]])), r"rewards\[1, 0\] must lie in"),
        (lambda: Table(np.zeros((0, 2))), "rewards must hold a round and an arm"),
        (lambda: play(UCB1(), Table(np.zeros((5, 2))), horizon=6, runs=1, seed=0), "horizon exceeds the table"),
        (lambda: Switching(HALF[None], np.array([1])), "starts must be whole numbers that increase from 0"),
        (lambda: Switching(np.array([HALF, HALF]), np.array([0, 0])), "starts must be whole numbers that increase"),
        (lambda: Switching(np.array([HALF, HALF]), np.array([0])), "starts must have shape"),
        (lambda: Drifting(HALF, 1.5), "step must lie in"),
        (lambda: StochasticallyConstrained(HALF), "gaps must hold a 0"),
        (lambda: StochasticallyConstrained(np.array([0.0, 0.1]), 1.0), "growth must lie in"),
        (lambda: AutoRegressive(2, 1.0, 0.1), r"alpha must lie in \[0, 1\)"),
        (lambda: AutoRegressive(0, 0.5, 0.1), "n_arms must be at least 1"),
        (lambda: expected_regret(UCB1(), Table(np.zeros((2, 2)))), "alg must keep the distribution"),
        (lambda: expected_regret(Exp3(0.1), Table(np.zeros((30, 2)))), "T must be in 1..16777216"),
        (lambda: play(UCB1, THREE, horizon=1, runs=1, seed=0), "play takes an Algorithm and an Environment"),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
