r"""Sweeps of successive over-relaxation (SOR) and its relatives, each run to a true residual.

Khodak, Chow, Balcan & Talwalkar (2024), Section 2.1 and Appendix E, for :math:`A = D + L + L^\top`.  One sweep is
:math:`x \leftarrow x + (D/\omega + L)^{-1}(b - Ax)`.  The count of a solve is the first `k` with
:math:`\|b - Ax_k\|_2 \le` `target`.

The norm of the true residual comes with the sweeps and costs next to nothing.  Sweep `k + 1` writes into a second
array, so all of :math:`x_k` is at hand while it runs: the products with :math:`L^\top` and `D` are those of the sweep
itself, that with `L` is left over from the sweep before.  A solve that needs `k` sweeps makes `k + 1`.

All arithmetic is strict, so that compiled code gives the same numbers wherever it is called from.
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

from claimlab.bandits.relaxation.matrices import Grid, SPDMatrix
from claimlab.checks import Array
from claimlab.native import kernel, part


class Stop(NamedTuple):
    """How a solve ended; the iterate is in the array `x` that was passed."""

    iterations: int  # sweeps (of conjugate gradients: steps) after which the residual was small enough, or the cap
    residual: float  # 2-norm of b - A x
    converged: bool  # False: the cap came first


@kernel
def sor(A: SPDMatrix, shift: float, b: Array, omega: float, target: float, cap: int, x: Array, work: Array) -> Stop:
    """SOR for ``(A + shift I) x = b`` in the order of the rows.

    Parameters
    ----------
    target : float
        Absolute: 2-norm of the residual at which to stop.
    cap : int
        Most sweeps.
    x : float[n]
        Start, overwritten by the solution.
    work : float[3, n]
        Scratch.
    """
    n, limit = b.size, target * target
    old, new, rest, step = x, work[0], work[1], work[2]  # rest: b - L old
    for i in range(n):
        rest[i], step[i] = b[i], omega / (A.diagonal[i] + shift)
        for p in range(A.offset[i], A.middle[i]):
            rest[i] -= A.value[p] * x[A.column[p]]
    total, count = 0.0, 0
    while True:
        total = 0.0
        for i in range(n):
            upper = (A.diagonal[i] + shift) * old[i]
            for p in range(A.middle[i], A.offset[i + 1]):
                upper += A.value[p] * old[A.column[p]]
            total += (rest[i] - upper) * (rest[i] - upper)
            lower = b[i]
            for p in range(A.offset[i], A.middle[i]):
                lower -= A.value[p] * new[A.column[p]]
            rest[i] = lower
            new[i] = old[i] + step[i] * (lower - upper)
        if total <= limit or count >= cap:
            break
        old, new, count = new, old, count + 1
    if count % 2 == 1:
        x[:] = old
    return Stop(count, sqrt(total), total <= limit)


@kernel
def ssor(A: SPDMatrix, shift: float, b: Array, omega: float, target: float, cap: int, x: Array, work: Array) -> Stop:
    """Symmetric SOR: each iteration is a sweep forwards and one backwards.  Arguments as for :func:`sor`.

    The products of one half sweep that the next needs are kept (Conrad & Wallach 1979).
    """
    n, limit = b.size, target * target
    half, lower, upper = work[0], work[1], work[2]
    for i in range(n):
        upper[i] = 0.0
        for p in range(A.middle[i], A.offset[i + 1]):
            upper[i] += A.value[p] * x[A.column[p]]
    total, count = 0.0, 0
    while True:
        total = 0.0
        for i in range(n):
            d, now, then = A.diagonal[i] + shift, 0.0, 0.0
            for p in range(A.offset[i], A.middle[i]):
                now += A.value[p] * half[A.column[p]]
                then += A.value[p] * x[A.column[p]]
            rest = b[i] - upper[i] - d * x[i]
            total += (rest - then) * (rest - then)
            half[i], lower[i] = x[i] + omega / d * (rest - now), now
        if total <= limit or count >= cap:
            break
        for i in range(n - 1, -1, -1):
            d, now = A.diagonal[i] + shift, 0.0
            for p in range(A.middle[i], A.offset[i + 1]):
                now += A.value[p] * x[A.column[p]]
            x[i], upper[i] = half[i] + omega / d * (b[i] - lower[i] - now - d * half[i]), now
        count += 1
    return Stop(count, sqrt(total), total <= limit)


@kernel
def ssor_cg(A: SPDMatrix, shift: float, b: Array, omega: float, target: float, cap: int, x: Array, work: Array) -> Stop:
    r"""Conjugate gradients with the preconditioner :math:`(D/\omega + L)D^{-1}(D/\omega + L^\top)`.

    Arguments as for :func:`sor`, but `work` is float[4, n], and an `omega` of 0 stands for no preconditioner.  Steps
    are counted.  Where the residual of the recursion is small enough and the true one is not, the latter replaces it
    and the directions start anew.
    """
    n, limit = b.size, target * target
    r, z, p, q = work[0], work[1], work[2], work[3]
    total, count = _residual(A, shift, b, x, r), 0
    while total > limit and count < cap:
        recursive, rho = total, 0.0
        while recursive > limit and count < cap:
            before, rho = rho, _precondition(A, shift, omega, r, z)
            for i in range(n):
                p[i] = z[i] + (rho / before * p[i] if before > 0 else 0.0)
            step = rho / _product(A, shift, p, q)
            recursive = 0.0
            for i in range(n):
                x[i] += step * p[i]
                r[i] -= step * q[i]
                recursive += r[i] * r[i]
            count += 1
        total = _residual(A, shift, b, x, r)
    return Stop(count, sqrt(total), total <= limit)


@kernel
def _residual(A: SPDMatrix, shift: float, b: Array, x: Array, r: Array) -> float:
    """``r = b - (A + shift I) x``; its squared norm."""
    total = 0.0
    for i in range(b.size):
        s = b[i] - (A.diagonal[i] + shift) * x[i]
        for p in range(A.offset[i], A.offset[i + 1]):
            s -= A.value[p] * x[A.column[p]]
        r[i] = s
        total += s * s
    return total


@kernel
def _product(A: SPDMatrix, shift: float, p: Array, q: Array) -> float:
    """``q = (A + shift I) p``; the product of `p` and `q`."""
    total = 0.0
    for i in range(p.size):
        s = (A.diagonal[i] + shift) * p[i]
        for k in range(A.offset[i], A.offset[i + 1]):
            s += A.value[k] * p[A.column[k]]
        q[i] = s
        total += p[i] * s
    return total


@part
def _precondition(A: SPDMatrix, shift: float, omega: float, r: Array, z: Array) -> float:
    """Solve with the preconditioner for `z`; the product of `r` and `z`."""
    n, total = r.size, 0.0
    if omega == 0:
        for i in range(n):
            z[i] = r[i]
            total += r[i] * r[i]
        return total
    for i in range(n):
        s = r[i]
        for p in range(A.offset[i], A.middle[i]):
            s -= A.value[p] * z[A.column[p]]
        z[i] = s * omega / (A.diagonal[i] + shift)
    for i in range(n - 1, -1, -1):
        d, s = A.diagonal[i] + shift, 0.0
        for p in range(A.middle[i], A.offset[i + 1]):
            s += A.value[p] * z[A.column[p]]
        z[i] = (z[i] - s / d) * omega
        total += r[i] * z[i]
    return total


@kernel
def grid_sor(A: Grid, shift: float, b: Array, omega: float, target: float, cap: int, x: Array, work: Array) -> Stop:
    """:func:`sor` on a 5-point stencil in the natural order, row after row, without a matrix.

    The parts of a row that do not depend on its left neighbour are vector operations; what is left is a linear
    recurrence, taken two points at a time.  Sums of squares are kept a column each, for vector registers.

    Parameters
    ----------
    b, x : float[rows + 2, columns + 2]
        With a frame of zeros.
    work : float[rows + 4, columns + 2]
        Scratch.
    """
    rows, columns, limit = A.rows, A.columns, target * target
    centre, side = A.centre + shift, A.side
    gain = omega / centre
    pull = gain * side
    old, new, base, squares = x, work[: rows + 2], work[rows + 2], work[rows + 3]
    new[:] = 0.0
    total, count = 0.0, 0
    while True:
        squares[:] = 0.0
        for i in range(1, rows + 1):
            for j in range(1, columns + 1):
                known = b[i, j] + side * (old[i, j + 1] + old[i + 1, j]) - centre * old[i, j]
                residual = known + side * (old[i - 1, j] + old[i, j - 1])
                squares[j] += residual * residual
                base[j] = old[i, j] + gain * (known + side * new[i - 1, j])
            left = 0.0
            for j in range(1, columns, 2):
                both = base[j + 1] + pull * base[j]
                new[i, j] = base[j] + pull * left
                left = both + pull * pull * left
                new[i, j + 1] = left
            if columns % 2 == 1:
                new[i, columns] = base[columns] + pull * left
        total = 0.0
        for j in range(1, columns + 1):
            total += squares[j]
        if total <= limit or count >= cap:
            break
        old, new, count = new, old, count + 1
    if count % 2 == 1:
        x[:] = old
    return Stop(count, sqrt(total), total <= limit)


@kernel
def red_black_sor(
    A: Grid, shift: float, red_b: Array, black_b: Array, omega: float, target: float, cap: int, work: Array
) -> Stop:
    r"""SOR on a 5-point stencil with all red points (even sum of coordinates) before all black ones.

    The colours lie in arrays of half the width, so that every loop is a vector operation.  After a sweep the residual
    at a black point is :math:`1 - \omega` times what it was when the point was visited; at a red point it is what the
    next sweep finds.

    Parameters
    ----------
    red_b, black_b : float[rows + 2, half + 2]
        Right-hand side with a frame of zeros, ``half = (columns + 1) // 2``; point ``(i, j)``, counted from 0, lies at
        ``[i + 1, j // 2 + 1]`` of its colour.  Where a row has no point, zero.
    work : float[5, rows + 2, half + 2]
        ``work[0]`` and ``work[1]`` hold red and black: the start, overwritten by the solution.
    """
    centre, limit, left_over = A.centre + shift, target * target, (1 - omega) * (1 - omega)
    red, black, new_red, new_black, scratch = work[0], work[1], work[2], work[3], work[4]
    new_red[:], new_black[:] = 0.0, 0.0
    after = _relax(A, black, red, black_b, 0, centre, omega, new_black, scratch, True)
    total, count = 0.0, 0
    while True:
        measure = after <= limit or count >= cap  # otherwise the black points alone show that it is not over
        total = after + _relax(A, red, black, red_b, 1, centre, omega, new_red, scratch, measure)
        if total <= limit or count >= cap:
            break
        after = left_over * _relax(A, black, new_red, black_b, 0, centre, omega, new_black, scratch, True)
        red, new_red, black, new_black, count = new_red, red, new_black, black, count + 1
    if count % 2 == 1:
        work[0], work[1] = red, black
    return Stop(count, sqrt(total), total <= limit)


@part
def _relax(
    A: Grid,
    mine: Array,
    other: Array,
    b: Array,
    parity: int,
    centre: float,
    omega: float,
    new: Array,
    scratch: Array,
    measure: bool,
) -> float:
    """Relax all points of one colour into `new`; the sum of their squared residuals before, or 0 unless `measure`.

    `parity` is 0 for black and 1 for red.  Each loop writes to few arrays: a compiler that needs many checks of what
    overlaps takes points one by one.  Sums of squares are kept a column each, for vector registers.
    """
    side, gain, half = A.side, omega / centre, b.shape[1] - 2
    squares, rest = scratch[0], scratch[1]
    squares[:] = 0.0
    for i in range(1, A.rows + 1):
        first = (i + parity) % 2  # column of the row's first point
        points = half - (A.columns % 2) * first
        here, rhs, there = mine[i, 1:], b[i, 1:], new[i, 1:]
        beside, across = other[i, 1:], other[i, 2 * first :]
        above, below = other[i - 1, 1:], other[i + 1, 1:]
        if measure:
            for j in range(points):
                rest[j] = rhs[j] + side * (beside[j] + across[j] + above[j] + below[j]) - centre * here[j]
            for j in range(points):
                squares[j] += rest[j] * rest[j]
                there[j] = here[j] + gain * rest[j]
        else:
            for j in range(points):
                residual = rhs[j] + side * (beside[j] + across[j] + above[j] + below[j]) - centre * here[j]
                there[j] = here[j] + gain * residual
    total = 0.0
    for j in range(half):
        total += squares[j]
    return total
