"""The exact claims on language-model papers: their witnesses by hand."""

from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from claimlab.experiments.papers import (
    a_lol,
    bnpo,
    campo,
    dialtree,
    dpo_implicit_reward,
    epo,
    nlpo,
    pav,
    pg_rank,
    ps_grpo,
    refuel,
    reward_ensembles,
    rover,
    spo,
    sppo,
    treepo,
)
from claimlab.theory.claims import SMOKE
from claimlab.theory.decision_trees import (
    action_values,
    greedy,
    optimal_value,
    softmax,
    uniform,
    value,
    visits,
    worst_value,
)
from claimlab.theory.evidence import Outcome

BUDGET = replace(SMOKE, seed=20_26)


# Decision trees


def trees(draw):
    """A ragged tree: leaves, masks with an action in every row, and a full-support policy over the existing actions."""
    shape = tuple(draw(st.integers(1, 3)) for _ in range(3))
    leaf = np.array(draw(st.lists(st.integers(0, 2), min_size=int(np.prod(shape)), max_size=int(np.prod(shape)))))
    exists, policy = [], []
    for d in range(1, 4):
        n = int(np.prod(shape[:d]))
        mask = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n))).reshape(shape[:d]).astype(float)
        mask[..., 0] = np.where(mask.sum(axis=-1) == 0, 1.0, mask[..., 0])
        weights = mask * np.array(draw(st.lists(st.integers(1, 5), min_size=n, max_size=n))).reshape(shape[:d])
        exists.append(mask)
        policy.append(weights / weights.sum(axis=-1, keepdims=True))
    return leaf.reshape(shape).astype(float), exists, policy


def answers(leaf, exists):
    """Every answer that exists."""
    for x in product(*map(range, leaf.shape)):
        if all(exists[d][x[: d + 1]] for d in range(3)):
            yield x


@given(st.data())
def test_values_and_visits_are_sums_over_answers(data):
    leaf, exists, policy = trees(data.draw)
    weight = {x: np.prod([policy[d][x[: d + 1]] for d in range(3)]) for x in answers(leaf, exists)}
    assert sum(weight.values()) == pytest.approx(1)
    assert value(leaf, policy) == pytest.approx(sum(w * leaf[x] for x, w in weight.items()))
    assert optimal_value(leaf, exists) == max(leaf[x] for x in weight)
    reached = visits(policy)
    for a, b in product(*map(range, leaf.shape[:2])):
        assert reached[1][a] == pytest.approx(sum(w for x, w in weight.items() if x[0] == a), abs=1e-12)
        assert reached[2][a, b] == pytest.approx(sum(w for x, w in weight.items() if x[:2] == (a, b)), abs=1e-12)


@given(st.data())
def test_greedy_play_is_the_worst_over_all_ways_to_break_ties(data):
    leaf, exists, policy = trees(data.draw)
    q = action_values(leaf, policy)
    allowed = greedy(q, exists)
    ends = [leaf[x] for x in answers(leaf, exists) if all(allowed[d][x[: d + 1]] for d in range(3))]
    assert worst_value(leaf, allowed) == min(ends)
    cold = softmax(q, exists, 1e-4)  # differences of values are 1/30 at least, so others have probability e^-300
    assert all((law[~mask] < 1e-9).all() for law, mask in zip(cold, allowed))


def test_trees_stack():
    leaf, exists = rover.sampler.didactic()
    twice = np.stack([leaf, 1 - leaf])
    masks = [np.stack([mask, mask]) for mask in exists]
    both = value(twice, uniform(masks))
    assert both == pytest.approx([1 / 16, 15 / 16])


# ROVER


def test_the_didactic_tree_has_the_values_that_the_paper_shows():
    """Q of 0.06, 0.25 and 1.00 (the paper's figure); at temperature one the sampler succeeds in 14 % of its answers."""
    leaf, exists = rover.sampler.didactic()
    q = action_values(leaf, uniform(exists))
    assert q[0] == pytest.approx(np.full(4, 1 / 16))
    assert sorted(set(q[1].ravel())) == [0, 0.25]
    assert rover.sampler.sampler_success(1.0) == pytest.approx(0.142479, abs=1e-6)
    assert rover.sampler.sampler_success(0.03) > 0.999


