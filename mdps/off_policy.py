r"""Off-policy evaluation from a log of episodes: what would another policy have earned in a finite MDP?

Step `h` of episode `i` has state :math:`s_h`, action :math:`a_h` with *propensity* :math:`\mu_h(a_h)`, and reward
:math:`r_h`; :math:`\rho_h = \pi_h(a_h|s_h)/\mu_h(a_h)` and :math:`\rho_{0:h} = \rho_0 \cdots \rho_h`.

- trajectory-wise IS :math:`\rho_{0:H-1}\sum_h\gamma^h r_h`, per-decision IS :math:`\sum_h\gamma^h\rho_{0:h} r_h`
  (Precup, Sutton & Singh 2000), and the weighted one, each step divided by its mean weight (Thomas 2015);
- DM, fitted Q: :math:`Q_h(s,a) = \hat r_h + \gamma\hat P_h V_{h+1}` from counts, which in the tabular case is the value
  of the estimated model (Yin & Wang 2020);
- MIS, the marginalised estimator of Xie, Ma & Wang (2019): laws of the states by weighted counts;
- DR (Jiang & Li 2016) with a cross-fitted fitted Q, and MRDR (Farajtabar, Chow & Ghavamzadeh 2018), DR with the table
  of action values that makes its variance least;
- with occupancy ratios that are known, :func:`ratio_value` and :func:`double_value`.

Logs of single transitions of a discounted MDP are in :mod:`claimlab.mdps.off_policy_discounted`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike
from scipy.sparse import csr_array, hstack
from scipy.sparse.linalg import lsqr

from claimlab import checks
from claimlab.checks import Array, Bools, Ints, Sparse
from claimlab.estimates import Estimate, folds_of, mean_of
from claimlab.mdps.staged import StagedMDP


@dataclass(frozen=True, eq=False)
class EpisodeLog:
    """Independent episodes of at most H steps, validated once; arrays are copied and read-only.

    Parameters
    ----------
    states, actions : int[N, H]
        An action of -1 says that the episode is over, here and after; what else is said of such steps is not read.
        (``rollouts`` writes them so; leave out its last column of states.)
    rewards : float[N, H]
    propensities : float[N, H]
        With which probability the logging policy took the action taken, in (0, 1].
    target : float[H, S, A] or float[S, A]
        The target policy.
    gamma : float
        Discount factor in (0, 1]; 1 by default.
    """

    states: Ints
    actions: Ints
    rewards: Array
    propensities: Array
    target: Array
    gamma: float = 1.0

    def __post_init__(self) -> None:
        shape = checks.ragless("actions", self.actions).shape
        if len(shape) != 2 or 0 in shape:
            raise ValueError(f"actions must have shape (N, H) with N, H >= 1, got {shape}.")
        target = checks.distributions(
            "target", self.target, ndim=2 if checks.ragless("target", self.target).ndim == 2 else 3
        )
        if target.ndim == 2:
            target = np.broadcast_to(target, (shape[1], *target.shape)).copy()
        H, S, A = target.shape
        if shape[1] != H:
            raise ValueError(f"target must have one policy for each of the H = {shape[1]} steps, got {H}.")
        actions = checks.indices("actions", self.actions, shape, "(N, H)", A, least=-1)
        over = actions < 0
        late = np.argwhere(over[:, :-1] & ~over[:, 1:])
        if len(late):
            i, h = late[0].tolist()
            raise ValueError(
                f"actions[{i}, {h + 1}] is {actions[i, h + 1]} after -1: an episode that is over stays so."
            )
        states = checks.indices("states", _kept("states", self.states, over, 0), shape, "(N, H)", S)
        rewards = checks.shaped("rewards", _kept("rewards", self.rewards, over, 0), shape, "(N, H)")
        propensities = checks.numbers("propensities", _kept("propensities", self.propensities, over, 1))
        if propensities.shape != shape:
            raise ValueError(f"propensities must have shape (N, H) = {shape}, got {propensities.shape}.")
        for bad, why in (
            (np.isnan(propensities), "is missing"),
            (propensities <= 0, "says that the action taken cannot be taken"),
            (propensities > 1, "is no probability"),
        ):
            if bad.any():
                at = np.argwhere(bad)[0].tolist()
                raise ValueError(
                    f"propensities{at} is {propensities[tuple(at)]:.6g}: it {why}; propensities lie in (0, 1]."
                )
        gamma = checks.interval("gamma", self.gamma, 0, 1, "(]")
        for name, value in (
            ("states", states), ("actions", actions), ("rewards", rewards), ("propensities", propensities),
            ("target", target), ("gamma", gamma),
        ):  # fmt: skip
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
            object.__setattr__(self, name, value)

    @property
    def n(self) -> int:
        return len(self.actions)

    @property
    def horizon(self) -> int:
        return int(self.target.shape[0])

    @property
    def ratios(self) -> Array:
        r"""The weights :math:`\rho_h` of single steps, float[N, H]; 1 after the end."""
        steps, over = np.arange(self.horizon), self.actions < 0
        with np.errstate(over="ignore"):
            return np.where(over, 1.0, self.target[steps, self.states, self.actions] / self.propensities)


def _kept(name: str, values: Any, over: Bools, filling: int) -> Any:
    """`values` with something harmless after the end; of another shape or type they are left to the checks."""
    given = checks.ragless(name, values)
    return np.where(over, filling, given) if given.shape == over.shape and given.dtype.kind in "biuf" else values


class EpisodeEvaluation(NamedTuple):
    """The value of the target policy by several estimators, and how much the log can say of it."""

    is_: Estimate
    pdis: Estimate
    weighted_pdis: Estimate  # standard error of its linearisation
    dm: Estimate  # standard errors of dm and mis: those of their influence functions
    mis: Estimate
    dr: Estimate
    mrdr: Estimate
    effective_sizes: Array  # [H], (sum rho_{0:h})^2 / sum rho_{0:h}^2
    max_weight: float  # of whole episodes
    mean_weights: Array  # [H], each 1 up to noise if the target is covered
    uncovered: float  # how often, by the estimated model, the target comes to a pair that the log does not hold


def evaluate_episodes(log: EpisodeLog, *, folds: int = 2) -> EpisodeEvaluation:
    """All estimators of the target's value, with standard errors.

    `folds` is of the cross-fitting of DR and MRDR: an episode's action values come from the episodes of other folds,
    which keeps both unbiased.
    Their standard errors leave out the covariance between folds, of second order in 1/N: with few episodes for each
    pair of the log they are too small.
    """
    if log.n < 2:
        raise ValueError("cross-fitting needs 2 episodes at least, got 1.")
    fold = folds_of(log.n, checks.integer("folds", folds, 2, log.n))
    rho, discounts = weight_products(log), log.gamma ** np.arange(log.horizon)
    rewards = discounts * log.rewards
    model = fitted_q(log)
    dr, mrdr, controls = np.empty(log.n), np.empty(log.n), _controls(log, rho)
    terms = (rho * rewards).sum(axis=1)
    first = np.eye(log.target.shape[1] + 1)[np.where(log.actions[:, 0] >= 0, log.states[:, 0], -1)]
    for k in range(folds):
        kept, held = fold != k, fold == k
        dr[held] = terms[held] - controls[held] @ fitted_q(_episodes(log, kept)).q.ravel()
        mrdr[held] = terms[held] - controls[held] @ _least_variance(terms[kept], controls[kept], first[kept])
    mean_weights = rho.mean(axis=0)
    safe = np.where(mean_weights > 0, mean_weights, 1.0)
    steps = (rho * rewards).mean(axis=0) / safe
    squares = (rho**2).sum(axis=0)
    return EpisodeEvaluation(
        mean_of(rho[:, -1] * rewards.sum(axis=1)),
        mean_of(terms),
        Estimate(float(steps.sum()), mean_of((rho * (rewards - steps) / safe).sum(axis=1)).stderr),
        Estimate(model.value, mean_of(_influence(log, model)).stderr),
        marginalised_sampling(log),
        mean_of(dr),
        mean_of(mrdr),
        np.where(squares > 0, rho.sum(axis=0) ** 2 / np.where(squares > 0, squares, 1.0), 0.0),
        float(rho[:, -1].max()),
        mean_weights,
        model.uncovered,
    )


def weight_products(log: EpisodeLog) -> Array:
    r""":math:`\rho_{0:h}`, float[N, H]."""
    with np.errstate(over="ignore"):
        out = np.asarray(np.cumprod(log.ratios, axis=1), dtype=np.float64)
    if not np.isfinite(out).all():
        i, h = np.argwhere(~np.isfinite(out))[0].tolist()
        raise ValueError(f"the weights of episode {i} multiply to more than a float holds at step {h}.")
    return out


def _episodes(log: EpisodeLog, kept: Bools) -> EpisodeLog:
    return EpisodeLog(
        log.states[kept], log.actions[kept], log.rewards[kept], log.propensities[kept], log.target, log.gamma
    )


class FittedQ(NamedTuple):
    """The estimated model's values of the target policy."""

    q: Array  # [H, S, A], 0 where the log has no data
    v: Array  # [H + 1, S]
    value: float
    occupancy: Array  # [H, S, A], the target's in the estimated model
    visits: Array  # [H, S, A], how often the log has the pair
    uncovered: float  # the target's probability of ever leaving the pairs of the log, in the estimated model


