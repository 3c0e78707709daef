r"""Linear bandits on a finite list of arms :math:`u_1,\dots,u_K \in \mathbb R^d`, and optimistic algorithms for them.

The reward of arm `k` has mean :math:`\langle\theta, u_k\rangle`.  LinUCB is OFUL of Abbasi-Yadkori, Pal & Szepesvari
(2011) on finitely many arms; D-LinUCB is that of Russac, Vernade & Cappe (2019) for a drifting parameter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from math import inf, log, pow, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.bandits.environments import Stochastic
from claimlab.bandits.play import Algorithm
from claimlab.checks import Array
from claimlab.factor import cholesky, solve_factored
from claimlab.native import kernel


def arm_list(arms: ArrayLike) -> Array:
    """`arms` as a checked float[K, d] with at least one arm and one dimension."""
    checked = checks.array("arms", arms, ndim=2)
    if not checked.size:
        raise ValueError(f"arms must hold one arm of one dimension at least, got shape {checked.shape}.")
    return checked


def norm_bound(bound: float, arms: Array) -> float:
    """`bound` if it bounds the norms of `arms`; their largest norm if it is 0."""
    largest = longest(arms)
    bound = checks.interval("bound", bound, 0, inf, "[)") or largest
    if bound < largest:
        raise ValueError(f"bound is {bound!r}, but arms hold one of norm {largest:.6g}.")
    return bound


def longest(arms: Array) -> float:
    """The largest Euclidean norm of a row."""
    return float(np.linalg.norm(arms, axis=1).max())


@dataclass(frozen=True, eq=False)
class LinearArms(Stochastic):
    r"""Rewards :math:`\langle\theta, u_k\rangle + \sigma\,\mathcal N(0, 1)`.

    Parameters
    ----------
    arms : float[K, d]
    theta : float[d]
    sigma : float
        Standard deviation of the noise, which is also its subgaussian constant; 0 for none.
    """

    arms: Any
    theta: Any
    sigma: float
    means: Array = field(init=False)
    gaps: Array = field(init=False)

    def __post_init__(self) -> None:
        arms = arm_list(self.arms)
        theta = checks.shaped("theta", self.theta, arms.shape[1:], "(d,)")
        self._settle(arms=arms, theta=theta, sigma=checks.interval("sigma", self.sigma, 0, inf, "[)"))
        self._settle_means(checks.array("arms @ theta", arms @ theta, ndim=1))

    def pull(self, state: Array, t: int, arm: int, rng: Generator) -> float:
        return self.means[arm] + self.sigma * rng.standard_normal()


# regularised least squares -------------------------------------------------------------------------------------------


class Ridge(NamedTuple):
    r"""Regularised least squares with :math:`V = \lambda I + \sum u u^T`, everything an index needs kept per arm."""

    inverse: Array  # [d, d], of V
    theta: Array  # [d], the estimate
    mean: Array  # [K], <theta, u_k>
    width: Array  # [K], squared norm of u_k in V^-1
    samples: Array  # [K], observations of each arm
    log_det: Array  # [1], log(det V / lam^d)
    direction: Array  # [d], work space: V^-1 times the arm observed
    along: Array  # [K], work space: its products with the arms


@kernel
def ridge(columns: Array, lam: float) -> Ridge:
    """Before any observation; `columns` is float[d, K], the arms transposed."""
    d, n_arms = columns.shape
    width = np.zeros(n_arms)
    for i in range(d):
        for k in range(n_arms):
            width[k] += columns[i, k] * columns[i, k] / lam
    return Ridge(
        np.eye(d) / lam,
        np.zeros(d),
        np.zeros(n_arms),
        width,
        np.zeros(n_arms),
        np.zeros(1),
        np.zeros(d),
        np.zeros(n_arms),
    )


@kernel
def observe(state: Ridge, columns: Array, arm: int, y: float) -> None:
    """Take `y` as an observation of `arm`: Sherman & Morrison's update of everything, in O(K d + d^2)."""
    d, n_arms = columns.shape
    inverse, direction, along = state.inverse, state.direction, state.along
    along[:] = 0.0
    for i in range(d):
        total = 0.0
        for j in range(d):
            total += inverse[i, j] * columns[j, arm]
        direction[i] = total
        for k in range(n_arms):  # the inner loop runs over arms, so that it fits vector registers in any order
            along[k] += total * columns[i, k]
    growth = 1.0 + along[arm]
    step, shrink = (y - state.mean[arm]) / growth, 1.0 / growth
    for i in range(d):
        state.theta[i] += step * direction[i]
        for j in range(d):
            inverse[i, j] -= shrink * (direction[i] * direction[j])
    for k in range(n_arms):
        state.mean[k] += step * along[k]
        state.width[k] -= shrink * (along[k] * along[k])
    state.samples[arm] += 1.0
    state.log_det[0] += log(growth)


