from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_array
from scipy.stats import binom, binomtest, chisquare, norm

from claimlab.mdps import (
    AverageMDP,
    EpisodicMDP,
    TabularMDP,
    average_river_swim,
    chain,
    combination_lock,
    corridor,
    episodic_occupancy,
    episodic_policy_value,
    gain_and_bias,
    garnet,
    policy_value,
)
from claimlab.mdps.simulate import (
    Rollouts,
    _alias,
    _open,
    _philox,
    _play,
    _prepare,
    _uniform,
    monte_carlo_returns,
    propagate_counts,
    rollouts,
)
from claimlab.native import interpreted
from claimlab.theory.strategies import episodic_mdps, policies, seeds, simplices, tabular_mdps

EPS = np.finfo(float).eps
LEVEL = 1e-9  # of every statistical assertion; seeds are fixed, so that a pass is a pass for ever


def hoeffding(width, n):
    """Half-width of the confidence interval for the mean of `n` numbers in an interval of that width (1963)."""
    return width * np.sqrt(np.log(2 / LEVEL) / (2 * n))


def test_philox_gives_the_known_answers():
    """Those of Random123 (kat_vectors, philox4x64 10), and NumPy's, which counts up before it draws."""
    stream = np.zeros(9, np.uint64)
    _philox(stream)
    known = [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    assert stream[:4].tolist() == known
    block, run, key = 2**40, 2**63 + 5, np.array([2**64 - 1, 12345], np.uint64)
    numpys = np.random.Philox(key=key, counter=np.array([block, run, 0, 0], np.uint64))
    stream[5:] = block + 1, run, *key
    _philox(stream)
    assert stream[:4].tolist() == numpys.random_raw(4).tolist()


@given(seeds(), st.integers(0, 2**40))
def test_each_run_reads_its_own_stream_of_numpys_philox(seed, run):
    key = np.random.SeedSequence(seed).generate_state(2, np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key, counter=[0, run, 0, 0]))
    stream = np.empty(9, np.uint64)
    _open(stream, key, run)
    assert [_uniform(stream) for _ in range(13)] == generator.random(13).tolist()


def test_golden_run():
    """Drawn once by this code; a change means that published seeds no longer reproduce."""
    mdp = chain(5, 0.9)
    kept = rollouts(mdp, np.full((5, 2), 0.5), runs=2, horizon=10, seed=2024)
    assert kept.actions.tolist() == [[1, 1, 0, 1, 0, 1, 1, 1, 0, 1], [0, 1, 1, 0, 0, 0, 0, 1, 0, 1]]
    assert kept.states.tolist() == [[0, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0], [0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 0]]


def law_of(keep, other):
    """The law that an alias table draws from."""
    n = len(keep)
    return (keep + np.bincount(other, 1 - keep, n)) / n


@settings(max_examples=300)
@given(st.integers(1, 12).flatmap(simplices))
def test_alias_tables_have_the_law_of_their_row(p):
    keep, other = _alias(np.array([0, len(p)]), p)
    assert abs(law_of(keep, other) - p).max() <= 4 * len(p) * EPS
    assert not law_of(keep, other)[p == 0].any()
    assert ((keep >= 0) & (keep <= 1)).all()


def test_alias_tables_of_long_and_tiny_rows():
    rng = np.random.default_rng(0)
    p = np.concatenate([rng.dirichlet(np.full(500, 0.05)), [1.0], [1e-300, 1 - 1e-12, 1e-12], np.full(7, 1 / 7)])
    ends = np.array([0, 500, 501, 504, 511])
    keep, other = _alias(ends, p)
    for a, b in pairwise(ends):
        np.testing.assert_allclose(law_of(keep[a:b], other[a:b]), p[a:b], rtol=0, atol=(b - a) * EPS)