def test_three_rewards_by_hand():
    """Behind the first door (1 + 0)/2 < 0.6, so greedy takes the second and misses 1."""
    leaf, exists = np.array([[[1.0], [0.0]], [[0.6], [0.6]]]), [np.ones(2), np.ones((2, 2)), np.ones((2, 2, 1))]
    got = worst_value(leaf, greedy(action_values(leaf, uniform(exists)), exists))
    assert (got, optimal_value(leaf, exists)) == (0.6, 1.0)


@given(st.integers(0, 2**32 - 1), st.floats(0.2, 3))
def test_complex_steps_are_the_gradient(seed, rho):
    rng = np.random.default_rng(seed)
    x, y, r = rng.normal(size=2), rng.normal(size=(2, 3)), rng.random(3)
    s = rover.loss._Sampled(x, y, r, rng.random(3), rng.random(3))
    new_x, new_y = x + rng.normal(size=2) / 4, y + rng.normal(size=(2, 3)) / 4
    found, h = rover.loss._loss_gradient(s, new_x, new_y, rho), 1e-6
    _, _, bootstrap = s.ratios(new_x, new_y)

    def loss(theta):
        one, two, _ = s.ratios(theta[:2], theta[2:].reshape(2, 3))
        return (((rho * one - s.centred - rho * bootstrap) ** 2 + (rho * two - s.centred) ** 2) / 2).mean()

    flat = np.concatenate([new_x, new_y.ravel()])
    differences = [(loss(flat + h * e) - loss(flat - h * e)) / (2 * h) for e in np.eye(8)]
    np.testing.assert_allclose(found, differences, atol=1e-7)


def test_costs_by_hand():
    """Doors to one step that wins or loses, and to three that win, at 0.1 a step: 0.4 < 0.7, 0.9 is missed."""
    reward = np.array([[[0.9], [-0.1]], [[0.7], [0.7]]])
    exists = [np.ones(2), np.ones((2, 2)), np.ones((2, 2, 1))]
    got = worst_value(reward, greedy(action_values(reward, uniform(exists)), exists))
    assert (got, optimal_value(reward, exists)) == (0.7, 0.9)
    length, cost = np.array([[[1.0], [1.0]], [[3.0], [3.0]]]), np.array([0.1])
    won = np.array([[[1.0], [0.0]], [[1.0], [1.0]]])
    exists = np.ones((1, 2)), np.ones((1, 2, 2)), np.ones((1, 2, 2, 1))
    trials = rover.greedy._costs(*exists, won[None], length[None], cost, paid=True)
    assert (float(trials.value[0]), float(trials.bound[0])) == pytest.approx((0.9, 0.7))


def test_cycles_by_hand():
    """A node with an action that stays and one that wins: both are worth 1, or 0.82 and 1 with a discount."""
    to = np.array([[0.0, 0.4]])
    assert rover.greedy._cycles(to, gamma=1.0).value == 1
    assert rover.greedy._cycles(to, gamma=0.9).value == 0
    assert rover.greedy._cycles(np.array([[0.0, 0.99]]), gamma=1.0) is None  # nothing to be reached


