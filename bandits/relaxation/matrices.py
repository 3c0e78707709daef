"""Symmetric positive definite matrices as the sweeps read them: sparse rows, and 5-point stencils."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field
from math import cos, inf, pi
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array, eye_array, issparse, kron, tril
from scipy.sparse.linalg import eigsh, splu

from claimlab import checks
from claimlab.checks import Array, Sparse
from claimlab.native import Native

Indices = NDArray[np.int32]
EPS = float(np.finfo(np.float64).eps)
SYMMETRY = 1e-12  # how far A[i, j] and A[j, i] may lie apart, in units of sqrt(A[i, i] A[j, j]): rounding of R A R


@dataclass(frozen=True, eq=False)
class SPDMatrix(Native):
    """A sparse symmetric positive definite matrix; entries of row `i` left of the diagonal come first, then the others.

    Parameters
    ----------
    A : scipy sparse matrix or float[n, n]
        Checked for symmetry, and for positive definiteness by Gershgorin's discs or else by a factorisation.
    """

    A: InitVar[Any]
    diagonal: Array = field(init=False)  # [n]
    offset: Indices = field(init=False)  # [n + 1], row i holds the entries offset[i]..offset[i + 1] - 1
    middle: Indices = field(init=False)  # [n], where the entries right of the diagonal begin
    column: Indices = field(init=False)  # of each entry off the diagonal
    value: Array = field(init=False)

    def __post_init__(self, A: Any) -> None:
        rows = checks.csr("A", A if issparse(A) else csr_array(checks.array("A", A, ndim=2)))
        rows.sum_duplicates()
        rows.eliminate_zeros()
        _check_spd(rows)
        diagonal = rows.diagonal()
        below, at, n = np.diff(csr_array(tril(rows, -1)).indptr), rows.indptr, len(diagonal)
        off = rows.indices != np.repeat(np.arange(n), np.diff(at))
        offset = at - np.arange(n + 1)
        frozen = {
            "diagonal": diagonal,
            "offset": offset.astype(np.int32),
            "middle": (offset[:-1] + below).astype(np.int32),
            "column": rows.indices[off].astype(np.int32),
            "value": rows.data[off],
        }
        for x in frozen.values():
            x.flags.writeable = False
        self._settle(**frozen)

    @property
    def n(self) -> int:
        """Rows."""
        return len(self.diagonal)

    @property
    def least_eigenvalue(self) -> float:
        """By dense algebra up to 500 rows, by Lanczos iteration about zero beyond."""
        if self.n <= 500:
            return float(np.linalg.eigvalsh(self.toarray())[0])
        off = csr_array((self.value, self.column, self.offset), shape=(self.n, self.n))
        return float(eigsh(off + diags_array(self.diagonal), k=1, sigma=0, return_eigenvectors=False)[0])

    def toarray(self) -> Array:
        """The dense matrix, float[n, n]."""
        off = csr_array((self.value, self.column, self.offset), shape=(self.n, self.n)).toarray()
        return np.asarray(off + np.diag(self.diagonal))


def _check_spd(A: Sparse) -> None:
    if A.shape[0] != A.shape[1] or not A.shape[0]:
        raise ValueError(f"A must be square, got shape {A.shape}.")
    bad = np.flatnonzero(~np.isfinite(A.data))
    if len(bad):
        i = int(np.searchsorted(A.indptr, bad[0], side="right")) - 1
        raise ValueError(f"A[{i}, {A.indices[bad[0]]}] is {A.data[bad[0]]}; every entry must be finite.")
    diagonal = A.diagonal()
    if diagonal.min() <= 0:
        i = int(diagonal.argmin())
        raise ValueError(f"A[{i}, {i}] is {diagonal[i]:.6g}; a positive definite matrix has a positive diagonal.")
    scale, skew = np.sqrt(diagonal), (A - A.T).tocoo()
    wrong = np.flatnonzero(abs(skew.data) > SYMMETRY * scale[skew.row] * scale[skew.col])
    if len(wrong):
        i, j = int(skew.row[wrong[0]]), int(skew.col[wrong[0]])
        raise ValueError(f"A must be symmetric: A[{i}, {j}] is {A[i, j]:.12g}, A[{j}, {i}] is {A[j, i]:.12g}.")
    dominance = 2 * diagonal - np.asarray(abs(A).sum(axis=1)).ravel()
    if dominance.min() <= 8 * EPS * A.shape[0] * diagonal.max():  # Gershgorin's discs do not settle it
        _check_pivots(A)


def _check_pivots(A: Sparse) -> None:
    """A symmetric matrix is positive definite if and only if elimination without exchanges has positive pivots."""
    scale = 1 / np.sqrt(A.diagonal())
    scaled = (A.multiply(scale[:, None]).multiply(scale)).tocsc()
    try:
        factors = splu(scaled, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        least = factors.U.diagonal().min() if (factors.perm_r == factors.perm_c).all() else -inf
    except RuntimeError:  # exactly singular
        least = 0.0
    if least <= EPS * A.shape[0]:
        raise ValueError("A is not positive definite: elimination meets a pivot that is not positive.")


@dataclass(frozen=True)
class Grid(Native):
    """The 5-point stencil on a rectangle with zero boundary: `centre` times the point, minus `side` times its four
    neighbours.

    Parameters
    ----------
    rows, columns : int
        Inner points.
    centre, side : float
        4 and 1 for the Laplacian of step 1; the least eigenvalue must be positive.
    """

    rows: int
    columns: int
    centre: float = 4.0
    side: float = 1.0

    def __post_init__(self) -> None:
        self._settle(
            rows=checks.integer("rows", self.rows, 1),
            columns=checks.integer("columns", self.columns, 1),
            side=checks.interval("side", self.side, -inf, inf, "()"),
            centre=checks.interval("centre", self.centre, 0, inf, "()"),
        )
        if self.least_eigenvalue <= 0:
            raise ValueError(
                f"centre = {self.centre:g} and side = {self.side:g} make no positive definite matrix: "
                f"its least eigenvalue is {self.least_eigenvalue:.6g}."
            )

    @property
    def n(self) -> int:
        """Points."""
        return self.rows * self.columns

    @property
    def least_eigenvalue(self) -> float:
        waves = cos(pi / (self.rows + 1)) + cos(pi / (self.columns + 1))
        return self.centre - 2 * abs(self.side) * waves

    def matrix(self) -> Sparse:
        """The same as a sparse matrix, points numbered row after row."""
        neighbours = kron(eye_array(self.rows), path(self.columns)) + kron(path(self.rows), eye_array(self.columns))
        return csr_array(self.centre * eye_array(self.n) - self.side * neighbours)


def path(n: int) -> Sparse:
    """The adjacency matrix of the path with `n` vertices."""
    above: Sparse = diags_array(np.ones(n - 1), offsets=1, shape=(n, n))
    return above + above.T
