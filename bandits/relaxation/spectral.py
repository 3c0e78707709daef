r"""The spectral quantities that govern the solvers, by dense algebra, for :math:`A = D + L + L^\top`.

Khodak, Chow, Balcan & Talwalkar (2024), Section 2 and Appendix D, after Young (1971) and Hackbusch (2016).  Matrices
are float[..., n, n], so that a stack of them is one call; `omega` is a number or has the leading axes.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from claimlab import checks
from claimlab.checks import Array, Ints, Sparse


def jacobi_radius(A: Array) -> Array:
    r""":math:`\beta = \rho(I - D^{-1}A)`, by the symmetric matrix :math:`D^{-1/2}(A - D)D^{-1/2}`."""
    return np.asarray(abs(np.linalg.eigvalsh(_unit_diagonal(A) - np.eye(A.shape[-1]))).max(axis=-1))


def young_radius(beta: ArrayLike, omega: ArrayLike) -> Array:
    r""":math:`\rho(C_\omega)` of a consistently ordered matrix with Jacobi radius `beta` in [0, 1) (Young 1971).

    .. math:: \tfrac14\big(\omega\beta + \sqrt{\omega^2\beta^2 - 4(\omega - 1)}\big)^2 \text{ for } \omega < \omega^*,
              \quad \omega - 1 \text{ from there on}
    """
    b, w = np.asarray(beta, dtype=np.float64), np.asarray(omega, dtype=np.float64)
    real = np.maximum(w * w * b * b - 4 * (w - 1), 0.0)
    return np.asarray(np.where(w < optimal_omega(b), (w * b + np.sqrt(real)) ** 2 / 4, w - 1))


def optimal_omega(beta: ArrayLike) -> Array:
    r"""Young's :math:`\omega^* = 1 + \beta^2/(1 + \sqrt{1 - \beta^2})^2 = 2/(1 + \sqrt{1 - \beta^2})`."""
    b = checks.numbers("beta", beta)
    if b.size and not ((b >= 0) & (b < 1)).all():
        raise ValueError(f"beta must lie in [0, 1), got {b[~((b >= 0) & (b < 1))][0]}: without it no omega is optimal.")
    return np.asarray(2 / (1 + np.sqrt((1 - b) * (1 + b))))


def sor_weight(A: Array, omega: ArrayLike) -> Array:
    r""":math:`W_\omega = D/\omega + L`."""
    return np.asarray(_diagonal(A) / _scalar(omega) + np.tril(A, -1))


def sor_defect(A: Array, omega: ArrayLike) -> Array:
    r""":math:`C_\omega = I - AW_\omega^{-1}`: a sweep maps the residual `r` to :math:`C_\omega r`."""
    flipped = np.swapaxes(sor_weight(A, omega), -1, -2)
    return np.asarray(np.eye(A.shape[-1]) - np.swapaxes(np.linalg.solve(flipped, np.swapaxes(A, -1, -2)), -1, -2))


def ssor_weight(A: Array, omega: ArrayLike) -> Array:
    r""":math:`\breve W_\omega = \frac{\omega}{2-\omega}(D/\omega + L)D^{-1}(D/\omega + L^\top)`."""
    W, w = sor_weight(A, omega), _scalar(omega)
    scaled = W / np.diagonal(A, axis1=-2, axis2=-1)[..., None, :]
    return np.asarray(w / (2 - w) * (scaled @ np.swapaxes(W, -1, -2)))


def ssor_defect(A: Array, omega: ArrayLike) -> Array:
    r""":math:`\breve C_\omega = I - A\breve W_\omega^{-1}`, of symmetric SOR."""
    return np.asarray(np.eye(A.shape[-1]) - np.swapaxes(np.linalg.solve(ssor_weight(A, omega), A), -1, -2))


def spectral_radius(X: Array) -> Array:
    """Largest modulus of an eigenvalue."""
    return np.asarray(abs(np.linalg.eigvals(X)).max(axis=-1))


def energy_contraction(A: Array, omega: ArrayLike) -> Array:
    r""":math:`\|M_\omega\|_A^2 = \rho(\breve C_\omega) = 1 - 1/\lambda_{\max}(\breve W_\omega A^{-1})`."""
    return np.asarray(1 - 1 / pencil(ssor_weight(A, omega), A)[..., -1])


