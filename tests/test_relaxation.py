"""Sweeps against dense algebra and triangular solves, systems against their definitions, the bandits' contract."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.linalg import eigh
from scipy.sparse import csr_array
from scipy.sparse.linalg import spsolve_triangular

from claimlab.bandits import UCB1, ContextualAlgorithm, Exp3, play, play_contextual
from claimlab.bandits.relaxation import (
    SOR,
    SSOR,
    SSORCG,
    Grid,
    GridSOR,
    RelaxationBandit,
    ShiftedRelaxationBandit,
    SPDMatrix,
    Systems,
    average_costs,
    cg,
    count_iterations,
    expected_costs,
    grid_sor,
    iterations,
    red_black_sor,
    sor,
    spectral,
    ssor,
    ssor_cg,
    systems,
)
from claimlab.theory.strategies import seeds

EPS = np.finfo(np.float64).eps
PAPER = systems.laplacian(systems.square(12))  # the paper's matrix, 100 points
OMEGAS = st.floats(0.05, 1.95)


@st.composite
def problems(draw):
    """A sparse diagonally dominant matrix and a right-hand side, whole numbers over a scale, zeros and ties likely."""
    n = draw(st.integers(1, 7))
    entries = st.lists(st.sampled_from([0, 0, 0, 1, -1, 2]), min_size=n * n, max_size=n * n)
    L = np.tril(np.array(draw(entries), dtype=float).reshape(n, n), -1)
    A = L + L.T
    A += np.diag(abs(A).sum(axis=1) + draw(st.sampled_from([0.5, 1.0, 4.0])))
    b = np.array(draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n)), dtype=float)
    return A, b


def dense_sweeps(A, b, omega, count):
    """x after `count` sweeps, by scipy's solver for triangular systems."""
    W = csr_array(np.diag(np.diag(A) / omega) + np.tril(A, -1))
    x = np.zeros(len(b))
    for _ in range(count):
        x = x + spsolve_triangular(W, b - A @ x, lower=True)
    return x


def close(x, y, A, count):
    """Within the rounding of `count` sweeps."""
    scale = np.linalg.cond(A) * max(abs(y).max(), 1.0)
    np.testing.assert_allclose(x, y, rtol=0, atol=16 * (count + 1) * len(y) * EPS * scale)


# solvers ------------------------------------------------------------------------------------------------------------


@given(problems(), OMEGAS, st.integers(0, 6))
@settings(max_examples=60)
def test_sor_is_a_triangular_solve_a_sweep(problem, omega, count):
    A, b = problem
    done = sor(SPDMatrix(A), b, omega, tol=1e-300, cap=count)
    close(done.x, dense_sweeps(A, b, omega, done.iterations), A, count)
    assert done.residual == pytest.approx(np.linalg.norm(b - A @ done.x), abs=64 * EPS * np.linalg.norm(b))


@given(problems(), OMEGAS, st.integers(0, 4))
@settings(max_examples=60)
def test_ssor_is_its_iteration_matrix(problem, omega, count):
    A, b = problem
    done, x = ssor(SPDMatrix(A), b, omega, tol=1e-300, cap=count), np.zeros(len(b))
    for _ in range(done.iterations):
        x = x + np.linalg.solve(spectral.ssor_weight(A, omega), b - A @ x)
    close(done.x, x, A, count)
    assert done.residual == pytest.approx(np.linalg.norm(b - A @ done.x), abs=64 * EPS * np.linalg.norm(b))


@given(problems(), OMEGAS, st.booleans())
@settings(max_examples=60)
def test_conjugate_gradients_minimise_the_energy_norm_over_the_krylov_space(problem, omega, preconditioned):
    A, b = problem
    run = (lambda cap: ssor_cg(SPDMatrix(A), b, omega, tol=1e-10, cap=cap)) if preconditioned else None
    run = run or (lambda cap: cg(SPDMatrix(A), b, tol=1e-10, cap=cap))
    P = np.linalg.inv(spectral.ssor_weight(A, omega)) if preconditioned else np.eye(len(b))
    basis = [P @ b]
    for count in range(1, len(b) + 1):
        done = run(count)
        if done.iterations < count:
            break
        K = np.linalg.qr(np.stack(basis, axis=1))[0]
        best = K @ np.linalg.solve(K.T @ A @ K, K.T @ b)
        np.testing.assert_allclose(done.x, best, atol=1e-6 * (1 + abs(best).max()))
        basis.append(P @ A @ basis[-1] / np.linalg.norm(basis[-1]))
    done = run(50)
    assert done.converged
    np.testing.assert_allclose(done.x, np.linalg.solve(A, b), atol=1e-8 * (1 + abs(b).max()))


