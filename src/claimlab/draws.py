"""Draws by hand in kernels, where a choice of numpy's costs an allocation."""

from __future__ import annotations

from claimlab.checks import Array
from claimlab.native import kernel


@kernel
def sample(p: Array, u: float) -> int:
    """The index drawn from the distribution `p` by a uniform number `u` in [0, 1); never one of probability zero."""
    possible = 0
    for i in range(p.size):
        if u < p[i]:
            return i
        if p[i] > 0:
            possible = i
        u -= p[i]
    return possible  # by rounding alone: p sums to a little less than one