@given(st.data(), seeds())
def test_trajectories_are_possible_and_returns_are_their_sums(data, seed):
    mdp = data.draw(tabular_mdps(masked=True, terminal=True) | episodic_mdps(masked=True, terminal=True, max_horizon=9))
    pi, horizon = data.draw(policies(mdp)), 9 if isinstance(mdp, TabularMDP) else mdp.horizon
    kept = rollouts(mdp, pi, runs=4, horizon=horizon, seed=seed)
    returns = monte_carlo_returns(mdp, pi, runs=4, horizon=horizon, seed=seed).values
    discount = mdp.gamma if isinstance(mdp, TabularMDP) else 1.0
    P = np.array([[mdp.row(s, a) for a in range(mdp.n_actions)] for s in range(mdp.n_states)])
    np.testing.assert_allclose(kept.rewards @ discount ** np.arange(horizon), returns, rtol=0, atol=1e-12)
    for s, a, r, n in zip(*kept, strict=True):
        t = np.arange(n)
        assert mdp.initial[s[0]] > 0
        assert (pi[s[t], a[t]] > 0).all()
        assert (P[s[t], a[t], s[t + 1]] > 0).all()
        assert (r[t] == mdp.r[s[t], a[t]]).all()
        assert not mdp.terminal[s[t]].any()
        assert n == horizon or mdp.terminal[s[n]]
        assert (s[n:] == s[n]).all()
        assert (a[n:] == -1).all()
        assert (r[n:] == 0).all()


@given(st.data(), seeds())
def test_runs_depend_neither_on_their_number_nor_on_threads_nor_on_storage(data, seed):
    mdp = data.draw(tabular_mdps(sparse=False, terminal=True))
    pi = data.draw(policies(mdp))
    twin = TabularMDP(
        csr_array(mdp.P.reshape(-1, mdp.n_states)), mdp.r, mdp.gamma, terminal=mdp.terminal, initial=mdp.initial
    )
    many = rollouts(mdp, pi, runs=500, horizon=20, seed=seed, threads=1)
    for again in (
        rollouts(mdp, pi, runs=500, horizon=20, seed=seed, threads=4),
        rollouts(twin, pi, runs=5, horizon=20, seed=seed),
    ):
        for one, other in zip(many, again, strict=True):
            assert one[: len(other)].tobytes() == other.tobytes()


def test_stationary_policies_mean_the_same_in_every_form():
    """A policy for each step that is the same at each, and a deterministic one as a distribution in law."""
    mdp = combination_lock(6, 3, slip=0.2, reset=True)
    pi = np.random.default_rng(0).dirichlet(np.ones(3), size=7) * mdp.actions
    pi /= pi.sum(axis=1, keepdims=True)
    one = rollouts(mdp, pi, runs=50, seed=1)
    other = rollouts(mdp, np.tile(pi, (6, 1, 1)), runs=50, seed=1)
    assert one.states.tolist() == other.states.tolist()
    greedy = pi.argmax(axis=1)
    one = rollouts(mdp, greedy, runs=50, seed=1)
    other = rollouts(mdp, np.tile(greedy, (6, 1)), runs=50, seed=1)
    assert one.states.tolist() == other.states.tolist()


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("stochastic", [False, True])
def test_discounted_returns_against_the_value(sparse, stochastic):
    rng = np.random.default_rng(5)
    mdp = garnet(30, 3, 4, 0.9, rng, sparse=sparse)
    pi = rng.dirichlet(np.ones(3), size=30) if stochastic else rng.integers(3, size=30)
    value = policy_value(mdp, pi)
    for start in (None, 7):
        returns = monte_carlo_returns(mdp, pi, runs=50_000, horizon=120, seed=11, start=start)
        truth = value.v.mean() if start is None else value.v[start]
        bound = returns.truncation + value.error + hoeffding(2 * mdp.value_bound, 50_000)
        assert abs(returns.values.mean() - truth) <= bound
        spread = norm.isf(LEVEL / 2) * returns.values.std() / np.sqrt(50_000)
        assert abs(returns.values.mean() - truth) <= returns.truncation + value.error + spread