def test_merging_prefixes_by_unrolling():
    """A graph's greedy value is that of the tree it unrolls to."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        to = [rng.integers(3, size=(3, 2)) for _ in range(2)]
        won = rng.integers(2, size=(3, 2)).astype(float)
        leaf = np.array([[won[to[1][to[0][0, a], b]] for b in range(2)] for a in range(2)])
        exists = [np.ones(leaf.shape[: d + 1]) for d in range(3)]
        unrolled = worst_value(leaf, greedy(action_values(leaf, uniform(exists)), exists))
        trials = rover.greedy._merged(
            *(x[None] / 3 + 0.1 for x in to), won[None], np.zeros(1), np.zeros(1), binary=True
        )
        assert float(trials.bound[0]) - 4 == pytest.approx(unrolled)


# SPO and BNPO


def test_group_means_by_hand():
    """Two answers, p = 1/2: r - mean is 0, 0, 1/2, -1/2, so the variance is 1/8 = (1 - 1/2)/4, not 3/8."""
    centred = [Fraction(r) - Fraction(r + s, 2) for r, s in product((0, 1), repeat=2)]
    assert sum(c * c for c in centred) / 4 == Fraction(1, 8)
    assert spo.groups._inflation_check(BUDGET.of("x"), baseline="own", factor="1+1/G").rule(0.05)[0] is Outcome.REFUTED


def test_the_tracker_by_hand():
    assert spo.tracker.tracker((1,), Fraction(1, 2)) == 1
    assert spo.tracker.tracker((1, 0), Fraction(1, 2)) == Fraction(1, 3)  # (1/2) / (1/2 + 1)


def test_the_criterion_of_bnpo_by_quadrature():
    """Golden numbers of the research notes: V(3/2, 3/2) is (pi/8)^2 whatever the law of questions."""
    from scipy.integrate import quad
    from scipy.stats import beta

    a, b, alpha, beta_ = 2.0, 3.0, 1.3, 1.6
    integral, error = quad(
        lambda p: p * (1 - p) / beta.pdf(p, alpha, beta_) ** 2 * beta.pdf(p, a, b), 0, 1, epsabs=1e-10
    )
    assert np.exp(bnpo.log_variance(*map(np.array, (a, b, alpha, beta_)))) == pytest.approx(integral, abs=10 * error)
    for a, b in ((1.0, 1.0), (2.0, 5.0)):
        v = np.exp(bnpo.log_variance(*map(np.array, (a, b, 1.5, 1.5))))
        assert v == pytest.approx((np.pi / 8) ** 2)


@pytest.mark.parametrize(("a", "plain", "normalised"), [(1.0, 0.417, 0.357), (5.0, 0.739, 0.564), (0.5, 0.286, 0.260)])
def test_signal_to_noise_by_simulation(a, plain, normalised):
    """The numbers of the research notes, and a simulation of the logistic bandit."""
    shape = np.array(a)
    assert bnpo.signal_to_noise(shape, shape, np.array(1.0), np.array(1.0)) == pytest.approx(plain, abs=6e-4)
    assert bnpo.signal_to_noise(shape, shape, 1 + shape / 3, 1 + shape / 3) == pytest.approx(normalised, abs=6e-4)
    rng = np.random.default_rng(0)
    p = rng.beta(a, a, size=400_000)
    r = rng.random(p.size) < p
    signal = (r - p) ** 2
    assert signal.mean() ** 2 / (signal**2).mean() == pytest.approx(plain, abs=5e-3)


def test_one_answer_can_miss_the_change():
    """A third each to a third, two thirds and almost none: the first answer did not move at all, the KL is 1.1."""
    case = {"old": np.full((1, 3), 1 / 3), "new": np.array([[1 / 3, 2 / 3, 0.0]]), "at": np.zeros(1)}
    trials = spo.tracker._change(**case, stored=True)
    assert float(trials.bound[0]) == pytest.approx(0, abs=1e-12)
    assert float(trials.value[0]) > 1
    assert spo.tracker.forgetting(0.0) == 0.96
    assert spo.tracker.forgetting(1.0) == 0.875


def test_priorities_by_hand():
    """Two prompts, tracked at 1/2 and 0: weights 0.55 and 0.05 of 0.6, so the second prompt counts a twelfth."""
    pi, r, v = np.full((2, 2), 0.5), np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0.5, 0.0])
    assert spo.baselines._priority(pi, r, v, importance=False, stated="weighted").value == 0
    off = spo.baselines._priority(pi, r, v, importance=False, stated="uniform").value
    assert off == pytest.approx((11 / 12 - 1 / 2) * 0.25)


def test_released_moments_by_hand():
    """Group means 1/4 and 3/4: mean 1/2, unbiased variance 1/8, so a = b = 1/2; alike, they have no variance at all."""
    assert bnpo.released_parameters(np.array([0.25, 0.75])) == pytest.approx((1 + 1 / 6, 1 + 1 / 6))
    assert bnpo.released_parameters(np.array([0.0, 1.0])) == (1, 1)
    assert bnpo.released_parameters(np.array([0.5, 0.5])) == (np.inf, np.inf)
    assert np.isnan(bnpo.released_parameters(np.array([1.0, 1.0]))).all()


def test_other_scores_by_simulation():
    rng = np.random.default_rng(0)
    p = rng.beta(4, 4, size=400_000)
    r, v = rng.random(p.size) < p, p * (1 - p)
    for power in (0.5, 0.0):
        signal = (r - p) ** 2 * v ** (power - 1)
        found = bnpo.signal_to_noise(np.array(4.0), np.array(4.0), np.array(1.0), np.array(1.0), power)
        assert signal.mean() ** 2 / (signal**2).mean() == pytest.approx(float(found), abs=1e-2)


# SPPO


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 1))
def test_the_regression_is_solved(seed, eta):
    """Against a general solver from the start: no law has a smaller squared error."""
    rng = np.random.default_rng(seed)
    pi, wins = rng.dirichlet(np.ones(3)) * 0.97 + 0.01, rng.random(3)
    target = eta * (wins - pi @ wins)  # win rates against oneself are one half on average

    def loss(law):
        return float((pi * (np.log(law / pi) - target) ** 2).sum())

    found = sppo.regression(pi, target)
    assert found.sum() == pytest.approx(1)

    def softmax_loss(z):
        weights = np.exp(z - z.max())
        return loss(weights / weights.sum())

    other = minimize(softmax_loss, np.log(pi), method="BFGS", options={"gtol": 1e-10})
    assert loss(found) <= other.fun + 1e-12


def test_hedge_by_hand():
    """One step of size log 2 from (1/2, 1/2) when the first beats the second for certain: win rates 3/4 and 1/4."""
    P = sppo.preferences(np.array([[0.0, 1.0], [-1.0, 0.0]]))[None]
    np.testing.assert_allclose(P[0], [[0.5, 1], [0, 0.5]])
    mean, last = sppo.hedge(P, np.array([[0.5, 0.5]]), np.array([np.log(2)]), 2)
    assert last[0, 0] / last[0, 1] == pytest.approx(2**0.5)
    np.testing.assert_allclose(mean, (np.array([[0.5, 0.5]]) + last) / 2)


@given(st.integers(0, 2**32 - 1))
def test_nobody_beats_the_winner(seed):
    P = sppo.preferences(np.random.default_rng(seed).uniform(-1, 1, (4, 4)))
    assert sppo.exploitability(P[None], sppo.nash(P)[None])[0] == pytest.approx(0, abs=1e-8)


def test_the_chosen_answer_may_fall():
    """Features 1, 0 and 3, uniform law: the mean is 4/3, so the step of 1 lowers the chosen by 1/3 (unmixed)."""
    trials = sppo._dpo(np.array([[[1.0], [0.0], [3.0]]]), np.full((1, 3), 1 / 3), table=False)
    assert float(trials.value[0]) == pytest.approx(1 / 3)


# PAV


def test_two_children_by_hand():
    """Var(A^mu) = 1/4 at the root, the gain is 2 eps (1 - eps): every constant is too large for some eps."""
    for eps in (0.1, 0.01, 0.001):
        case = {name: x[None] for name, x in pav.theorem.two_children(eps).items()}
        policy, prover = [case[n] for n in pav.common.LAWS], [case[n] for n in pav.common.PROVER]
        gain = pav.common.slope(case["leaf"], policy, prover, np.ones(1))[0]
        printed = pav.theorem.printed_gain(case["leaf"], policy, prover, policy)[0]
        assert printed >= 0.25
        assert gain == pytest.approx(2 * eps * (1 - eps))


@given(st.integers(0, 2**32 - 1))
def test_the_slope_is_the_derivative(seed):
    rng = np.random.default_rng(seed)
    shapes = {"p1": (2,), "p2": (2, 2), "p3": (2, 2, 2)}
    policy = [rng.dirichlet(np.ones(2), size=s[:-1])[None] for s in shapes.values()]
    prover = [rng.dirichlet(np.ones(2), size=s[:-1])[None] for s in shapes.values()]
    leaf, alpha, h = rng.random((1, 2, 2, 2)), np.array([rng.random() * 3]), 1e-5
    up, down = (value(leaf, pav.common.step(leaf, policy, prover, alpha, np.array([g]))) for g in (h, -h))
    assert pav.common.slope(leaf, policy, prover, alpha) == pytest.approx((up - down) / (2 * h), abs=1e-8)


def test_a_prover_that_harms_by_hand():
    """Values 1 and 0 of two actions, halves: Var(A^pi) is 1/4; the opposite prover's A^mu is -A^pi: (1 - alpha)/4."""
    case = {name: x[None] for name, x in pav.provers.opposite().items()}
    policy, prover = [case[n] for n in pav.common.LAWS], [case[n] for n in pav.common.PROVER]
    for alpha in (0.5, 1.0, 5.0):
        assert pav.common.slope(case["leaf"], policy, prover, np.array([alpha]))[0] == pytest.approx((1 - alpha) / 4)


