"""The cone program of a design, for Clarabel: flows of policies, the cones of a geometry, and one row a policy.

What comes back is a proposal; :mod:`claimlab.mdps.coverage` certifies it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csc_array, csr_array, hstack, vstack

from claimlab.checks import Array, Ints
from claimlab.mdps.certificates import NotConverged
from claimlab.mdps.coverage_geometry import Geometry, clarabel
from claimlab.mdps.staged import StagedMDP

TOLERANCE = 1e-12  # Clarabel's, of a program scaled so that all numbers are of the order of 1


class Flow(NamedTuple):
    """The flow equations up to a step, over the states that some policy reaches."""

    places: Ints  # [n], places of the variables in [step + 1, S, A]
    balance: Any  # sparse [states, n]: what leaves minus what arrives
    start: Array  # [states], what arrives from outside for one episode
    last: Ints  # places among the variables of those of the last step
    pairs: Ints  # their s * A + a
    shape: tuple[int, int, int]  # H, S, A

    @staticmethod
    def of(mdp: StagedMDP, step: int) -> Flow:
        S, A = mdp.n_states, mdp.n_actions
        alive = np.zeros((step + 1, S), bool)
        alive[0] = mdp.initial > 0
        for h in range(step):
            alive[h + 1] = (mdp.P[h][alive[h]].sum(axis=(0, 1))) > 0
        states = np.flatnonzero(alive)
        index = (states[:, None] * A + np.arange(A)).ravel()
        number = np.full((step + 1) * S, -1)
        number[states] = np.arange(len(states))
        balance = np.zeros((len(states), len(index)))
        for column, place in enumerate(index.tolist()):
            h, s, a = place // (S * A), place // A % S, place % A
            balance[number[h * S + s], column] += 1
            if h < step:
                to = np.flatnonzero(mdp.P[h, s, a])
                balance[number[(h + 1) * S + to], column] -= mdp.P[h, s, a, to]
        start = np.zeros(len(states))
        first = np.flatnonzero(states < S)
        start[first] = mdp.initial[states[first]]
        last = np.flatnonzero(index >= step * S * A)
        return Flow(index, csr_array(balance), start, last, index[last] - step * S * A, (mdp.horizon, S, A))

    def policy(self, flow: Array) -> Array:
        """The policy, float[H, S, A], that realises `flow`; uniform where nothing flows."""
        H, S, A = self.shape
        x = np.zeros(H * S * A)
        x[self.places] = np.maximum(flow, 0.0)
        x = x.reshape(self.shape)
        total = x.sum(axis=2, keepdims=True)
        spread = np.where(total > 0, x / np.where(total > 0, total, 1.0), 1 / A)
        return np.asarray(spread / spread.sum(axis=2, keepdims=True))


class Proposal(NamedTuple):
    """What the solver says."""

    flow: Array  # [n], over the number of episodes
    weights: Array  # [m], multipliers of the policies
    value: float  # of the objective, over the given size


def propose(
    flow: Flow, geometry: Geometry, targets: Array, tolerated: Array, visits: Array, *, size: float,
    level: float | None,
) -> Proposal:  # fmt: skip
    """Solve for the working set `targets`.

    With a `level` the number of episodes is minimised such that each score is at most the level; `size` is a guess of
    it.  Without, the largest score for `size` episodes.  `visits`, float[S * A], are those of a guess.
    """
    cones = geometry.cones(targets, size, visits, flow.pairs)
    n, k, m = len(flow.places), cones.own.shape[1], len(targets)
    scores = csr_array(cones.scores / (size * tolerated[:, None]))  # of y
    empty = csr_array
    if level is not None:  # head = episodes / size
        head = csr_array(-flow.start[:, None])
        right = np.zeros(len(flow.start))
        top, limits, value = empty((m, 1)), np.ones(m), 1.0
        scores = scores / level
    else:  # head = largest score over that of the guess
        guess = geometry.whitened(targets, visits)
        value = float(((guess * guess).sum(axis=1) / tolerated).max())
        head, right = empty((len(flow.start), 1)), flow.start
        top, limits = csr_array(np.full((m, 1), -1.0)), np.zeros(m)
        scores = scores / value
    place = csr_array((np.ones(len(flow.last)), (flow.pairs, flow.last)), shape=(len(visits), n))
    A = vstack(
        [
            hstack([head, flow.balance, empty((len(right), k))]),
            hstack([empty((n, 1)), -csr_array(np.eye(n)), empty((n, k))]),
            hstack([top, empty((m, n)), scores]),
            hstack([empty((len(cones.offset), 1)), -(cones.pairs @ place), -cones.own]),
        ]
    )
    b = np.concatenate([right, np.zeros(n), limits, cones.offset])
    kinds = [clarabel.ZeroConeT(len(right)), clarabel.NonnegativeConeT(n + m), *cones.kinds]
    cost = np.zeros(1 + n + k)
    cost[0] = 1.0
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = TOLERANCE
    settings.max_threads = 1
    answer = clarabel.DefaultSolver(csc_array((1 + n + k,) * 2), cost, csc_array(A), b, kinds, settings).solve()
    x, z = np.array(answer.x), np.array(answer.z)
    if not np.isfinite(x).all():
        raise NotConverged(f"Clarabel proposes no design: {answer.status}.", answer)
    total = size * max(x[0], 1e-300) if level is not None else size
    multipliers = np.maximum(z[len(right) + n : len(right) + n + m], 0.0)
    return Proposal(
        x[1 : 1 + n] * size / total, multipliers / tolerated, float(x[0]) * (size if level is not None else value)
    )
