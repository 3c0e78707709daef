"""Learning to Relax, on the solvers: slips of the bounds are caught, and witnesses by hand."""

from dataclasses import replace
from fractions import Fraction
from functools import partial
from math import e

import matplotlib.pyplot as plt
import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from claimlab.bandits.relaxation import SPDMatrix, solvers, ssor_cg
from claimlab.bandits.relaxation.spectral import (
    condition,
    energy_contraction,
    jacobi_radius,
    lower_radius,
    mu,
    nu,
    optimal_omega,
    sor_defect,
)
from claimlab.bandits.relaxation.systems import l_shape, laplacian, nine_point, shifted, square
from claimlab.experiments.papers.learning_to_relax import cg, energy, figures, sor, ssor, surrogate
from claimlab.experiments.papers.learning_to_relax.common import (
    exact_defect,
    matrix,
    paper_matrix,
    path_laplacian,
    written,
)
from claimlab.theory import relaxation as theory
from claimlab.theory.claims import SMOKE
from claimlab.theory.evidence import Outcome

BUDGET = replace(SMOKE, seed=20_26, instances=60)


@pytest.mark.parametrize(
    "wrong",
    [
        partial(sor._omega_check, bound=theory.sharp_omega_lipschitz, factor=0.99),
        partial(cg._axelsson_check, share=0.999),
        partial(cg._unimodal_check, weight=1.8),
        partial(cg._semi_lipschitz_check, factor=0.2),
        partial(ssor._rank_one_check, share=0.7),
        partial(surrogate._monotone_check, end=1.005),
        partial(surrogate._cap_check, low=0.99),
    ],
)
def test_wrong_constants_are_caught(wrong):
    """Other falsehoods than the controls, nearer to the truth."""
    assert wrong(BUDGET.of("wrong")).rule(0.05)[0] is Outcome.REFUTED


@pytest.mark.parametrize(
    ("module", "name", "replacement", "check"),
    [
        (
            sor,
            "sharp_omega_lipschitz",
            lambda b, d: theory.sharp_omega_lipschitz(b, d) * b,
            "best-omega-lipschitz-sharp",
        ),
        (
            surrogate,
            "sor_surrogate_lipschitz",
            lambda b, t, w, tol: theory.sor_surrogate_lipschitz(b, t, w, tol) * (1 - t),
            0,
        ),
        (energy, "energy_bound", lambda w, b, r, repaired: theory.energy_bound(w, b, r * 0.9), "energy-norm-repaired"),
        (cg, "axelsson_bound", lambda w, m, n: theory.axelsson_bound(w, m, n - 0.01), "ssor-condition"),
    ],
)
def test_slips_in_a_bound_are_caught(module, name, replacement, check, monkeypatch):
    """A factor lost, as in a proof gone wrong."""
    monkeypatch.setattr(module, name, replacement)
    if name == "sharp_omega_lipschitz":
        evidence = sor._omega_check(BUDGET.of("slip"), bound=replacement)
    else:
        id_ = f"learning-to-relax/{check or 'surrogate-lipschitz'}"
        evidence = next(c for c in module.CLAIMS if c.id == id_).check(BUDGET.of("slip"))
    assert evidence.rule(0.05)[0] is Outcome.REFUTED


# what is false, by hand ---------------------------------------------------------------------------------------------


def test_assumption_fails_for_two_unknowns():
    """a = 0.9, omega = 1, b = (1, 0.91), tolerance 0.006: two sweeps, and the first may lengthen a residual."""
    A = written([[1, 0.9], [0.9, 1]])
    C, b = exact_defect(A, Fraction(1)), written([1, 0.91])
    assert C.tolist() == [[Fraction(81, 100), Fraction(-9, 10)], [0, 0]]
    lengths = [sum(r**2) / sum(b**2) for r in (C @ b, C @ C @ b)]
    assert lengths[0] > Fraction("0.006") ** 2 >= lengths[1]
    longer = C @ written([1, -1])
    assert sum(longer**2) > 2