@pytest.mark.parametrize("solve", [sor, ssor, ssor_cg])
@given(problems(), OMEGAS, st.sampled_from([1e-3, 1e-6, 0.5]))
@settings(max_examples=30)
def test_the_count_is_the_first_iterate_whose_true_residual_is_small(solve, problem, omega, tol):
    A, b = problem
    matrix, norm = SPDMatrix(A), np.linalg.norm(b)
    done = solve(matrix, b, omega, tol=tol)
    assert done.converged
    assert np.linalg.norm(b - A @ done.x) <= tol * norm * (1 + 1e-9)
    if done.iterations:
        before = solve(matrix, b, omega, tol=tol, cap=done.iterations - 1)
        assert not before.converged
        assert before.iterations == done.iterations - 1
        assert np.linalg.norm(b - A @ before.x) > tol * norm * (1 - 1e-9)


@given(st.integers(1, 6), st.integers(1, 6), OMEGAS, seeds())
@settings(max_examples=40)
def test_stencils_are_their_matrices(rows, columns, omega, seed):
    """Natural order and red-black order, from a random start."""
    rng = np.random.default_rng(seed)
    grid = Grid(rows, columns, 4 + rng.random(), rng.choice([1.0, -1.0, 0.5]))
    b, x0 = rng.normal(size=(2, rows, columns))
    A = grid.matrix().toarray()
    red_first = np.argsort(np.indices((rows, columns)).sum(axis=0).ravel() % 2, kind="stable")
    for solve, order in ((grid_sor, np.arange(grid.n)), (red_black_sor, red_first)):
        done = solve(grid, b, omega, tol=1e-6, x0=x0)
        permuted = SPDMatrix(A[np.ix_(order, order)])
        same = sor(permuted, b.ravel()[order], omega, tol=1e-6, x0=x0.ravel()[order])
        assert done.iterations == same.iterations
        np.testing.assert_allclose(done.x.ravel()[order], same.x, rtol=0, atol=1e-12)
        assert done.residual == pytest.approx(np.linalg.norm(b.ravel() - A @ done.x.ravel()), rel=1e-6)


def test_counts_of_the_authors_code():
    """sor.m of mkhodak/learning-to-relax @ 973a880, run in Octave 7.3 on degenerate.m's right-hand side."""
    values, vectors = np.linalg.eig(spectral.sor_defect(PAPER.toarray(), 1.4))
    real = np.flatnonzero(abs(values.imag) < 1e-12)
    b = vectors[:, real[abs(values[real]).argmin()]].real
    counts = [sor(SPDMatrix(PAPER), b, w).iterations for w in (1.2, 1.3, 1.39, 1.4, 1.41, 1.5, 1.56, 1.6)]
    assert counts == [108, 82, 54, 12, 51, 45, 32, 35]


def test_one_unknown_by_hand():
    """4 x = 1 at omega = 1.5: the residual halves and changes sign with each sweep."""
    done = sor(SPDMatrix([[4.0]]), [1.0], 1.5, tol=0.25)
    assert done == ([0.1875], 2, 0.25, True)


def test_conjugate_gradients_stop_at_the_true_residual():
    """Condition 1e9: the recursion's residual is small long before the true one, which rounding keeps from the goal."""
    A = systems.random_spd(40, 1e9, np.random.default_rng(2))
    b = np.random.default_rng(3).normal(size=40)
    for tol, reached in ((1e-6, True), (1e-15, False)):
        done = cg(SPDMatrix(A), b, tol=tol, cap=3_000)
        assert done.converged == reached
        assert done.residual == pytest.approx(np.linalg.norm(b - A @ done.x), rel=0.5)
        assert (np.linalg.norm(b - A @ done.x) <= 1.5 * tol * np.linalg.norm(b)) == reached