def test_planted_symbols_by_enumeration():
    """The chance that a uniform policy plants all symbols: at least 5 of 10 throws of a 15-sided die."""
    from scipy.stats import binom

    success, _ = pav.search._planted_values(np.full((pav.search.HORIZON, pav.search.LENGTH), 1 / pav.search.SYMBOLS))
    assert success == pytest.approx(binom.sf(pav.search.LENGTH - 1, pav.search.HORIZON, 1 / pav.search.SYMBOLS))
    assert pav.search.planted_steps(1.0, 0.0) > 10 * pav.search.planted_steps(8.0)


def test_the_planted_gradient_by_differences():
    x, h = np.random.default_rng(0).normal(size=(pav.search.HORIZON, pav.search.LENGTH)), 1e-5
    success = lambda y: pav.search._planted_values(1 / (1 + np.exp(-y)))[0]  # noqa: E731
    found = pav.search.planted_gradient(x, np.zeros(x.shape))[1]
    for at in ((0, 0), (3, 2), (9, 4), (5, 0)):
        e = np.zeros(x.shape)
        e[at] = h
        assert found[at] == pytest.approx((success(x + e) - success(x - e)) / (2 * h), abs=1e-8)


# A-LoL, reward ensembles, PG-RANK


def test_where_a_lol_ends_on_four_answers():
    """Golden numbers of the research notes: 0.41 for the reference, 0.822 ref-free, 0.882 with the released clip."""
    ref, r = a_lol.EXAMPLE
    gain = a_lol.positive(ref, r)
    assert ref @ r == pytest.approx(0.41)
    assert (ref * gain) @ r / (ref * gain).sum() == pytest.approx(0.822, abs=6e-4)
    assert a_lol.clipped_fixed_point(ref, r, a_lol.CLIP) @ r == pytest.approx(0.882, abs=5e-4)