def test_episodic_returns_and_visits_under_a_policy_that_changes():
    mdp = EpisodicMDP(np.random.default_rng(0).dirichlet(np.ones(4), size=(4, 2)), np.arange(8).reshape(4, 2) / 7, 5)
    pi, runs = np.random.default_rng(1).dirichlet(np.ones(2), size=(5, 4)), 100_000
    kept = rollouts(mdp, pi, runs=runs, seed=3)
    returns = monte_carlo_returns(mdp, pi, runs=runs, seed=3)
    truth = mdp.initial @ episodic_policy_value(mdp, pi).v[0]
    assert returns.truncation == 0
    assert abs(returns.values.mean() - truth) <= hoeffding(5, runs)
    visits = episodic_occupancy(mdp, pi)
    for h in range(5):
        seen = np.bincount(kept.states[:, h] * 2 + kept.actions[:, h], minlength=8)
        assert chisquare(seen, runs * visits[h].reshape(-1)).pvalue > LEVEL


def test_average_rewards_against_the_gain():
    mdp = average_river_swim(5)
    ahead = np.ones(5, np.int64)
    returns = monte_carlo_returns(mdp, ahead, runs=20_000, horizon=1_000, seed=0)
    solution = gain_and_bias(mdp, ahead)
    # E[total] = T gain + bias(start) - E[bias(end)] (Puterman 2005, Section 8.2.1)
    slack = np.ptp(solution.bias) / 1_000 + norm.isf(LEVEL / 2) * returns.values.std() / np.sqrt(20_000) / 1_000
    assert abs(returns.values.mean() / 1_000 - solution.gain) <= slack


@pytest.mark.parametrize("n", [3, 40])
def test_transition_frequencies(n):
    """Chi-square for each pair over two million steps; also of successive pairs, which a stream's flaws would tie."""
    mdp = TabularMDP(np.random.default_rng(n).dirichlet(np.ones(n), size=(n, 2)), np.zeros((n, 2)), 0.9)
    kept = rollouts(mdp, np.full((n, 2), 0.5), runs=2_000, horizon=1_000, seed=9)
    before, act, after = kept.states[:, :-1].reshape(-1), kept.actions.reshape(-1), kept.states[:, 1:].reshape(-1)
    for s in range(n):
        assert chisquare(np.bincount(act[before == s])).pvalue > LEVEL
        for a in range(2):
            seen = np.bincount(after[(before == s) & (act == a)], minlength=n)
            assert chisquare(seen, mdp.P[s, a] / mdp.P[s, a].sum() * seen.sum()).pvalue > LEVEL


def test_streams_of_neighbouring_runs_are_independent():
    """A fair die thrown by runs i and i + 1 at the same time: all 36 pairs are as likely."""
    die = TabularMDP(np.full((6, 1, 6), 1 / 6), np.zeros((6, 1)), 0.9)
    states = rollouts(die, np.zeros(6, np.int64), runs=20_001, horizon=50, seed=4).states
    pairs = (6 * states[:-1:2] + states[1::2]).reshape(-1)
    assert chisquare(np.bincount(pairs, minlength=36)).pvalue > LEVEL
    in_time = (6 * states[:, :-1] + states[:, 1:]).reshape(-1)
    assert chisquare(np.bincount(in_time, minlength=36)).pvalue > LEVEL


def test_runs_end_in_terminal_states():
    mdp = corridor(6, 0.5)
    kept = rollouts(mdp, [1, 1, 1, 1, 1, 0], runs=3, horizon=8, seed=0)
    assert kept.states.tolist() == [[0, 1, 2, 3, 4, 5, 5, 5, 5]] * 3
    assert kept.actions.tolist() == [[1, 1, 1, 1, 1, -1, -1, -1]] * 3
    assert kept.lengths.tolist() == [5, 5, 5]
    assert monte_carlo_returns(mdp, [1] * 5 + [0], runs=3, horizon=8, seed=0).values.tolist() == [0.5**4] * 3
    assert rollouts(mdp, [1] * 5 + [0], runs=1, horizon=8, seed=0, start=5).lengths.tolist() == [0]


