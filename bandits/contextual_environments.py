"""Environments of contextual bandits: linear rewards, and given costs over an interval."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.bandits.contextual import ContextualEnvironment
from claimlab.checks import Array
from claimlab.native import kernel


class LinearState(NamedTuple):
    context: Array  # [d]
    means: Array  # [K], of the rewards at that context


@kernel
def _normal_context(state: LinearState, scale: float, rng: Generator) -> None:
    state.means[:] = 0.0
    for i in range(state.context.size):
        state.context[i] = scale * rng.standard_normal()


@dataclass(frozen=True, eq=False)
class DisjointLinear(ContextualEnvironment):
    r"""Each arm has its own parameter: the reward of arm a is :math:`\theta_a^\top x` plus normal noise.

    Contexts are independent, :math:`x \sim N(0, I/d)`, of mean squared length 1.

    Parameters
    ----------
    theta : float[K, d]
    noise : float
        Standard deviation.
    """

    theta: Array
    noise: float = 0.1

    def __post_init__(self) -> None:
        self._settle(theta=_parameters(self.theta, 2), noise=checks.interval("noise", self.noise, 0, inf, "[)"))

    @property
    def n_arms(self) -> int:  # type: ignore[override]
        return self.theta.shape[0]

    @property
    def dim(self) -> int:  # type: ignore[override]
        return self.theta.shape[1]

    def begin(self, horizon: int, rng: Generator) -> LinearState:
        return LinearState(np.zeros(self.theta.shape[1]), np.zeros(self.theta.shape[0]))

    def observe(self, state: LinearState, t: int, rng: Generator) -> Array:
        _normal_context(state, 1 / sqrt(state.context.size), rng)
        for a in range(state.means.size):
            for i in range(state.context.size):
                state.means[a] += state.context[i] * self.theta[a, i]
        return state.context

    def shortfall(self, state: LinearState, t: int, context: Array, arm: int) -> float:
        return state.means.max() - state.means[arm]

    def respond(self, state: LinearState, t: int, context: Array, arm: int, rng: Generator) -> float:
        return state.means[arm] + self.noise * rng.standard_normal()


@dataclass(frozen=True, eq=False)
class SharedLinear(ContextualEnvironment):
    r"""All arms share one parameter: the reward of arm a is :math:`\theta^\top x_a` plus normal noise.

    The context, float[K * p], holds the features :math:`x_a \sim N(0, I/p)` of one arm after the other.

    Parameters
    ----------
    theta : float[p]
    n_arms : int
    noise : float
        Standard deviation.
    """

    theta: Array
    n_arms: int
    noise: float = 0.1

    def __post_init__(self) -> None:
        self._settle(
            theta=_parameters(self.theta, 1),
            n_arms=checks.integer("n_arms", self.n_arms, 1),
            noise=checks.interval("noise", self.noise, 0, inf, "[)"),
        )

    @property
    def dim(self) -> int:  # type: ignore[override]
        return self.n_arms * self.theta.size

    def begin(self, horizon: int, rng: Generator) -> LinearState:
        return LinearState(np.zeros(self.n_arms * self.theta.size), np.zeros(self.n_arms))

    def observe(self, state: LinearState, t: int, rng: Generator) -> Array:
        p = self.theta.size
        _normal_context(state, 1 / sqrt(p), rng)
        for a in range(state.means.size):
            for i in range(p):
                state.means[a] += state.context[a * p + i] * self.theta[i]
        return state.context

    def shortfall(self, state: LinearState, t: int, context: Array, arm: int) -> float:
        return state.means.max() - state.means[arm]

    def respond(self, state: LinearState, t: int, context: Array, arm: int, rng: Generator) -> float:
        return state.means[arm] + self.noise * rng.standard_normal()


def _parameters(theta: Array, ndim: int) -> Array:
    out = checks.array("theta", theta, ndim=ndim)
    if not out.size:
        raise ValueError(f"theta must hold one number at least, got shape {out.shape}.")
    return out


class CostState(NamedTuple):
    context: Array  # [1]
    costs: Array  # [K], at that context


@dataclass(frozen=True, eq=False)
class PiecewiseLinear(ContextualEnvironment):
    r"""Costs in [0, 1] that are given functions of one number, linear between `knots`; the reward is 1 - cost.

    Contexts are independent, from ``low`` to ``high`` as a Beta(`a`, `b`) law over that interval.

    Parameters
    ----------
    knots : float[m]
        Increasing, at least two; low and high are the first and the last.
    costs : float[K, m]
        Of each arm at the knots.
    a, b : float
        1 and 1 are the uniform law.
    bernoulli : bool
        Whether the cost is drawn, 0 or 1, instead of being paid as it is.
    """

    knots: Array
    costs: Array
    a: float = 1.0
    b: float = 1.0
    bernoulli: bool = False

    def __post_init__(self) -> None:
        knots, costs = checks.array("knots", self.knots, ndim=1), checks.array("costs", self.costs, ndim=2)
        if knots.size < 2 or (np.diff(knots) <= 0).any():
            raise ValueError(f"knots must be two increasing numbers at least, got {knots}.")
        if costs.shape[1] != knots.size or not costs.size:
            raise ValueError(f"costs must have shape (K, m) with m = {knots.size} knots, got {costs.shape}.")
        bad = np.argwhere((costs < 0) | (costs > 1))
        if len(bad):
            raise ValueError(f"costs{bad[0].tolist()} is {costs[tuple(bad[0])]:.6g}; costs lie in [0, 1].")
        self._settle(
            knots=knots,
            costs=costs,
            a=checks.interval("a", self.a, 0, inf, "()"),
            b=checks.interval("b", self.b, 0, inf, "()"),
            bernoulli=checks.boolean("bernoulli", self.bernoulli),
        )

    @property
    def n_arms(self) -> int:  # type: ignore[override]
        return self.costs.shape[0]

    @property
    def dim(self) -> int:  # type: ignore[override]
        return 1

    def begin(self, horizon: int, rng: Generator) -> CostState:
        return CostState(np.zeros(1), np.zeros(self.costs.shape[0]))

    def observe(self, state: CostState, t: int, rng: Generator) -> Array:
        low, high = self.knots[0], self.knots[-1]
        x = low + (high - low) * (rng.random() if self.a == self.b == 1 else rng.beta(self.a, self.b))
        k = min(max(np.searchsorted(self.knots, x) - 1, 0), self.knots.size - 2)
        share = (x - self.knots[k]) / (self.knots[k + 1] - self.knots[k])
        for arm in range(state.costs.size):
            state.costs[arm] = (1 - share) * self.costs[arm, k] + share * self.costs[arm, k + 1]
        state.context[0] = x
        return state.context

    def shortfall(self, state: CostState, t: int, context: Array, arm: int) -> float:
        return state.costs[arm] - state.costs.min()

    def respond(self, state: CostState, t: int, context: Array, arm: int, rng: Generator) -> float:
        if self.bernoulli:
            return 0.0 if rng.random() < state.costs[arm] else 1.0
        return 1 - state.costs[arm]
