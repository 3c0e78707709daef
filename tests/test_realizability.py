"""When is realizability sufficient: the theory against brute force and closed forms."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from claimlab.experiments.papers import realizability as paper
from claimlab.mdps import TabularMDP, garnet
from claimlab.mdps.offline import solve_least_squares
from claimlab.theory.claims import SMOKE
from claimlab.theory.evidence import Outcome
from claimlab.theory.offline_estimators import (
    criterion,
    diagnose,
    diagnose_log,
    draw_sample,
    minimax,
    sample_moments,
)
from claimlab.theory.realizability import (
    amplification,
    bellman_error_bound,
    concentrability,
    convex_bellman_error_bound,
    finite_concentrability,
    finite_incompleteness,
    fitted_radius,
    incompleteness,
    moments,
    opposite_chain,
    pair_chain,
    td_margin,
    value_error_bound,
    worst_sampling,
)

BUDGET = replace(SMOKE, seed=20_26)


def test_a_witness_that_drops_a_premise_is_seen():
    assert paper.classes._criterion_check(BUDGET.of("x"), scale=1.01).rule(0.05)[0] is Outcome.REFUTED


def drawn(seed, n=3, d=2):
    rng = np.random.default_rng(seed)
    P, phi, w, mu = (
        rng.dirichlet(np.ones(n), size=n),
        rng.normal(size=(n, d)),
        rng.normal(size=d),
        rng.dirichlet(np.ones(n)),
    )
    return paper.problem(P, phi, w, mu, rng.random() * 0.95), phi


@given(st.integers(0, 2**32 - 1))
def test_the_eigenvalue_is_the_largest_quotient(seed):
    """Maximised over directions without eigenvalues: a search on the sphere from many starts."""
    chain, phi = drawn(seed)
    m = moments(chain, phi)
    if np.linalg.cond(m.G) > 1e6 or np.linalg.cond(m.sigma) > 1e6:
        return

    def shortfall(w):
        x = phi @ w - chain.gamma * chain.P @ (phi @ w)
        weighted = np.sqrt(chain.mu)[:, None] * phi
        fit = np.linalg.lstsq(weighted, np.sqrt(chain.mu) * x, rcond=None)[0]
        return -float(chain.norm(x - phi @ fit) / max(chain.norm(x), 1e-300))

    angles = np.linspace(0, np.pi, 721)
    best = max(-shortfall(np.array([np.cos(a), np.sin(a)])) for a in angles)
    found = minimize(lambda a: shortfall(np.array([np.cos(a[0]), np.sin(a[0])])),
                     [angles[np.argmax([-shortfall(np.array([np.cos(a), np.sin(a)])) for a in angles])]],
                     method="Nelder-Mead")  # fmt: skip
    assert max(best, -found.fun) <= incompleteness(m) + 1e-7
    assert max(best, -found.fun) >= incompleteness(m) - 1e-5


def test_the_two_states_of_tsitsiklis_and_van_roy():
    """Golden numbers of the research notes: A = 0.2 - 1.1 share, and beta at four shares of the data."""
    for share, beta in ((0.1, 0.988), (0.5, 0.938), (0.7, 0.837), (0.9, 0.585)):
        chain, phi = paper.two_states(share)
        m = moments(chain, phi)
        assert m.A[0, 0] == pytest.approx(0.2 - 1.1 * share)
        assert incompleteness(m) == pytest.approx(beta, abs=6e-4)
        assert (td_margin(m) > 0) == (share < 2 / 11)
    assert fitted_radius(moments(*paper.two_states(0.05))) < 1 < fitted_radius(moments(*paper.two_states(0.5)))


def test_tables_are_complete():
    """One-hot features hold every image; the factor is that of the density ratio's mean square."""
    mdp = garnet(n_states=3, n_actions=2, branching=2, gamma=0.9, rng=np.random.default_rng(0))
    mu = np.random.default_rng(1).dirichlet(np.ones(6)).reshape(3, 2)
    chain = pair_chain(mdp, np.zeros(3, dtype=int), mu)
    m = moments(chain, np.eye(6))
    assert incompleteness(m) < 1e-6
    assert concentrability(m) == pytest.approx((chain.occupancy**2 / chain.mu).sum())
    assert chain.occupancy.sum() == pytest.approx(1)
    f = np.random.default_rng(2).normal(size=6)
    error = chain.norm(f - chain.image(f))
    assert abs(chain.start @ (f - chain.q)) <= value_error_bound(error, concentrability(m), 0.9) * (1 + 1e-12)


