r"""Linear systems with the matrix :math:`I - \gamma P_\pi`, dense or sparse: values, occupancies, Newton steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import ceil, log
from typing import Any

import numpy as np
from scipy.linalg import lu_factor, lu_solve
from scipy.sparse import csc_array, csr_array, eye_array
from scipy.sparse.csgraph import reverse_cuthill_mckee
from scipy.sparse.linalg import bicgstab, gmres, splu

from claimlab.checks import Array, Sparse
from claimlab.mdps import devices
from claimlab.mdps.tabular import EPS, TabularMDP

DIRECT = 3_000  # states up to which a dense LU factorisation beats iterating
NARROW = 50  # times the bandwidth is at most the number of states where banded factors beat dense ones
FILL = 5_000_000  # entries that the factors of a sparse matrix may take, some 60 MB
METHODS = 2 * (partial(bicgstab, maxiter=500), partial(gmres, maxiter=10))  # fast, and robust to its breakdowns


def resolvent(mdp: TabularMDP, P_pi: Any, b: Array, *, transpose: bool = False, device: str | None = None) -> Array:
    r"""Solve :math:`(I - \gamma P_\pi) x = b`, or its transpose, for one or several right-hand sides float[S, ...]."""
    if _is_dense(mdp):
        M = _dense(mdp, P_pi)
        # less overhead than keeping the factors
        return np.asarray(np.linalg.solve(M.T if transpose else M, b), dtype=np.float64)
    return solver(mdp, P_pi, transpose=transpose, device=device)(b)


def solver(
    mdp: TabularMDP, P_pi: Any, *, transpose: bool = False, device: str | None = None
) -> Callable[[Array], Array]:
    r"""The function that maps `b` to the :func:`resolvent` of `b`; what can be factored is factored once.

    Dense matrices by LU, sparse ones too where the states can be ordered so that transitions stay near the diagonal
    (chains, grids); other sparse ones by BiCGSTAB and GMRES with refinement, whose failures are made good by the
    Neumann series.  With a `device` of torch, BiCGSTAB is tried there first.  No S-by-S dense matrix is made from
    sparse input beyond `DIRECT` states.
    """
    n, dense = mdp.n_states, _is_dense(mdp)
    bandwidth = n if not mdp.is_sparse or n <= NARROW else _bandwidth(P_pi)
    if dense and NARROW * bandwidth >= n:
        factors = lu_factor(_dense(mdp, P_pi), check_finite=False)
        return lambda b: np.asarray(lu_solve(factors, b, trans=int(transpose), check_finite=False))
    if 2 * n * bandwidth <= FILL:
        # diagonally dominant, so no pivoting is needed, which would spoil the order
        M = csc_array(eye_array(n) - mdp.gamma * P_pi)
        lu = splu(M, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        return lambda b: np.asarray(lu.solve(b, "T" if transpose else "N"))
    M, order, unit = (P_pi.T if transpose else P_pi).tocsr(), 1 if transpose else np.inf, (mdp.row_length + 4) * EPS

    methods = METHODS if device is None else 2 * (partial(devices.bicgstab, device=device),) + METHODS

    def iterate(b: Array) -> Array:
        if b.ndim > 1:
            return np.stack([iterate(column) for column in b.T], axis=1)
        return _iterate(mdp.gamma, M, b, order, unit, methods)

    return iterate


def _is_dense(mdp: TabularMDP) -> bool:
    return not mdp.is_sparse or mdp.n_states <= DIRECT


def _dense(mdp: TabularMDP, P_pi: Any) -> Array:
    return np.asarray(np.eye(mdp.n_states) - mdp.gamma * (P_pi.toarray() if mdp.is_sparse else P_pi))


def _bandwidth(P: Sparse) -> int:
    """How far from the diagonal entries lie at most, in the order of Cuthill & McKee (1969)."""
    order = reverse_cuthill_mckee(csr_array(P + P.T), symmetric_mode=True)
    position = np.empty(len(order), np.int64)
    position[order] = np.arange(len(order))
    entries = P.tocoo()
    return int(abs(position[entries.coords[0]] - position[entries.coords[1]]).max())


def _iterate(
    gamma: float, M: Sparse, b: Array, order: float, unit: float, methods: Sequence[Callable[..., Any]]
) -> Array:
    r"""Solve :math:`(I - \gamma M) x = b` until the residual, in the norm of `order`, is at most `unit` times b and x.

    :math:`\gamma M` contracts in that norm (the maximum for rows, the sum for columns), so the number of Neumann steps
    that reaches the floor is known beforehand: where rounding keeps the residual above it, the loop ends all the same.
    """
    A = csr_array(eye_array(len(b)) - gamma * M)
    x, residual = np.zeros_like(b), b
    for method in methods:
        if _norm(residual, order) <= unit * (_norm(b, order) + _norm(x, order)):
            return x
        with np.errstate(all="ignore"):  # a breakdown shows in the residual
            candidate = x + method(A, residual, rtol=1e-12, atol=0.0)[0]
            left = b + gamma * (M @ candidate) - candidate
        if _norm(left, order) < _norm(residual, order):
            x, residual = candidate, left
    floor = unit * (_norm(b, order) + _norm(x, order))
    for _ in range(ceil(log(max(_norm(residual, order) / floor, 1)) / -log(gamma)) if gamma and floor else 1):
        x = x + residual
        residual = b + gamma * (M @ x) - x
        if _norm(residual, order) <= floor:
            break
    return x


def _norm(x: Array, order: float) -> float:
    return float(abs(x).sum() if order == 1 else abs(x).max())