def test_best_of_n_by_simulation():
    gold = [Fraction(k) for k in (3, -1, 4, 2)]  # in the order of the proxy
    rng = np.random.default_rng(0)
    drawn = np.argsort(rng.random((200_000, 4)), axis=1)[:, :2].max(axis=1)
    assert float(reward_ensembles.best_of_n_estimate(gold, 2)) == pytest.approx(
        np.array([3, -1, 4, 2])[drawn].mean(), abs=0.02
    )


def test_offsets_by_hand():
    """Members see (0, 0) and (1, -1): the worst case prefers the first; two more for the second member, the second."""
    r = np.array([[0.0, 0.0], [1.0, -1.0]])
    assert reward_ensembles.merged(r, "worst").argmax() == 0
    assert reward_ensembles.merged(r + np.array([0.0, 2.0]), "worst").argmax() == 1


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=4))
def test_laws_of_rankings(scores):
    s = np.array(scores)
    p = pg_rank.law(s)
    assert p.sum() == pytest.approx(1)
    first = np.array([p[pg_rank.rankings(len(s))[:, 0] == d].sum() for d in range(len(s))])
    np.testing.assert_allclose(first, np.exp(s) / np.exp(s).sum(), atol=1e-12)  # Luce's choice axiom
    np.testing.assert_allclose(pg_rank.law(s + 1.5), p, atol=1e-12)


@given(st.integers(0, 2**32 - 1))
def test_gradients_of_rankings_by_differences(seed):
    rng, h = np.random.default_rng(seed), 1e-6
    s, g, d = rng.normal(size=3), rng.random(3), pg_rank.discounts(3)
    utility = (g[pg_rank.rankings(3)] * d).sum(axis=1)
    differences = [(pg_rank.law(s + h * e) - pg_rank.law(s - h * e)) @ utility / (2 * h) for e in np.eye(3)]
    np.testing.assert_allclose(pg_rank.gradient(s, g, d), differences, atol=1e-8)


