"""LOOP: choices, losses and audits against brute force, planning against value iteration, bounds against sums."""

from itertools import product
from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimlab.mdps import AverageMDP, jao, relative_value_iteration
from claimlab.mdps.agec import (
    class_sequence,
    dominance,
    linear_adversary,
    linear_sequence,
    tabular_adversary,
    tabular_sequence,
    transferability,
)
from claimlab.mdps.average import gain_and_bias
from claimlab.mdps.average_learning import learn_average, world
from claimlab.mdps.hypotheses import Hypotheses, Models, bellman_targets, closure, models
from claimlab.mdps.loop import MLELOOP, ModelLOOP, ValueLOOP, published_width
from claimlab.mdps.loop_audit import Watched, watch
from claimlab.mdps.loop_linear import LinearLOOP, MixtureLOOP, hard_linear_mixture, mixture_models
from claimlab.mdps.loop_tabular import (
    TabularLOOP,
    coverage_width,
    ellipsoidal_plan,
    rectangular_gain,
    relative_bias,
    stationary,
)
from claimlab.theory.loop import (
    class_dominance,
    class_transfer,
    dominance_coefficient,
    likelihood_regret,
    likelihood_width,
    linear_potential,
    linear_regret,
    linear_transfer,
    linear_width,
    model_regret,
    model_width,
    tabular_potential,
    tabular_transfer,
    value_regret,
    value_width,
)
from claimlab.theory.strategies import average_mdps, seeds

CLASS = models([jao(3, 0.2, e, best=b) for e, b in product((0.1, 0.2), range(3))])
LIMIT = {"horizon": 150, "runs": 1, "compiled": False, "keep_states": True}


def recorded(learner, there, seed):
    """The run's transitions (s, a, s') and the hypotheses in use, seen from outside, and the final state."""
    seen = []
    kind = type(learner)
    decide, absorb = kind.decide, kind.absorb

    class Spy(kind):
        def decide(self, state, t, s, rng):
            return decide(self, state, t, s, rng)

        def absorb(self, state, t, s, a, successor):
            seen.append((s, a, successor, int(state.chosen.used[0])))
            absorb(self, state, t, s, a, successor)

    spy = object.__new__(Spy)
    spy.__dict__.update(learner.__dict__)
    record = learn_average(spy, there, seed=seed, **LIMIT)
    return np.array(seen), record.states[0]