@given(st.integers(0, 2**32 - 1))
def test_finite_classes_by_enumeration(seed):
    rng = np.random.default_rng(seed)
    chain, _ = drawn(seed)
    F = np.vstack([chain.q, rng.normal(size=(4, 3))])
    found = finite_incompleteness(chain, F, floor=1e-9)
    for f, error, local in zip(F, found.errors, found.local):
        image = chain.r + chain.gamma * chain.P @ f
        assert error == pytest.approx(np.sqrt((chain.mu * (f - image) ** 2).sum()), abs=1e-12)
        assert local == pytest.approx(min(np.sqrt((chain.mu * (g - image) ** 2).sum()) for g in F), abs=1e-12)
    assert found.errors[0] < 1e-9
    assert 0 <= found.beta <= 1
    assert finite_concentrability(chain, F, floor=1e-9) <= (chain.occupancy**2 / chain.mu).sum() * (1 + 1e-9)


def test_the_criterion_is_the_difference_of_losses():
    """Recomputed tuple by tuple from the definition of the estimator."""
    rng = np.random.default_rng(5)
    chain, _ = drawn(5)
    F = np.vstack([chain.q, rng.normal(size=(3, 3))])
    z = rng.choice(3, size=40, p=chain.mu)
    after = np.array([rng.choice(3, p=chain.P[i]) for i in z])
    weight = np.bincount(z, minlength=3) / 40
    moves = np.zeros((3, 3))
    np.add.at(moves, (z, after), 1)
    sample = draw_sample(chain, 1, rng)._replace(
        weight=weight, r=np.where(weight > 0, chain.r, 0), P=moves / np.maximum(moves.sum(axis=1, keepdims=True), 1)
    )
    losses = np.array([[((g[z] - chain.r[z] - chain.gamma * f[after]) ** 2).mean() for g in F] for f in F])
    np.testing.assert_allclose(criterion(sample, chain.gamma, F), losses.diagonal() - losses.min(axis=1), atol=1e-12)


def test_ties_go_to_the_adversary():
    chain, _ = drawn(1)
    F = np.vstack([chain.q, chain.q + 3])  # neither answers the other's image better than itself at gamma < 1/2
    sample = draw_sample(chain._replace(gamma=0.0), 50, np.random.default_rng(0))
    sample = sample._replace(r=np.where(sample.weight > 0, chain.q + 1.5, 0.0))
    assert minimax(sample, 0.0, F, np.array([0.0, 1.0])) == 1
    assert minimax(sample, 0.0, F, np.array([1.0, 0.0])) == 0


def test_closed_classes_by_hand():
    """Two pairs, the second absorbing with value 0, r = (1, 0): f = (a, 0) has the image (1, 0), which is Q."""
    chain = pair_chain(
        TabularMDP(np.array([[[0.0, 1.0]], [[0.0, 1.0]]]), np.array([[1.0], [0.0]]), 0.5), np.zeros(2, dtype=int),
        np.full((2, 1), 0.5),
    )  # fmt: skip
    assert chain.q.tolist() == [1, 0]
    assert finite_incompleteness(chain, [[1.0, 0.0], [3.0, 0.0]], floor=1e-9).beta == 0
    assert finite_incompleteness(chain, [[1.0, 0.0], [3.0, 0.4]], floor=1e-9).beta > 0


def test_weight_errors_are_lstds():
    """The two states with coin-flip rewards: recomputed tuple by tuple, variance (E phi^2) / (n A^2)."""
    found = paper.samples._weight_errors(0.5, 1_000, 4_000, np.random.default_rng(0))
    stated = (0.5 + 4 * 0.5) / (1_000 * 0.35**2)
    assert found.var() == pytest.approx(stated, rel=0.15)
    rng = np.random.default_rng(1)
    z, coin = rng.integers(2, size=1_000), 2 * rng.integers(2, size=1_000) - 1
    phi, after = z + 1.0, 2.0
    w = (phi * coin).mean() / (phi * (phi - 0.95 * after)).mean()
    assert abs(w) < 6 * stated**0.5