def test_a_baseline_can_add_variance():
    """Two documents, gains 1 and -1, equal scores: utility times score is the same for both orders, no variance."""
    s, g = np.zeros(2), np.array([1.0, -1.0])
    assert pg_rank.paired_variance(s, g, False) == pytest.approx(0, abs=1e-12)
    assert pg_rank.paired_variance(s, g, True) > 0.05


def test_variances_of_pairs_by_enumeration():
    s, g = np.array([0.5, -0.3, 0.1]), np.array([1.0, 0.2, 0.6])
    p, order = pg_rank.law(s), pg_rank.rankings(3)
    utility, score = (g[order] * pg_rank.discounts(3)).sum(axis=1), pg_rank.scores(s).sum(axis=1)
    for loo in (False, True):
        mean, square = np.zeros(3), 0.0
        for i, j in product(range(6), repeat=2):
            base = (utility[j], utility[i]) if loo else (0.0, 0.0)
            x = ((utility[i] - base[0]) * score[i] + (utility[j] - base[1]) * score[j]) / 2
            mean, square = mean + p[i] * p[j] * x, square + p[i] * p[j] * (x @ x)
        assert pg_rank.paired_variance(s, g, loo) == pytest.approx(square - mean @ mean)


def test_variances_of_four_documents():
    """Golden numbers of the research notes had other scores; the order of the three variances is theirs."""
    s, g = np.array([0.3, -0.2, 0.5, 0.0]), np.array([1.0, 0.0, 1.0, 0.5])
    assert (
        pg_rank.variance(s, g, "plain", centred=True)
        < pg_rank.variance(s, g, "to-go")
        < pg_rank.variance(s, g, "plain")
    )


def test_tilted_laws_have_their_divergence():
    law = reward_ensembles._tilted(np.random.default_rng(0).normal(size=50), 1.5)
    assert (law * np.log(law * 50)).sum() == pytest.approx(1.5, abs=1e-6)


# EPO, TreePO


def test_the_corridor_by_hand():
    """Mean 1, corridor (1/2, 3/2), lambda 1, alpha beta 1/5: slopes 1.2, 1 and 0.8, so at 2 it adds 2 - 0.1 = 1.9."""
    assert float(epo.objective(*map(np.array, (2.0, 1.0, 0.5, 1.5, 1.0, 0.2)))) == pytest.approx(1.9)
    assert float(epo.objective(*map(np.array, (0.0, 1.0, 0.5, 1.5, 1.0, 0.2)))) == pytest.approx(-0.1)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=4), st.floats(0.1, 1), st.floats(0, 1.5), st.floats(0.2, 0.9))
def test_the_penalised_optimum_is_one(rewards, weight, strength, share):
    """No law near the claimed entropy, and no soft law of another temperature, does better."""
    r = np.array(rewards)
    top = share * np.log(len(r))
    claimed = epo.penalised_entropy(r, weight, strength, top)

    def worth(tau):
        p = epo.soft_law(r, tau)
        h = epo.entropy(p)
        return p @ r + weight * h - weight * strength * max(h - top, 0), h

    values = np.array([worth(tau) for tau in np.geomspace(1e-3, 50, 400)])
    best = values[:, 0].max()
    near = values[np.argmin(abs(values[:, 1] - claimed)), 0]
    if abs(values[:, 1] - claimed).min() < 0.02:  # ties keep entropies of cold laws away from zero
        assert near >= best - 0.02 * weight * (1 + strength)


def test_advantages_of_eight_leaves():
    """Golden numbers of the research notes, before the standard deviation (binary, three levels)."""
    R = np.array([1.0, 1, -1, -1, 1, -1, -1, -1]).reshape(2, 2, 2)
    average = [0.75, 0.75, -0.583, -0.583, 1.25, -0.75, -0.417, -0.417]
    size = [1, 1, -0.714, -0.714, 1.286, -0.714, -0.571, -0.571]
    np.testing.assert_allclose(treepo.advantages(R).ravel(), average, atol=6e-4)
    np.testing.assert_allclose(treepo.advantages(R, "size").ravel(), size, atol=6e-4)