@given(seed=seeds(), beta=st.sampled_from([0.3, 1.0, 3.0]), trigger=st.sampled_from([0.0, 1.5, 4.0]))
@settings(max_examples=15)
def test_model_loop_follows_algorithm_1(seed, beta, trigger):
    """Losses by the definition from the whole history; every choice is the argmax over the confidence set."""
    seen, state = recorded(ModelLOOP(CLASS, beta, trigger), CLASS.mdp(0), seed)
    optimal, loss, excess, previous = CLASS.optimal, np.zeros(CLASS.size), np.inf, -1
    for s, a, successor, f in seen:
        if excess >= trigger * beta + 1e-9:  # on the boundaries rounding decides
            assert loss[f] - loss.min() <= beta + 1e-9
            assert optimal.gain[f] >= optimal.gain[loss - loss.min() <= beta - 1e-9].max()
        if excess < trigger * beta - 1e-9:
            assert f == previous
        assert a == optimal.q[f, s].argmax()
        v = optimal.v[f]
        loss += (CLASS.P[:, s, a] @ v - v[successor]) ** 2
        excess = loss[f] - loss.min()
        previous = f
    np.testing.assert_allclose(state.loss, loss, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(state.chosen.excess[0], excess, rtol=1e-9, atol=1e-12)


@given(seed=seeds())
@settings(max_examples=10)
def test_mle_loop_keeps_log_likelihoods(seed):
    seen, state = recorded(MLELOOP(CLASS, 1.0), CLASS.mdp(0), seed)
    s, a, successor, _ = seen.T
    np.testing.assert_allclose(state.loss, -np.log(CLASS.P[:, s, a, successor]).sum(axis=1), rtol=1e-12)


@given(seed=seeds())
@settings(max_examples=10)
def test_value_loop_keeps_all_losses(seed):
    G = closure(CLASS.optimal, CLASS.mdp(0))
    seen, state = recorded(ValueLOOP(CLASS.optimal, G, 2.0), CLASS.mdp(0), seed)
    s, a, successor, _ = seen.T
    H = CLASS.optimal
    target = CLASS.r[s, a] + H.v[:, successor] - H.gain[:, None]
    np.testing.assert_allclose(state.own, ((H.q[:, s, a] - target) ** 2).sum(axis=1), rtol=1e-11)
    np.testing.assert_allclose(state.others, ((G[None][..., s, a] - target[:, None]) ** 2).sum(axis=2), rtol=1e-11)


@given(seed=seeds(), ridge=st.sampled_from([0.5, 2.0]))
@settings(max_examples=10)
def test_linear_and_mixture_excess_is_that_of_ridge_regression(seed, ridge):
    """The least squares solution by numpy, with the ridge as extra rows."""
    theta, basis, r = hard_linear_mixture(3, 0.3, 0.2)
    found = mixture_models(theta, basis, r)
    features = np.random.default_rng(0).normal(size=(2, 4, 8))
    value_based = LinearLOOP(found.optimal, features, 1.0, ridge)
    for learner in (value_based, MixtureLOOP(theta, basis, r, 1.0, ridge)):
        seen, state = recorded(learner, found.mdp(1), seed)
        f = seen[-1, 3]
        if learner is value_based:
            s, a, successor, _ = seen.T
            x, w = features[s, a], value_based.weights[f]
            y = r[s, a] + found.optimal.v[f, successor] - found.optimal.gain[f]
        else:
            v = found.optimal.v[seen[:, 3]]
            x = np.array([basis[s, a].T @ v[t] for t, (s, a, _, _) in enumerate(seen)])
            y, w = v[np.arange(len(seen)), seen[:, 2]], theta[f]
        rows = np.r_[x, sqrt(ridge) * np.eye(x.shape[1])]
        best = np.linalg.lstsq(rows, np.r_[y, np.zeros(x.shape[1])], rcond=None)[0]
        np.testing.assert_allclose(state.chosen.excess[0], ((rows @ (w - best)) ** 2).sum(), rtol=1e-6, atol=1e-9)


@given(seed=seeds(), scale=st.sampled_from([0.3, 3.0]))
@settings(max_examples=10)
def test_who_watches_sees_what_happened(seed, scale):
    seen, _ = recorded(ModelLOOP(CLASS, scale), CLASS.mdp(0), seed)
    record = learn_average(Watched(ModelLOOP(CLASS, scale), CLASS), CLASS.mdp(0), seed=seed, **LIMIT)
    a, optimal = watch(record.states), CLASS.optimal
    s, act, successor, f = seen.T
    v, P = optimal.v[f], CLASS.P
    at = np.arange(len(seen))
    errors = np.einsum("gti,ti->tg", P[:, s, act] - P[0, s, act], v)
    squares = np.cumsum(errors**2, axis=0)
    before = np.vstack([np.zeros(CLASS.size), squares[:-1]])
    chosen = np.r_[True, f[1:] != f[:-1]]
    true = np.einsum("ti,ti->t", P[0, s, act], v)
    loss = np.cumsum((np.einsum("gti,ti->tg", P[:, s, act], v) - v[at, successor][:, None]) ** 2, axis=0)
    for name, value in {
        "excess": (loss[:, 0] - loss.min(axis=1)).max(),
        "planned": before[at, f][chosen].max(),
        "played": before[at, f].max(),
        "optimism": (optimal.gain[f] - optimal.gain[0])[chosen].min(),
        "claimed": (optimal.gain[f] - CLASS.r[s, act]).sum(),
        "bellman": errors[at, f].sum(),
        "martingale": (true - v[at, successor]).sum(),
        "telescoping": (v[at, successor] - v[at, s]).sum(),
        "squared": (errors[at, f] ** 2).sum(),
        "distinct": chosen.sum(),
    }.items():
        np.testing.assert_allclose(getattr(a, name)[0], value, rtol=1e-9, atol=1e-9, err_msg=name)


@given(seed=seeds(), truth=st.integers(0, 5))
@settings(max_examples=10)
def test_excess_is_the_loss_above_the_least(seed, truth):
    """Of any hypothesis, for likelihoods and values, from the history."""
    G = closure(CLASS.optimal, CLASS.mdp(0))
    seen, state = recorded(learner := MLELOOP(CLASS, 1.0), CLASS.mdp(0), seed)
    s, a, successor, _ = seen.T
    logs = np.log(CLASS.P[:, s, a, successor]).sum(axis=1)
    np.testing.assert_allclose(learner.excess(state, truth), logs.max() - logs[truth], atol=1e-9)
    seen, state = recorded(learner := ValueLOOP(CLASS.optimal, G, 2.0), CLASS.mdp(0), seed)
    s, a, successor, _ = seen.T
    H = CLASS.optimal
    target = CLASS.r[s, a] + H.v[truth, successor] - H.gain[truth]
    own, others = ((H.q[truth, s, a] - target) ** 2).sum(), ((G[:, s, a] - target) ** 2).sum(axis=1).min()
    np.testing.assert_allclose(learner.excess(state, truth), own - others, atol=1e-9)


def test_the_tabular_width_by_hand():
    """One pair, no data, lambda = 1: sp (sqrt(log(1/delta)/2) + 1)."""
    assert coverage_width(np.zeros((1, 1)), 2.0, 0.1, 1.0) == pytest.approx((2 * sqrt(log(10) / 2) + 2) ** 2)


# hypotheses -----------------------------------------------------------------------------------------------------------


def test_jao_in_closed_form():
    """Jaksch, Ortner & Auer (2010), Section 6: gain (delta+epsilon)/(2 delta+epsilon), span 1/(2 delta+epsilon)."""
    optimal = CLASS.optimal
    epsilon = np.repeat([0.1, 0.2], 3)
    np.testing.assert_allclose(optimal.gain, (0.2 + epsilon) / (0.4 + epsilon), rtol=1e-12)
    np.testing.assert_allclose(np.ptp(optimal.v, axis=1), 1 / (0.4 + epsilon), rtol=1e-12)
    np.testing.assert_array_equal(optimal.policy[:, 0], [0, 1, 2, 0, 1, 2])
    np.testing.assert_allclose(CLASS.separation(0)[1], 0.1 / 0.5, rtol=1e-12)


@given(average_mdps(max_states=3, max_actions=2, sparse=False))
@settings(max_examples=30)
def test_hypotheses_solve_their_bellman_equations(mdp):
    found = models([mdp])
    H = found.optimal
    np.testing.assert_allclose(bellman_targets(mdp.P, mdp.r, H), H.q, atol=1e-9)
    np.testing.assert_allclose(H.v.max(axis=1), -H.v.min(axis=1), atol=1e-9)


def test_linear_mixtures_are_jao_with_signs():
    theta, basis, r = hard_linear_mixture(4, 0.2, 0.1)
    found = mixture_models(theta, basis, r)
    assert found.size == 8
    np.testing.assert_allclose(found.P.sum(axis=3), 1)
    np.testing.assert_allclose(found.optimal.gain, 0.3 / 0.5)  # the right signs add the whole gap
    np.testing.assert_array_equal(found.optimal.policy[:, 0], np.arange(8))


# planning -------------------------------------------------------------------------------------------------------------


@given(average_mdps(max_states=4, max_actions=2, sparse=False), seeds())
@settings(max_examples=40)
def test_the_ellipsoidal_plan(mdp, seed):
    """Enumeration with laws from a linear system; the errors attain the gain; the rectangle is wider."""
    rng = np.random.default_rng(seed)
    S, A = mdp.r.shape
    weight, beta = rng.uniform(0.5, 20, size=(S, A)), rng.uniform(0, 10)
    values = []
    for pi in product(range(A), repeat=S):
        law = gain_and_bias(mdp, np.array(pi)).stationary
        at = np.arange(S), np.array(pi)
        values.append(law @ mdp.r[at] + sqrt(beta * (law**2 / weight[at]).sum()))
    plan = ellipsoidal_plan(mdp, weight, beta)
    assert plan.gain == pytest.approx(max(values), abs=1e-9)
    assert (weight * plan.errors**2).sum() == pytest.approx(beta, abs=1e-9)
    perturbed = AverageMDP(mdp.P, mdp.r + plan.errors)
    assert relative_value_iteration(perturbed).gain == pytest.approx(plan.gain, abs=1e-8)
    gain, error = rectangular_gain(mdp, weight, beta)
    assert gain >= plan.gain - error - 1e-9


@given(average_mdps(max_states=4, max_actions=1, sparse=False))
@settings(max_examples=40)
def test_elimination(mdp):
    S, pi = mdp.n_states, np.zeros(mdp.n_states, dtype=np.int64)
    found, law, h = gain_and_bias(mdp, pi), np.zeros(S), np.zeros(S)
    assert stationary(mdp.P, pi, np.zeros((S, S)), law)
    np.testing.assert_allclose(law, found.stationary, atol=1e-12)
    relative_bias(mdp.P, mdp.r, pi, found.gain, np.zeros((S, S)), h)
    np.testing.assert_allclose(h, found.bias - found.bias[0], atol=1e-9)


def test_the_tabular_width_covers():
    """The ellipsoid around the regularised mean holds the truth in 300 runs of a uniformly playing chain."""
    rng, S, A = np.random.default_rng(1), 3, 2
    P = rng.dirichlet(np.ones(S), size=(S, A))
    mdp = AverageMDP(P, rng.random((S, A)))
    there = world(mdp)
    v = gain_and_bias(mdp, relative_value_iteration(mdp).policy).bias
    visits = rng.integers(0, 60, size=(300, S, A))
    for N in visits:
        moves = np.array([[rng.multinomial(N[s, a], P[s, a]) for a in range(A)] for s in range(S)])
        mean = (moves + 1 / S) / (N + 1)[..., None]
        assert ((N + 1) * ((P - mean) @ v) ** 2).sum() <= coverage_width(N.astype(float), there.span, 0.01, 1.0)


# bounds ---------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60))
def test_the_potential_bounds_the_sum_of_inverse_visits(pairs):
    visits, total = np.zeros(5), 0.0
    for k in pairs:
        total += 1 / visits[k] if visits[k] else 0.0
        visits[k] += 1
    assert total <= tabular_potential(5, len(pairs)) + 1e-12


@given(st.integers(1, 5), st.integers(1, 200), st.sampled_from([0.1, 1.0, 10.0]))
@settings(max_examples=40)
def test_adversaries_keep_to_the_rules_and_the_bounds(dim, horizon, beta):
    tabular = tabular_sequence(*tabular_adversary(dim, horizon, beta, 1.0))
    linear = linear_sequence(*linear_adversary(dim, horizon, beta, 1.0))
    for sequence, bound in ((tabular, tabular_transfer), (linear, linear_transfer)):
        assert sequence.in_sample.max() <= beta * (1 + 1e-9)
        assert abs(sequence.errors).max() <= 1
        assert (sequence.errors**2).sum() <= bound(dim, horizon, beta, 1.0) * (1 + 1e-9)
    np.testing.assert_allclose(np.sort(tabular.errors), np.sort(linear.errors), atol=1e-9)  # they cycle through axes


@given(st.integers(1, 6), st.integers(1, 4), seeds())
def test_sequences_by_their_definition(T, K, seed):
    rng = np.random.default_rng(seed)
    E, pairs, w, x = rng.normal(size=(T, K)), rng.integers(K, size=T), rng.normal(size=(T, K)), rng.normal(size=(T, K))
    tabular, linear = tabular_sequence(E, pairs), linear_sequence(w, x)
    for t in range(T):
        assert tabular.in_sample[t] == pytest.approx(sum(E[t, pairs[i]] ** 2 for i in range(t)))
        assert linear.in_sample[t] == pytest.approx(sum((w[t] @ x[i]) ** 2 for i in range(t)))
    np.testing.assert_allclose(tabular.errors, [E[t, pairs[t]] for t in range(T)])
    scale = float(abs(tabular.errors).max())
    d, kappa = dominance(tabular, scale), transferability(tabular, scale)
    total, inside, beta = tabular.errors.sum(), tabular.in_sample.sum(), tabular.in_sample.max()
    assert sqrt(d * inside) + scale * min(d, T) >= total - 1e-9
    assert kappa * beta * (1 + log(T)) + scale**2 * min(kappa, T) >= (tabular.errors**2).sum() - 1e-9
    if d > 1e-9:
        smaller = 0.99 * d
        assert sqrt(smaller * inside) + scale * min(smaller, T) < total
    assert dominance(tabular, scale) <= K * (1 + log(T)) + 1e-9  # the theorem's coefficient


@pytest.mark.parametrize(("m", "T"), [(1, 9), (2, 4)])
def test_the_reduction_of_a_finite_class_by_enumeration(m, T):
    """All errors in {0, 1/2, 1}, and every sequence of hypotheses: each step of the proof, and what it proves.

    The proof of `class_dominance`: rounds of one hypothesis are a problem in one dimension.
    """
    grid = np.array([0.0, 0.5, 1.0])
    tables = grid[np.array(list(product(range(3), repeat=T * m)))].reshape(-1, T, m)
    squares, potential = tables**2, linear_potential(m, T)
    for used in product(range(m), repeat=T):
        e, at = tables[:, range(T), used], np.arange(T)
        in_sample = (squares.cumsum(axis=1) - squares)[:, at, used]
        small = np.zeros(len(tables))
        for f in set(used):
            own = [t for t in range(T) if used[t] == f]
            past = (e[:, own] ** 2).cumsum(axis=1) - e[:, own] ** 2
            assert (in_sample[:, own] >= past).all()
            small += np.minimum(1, e[:, own] ** 2 / (past + 1 / T)).sum(axis=1)
        assert small.max() <= potential
        bound = np.array([class_dominance(m + 1, T, x, 1.0) for x in np.unique(in_sample.sum(axis=1))])
        bound = bound[np.unique(in_sample.sum(axis=1), return_inverse=True)[1]]
        assert (e.sum(axis=1) <= bound).all()


def test_the_bound_of_a_finite_class_says_something():
    """On the worst sequence it is below the trivial bound, and a constant factor above what happens."""
    sequence = class_sequence(*tabular_adversary(3, 10_000, 0.5, 1.0))
    bound = class_dominance(4, 10_000, float(sequence.in_sample.sum()), 1.0)
    assert sequence.errors.sum() <= bound <= 10_000
    assert bound <= 10 * sequence.errors.sum()


@given(st.integers(1, 30), st.integers(1, 3), seeds())
def test_classes_by_their_definition(T, m, seed):
    rng = np.random.default_rng(seed)
    errors, used = rng.uniform(-1, 1, size=(T, m)), rng.integers(m, size=T)
    sequence = class_sequence(errors, used)
    for t in range(T):
        assert sequence.in_sample[t] == pytest.approx(sum(errors[i, used[t]] ** 2 for i in range(t)))
    np.testing.assert_allclose(sequence.errors, [errors[t, used[t]] for t in range(T)])
    if m <= T:
        assert dominance(sequence, 1.0) <= dominance_coefficient(linear_potential(m, T))
    largest = float(sequence.in_sample.max())
    assert (sequence.errors**2).sum() <= class_transfer(m + 1, largest, 1.0) + 1e-9


def test_widths_and_bounds_by_hand():
    assert model_width(2.0, 3, 94, 0.1) == pytest.approx(4 * log(1000))
    assert value_width(2.0, 3, 4, 76, 0.1) == pytest.approx(4 * log(1000))
    assert likelihood_width(5, 0.1) == pytest.approx(log(100))
    assert class_transfer(4, 10.0, 2.0) == 3 * 14
    assert published_width(3.0, 10, 2, 0.1, c=2.0, power=1) == pytest.approx(6 * log(400))
    flat = linear_width(2.0, 1, 1, 1, 0.5, weight=0.0, ridge=1.0)
    assert flat == pytest.approx(2 * log(2) + log(2))
    whole = model_regret(10_000, 2.0, 3, 0.1)
    beta = 4 * log((6 + 10_000) / 0.05)
    squared = 2 * (10 * beta + 4)
    assert whole.epochs == pytest.approx(1 + squared / beta)
    assert whole.total == pytest.approx(sqrt(1e4 * squared) + 2 * sqrt(1e4 * log(20) / 2) + 2 * (1 + squared / beta))
    assert (
        model_regret(10_000, 2.0, 10_000, 0.1, dim=2, weight=2.0).errors < model_regret(10_000, 2.0, 10_000, 0.1).errors
    )
    assert linear_potential(3, 9) == pytest.approx(3 * log(28) / log(2))
    assert class_dominance(1, 9, 5.0, 1.0) == 0.0  # the truth alone
    assert dominance_coefficient(9.0) == 12.0
    ridge = linear_regret(15, 2.0, 1, 4.0, 0.1, error=1.0, feature=2.0, ridge=4.0)
    assert ridge.epochs == pytest.approx(1 + 25 * 4 * 4 / 20)  # log2(1 + 15) = 4
    assert ridge.errors == pytest.approx(sqrt(15 * 400))
    assert value_regret(1000, 2.0, 3, 6, 4, 2.0, 0.1).total > 0
    one, two = (likelihood_regret(1000, 2.0, 3, 4, epochs, 0.1).total for epochs in (1, 2))
    assert two - one == pytest.approx(2.0)  # one more span


# bad calls ------------------------------------------------------------------------------------------------------------

Q = np.zeros((2, 2, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Hypotheses(np.zeros((2, 2)), np.zeros(2)), "q must have 3 axes"),
        (lambda: Hypotheses(Q, np.zeros(3)), r"gain must have shape \(M,\) = \(2,\)"),
        (lambda: Hypotheses(np.full((1, 1, 1), np.nan), [0.0]), "every entry must be finite"),
        (lambda: Models(np.ones((1, 1, 1, 1)), np.zeros((2, 1))), r"P must have shape \(M, S, A, S\)"),
        (lambda: Models(np.eye(2)[None, :, None, :], [[0.0], [1.0]]), "gain of model 0 depends on the state"),
        (lambda: models([]), "one MDP at least"),
        (lambda: models([jao(2, 0.2, 0.1), jao(3, 0.2, 0.1)]), r"mdps\[1\] has another reward"),
        (lambda: ModelLOOP(CLASS, 0.0), r"beta must lie in \(0, inf\)"),
        (lambda: ModelLOOP(CLASS, 1.0, trigger=-1.0), "trigger must lie in"),
        (lambda: ValueLOOP(CLASS.optimal, np.zeros((1, 2, 2)), 1.0), r"targets must have shape \(K, S, A\)"),
        (lambda: Watched(ModelLOOP(CLASS, 1.0), CLASS, truth=6), r"truth must be in 0\.\.5"),
        (lambda: LinearLOOP(CLASS.optimal, np.ones((2, 3, 1)), 1.0), r"q\[0\] is not linear in the features"),
        (lambda: hard_linear_mixture(1, 0.2, 0.1), "d must be at least 2"),
        (lambda: hard_linear_mixture(3, 0.2, 0.3), r"gap must lie in \(0, 0.2\]"),
        (lambda: mixture_models(np.ones((1, 2)), np.ones((1, 1, 1, 3)), np.ones((1, 1))), "theta must have shape"),
        (lambda: TabularLOOP(0.0), r"span must lie in \(0, inf\)"),
        (lambda: ellipsoidal_plan(jao(2, 0.2, 0.1), np.zeros((2, 2)), 1.0), r"weight\[0, 0\] is 0"),
        (lambda: ellipsoidal_plan(jao(400, 0.2, 0.1), np.ones((2, 400)), 1.0), r"400\*\*2 policies are too many"),
        (
            lambda: ellipsoidal_plan(AverageMDP(np.eye(2)[:, None, :], [[0.0], [1.0]]), np.ones((2, 1)), 1.0),
            "several recurrent classes",
        ),
        (lambda: published_width(1.0, 10, 2, 0.1, power=3), r"power must be in 1\.\.2"),
        (lambda: model_width(-1.0, 2, 10, 0.1), "span must lie in"),
        (lambda: likelihood_width(2, 1.0), "delta must lie in"),
        (lambda: tabular_sequence(np.zeros((2, 2)), [0, 2]), r"pairs must be int\[T\] in 0\.\.1"),
        (lambda: linear_sequence(np.zeros((2, 2)), np.zeros((2, 3))), "must have one shape"),
        (lambda: class_sequence(np.zeros((2, 2)), [0, 2]), r"used must be int\[T\] in 0\.\.1"),
        (
            lambda: Watched(ModelLOOP(CLASS, 1.0), CLASS, errors=np.zeros((2, 2, 3, 6))),
            r"errors must have shape \(1 or M, S, A, M\) with S, A, M = \(2, 3, 6\)",
        ),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises(ValueError, match=message):
        call()
