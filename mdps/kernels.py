r"""Compiled sweeps over the states of an MDP: plain functions on arrays that trust their arguments.

Rows of `P` come in three layouts.  *CSR* rows are read where they lie; rows of exactly `width` entries, which is most
of them where all are short, take a loop without a counter.  *Union* rows keep, for each state, the successors of all
its actions once, so that neighbouring values are fetched once and not once an action (grids), and its kind, which has
the weights.  *Dense* rows are whole.

Every function works on the states ``start <= s < stop``, so that blocks can run side by side.  Missing actions have
reward minus infinity.  `width` and `each` are tuples of which only the lengths count, the entries of a row and the
actions of a state: a length is a constant to the compiler, and a loop of constant length is unrolled.  Indices are
unsigned, because Python's negative ones cost a test each.

What makes a sweep cheap is the *lead* of the greedy action over the second best.  Between two values that differ by x,
action values of a state change by the rows' means of x, so their differences change by at most the span of x (times
gamma, see :meth:`claimlab.mdps.sweeps.Sweeps.improve`).  As long as the sum of these spans, the `drift`, has not used
up the lead, the same action is greedy, for sure, and the sweep reads that action's row only.

Rows that do not fit the cache are *asked for* some hundred entries before they are needed: waiting for the values of
successors, which lie anywhere, keeps the processor from looking that far ahead by itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from claimlab.checks import Array
from claimlab.mdps.blocks import prefetch
from claimlab.native import fast_kernel, fast_part

Unsigned = Any  # uint32 or uint64 array
U = np.uint64  # arithmetic between signed and unsigned 64-bit numbers would be in floating point
LARGEST = float(np.finfo(np.float64).max)
Width = tuple[int, ...]
AHEAD = 512  # entries of rows that are on their way
EACH = np.empty(0, np.uint32)  # kinds, where each state is one
ABREAST = 2  # blocks of a Gauss-Seidel sweep that one thread takes at a time


class Greedy(NamedTuple):
    """The greedy policy of a sweep and its rows, kept together for the sweeps that follow."""

    policy: Any  # int32[S]; -1 before the first sweep
    lead: Array  # [S], drift at which the state must be looked at again; minus infinity before the first sweep
    successors: Unsigned  # [S, width]
    weights: Array  # [S, width]; with width 0, rows are so long that they are read where they lie
    reward: Array  # [S], or empty with union rows, whose sweeps read those of all actions
    kinds: Unsigned  # [S], or empty: of union rows, whose weights[kinds * A, width] are those of every action
    n_actions: int


@fast_part
def row_of(greedy: Greedy, s: int) -> Any:
    """Where the greedy action of `s` has its weights."""
    return U(greedy.kinds[s]) * U(greedy.n_actions) + U(greedy.policy[s]) if greedy.kinds.size > 0 else U(s)


@fast_kernel
def improve_csr(
    indptr: Unsigned,
    indices: Unsigned,
    data: Array,
    r: Array,
    gamma: float,
    v: Array,
    out: Array,
    drift: float,
    margin: float,
    greedy: Greedy,
    used: int,
    width: Width,
    each: Width,
    start: int,
    stop: int,
) -> tuple[float, float, int]:
    """The optimality operator; its least and largest change of `v`, and the number of states whose action changed.

    `used` is how many of all states must be looked at; if that is 0 or all of them, they come in order.
    """
    n_actions, b = (len(each) or r.shape[1]), U(len(width))
    low, high, changed, finite = np.inf, -np.inf, 0, True
    in_order, looked, order = used % v.size == 0, (stop - start if used else 0), np.empty(0, np.uint32)
    if not in_order:
        order, looked = _looked_at_first(greedy.lead, drift, start, stop)
    soon = 1 + AHEAD * (indptr.size - 1) // (n_actions * max(indices.size, 1))
    for i in range(stop - start):
        s: Any = start + i if in_order else np.int64(order[i])
        if i >= looked:
            best = _chosen(indptr, indices, data, gamma, v, greedy, width, s, n_actions)
        else:
            if not in_order:
                _ask_for_rows(indptr, indices, data, np.int64(order[min(i + soon, looked - 1)]), n_actions)
            arg, best, second = 0, -np.inf, -np.inf
            first = s * n_actions
            k: Any = U(indptr[first])
            full = len(width) > 0 and U(indptr[first + n_actions]) - k == U(n_actions) * b
            if full:
                for a in range(n_actions):
                    if in_order:
                        _ask_for(indices, data, np.int64(k) + AHEAD, len(width))
                    total = 0.0
                    for j in range(b):
                        total += data[k + j] * v[indices[k + j]]
                    k += b
                    q = r[s, a] + gamma * total
                    second = max(second, min(q, best))  # no branch: which action is best cannot be foretold
                    arg = a if q > best else arg
                    best = max(best, q)
            else:
                for a in range(n_actions):
                    k = U(indptr[first + a])
                    end: Any = U(indptr[first + a + 1])
                    if in_order:
                        _ask_for(indices, data, np.int64(k) + AHEAD, np.int64(end - k))
                    total = 0.0
                    for j in range(k, end):
                        total += data[j] * v[indices[j]]
                    q = r[s, a] + gamma * total
                    second = max(second, min(q, best))  # no branch: which action is best cannot be foretold
                    arg = a if q > best else arg
                    best = max(best, q)
            if _chooses(greedy, s, arg, r[s, arg], best - second - margin + drift):
                changed += 1
                k = U(indptr[first + arg])
                if full:
                    for j in range(b):
                        greedy.successors[s, j], greedy.weights[s, j] = indices[k + j], data[k + j]
                else:
                    length = U(indptr[first + arg + 1]) - k
                    for j in range(U(greedy.weights.shape[1])):
                        greedy.successors[s, j] = indices[k + j] if j < length else 0
                        greedy.weights[s, j] = data[k + j] if j < length else 0.0
        out[s] = best
        d: Any = best - v[s]
        low, high = min(low, d), max(high, d)
        finite &= abs(d) <= LARGEST
    return (low, high, changed) if finite else (np.nan, np.nan, changed)


@fast_kernel
def used_up(lead: Array, drift: float) -> int:
    """How many states must be looked at."""
    count = 0
    for s in range(lead.size):
        count += not lead[s] > drift
    return count


@fast_part
def _looked_at_first(lead: Array, drift: float, start: int, stop: int) -> tuple[Any, int]:
    """The states in an order in which those that must be looked at come first, and their number.

    Sorted without a branch, since which leads are used up cannot be foretold.
    """
    order, front, back = np.empty(stop - start, np.uint32), 0, stop - start
    for s in range(start, stop):
        settled = lead[s] > drift
        order[front] = order[back - 1] = s
        front += not settled
        back -= settled
    return order, front


@fast_part
def _ask_for_rows(indptr: Unsigned, indices: Unsigned, data: Array, s: Any, n_actions: int) -> None:
    """Ask for all rows of a state, which is not the next one in memory, or as much of them as is worth it."""
    k: Any = np.int64(indptr[s * n_actions])
    _ask_for(indices, data, k, min(np.int64(indptr[(s + 1) * n_actions]) - k, AHEAD))


@fast_part
def _ask_for(indices: Unsigned, data: Array, k: Any, count: Any) -> None:
    for j in range(k, k + count, 8):  # a cache line
        prefetch(data, j)
    for j in range(k, k + count, 16):
        prefetch(indices, j)


@fast_part
def _chooses(greedy: Greedy, s: int, action: int, reward: float, lead: float) -> bool:
    """Note the greedy action of `s` with its reward and lead; whether it is another than before."""
    greedy.lead[s] = lead
    if greedy.policy[s] == action:
        return False
    greedy.policy[s], greedy.reward[s] = action, reward
    return True


@fast_part
def _chosen(
    indptr: Unsigned,
    indices: Unsigned,
    data: Array,
    gamma: float,
    v: Array,
    greedy: Greedy,
    width: Width,
    s: int,
    n_actions: int,
) -> float:
    """The value of the greedy action of `s`, one step ahead of `v`; an empty `width` leaves its length open."""
    total, b = 0.0, len(width) or greedy.weights.shape[1]
    if b > 0:
        for j in range(b):
            total += greedy.weights[s, j] * v[greedy.successors[s, j]]
    else:
        row = s * n_actions + greedy.policy[s]
        for k in range(U(indptr[row]), U(indptr[row + 1])):
            total += data[k] * v[indices[k]]
    return greedy.reward[s] + gamma * total


@fast_kernel
def improve_union(
    successors: Unsigned,
    kinds: Unsigned,
    weights: Array,
    r: Array,
    gamma: float,
    v: Array,
    out: Array,
    drift: float,
    margin: float,
    greedy: Greedy,
    width: Width,
    each: Width,
    start: int,
    stop: int,
) -> tuple[float, float, int]:
    """:func:`improve_csr` for successors int[S, width], kinds int[S] and weights float[kinds, A, width].

    Without branches but one: on a grid neither the greedy action nor whether it has changed can be foretold.
    """
    b, x = len(width), np.empty(len(width))
    low, high, changed, finite = np.inf, -np.inf, 0, True
    for s in range(start, stop):
        kind = kinds[s]
        for j in range(b):
            x[j] = v[successors[s, j]]
        if greedy.lead[s] > drift:
            total, row = 0.0, row_of(greedy, s)
            for j in range(b):
                total += greedy.weights[row, j] * x[j]
            best = r[s, U(greedy.policy[s])] + gamma * total
        else:
            arg, best, second = 0, -np.inf, -np.inf
            for a in range(len(each) or r.shape[1]):
                total = 0.0
                for j in range(b):
                    total += weights[kind, a, j] * x[j]
                q = r[s, a] + gamma * total
                second = max(second, min(q, best))
                arg = a if q > best else arg
                best = max(best, q)
            changed += greedy.policy[s] != arg
            greedy.policy[s], greedy.lead[s] = arg, best - second - margin + drift
        out[s] = best
        d = best - v[s]
        low, high = min(low, d), max(high, d)
        finite &= abs(d) <= LARGEST
    return (low, high, changed) if finite else (np.nan, np.nan, changed)


@fast_kernel
def improve_dense(
    P: Array,
    r: Array,
    gamma: float,
    v: Array,
    out: Array,
    drift: float,
    margin: float,
    greedy: Greedy,
    start: int,
    stop: int,
) -> tuple[float, float, int]:
    """:func:`improve_csr` for P float[S, A, S]."""
    low, high, changed, finite = np.inf, -np.inf, 0, True
    for s in range(start, stop):
        if greedy.lead[s] > drift:
            best = greedy.reward[s] + gamma * dot(P[s, greedy.policy[s]], v)
        else:
            arg, best, second = 0, -np.inf, -np.inf
            for a in range(r.shape[1]):
                q = r[s, a] + gamma * dot(P[s, a], v)
                second = max(second, min(q, best))
                arg = a if q > best else arg
                best = max(best, q)
            changed += _chooses(greedy, s, arg, r[s, arg], best - second - margin + drift)
        out[s] = best
        d = best - v[s]
        low, high = min(low, d), max(high, d)
        finite &= abs(d) <= LARGEST
    return (low, high, changed) if finite else (np.nan, np.nan, changed)


@fast_kernel
def dot(p: Array, v: Array) -> float:
    total = 0.0
    for t in range(v.size):
        total += p[t] * v[t]
    return total


@fast_kernel
def evaluate_short(
    greedy: Greedy, gamma: float, v: Array, out: Array, width: Width, ahead: int, start: int, stop: int
) -> tuple[float, float, int]:
    """One evaluation sweep of the greedy policy, from its rows of one width; its extreme changes of `v`.

    Entries are asked for `ahead` of their use, unless that is 0.
    """
    low, high, b = np.inf, -np.inf, len(width) or greedy.weights.shape[1]
    successors, weights = greedy.successors.ravel(), greedy.weights.ravel()
    if ahead > 0:
        for s in range(start, stop):
            _ask_for(successors, weights, s * b + ahead, b)
            low, high = _evaluate_row(greedy, gamma, v, out, width, s, low, high)
    else:
        for s in range(start, stop):
            low, high = _evaluate_row(greedy, gamma, v, out, width, s, low, high)
    return low, high, 0


@fast_part
def _evaluate_row(
    greedy: Greedy, gamma: float, v: Array, out: Array, width: Width, s: int, low: float, high: float
) -> tuple[float, float]:
    out[s] = greedy.reward[s] + gamma * _mean(greedy, v, width, s, s)
    d = out[s] - v[s]
    return min(low, d), max(high, d)


@fast_part
def _mean(greedy: Greedy, v: Array, width: Width, s: int, row: Any) -> float:
    """Of `v` after a step of the policy from `s`, which has its weights in `row`."""
    total = 0.0
    for j in range(len(width) or greedy.weights.shape[1]):
        total += greedy.weights[row, j] * v[greedy.successors[s, j]]
    return total


@fast_kernel
def evaluate_union(
    r: Array, greedy: Greedy, gamma: float, v: Array, out: Array, width: Width, start: int, stop: int
) -> tuple[float, float, int]:
    """:func:`evaluate_short` for union rows."""
    low, high = np.inf, -np.inf
    for s in range(start, stop):
        total, row = 0.0, row_of(greedy, s)
        for j in range(len(width)):
            total += greedy.weights[row, j] * v[greedy.successors[s, j]]
        out[s] = r[s, U(greedy.policy[s])] + gamma * total
        d = out[s] - v[s]
        low, high = min(low, d), max(high, d)
    return low, high, 0


@fast_kernel
def evaluate_csr(
    indptr: Unsigned,
    indices: Unsigned,
    data: Array,
    n_actions: int,
    greedy: Greedy,
    gamma: float,
    v: Array,
    out: Array,
    start: int,
    stop: int,
) -> tuple[float, float, int]:
    """:func:`evaluate_short` for long rows."""
    low, high = np.inf, -np.inf
    for s in range(start, stop):
        out[s] = _chosen(indptr, indices, data, gamma, v, greedy, (), s, n_actions)
        d = out[s] - v[s]
        low, high = min(low, d), max(high, d)
    return low, high, 0


@fast_kernel
def evaluate_dense(
    P: Array, greedy: Greedy, gamma: float, v: Array, out: Array, start: int, stop: int
) -> tuple[float, float, int]:
    """:func:`evaluate_short` for P float[S, A, S]."""
    low, high = np.inf, -np.inf
    for s in range(start, stop):
        out[s] = greedy.reward[s] + gamma * dot(P[s, greedy.policy[s]], v)
        d = out[s] - v[s]
        low, high = min(low, d), max(high, d)
    return low, high, 0


@fast_kernel
def ahead_csr(
    indptr: Unsigned,
    indices: Unsigned,
    data: Array,
    r: Array,
    gamma: float,
    v: Array,
    q: Array,
    start: int,
    stop: int,
) -> None:
    """Fill ``q[s, a] = r[s, a] + gamma * sum_t P[s, a, t] v[t]``."""
    n_actions = r.shape[1]
    for s in range(start, stop):
        for a in range(n_actions):
            total = 0.0
            for k in range(U(indptr[s * n_actions + a]), U(indptr[s * n_actions + a + 1])):
                total += data[k] * v[indices[k]]
            q[s, a] = r[s, a] + gamma * total


@fast_kernel
def gauss_seidel_csr(
    indptr: Unsigned,
    indices: Unsigned,
    data: Array,
    r: Array,
    gamma: float,
    v: Array,
    old: Array,
    backward: bool,
    start: int,
    stop: int,
) -> None:
    """One sweep of the optimality operator in place, in ascending or descending order of the states.

    Values of states elsewhere are those in `old`, so that blocks of states can be swept side by side.
    """
    n_actions, first, size = r.shape[1], U(start), U(stop - start)
    for i in range(stop - start):
        s, best = (stop - 1 - i if backward else start + i), -np.inf
        for a in range(n_actions):
            total = 0.0
            for k in range(U(indptr[s * n_actions + a]), U(indptr[s * n_actions + a + 1])):
                t = U(indices[k])
                total += data[k] * (v[t] if t - first < size else old[t])
            best = max(best, r[s, a] + gamma * total)
        v[s] = best


@fast_kernel
def gauss_seidel_union(
    successors: Unsigned,
    kinds: Unsigned,
    weights: Array,
    r: Array,
    gamma: float,
    v: Array,
    old: Array,
    backward: bool,
    width: Width,
    each: Width,
    count: int,
    first: int,
    last: int,
) -> None:
    """:func:`gauss_seidel_csr` for union rows, on some of `count` blocks.

    `ABREAST` blocks go side by side, since each state has to wait for the one before it.
    """
    n, b, x = r.shape[0], len(width), np.empty(len(width))
    starts, sizes = np.empty(ABREAST, np.uint64), np.empty(ABREAST, np.uint64)
    for part in range(first, last, ABREAST):
        for block in range(ABREAST):
            starts[block] = U(n * min(part + block, last) // count)
            sizes[block] = U(n * min(part + block + 1, last) // count) - starts[block]
        for i in range(U(n // count + 1)):
            for block in range(ABREAST):
                start, size = starts[block], sizes[block]
                if i >= size:
                    continue
                s, best = start + (size - U(1) - i if backward else i), -np.inf
                kind = kinds[s]
                for j in range(b):
                    t = U(successors[s, j])
                    x[j] = v[t] if t - start < size else old[t]
                for a in range(len(each) or r.shape[1]):
                    total = 0.0
                    for j in range(b):
                        total += weights[kind, a, j] * x[j]
                    best = max(best, r[s, a] + gamma * total)
                v[s] = best


@fast_kernel
def row_maxima(r: Array, out: Array) -> None:
    """The largest entry of each row; NumPy takes several times as long along short rows."""
    for s in range(out.size):
        best = r[s, 0]
        for a in range(1, r.shape[1]):
            best = max(best, r[s, a])
        out[s] = best


@fast_kernel
def extremes(v: Array, previous: Array) -> tuple[float, float, float]:
    """Least and largest entry of v - previous, and the largest of abs(v); NaN if one is; `v` is stored in previous."""
    low, high, largest, finite = np.inf, -np.inf, 0.0, True
    for s in range(v.size):
        x = v[s] - previous[s]
        low, high, largest = min(low, x), max(high, x), max(largest, abs(v[s]))
        finite &= abs(x) <= LARGEST
        previous[s] = v[s]
    return (low, high, largest) if finite else (np.nan, np.nan, np.nan)


@fast_kernel
def mixed_rows(pi: Array, kinds: Unsigned, weights: Array, out: Array) -> None:
    """The rows of a stochastic policy float[S, A] on the successors of union rows, out[S, width]."""
    for s in range(len(kinds)):
        for j in range(out.shape[1]):
            total = 0.0
            for a in range(pi.shape[1]):
                total += pi[s, a] * weights[kinds[s], a, j]
            out[s, j] = total


@fast_kernel
def correct(
    greedy: Greedy, gamma: float, d: Array, e: Array, tol: float, limit: int, smoothed: bool, width: Width
) -> float:
    r"""Solve :math:`(I - \gamma P_\pi) e = d` by BiCGSTAB (van der Vorst 1992) from 0, to a residual of at most `tol`.

    The sums that it needs are taken while its vectors are in registers, and by blocks of states, of which this has one;
    :meth:`claimlab.mdps.sweeps.Sweeps.correction` has many.  If `smoothed`, `e` is the smoothed sequence
    (Zhou & Walker 1994), whose residual never grows in the Euclidean norm, so that a solve that is cut short after
    `limit` products, or breaks down, is still a step ahead.  Returns the largest entry of the residual.
    """
    n = d.size
    raw, p, v, t = d.copy(), d.copy(), np.empty(n), np.empty(n)
    x, smooth = (np.zeros(n), d.copy()) if smoothed else (e, raw)
    e[:] = 0.0
    rho, products, largest, sums = dot(d, d), 0, np.inf, np.empty((1, 2))
    while products < limit:
        product(greedy, gamma, p, d, v, width, 0, sums, 0, 1)
        against = sums[0, 0]
        if against == 0.0 or rho == 0.0:
            break
        alpha = rho / against
        subtract(alpha, v, raw, 0, n)
        product(greedy, gamma, raw, raw, t, width, 0, sums, 0, 1)
        omega = sums[0, 0] / sums[0, 1] if sums[0, 1] > 0.0 else 0.0
        advance(alpha, p, omega, t, d, x, raw, sums, 0, 1)
        rho_next, largest = sums[0]
        products += 2
        if not abs(rho_next) <= LARGEST:  # a breakdown; maxima may overlook NaN, sums do not
            largest = np.inf
            break
        if smoothed:
            largest = _smooth(x, raw, e, smooth)
        if largest <= tol or omega == 0.0:
            break
        turn(rho_next / rho * (alpha / omega), omega, v, raw, p, 0, n)
        rho = rho_next
    return largest


@fast_kernel
def product(
    greedy: Greedy,
    gamma: float,
    x: Array,
    other: Array,
    out: Array,
    width: Width,
    ahead: int,
    sums: Array,
    first: int,
    last: int,
) -> None:
    r"""out = (I - \gamma P_\pi) x in blocks of states; sums[blocks, 2], its products with `other` and with itself."""
    n, b = x.size, len(width) or greedy.weights.shape[1]
    successors, weights = greedy.successors.ravel(), greedy.weights.ravel()
    for block in range(first, last):
        along, square = 0.0, 0.0
        begin, end = n * block // len(sums), n * (block + 1) // len(sums)
        if ahead > 0:
            for s in range(begin, end):
                _ask_for(successors, weights, s * b + ahead, b)
                out[s] = x[s] - gamma * _mean(greedy, x, width, s, row_of(greedy, s))
                along += out[s] * other[s]
                square += out[s] * out[s]
        else:
            for s in range(begin, end):
                out[s] = x[s] - gamma * _mean(greedy, x, width, s, row_of(greedy, s))
                along += out[s] * other[s]
                square += out[s] * out[s]
        sums[block, 0], sums[block, 1] = along, square


@fast_kernel
def subtract(alpha: float, v: Array, raw: Array, start: int, stop: int) -> None:
    for s in range(start, stop):
        raw[s] -= alpha * v[s]


@fast_kernel
def advance(
    alpha: float,
    p: Array,
    omega: float,
    t: Array,
    d: Array,
    x: Array,
    raw: Array,
    sums: Array,
    first: int,
    last: int,
) -> None:
    """A step along p and raw: x, and the residual raw; sums[blocks, 2], its product with `d` and its largest entry."""
    n = x.size
    for block in range(first, last):
        along, largest = 0.0, 0.0
        for s in range(n * block // len(sums), n * (block + 1) // len(sums)):
            x[s] += alpha * p[s] + omega * raw[s]
            raw[s] -= omega * t[s]
            along += d[s] * raw[s]
            largest = max(largest, abs(raw[s]))
        sums[block, 0], sums[block, 1] = along, largest


@fast_kernel
def turn(beta: float, omega: float, v: Array, raw: Array, p: Array, start: int, stop: int) -> None:
    """The next direction p."""
    for s in range(start, stop):
        p[s] = raw[s] + beta * (p[s] - omega * v[s])


@fast_part
def _smooth(x: Array, raw: Array, e: Array, smooth: Array) -> float:
    """Move `e` towards `x` to where the residual, which moves towards `raw`, is least; its largest entry there."""
    apart, distance, largest = 0.0, 0.0, 0.0
    for s in range(x.size):
        step = raw[s] - smooth[s]
        apart += smooth[s] * step
        distance += step * step
    eta = -apart / distance if 0.0 < distance <= LARGEST else 0.0
    for s in range(x.size):
        e[s] += eta * (x[s] - e[s])
        smooth[s] += eta * (raw[s] - smooth[s])
        largest = max(largest, abs(smooth[s]))
    return largest
