"""Logs of a staged MDP: how often each transition was seen, and what was paid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array, Ints
from claimlab.mdps.beliefs import transition_counts
from claimlab.mdps.staged import StagedMDP, transition_data


@dataclass(frozen=True, eq=False)
class Log:
    """Counts of a log.

    Parameters
    ----------
    transitions : int[H, S, A, S]
        ``transitions[h, s, a, t]``: how often `t` followed `s` under `a` at step `h`.
    rewards : float[H, S, A]
        Sums of the rewards paid, each of them in [0, 1].
    """

    transitions: Array
    rewards: Array

    def __post_init__(self) -> None:
        hits = transition_counts(self.transitions, "transitions")
        if 0 in hits.shape or hits.shape[1] != hits.shape[3]:
            raise ValueError(f"transitions must have shape (H, S, A, S), got {hits.shape}.")
        paid = checks.shaped("rewards", self.rewards, hits.shape[:3], "(H, S, A)")
        bad = np.argwhere((paid < 0) | (paid > hits.sum(axis=3) * (1 + 1e-9)))
        if len(bad):
            at = tuple(bad[0])
            raise ValueError(
                f"rewards{bad[0].tolist()} is {paid[at]:.6g} for {hits.sum(axis=3)[at]:g} visits; "
                "it must be a sum of rewards in [0, 1]."
            )
        hits.flags.writeable = False
        object.__setattr__(self, "transitions", hits)
        object.__setattr__(self, "rewards", paid)

    @property
    def visits(self) -> Array:
        """float[H, S, A]"""
        return np.asarray(self.transitions.sum(axis=3))

    @property
    def episodes(self) -> float:
        """How many episodes began."""
        return float(self.transitions[0].sum())

    def __add__(self, other: Log) -> Log:
        return Log(self.transitions + other.transitions, self.rewards + other.rewards)


def episode_log(states: ArrayLike, actions: ArrayLike, rewards: ArrayLike, *, n_states: int, n_actions: int) -> Log:
    """The counts of whole episodes.

    Parameters
    ----------
    states : int[n, H + 1]
        With the state in which an episode ends.
    actions : int[n, H]
    rewards : float[n, H]
        In [0, 1].
    n_states, n_actions : int

    Examples
    --------
    >>> log = episode_log([[0, 1, 1], [0, 0, 1]], [[1, 0], [0, 1]], [[0, 1], [0, 0.5]], n_states=2, n_actions=2)
    >>> log.visits[1].tolist(), log.rewards[1].tolist()
    ([[0.0, 1.0], [1.0, 0.0]], [[0.0, 0.5], [1.0, 0.0]])
    """
    S, A = checks.integer("n_states", n_states, 1), checks.integer("n_actions", n_actions, 1)
    paid = checks.unit("rewards", rewards, ndim=2)
    n, H = paid.shape
    s, a = _labels("states", states, (n, H + 1), "(n, H + 1)", S), _labels("actions", actions, (n, H), "(n, H)", A)
    if not H:
        raise ValueError("rewards must have shape (n, H) with H > 0, got " + str(paid.shape) + ".")
    hits, total, h = np.zeros((H, S, A, S)), np.zeros((H, S, A)), np.broadcast_to(np.arange(H), (n, H))
    np.add.at(hits, (h, s[:, :-1], a, s[:, 1:]), 1.0)
    np.add.at(total, (h, s[:, :-1], a), paid)
    return Log(hits, total)


def _labels(name: str, value: Any, shape: tuple[int, ...], what: str, n: int) -> Ints:
    given = checks.shaped(name, value, shape, what)
    bad = np.argwhere((given != np.floor(given)) | (given < 0) | (given >= n))
    if len(bad):
        raise ValueError(f"{name}{bad[0].tolist()} is {given[tuple(bad[0])]:g}; it must be in 0..{n - 1}.")
    return given.astype(np.int64)


def empty_log(mdp: StagedMDP) -> Log:
    return Log(np.zeros(mdp.P.shape), np.zeros(mdp.r.shape))


def draw_log(mdp: StagedMDP, pi: ArrayLike, episodes: int, rng: Generator) -> Log:
    """A log of `episodes` independent episodes of `pi` with Bernoulli rewards, from its exact joint law."""
    hits = transition_data(mdp, pi, episodes, rng)
    return Log(hits, rng.binomial(hits.sum(axis=3).astype(np.int64), mdp.r).astype(float))
