"""Adaptive samplers: closed forms, bounds and laws against brute force and by hand."""

from fractions import Fraction
from itertools import product
from math import inf, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, linprog, minimize

from claimlab.experiments.papers import props as paper
from claimlab.experiments.papers.props import cartpole, evaluation, learning, optimiser, rules, visits
from claimlab.experiments.papers.props.discrepancy import expected_divergence
from claimlab.mdps import PROPS, ROS, StagedMDP, Systematic, collect, count_law, props_law, staged_value
from claimlab.theory.sampling_error import (
    clipped_factor,
    divergence,
    fundamental,
    greedy_divergence,
    greedy_error,
    props_factor,
    ros_factor,
    ros_sum_factor,
    total_variation,
    visitation_bound,
    visitation_covariance,
)

# Samplers


def laws(draw, least=1):
    """A law of two to four actions with rational probabilities."""
    parts = np.array(draw(st.lists(st.integers(least, 6), min_size=2, max_size=4)), dtype=float)
    return parts / parts.sum() if parts.sum() else np.eye(len(parts))[0]


def softmax_step(law, counts, step, average):
    """Independent of the library: logits of the law plus the step along minus the gradient."""
    n = sum(counts)
    gradient = np.array([c - n * p for c, p in zip(counts, law)]) / (n if average and n else 1)
    z = np.log(law) - step * gradient
    return np.exp(z - z.max()) / np.exp(z - z.max()).sum()


@pytest.mark.parametrize("sampler", [ROS(0.0), ROS(2.0), ROS(0.7, average=False), PROPS(0.4)])
@pytest.mark.parametrize("law", [[0.3, 0.7], [0.2, 0.3, 0.5]])
def test_the_law_of_counts_is_a_sum_over_sequences(sampler, law):
    n, chances = 5, {}
    for sequence in product(range(len(law)), repeat=n):
        counts, chance = [0] * len(law), 1.0
        for a in sequence:
            if isinstance(sampler, ROS):
                b = softmax_step(law, counts, sampler.step, sampler.average)
            else:
                b = by_root(np.array(law), np.array(counts) / sum(counts), sampler.weight) if sum(counts) else law
            chance *= b[a]
            counts[a] += 1
        chances[tuple(counts)] = chances.get(tuple(counts), 0.0) + chance
    counts, found = count_law(sampler, law, n)
    assert {tuple(c): x for c, x in zip(counts.astype(int).tolist(), found)} == pytest.approx(chances)


def by_root(law, data, weight):
    """The same closed form by another root finder."""
    w = data / law
    nu = brentq(lambda x: (weight * law / (w - w.min() + x)).sum() - 1, 1e-12, weight + 1, xtol=1e-15)
    return weight * law / (w - w.min() + nu)


@given(st.data())
def test_props_is_the_maximiser(data):
    law, weight = laws(data.draw), data.draw(st.floats(0.05, 5))
    share = np.array(data.draw(st.lists(st.integers(0, 5), min_size=len(law), max_size=len(law))), dtype=float)
    share = share / share.sum() if share.sum() else law
    found = props_law(law, share, weight)

    def objective(b):
        return share / law @ b + weight * law @ np.log(law / b)

    rough = minimize(
        lambda z: objective(np.exp(z) / np.exp(z).sum()), np.log(law), method="BFGS", options={"gtol": 1e-9}
    )
    assert objective(found) <= rough.fun + 1e-9
    np.testing.assert_allclose(found, by_root(law, share, weight), atol=1e-9)
    np.testing.assert_allclose(props_law(law, share, 1e9), law, atol=1e-6)