def test_starts_tolerances_and_caps():
    A, b = SPDMatrix(PAPER), np.ones(100)
    x = np.linalg.solve(PAPER.toarray(), b)
    for solve in (sor, ssor, ssor_cg):
        assert solve(A, b, 1.5, x0=x, tol=1e-8, relative=False).iterations == 0
        assert solve(A, np.zeros(100), 1.5).iterations == 0
        relative, absolute = solve(A, b, 1.5, tol=1e-8), solve(A, b, 1.5, tol=1e-7, relative=False)
        np.testing.assert_array_equal(relative.x, absolute.x)  # the norm of b is 10
        capped = solve(A, b, 1.5, cap=3)
        assert (capped.iterations, capped.converged) == (3, False)
        assert capped.residual == pytest.approx(np.linalg.norm(b - PAPER @ capped.x))


# matrices -----------------------------------------------------------------------------------------------------------


def test_laplacians_of_the_paper():
    assert (PAPER.toarray() == Grid(10, 10).matrix().toarray()).all()
    assert systems.laplacian(systems.l_shape(12)).shape == (75, 75)
    assert systems.laplacian(systems.l_shape(32)).shape == (675, 675)
    inside = np.array([[True, False], [True, True]])  # numbered down the columns: 0, 1 and then 2 beside 1
    np.testing.assert_array_equal(systems.laplacian(inside).toarray(), [[4, -1, 0], [-1, 4, -1], [0, -1, 4]])


def test_nine_point_rows_vanish_inside():
    A = systems.nine_point(5)
    assert A.sum(axis=1)[12] == pytest.approx(0)
    np.testing.assert_allclose(6 * A.toarray()[12, [6, 7, 8, 11, 12]], [-1, -4, -1, -4, 20])


def test_crank_nicolson_is_the_implicit_half_step():
    A, h = systems.crank_nicolson(4, 0.3, 0.01).toarray(), 1 / 5
    laplace = -systems.laplacian(np.ones((4, 4), bool)).toarray() / h**2
    np.testing.assert_allclose(A, np.eye(16) - 0.5 * 0.3 * 0.01 * laplace)


def test_stiffness_on_a_square_mesh_is_the_five_point_laplacian():
    """Right-angled triangles: the diagonals carry no weight, whichever way they run."""
    points = np.stack(np.meshgrid(np.arange(5.0), np.arange(5.0), indexing="ij"), axis=2).reshape(-1, 2)
    inside = systems.laplacian(np.ones((3, 3), bool)).toarray()
    np.testing.assert_allclose(systems.stiffness(points).toarray(), inside, atol=1e-12)


@given(seeds())
@settings(max_examples=10)
def test_finite_elements_are_exact_on_linear_functions(seed):
    rng = np.random.default_rng(seed)
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]])
    points = np.r_[corners, rng.random((12, 2))]
    A = systems.stiffness(points)
    assert SPDMatrix(A).n == A.shape[0]  # positive definite
    assert A.shape[0] <= 12


def test_graph_laplacian():
    A = systems.graph_laplacian(3, [[0, 1], [1, 2]], [2.0, 0.5]).toarray()
    np.testing.assert_array_equal(A, [[2, -2, 0], [-2, 2.5, -0.5], [0, -0.5, 0.5]])


def test_random_spd_has_the_condition_that_is_asked_for():
    A = systems.random_spd(6, 1e4, np.random.default_rng(0))
    assert spectral.condition(A) == pytest.approx(1e4, rel=1e-8)
    assert SPDMatrix(A).least_eigenvalue == pytest.approx(1)


def test_truncated_normal_has_its_law():
    rng, lengths = np.random.default_rng(1), []
    for _ in range(4_000):
        b = np.zeros(3)
        systems.truncated_normal(b, rng)
        lengths.append(b @ b)
    inside = stats.chi2.cdf(3, 3)
    assert stats.kstest(lengths, lambda x: np.minimum(stats.chi2.cdf(x, 3) / inside, 1)).pvalue > 1e-4