@kernel
def optimistic(state: Ridge, radius: float) -> int:
    """The first arm with the largest mean plus radius times width."""
    best, best_index = 0, -inf
    for k in range(state.mean.size):
        index = state.mean[k] + radius * sqrt(max(state.width[k], 0.0))
        if index > best_index:
            best, best_index = k, index
    return best


@kernel
def bounded_growth(rounds: float, bound: float, dim: int, lam: float) -> float:
    r"""The most that :math:`\log(\det V/\lambda^d)` can be after `rounds` actions no longer than `bound`."""
    return dim * log(1.0 + rounds * bound * bound / (dim * lam))


@kernel
def deviation(variance: float, delta: float, growth: float) -> float:
    r"""The self-normalised deviation :math:`\sqrt{2\sigma^2(\log(1/\delta) + \frac12\log(\det V/\lambda^d))}`.

    Abbasi-Yadkori et al. (2011), Theorem 1, with `growth` the logarithm of the ratio of determinants or a bound on it.
    """
    return sqrt(2.0 * variance * (log(1.0 / delta) + growth / 2.0))


# LinUCB --------------------------------------------------------------------------------------------------------------


class Growth(IntEnum):
    """What stands for the logarithm of the ratio of determinants in a radius, tightest first."""

    DETERMINANT = 0  # itself
    ROUNDS = 1  # its bound at the current round
    HORIZON = 2  # its bound at the horizon: a constant radius


@dataclass(frozen=True, eq=False)
class LinUCB(Algorithm):
    r"""Optimism over the ellipsoid :math:`\|\hat\theta - \theta\|_V \le \beta` (OFUL on finitely many arms).

    :math:`\beta = \sqrt\lambda\,S + \sqrt{2\sigma^2(\log(1/\delta) + \frac12\log(\det V/\lambda^d))}`, Abbasi-Yadkori
    et al. (2011), Theorem 2.  A round costs O(K d + d^2).

    Parameters
    ----------
    arms : float[K, d]
    lam : float
        Regularisation.
    sigma : float
        Subgaussian constant of the noise.
    norm : float
        `S`, a bound on the norm of the parameter.
    delta : float
        Error probability of the ellipsoid.
    growth : Growth
        Which form the radius takes.
    bound : float
        A bound on the arms' norms, for the two bounded forms; 0 stands for their largest norm.
    random_start : bool
        Whether the first arm is drawn at random, as in the code of Mussi et al. (2023); otherwise ties go to the first.
    """

    arms: Any
    lam: float = 1.0
    sigma: float = 1.0
    norm: float = 1.0
    delta: float = 0.01
    growth: int = Growth.DETERMINANT
    bound: float = 0.0
    random_start: bool = False
    columns: Array = field(init=False)

    def __post_init__(self) -> None:
        arms = arm_list(self.arms)
        self._settle(
            arms=arms,
            columns=checks.array("arms", arms.T, ndim=2),
            lam=checks.interval("lam", self.lam, 0, inf, "()"),
            sigma=checks.interval("sigma", self.sigma, 0, inf, "[)"),
            norm=checks.interval("norm", self.norm, 0, inf, "[)"),
            delta=checks.interval("delta", self.delta, 0, 1, "()"),
            growth=checks.integer("growth", self.growth, 0, 2),
            bound=norm_bound(self.bound, arms),
            random_start=checks.boolean("random_start", self.random_start),
        )

    def init(self, n_arms: int, horizon: int) -> tuple[Ridge, Array]:
        if n_arms != self.columns.shape[1]:
            raise ValueError("LinUCB and the environment must have the same number of arms.")
        constant = bounded_growth(float(horizon), self.bound, self.columns.shape[0], self.lam)
        return ridge(self.columns, self.lam), np.array([constant])

    def act(self, state: tuple[Ridge, Array], t: int, rng: Generator) -> int:
        fit, constant = state
        if t == 0 and self.random_start:
            return int(rng.integers(0, fit.mean.size))
        growth = constant[0]
        if self.growth == 0:
            growth = fit.log_det[0]
        elif self.growth == 1:
            growth = bounded_growth(float(t), self.bound, self.columns.shape[0], self.lam)
        radius = sqrt(self.lam) * self.norm + deviation(self.sigma * self.sigma, self.delta, growth)
        return optimistic(fit, radius)

    def learn(self, state: tuple[Ridge, Array], t: int, arm: int, reward: float) -> None:
        observe(state[0], self.columns, arm, reward)


# D-LinUCB ------------------------------------------------------------------------------------------------------------