@given(st.data())
def test_clipped_props_is_the_maximiser(data):
    """Of a linear program, without regulariser; of a concave function over a fine grid of laws, with it."""
    law, clip = laws(data.draw), data.draw(st.sampled_from([0.1, 0.3, 0.7, 1.0]))
    share = np.array(data.draw(st.lists(st.integers(0, 5), min_size=len(law), max_size=len(law))), dtype=float)
    share = share / share.sum() if share.sum() else law
    w, A = share / law, len(law)

    def loss(b, weight):
        return share @ np.maximum(b / law, 1 - clip) + (weight * law @ np.log(law / b) if weight else 0.0)

    # b = low + high with low <= (1 - clip) law; the data's part of the objective pays for high alone
    program = linprog(
        np.r_[np.zeros(A), w],
        A_eq=np.ones((1, 2 * A)),
        b_eq=[1.0],
        bounds=[(0, x) for x in (1 - clip) * law] + [(0, 1)] * A,
    )
    assert loss(props_law(law, share, 0.0, clip), 0) == pytest.approx(program.fun + (1 - clip), abs=1e-9)
    weight = data.draw(st.floats(0.02, 3))
    found = props_law(law, share, weight, clip)
    assert found.sum() == pytest.approx(1)
    tried = np.random.default_rng(0).dirichlet(np.ones(A), 300)
    near = [(1 - t) * found + t * other for t in (1e-3, 0.03, 1.0) for other in tried]
    assert loss(found, weight) <= min(loss(b, weight) for b in near) + 1e-9


def test_clipped_props_by_hand():
    """pi = (1/2, 3/10, 1/5), data (6, 3, 1)/10: the last is the rarest, and gets what a clip of 0.3 takes off."""
    np.testing.assert_allclose(props_law([0.5, 0.3, 0.2], [0.6, 0.3, 0.1], 0.0, 0.3), [0.35, 0.21, 0.44])
    np.testing.assert_allclose(props_law([0.5, 0.5], [1.0, 0.0], 0.0, 0.0), [0.5, 0.5])
    assert clipped_factor(0.5, 0.25) == pytest.approx(4)


def test_the_released_optimiser_stays_within_its_limits():
    """Too much of the first of two: it is pushed down, by no more than Adam's step for each of its updates."""
    actions, law = np.repeat([0, 1], [60, 40]), np.empty(2)
    target = np.array([0.5, 0.5])
    optimiser.refit(target, actions, np.random.default_rng(0), 1e-3, law)
    assert law.sum() == pytest.approx(1)
    moved = np.log(law[1] / law[0])
    assert 0 < moved <= 2 * 1e-3 * optimiser.EPOCHS * optimiser.MINIBATCHES * 1.001
    optimiser.refit(target, actions, np.random.default_rng(0), 0.05, law)
    far = law @ np.log(law / target)
    assert moved < np.log(law[1] / law[0])
    assert far < 0.2  # the stop: one epoch of four steps of 0.05 beyond it at most
    even = np.repeat([0, 1], [50, 50])
    optimiser.refit(target, even, np.random.default_rng(0), 1e-3, law)
    assert abs(np.log(law[1] / law[0])) < 0.05


def test_the_weights_of_props_on_poles_ascend_its_objective():
    """Against finite differences: the first step of Adam has the size of its rate along the sign of the gradient."""
    rng = np.random.default_rng(2)
    x, kept = rng.normal(size=(50, 3, 4)), np.ones((50, 3))
    a = (rng.random((50, 3)) < 0.5).astype(float)

    def objective(theta, i):
        def law(weights):
            z = x[:, i] @ weights
            return 1 / (1 + np.exp(-np.where(a[:, i] > 0, z, -z)))

        return -np.maximum(law(theta) / law(cartpole.WEIGHTS), 1 - cartpole.CLIP).mean()

    after = cartpole.refit(x, a, kept)
    for i in range(3):
        assert objective(after[i], i) > objective(cartpole.WEIGHTS, i)
        assert abs(after[i] - cartpole.WEIGHTS).max() <= cartpole.RATE * cartpole.UPDATES * 1.001


