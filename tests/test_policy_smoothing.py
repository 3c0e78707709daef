"""Policy smoothing: certificates against integrals and libraries, the adversary against enumeration."""

from dataclasses import replace
from itertools import product
from math import log, sqrt

import gymnasium
import latex2mathml.converter
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm
from statsmodels.stats.proportion import proportion_confint

from claimlab.experiments.papers import policy_smoothing
from claimlab.experiments.papers.policy_smoothing import cartpole, lemma, premises
from claimlab.experiments.papers.policy_smoothing import returns as totals
from claimlab.experiments.papers.policy_smoothing.common import surviving
from claimlab.mdps.smoothed_games import SmoothedGame, best_attack, middle_game, total_law, tree_game
from claimlab.mdps.staged import StagedMDP
from claimlab.theory.claims import SMOKE
from claimlab.theory.evidence import Outcome
from claimlab.theory.smoothing import (
    certified_mean,
    certified_mean_from_mean,
    certified_probability,
    certified_steps,
    certify_grid,
    certify_range,
    clopper_pearson_lower,
)

BUDGET = replace(SMOKE, seed=20_26)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda budget: lemma._tests_check(budget, factor=0.99),
        lambda budget: lemma._tree_check(budget, factor=0.98),
        lambda budget: totals._total_check(budget, factor=0.98),
    ],
)
def test_smaller_falsehoods_than_the_controls_are_caught(wrong):
    assert wrong(BUDGET.of("wrong")).rule(0.05)[0] is Outcome.REFUTED


def test_captions_are_mathml():
    for figure in policy_smoothing.FIGURES:
        assert all("<math" in latex2mathml.converter.convert(formula) for formula in figure.caption.split("$")[1::2])


# Certificates

laws = st.lists(st.integers(1, 9), min_size=2, max_size=6).map(lambda w: np.array(w) / sum(w))
shifts = st.floats(0, 4)


@given(laws, shifts, st.floats(-5, 5), st.floats(0.1, 3))
def test_the_certified_mean_is_the_integral(law, budget, low, sigma):
    values = low + np.cumsum(np.arange(len(law)))
    expected, _ = quad(
        lambda y: norm.cdf(norm.ppf(min(law[values > y].sum(), 1)) - budget / sigma), low, values[-1], limit=200,
        points=values,
    )  # fmt: skip
    assert certified_mean(values, law, budget, sigma) == pytest.approx(low + expected, abs=1e-6)
    from_mean = certified_mean_from_mean(law @ values, values[0], values[-1], budget, sigma)
    assert from_mean <= certified_mean(values, law, budget, sigma) + 1e-9
    assert certified_mean(values, law, 0.0, sigma) == pytest.approx(law @ values)


@given(st.integers(1, 300), st.data(), st.floats(0.001, 0.4))
def test_clopper_pearson_is_statsmodels(n, data, level):
    k = data.draw(st.integers(0, n))
    assert clopper_pearson_lower(k, n, level) == pytest.approx(proportion_confint(k, n, 2 * level, "beta")[0], abs=1e-9)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), shifts)
def test_the_grid_construction_threshold_by_threshold(sample, budget):
    expected, n = 0.0, len(sample)
    for i in range(1, 5):
        low = proportion_confint(sum(x >= i for x in sample), n, 2 * 0.05 / 4, "beta")[0]
        expected += norm.cdf(norm.ppf(low) - budget)
    assert certify_grid(sample, range(5), budget, 1.0) == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 2.0]), min_size=1, max_size=60), shifts)
def test_the_band_construction_value_by_value(sample, budget):
    expected, last, radius = -1.5, -1.5, sqrt(log(20) / (2 * len(sample)))
    for value in (-1.0, -0.5, 0.0, 2.0):
        share = max(sum(x >= value for x in sample) / len(sample) - radius, 0)
        expected, last = expected + norm.cdf(norm.ppf(share) - budget) * (value - last), value
    assert certify_range(sample, -1.5, budget, 1.0) == pytest.approx(expected, abs=1e-9)


def test_certificates_take_many_budgets():
    budgets = [[0.0, 0.5], [1.0, 2.0]]
    found = certify_grid([0, 1, 2, 2], [0, 1, 2], budgets, 0.5)
    assert found.shape == (2, 2)
    assert found[1, 0] == certify_grid([0, 1, 2, 2], [0, 1, 2], 1.0, 0.5)
    assert (np.diff(found.ravel()) < 0).all()


