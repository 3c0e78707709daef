"""Cholesky factors in kernels: ``np.linalg`` takes half a minute to compile there."""

from __future__ import annotations

from math import sqrt

from claimlab.checks import Array
from claimlab.native import kernel


@kernel
def cholesky(matrix: Array, factor: Array) -> None:
    """Lower factor of a positive definite matrix."""
    for i in range(matrix.shape[0]):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            factor[i, j] = sqrt(total) if i == j else total / factor[j, j]


@kernel
def solve_factored(factor: Array, b: Array, out: Array) -> None:
    """Solve ``factor @ factor.T @ out = b``."""
    n = b.size
    for i in range(n):
        total = b[i]
        for k in range(i):
            total -= factor[i, k] * out[k]
        out[i] = total / factor[i, i]
    for i in range(n - 1, -1, -1):
        total = out[i]
        for k in range(i + 1, n):
            total -= factor[k, i] * out[k]
        out[i] = total / factor[i, i]
