r"""Off-policy evaluation of a discounted MDP from single transitions, by stationary occupancy ratios.

The value is :math:`v = \frac{1}{1-\gamma} E_{d^\pi} r` with :math:`d^\pi = (1-\gamma)\sum_t\gamma^t P(s_t, a_t)`, so a
log of transitions from any law :math:`\mu` of pairs answers with the ratios :math:`d^\pi/\mu` instead of products of
weights (Liu, Li, Tang & Zhou 2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array, Ints
from claimlab.estimates import Estimate, mean_of
from claimlab.mdps.tabular import TabularMDP


@dataclass(frozen=True, eq=False)
class TransitionLog:
    """Independent transitions of a discounted MDP, validated once; arrays are copied and read-only.

    Parameters
    ----------
    states, actions, next_states : int[n]
    rewards : float[n]
    target : float[S, A]
        The target policy.
    initial : float[S]
        The law of the first state.
    gamma : float
        Discount factor in [0, 1).
    """

    states: Ints
    actions: Ints
    rewards: Array
    next_states: Ints
    target: Array
    initial: Array
    gamma: float

    def __post_init__(self) -> None:
        target = checks.distributions("target", self.target, ndim=2)
        (S, A), n = target.shape, checks.ragless("states", self.states).size
        if n == 0:
            raise ValueError("a log needs at least one transition; states is empty.")
        initial = checks.distributions("initial", self.initial, ndim=1)
        if initial.shape != (S,):
            raise ValueError(f"initial must have shape (S,) = ({S},), got {initial.shape}.")
        for name, value in (
            ("states", checks.indices("states", self.states, (n,), "(n,)", S)),
            ("actions", checks.indices("actions", self.actions, (n,), "(n,)", A)),
            ("rewards", checks.shaped("rewards", self.rewards, (n,), "(n,)")),
            ("next_states", checks.indices("next_states", self.next_states, (n,), "(n,)", S)),
            ("target", target),
            ("initial", initial),
            ("gamma", checks.interval("gamma", self.gamma, 0, 1, "[)")),
        ):
            object.__setattr__(self, name, value)


class LinearView(NamedTuple):
    """A log in the features of a linear class of action values: what LSTD and the diagnosis of the class are given."""

    features: Array  # [n, d], of the pairs logged
    next_features: Array  # [n, d], of the next states, averaged over the target's actions
    rewards: Array  # [n]
    start_features: Array  # [d], averaged over the first state and the target's action
    gamma: float


def linear_view(log: TransitionLog, features: ArrayLike) -> LinearView:
    """The log in `features`, float[S, A, d]: of it one asks whether they can evaluate the target."""
    phi = checks.array("features", features, ndim=3)
    if phi.shape[:2] != log.target.shape:
        raise ValueError(f"features must have shape (S, A, d) with (S, A) = {log.target.shape}, got {phi.shape}.")
    after = np.einsum("sa,sad->sd", log.target, phi)
    return LinearView(phi[log.states, log.actions], after[log.next_states], log.rewards, log.initial @ after, log.gamma)


class TransitionEvaluation(NamedTuple):
    """Values of the target policy from the law of the first state."""

    dm: Estimate  # fitted Q; its standard error is that of its influence function
    mis: Estimate  # mean of ratio times reward, over 1 - gamma; standard error with the ratios taken as given
    dr: Estimate  # both (Kallus & Uehara 2020)
    q: Array  # [S, A], fitted; 0 where the log has no data
    ratios: Array  # [S, A], occupancy in the estimated model over frequency in the log; 0 where it has no data
    concentrability: float  # largest ratio
    uncovered: float  # the occupancy of pairs that the log does not hold, in the estimated model


def evaluate_transitions(log: TransitionLog) -> TransitionEvaluation:
    """Fitted Q, marginalised importance sampling and DR from the tables that the log defines.

    Where every pair that the target visits is logged, the three agree: in the tabular case weight learning and value
    learning are the same estimated model (Uehara, Huang & Jiang 2020).  Pairs without data are worth 0 and end the
    episode; `uncovered` tells how much of the target that concerns.
    """
    S, A = log.target.shape
    pair = log.states * A + log.actions
    visits = np.bincount(pair, minlength=S * A).astype(np.float64)
    seen = np.where(visits > 0, visits, 1.0)
    P, r = np.zeros((S * A, S)), np.bincount(pair, log.rewards, minlength=S * A) / seen
    np.add.at(P, (pair, log.next_states), 1.0)
    P /= seen[:, None]
    q, occupancy = _tables(P, r, log.target, log.initial, log.gamma)
    v, frequencies = (log.target * q).sum(axis=1), visits / len(pair)
    ratios = np.divide(occupancy.ravel(), frequencies, out=np.zeros(S * A), where=frequencies > 0)
    scale = 1 / (1 - log.gamma)
    influence = scale * ratios[pair] * (log.rewards + log.gamma * v[log.next_states] - q.ravel()[pair])
    dr = mean_of(float(log.initial @ v) + influence)
    return TransitionEvaluation(
        Estimate(float(log.initial @ v), dr.stderr), mean_of(scale * ratios[pair] * log.rewards), dr, q,
        ratios.reshape(S, A), float(ratios.max()), float(occupancy.ravel()[visits == 0].sum()),
    )  # fmt: skip


def _tables(P: Array, r: Array, target: Array, initial: Array, gamma: float) -> tuple[Array, Array]:
    """Action values and normalised occupancy, float[S, A] each, for ``P[S * A, S]`` whose rows sum to 1 or 0."""
    S, A = target.shape
    P_pi = np.einsum("sa,sat->st", target, P.reshape(S, A, S))
    v = np.linalg.solve(np.eye(S) - gamma * P_pi, (target * r.reshape(S, A)).sum(axis=1))
    d = np.linalg.solve(np.eye(S) - gamma * P_pi.T, (1 - gamma) * initial)
    return (r + gamma * P @ v).reshape(S, A), d[:, None] * target


def stationary_ratios(mdp: TabularMDP, pi: ArrayLike, mu: ArrayLike, initial: ArrayLike) -> Array:
    r"""The exact :math:`d^\pi(s,a)/\mu(s,a)` for a law `mu` of pairs, float[S, A]; infinite where only `pi` goes."""
    shape = mdp.r.shape
    target, law = checks.distributions("pi", pi, ndim=2), checks.shaped("mu", mu, shape, "(S, A)")
    checks.distributions("mu", law.ravel(), ndim=1)
    if target.shape != shape:
        raise ValueError(f"pi must have shape (S, A) = {shape}, got {target.shape}.")
    start = checks.distributions("initial", initial, ndim=1)
    if start.shape != shape[:1]:
        raise ValueError(f"initial must have shape (S,) = {shape[:1]}, got {start.shape}.")
    dense = (mdp.P.toarray() if mdp.is_sparse else mdp.P).reshape(-1, shape[0])
    _, occupancy = _tables(dense, mdp.r.ravel(), target, start, mdp.gamma)
    return np.where(law > 0, occupancy / np.where(law > 0, law, 1.0), np.where(occupancy > 0, np.inf, 0.0))