@given(problems())
@settings(max_examples=40)
def test_matrices_survive_the_conversion(problem):
    A, _ = problem
    matrix = SPDMatrix(csr_array(A))
    np.testing.assert_array_equal(matrix.toarray(), A)
    for i in range(matrix.n):
        entries = (
            matrix.column[matrix.offset[i] : matrix.middle[i]],
            matrix.column[matrix.middle[i] : matrix.offset[i + 1]],
        )
        assert (entries[0] < i).all()
        assert (entries[1] > i).all()
    assert matrix.least_eigenvalue == pytest.approx(np.linalg.eigvalsh(A)[0])


@given(st.integers(2, 6), seeds())
@settings(max_examples=60)
def test_positive_definiteness_is_decided(n, seed):
    rng = np.random.default_rng(seed)
    L = np.tril(rng.normal(size=(n, n)), -1)
    A = L + L.T + np.diag(rng.uniform(0.1, 4, n))
    least = np.linalg.eigvalsh(A)[0]
    if least > 1e-6:
        SPDMatrix(A)
    elif least < -1e-6:
        with pytest.raises(ValueError, match="not positive definite"):
            SPDMatrix(A)


# spectral quantities ------------------------------------------------------------------------------------------------


def test_quantities_of_the_papers_matrix():
    A = PAPER.toarray()
    assert spectral.jacobi_radius(A) == pytest.approx(np.cos(np.pi / 11), rel=1e-13)
    assert spectral.optimal_omega(np.cos(np.pi / 11)) == pytest.approx(2 / (1 + np.sin(np.pi / 11)), rel=1e-13)
    assert spectral.condition(A) == pytest.approx(1 / np.tan(np.pi / 22) ** 2, rel=1e-12)
    assert spectral.mu(A) == pytest.approx(4 / SPDMatrix(PAPER).least_eigenvalue, rel=1e-12)


@given(problems(), OMEGAS)
@settings(max_examples=40)
def test_quantities_against_their_definitions(problem, omega):
    A, _ = problem
    n, D, L = len(A), np.diag(np.diag(A)), np.tril(A, -1)
    inverse, W = np.linalg.inv(A), D / omega + L
    M = np.eye(n) - np.linalg.solve(W, A)
    weight = omega / (2 - omega) * W @ np.linalg.inv(D) @ W.T
    pairs = {
        "beta": (spectral.jacobi_radius(A), abs(np.linalg.eigvals(np.eye(n) - np.linalg.solve(D, A))).max()),
        "mu": (spectral.mu(A), np.linalg.eigvals(D @ inverse).real.max()),
        "nu": (spectral.nu(A), eigh(L @ np.linalg.inv(D) @ L.T - D / 4, A)[0][-1]),
        "lower": (
            spectral.lower_radius(A),
            abs(np.linalg.eigvals(np.linalg.solve(D, L) @ np.linalg.solve(D, L.T))).max(),
        ),
        "condition": (spectral.condition(A), np.linalg.cond(A)),
        "preconditioned": (spectral.preconditioned_condition(A, omega), np.divide(*eigh(weight, A)[0][[-1, 0]])),
        "contraction": (spectral.energy_contraction(A, omega), eigh(M.T @ A @ M, A)[0][-1]),
    }
    for name, (value, expected) in pairs.items():
        assert value == pytest.approx(expected, abs=1e-9), name
    np.testing.assert_allclose(spectral.sor_defect(A, omega), A @ M @ inverse, atol=1e-12)
    np.testing.assert_allclose(spectral.ssor_defect(A, omega), np.eye(n) - A @ np.linalg.inv(weight), atol=1e-10)


@pytest.mark.parametrize("omega", [0.3, 1.0, 1.4, 1.7, 1.95])
@pytest.mark.parametrize("shift", [-0.15, 0.0, 0.45])
def test_young_formula_on_the_papers_matrix_however_it_is_scaled(omega, shift):
    A = systems.shifted(PAPER, shift)
    beta = spectral.jacobi_radius(A.toarray())
    scaled = systems.rescaled(A, 10 ** np.random.default_rng(0).uniform(-1, 1, 100)).toarray()
    assert spectral.jacobi_radius(scaled) == pytest.approx(float(beta), rel=1e-12)
    for matrix in (A.toarray(), scaled):
        radius = spectral.spectral_radius(spectral.sor_defect(matrix, omega))
        assert radius == pytest.approx(float(spectral.young_radius(beta, omega)), abs=1e-7)