def _counts(log: EpisodeLog) -> tuple[Array, Array, Array]:
    """Numbers of transitions, float[H, S, A, S], of visits, and sums of rewards, float[H, S, A] each."""
    H, S, A = log.target.shape
    moves, rewards = np.zeros((H, S, A, S)), np.zeros((H, S, A))
    steps = np.broadcast_to(np.arange(H), log.actions.shape)
    on = log.actions >= 0
    at = steps[on], log.states[on], log.actions[on]
    np.add.at(rewards, at, log.rewards[on])
    goes_on = on[:, :-1] & on[:, 1:]
    pairs = steps[:, :-1][goes_on], log.states[:, :-1][goes_on], log.actions[:, :-1][goes_on]
    np.add.at(moves, (*pairs, log.states[:, 1:][goes_on]), 1.0)
    visits = np.zeros((H, S, A))
    np.add.at(visits, at, 1.0)
    return moves, visits, rewards


def fitted_q(log: EpisodeLog) -> FittedQ:
    """Fitted-Q evaluation by counts, the target's value in the estimated model; unvisited pairs are worth 0."""
    moves, visits, rewards = _counts(log)
    H, S, _ = log.target.shape
    seen = np.where(visits > 0, visits, 1.0)
    P, r = moves / seen[..., None], rewards / seen
    q, v = np.zeros(visits.shape), np.zeros((H + 1, S))
    for h in reversed(range(H)):
        q[h] = r[h] + log.gamma * P[h] @ v[h + 1]
        v[h] = (log.target[h] * q[h]).sum(axis=1)
    started = log.actions[:, 0] >= 0
    first = np.bincount(log.states[started, 0], minlength=S) / log.n
    occupancy, at = np.zeros(visits.shape), first
    for h in range(H):
        occupancy[h] = at[:, None] * log.target[h]
        at = np.einsum("sa,sat->t", occupancy[h], P[h])
    return FittedQ(q, v, float(first @ v[0]), occupancy, visits, float(occupancy[visits == 0].sum()))


