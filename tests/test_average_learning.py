"""Learners of average-reward MDPs: the loop, UCRL2, KL-UCRL, and those that plan in a discounted surrogate."""

from itertools import product

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from claimlab.mdps import AverageMDP, average_river_swim, jao
from claimlab.mdps.average import gain_and_bias
from claimlab.mdps.average_discounted import CLOSE, UCLKC, GammaLSCVI
from claimlab.mdps.average_learning import draw, learn_average, world
from claimlab.mdps.average_optimism import KLUCRL, UCRL2, ReverseKL, begin_epoch, counts, sort_downwards
from claimlab.mdps.balls import L1
from claimlab.mdps.hypotheses import closure, models
from claimlab.mdps.loop import MLELOOP, ModelLOOP, ValueLOOP
from claimlab.mdps.loop_audit import Watched
from claimlab.mdps.loop_linear import LinearLOOP, MixtureLOOP, hard_linear_mixture, mixture_models
from claimlab.mdps.loop_tabular import TabularLOOP
from claimlab.theory.strategies import average_mdps, seeds, simplices

THETA, BASIS, REWARD = hard_linear_mixture(3, 0.3, 0.2)
MIXTURE = mixture_models(THETA, BASIS, REWARD)
PAIRS = np.eye(REWARD.size).reshape(*REWARD.shape, -1)
SPAN = MIXTURE.optimal.span
LEARNERS = [
    ModelLOOP(MIXTURE, 2.0),
    ModelLOOP(MIXTURE, 2.0, trigger=0.0),
    MLELOOP(MIXTURE, 1.0),
    ValueLOOP(MIXTURE.optimal, closure(MIXTURE.optimal, MIXTURE.mdp(0)), 2.0),
    Watched(ModelLOOP(MIXTURE, 1.0), MIXTURE, truth=1),
    MixtureLOOP(THETA, BASIS, REWARD, 0.5),
    LinearLOOP(MIXTURE.optimal, PAIRS, 0.5),
    Watched(MixtureLOOP(THETA, BASIS, REWARD, 0.5), MIXTURE, errors=np.ones((4, 2, 4, 4))),
    Watched(MLELOOP(MIXTURE, 1.0), MIXTURE, errors=np.ones((1, 2, 4, 4))),
    TabularLOOP(SPAN, scale=0.1),
    UCRL2(),
    KLUCRL(),
    UCLKC(BASIS, SPAN),
    GammaLSCVI(PAIRS, SPAN, scale=0.1),
]


@pytest.mark.parametrize("learner", LEARNERS, ids=lambda learner: type(learner).__name__)
@given(seed=seeds(), truth=st.integers(0, 3))
@settings(max_examples=5)
def test_compiled_equals_interpreted(learner, seed, truth):
    found = [
        learn_average(learner, MIXTURE.mdp(truth), horizon=60, runs=1, seed=seed, compiled=compiled)
        for compiled in (True, False)
    ]
    for compiled, oracle in zip(*found):
        np.testing.assert_array_equal(compiled, oracle)


@pytest.mark.parametrize("learner", LEARNERS, ids=lambda learner: type(learner).__name__)
def test_runs_depend_on_the_seed_alone_and_on_it(learner):
    there = world(MIXTURE.mdp(2))
    few = learn_average(learner, there, horizon=200, runs=2, seed=7, threads=1)
    many = learn_average(learner, there, horizon=200, runs=5, seed=7, threads=2, checkpoints=3)
    other = learn_average(learner, there, horizon=200, runs=5, seed=8)
    np.testing.assert_array_equal(few.regret[:, -1], many.regret[:2, -1])
    assert (other.regret[:, -1] != many.regret[:, -1]).any()
    assert (np.diff(few.shortfall) >= 0).all()
    assert (few.switches[:, -1] >= 1).all()


@given(average_mdps(max_states=3, max_actions=2))
@settings(max_examples=50)
def test_a_world_knows_the_optimum_over_all_policies(mdp):
    """The gain by enumeration; the gaps are those of the Bellman equation: at least 0, and 0 somewhere."""
    found, S, A = world(mdp), mdp.n_states, mdp.n_actions
    best = max(gain_and_bias(mdp, np.array(pi)).gain for pi in product(range(A), repeat=S))
    assert abs(found.gain - best) < 1e-9
    np.testing.assert_allclose(found.gap.min(axis=1), 0, atol=1e-9)
    assert found.cumulative[..., -1].min() == found.first[-1] == 1