@given(st.lists(st.sampled_from([0.0, 1.0, 2.5]), min_size=2, max_size=40), st.floats(0, 2))
def test_the_released_sum_is_valid_from_zero_on(sample, budget):
    """For nonnegative returns it is the band of ln(2/level): :func:`certify_range` at half the level."""
    mine = certify_range(sample, 0.0, budget, 1.0, level=0.025)
    assert totals.released_sum(np.array(sample), budget) == pytest.approx(mine, abs=1e-9)


def test_the_released_sum_certifies_too_much_for_losses():
    """Every return is -1, and -1 is what any attack leaves; the released sum, from 0, says -f(1 - radius) > -1."""
    sample = np.full(500, -1.0)
    assert totals.released_sum(sample, 0.5) == pytest.approx(
        -norm.cdf(norm.ppf(1 - sqrt(log(40) / 1000)) - 0.5), abs=1e-12
    )
    assert totals.released_sum(sample, 0.5) > -0.86
    assert certify_range(sample, -1.0, 0.5, 1.0) == -1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: certified_probability(1.2, 1, 1), "must lie in \\[0, 1\\]"),
        (lambda: certified_probability(0.5, -1, 1), "budget must be finite and nonnegative, got -1"),
        (lambda: certified_probability(0.5, np.nan, 1), "budget must be finite"),
        (lambda: certified_probability(0.5, 1, 0), "sigma must lie in"),
        (lambda: certified_mean([0, 0], [0.5, 0.5], 1, 1), "values must increase"),
        (lambda: certified_mean([0, 1], [0.5, 0.4], 1, 1), "law sums to 0.9"),
        (lambda: certified_mean([0, 1, 2], [0.5, 0.5], 1, 1), "law must have shape \\(3,\\)"),
        (lambda: certified_mean_from_mean(2, 0, 1, 1, 1), "mean must lie in"),
        (lambda: certified_mean_from_mean(0, 1, 1, 1, 1), "low < high"),
        (lambda: certify_grid([], [0, 1], 1, 1), "returns must hold one episode"),
        (lambda: certify_grid([0, 0.5], [0, 1], 1, 1), "returns\\[1\\] is 0.5, which grid does not hold"),
        (lambda: certify_grid([0, 1], [0, 1], 1, 1, level=0), "level must lie in"),
        (lambda: certify_range([0, -1], -0.5, 1, 1), "returns hold -1, below low"),
        (lambda: certify_range([0, np.inf], 0, 1, 1), "every entry must be finite"),
        (lambda: certify_range([0], 0, 1, 1, level=0.6), "level must lie in"),
        (lambda: certified_steps([0.5, 1.5], 1, 1), "means\\[1\\] must lie in"),
        (lambda: tree_game([[0.0], [1.0]], [1, 0, 0, 1]), "full tree"),
        (lambda: tree_game([[1.0, 0.0]], [1, 0, 0]), "must not decrease"),
        (lambda: tree_game([[0.0]], [2, 0]), "must lie in \\[0, 1\\]"),
        (lambda: middle_game(0), "horizon must be at least 1"),
        (lambda: best_attack(middle_game(2), -1), "budget must lie in"),
        (lambda: best_attack(middle_game(2), 1, 0), "levels must be at least 1"),
        (lambda: total_law(tree_game([[0.0]], [0.5, 0])), "rewards of total_law must be 0 or 1"),
        (lambda: SmoothedGame(middle_game(2).mdp, np.zeros((2, 7, 2))), "cuts must have shape"),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Games


def brute_force(cuts, leaves, b, levels):
    """Two steps, A actions: the least mean payoff over all first shifts, and then all shifts of what is left."""
    A = cuts.shape[1] + 1

    def law(cut, e):
        return np.diff(norm.cdf(np.r_[-np.inf, cut, np.inf] - e))

    best = np.inf
    for j, sign in product(range(levels + 1), (-1, 1)):
        first = law(cuts[0], sign * b * sqrt(j / levels))
        second = [
            min(
                law(cuts[1 + a], s * b * sqrt(i / levels)) @ leaves[A * a : A * a + A]
                for i, s in product(range(levels - j + 1), (-1, 1))
            )
            for a in range(A)
        ]
        best = min(best, first @ np.array(second))
    return best


