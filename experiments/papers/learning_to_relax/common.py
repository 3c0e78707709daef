"""What the sections of the paper share: its entry in the catalogue, spaces of matrices, exact algebra, roundings."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from math import cos, pi
from typing import Any

import numpy as np

from claimlab.bandits.relaxation.spectral import condition
from claimlab.bandits.relaxation.systems import laplacian, square
from claimlab.checks import Array
from claimlab.mdps.exact import Rationals, rationals, solve_linear
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.falsify import Box, Case

PAPER = Paper(
    slug="learning-to-relax",
    title="Learning to Relax: Setting Solver Parameters Across a Sequence of Linear System Instances",
    authors="Mikhail Khodak, Edmond Chow, Maria-Florina Balcan, Ameet Talwalkar",
    venue="ICLR 2024",
    arxiv="2310.02246",
    tier="core-named",
)

claim = partial(Claim, paper=PAPER)

SPD = "$A = D + L + L^T$ symmetric positive definite"
ORDERED = "$A$ consistently ordered"
OMEGA = r"$\omega \in (0, 2)$"

EPS = float(np.finfo(np.float64).eps)
LEAST = 1e-3  # of the eigenvalues of the unit-diagonal matrices that are drawn: keeps condition numbers in hand

# A matrix is R (I + L + L^T) R: `S` holds L (what is on and above its diagonal is not read), R = diag(10 ** d).
LOWER, SCALES = Box("NN", -1, 1), Box("N", -1, 1)
LINK = Box("N", -1, 1)  # tridiagonal matrices: entry i couples i and i + 1, the last is not read
RELAXATION = Box("", 0.05, 1.95)


def matrix(S: Array, d: Array) -> Array | None:
    """The matrix of lower part `S` and scales `d`; None if it is not positive definite by `LEAST`."""
    L = np.tril(S, -1)
    unit = np.eye(len(S)) + L + L.T
    if np.linalg.eigvalsh(unit)[0] < LEAST:
        return None
    R = 10.0 ** np.round(d, 2)
    return np.asarray(R[:, None] * unit * R)


def tridiagonal(e: Array, d: Array) -> Array | None:
    """The consistently ordered matrix with couplings `e` between neighbours and scales `d`, or None as above."""
    return matrix(np.diag(e[:-1], -1), d)


def path_laplacian(n: int) -> Array:
    """The tridiagonal matrix (-1/2, 1, -1/2)."""
    return np.asarray(np.eye(n) - (np.eye(n, k=1) + np.eye(n, k=-1)) / 2)


def path_radius(n: int) -> float:
    """Its Jacobi radius."""
    return cos(pi / (n + 1))


def paper_matrix(c: float = 0.0) -> Array:
    """The paper's 5-point Laplacian of 100 points, plus `c` on the diagonal."""
    return np.asarray(laplacian(square(12)).toarray() + c * np.eye(100))


def chain(n: int = 3, link: float = -0.5) -> Case:
    """A path with equal couplings and unit diagonal."""
    return {"e": np.full(n, link), "d": np.zeros(n)}


def pair(coupling: float) -> Case:
    """Two unknowns, unit diagonal."""
    return {"S": np.array([[0, 0], [coupling, 0]]), "d": np.zeros(2)}


def unit_roundings(A: Array) -> float:
    r"""A bound on the relative error of eigenvalues of pencils with `A`: :math:`64n^2u\kappa(A)`.

    Cholesky factors, triangular solves and symmetric eigenvalues are backward stable with constants of order `n` to
    :math:`n^2` (Higham 2002, Theorems 8.5 and 10.3); a pencil's eigenvalues amplify that by the condition number.
    """
    return float(64 * len(A) ** 2 * EPS * condition(A))


def written(x: Any) -> Rationals:
    """Fractions of the decimals that a reader of the witness sees: 0.9 is 9/10."""
    decimals = np.round(np.asarray(x, dtype=np.float64), 12).astype(object)
    return rationals(np.vectorize(repr, otypes=[object])(decimals))


def exact_parts(A: Rationals) -> tuple[Rationals, Rationals]:
    """`D` and `L`."""
    zero = Fraction(0)
    D, L = np.full(A.shape, zero), np.full(A.shape, zero)
    for i in range(len(A)):
        D[i, i] = A[i, i]
        L[i, :i] = A[i, :i]
    return D, L


def exact_eye(n: int) -> Rationals:
    return rationals(np.eye(n, dtype=int))


def right_divide(A: Rationals, W: Rationals) -> Rationals:
    """:math:`AW^{-1}`."""
    return solve_linear(W.T, A.T).T


def exact_defect(A: Rationals, omega: Fraction) -> Rationals:
    r""":math:`C_\omega` without rounding."""
    D, L = exact_parts(A)
    return exact_eye(len(A)) - right_divide(A, D / omega + L)


def rayleigh(B: Rationals, A: Rationals, x: Array) -> Fraction:
    r""":math:`x^\top Bx/x^\top Ax` exactly, for `x` rounded: at most the largest eigenvalue of :math:`BA^{-1}`."""
    v = rationals(np.round(x / abs(x).max(), 6))
    return (v @ B @ v) / (v @ A @ v)


def many(budget: Budget) -> Budget:
    """Fifty times the instances: a batched measure makes them in the time of a few."""
    return budget.with_instances(50 * budget.instances)


def fewer(budget: Budget, share: int, least: int = 50) -> Budget:
    """A `share`-th of the instances, for measures that are dear."""
    return budget.with_instances(max(least, budget.instances // share))