def test_energy_norm_of_the_papers_matrix():
    """Theorem D.1 fails there, by the numbers of our notes."""
    A = paper_matrix()
    beta, lower = jacobi_radius(A), lower_radius(A)
    assert lower == pytest.approx(0.24388, abs=1e-5)
    for omega, true, printed, repaired in ((1.8, 0.799345, 0.768863, 0.8241), (1.95, 0.949663, 0.929913, 0.9504)):
        assert energy_contraction(A, omega) == pytest.approx(true, abs=1e-6)
        assert theory.energy_bound(omega, beta, lower, repaired=False) == pytest.approx(printed, abs=1e-6)
        assert theory.energy_bound(omega, beta, lower) == pytest.approx(repaired, abs=5e-5)


def test_corollary_on_symmetric_sor_fails_for_the_papers_matrix():
    A, omega = paper_matrix(), 1.95
    b = energy._slowest(A, omega)
    printed = theory.energy_bound(omega, jacobi_radius(A), lower_radius(A), repaired=False)
    count = solvers.ssor(SPDMatrix(A), b, omega, tol=1e-8).iterations
    assert count == 1 + int(np.log(1e-8) / np.log(energy_contraction(A, omega)))  # an eigenvector: exactly geometric
    assert count > theory.ssor_iterations_bound(printed, condition(A), 1e-8) + 60


def test_energy_norm_of_two_unknowns():
    A = np.array([[1, 0.1], [0.1, 1]])
    assert energy_contraction(A, 1.1) > 2 * theory.energy_bound(1.1, 0.1, 0.01, repaired=False)


def test_nu_of_two_unknowns_is_what_it_is_by_hand():
    """(L D^-1 L^T - D / 4) = diag(-1/4, a^2 - 1/4): its last entry is positive for a > 1/2."""
    for a, sign in ((0.4, -1), (0.5, 0), (0.6, 1)):
        assert np.sign(np.round(nu(np.array([[1, a], [a, 1]])), 12)) == sign
    assert nu(shifted(laplacian(square(12)), -0.15).toarray()) == pytest.approx(2.41, abs=0.01)


def test_the_semi_lipschitz_constant_and_what_it_lacks():
    """Numbers of our notes (kappa = 50, eps = 1e-8), and the first n for which the logarithm does not save it."""
    for m, n, slope, constant in ((5, -0.1, 12.0, 3.27), (24.7, -0.0035, 30.5, 3.57)):
        omega = np.linspace(cg.LEFT, theory.cg_omega(m, n), 4_000)
        falls = -np.diff(theory.cg_surrogate(omega, m, n, 50.0, 1e-8)) / np.diff(omega)
        assert falls.max() == pytest.approx(slope, rel=0.01)
        assert theory.cg_semi_lipschitz(m, n) == pytest.approx(constant, abs=0.01 if m == 5 else 0.08)
    for points, broken in ((1_000, False), (1_250, True)):
        least = 2 * np.sin(np.pi / (2 * (points + 1))) ** 2
        m, kappa = 1 / least, (2 - least) / least
        omega = np.linspace(cg.LEFT, theory.cg_omega(m, 0.0), 20_000)
        falls = -np.diff(theory.cg_surrogate(omega, m, 0.0, kappa, 1e-8)) / np.diff(omega)
        assert (falls.max() > theory.cg_semi_lipschitz(m, 0.0) * theory.krylov_length(kappa, 1e-8)) == broken


def test_the_matrices_of_the_paths_are_what_the_closed_forms_say():
    A = path_laplacian(9)
    least = 2 * np.sin(np.pi / 20) ** 2
    assert mu(A) == pytest.approx(1 / least)
    assert condition(A) == pytest.approx((2 - least) / least)
    assert nu(A) == pytest.approx(0, abs=1e-12)


def test_the_last_step_of_the_proof_of_the_repaired_constant():
    """4 (x^2 - 1)^2 < x^3 (x^2 + 1) for x > 1: the difference has no root there, and is positive at 1."""
    x = sympy.Symbol("x", real=True)
    difference = sympy.Poly(x**3 * (x**2 + 1) - 4 * (x**2 - 1) ** 2, x)
    assert difference.eval(1) > 0
    assert sympy.Poly(difference).count_roots(1, sympy.oo) == 0
    assert 0.75 * (1 + 2**0.5) ** 2 / 4 / 2 < 0.55


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.floats(1.01, 1.98), st.floats(1e-10, 0.5))
@settings(max_examples=60)
def test_the_lipschitz_constant_is_the_slope_at_the_right_end(beta, tau, top, tol):
    """Where the interval ends at a rate above the others', the constant is the derivative there."""
    if top - 1 < beta**2 or top < optimal_omega(beta) + 1e-3:
        return
    h = 1e-6
    values = theory.sor_surrogate(np.array([top - h, top + h]), beta, tau, tol)
    slope = (values[1] - values[0]) / (2 * h)
    assert slope == pytest.approx(float(theory.sor_surrogate_lipschitz(beta, tau, top, tol)), rel=1e-4)


