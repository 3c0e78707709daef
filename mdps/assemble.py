"""Transitions from lists of (state, action, successor, probability): what instances and conversions are built with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from claimlab.checks import Bools

DENSE_ENTRIES = 2**19  # entries of a dense P (4 MiB) beyond which `sparse=None` means CSR


def transitions(
    n_states: int,
    n_actions: int,
    states: ArrayLike,
    actions: ArrayLike,
    successors: ArrayLike,
    probabilities: ArrayLike,
    *,
    sparse: bool | None = None,
) -> Any:
    """P as float[S, A, S] or CSR (S*A, S) from lists that broadcast against each other; duplicates add up.

    `sparse` None means CSR for more than `DENSE_ENTRIES` entries.
    """
    s, a, t, p = (part.ravel() for part in np.broadcast_arrays(states, actions, successors, probabilities))
    shape = (n_states * n_actions, n_states)
    P = csr_array((np.asarray(p, dtype=np.float64), (s.astype(np.int64) * n_actions + a, t)), shape=shape)
    dense = shape[0] * shape[1] <= DENSE_ENTRIES if sparse is None else not sparse
    return P.toarray().reshape(n_states, n_actions, n_states) if dense else P


def ending_actions(terminal: Bools, n_actions: int) -> Bools:
    """bool[S, A]: all actions, but in terminal states action 0 alone, so that nothing ties where nothing is decided."""
    return ~terminal[:, None] | (np.arange(n_actions) == 0)