@settings(max_examples=15)
@given(st.data(), st.integers(2, 3), st.floats(0.1, 2))
def test_the_adversary_is_the_best_of_all_on_its_grid(data, A, b):
    numbers = st.integers(-20, 20).map(lambda x: x / 10)
    cuts = np.sort(data.draw(st.lists(numbers, min_size=(A + 1) * (A - 1), max_size=(A + 1) * (A - 1))))
    cuts = np.sort(np.random.default_rng(len(cuts)).permutation(cuts).reshape(A + 1, A - 1), axis=1)
    leaves = np.array(data.draw(st.lists(st.sampled_from([0.0, 0.3, 1.0]), min_size=A * A, max_size=A * A)))
    game = tree_game(cuts, leaves)
    found = best_attack(game, b, 4)
    assert found.value == pytest.approx(brute_force(cuts, leaves, b, 4), abs=1e-12)
    assert best_attack(game, 0.0, 4).value == pytest.approx(game.value(), abs=1e-12)
    if A == 2:
        fine = best_attack(game, b, 64).value
        assert found.low - 1e-12 <= fine <= found.value + 1e-12  # 64 units refine 4


def test_the_adversary_does_what_it_says():
    """Followed step by step, the shifts spend no more than the budget on any path and have the stated value."""
    game, b, n = surviving(middle_game(8)), 1.5, 20
    attack = best_attack(game, b, n)

    def follow(h, s, units):
        if h == 8:
            return 0.0
        e = attack.shift[h, s, units]
        used = round(e**2 / b**2 * n)
        assert used <= units
        law = game.policy(e)[h, s]
        return sum(
            law[a] * (game.mdp.r[h, s, a] + follow(h + 1, int(game.mdp.P[h, s, a].argmax()), units - used))
            for a in (0, 1)
        )

    assert follow(0, 3, n) == pytest.approx(attack.value, abs=1e-12)


def test_the_law_of_the_total_by_enumeration():
    game, shift = middle_game(5, reach=2, gap=0.4), 0.3
    policy, expected = game.policy(np.full((5, 5), shift)), np.zeros(6)
    for actions in product((0, 1), repeat=5):
        s, weight, total = 2, 1.0, 0
        for h, a in enumerate(actions):
            weight *= policy[h, s, a]
            total += game.mdp.r[h, s, a]
            s = int(game.mdp.P[h, s, a].argmax())
        expected[int(total)] += weight
    assert total_law(game, shift) == pytest.approx(expected)
    assert total_law(game, shift) @ np.arange(6) == pytest.approx(game.value(shift))


@pytest.mark.parametrize(
    ("horizon", "clean", "attacked"),
    [(6, 0.9928, (0.9868, 0.9766, 0.9360, 0.7224)), (20, 0.9680, (0.9520, 0.9290, 0.8519, 0.5449))],
)
def test_the_walk_has_the_numbers_of_our_notes(horizon, clean, attacked):
    """Computed once with another program: survival, and the optimum at budgets of 0.25, 0.5, 1 and 2 sigma."""
    game = surviving(middle_game(horizon))
    assert game.value() == pytest.approx(clean, abs=5e-5)
    for b, stated in zip((0.25, 0.5, 1.0, 2.0), attacked):
        found = best_attack(game, b, 100)
        assert found.low - 1e-4 <= stated <= found.value + 3e-3
        assert found.value == pytest.approx(stated, abs=3e-3)
        assert certified_probability(game.value(), b, 1.0) < found.low


def test_xor_by_hand():
    """Wait for the first sign, then push the second number by 1: Phi(1) becomes Phi(0); no plan gets below 0.68."""
    game = tree_game([[0.0], [1.0], [-1.0]], [1, 0, 0, 1])
    assert game.value() == pytest.approx(norm.cdf(1))
    assert best_attack(game, 1.0).value == pytest.approx(0.5)
    assert certified_probability(norm.cdf(1), 1.0, 1.0) == pytest.approx(0.5)
    assert 0.6813 <= lemma._best_fixed(game, 1.0) <= 0.6813 + lemma._grid_error(1.0)


def test_two_chances_are_not_tight():
    """Won if z_1 > -1 or z_2 > 0, B = 1: .9207 clean, .6591 certified, .6913 attacked (our notes, on a grid)."""
    game = tree_game([[-1.0], [0.0], [0.0]], [0, 1, 1, 1])
    found = best_attack(game, 1.0, 2000)
    assert game.value() == pytest.approx(0.9207, abs=5e-5)
    assert certified_probability(game.value(), 1.0, 1.0) == pytest.approx(0.6591, abs=3e-4)
    assert found.value == pytest.approx(0.6913, abs=3e-4)
    assert found.low > 0.69


def test_an_adversary_who_sees_the_noise_by_hand():
    """Won if |e + noise| < 1: 68 % without attack, 30 % certified at B = 1, and 0 against e = the noise's sign."""
    trial = premises._seen(1.0, 1.0, sees=True)
    assert trial.value == pytest.approx(norm.cdf(norm.ppf(2 * norm.cdf(1) - 1) - 1))
    assert trial.bound == 0 < 0.29 < trial.value