def test_the_premise_of_the_lipschitz_constant():
    """beta^2 = (4/e^2)(1 - e^-2) is where the best omega minus 1 is 1/(e^2 - 1)."""
    edge = (4 * e**-2 * (1 - e**-2)) ** 0.5
    assert optimal_omega(edge) - 1 == pytest.approx(1 / (e**2 - 1))
    assert theory.steep_enough(edge + 1e-9, 0.0)
    assert not theory.steep_enough(edge - 1e-9, 0.1)
    assert theory.steep_enough(0.0, e**-2)


def test_a_nine_point_matrix_has_no_young_formula():
    A = nine_point(10).toarray()
    beta = jacobi_radius(A)
    radii = [abs(np.linalg.eigvals(sor_defect(A, w))).max() for w in (1.5, 1.54, 1.6)]
    assert min(radii) == pytest.approx(0.602, abs=0.002)
    assert optimal_omega(beta) - 1 == pytest.approx(0.530, abs=0.001)


def test_steps_and_tau_of_preconditioned_conjugate_gradients():
    """Our notes' table for the paper's Figure 4: tau between 0.71 and 0.87 for normal right-hand sides."""
    for inside, size, c, m, kappa in (
        (l_shape, 12, 0.0, 14.50, 28.0),
        (l_shape, 12, 0.5, 5.80, 10.6),
        (square, 12, 0.0, 24.69, 48.4),
        (square, 12, 0.5, 6.80, 12.6),
    ):
        A = shifted(laplacian(inside(size)), c).toarray()
        assert mu(A) == pytest.approx(m, abs=0.006)
        assert condition(A) == pytest.approx(kappa, abs=0.06)
        omegas = np.linspace(cg.LEFT, 1.9, 30)
        b = figures.right_hand_side(len(A), 3)
        steps = np.array([ssor_cg(SPDMatrix(A), b, w, tol=1e-8).iterations for w in omegas])
        tau = ((steps - 1) / (theory.cg_surrogate(omegas, mu(A), nu(A), condition(A), 1e-8) - 1)).max()
        assert 0.65 < tau < 0.9


def test_matrices_are_drawn_as_their_witness_reads():
    np.testing.assert_allclose(matrix(np.array([[9, 9], [0.5, 9]]), np.array([0.0, 1.0])), [[1, 5], [5, 100]])
    assert matrix(np.array([[0, 0], [1.0, 0]]), np.zeros(2)) is None
    assert written(0.9).item() == Fraction(9, 10)


@pytest.mark.parametrize(
    "figure", [figure for figure in figures.FIGURES if figure.name != "cg-costs"], ids=lambda figure: figure.name
)
def test_figures_show_what_their_captions_say(figure):
    """The figure left out shows the numbers of the test of tau."""
    drawn, data = figure.draw()
    plt.close(drawn)
    if figure.name == "cost-estimates":
        table = data.pivot_table(index=["c", "omega"], columns="estimate", values="value")
        assert (table["sweeps"] <= table[r"surrogate $U$"]).all()
        assert (table["sweeps"] > table["asymptotic rule"] + 1).any()
    elif figure.name == "degenerate":
        spike = data[data["b"] != "truncated normal"].set_index("omega")["sweeps"]
        assert spike[1.4] == 12
        assert spike.drop(1.4).min() > 25
    elif figure.name == "asymptocity":
        assert (data["tau"] < e**-2).sum() == 1
        assert data["beta"].is_monotonic_decreasing
    else:
        assert (data["norm"] > data["printed"]).groupby(data["matrix"]).any().all()
        assert (data["norm"] <= data["repaired"] + 1e-12).all()