def _controls(log: EpisodeLog, rho: Array) -> Sparse:
    r"""What a table of action values is multiplied with in DR, csr[N, H S A]; each column has mean zero.

    DR is :math:`\sum_h\gamma^h\rho_{0:h} r_h - z^\top q` with
    :math:`z_h(s,a) = \gamma^h (\rho_{0:h} 1[s_h = s, a_h = a] - \rho_{0:h-1} 1[s_h = s]\,\pi_h(a|s))`.
    """
    H, S, A = log.target.shape
    before = np.hstack([np.ones((log.n, 1)), rho[:, :-1]])
    i, h = np.nonzero(log.actions >= 0)
    s, a = log.states[i, h], log.actions[i, h]
    values = -before[i, h, None] * log.target[h, s]
    values[np.arange(len(i)), a] += rho[i, h]
    columns = (h * S + s)[:, None] * A + np.arange(A)
    values *= (log.gamma**h)[:, None]
    return csr_array((values.ravel(), (np.repeat(i, A), columns.ravel())), shape=(log.n, H * S * A))


def _least_variance(y: Array, z: Sparse, known: Array) -> Array:
    """As :func:`claimlab.estimates.control_coefficients`, for many sparse controls, to the tolerance of LSQR.

    Whatever the coefficients, DR is unbiased: the tolerance costs a little variance, and no more.
    """
    found = lsqr(hstack([csr_array(known), z], format="csr"), y, atol=1e-10, btol=1e-10)[0]
    return np.asarray(found[known.shape[1] :], dtype=np.float64)