def test_regret_and_shortfall_differ_by_a_martingale():
    """sum(J* - r) - sum(gaps) has mean between -sp and sp; here over 4000 runs, four standard errors."""
    record = learn_average(UCRL2(), jao(2, 0.3, 0.2), horizon=30, runs=4000, seed=0)
    difference = (record.regret - record.shortfall)[:, -1]
    span = world(jao(2, 0.3, 0.2)).span
    assert abs(difference.mean()) <= span + 4 * difference.std() / np.sqrt(4000)


def test_the_uniform_numbers_are_numpys():
    there, rng = world(average_river_swim(4)), np.random.default_rng(3)
    drawn = [draw(there.cumulative[1, 1], rng) for _ in range(300)]
    rng = np.random.default_rng(3)
    assert drawn == [int(np.searchsorted(there.cumulative[1, 1], rng.random(), side="right")) for _ in range(300)]


# the inner problem and extended value iteration -----------------------------------------------------------------------


def inner(ball, p, v, radius):
    q = p.copy()
    error = ball.answer(p, v, np.argsort(-v), radius, q)
    return q, error


@given(simplices(4), st.lists(st.integers(-3, 3), min_size=4, max_size=4), st.sampled_from([1e-3, 0.1, 1.0, 5.0]))
@settings(max_examples=40)
def test_reverse_kl_is_the_convex_programs_minimum(p, values, radius):
    """Feasible, and within its own certificate of the minimum that a conic solver finds (to that solver's 1e-6)."""
    v = np.array(values, dtype=float)
    q, error = inner(ReverseKL(), p, v, radius)
    assert abs(q.sum() - 1) < 1e-9
    assert q.min() >= 0
    on = p > 0
    if q[on].min() > 0:
        assert (p[on] * np.log(p[on] / q[on])).sum() <= radius * (1 + 1e-6) + 1e-9
    x = cp.Variable(4, nonneg=True)
    kl = cp.sum(cp.rel_entr(p[on], x[on]))
    program = cp.Problem(cp.Minimize(v @ x), [cp.sum(x) == 1, kl <= radius])
    program.solve(solver=cp.CLARABEL)
    assert -2e-5 <= q @ v - program.value <= error + 2e-5
    assert error < 1e-6


def optimistic_gain(P, r, radius):
    """The largest gain over policies and transitions within L1 balls, by one linear program.

    An extended MDP whose actions are pairs (a, q): flows y(s, a, t) with |y(s, a, t) - y(s, a) P(t)| <= z.
    """
    S, A, _ = P.shape
    n = S * A * S
    y, z = np.arange(n).reshape(S, A, S), n + np.arange(n).reshape(S, A, S)
    rows, limits = [], []
    for s, a in np.ndindex(S, A):
        for t in range(S):
            for sign in (1, -1):
                row = np.zeros(2 * n)
                row[y[s, a, t]] += sign
                row[y[s, a]] -= sign * P[s, a, t]
                row[z[s, a, t]] = -1
                rows.append(row)
                limits.append(0.0)
        row = np.zeros(2 * n)
        row[z[s, a]] = 1
        row[y[s, a]] = -radius[s, a]
        rows.append(row)
        limits.append(0.0)
    flows = np.zeros((S + 1, 2 * n))
    for s in range(S):
        flows[s, y[s].ravel()] += 1
        flows[s, y[:, :, s].ravel()] -= 1
    flows[S, :n] = 1
    costs = np.zeros(2 * n)
    costs[:n] = -np.repeat(r.ravel(), S)
    return -linprog(costs, A_ub=rows, b_ub=limits, A_eq=flows, b_eq=np.r_[np.zeros(S), 1.0]).fun


@given(st.data())
@settings(max_examples=15)
def test_extended_value_iteration_finds_the_gain_of_the_linear_program(data):
    S, A = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2))
    rng = np.random.default_rng(data.draw(seeds()))
    state = counts(rng.random((S, A)))
    state.moves[:] = rng.integers(0, 4, size=(S, A, S))
    state.visits[:] = state.moves.sum(axis=2)
    radius = rng.uniform(0.05, 1.0, size=(S, A))
    begin_epoch(state, L1(0.0), radius, 1e-9)
    P = np.where(state.visits[..., None] > 0, state.moves / np.maximum(state.visits, 1)[..., None], 1 / S)
    ahead = np.full((S, A), -np.inf)
    for s, a in np.ndindex(S, A):
        q, _ = inner(L1(0.0), P[s, a], -state.u, radius[s, a])
        ahead[s, a] = state.r[s, a] + q @ state.u
    change = ahead.max(axis=1) - state.u
    assert change.max() - change.min() <= 1e-8
    np.testing.assert_array_equal(ahead[np.arange(S), state.policy], ahead.max(axis=1))
    assert abs(change.mean() - optimistic_gain(P, state.r, radius)) < 1e-6


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=8))
def test_sorting(values):
    x, order = np.array(values, dtype=float), np.arange(len(values))
    sort_downwards(x, order)
    assert sorted(order) == list(range(len(values)))
    np.testing.assert_array_equal(x[order], np.sort(x)[::-1])