class Discounted(NamedTuple):
    gram: Array  # [d, d], V
    squared: Array  # [d, d], V with squared weights
    b: Array  # [d]
    theta: Array  # [d], the estimate
    factor: Array  # [d, d], lower Cholesky factor of V
    direction: Array  # [d], work space


@dataclass(frozen=True, eq=False)
class DLinUCB(Algorithm):
    r"""LinUCB that forgets: observations weigh :math:`\gamma^{t-s}` (Russac, Vernade & Cappe 2019, Algorithm 1).

    With :math:`V_t = \gamma V_{t-1} + uu^T + (1-\gamma)\lambda I` and :math:`\tilde V_t` the same with
    :math:`\gamma^2`, the index is :math:`\langle\hat\theta, u\rangle + \beta\|u\|_{V^{-1}\tilde VV^{-1}}`, where
    :math:`\beta = \sqrt\lambda S + \sigma\sqrt{2\log(1/\delta) + d\log(1 + L^2w_t/(d\lambda))}` with
    :math:`w_t = (1-\gamma^{2t})/(1-\gamma^2)`.
    The regulariser is renewed in every round, which no update of rank one can do: a round costs O(d^3 + K d^2).

    Parameters
    ----------
    arms, lam, sigma, norm, delta, bound, random_start
        As for :class:`LinUCB`.
    gamma : float
        Discount factor in (0, 1).
    growing : bool
        Whether :math:`\lambda\gamma^{-t}` stands for :math:`\lambda`, as in the code of Mussi et al. (2023).
    """

    arms: Any
    gamma: float
    lam: float = 1.0
    sigma: float = 1.0
    norm: float = 1.0
    delta: float = 0.01
    bound: float = 0.0
    growing: bool = False
    random_start: bool = False

    def __post_init__(self) -> None:
        arms = arm_list(self.arms)
        self._settle(
            arms=arms,
            gamma=checks.interval("gamma", self.gamma, 0, 1, "()"),
            lam=checks.interval("lam", self.lam, 0, inf, "()"),
            sigma=checks.interval("sigma", self.sigma, 0, inf, "[)"),
            norm=checks.interval("norm", self.norm, 0, inf, "[)"),
            delta=checks.interval("delta", self.delta, 0, 1, "()"),
            bound=norm_bound(self.bound, arms),
            growing=checks.boolean("growing", self.growing),
            random_start=checks.boolean("random_start", self.random_start),
        )

    def init(self, n_arms: int, horizon: int) -> Discounted:
        if n_arms != self.arms.shape[0]:
            raise ValueError("DLinUCB and the environment must have the same number of arms.")
        d = self.arms.shape[1]
        start = self.lam * np.eye(d)
        return Discounted(
            start.copy(), start.copy(), np.zeros(d), np.zeros(d), np.sqrt(self.lam) * np.eye(d), np.zeros(d)
        )

    def act(self, state: Discounted, t: int, rng: Generator) -> int:
        n_arms, d = self.arms.shape
        if t == 0 and self.random_start:
            return int(rng.integers(0, n_arms))
        lam = self.lam * pow(self.gamma, -float(t)) if self.growing else self.lam
        weight = (1.0 - pow(self.gamma, 2.0 * t)) / (1.0 - self.gamma * self.gamma)
        growth = bounded_growth(weight, self.bound, d, lam)
        radius = sqrt(lam) * self.norm + deviation(self.sigma * self.sigma, self.delta, growth)
        best, best_index, x = 0, -inf, state.direction
        for k in range(n_arms):
            solve_factored(state.factor, self.arms[k], x)
            mean, square = 0.0, 0.0
            for i in range(d):
                mean += state.theta[i] * self.arms[k, i]
                for j in range(d):
                    square += x[i] * state.squared[i, j] * x[j]
            index = mean + radius * sqrt(max(square, 0.0))
            if index > best_index:
                best, best_index = k, index
        return best

    def learn(self, state: Discounted, t: int, arm: int, reward: float) -> None:
        u, d = self.arms[arm], self.arms.shape[1]
        lam = self.lam * pow(self.gamma, -float(t)) if self.growing else self.lam
        once, twice = self.gamma, self.gamma * self.gamma
        for i in range(d):
            for j in range(d):
                state.gram[i, j] = once * state.gram[i, j] + u[i] * u[j]
                state.squared[i, j] = twice * state.squared[i, j] + u[i] * u[j]
            state.gram[i, i] += (1.0 - once) * lam
            state.squared[i, i] += (1.0 - twice) * lam
            state.b[i] = once * state.b[i] + u[i] * reward
        cholesky(state.gram, state.factor)
        solve_factored(state.factor, state.b, state.theta)
