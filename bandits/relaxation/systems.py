r"""Linear systems that are solved again and again: matrices as scipy sparse arrays, and right-hand sides.

Khodak, Chow, Balcan & Talwalkar (2024), Sections 2.4 and 4, Appendices D and G.
"""

from __future__ import annotations

from math import inf

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike
from scipy.sparse import coo_array, csr_array, diags_array, eye_array, kron
from scipy.spatial import Delaunay

from claimlab import checks
from claimlab.bandits.relaxation.matrices import path
from claimlab.checks import Array, Bools, Ints, Sparse
from claimlab.native import kernel


def laplacian(inside: ArrayLike) -> Sparse:
    """The 5-point Laplacian (4 on the diagonal, -1 for neighbours) of the grid points marked in `inside`, bool[r, c].

    Points are numbered column after column.  This is ``delsq`` of Moler's MATLAB demonstration on a region's inside.
    """
    marked = np.asarray(inside)
    if marked.ndim != 2 or marked.dtype != np.bool_ or not marked.any():
        raise ValueError(f"inside must be a bool array of two axes with a point marked, got {marked.dtype}[...].")
    number = np.full(marked.T.shape, -1)
    number[marked.T] = np.arange(marked.sum())
    pairs = [(number[:-1], number[1:]), (number[:, :-1], number[:, 1:])]
    i, j = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    both = (i >= 0) & (j >= 0)
    i, j = i[both], j[both]
    ones = np.ones(2 * len(i))
    adjacency = coo_array((ones, (np.r_[i, j], np.r_[j, i])), shape=(marked.sum(),) * 2)
    return csr_array(4 * eye_array(int(marked.sum())) - adjacency)


def square(n: int) -> Bools:
    """The inside of ``numgrid('S', n)``: all of (n - 2) x (n - 2) points."""
    side = checks.integer("n", n, 3) - 2
    return np.ones((side, side), dtype=np.bool_)


def l_shape(n: int) -> Bools:
    """The inside of ``numgrid('L', n)``: a square without its lower left quarter."""
    x = np.linspace(-1, 1, checks.integer("n", n, 4))[1:-1]
    return (x[None, :] > 0) | (x[::-1, None] > 0)


def nine_point(n: int) -> Sparse:
    """The compact 9-point Laplacian, (20, -4, -1) / 6, of n x n inner points."""
    line, eye = path(checks.integer("n", n, 1)), eye_array(n)
    return csr_array((20 * eye_array(n * n) - 4 * (kron(line, eye) + kron(eye, line)) - kron(line, line)) / 6)


def crank_nicolson(n: int, conductivity: float, step: float) -> Sparse:
    r""":math:`I - \tfrac12\kappa\,\Delta t\,\Delta_h`, of the heat equation on the unit square with n x n points."""
    kappa, dt = checks.interval("conductivity", conductivity, 0, inf, "[)"), checks.interval("step", step, 0, inf, "()")
    weight = kappa * dt * (checks.integer("n", n, 1) + 1) ** 2 / 2
    return csr_array(eye_array(n * n) + weight * laplacian(np.ones((n, n), dtype=np.bool_)))


def graph_laplacian(n: int, edges: ArrayLike, weights: ArrayLike) -> Sparse:
    """Weighted degrees minus weights of an undirected graph, ``edges`` int[m, 2]; singular, so it needs a shift."""
    ends, w = np.asarray(edges, dtype=np.int64), checks.array("weights", weights, ndim=1)
    if ends.shape != (len(w), 2) or (len(w) and (ends.min() < 0 or ends.max() >= n)):
        raise ValueError(f"edges must be pairs of vertices 0..{n - 1}, one a weight; got shape {ends.shape}.")
    if (w < 0).any():
        raise ValueError(f"weights[{int(w.argmin())}] is {w.min():.6g}; weights cannot be negative.")
    i, j = ends.T
    adjacency = csr_array(coo_array((np.r_[w, w], (np.r_[i, j], np.r_[j, i])), shape=(n, n)))
    return csr_array(diags_array(np.asarray(adjacency.sum(axis=1)).ravel()) - adjacency)


def stiffness(points: ArrayLike) -> Sparse:
    r"""Linear finite elements for :math:`-\Delta u = f` on a Delaunay triangulation, `u` zero on the convex hull.

    Parameters
    ----------
    points : float[n, 2]
        Vertices; the unknowns are those inside the hull, in the given order.
    """
    at = checks.array("points", points, ndim=2)
    mesh = Delaunay(at)
    corners: Ints = mesh.simplices.astype(np.int64)
    edges = at[corners[:, [2, 0, 1]]] - at[corners[:, [1, 2, 0]]]  # opposite to corners 0, 1, 2
    areas = abs(edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]) / 2
    local = np.einsum("eik,ejk->eij", edges, edges) / (4 * areas)[:, None, None]
    i, j = np.repeat(corners, 3, axis=1).ravel(), np.tile(corners, (1, 3)).ravel()
    whole = csr_array(coo_array((local.ravel(), (i, j)), shape=(len(at),) * 2))
    inner = np.setdiff1d(np.arange(len(at)), mesh.convex_hull)
    if not len(inner):
        raise ValueError("points must hold a vertex inside the convex hull of the others.")
    return csr_array(whole[inner][:, inner])


def random_spd(n: int, condition: float, rng: Generator) -> Array:
    """A dense matrix with random eigenvectors and eigenvalues from 1 to `condition`, evenly spaced in the logarithm."""
    basis, _ = np.linalg.qr(rng.normal(size=(checks.integer("n", n, 1), n)))
    A = basis * np.geomspace(1, checks.interval("condition", condition, 1, inf, "[)"), n) @ basis.T
    return np.asarray((A + A.T) / 2)


def shifted(A: Sparse, c: float) -> Sparse:
    """:math:`A + cI`."""
    return csr_array(A + c * eye_array(A.shape[0]))


def rescaled(A: Sparse, r: ArrayLike) -> Sparse:
    """:math:`RAR` for a diagonal matrix `R` with entries `r`, float[n], not zero."""
    entries = checks.shaped("r", r, (A.shape[0],), "(n,)")
    if (entries == 0).any():
        raise ValueError(f"r[{int((entries == 0).argmax())}] is 0; R must be invertible.")
    R = diags_array(entries)
    return csr_array(R @ A @ R)


@kernel
def truncated_normal(out: Array, rng: Generator) -> None:
    r"""Fill `out` with a standard normal vector given :math:`\|b\|_2 \le \sqrt n` (Section 3, by rejection)."""
    while True:
        total = 0.0
        for i in range(out.size):
            out[i] = rng.standard_normal()
            total += out[i] * out[i]
        if total <= out.size:
            return
