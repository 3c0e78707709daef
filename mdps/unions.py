"""Union rows: the successors of all actions of a state, once, and what each action makes of them.

On grids the actions of a state lead to the same few neighbours, and few states differ in how likely each is, so that
the weights of each *kind* of state are kept once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from claimlab.checks import Array, Ints, Sparse
from claimlab.mdps.kernels import U, Unsigned
from claimlab.mdps.tabular import FiniteMDP
from claimlab.native import kernel, part

SHORT = 16  # entries of a row up to which a loop of constant length pays
MEMBERS = 16  # of a kind of state, on average, from which kinds are looked for


class Union(NamedTuple):
    """Successors of each state, itself where it has fewer than others, and the weights of its kind."""

    successors: Unsigned  # [S, width]
    kinds: Unsigned  # [S]
    weights: Array  # [kinds, A, width]

    @property
    def bandwidth(self) -> int:
        """How far transitions lead at most, in the order of the states."""
        far = (self.successors - np.arange(len(self.kinds), dtype=np.uint32)[:, None]).view(np.int32)
        return max(-int(far.min()), int(far.max()))


def unsigned(x: Ints) -> Unsigned:
    """The same array to kernels, for which negative indices would cost a test each."""
    return x.view(np.uint32 if x.itemsize == 4 else np.uint64)


def united(mdp: FiniteMDP) -> Union | None:
    """Union rows of at most `SHORT` entries, if they take no more room than the CSR rows and a fifth."""
    if not mdp.is_sparse or mdp.row_length > SHORT:
        return None
    S, A = mdp.r.shape
    room = 1.2 * 12 * mdp.P.nnz / S  # bytes a state
    affordable = min(int(room / (4 + 8 * A / MEMBERS)), SHORT)  # if states are few kinds
    width = union_width(unsigned(mdp.P.indptr), unsigned(mdp.P.indices), S, A, affordable)
    if width > affordable:
        return None
    rows = union_rows(mdp.P, A, width, max(S // MEMBERS, 1))
    return union_rows(mdp.P, A, width, None) if rows is None and width * (4 + 8 * A) <= room else rows


@kernel
def union_width(indptr: Unsigned, indices: Unsigned, n_states: int, n_actions: int, limit: int) -> int:
    """The largest number of distinct successors of a state, or limit + 1 if that is less."""
    width, found = 0, np.empty(limit + 1, indices.dtype)
    for s in range(n_states):
        count = 0
        for k in range(U(indptr[s * n_actions]), U(indptr[(s + 1) * n_actions])):
            j = 0
            while j < count and found[j] != indices[k]:
                j += 1
            if j == count:
                found[j] = indices[k]
                count += 1
            if count > limit:
                return count
        width = max(width, count)
    return width


def union_rows(P: Sparse, n_actions: int, width: int, limit: int | None) -> Union | None:
    """Rows of `width` entries for those s * A + a of `P`; None if there are over `limit` kinds.

    Without a limit each state is a kind, and none is looked for.
    """
    S, A = P.shape[1], n_actions
    successors, kinds = np.empty((S, width), np.uint32), np.empty(S, np.uint32)
    weights = np.empty((S if limit is None else limit + 1, A, width))
    places = 0 if limit is None else 2 ** int(2 * limit + 1).bit_length()  # so that they are never more than half full
    parts = unsigned(P.indptr), unsigned(P.indices), P.data
    count = _fill(*parts, successors, kinds, weights, weights.view(np.uint64), np.full(places, -1))
    if limit is not None and count > limit:
        return None
    return Union(successors, kinds, weights if count == len(weights) else weights[:count].copy())


@kernel
def _fill(
    indptr: Unsigned,
    indices: Unsigned,
    data: Array,
    successors: Unsigned,
    kinds: Unsigned,
    weights: Array,
    bits: Unsigned,
    table: Ints,
) -> int:
    """Fill the rows of each state and return the number of kinds, one more than there is room for if they do not fit.

    `bits` are those of the `weights`.  Kinds are looked for in a `table` of places, of which -1 is a free one; without
    places each state is a kind.
    """
    (n_states, width), (room, n_actions, _) = successors.shape, weights.shape
    count = 0
    for s in range(n_states):
        if count == room:
            return count
        weights[count] = 0.0
        found = 0
        for a in range(n_actions):
            for k in range(U(indptr[s * n_actions + a]), U(indptr[s * n_actions + a + 1])):
                j = 0
                while j < found and successors[s, j] != indices[k]:
                    j += 1
                if j == found:
                    successors[s, j] = indices[k]
                    found += 1
                weights[count, a, j] += data[k]
        for j in range(found, width):
            successors[s, j] = s
        if table.size == 0:
            kinds[s] = count
        elif s > 0 and _same(bits, int(kinds[s - 1]), count):  # as on most of a grid
            kinds[s] = kinds[s - 1]
        else:
            kinds[s] = _find(bits, count, table)
        count += kinds[s] == count
    return count


@part
def _find(bits: Unsigned, new: int, table: Ints) -> int:
    """The first kind with the weights of the `new` one, which enters the table if there is none before it."""
    mark = U(14695981039346656037)  # the hash of Fowler, Noll & Vo
    for a in range(bits.shape[1]):
        for j in range(bits.shape[2]):
            mark = (mark ^ bits[new, a, j]) * U(1099511628211)
            mark ^= mark >> U(32)
    place = mark & U(table.size - 1)
    while table[place] >= 0:
        if _same(bits, table[place], new):
            return int(table[place])
        place = (place + U(1)) & U(table.size - 1)
    table[place] = new
    return new


@part
def _same(bits: Unsigned, kind: int, other: int) -> bool:
    for a in range(bits.shape[1]):
        for j in range(bits.shape[2]):
            if bits[kind, a, j] != bits[other, a, j]:
                return False
    return True