def test_the_truncation_bound_is_attained():
    """One state that pays 1: what lies beyond the horizon is gamma^H / (1 - gamma)."""
    mdp = TabularMDP([[[1.0]]], [[1.0]], 0.75)
    for horizon in (1, 2, 10):
        returns = monte_carlo_returns(mdp, [0], runs=1, horizon=horizon, seed=0)
        missing = 4 - returns.values[0]
        assert missing <= returns.truncation <= missing + 1e-12


def test_kernel_says_the_same_in_the_interpreter():
    mdp = garnet(6, 2, 3, 0.9, np.random.default_rng(0))
    pi = np.full((6, 2), 0.5)
    game, key = _prepare(mdp, pi, 12, None), np.random.SeedSequence(8).generate_state(2, np.uint64)
    kept = Rollouts(np.empty((3, 13), np.int64), np.full((3, 12), -1), np.zeros((3, 12)), np.empty(3, np.int64))
    values = np.empty(3)
    with np.errstate(over="ignore"):  # words wrap around
        interpreted(_play)(0, 3, key, game, values, kept)
    compiled = rollouts(mdp, pi, runs=3, horizon=12, seed=8)
    assert kept.states.tolist() == compiled.states.tolist()
    assert kept.actions.tolist() == compiled.actions.tolist()


@given(st.data(), seeds())
def test_counts_conserve_the_population_and_move_where_they_can(data, seed):
    mdp = data.draw(tabular_mdps(masked=True, terminal=True))
    pi = data.draw(policies(mdp))
    counts = data.draw(arrays(np.int64, mdp.n_states, elements=st.sampled_from([0, 1, 1000, 10**12])))
    out = propagate_counts(mdp, pi, counts, 5, seed)
    assert out.dtype == np.int64
    assert (out[0] == counts).all()
    assert (out >= 0).all()
    assert (out.sum(axis=1) == counts.sum()).all()
    P_pi = mdp.under(pi)[0]
    reach = (P_pi.toarray() if mdp.is_sparse else P_pi) > 0
    for before, after in pairwise(out):
        assert not after[~reach[before > 0].any(axis=0)].any()


@pytest.mark.parametrize("sparse", [False, True])
def test_counts_have_the_law_of_the_occupancy(sparse):
    """Each count is binomial; at a billion people, a share of 1e-9 of them would show."""
    mdp = garnet(12, 2, 5, 0.9, np.random.default_rng(2), sparse=sparse)
    episodic = EpisodicMDP(mdp.P, mdp.r, 6)
    pi = np.random.default_rng(3).dirichlet(np.ones(2), size=(6, 12))
    counts = np.zeros(12, np.int64)
    counts[0] = 10**9
    out = propagate_counts(episodic, pi, counts, 5, 17)
    law = episodic_occupancy(episodic, pi, np.eye(12)[0]).sum(axis=2)
    for h in range(1, 6):
        for s in range(12):
            assert binomtest(int(out[h, s]), 10**9, min(law[h, s], 1.0)).pvalue > LEVEL


def test_counts_of_one_step_are_multinomial():
    """2,000 seeds, 30 people, three successors: the number in each is binomial."""
    p = np.array([0.5, 0.3, 0.2])
    mdp = TabularMDP(np.tile(p, (3, 1, 1)).reshape(3, 1, 3), np.zeros((3, 1)), 0.5)
    out = np.array([propagate_counts(mdp, [0, 0, 0], [30, 0, 0], 1, seed)[1] for seed in range(2_000)])
    for t in range(3):
        expected = 2_000 * binom.pmf(np.arange(31), 30, p[t])
        common = expected >= 5
        seen = np.bincount(out[:, t], minlength=31)
        assert (
            chisquare(
                np.append(seen[common], seen[~common].sum()), np.append(expected[common], expected[~common].sum())
            ).pvalue
            > LEVEL
        )
    covariance = np.cov(out.T)
    assert abs(covariance - 30 * (np.diag(p) - np.outer(p, p))).max() <= 1.5  # some five standard errors