def test_young_formula_by_hand():
    """Two unknowns with coupling 1/2: Gauss-Seidel contracts by 1/4; the best omega is 4 (2 - sqrt 3)."""
    assert spectral.young_radius(0.5, 1.0) == 0.25
    assert spectral.optimal_omega(0.5) == pytest.approx(4 * (2 - 3**0.5))
    assert spectral.young_radius(0.5, 1.5) == 0.5


def test_orderings():
    natural, (rows, columns) = Grid(3, 4).matrix(), (3, 4)
    colours = np.argsort(np.indices((rows, columns)).sum(axis=0).ravel() % 2, kind="stable")
    gamma = spectral.ordering_vector(natural)
    i, j = natural.nonzero()
    np.testing.assert_array_equal((gamma[j] - gamma[i])[i < j], 1)
    assert spectral.ordering_vector(natural[colours][:, colours]) is not None
    assert spectral.ordering_vector(systems.laplacian(systems.l_shape(12))) is not None
    assert spectral.ordering_vector(systems.nine_point(3)) is None
    ring = np.eye(4) * 4 - np.eye(4, k=1) - np.eye(4, k=-1)
    ring[0, 3] = ring[3, 0] = -1  # four points numbered around
    assert spectral.ordering_vector(ring) is None
    assert spectral.ordering_vector(np.eye(3)) is not None


def test_near_asymptotic_is_the_least_tau():
    C = np.array([[0.5, 3.0], [0.0, 0.5]])
    tau = spectral.near_asymptotic(C, 9, 0.5)
    norm = np.linalg.norm(np.linalg.matrix_power(C, 9), 2)
    assert (0.5 + tau * 0.5) ** 9 == pytest.approx(norm)


# bandits ------------------------------------------------------------------------------------------------------------

SMALL = SPDMatrix(systems.laplacian(systems.square(6)))
ARMS = np.array([1.0, 1.2, 1.4, 1.9])
FAMILIES = [
    Systems(SOR(SMALL), -0.3, 0.6, tol=1e-4),
    Systems(GridSOR(Grid(4, 4)), -0.3, 0.6, 0.5, 1.5, tol=1e-4),
    Systems(SSOR(SMALL), 0.1, 0.0, tol=1e-4, relative=False),
    Systems(SSORCG(SMALL), -0.3, 0.6, tol=1e-8),
]


@dataclass(frozen=True)
class Fixed(ContextualAlgorithm):
    """Always the same arm; remembers the last context and the sum of rewards."""

    arm: int

    def start(self, n_arms, dim, horizon):
        return np.zeros(2)

    def choose(self, state, t, context, rng):
        state[0] = context[0]
        return self.arm

    def update(self, state, t, context, arm, reward):
        state[1] += reward


def bandits(family, cap=400):
    costs = expected_costs(family, ARMS, cap=cap, nodes=9, draws=20)
    return (
        RelaxationBandit(family, ARMS, cap, average_costs(family, costs)),
        ShiftedRelaxationBandit(family, ARMS, cap, costs.shifts, costs.mean),
    )


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: type(family.solver).__name__)
def test_compiled_equals_interpreted_and_runs_depend_on_the_seed_alone(family):
    hidden, shown = bandits(family)
    for run in (
        lambda **how: play(Exp3(0.05), hidden, horizon=25, seed=3, **how),
        lambda **how: play_contextual(Fixed(1), shown, horizon=25, seed=3, **how),
    ):
        few = run(runs=2, compiled=True)
        for compiled, oracle in zip(few, run(runs=2, compiled=False)):
            np.testing.assert_array_equal(compiled, oracle)
        many = run(runs=5, threads=2)
        np.testing.assert_array_equal(few.reward, many.reward[:2])
        assert len(np.unique(many.reward[:, -1])) > 1


