r"""Linear systems with the matrix :math:`I - \gamma P_\pi`, dense or sparse: values, occupancies, Newton steps."""

from __future__ import annotations

from functools import partial
from math import ceil, log
from typing import Any

import numpy as np
from scipy.sparse import csr_array, eye_array
from scipy.sparse.linalg import bicgstab, gmres

from claimlab.checks import Array, Sparse
from claimlab.mdps.tabular import EPS, TabularMDP

DIRECT = 3_000  # states up to which a dense LU factorisation beats iterating
METHODS = 2 * (partial(bicgstab, maxiter=500), partial(gmres, maxiter=10))  # fast, and robust to its breakdowns


def resolvent(mdp: TabularMDP, P_pi: Any, b: Array, *, transpose: bool = False) -> Array:
    r"""Solve :math:`(I - \gamma P_\pi) x = b`, or its transpose, for one or several right-hand sides float[S, ...].

    Dense matrices by LU; sparse ones by BiCGSTAB and GMRES with refinement, whose failures are made good by the
    Neumann series.  No S-by-S dense matrix is made from sparse input beyond `DIRECT` states.
    """
    M = P_pi.T if transpose else P_pi
    if not mdp.is_sparse or mdp.n_states <= DIRECT:
        dense = M.toarray() if mdp.is_sparse else M
        return np.linalg.solve(np.eye(mdp.n_states) - mdp.gamma * dense, b)
    if b.ndim > 1:
        return np.stack([resolvent(mdp, P_pi, column, transpose=transpose) for column in b.T], axis=1)
    return _iterate(mdp.gamma, M.tocsr(), b, 1 if transpose else np.inf, (mdp.row_length + 4) * EPS)


def _iterate(gamma: float, M: Sparse, b: Array, order: float, unit: float) -> Array:
    r"""Solve :math:`(I - \gamma M) x = b` until the residual, in the norm of `order`, is at most `unit` times b and x.

    :math:`\gamma M` contracts in that norm (the maximum for rows, the sum for columns), so the number of Neumann steps
    that reaches the floor is known beforehand: where rounding keeps the residual above it, the loop ends all the same.
    """
    A = csr_array(eye_array(len(b)) - gamma * M)
    x, residual = np.zeros_like(b), b
    for method in METHODS:
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
