r"""Appendix D: contraction in the energy norm, and the counts that follow from it."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from math import sqrt
from typing import Any

import numpy as np
from scipy.linalg import eigh

from claimlab.bandits.relaxation import SPDMatrix, sor, ssor
from claimlab.bandits.relaxation.spectral import (
    condition,
    energy_contraction,
    jacobi_radius,
    lower_radius,
    ssor_weight,
)
from claimlab.checks import Array
from claimlab.experiments.papers.learning_to_relax.common import (
    LINK,
    LOWER,
    OMEGA,
    RELAXATION,
    SCALES,
    SPD,
    chain,
    claim,
    exact_defect,
    exact_parts,
    fewer,
    matrix,
    pair,
    rayleigh,
    right_divide,
    tridiagonal,
    unit_roundings,
    written,
)
from claimlab.experiments.papers.learning_to_relax.young import RATIONAL, gram
from claimlab.mdps.exact import solve_linear
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Inequality, Outcome
from claimlab.theory.falsify import Box, Space, Trial, attack, equate
from claimlab.theory.relaxation import (
    energy_bound,
    sor_sweeps_bound,
    ssor_iterations_bound,
)

BELOW = r"where $\rho(D^{-1}LD^{-1}L^T) < \frac14$, as for 5-point Laplacians"
REPAIRED = r"the same with $\max\{0, \rho(D^{-1}LD^{-1}L^T) - \frac14\}$"

# the energy norm ----------------------------------------------------------------------------------------------------


def _energy_identity(B: Array, b: Array, tenths: Array, *, backwards: bool) -> Trial:
    r""":math:`A\breve M_\omega = M_\omega^\top AM_\omega`, from which the norm and the symmetry follow."""
    A, omega = gram(B), Fraction(int(tenths), 10)
    D, L = exact_parts(A)
    W = D / omega + L
    weight = omega / (2 - omega) * right_divide(W, D) @ W.T
    once = solve_linear(A, exact_defect(A, omega) @ A)
    twice = once.T @ A @ (once if backwards else once.T)
    return Trial(float(abs(A - A @ solve_linear(weight, A) - twice).max()), 0.0)


def _energy_identity_check(budget: Budget, backwards: bool = True) -> Identity:
    return equate(RATIONAL, partial(_energy_identity, backwards=backwards), fewer(budget, 4), proof="rational")


MATRICES = Space({"N": (1, 4)}, {"S": LOWER, "d": SCALES, "omega": RELAXATION})


def _energy(S: Array, d: Array, omega: Array, *, repaired: bool) -> Trial | None:
    A = matrix(S, d)
    if A is None or (beta := float(jacobi_radius(A))) >= 1:
        return None
    bound = float(energy_bound(float(omega), beta, lower_radius(A), repaired=repaired))
    return Trial(float(energy_contraction(A, float(omega))), bound, unit_roundings(A), trivial=1.0)


def _exact_energy(S: Array, d: Array, omega: Array) -> tuple[Any, Any]:
    """A Rayleigh quotient of :math:`M^\\top AM` and `A`, and the bound of two unknowns, exactly."""
    A, w = matrix(S, d), written(omega).item()
    assert A is not None
    if A.shape != (2, 2):
        raise ArithmeticError("the exact bound is known for two unknowns only.")
    exact = written(A)
    M = solve_linear(exact, exact_defect(exact, w) @ exact)
    C = M.T @ exact @ M
    square = exact[1, 0] ** 2 / (exact[0, 0] * exact[1, 1])  # beta squared, and the radius of the lower part
    root, half = Fraction(sqrt(square)), (2 - w) / (2 * w)
    gammas = (1 - root + Fraction(sign, 10**12) for sign in (-1, 1))  # the bound is monotone between them
    bounds = [1 - (2 - w) / w * gamma / (half**2 + gamma / w + square - Fraction(1, 4)) for gamma in gammas]
    return rayleigh(C, exact, eigh(C.astype(float), A)[1][:, -1]), max(bounds)


def _energy_check(budget: Budget, repaired: bool = True) -> Inequality:
    hard = [pair(a) | {"omega": np.array(w)} for a, w in ((0.1, 1.1), (0.53, 1.75))]
    recheck = None if repaired else _exact_energy
    return attack(MATRICES, partial(_energy, repaired=repaired), budget, hard=hard, recheck=recheck)


# counts from the energy norm ----------------------------------------------------------------------------------------

SOLVED = Space({"N": (1, 10)}, {"e": LINK, "d": SCALES, "omega": Box("", 0.5, 1.95), "digits": Box("", 1, 8, step=1)})


def _slowest(A: Array, omega: float) -> Array:
    r"""The right-hand side that :math:`\breve C_\omega` shrinks least, of unit length."""
    weight = ssor_weight(A, omega)
    b = weight @ eigh(A, weight)[1][:, 0]
    return np.asarray(b / np.linalg.norm(b))


def _iterations(
    e: Array, d: Array, omega: Array, digits: Array, *, repaired: bool, symmetric: bool, share: float
) -> Trial | None:
    A, w, tol = tridiagonal(e, d), float(omega), 10.0 ** -float(digits)
    if A is None or (beta := float(jacobi_radius(A))) >= 1:
        return None
    contraction = float(energy_bound(w, beta, lower_radius(A), repaired=repaired))
    if not 1e-6 < contraction < 1 or condition(A) > 1e4:
        return None
    solve, bound = (ssor, ssor_iterations_bound) if symmetric else (sor, sor_sweeps_bound)
    done = solve(SPDMatrix(A), _slowest(A, w), w, tol=tol, cap=100_000)
    at = share * float(bound(contraction, condition(A), tol))
    return Trial(done.iterations, at, 1e-9 * at)


def _iterations_check(budget: Budget, repaired: bool = True, symmetric: bool = True, share: float = 1.0) -> Inequality:
    measure = partial(_iterations, repaired=repaired, symmetric=symmetric, share=share)
    hard = [chain(n, -0.5) | {"omega": np.array(1.9), "digits": np.array(8.0)} for n in (3, 6, 10)]
    hard.append(chain(2, -0.2) | {"omega": np.array(1.95), "digits": np.array(8.0)})
    return attack(SOLVED, measure, budget, hard=hard)


CLAIMS = (
    claim(
        id="learning-to-relax/ssor-is-two-sweeps",
        source="Eq. (48) (Hackbusch 2016, Theorem 6.26)",
        statement=(
            r"$A\breve M_\omega = M_\omega^TAM_\omega$: symmetric SOR is a sweep and its adjoint, so "
            r"$\rho(\breve C_\omega) = \|M_\omega\|_A^2$ and $A^{-1/2}\breve C_\omega A^{1/2}$ is symmetric."
        ),
        kind=Identity,
        premises=(SPD, OMEGA),
        check=_energy_identity_check,
        control=partial(_energy_identity_check, backwards=False),
        control_statement=r"$A\breve M_\omega = M_\omega^TAM_\omega^T$.",
    ),
    claim(
        id="learning-to-relax/energy-norm",
        source="Theorem D.1",
        statement=(
            r"$\|M_\omega\|_A^2 \le 1 - \frac{2-\omega}{\omega}\gamma / \big((\frac{2-\omega}{2\omega})^2 + "
            r"\frac\gamma\omega + \rho(D^{-1}LD^{-1}L^T) - \frac14\big)$, "
            r"$\gamma = 1 - \rho(D^{-1}(L + L^T))$."
        ),
        kind=Inequality,
        premises=(SPD, OMEGA, r"$\gamma > 0$"),
        check=partial(_energy_check, repaired=False),
        control=_energy_check,
        control_statement=REPAIRED + ".",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="learning-to-relax/energy-norm-repaired",
        source="ours, repairs Theorem D.1",
        statement=(
            r"$\|M_\omega\|_A^2 \le 1 - \frac{2-\omega}{\omega}\gamma / \big((\frac{2-\omega}{2\omega})^2 + "
            r"\frac\gamma\omega + \max\{0, \rho(D^{-1}LD^{-1}L^T) - \frac14\}\big)$."
        ),
        kind=Inequality,
        premises=(SPD, OMEGA, r"$\gamma > 0$"),
        check=_energy_check,
        control=partial(_energy_check, repaired=False),
        control_statement="the same without the maximum: false " + BELOW + ".",
    ),
    claim(
        id="learning-to-relax/sor-count",
        source="Corollary D.1, with Theorem D.1 repaired",
        statement=r"SOR needs at most $1 + \log(2\sqrt\kappa/\varepsilon)/(-\log\nu_\omega)$ sweeps.",
        kind=Inequality,
        premises=(SPD, OMEGA, r"$\nu_\omega^2$ the bound of Theorem D.1, repaired"),
        check=partial(_iterations_check, symmetric=False),
        control=partial(_iterations_check, symmetric=False, share=0.3),
        control_statement="0.3 of that.",
    ),
    claim(
        id="learning-to-relax/ssor-count",
        source="Corollary D.2",
        statement=(
            r"Symmetric SOR needs at most $1 + \log(2\|b\|_2\sqrt\kappa/\varepsilon)/(-2\log\nu_\omega)$ iterations, "
            r"$\nu_\omega^2$ the bound of Theorem D.1."
        ),
        kind=Inequality,
        premises=(SPD, OMEGA, r"$\gamma > 0$"),
        check=partial(_iterations_check, repaired=False),
        control=_iterations_check,
        control_statement="the same with Theorem D.1 repaired.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="learning-to-relax/ssor-count-repaired",
        source="ours, repairs Corollary D.2",
        statement="The same with Theorem D.1 repaired.",
        kind=Inequality,
        premises=(SPD, OMEGA, r"$\gamma > 0$"),
        check=_iterations_check,
        control=partial(_iterations_check, repaired=False),
        control_statement="the same with Theorem D.1 as printed.",
    ),
)
