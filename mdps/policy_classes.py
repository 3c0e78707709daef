"""A finite class of deterministic policies: their values, and their expected features under true or empirical laws."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np
from numpy.typing import ArrayLike

from claimlab.checks import Array, Ints, numbers
from claimlab.mdps.coverage_geometry import Geometry
from claimlab.mdps.prefixes import LIMIT
from claimlab.mdps.staged import StagedMDP


def deterministic_policies(mdp: StagedMDP) -> Ints:
    """All deterministic policies, int[n, H, S], up to their actions in states that no policy reaches (0 there).

    >>> from claimlab.mdps import combination_lock, staged
    >>> len(deterministic_policies(staged(combination_lock(2))))  # one state to start from, then two
    8
    """
    H, S, A = mdp.r.shape
    alive = np.zeros((H, S), bool)
    alive[0] = mdp.initial > 0
    for h in range(H - 1):
        alive[h + 1] = mdp.P[h][alive[h]].sum(axis=(0, 1)) > 0
    n = A ** int(alive.sum())
    if n > LIMIT:
        raise ValueError(f"the MDP has {n:.3g} deterministic policies; {LIMIT} can be enumerated.")
    out = np.zeros((n, H, S), np.int64)
    out[:, alive] = list(product(range(A), repeat=int(alive.sum())))
    return out


def checked_policies(mdp: StagedMDP, policies: ArrayLike | None) -> Ints:
    """`policies` as int[n, H, S] of actions; all deterministic ones by default."""
    if policies is None:
        return deterministic_policies(mdp)
    given, (H, S, A) = numbers("policies", policies), mdp.r.shape
    if given.ndim != 3 or given.shape[1:] != (H, S) or not len(given):
        raise ValueError(f"policies must have shape (n, H, S) with n > 0 and (H, S) = {(H, S)}, got {given.shape}.")
    bad = np.argwhere(~np.isin(given, np.arange(A)))
    if len(bad):
        raise ValueError(f"policies{bad[0].tolist()} is {given[tuple(bad[0])]:g}; actions are 0..{A - 1}.")
    return given.astype(np.int64)


def values(mdp: StagedMDP, policies: Ints) -> Array:
    """Value of each policy at each step and state, float[H + 1, n, S]."""
    v = np.zeros((mdp.horizon + 1, len(policies), mdp.n_states))
    for h in reversed(range(mdp.horizon)):
        q = mdp.r[h] + np.einsum("sat,nt->nsa", mdp.P[h], v[h + 1])
        v[h] = np.take_along_axis(q, policies[:, h, :, None], axis=2)[..., 0]
    return v


def occupancies(mdp: StagedMDP, policies: Ints) -> list[Array]:
    """Occupancies float[n, S * A] of each step."""
    law, out, own = np.tile(mdp.initial, (len(policies), 1)), [], np.eye(mdp.n_actions)
    for h in range(mdp.horizon):
        w = law[:, :, None] * own[policies[:, h]]
        out.append(w.reshape(len(policies), -1))
        law = np.einsum("nsa,sat->nt", w, mdp.P[h])
    return out


def first_targets(mdp: StagedMDP, policies: Ints, geometry: Geometry) -> Array:
    """Expected features of the first step: its law is known."""
    w = mdp.initial[:, None] * np.eye(mdp.n_actions)[policies[:, 0]]
    return geometry.expected(w.reshape(len(policies), prod(w.shape[1:])))


def next_targets(laws: Array, policies: Ints, step: int, n_actions: int, geometry: Geometry) -> Array:
    """Expected features of `step` from (signed) laws of its state, float[n, S]."""
    w = laws[:, :, None] * np.eye(n_actions)[policies[:, step]]
    return geometry.expected(w.reshape(len(policies), -1))