def _influence(log: EpisodeLog, model: FittedQ) -> Array:
    """The influence function of fitted Q at each episode: DR whose weights are estimated occupancy ratios."""
    frequencies = model.visits / log.n
    ratios = np.divide(model.occupancy, frequencies, out=np.zeros_like(frequencies), where=frequencies > 0)
    return _double(log, ratios, model.q, model.v)


def _double(log: EpisodeLog, ratios: Array, q: Array, v: Array) -> Array:
    H, steps, on = log.horizon, np.arange(log.horizon), log.actions >= 0
    ahead = np.zeros(log.actions.shape)
    ahead[:, :-1] = np.where(on[:, 1:], v[steps[1:], log.states[:, 1:]], 0.0)
    errors = log.rewards + log.gamma * ahead - q[steps, log.states, log.actions]
    first = np.where(on[:, 0], v[0, log.states[:, 0]], 0.0)
    weights = log.gamma ** np.arange(H) * np.where(on, ratios[steps, log.states, log.actions], 0.0)
    return first + (weights * errors).sum(axis=1)


def _ratio_table(log: EpisodeLog, ratios: ArrayLike) -> Array:
    table = checks.shaped("ratios", ratios, log.target.shape, "(H, S, A)")
    bad = np.argwhere(table < 0)
    if len(bad):
        raise ValueError(f"ratios{bad[0].tolist()} is {table[tuple(bad[0])]:.6g}; ratios cannot be negative.")
    return table


def ratio_value(log: EpisodeLog, ratios: ArrayLike) -> Estimate:
    r"""Marginalised importance sampling with known ratios :math:`d^\pi_h(s,a)/d^\mu_h(s,a)`, float[H, S, A]."""
    table, steps, on = _ratio_table(log, ratios), np.arange(log.horizon), log.actions >= 0
    weights = np.where(on, table[steps, log.states, log.actions], 0.0)
    return mean_of((weights * log.gamma**steps * log.rewards).sum(axis=1))


def double_value(log: EpisodeLog, ratios: ArrayLike, q: ArrayLike) -> Estimate:
    """DR with marginal ratios, float[H, S, A], and action values `q`, float[H, S, A] (Kallus & Uehara 2020).

    Unbiased if either is right; with both it attains the Cramer-Rao bound of tabular MDPs.
    """
    table = checks.shaped("q", q, log.target.shape, "(H, S, A)")
    v = np.vstack([(log.target * table).sum(axis=2), np.zeros((1, table.shape[1]))])
    return mean_of(_double(log, _ratio_table(log, ratios), table, v))


def dr_value(log: EpisodeLog, q: ArrayLike) -> Estimate:
    """DR of Jiang & Li (2016) with given action values, float[H, S, A], which must not come from this log."""
    table = checks.shaped("q", q, log.target.shape, "(H, S, A)")
    rho = weight_products(log)
    terms = (rho * log.gamma ** np.arange(log.horizon) * log.rewards).sum(axis=1)
    return mean_of(terms - _controls(log, rho) @ table.ravel())