def test_rewards_are_the_counts_of_the_solver():
    """One round, its shift read from the learner's state and its right-hand side drawn again from the run's stream."""
    family = FAMILIES[0]
    _, shown = bandits(family)
    record = play_contextual(Fixed(2), shown, horizon=1, runs=6, seed=5, keep_states=True)
    hidden = play(UCB1(), RelaxationBandit(family, ARMS[2:3], 400, [1.0]), horizon=1, runs=6, seed=5)
    np.testing.assert_array_equal(hidden.reward, record.reward)
    for child, reward, state in zip(np.random.SeedSequence(5).spawn(6), record.reward[:, 0], record.states):
        rng, b = np.random.default_rng(child), np.zeros(16)
        shift = family.low + family.width * rng.beta(family.alpha, family.beta)
        systems.truncated_normal(b, rng)
        assert shift == state[0]
        count = sor(SPDMatrix(systems.shifted(csr_array(SMALL.toarray()), shift)), b, ARMS[2], tol=1e-4).iterations
        assert iterations(reward, 400) == pytest.approx(count, abs=1e-9)


def test_a_solve_is_stopped_where_the_reward_is_zero():
    family = FAMILIES[0]
    env = RelaxationBandit(family, ARMS, 3, np.ones(4))
    record = play(Exp3(0.05), env, horizon=20, runs=1, seed=0)
    assert record.reward[0, -1] == 0
    assert iterations(record.reward[0, -1], 3, 20) == 20 * 4
    assert count_iterations(family, [0.0], ARMS, cap=3, draws=2, seed=0).max() == 4


def test_tables_agree_with_the_solver_and_regret_with_the_tables():
    family = FAMILIES[0]
    counts = count_iterations(family, [0.0, 0.2], ARMS, cap=400, draws=3, seed=4)
    rng, b = np.random.default_rng(4), np.zeros(16)
    for draw in counts:
        systems.truncated_normal(b, rng)
        for shift, row in zip((0.0, 0.2), draw):
            matrix = SPDMatrix(systems.shifted(csr_array(SMALL.toarray()), shift))
            assert row.tolist() == [sor(matrix, b, w, tol=1e-4).iterations for w in ARMS]
    shifts, costs = np.array([-0.3, 0.1, 0.3]), np.array([[9.0, 5, 3, 8], [4, 5, 6, 7], [2, 4, 6, 8]])
    env = ShiftedRelaxationBandit(family, ARMS, 10, shifts, costs)
    for c, arm, expected in ((-0.3, 0, 0.6), (0.1, 3, 0.3), (0.3, 0, 0.0), (0.2, 2, 0.3), (-0.1, 0, 0.2)):
        assert env.shortfall(None, 0, np.array([c]), arm) == pytest.approx(expected)
    rival = replace(env, rival=1)
    assert rival.shortfall(None, 0, np.array([0.3]), 0) == pytest.approx(-0.2)
    hidden = RelaxationBandit(family, ARMS, 10, costs[0])
    np.testing.assert_allclose(hidden.gaps, [0.6, 0.2, 0, 0.5])


def test_average_costs_weigh_shifts_by_their_law():
    family = Systems(SOR(SMALL), 0.0, 1.0, 2.0, 6.0)
    costs = expected_costs(family, ARMS, cap=400, nodes=9, draws=5)
    linear = costs._replace(mean=costs.shifts[:, None] * np.ones(4))
    np.testing.assert_allclose(average_costs(family, linear), 2 / 8, atol=1e-4)  # the mean of Beta(2, 6)


def test_total_of_the_papers_experiment():
    """5000 systems of the low-variance experiment at omega = 1.65: 295.8 thousand sweeps (our notes, three trials of
    an independent implementation)."""
    family = Systems(GridSOR(Grid(10, 10)), -0.15, 0.6)
    env = ShiftedRelaxationBandit(family, np.array([1.65]), 1_000, np.array([0.0]), np.zeros((1, 1)))
    record = play_contextual(Fixed(0), env, horizon=5_000, runs=1, seed=0)
    assert iterations(record.reward[0, -1], 1_000, 5_000) == pytest.approx(295_800, rel=0.015)


