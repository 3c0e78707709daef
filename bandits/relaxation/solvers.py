"""The solvers for use from Python: checked arguments, and the solution with its true residual."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.bandits.relaxation import sweeps
from claimlab.bandits.relaxation.matrices import Grid, SPDMatrix
from claimlab.checks import Array

CAP = 10_000  # of the authors' code


class Solution(NamedTuple):
    """An approximate solution of A x = b with the residual that it really has."""

    x: Array  # the shape of b
    iterations: int  # sweeps, or steps of conjugate gradients
    residual: float  # 2-norm of b - A x
    converged: bool  # False: `cap` came before the tolerance


def sor(
    A: SPDMatrix,
    b: ArrayLike,
    omega: float,
    *,
    tol: float = 1e-8,
    relative: bool = True,
    x0: ArrayLike | None = None,
    cap: int = CAP,
) -> Solution:
    r"""Successive over-relaxation (Algorithm 1): the first `k` with :math:`\|b - Ax_k\|_2 \le` `tol` times
    :math:`\|b - Ax_0\|_2`.

    Parameters
    ----------
    b : float[n]
    omega : float
        In (0, 2).
    tol : float
        In units of the first residual's norm, or absolute unless `relative`.
    x0 : float[n], optional
        Start; zero by default.
    cap : int
        Most sweeps.
    """
    return _solve(sweeps.sor, 3, A, b, _relaxation(omega), tol, relative, x0, cap)


def ssor(
    A: SPDMatrix,
    b: ArrayLike,
    omega: float,
    *,
    tol: float = 1e-8,
    relative: bool = True,
    x0: ArrayLike | None = None,
    cap: int = CAP,
) -> Solution:
    """Symmetric SOR (Algorithm 8), a sweep forwards and one backwards an iteration; arguments as for :func:`sor`."""
    return _solve(sweeps.ssor, 3, A, b, _relaxation(omega), tol, relative, x0, cap)


def ssor_cg(
    A: SPDMatrix,
    b: ArrayLike,
    omega: float,
    *,
    tol: float = 1e-8,
    relative: bool = True,
    x0: ArrayLike | None = None,
    cap: int = CAP,
) -> Solution:
    """Conjugate gradients preconditioned by symmetric SOR (Section 2.4); arguments as for :func:`sor`."""
    return _solve(sweeps.ssor_cg, 4, A, b, _relaxation(omega), tol, relative, x0, cap)


def cg(
    A: SPDMatrix,
    b: ArrayLike,
    *,
    tol: float = 1e-8,
    relative: bool = True,
    x0: ArrayLike | None = None,
    cap: int = CAP,
) -> Solution:
    """Conjugate gradients without a preconditioner; arguments as for :func:`sor`."""
    return _solve(sweeps.ssor_cg, 4, A, b, 0.0, tol, relative, x0, cap)


def _relaxation(omega: float) -> float:
    return checks.interval("omega", omega, 0, 2, "()")


def _solve(
    run: Callable[..., sweeps.Stop],
    vectors: int,
    A: SPDMatrix,
    b: ArrayLike,
    omega: float,
    tol: float,
    relative: bool,
    x0: ArrayLike | None,
    cap: int,
) -> Solution:
    if not isinstance(A, SPDMatrix):
        raise TypeError(f"A must be an SPDMatrix, got {type(A).__name__}: write SPDMatrix(A).")
    rhs = checks.shaped("b", b, (A.n,), "(n,)").copy()
    x = np.zeros(A.n) if x0 is None else checks.shaped("x0", x0, (A.n,), "(n,)").copy()
    cap, unit = checks.integer("cap", cap, 0), 1.0
    tol = checks.interval("tol", tol, 0, inf, "()")
    if relative:
        unit = run(A, 0.0, rhs, omega, inf, 0, x, np.zeros((vectors, A.n))).residual
    return Solution(x, *run(A, 0.0, rhs, omega, tol * unit, cap, x, np.zeros((vectors, A.n))))


def grid_sor(
    A: Grid,
    b: ArrayLike,
    omega: float,
    *,
    tol: float = 1e-8,
    relative: bool = True,
    x0: ArrayLike | None = None,
    cap: int = CAP,
) -> Solution:
    """:func:`sor` on a stencil, points in the natural order, with `b` and `x0` float[rows, columns]."""
    rhs, x = _framed("b", b, A), _framed("x0", np.zeros((A.rows, A.columns)) if x0 is None else x0, A)
    work = np.zeros((A.rows + 4, A.columns + 2))
    omega, cap, tol = _relaxation(omega), checks.integer("cap", cap, 0), checks.interval("tol", tol, 0, inf, "()")
    unit = sweeps.grid_sor(A, 0.0, rhs, omega, inf, 0, x, work).residual if relative else 1.0
    done = sweeps.grid_sor(A, 0.0, rhs, omega, tol * unit, cap, x, work)
    return Solution(x[1:-1, 1:-1].copy(), *done)


def red_black_sor(
    A: Grid,
    b: ArrayLike,
    omega: float,
    *,
    tol: float = 1e-8,
    relative: bool = True,
    x0: ArrayLike | None = None,
    cap: int = CAP,
) -> Solution:
    """:func:`grid_sor` with all points of even ``row + column`` before the others."""
    red_b, black_b = _coloured(_framed("b", b, A)[1:-1, 1:-1])
    work = np.zeros((5, *red_b.shape))
    if x0 is not None:
        work[:2] = _coloured(_framed("x0", x0, A)[1:-1, 1:-1])
    omega, cap, tol = _relaxation(omega), checks.integer("cap", cap, 0), checks.interval("tol", tol, 0, inf, "()")
    unit = sweeps.red_black_sor(A, 0.0, red_b, black_b, omega, inf, 0, work).residual if relative else 1.0
    done = sweeps.red_black_sor(A, 0.0, red_b, black_b, omega, tol * unit, cap, work)
    x = np.empty((A.rows, A.columns))
    for colour, (i, j) in _checkerboard():
        x[i::2, j::2] = _points(work[colour], x.shape, i, j)
    return Solution(x, *done)


def _framed(name: str, value: ArrayLike, A: Grid) -> Array:
    if not isinstance(A, Grid):
        raise TypeError(f"A must be a Grid, got {type(A).__name__}.")
    return np.pad(checks.shaped(name, value, (A.rows, A.columns), "(rows, columns)"), 1)


def _checkerboard() -> tuple[tuple[int, tuple[int, int]], ...]:
    """Colour (0 red, 1 black), and first row and column of the four quarters of the points."""
    return ((0, (0, 0)), (0, (1, 1)), (1, (0, 1)), (1, (1, 0)))


def _points(x: Array, shape: tuple[int, ...], i: int, j: int) -> Array:
    """The view of one colour's array that holds the points of a quarter."""
    return x[1 + i : shape[0] + 1 : 2, 1 : 1 + (shape[1] - j + 1) // 2]


def _coloured(x: Array) -> tuple[Array, Array]:
    half = (x.shape[1] + 1) // 2
    parts: Any = np.zeros((x.shape[0] + 2, half + 2)), np.zeros((x.shape[0] + 2, half + 2))
    for colour, (i, j) in _checkerboard():
        _points(parts[colour], x.shape, i, j)[:] = x[i::2, j::2]
    return parts