def test_segments_of_trees_by_hand():
    """The first segment decides, by a coin: two tosses for eight leaves, 14 segments; eight of them take 24."""
    policy = [np.array([[0.5, 0.5]]), np.ones((1, 2, 1)), np.ones((1, 2, 1, 1))]
    leaf = np.array([1.0, 0.0]).reshape(1, 2, 1, 1)
    assert treepo.leaf_mean_variance(leaf, policy, 2)[0] * 14 == pytest.approx(1.75)
    trials = treepo._per_segment(leaf, gain=True, last=False, p1=policy[0], p2=policy[1], p3=policy[2])
    assert (float(trials.value[0]), float(trials.bound[0])) == pytest.approx((1.75, 0.75))


# REFUEL, PS-GRPO


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 3))
def test_the_regression_of_relative_futures_is_solved(seed, eta):
    """Weighted least squares over all pairs, without the update's formula."""
    rng = np.random.default_rng(seed)
    pi, q = rng.dirichlet(np.ones(3)) * 0.9 + 0.1 / 3, rng.random(3)
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
    design = np.array([np.eye(3)[i] - np.eye(3)[j] for i, j in pairs])
    weights = np.sqrt([pi[i] * pi[j] for i, j in pairs])
    target = eta * np.array([q[i] - q[j] for i, j in pairs])
    ratio = np.linalg.lstsq(weights[:, None] * design, weights * target, rcond=None)[0]
    law = pi * np.exp(ratio)
    leaf = q.reshape(1, 3, 1, 1)
    policy = [pi[None], np.ones((1, 3, 1)), np.ones((1, 3, 1, 1))]
    np.testing.assert_allclose(refuel.updated(leaf, policy, np.array([eta]))[0][0], law / law.sum(), atol=1e-10)


def test_aliased_prefixes_end_where_the_notes_say():
    """Golden: offline 0.6 where nine tenths of the log are at A, on policy 1."""
    offline, online = refuel.aliased(0.9)
    assert offline == pytest.approx(0.6, abs=1e-3)
    assert online == pytest.approx(1.0, abs=1e-3)


def test_what_two_paraphrases_agree_on_conserves_cosh():
    p, q = 0.7, 0.4
    end = ps_grpo.separatrix(p, q)
    logit = lambda z: np.log(z / (1 - z))  # noqa: E731
    assert end[0] > 0.5
    assert end[1] > 0.5
    for steps in (50, 200):
        a, b = ps_grpo.separatrix(p, q, steps=steps, size=0.01)
        assert np.cosh(logit(a)) - np.cosh(logit(b)) == pytest.approx(np.cosh(logit(p)) - np.cosh(logit(q)), abs=1e-2)


def test_agreement_by_hand():
    """Two answers of 0.6 and 0.4: they agree with probability 0.52; the gradient is 2 * 0.6 * (0.6 - 0.52)."""
    law = np.array([0.6, 0.4])
    assert 2 * law[0] * (law[0] - law @ law) == pytest.approx(0.096)
    assert ps_grpo.limit(law[None])[0, 0] > 0.99


# NLPO, CAMPO, DialTree, DPO's implicit reward


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.floats(0.05, 0.95))
def test_masks_are_the_smallest_sets_of_their_mass(weights, p):
    """Against all subsets: none with fewer tokens has mass p, and none with as many has more mass."""
    law = np.array(weights) / sum(weights)
    mask = nlpo.top_p(law, p)
    subsets = [np.array(s, dtype=bool) for s in product((False, True), repeat=len(law))]
    enough = [s for s in subsets if law[s].sum() >= p - 1e-12]
    assert law[mask].sum() >= p - 1e-12
    assert mask.sum() <= min(s.sum() for s in enough if law[s].sum() >= p + 1e-12)
    assert law[mask].sum() == pytest.approx(max(law[s].sum() for s in subsets if s.sum() == mask.sum()))
    assert nlpo.top_p(law, 1.0).all()