# bad input ----------------------------------------------------------------------------------------------------------

A2 = SPDMatrix([[2.0, -1], [-1, 2]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SPDMatrix([[1.0, 2], [3, 4]]), r"A must be symmetric: A\[0, 1\] is 2, A\[1, 0\] is 3"),
        (lambda: SPDMatrix([[1.0, 2], [2, 1]]), "A is not positive definite"),
        (lambda: SPDMatrix([[1.0, 1], [1, 1]]), "A is not positive definite"),
        (lambda: SPDMatrix([[1.0, 0], [0, -3]]), r"A\[1, 1\] is -3"),
        (lambda: SPDMatrix(np.ones((2, 3))), r"A must be square, got shape \(2, 3\)"),
        (lambda: SPDMatrix(csr_array(np.diag([1.0, np.nan]))), r"A\[1, 1\] is nan"),
        (lambda: Grid(3, 3, 2.8), "make no positive definite matrix"),
        (lambda: Grid(0, 3), "rows must be at least 1"),
        (lambda: sor(A2, [1.0, 2.0], 2.0), r"omega must lie in \(0, 2\), got 2.0"),
        (lambda: sor(A2, [1.0, 2.0, 3.0], 1.0), r"b must have shape \(n,\) = \(2,\)"),
        (lambda: sor(A2, [1.0, np.inf], 1.0), r"b\[1\] is inf"),
        (lambda: sor(A2, [1.0, 2.0], 1.0, tol=0.0), "tol must lie in"),
        (lambda: sor(A2, [1.0, 2.0], 1.0, cap=-1), "cap must be at least 0"),
        (lambda: ssor_cg(A2, [1.0, 2.0], 1.0, x0=[0.0]), "x0 must have shape"),
        (lambda: grid_sor(Grid(2, 2), np.ones((2, 3)), 1.0), r"b must have shape \(rows, columns\) = \(2, 2\)"),
        (lambda: spectral.optimal_omega(1.0), r"beta must lie in \[0, 1\), got 1.0"),
        (lambda: spectral.sor_defect(np.eye(2), 0.0), r"omega must lie in \(0, 2\), got 0.0"),
        (lambda: systems.rescaled(PAPER, np.zeros(100)), r"r\[0\] is 0"),
        (lambda: systems.laplacian(np.zeros((2, 2), bool)), "inside must be a bool array"),
        (lambda: systems.graph_laplacian(2, [[0, 2]], [1.0]), r"edges must be pairs of vertices 0..1"),
        (lambda: systems.graph_laplacian(2, [[0, 1]], [-1.0]), r"weights\[0\] is -1"),
        (lambda: Systems(SOR(SMALL), -0.8, 0.1), "low must exceed -0.763932, minus the least eigenvalue"),
        (lambda: Systems(SOR(SMALL), 0.0, -0.1), "width must lie in"),
        (lambda: RelaxationBandit(FAMILIES[0], [1.0, 2.5], 10, [1.0, 1.0]), r"omegas\[1\] must lie in \(0, 2\)"),
        (lambda: RelaxationBandit(FAMILIES[0], [1.0], 10, [1.0, 1.0]), r"costs must have shape \(K,\) = \(1,\)"),
        (lambda: ShiftedRelaxationBandit(FAMILIES[0], ARMS, 0, [0.0], np.ones((1, 4))), "cap must be at least 1"),
        (lambda: ShiftedRelaxationBandit(FAMILIES[0], ARMS, 9, [0.0, 0.0], np.ones((2, 4))), "shifts must hold"),
        (lambda: ShiftedRelaxationBandit(FAMILIES[0], ARMS, 9, [0.0], np.ones((1, 4)), 4), r"rival must be in -1..3"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_wrong_types_are_named():
    with pytest.raises(TypeError, match="A must be an SPDMatrix, got ndarray"):
        sor(np.eye(2), [1.0, 2.0], 1.0)
    with pytest.raises(TypeError, match="solver must be a Solver, got SPDMatrix"):
        Systems(SMALL, 0.0, 0.1)