@given(st.data())
def test_systematic_sampling_over_all_offsets(data):
    """Offsets in the middle of a grid as fine as the law's fractions: counts within bounds, and right on average."""
    parts = data.draw(st.lists(st.integers(1, 3), min_size=3, max_size=3))
    q, n = sum(parts), data.draw(st.integers(1, 8))
    law, rest = np.array(parts) / q, parts[1] + parts[2]
    chances, out = {}, np.empty(3)
    for i, j in product(range(q), range(rest)):
        offsets, counts = np.array([(i + 0.5) / q, (j + 0.5) / rest]), np.zeros(3)
        for _ in range(n):
            Systematic().behave(law, counts, 0.0, offsets, out)
            counts += out
        assert abs(counts - n * law).max() < 2
        chances[tuple(counts)] = chances.get(tuple(counts), 0.0) + 1 / (q * rest)
    counts, found = count_law(Systematic(), law, n)
    stated = {tuple(c): x for c, x in zip(counts.tolist(), found) if x > 1e-9}
    assert stated == pytest.approx(chances)
    np.testing.assert_allclose(found @ counts, n * law, atol=1e-9)


def test_systematic_sampling_in_a_finite_horizon():
    """Three steps, states that tell the step, random transitions: no bias, and less variance than on-policy."""
    rng = np.random.default_rng(5)
    H, S, A = 3, 2, 2
    P, r, pi = rng.dirichlet(np.ones(S), (H, S, A)), rng.random((H, S, A)), rng.dirichlet(np.ones(A), (H, S))
    flat = np.zeros((H * S, A, H * S))
    for h in range(H - 1):
        flat[h * S : (h + 1) * S, :, (h + 1) * S : (h + 2) * S] = P[h]
    flat[(H - 1) * S :, :, 0] = 1.0
    episodes, runs = 20, 4000
    value = staged_value(StagedMDP(P, r), pi)
    means = {}
    for sampler in (Systematic(), ROS(0.0)):
        counts = collect(sampler, flat, pi.reshape(-1, A), [episodes * H], runs=runs, seed=3)[:, 0]
        means[sampler] = (counts * r.reshape(-1, A)).sum(axis=(1, 2)) / episodes
    found, plain = means.values()
    assert abs(found.mean() - value) < 4 * found.std() / runs**0.5
    assert found.var() < 0.9 * plain.var()


def test_greedy_sampling_never_leaves_the_support():
    counts = collect(ROS(inf), np.ones((1, 3, 1)), [[0.0, 0.5, 0.5]], [9], runs=20, seed=0)
    assert (counts[:, 0, 0, 0] == 0).all()
    assert divergence(counts[0, 0, 0], [0.0, 0.5, 0.5]) < inf == divergence([1, 1, 1], [0.0, 0.5, 0.5])


def test_a_run_depends_on_its_seed_alone():
    P, pi = visits.RING, visits.RING_POLICY
    few, many = (collect(ROS(1.0), P, pi, [5, 50], runs=runs, seed=1) for runs in (2, 4))
    np.testing.assert_array_equal(few, many[:2])
    assert (collect(ROS(1.0), P, pi, [5, 50], runs=2, seed=2) != few).any()
    given_counts = collect(ROS(1.0), P, pi, [5], runs=1, seed=1, given=np.full(pi.shape, 3.0))
    assert given_counts.sum() == 5 + 3 * pi.size