def marginalised_sampling(log: EpisodeLog) -> Estimate:
    """MIS of Xie, Ma & Wang (2019), laws and rewards of the states by weighted counts; influence-function error."""
    H, S, _ = log.target.shape
    ratios, on = log.ratios, log.actions >= 0
    law = np.bincount(log.states[on[:, 0], 0], minlength=S) / log.n
    laws, counts = np.zeros((H, S)), np.zeros((H, S))
    moves, rewards = np.zeros((H, S, S)), np.zeros((H, S))
    for h in range(H):
        i = on[:, h]
        s, w = log.states[i, h], ratios[i, h]
        counts[h] = np.maximum(np.bincount(s, minlength=S), 1)
        rewards[h] = np.bincount(s, w * log.rewards[i, h], minlength=S) / counts[h]
        if h + 1 < H:
            j = i & on[:, h + 1]
            np.add.at(moves[h], (log.states[j, h], log.states[j, h + 1]), ratios[j, h])
            moves[h] /= counts[h][:, None]
        laws[h], law = law, law @ moves[h]
    v = np.zeros((H + 1, S))
    for h in reversed(range(H)):
        v[h] = rewards[h] + log.gamma * moves[h] @ v[h + 1]
    value, steps = float(laws[0] @ v[0]), np.arange(H)
    ahead = np.zeros(log.actions.shape)
    ahead[:, :-1] = np.where(on[:, 1:], v[steps[1:], log.states[:, 1:]], 0.0)
    errors = ratios * (log.rewards + log.gamma * ahead) - v[steps, log.states]
    weights = log.gamma**steps * np.where(on, (laws * log.n / counts)[steps, log.states], 0.0)
    influence = np.where(on[:, 0], v[0, log.states[:, 0]], 0.0) + (weights * errors).sum(axis=1)
    return Estimate(value, mean_of(influence).stderr)


def occupancies(mdp: StagedMDP, pi: ArrayLike) -> Array:
    """How likely each pair is at each step under `pi`, float[H, S, A]."""
    policy, out = mdp.policy(pi), np.empty(mdp.r.shape)
    at = mdp.initial
    for h in range(mdp.horizon):
        out[h] = at[:, None] * policy[h]
        at = np.einsum("sa,sat->t", out[h], mdp.P[h])
    return out


def occupancy_ratios(mdp: StagedMDP, pi: ArrayLike, mu: ArrayLike) -> Array:
    r"""The exact :math:`d^\pi_h(s,a)/d^\mu_h(s,a)`, float[H, S, A]; 0/0 is 0, a pair of `pi` alone an error."""
    d, e = occupancies(mdp, pi), occupancies(mdp, mu)
    bad = np.argwhere((d > 0) & (e == 0))
    if len(bad):
        raise ValueError(
            f"pi leaves the support of mu at [h, s, a] = {bad[0].tolist()}, where it is with {d[tuple(bad[0])]:.6g}."
        )
    return np.divide(d, e, out=np.zeros_like(d), where=e > 0)


def sample_episodes(mdp: StagedMDP, logging: ArrayLike, target: ArrayLike, episodes: int, rng: Generator) -> EpisodeLog:
    """A log of `episodes` independent episodes of the policy `logging`, float[H, S, A], about `target`.

    >>> coin = StagedMDP(P=[[[[1.0], [1.0]]]], r=[[[0.0, 1.0]]])
    >>> sample_episodes(coin, [[[0.5, 0.5]]], [[[0, 1]]], 3, np.random.default_rng(0)).propensities.tolist()
    [[0.5], [0.5], [0.5]]
    """
    mu, n = mdp.policy(logging, "logging"), checks.integer("episodes", episodes, 1)
    states, actions = np.empty((n, mdp.horizon), np.int64), np.empty((n, mdp.horizon), np.int64)
    s = _drawn(np.broadcast_to(mdp.initial, (n, mdp.n_states)), rng)
    for h in range(mdp.horizon):
        a = _drawn(mu[h, s], rng)
        states[:, h], actions[:, h] = s, a
        s = _drawn(mdp.P[h, s, a], rng)
    steps = np.arange(mdp.horizon)
    return EpisodeLog(states, actions, mdp.r[steps, states, actions], mu[steps, states, actions], mdp.policy(target))


def _drawn(laws: Array, rng: Generator) -> Ints:
    """An index from each row of `laws`, never one of probability zero."""
    ends = np.cumsum(laws, axis=1)
    u = rng.random(len(laws)) * ends[:, -1]
    out: Ints = (u[:, None] >= ends).sum(axis=1)
    return out
