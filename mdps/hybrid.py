r"""Hybrid RL without bonuses: fitted Q-iteration on a log and on what was played (Hy-Q; Song et al. 2023).

Song, Zhou, Sekhari, Bagnell, Krishnamurthy & Sun, *Hybrid RL: Using Both Offline and Online Data Can Make RL
Efficient*, ICLR 2023, Algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab.checks import Array
from claimlab.mdps.beliefs import Visits, add_visits, no_visits, transition_counts
from claimlab.mdps.episodes import Learner
from claimlab.native import kernel


class Fitted(NamedTuple):
    """State of Hy-Q."""

    visits: Visits  # offline and online
    r: Array  # [H, S, A]
    q: Array  # [H, S, A]
    v: Array  # [H + 1, S]


@dataclass(frozen=True)
class HybridQ(Learner):
    r"""Hy-Q with one-hot features: :math:`q_h = r + \hat p\, v_{h+1}` on all data, 0 for pairs that nobody tried.

    With one-hot features least squares is a mean for each pair, so the proportion in which offline and online data are
    drawn is of no account.  Each episode plays the greedy policy; nothing explores but what the log knows, and nothing
    says when to stop.  With an empty `data` it is greedy online learning.

    Parameters
    ----------
    data : float[H, S, A, S], optional
        Transitions of the log.
    """

    data: Array = field(default_factory=lambda: np.zeros((0, 0, 0, 0)))

    def __post_init__(self) -> None:
        self._settle(data=transition_counts(self.data))

    def ready(self, r: Array, initial: Array, episodes: int) -> Fitted:
        H, S, A = r.shape
        state = Fitted(no_visits(H, S, A), r, np.zeros((H, S, A)), np.zeros((H + 1, S)))
        if self.data.size > 0:
            for h in range(H):
                for s in range(S):
                    for a in range(A):
                        for t in range(S):
                            if self.data[h, s, a, t] > 0:
                                add_visits(state.visits, h, s, a, t, self.data[h, s, a, t])
        return state

    def plan(self, state: Fitted, k: int, rng: Generator, policy: Array) -> int:
        fit(state)
        H, S, A = policy.shape
        for h in range(H):
            for s in range(S):
                best = 0
                for a in range(1, A):
                    if state.q[h, s, a] > state.q[h, s, best]:
                        best = a
                policy[h, s, :] = 0.0
                policy[h, s, best] = 1.0
        return 0

    def watch(self, state: Fitted, h: int, s: int, a: int, t: int) -> None:
        add_visits(state.visits, h, s, a, t, 1.0)


@kernel
def fit(state: Any) -> None:
    """Fitted Q-iteration, backwards over the steps: exact with one-hot features."""
    H, S, A = state.q.shape
    for h in range(H - 1, -1, -1):
        for s in range(S):
            state.v[h, s] = 0.0
            for a in range(A):
                n, total = state.visits.n[h, s, a], 0.0
                for j in range(state.visits.seen[h, s, a]):
                    t = state.visits.successors[h, s, a, j]
                    total += state.visits.hits[h, s, a, t] * state.v[h + 1, t]
                state.q[h, s, a] = state.r[h, s, a] + total / n if n > 0 else 0.0
                state.v[h, s] = max(state.v[h, s], state.q[h, s, a])