BANDIT = np.ones((1, 2, 1))
BAD = [
    (lambda: ROS(-1.0), "step must lie in"),
    (lambda: ROS(1.0, average=1), "average must be True or False"),
    (lambda: PROPS(inf), "weight must lie in"),
    (lambda: PROPS(1.0, clip=1.5), "clip must lie in"),
    (lambda: props_law([0.5, 0.5], [0.5, 0.5], 1.0, -0.1), "clip must lie in"),
    (lambda: props_law([0.5, 0.6], [0.5, 0.5], 1.0), "law sums to 1.1"),
    (lambda: props_law([0.5, 0.5], [1.0], 1.0), r"data must have shape \(A,\) = \(2,\)"),
    (lambda: collect(1, BANDIT, [[0.5, 0.5]], [1], runs=1, seed=0), "sampler must be a Sampler"),
    (lambda: collect(ROS(1.0), BANDIT, [[0.5, np.nan]], [1], runs=1, seed=0), r"pi\[0, 1\] is nan"),
    (lambda: collect(ROS(1.0), BANDIT, [[1.0]], [1], runs=1, seed=0), r"P must have shape \(S, A, S\)"),
    (lambda: collect(ROS(1.0), BANDIT, [[0.5, 0.5]], [2, 2], runs=1, seed=0), "times must be increasing"),
    (lambda: collect(ROS(1.0), BANDIT, [[0.5, 0.5]], [], runs=1, seed=0), "times must be increasing"),
    (lambda: collect(ROS(1.0), BANDIT, [[0.5, 0.5]], [1], runs=1, seed=0, given=[[-1, 0]]), r"given\[0, 0\] is -1"),
    (lambda: count_law(ROS(1.0), [0.25] * 4, 2), "law must have 2..3 actions for ROS, got 4"),
    (lambda: count_law(None, [0.5, 0.5], 2), "sampler must be ROS, PROPS or Systematic"),
    (lambda: greedy_divergence([0.0, 1.0], 3), r"law\[0\] is 0"),
    (lambda: fundamental(np.eye(2)), "more than one recurrent class"),
    (lambda: fundamental(np.ones((1, 2)) / 2), "chain must be square"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=range(len(BAD)))
def test_bad_calls(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


# Sampling error


def test_three_actions_come_close_to_the_harmonic_bound():
    """H_2 = 3/2; the law is one that a search found."""
    law = np.array([0.996234592, 1.19908648e-05, 3.75341743e-03])
    law /= law.sum()
    n = np.arange(1, 401)
    counts = collect(ROS(inf), np.ones((1, 3, 1)), [law], n, runs=1, seed=1)[0, :, 0]
    least = (counts - n[:, None] * law).min()
    assert -greedy_error(3) <= least < -1.49


@pytest.mark.parametrize("A", [3, 6])
def test_ratios_take_every_rare_action_at_once(A):
    """After A actions each was taken once: the frequent one lacks almost A - 1; by differences it lacks H_{A-1}."""
    law = np.r_[1 - 1e-3 * (A - 1), np.full(A - 1, 1e-3)]
    for sampler in (PROPS(0.0), ROS(inf)):
        counts = collect(sampler, np.ones((1, A, 1)), [law], [A], runs=5, seed=0)[:, 0, 0]
        lacks = (A * law - counts).max()
        if isinstance(sampler, PROPS):
            np.testing.assert_array_equal(counts, 1)
            assert greedy_error(A) < lacks <= greedy_error(A, ratio=True)
        else:
            assert lacks <= greedy_error(A)


def test_factors_by_hand():
    """On A equally likely actions H has the eigenvalue 1/A with multiplicity A - 1."""
    for A in (2, 5):
        assert ros_factor(np.full(A, 1 / A), 3.0) == pytest.approx((A - 1) / (1 + 6 / A))
        assert ros_factor(np.full(A, 1 / A), 0.0) == A - 1
        assert ros_sum_factor(np.full(A, 1 / A), 0.5) == pytest.approx(A * (A - 1) / 2)
    assert props_factor(4, 1.0) == 1.0
    assert ros_factor([0.4, 0.3, 0.2, 0.1], 10.0) == pytest.approx(0.599, abs=5e-4)  # golden value of the notes


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.integers(2, 5))
def test_two_states_by_hand(a, b, n):
    """Shares of two states: asymptotic variance ab(2 - a - b)/(a + b)^3; a law of d, and of n steps by powers."""
    chain = np.array([[1 - a, a], [b, 1 - b]])
    d, Z = fundamental(chain)
    np.testing.assert_allclose(d, np.array([b, a]) / (a + b), atol=1e-12)
    np.testing.assert_allclose(Z @ (np.eye(2) - chain + d), np.eye(2), atol=1e-9)
    stated = a * b * (2 - a - b) / (a + b) ** 3
    single = visitation_covariance(chain[:, None], np.ones((2, 1)), greedy=True)
    np.testing.assert_allclose(single, stated * np.array([[1, -1], [-1, 1]]), atol=1e-9 * (1 + stated))
    switch = np.array([[[1.0, 0], [0, 1]], [[0, 1], [1, 0]]])  # the actions are stay and switch: all noise is theirs
    pi = np.array([[1 - a, a], [1 - b, b]])
    np.testing.assert_allclose(visitation_covariance(switch, pi, greedy=False), single, atol=1e-9 * (1 + stated))
    np.testing.assert_allclose(visitation_covariance(switch, pi, greedy=True), 0, atol=1e-9 * (1 + stated))
    tau = 1 / (a + b)  # the rows of Z differ by (1, -1) / (a + b)
    assert visitation_bound(switch, pi, n) == pytest.approx(3 * tau / n)


def test_divergences_by_hand():
    assert divergence([[2, 0], [1, 1], [0, 0]], [0.5, 0.5]) == pytest.approx([log(2), 0, 0])
    assert total_variation([[3, 1]], [0.5, 0.5]) == pytest.approx([0.25])


# What is false, by hand


def test_the_clip_is_one_sided():
    """At a ratio of 3/2 and clip 0.3: min(-1.5, -1.3) = -1.5, unclipped; at 1/2: min(-0.5, -0.7) = -0.7, constant."""
    values = [rules._clipped(np.log(x), 0.3).real for x in (1.5, 1.51, 0.5, 0.51)]
    assert values == pytest.approx([-1.5, -1.51, -0.7, -0.7])


def test_ratio_and_difference_disagree_on_three_actions():
    law, share = np.array([0.5, 0.25, 0.25]), np.array([0.35, 0.15, 0.5])  # 0.15 > 0.10, but 0.7 > 0.6
    np.testing.assert_array_equal(props_law(law, share, 0.0), [0, 1, 0])
    out = np.empty(3)
    ROS(inf).behave(law, 20 * share, 20.0, np.zeros(2), out)
    np.testing.assert_array_equal(out, [1, 0, 0])


def test_two_actions_of_a_skewed_law():
    """The greedy rule takes both, in either order: KL of (1/2, 1/2) to (0.99, 0.01); on-policy data mostly repeat."""
    law = np.array([0.99, 0.01])
    greedy = log(0.5 / 0.99) / 2 + log(0.5 / 0.01) / 2
    assert expected_divergence(ROS(inf), law, 2) == pytest.approx(greedy)
    on_policy = 2 * 0.99 * 0.01 * greedy + 0.99**2 * log(1 / 0.99) + 0.01**2 * log(1 / 0.01)
    assert expected_divergence(ROS(0.0), law, 2) == pytest.approx(on_policy)
    assert greedy > 30 * on_policy


def test_a_fair_coin_with_a_finite_step():
    """Three heads have probability 1/2 / (1 + e)^2 at step 1, and 9 log 2 > 4 = sum 1/pi; on average n = 11 is over."""
    assert 3**2 * log(2) > greedy_divergence([0.5, 0.5], 1) == 4
    counts, p = count_law(ROS(1.0), [0.5, 0.5], 3)
    assert p[counts[:, 0] == 3] == pytest.approx(0.5 / (1 + np.exp(1)) ** 2)
    found = [n**2 * expected_divergence(ROS(0.1), np.array([0.5, 0.5]), n) for n in (8, 9, 10, 11)]
    assert found[0] < 4 < found[-1]


def test_the_rare_action_carries_the_noise():
    """Two draws, pi = (0.9, 0.1), only the rare reward is random (variance 1): (0 + 1)/4 against 0.1/2."""
    law, q, variance = np.array([0.9, 0.1]), np.zeros(2), np.array([0.0, 1.0])
    assert evaluation.bandit_mse(ROS(inf), law, q, variance, 2) == pytest.approx(0.25)
    for sampler in (ROS(0.0), Systematic()):
        assert evaluation.bandit_mse(sampler, law, q, variance, 2) == pytest.approx(0.05)
    assert evaluation.on_policy_mse(law, q, variance, 2) == pytest.approx(0.05)


def test_two_draws_are_biased():
    """pi = (2/3, 1/3), q = (1, 0): the second action is the one that was not taken, so the mean is 1/2, not 2/3."""
    law, q = [Fraction(2, 3), Fraction(1, 3)], [Fraction(1), Fraction(0)]
    assert evaluation.bias(law, q, 2, "greedy") == Fraction(-1, 6)
    assert evaluation.bias(law, q, 2, "systematic") == 0
    counts, p = count_law(ROS(inf), [2 / 3, 1 / 3], 7)
    exact = evaluation.greedy_counts(law, 7)
    assert p @ counts[:, 0] == pytest.approx(float(sum(chance * row[0] for row, chance in exact)))


def test_a_buffer_beyond_repair():
    """Ten old actions of the first kind, quota 0.1 of 20: ten new ones of the second leave eight too many."""
    np.testing.assert_array_equal(learning.fill(ROS(inf), np.array([10.0, 0.0]), np.array([0.1, 0.9]), 10), [10, 10])


# Gridworlds and CartPole


def test_the_value_of_the_gridworld_by_bellmans_equation():
    P, r, ends, pi = evaluation.grid()
    chain = np.einsum("sa,sat->st", pi * (1 - ends), P)
    value = np.linalg.solve(np.eye(16) - chain, (pi * r).sum(axis=1))[0]
    assert evaluation.grid_value() == pytest.approx(value)


def test_reinforce_climbs_the_exact_value():
    """The first batch moves the logits along the gradient of the return on average: by finite differences of it."""
    after = np.empty((3000, 1, 25, 4))
    seeds = np.random.SeedSequence(1).spawn(len(after))
    for out, seed in zip(after, seeds):
        learning._reinforce(ROS(0.0), learning.TO, np.random.default_rng(seed), np.array([1]), out)
    logits = np.log(after[:, 0]) - np.log(after[:, 0]).mean(axis=2, keepdims=True)

    def value(theta):
        pi = np.exp(theta) / np.exp(theta).sum(axis=1, keepdims=True)
        v = np.zeros(25)
        for _ in range(learning.HORIZON):  # steps to go
            end = np.where(learning.TO == learning.GOAL, 1.0, np.where(learning.TO == learning.LURE, 0.5, 0.0))
            over = (learning.TO == learning.GOAL) | (learning.TO == learning.LURE)
            v = (pi * (end - 0.01 + np.where(over, 0.0, v[learning.TO]))).sum(axis=1)
        return v[learning.START]

    for s, a in ((12, 0), (12, 1), (6, 3), (23, 1)):
        step = np.zeros((25, 4))
        step[s, a] = 1e-5
        stated = learning.RATE * (value(step) - value(-step)) / 2e-5
        sample = logits[:, s, a]
        assert abs(sample.mean() - stated) < 4 * sample.std() / len(sample) ** 0.5


def test_poles_are_set_up_again():
    data = cartpole.poles(ROS(0.0), 30, 0, shown=30)
    again = np.argwhere(data.kept[:-1] == 0)
    assert len(again) > 200
    for t, i in again:
        assert abs(data.features[t + 1, i]).max() <= 0.05  # Gymnasium's start
        assert abs(data.features[t, i, 2]) > 0.2094 or abs(data.features[t, i, 0]) > 2.4  # its end: 12 degrees, or off
    ends = [int((data.kept[:, i] == 0).sum()) for i in range(30)]  # an end in the last step is not set up any more
    lengths = data.kept.sum(axis=0) / data.lengths
    assert set(np.round(lengths - ends).astype(int)) <= {0, 1}


def test_the_sampling_error_is_a_maximum_of_the_likelihood():
    data = cartpole.poles(ROS(0.0), 30, 0, shown=30)
    x, a, kept = data.features[:, 3], data.actions[:, 3], data.kept[:, 3]

    def loss(theta):
        z = x @ theta
        return -(kept * (a * z - np.logaddexp(0, z))).sum() / kept.sum()

    gain = loss(cartpole.WEIGHTS) - minimize(loss, cartpole.WEIGHTS).fun
    assert cartpole.sampling_error(data)[3] == pytest.approx(gain, rel=1e-4)


def test_figures_hold_their_numbers():
    """The left panel's laws lie on the simulation."""
    table = paper.FIGURES[0].draw()[1]
    for series in ("on-policy", "ROS, averaged", "systematic"):
        rows = table[(table["series"] == series) & (table["x"] == 256)]
        simulated, law = (rows[rows["panel"] == panel]["y"].item() for panel in ("KL", "KL, law or bound"))
        assert simulated == pytest.approx(law, rel=0.3)