def test_two_copies_by_hand():
    """Two noised copies of a frame, summed: sd 1.41 and a shift of 2, so 1.41 standard deviations and not 1."""
    trial = premises._copies(np.ones(2), 1.0, 1.0, root=False)
    assert (trial.value, trial.bound) == pytest.approx((0.5, norm.cdf(1 - sqrt(2))))


@settings(max_examples=20)
@given(st.floats(-2, 2), st.floats(0.05, 0.95), st.floats(0.2, 3))
def test_the_worst_continuation_by_quadrature(alpha, share, b):
    """p(z) = Phi((alpha b + e z) / b'): it averages to Phi(alpha), and every split leaves Phi(alpha - b)."""
    e = share * b
    rest = sqrt(b * b - e * e)

    def mean(f):
        return quad(lambda z: f(z) * norm.pdf(z), -10, 10, epsabs=1e-10, limit=200)[0]

    assert mean(lambda z: norm.cdf((alpha * b + e * z) / rest)) == pytest.approx(norm.cdf(alpha), abs=1e-7)
    attacked = mean(lambda z: norm.cdf((alpha * b + e * (z - e)) / rest - rest))
    assert attacked == pytest.approx(certified_probability(norm.cdf(alpha), b, 1.0), abs=1e-7)


def test_per_step_budgets_on_one_step_more():
    """Two steps, each number must be positive: survival falls to Phi(c - e) at once, and to its square after two."""
    P = np.zeros((2, 2, 2, 2))
    P[:, 0, 0, 1] = P[:, 0, 1, 0] = P[:, 1, :, 1] = 1
    r = np.zeros((2, 2, 2))
    r[:, 0, 1] = 1
    game = SmoothedGame(StagedMDP(P, r), np.full((2, 2, 1), -1.5))
    clean, attacked = norm.cdf(1.5), norm.cdf(1.0)
    assert game.value(-0.5) == pytest.approx(attacked + attacked**2)
    assert certified_steps([clean, clean**2], 0.5, 1.0) <= attacked + attacked**2


# CartPole


def test_returns_are_those_of_the_environment_one_by_one(monkeypatch):
    """Without noise and with a policy that fails, against plain CartPole from the same first states."""
    monkeypatch.setattr(cartpole, "GAINS", np.array([0.3, 0.1, 1.0, 0.0]))
    env = gymnasium.make_vec("CartPole-v1", 6, "vector_entry_point")
    starts, _ = env.reset(seed=int(np.random.default_rng(3).integers(2**31)))
    expected = []
    for start in starts:
        single, total, seen, ended = gymnasium.make("CartPole-v1").unwrapped, 0, [np.zeros(4)] * 5, False
        single.reset()
        single.state = start
        observation = start
        while not ended and total < 200:
            seen = [observation, *seen[:4]]
            score = sum(0.6**k * frame for k, frame in enumerate(seen)) @ cartpole.GAINS
            observation, reward, ended, _, _ = single.step(int(score > 0))
            total += reward
        expected.append(total)
    assert cartpole.returns(6, None, 0.0, np.random.default_rng(3), sigma=0.0).tolist() == expected
    assert max(expected) < 200


@given(st.floats(0.05, 1), st.floats(0.01, 1), st.booleans())
def test_the_attack_keeps_its_budget(budget, size, against):
    rng, spent, squares = np.random.default_rng(0), np.zeros(3), np.zeros(3)
    for _ in range(50):
        shift = cartpole._perturbation(rng.normal(size=3), cartpole.Attack(size, 0.5, against), budget, spent, True)
        squares += shift**2
    assume(size < budget)
    assert squares.max() <= budget**2 * (1 + 1e-12)
    assert squares.max() > 0.9 * min(budget**2, 10 * size**2)


# Figures


def test_the_figure_has_the_adversary_above_the_certificate():
    _, data = policy_smoothing.FIGURES[0].draw()
    walk = data[data["game"].str.contains("walk")].pivot(index="budget", columns="curve", values="probability")
    assert (walk["certificate"] <= walk["exact adaptive adversary"] + 1e-12).all()
    xor = data[data["game"].str.contains("XOR")].pivot(index="budget", columns="curve", values="probability")
    assert np.allclose(xor["certificate"], xor["exact adaptive adversary"], atol=1e-12)
    assert (xor["best plan made in advance"][1:] > xor["certificate"][1:] + 1e-4).all()