def test_epochs_end_when_visits_double():
    """Jaksch, Ortner & Auer (2010), Figure 1: at most SA log2(8T/SA) epochs (their Proposition 18)."""
    record = learn_average(UCRL2(), average_river_swim(4), horizon=10_000, runs=5, seed=1)
    assert record.switches[:, -1].max() <= 8 * np.log2(8 * 10_000 / 8)


@pytest.mark.parametrize("learner", [UCRL2(), KLUCRL(), TabularLOOP(1 / 0.9, scale=0.3)], ids=str)
def test_what_is_learned_is_optimal(learner):
    """JAO with well separated arms: in the last half hardly anything is lost."""
    record = learn_average(learner, jao(2, 0.3, 0.3), horizon=40_000, runs=3, seed=0, checkpoints=1000)
    half = np.searchsorted(record.times, 20_000)
    assert (record.shortfall[:, -1] - record.shortfall[:, half]).max() < 0.02 * 20_000 * 0.3


@pytest.mark.parametrize(
    "learner", [UCLKC(BASIS, SPAN, scale=1e4), GammaLSCVI(PAIRS, SPAN, scale=1e4)], ids=["mixture", "linear"]
)
def test_without_data_plans_promise_everything(learner):
    """Bonuses beyond all values: the best state promises a reward of 1 for ever, up to what value iteration leaves."""
    record = learn_average(learner, MIXTURE.mdp(0), horizon=50, runs=1, seed=0, keep_states=True)
    (state,), gamma = record.states, learner.discount(record.states[0])
    T = 50
    expected = 1 - np.sqrt(np.log(T) / T) if isinstance(learner, GammaLSCVI) else 1 - np.sqrt(3 / (2 * SPAN * T))
    assert gamma == pytest.approx(expected)
    most = max(learner.optimistic(state, s) for s in range(2))
    assert 0 <= 1 / (1 - gamma) - most <= CLOSE / (1 - gamma)


# bad calls ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: learn_average(UCRL2(), jao(2, 0.3, 0.2), horizon=0, runs=1, seed=0), "horizon must be at least 1"),
        (lambda: learn_average(UCRL2(), jao(2, 0.3, 0.2), horizon=5, runs=0, seed=0), "runs must be at least 1"),
        (lambda: learn_average(3, jao(2, 0.3, 0.2), horizon=5, runs=1, seed=0), "takes an AverageLearner, got int"),
        (lambda: learn_average(UCRL2(), 3, horizon=5, runs=1, seed=0), "an AverageMDP or a World, got int"),
        (lambda: UCRL2(delta=1.0), r"delta must lie in \(0, 1\)"),
        (lambda: KLUCRL(delta=0.0), r"delta must lie in \(0, 1\)"),
        (lambda: UCLKC(BASIS, 0.0), r"span must lie in \(0, inf\)"),
        (lambda: UCLKC(BASIS[0], 1.0), "basis must have 4 axes"),
        (lambda: GammaLSCVI(PAIRS, 1.0, ridge=0.0), r"ridge must lie in \(0, inf\)"),
        (lambda: GammaLSCVI(PAIRS, float("nan")), "span must lie in"),
        (lambda: UCLKC(BASIS, 1.0, scale=0.0), r"scale must lie in \(0, inf\)"),
        (
            lambda: world(AverageMDP([[[1.0], [1.0]]], [[0.0, 0.0]], actions=[[True, False]])),
            "action 1 is missing in state 0",
        ),
        (
            lambda: learn_average(LEARNERS[0], models([jao(4, 0.3, 0.1)]).mdp(0), horizon=2, runs=1, seed=0),
            None,
        ),
        (
            lambda: learn_average(LEARNERS[0], jao(3, 0.3, 0.1), horizon=2, runs=1, seed=0),
            "another reward than that of the MDP",
        ),
    ],
)
def test_bad_calls(call, message):
    if message is None:
        call()  # same reward: a class may be played against any transitions
        return
    with pytest.raises((ValueError, TypeError), match=message):
        call()