def test_single_people_move_as_runs_do_in_law():
    mdp, runs = chain(4, 0.9), 50_000
    counts = propagate_counts(mdp, [0, 0, 1, 0], [runs, 0, 0, 0], 8, 5)
    states = rollouts(mdp, [0, 0, 1, 0], runs=runs, horizon=8, seed=5, start=0).states
    for t in range(1, 9):
        seen = np.bincount(states[:, t], minlength=4)
        width = 2 * hoeffding(1, runs)
        assert abs(seen - counts[t]).max() <= width * runs


ONE = TabularMDP([[[1.0], [1.0]]], [[1.0, 0.1]], 0.5)
STEPS = EpisodicMDP([[[1.0]]], [[1.0]], 3)
AVERAGE = AverageMDP([[[1.0]]], [[1.0]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: rollouts(ONE, [0], runs=1, seed=0), ValueError, r"horizon must be given for TabularMDP"),
        (lambda: monte_carlo_returns(AVERAGE, [0], runs=1, seed=0), ValueError, r"horizon must be given for AverageM"),
        (lambda: rollouts(STEPS, [0], runs=1, horizon=4, seed=0), ValueError, r"horizon must be at most .* 3 .* got 4"),
        (lambda: rollouts(ONE, [0], runs=0, horizon=4, seed=0), ValueError, r"runs must be at least 1, got 0"),
        (lambda: rollouts(ONE, [0], runs=1, horizon=0, seed=0), ValueError, r"horizon must be at least 1, got 0"),
        (lambda: rollouts(ONE, [0], runs=1, horizon=4, seed=-1), ValueError, r"seed must be at least 0, got -1"),
        (lambda: rollouts(ONE, [2], runs=1, horizon=4, seed=0), ValueError, r"pi\[0\] is 2"),
        (lambda: rollouts(ONE, [0], runs=1, horizon=4, seed=0, start=1), ValueError, r"start must be in 0..0, got 1"),
        (lambda: rollouts(ONE, [0], runs=1, horizon=4, seed=0, start=[0.5]), ValueError, r"start sums to 0.5"),
        (lambda: rollouts(ONE, [0], runs=1, horizon=4, seed=0, start=[0, 1]), ValueError, r"start must have shape"),
        (lambda: rollouts(ONE, [0], runs=1, horizon=4, seed=0, threads=0), ValueError, r"threads must be at least 1"),
        (lambda: rollouts(7, [0], runs=1, horizon=4, seed=0), TypeError, r"mdp must be a TabularMDP, .* got int"),
        (lambda: propagate_counts(ONE, [0], [-1], 1, 0), ValueError, r"counts\[0\] is -1, which is no whole number"),
        (lambda: propagate_counts(ONE, [0], [0.5], 1, 0), ValueError, r"counts\[0\] is 0.5, which is no whole number"),
        (lambda: propagate_counts(ONE, [0], [2.0**53], 1, 0), ValueError, r"counts sum to 9.0072e\+15; beyond 2\*\*53"),
        (lambda: propagate_counts(ONE, [0], [1, 1], 1, 0), ValueError, r"counts must have shape \(S,\) = \(1,\)"),
        (lambda: propagate_counts(ONE, [0], [1], -1, 0), ValueError, r"steps must be at least 0, got -1"),
        (lambda: propagate_counts(STEPS, [0], [1], 4, 0), ValueError, r"steps must be at most the horizon 3"),
    ],
)
def test_bad_calls_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