def test_the_best_token_is_never_tried():
    """Golden numbers of the research notes: 0.2 inside the released mask, refreshed or not; 1 without."""
    assert nlpo.top_p(nlpo.START, 0.9).tolist() == [True, True, True, False, False]
    assert [nlpo.train(0.9, refresh)[-1] for refresh in (50, None)] == pytest.approx([0.2, 0.2], abs=1e-3)
    assert nlpo.train(1.0, None)[-1] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "released", "share"),
    [
        ("abcabcabc", 1, 1),
        ("xabab", 0.8, 0.8),
        ("abcd", 0, 0),
        ("aaaa", 1, 1),
        ("aaaaa", 0.8, 1),
        ("aaaaaaa", 6 / 7, 1),
    ],
)
def test_loops_by_hand(text, released, share):
    """The released rule keeps the longest period: five copies of a are two of aa, at the end of the word."""
    tokens = np.array([ord(c) for c in text])
    assert campo.loop_fraction(tokens) == pytest.approx(released)
    assert campo.loop_fraction(tokens, "most") == pytest.approx(share)


@given(st.text("ab", min_size=1, max_size=12))
def test_loops_against_all_factorisations(text):
    """The largest k |v| / n over all ways to write the text as u v^k with k >= 2."""
    n = len(text)
    ways = [k * m / n for m in range(1, n + 1) for k in range(2, n // m + 1) if text.endswith(text[n - m :] * k)]
    assert campo.loop_fraction(np.array([ord(c) for c in text]), "most") == pytest.approx(max(ways, default=0))


def test_a_penalty_on_a_number_shifts_all_alike():
    """Right, and wrong with a loop: -0.1 belongs to the second; on numbers both scores stay."""
    r, looped = np.array([1.0, 0.0]), np.array([False, True])
    assert campo.released_scores(r, looped, view=True)[0] == pytest.approx([1, -0.1])
    assert campo.released_scores(r, looped, view=False)[0] == pytest.approx([1, 0])
    assert campo.released_scores(r, looped, view=False)[1] == pytest.approx([1, -0.1])


def test_format_tokens_by_hand():
    """A winner and a loser, advantages 1 and -1: 1/2 masked, 0 else, 1/4 with a loser twice as long."""
    r = np.array([1.0, 0.0])
    assert dialtree.push(r, np.ones(2), 0.5, False) == 0
    assert dialtree.push(r, np.ones(2), 0.5, True) == pytest.approx(0.25)
    assert dialtree.push(r, np.array([1, 1 / 2]), 0.5, False) == pytest.approx(0.125)
    assert dialtree.format_probability("none", 0.95, 0.3, 200)[-1] == pytest.approx(0.95)  # the notes' simulation
    assert dialtree.format_probability("adaptive", 0.95, 0.3, 200)[-1] > 0.98


@given(st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_trees_of_two_turns_by_enumeration(width, seed):
    """All first turns of a tree and all their replies, weighted."""
    rng = np.random.default_rng(seed)
    law, q, none = rng.dirichlet(np.ones(2)), rng.random(2), 0.0
    for first in product(range(2), repeat=width):
        none += np.prod([law[a] * (1 - q[a]) ** width for a in first])
    assert dialtree.finds(law, q, width) == pytest.approx(1 - none)
    assert dialtree.finds(np.array([0.5, 0.5]), np.array([1.0, 0.0]), 4) == 15 / 16


@given(st.integers(0, 2**32 - 1), st.floats(0.2, 2))
def test_dpo_on_a_table_by_a_general_solver(seed, beta):
    rng = np.random.default_rng(seed)
    ref, r = rng.dirichlet(np.ones(3)) * 0.9 + 0.1 / 3, rng.normal(size=3)
    wins = 1 / (1 + np.exp(-np.subtract.outer(r, r)))

    def loss(x):
        return -(wins * np.log(1 / (1 + np.exp(-dpo_implicit_reward.margins(x, ref, beta))))).sum()

    x = minimize(loss, np.zeros(3), options={"gtol": 1e-9}).x
    np.testing.assert_allclose(dpo_implicit_reward.margins(x, ref, beta), np.subtract.outer(r, r), atol=1e-4)
    law, stated = np.exp(x) / np.exp(x).sum(), ref * np.exp(r / beta)
    np.testing.assert_allclose(law, stated / stated.sum(), atol=1e-4)


def test_ties_are_right_half_the_time():
    explicit, implicit = dpo_implicit_reward.accuracies("tokens", 1.0, 10, 3)
    assert (implicit == 0.5).all()
    assert explicit.mean() > 0.9
