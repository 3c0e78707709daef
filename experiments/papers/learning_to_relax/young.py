r"""Section 2.2: the defect-reduction matrix of SOR, and Young's formula for its spectral radius."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import sympy

from claimlab.bandits.relaxation.spectral import (
    jacobi_radius,
    ordering_vector,
    sor_defect,
    spectral_radius,
    young_radius,
)
from claimlab.checks import Array
from claimlab.experiments.papers.learning_to_relax.common import (
    EPS,
    LOWER,
    OMEGA,
    ORDERED,
    RELAXATION,
    SCALES,
    SPD,
    claim,
    exact_defect,
    exact_parts,
    fewer,
    matrix,
    right_divide,
)
from claimlab.mdps.exact import Rationals, rationals, solve_linear
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity
from claimlab.theory.falsify import Box, Space, Trial, equate

# residuals and the defect-reduction matrix --------------------------------------------------------------------------

WHOLE = Box("NN", -2, 2, step=1)
RATIONAL = Space({"N": (1, 4)}, {"B": WHOLE, "b": Box("N", -2, 2, step=1), "tenths": Box("", 1, 19, step=1)})


def gram(B: Array) -> Rationals:
    """:math:`BB^T + I`, whole numbers."""
    return rationals((B @ B.T + np.eye(len(B))).astype(np.int64))


def _exact_sweep(A: Rationals, b: Rationals, omega: Any, x: Rationals) -> Rationals:
    """One sweep, unknown after unknown, as a program would."""
    new = x.copy()
    for i in range(len(A)):
        new[i] = (1 - omega) * x[i] + omega * (b[i] - A[i, :i] @ new[:i] - A[i, i + 1 :] @ x[i + 1 :]) / A[i, i]
    return new


def _defect(B: Array, b: Array, tenths: Array, *, transposed: bool) -> Trial:
    A, rhs, omega = gram(B), rationals(b.astype(np.int64)), rationals(int(tenths)).item() / 10
    x, residual = rhs * 0, rhs
    C = exact_defect(A, omega)
    C = C.T if transposed else C
    for _ in range(3):
        x, residual = _exact_sweep(A, rhs, omega, x), C @ residual
    return Trial(float(abs(rhs - A @ x - residual).max()), 0.0)


def _defect_check(budget: Budget, transposed: bool = False) -> Identity:
    return equate(RATIONAL, partial(_defect, transposed=transposed), fewer(budget, 4), proof="rational")


# Young's relation and formula ---------------------------------------------------------------------------------------

PATTERN = Space({"N": (1, 4)}, {"S": Box("NN", -1, 1, step=1), "tenths": Box("", 1, 19, step=1), "s": Box("", 1, 5)})


def _young_relation(S: Array, tenths: Array, s: Array, *, ordered: bool) -> Trial | None:
    """The two determinants, at a rational square root `s` of the eigenvalue; whole couplings over a diagonal of 4."""
    A = rationals((np.tril(S, -1) + np.tril(S, -1).T + 4 * np.eye(len(S))).astype(np.int64))
    if ordered and ordering_vector(A.astype(float)) is None:
        return None
    omega, root = rationals(int(tenths)).item() / 10, rationals(round(10 * float(s))).item() / 10
    D, L = exact_parts(A)
    L, U = solve_linear(D, L), solve_linear(D, L.T)
    eye = solve_linear(D, D) * (root**2 + omega - 1)
    left, right = eye + omega * (root**2 * L + U), eye + omega * root * (L + U)
    sides: Any = [sympy.Matrix(side.tolist()).det() for side in (left, right)]
    return Trial(abs(float(sides[0] - sides[1])), 0.0)


def _young_relation_check(budget: Budget, ordered: bool = True) -> Identity:
    grid = np.zeros((4, 4))
    grid[[1, 2, 3, 3], [0, 0, 1, 2]] = -1  # 2 x 2 points in natural order
    hard = [{"S": grid, "tenths": np.array(15), "s": np.array(2)}]
    return equate(PATTERN, partial(_young_relation, ordered=ordered), fewer(budget, 8), hard=hard, proof="rational")


SMALL = Space({"N": (1, 4)}, {"S": LOWER, "d": SCALES, "omega": RELAXATION})


def _young_formula(S: Array, d: Array, omega: Array, *, ordered: bool) -> Trial | None:
    r"""Numerical radius against the formula.

    The eigenvalues of a defective matrix move by the n-th root of a perturbation (Elsner 1985):
    :math:`(\|X\| + \|X + E\|)^{1-1/n}\|E\|^{1/n}`, with the backward error of forming and decomposing `X` for `E`.
    """
    A = matrix(S, d)
    if A is None or (ordered and ordering_vector(A) is None) or jacobi_radius(A) >= 1:
        return None
    n, C = len(A), sor_defect(A, float(omega))
    norm = float(np.linalg.norm(C, 2))
    rounding = (2 * norm + 1) ** (1 - 1 / n) * (256 * n**2 * EPS * (norm + 1)) ** (1 / n)
    formula = float(young_radius(jacobi_radius(A), float(omega)))
    return Trial(abs(float(spectral_radius(C)) - formula), rounding + 8 * EPS**0.5)


def _young_formula_check(budget: Budget, ordered: bool = True) -> Identity:
    cycle = np.zeros((4, 4))
    cycle[[1, 2, 3, 3], [0, 1, 2, 0]] = -0.45  # the same 2 x 2 points, numbered around: not consistently ordered
    hard = [{"S": cycle, "d": np.zeros(4), "omega": np.array(1.5)}]
    return equate(SMALL, partial(_young_formula, ordered=ordered), budget, hard=hard)


# scaling ------------------------------------------------------------------------------------------------------------

SCALED = Space({"N": (1, 4)}, {"B": WHOLE, "r": Box("N", 1, 5, step=1), "tenths": Box("", 1, 19, step=1)})


def _scaling(B: Array, r: Array, tenths: Array, *, similar: bool) -> Trial:
    A, R, omega = gram(B), rationals(np.diag(r).astype(np.int64)), rationals(int(tenths)).item() / 10
    C = exact_defect(A, omega)
    mapped = right_divide(R @ C, R) if similar else C
    return Trial(float(abs(exact_defect(R @ A @ R, omega) - mapped).max()), 0.0)


def _scaling_check(budget: Budget, similar: bool = True) -> Identity:
    return equate(SCALED, partial(_scaling, similar=similar), fewer(budget, 4), proof="rational")


CLAIMS = (
    claim(
        id="learning-to-relax/defect-reduction",
        source="Section 2.2 and Appendix D",
        statement=(
            r"The residual after $k$ sweeps from zero is $C_\omega^kb$ with $C_\omega = I - A(D/\omega + L)^{-1}$."
        ),
        kind=Identity,
        premises=(SPD, OMEGA),
        check=_defect_check,
        control=partial(_defect_check, transposed=True),
        control_statement=r"it is $(C_\omega^T)^kb$.",
    ),
    claim(
        id="learning-to-relax/young-relation",
        source="Section 2.2, after Young (1971)",
        statement=(
            r"The characteristic polynomials of SOR and of Jacobi's method agree: "
            r"$\det((\lambda + \omega - 1)I + \omega(\lambda D^{-1}L + D^{-1}L^T)) = "
            r"\det((\lambda + \omega - 1)I + \omega\sqrt\lambda\,D^{-1}(L + L^T))$."
        ),
        kind=Identity,
        premises=(SPD, ORDERED),
        check=_young_relation_check,
        control=partial(_young_relation_check, ordered=False),
        control_statement="the same for matrices that are not consistently ordered.",
    ),
    claim(
        id="learning-to-relax/young-formula",
        source="Lemma 2.1, proof (Hackbusch 2016, Theorem 4.27)",
        statement=(
            r"$\rho(C_\omega) = \frac14(\omega\beta + \sqrt{\omega^2\beta^2 - 4(\omega - 1)})^2$ for "
            r"$\omega < \omega^* = 2/(1 + \sqrt{1 - \beta^2})$ and $\omega - 1$ from there on."
        ),
        kind=Identity,
        premises=(SPD, ORDERED, OMEGA),
        check=_young_formula_check,
        control=partial(_young_formula_check, ordered=False),
        control_statement=(
            r"the same for all matrices with $\beta < 1$: four points in a ring, numbered around it, break it."
        ),
    ),
    claim(
        id="learning-to-relax/scaling-invariance",
        source="ours, on Section 2.2",
        statement=(
            r"$C_\omega(RAR) = RC_\omega(A)R^{-1}$ for every diagonal $R$: $\beta$, $\rho(C_\omega)$ and $\omega^*$ do "
            "not change when equations and unknowns are rescaled."
        ),
        kind=Identity,
        premises=(SPD, OMEGA),
        check=_scaling_check,
        control=partial(_scaling_check, similar=False),
        control_statement=r"$C_\omega(RAR) = C_\omega(A)$, so norms and counts do not change either.",
    ),
)