def preconditioned_condition(A: Array, omega: ArrayLike) -> Array:
    r""":math:`\kappa(\breve W_\omega^{-1}A)`."""
    values = pencil(ssor_weight(A, omega), A)
    return np.asarray(values[..., -1] / values[..., 0])


def condition(A: Array) -> Array:
    r""":math:`\kappa(A) = \lambda_{\max}/\lambda_{\min}`."""
    values = np.linalg.eigvalsh(A)
    return np.asarray(values[..., -1] / values[..., 0])


def mu(A: Array) -> Array:
    r""":math:`\mu = \lambda_{\max}(DA^{-1}) \ge 1`."""
    return np.asarray(pencil(_diagonal(A), A)[..., -1])


def nu(A: Array) -> Array:
    r""":math:`\nu = \lambda_{\max}((LD^{-1}L^\top - D/4)A^{-1}) \ge -1/4`."""
    L, D = np.tril(A, -1), _diagonal(A)
    scaled = L / np.diagonal(A, axis1=-2, axis2=-1)[..., None, :]
    return np.asarray(pencil(scaled @ np.swapaxes(L, -1, -2) - D / 4, A)[..., -1])


def lower_radius(A: Array) -> Array:
    r""":math:`\rho(D^{-1}LD^{-1}L^\top) = \|D^{-1/2}LD^{-1/2}\|_2^2`."""
    lower = np.tril(_unit_diagonal(A), -1)
    return np.asarray(np.linalg.eigvalsh(lower @ np.swapaxes(lower, -1, -2))[..., -1], dtype=np.float64)


def pencil(B: Array, A: Array) -> Array:
    r"""The eigenvalues, growing, of :math:`BA^{-1}` for symmetric `B` and positive definite `A`."""
    G = np.linalg.cholesky(A)
    half = np.linalg.solve(G, B)
    whole = np.linalg.solve(G, np.swapaxes(half, -1, -2))
    return np.asarray(np.linalg.eigvalsh((whole + np.swapaxes(whole, -1, -2)) / 2), dtype=np.float64)


def near_asymptotic(C: Array, k: int, rho: float) -> float:
    r"""The least :math:`\tau` with :math:`\|C^k\|_2 \le (\rho + \tau(1 - \rho))^k`; `rho` is the radius of `C`.

    Assumption 2.1 asks for it at the last step before convergence, and that it be below 1.
    """
    norm = float(np.linalg.norm(np.linalg.matrix_power(C, checks.integer("k", k, 1)), 2))
    return (norm ** (1 / k) - rho) / (1 - rho)


def ordering_vector(A: Array) -> Ints | None:
    r"""Whole numbers :math:`\gamma` with :math:`\gamma_j - \gamma_i = \pm1` where :math:`a_{ij} \ne 0`, 1 for j > i.

    They exist if and only if `A`, float[n, n], is consistently ordered (Young 1971, Definition 5.3.1 and Theorem
    5.3.2); None otherwise.
    """
    rows: Sparse = csr_array(A)
    gamma: dict[int, int] = {}
    for root in range(rows.shape[0]):
        queue = deque([root] if root not in gamma else [])
        gamma.setdefault(root, 0)
        while queue:
            i = queue.popleft()
            for j in rows.indices[rows.indptr[i] : rows.indptr[i + 1]].tolist():
                level = gamma[i] + (j > i) - (j < i)
                if j not in gamma:
                    gamma[j] = level
                    queue.append(j)
                elif gamma[j] != level:
                    return None
    return np.array([gamma[i] for i in range(rows.shape[0])])


def _scalar(omega: ArrayLike) -> Array:
    """`omega` with two axes more, checked."""
    w = checks.numbers("omega", omega)
    if not ((w > 0) & (w < 2)).all():
        raise ValueError(f"omega must lie in (0, 2), got {w[~((w > 0) & (w < 2))][0]}.")
    return w[..., None, None]


def _diagonal(A: Array) -> Array:
    return np.asarray(A * np.eye(A.shape[-1]))


def _unit_diagonal(A: Array) -> Array:
    scale = 1 / np.sqrt(np.diagonal(A, axis1=-2, axis2=-1))
    return np.asarray(scale[..., :, None] * A * scale[..., None, :])
