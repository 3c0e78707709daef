r"""What deterministic policies do up to a step: every occupancy of that step, with the smallest gap that goes with it.

The gap of a policy is :math:`V^* - V^\pi = \sum_g \langle w_g, V^*_g - Q^*_g \rangle` with its occupancies
:math:`w_g`, so a prefix that goes on optimally has the gap of its own steps.  Prefixes with the same occupancy differ
in their past only, and the one with the smallest gap is kept: it is the hardest to tell from an optimal one.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np

from claimlab import checks
from claimlab.checks import Array, Ints
from claimlab.mdps.staged import StagedMDP, staged_optimum

LIMIT = 200_000  # prefixes of a step that are enumerated
DIGITS = 12  # decimals in which occupancies of the same policy agree, however their sums were ordered


class Prefixes(NamedTuple):
    """The distinct occupancies of a step under deterministic policies."""

    occupancy: Array  # [n, S, A], each sums to 1
    gap: Array  # [n], the smallest gap of a policy with that occupancy; 0 for an optimal one


def prefixes(mdp: StagedMDP, step: int) -> Prefixes:
    """The occupancies of `step` under all deterministic policies.

    >>> from claimlab.mdps import combination_lock, staged
    >>> prefixes(staged(combination_lock(2)), 1).gap
    array([0., 1., 1., 1.])
    """
    step = checks.integer("step", step, 0, mdp.horizon - 1)
    best = staged_optimum(mdp)
    regret = np.maximum(best.v[:-1, :, None] - best.q, 0.0)  # [H, S, A]
    law, gap, w = mdp.initial[None], np.zeros(1), np.zeros((1, mdp.n_states, mdp.n_actions))
    for h in range(step + 1):
        w, before = _branches(law, gap, mdp.n_actions, h)
        w, gap = _distinct(w, before + np.einsum("nsa,sa->n", w, regret[h]))
        if h < step:
            law, gap = _distinct(np.einsum("nsa,sat->nt", w, mdp.P[h]), gap)
    return Prefixes(w, gap)


def _branches(law: Array, gap: Array, A: int, step: int) -> tuple[Array, Array]:
    """Each law continued by every choice of an action in each of its states."""
    alive = law > 0
    total = (float(A) ** alive.sum(axis=1)).sum()
    if total > LIMIT:
        raise ValueError(
            f"step {step} has {total:.3g} deterministic prefixes; {LIMIT} can be enumerated. Merge states or actions."
        )
    occupancies, gaps = [], []
    for pattern in np.unique(alive, axis=0):
        members, states = np.flatnonzero((alive == pattern).all(axis=1)), np.flatnonzero(pattern)
        choices = np.array(list(product(range(A), repeat=len(states))), dtype=np.int64)
        w = np.zeros((len(members), len(choices), law.shape[1], A))
        for j, s in enumerate(states):
            w[:, np.arange(len(choices)), s, choices[:, j]] = law[members, s, None]
        occupancies.append(w.reshape(-1, *w.shape[2:]))
        gaps.append(np.repeat(gap[members], len(choices)))
    return np.concatenate(occupancies), np.concatenate(gaps)


def _distinct(x: Array, gap: Array) -> tuple[Array, Array]:
    """Rows that differ within their digits, each with its smallest gap; by falling entries."""
    order = np.argsort(gap, kind="stable")
    flat = np.round(x.reshape(len(x), -1), DIGITS) + 0.0
    _, first = np.unique(-flat[order], axis=0, return_index=True)
    kept: Ints = order[first]
    return x[kept], gap[kept]
