"""Compiled sweeps over CSR rows: plain functions on arrays that trust their arguments."""

from __future__ import annotations

import numpy as np

from claimlab.checks import Array, Bools, Ints
from claimlab.native import kernel


@kernel
def sweep(
    indptr: Ints, indices: Ints, data: Array, r: Array, gamma: float, actions: Bools, v: Array, tv: Array, policy: Ints
) -> None:
    """Optimality operator: ``tv[s] = max_a r[s, a] + gamma P[s, a] v`` and the first maximiser in `policy`."""
    n_states, n_actions = r.shape
    for s in range(n_states):
        best, best_q = 0, -np.inf
        for a in range(n_actions):
            if actions[s, a]:
                row, total = s * n_actions + a, 0.0
                for k in range(indptr[row], indptr[row + 1]):
                    total += data[k] * v[indices[k]]
                q = r[s, a] + gamma * total
                if q > best_q:
                    best, best_q = a, q
        tv[s], policy[s] = best_q, best