def test_bounds_by_hand():
    """5 V sqrt(log(2 |F| / delta) / n) / (1 - beta)."""
    assert bellman_error_bound(2.0, 100, 50, 0.5, 0.1) == pytest.approx(5 * 2 * np.sqrt(np.log(1000) / 100) / 0.5)
    assert convex_bellman_error_bound(1.0, 100, 0.0, 0.6, 0.2) == pytest.approx(5 * np.sqrt(np.log(10) / 100) / 0.8)


def test_the_opposite_chain_has_the_incompleteness_it_is_made_for():
    gamma, beta = 0.7, 0.8
    F = opposite_chain(gamma, beta, 1.0, 200)[:, 0]
    image = gamma * F
    errors, answers = abs(F - image), abs(F[None] - image[:, None]).min(axis=1)
    kept = errors > 1e-9
    assert (answers[kept] / errors[kept]).max() == pytest.approx(beta)


def test_the_worst_law_makes_the_matrix_singular():
    """Two states: A vanishes at a share of 2/11, and the search finds it under a floor of one percent."""
    chain, phi = paper.two_states(0.5)
    found = worst_sampling(chain, phi, 0.01, np.random.default_rng(0))
    assert found.beta == pytest.approx(1, abs=1e-6)
    assert found.mu[0] == pytest.approx(2 / 11, abs=1e-6)


def test_a_log_is_diagnosed_like_its_population():
    """With a million tuples: incompleteness estimated from above, value within its radius, factors near the truth."""
    rng = np.random.default_rng(9)
    chain, phi = drawn(9)
    truth, n = diagnose(moments(chain, phi)), 200_000
    z = rng.choice(3, size=n, p=chain.mu)
    after = (rng.random(n)[:, None] > chain.P[z].cumsum(axis=1)).sum(axis=1)
    rewards = chain.r[z] + rng.uniform(-0.1, 0.1, size=n)
    span = 0.2 + 2 * abs(chain.q).max() + 2 * abs(chain.r).max()
    found = diagnose_log(phi[z], phi[after], rewards, chain.start @ phi, chain.gamma, span=span)
    assert found.beta >= truth.beta - 0.01
    assert found.amplification == pytest.approx(truth.amplification, rel=0.05)
    assert abs(found.value - chain.start @ chain.q) <= found.radius
    assert found.concentrability[0] <= truth.concentrability[0] * 1.05 <= found.concentrability[1] * 1.2
    assert amplification(moments(chain, phi)) == truth.amplification


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gamma": 1.0}, "gamma must lie in"),
        ({"features": np.zeros((0, 2))}, "features must have shape"),
        ({"next_features": np.zeros((4, 3))}, "next_features"),
        ({"rewards": np.array([0, 1, np.nan, 0])}, "rewards"),
        ({"features": np.ones((4, 2)), "next_features": np.ones((4, 2))}, "singular"),
        ({"start_features": np.zeros(3)}, "start_features must have shape"),
        ({"span": 0.0}, "span"),
        ({"delta": 0.0}, "delta"),
    ],
)
def test_bad_logs(change, message):
    rng = np.random.default_rng(0)
    good = {"features": rng.normal(size=(4, 2)), "next_features": rng.normal(size=(4, 2)), "rewards": rng.random(4),
            "start_features": np.ones(2), "gamma": 0.5, "span": 2.0, "delta": 0.1}  # fmt: skip
    with pytest.raises(ValueError, match=message):
        diagnose_log(**(good | change))


def test_lstd_on_the_population_is_the_truth():
    chain, phi = drawn(4)
    m, b = sample_moments(chain, phi, draw_sample(chain, 10, np.random.default_rng(0))._replace(
        weight=chain.mu, r=chain.r, P=chain.P))  # fmt: skip
    np.testing.assert_allclose(phi @ solve_least_squares(m.A, b), chain.q, atol=1e-9)
