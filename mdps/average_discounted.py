r"""Learners of average-reward MDPs that plan in a discounted surrogate with clipped values: UCLK-C and gamma-LSCVI-UCB.

With :math:`1 - \gamma` of order :math:`1/\sqrt T` the discounted optimum is near the gain,
:math:`|J^* - (1-\gamma) V^*_\gamma(s)| \le (1-\gamma)\,\mathrm{sp}(V^*)`, and its span at most
:math:`2\,\mathrm{sp}(V^*)`, so that values may be clipped to :math:`\min V + 2\,\mathrm{sp}(V^*)`.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import inf, log, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.checks import Array, Ints
from claimlab.mdps.average_learning import AverageLearner
from claimlab.mdps.loop_linear import Regression, mixed_features, rank_one, regression
from claimlab.native import kernel, part

SWEEPS, CLOSE = 20_000, 1e-4  # of value iteration: at most so many, or until no value moves by more


class DiscountedState(NamedTuple):
    r: Array  # [S, A]
    fit: Regression
    b: Array  # [d], sums of features times targets (UCLK-C)
    moves: Array  # [S, A, S]
    x: Array  # [S, A, d], features of the values in use
    v: Array  # [S]
    policy: Ints  # [S]
    epoch: Ints  # [1], epochs begun
    log_det: Array  # [2], of the Gram matrix, and when the epoch began
    gamma: Array  # [1]
    least: Array  # [1], what the optimistic values exceed v by


@kernel
def undecided(r: Array, d: int, ridge: float, gamma: float) -> DiscountedState:
    S, A = r.shape
    return DiscountedState(
        r,
        regression(d, ridge),
        np.zeros(d),
        np.zeros((S, A, S)),
        np.zeros((S, A, d)),
        np.zeros(S),
        np.zeros(S, np.int64),
        np.zeros(1, np.int64),
        np.array([log(2), -inf]),
        np.full(1, gamma),
        np.zeros(1),
    )


@kernel
def add_feature(state: DiscountedState, x: Array) -> None:
    """Add a feature to the regression and to its log-determinant."""
    state.log_det[0] += log(1 + leverage(state.fit, x))
    rank_one(state.fit, x)


@kernel
def leverage(fit: Regression, x: Array) -> float:
    total = 0.0
    for i in range(x.size):
        for j in range(x.size):
            total += x[i] * fit.inverse[i, j] * x[j]
    return max(total, 0.0)


@kernel
def estimate(fit: Regression, b: Array) -> Array:
    w = np.zeros(b.size)
    for i in range(b.size):
        for j in range(b.size):
            w[i] += fit.inverse[i, j] * b[j]
    return w


@part
def clipped_maximum(state: DiscountedState, q: Array, width: float) -> float:
    """Set v to max_a q clipped to `width` above its minimum, and the greedy policy; how far v moved."""
    S, A = q.shape
    least, moved = inf, 0.0
    best = np.zeros(S)
    for s in range(S):
        top = 0
        for a in range(1, A):
            if q[s, a] > q[s, top]:
                top = a
        state.policy[s] = top
        best[s] = q[s, top]
        least = min(least, best[s])
    for s in range(S):
        value = min(best[s], least + width)
        moved = max(moved, abs(value - state.v[s]))
        state.v[s] = value
    return moved


class Surrogate(AverageLearner):
    """A learner whose plans are optimistic values of a discounted MDP."""

    @abstractmethod
    def optimistic(self, state: Any, s: int) -> float:
        """V(s) of the plan in use, at least V*_gamma(s) up to the tolerance of value iteration if all is well."""

    @abstractmethod
    def discount(self, state: Any) -> float:
        """gamma."""


@dataclass(frozen=True, eq=False)
class UCLKC(Surrogate):
    r"""UCLK-C for linear mixtures: optimism over an ellipsoid of parameters in a discounted, clipped surrogate.

    .. math:: Q \leftarrow r + \gamma \min\{\langle\hat\theta, \phi_V\rangle + \sqrt\beta\|\phi_V\|_{\Sigma^{-1}},
        \max V\}

    with :math:`\gamma = 1 - \sqrt{d / (2 \max\{\mathrm{sp}, 1\} T)}` and
    :math:`\sqrt\beta = \mathrm{sp}\sqrt{2\log(1/\delta) + d \log(1 + 4 t\,\mathrm{sp}^2/(\lambda d))}
    + \sqrt{\lambda d}`.

    Source: Chae, Hong, Zhang, Tewari & Lee (2024), Learning infinite-horizon average-reward linear mixture MDPs of
    bounded span, Algorithm 1; the constants of gamma and beta are ours.

    Parameters
    ----------
    basis : float[S, A, S, d]
    span : float
        sp(V*), or an upper bound.
    delta, ridge : float
    scale : float
        Of the radius; below 1 nothing is proved.
    """

    basis: Array
    span: float
    delta: float = 0.1
    ridge: float = 1.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        self._settle(basis=checks.array("basis", self.basis, ndim=4), **_parameters(self))

    def fresh(self, r: Array, horizon: int) -> DiscountedState:
        d = self.basis.shape[3]
        return undecided(r, d, self.ridge, max(0.0, 1 - sqrt(d / (2 * max(self.span, 1.0) * horizon))))

    def decide(self, state: DiscountedState, t: int, s: int, rng: Generator) -> int:
        if state.log_det[0] >= state.log_det[1] + log(2):
            d = self.basis.shape[3]
            logs = 2 * log(1 / self.delta) + d * log(1 + 4 * t * self.span**2 / (self.ridge * d))
            root = self.scale * (self.span * sqrt(logs) + sqrt(self.ridge * d))
            plan_mixture(state, self.basis, root, 2 * self.span)
        return state.policy[s]

    def absorb(self, state: DiscountedState, t: int, s: int, a: int, successor: int) -> None:
        x = state.x[s, a]
        add_feature(state, x)
        for i in range(x.size):
            state.b[i] += x[i] * state.v[successor]

    def switches(self, state: DiscountedState) -> int:
        return state.epoch[0]

    def optimistic(self, state: DiscountedState, s: int) -> float:
        return state.v[s] + state.least[0]

    def discount(self, state: DiscountedState) -> float:
        return state.gamma[0]


@kernel
def plan_mixture(state: DiscountedState, basis: Array, root: float, width: float) -> None:
    """Optimistic value iteration for a linear mixture; the values kept have minimum 0."""
    S, A, _, d = basis.shape
    theta, q, gamma = estimate(state.fit, state.b), np.zeros((S, A)), state.gamma[0]
    begin_plan(state)
    for _ in range(SWEEPS):
        least = subtract_minimum(state.v)
        mixed_features(basis, state.v, state.x)
        most = state.v.max()
        for s in range(S):
            for a in range(A):
                ahead = root * sqrt(leverage(state.fit, state.x[s, a]))
                for k in range(d):
                    ahead += theta[k] * state.x[s, a, k]
                q[s, a] = state.r[s, a] + gamma * (min(ahead, most) + least)
            state.v[s] += least
        if clipped_maximum(state, q, width) <= CLOSE:
            break
    state.least[0] = subtract_minimum(state.v)
    mixed_features(basis, state.v, state.x)


@part
def begin_plan(state: DiscountedState) -> None:
    state.epoch[0] += 1
    state.log_det[1] = state.log_det[0]


@part
def subtract_minimum(v: Array) -> float:
    least = v.min()
    for s in range(v.size):
        v[s] -= least
    return least


@dataclass(frozen=True, eq=False)
class GammaLSCVI(Surrogate):
    r"""gamma-LSCVI-UCB for linear MDPs: least squares, bonuses and clipped values in a discounted surrogate.

    .. math:: Q \leftarrow \min\{r + \gamma (\varphi^\top w + \min V + b \|\varphi\|_{\Lambda^{-1}}), 1/(1-\gamma)\}

    with
    :math:`w = \Lambda^{-1} \sum \varphi (V(s') - \min V)`, :math:`\gamma = 1 - \sqrt{\log T/T}`, values clipped to
    :math:`\min V + 2\,\mathrm{sp}(V^*)` and
    :math:`b = \mathrm{scale} \cdot 2\,\mathrm{sp} \cdot d \sqrt{\log(dT/\delta)}`.

    Source: Hong, Chae, Zhang, Lee & Tewari (2024), Reinforcement learning for infinite-horizon average-reward linear
    MDPs via approximation by discounted-reward MDPs, Algorithm 1.

    Parameters
    ----------
    features : float[S, A, d]
    span : float
        sp(V*), or an upper bound.
    delta, ridge : float
    scale : float
        Of the bonus; the analysis needs an absolute constant above 1.
    """

    features: Array
    span: float
    delta: float = 0.1
    ridge: float = 1.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        self._settle(features=checks.array("features", self.features, ndim=3), **_parameters(self))

    def fresh(self, r: Array, horizon: int) -> LeastSquaresState:
        d, T = self.features.shape[2], max(horizon, 2)
        bonus = self.scale * 2 * self.span * d * sqrt(log(d * T / self.delta))
        return LeastSquaresState(undecided(r, d, self.ridge, 1 - sqrt(log(T) / T)), np.full(1, bonus))

    def decide(self, state: LeastSquaresState, t: int, s: int, rng: Generator) -> int:
        surrogate = state.surrogate
        if surrogate.log_det[0] >= surrogate.log_det[1] + log(2):
            plan_linear(surrogate, self.features, state.bonus[0], 2 * self.span)
        return surrogate.policy[s]

    def absorb(self, state: LeastSquaresState, t: int, s: int, a: int, successor: int) -> None:
        add_feature(state.surrogate, self.features[s, a])
        state.surrogate.moves[s, a, successor] += 1

    def switches(self, state: LeastSquaresState) -> int:
        return state.surrogate.epoch[0]

    def optimistic(self, state: LeastSquaresState, s: int) -> float:
        return state.surrogate.v[s]

    def discount(self, state: LeastSquaresState) -> float:
        return state.surrogate.gamma[0]


class LeastSquaresState(NamedTuple):
    surrogate: DiscountedState
    bonus: Array  # [1], b


@kernel
def plan_linear(state: DiscountedState, features: Array, bonus: float, width: float) -> None:
    """Optimistic least-squares value iteration on the transitions counted so far."""
    S, A, d = features.shape
    q, b, gamma, slack = np.zeros((S, A)), np.zeros(d), state.gamma[0], np.zeros((S, A))
    for s in range(S):
        for a in range(A):
            slack[s, a] = bonus * sqrt(leverage(state.fit, features[s, a]))
    begin_plan(state)
    for _ in range(SWEEPS):
        least = state.v.min()
        b[:] = 0.0
        for s in range(S):
            for a in range(A):
                seen = 0.0
                for i in range(S):
                    seen += state.moves[s, a, i] * (state.v[i] - least)
                for k in range(d):
                    b[k] += features[s, a, k] * seen
        w = estimate(state.fit, b)
        for s in range(S):
            for a in range(A):
                ahead = least + slack[s, a]
                for k in range(d):
                    ahead += features[s, a, k] * w[k]
                q[s, a] = min(state.r[s, a] + gamma * ahead, 1 / (1 - gamma))
        if clipped_maximum(state, q, width) <= CLOSE:
            break


def _parameters(learner: UCLKC | GammaLSCVI) -> dict[str, float]:
    return {
        "span": checks.interval("span", learner.span, 0, inf, "()"),
        "delta": checks.interval("delta", learner.delta, 0, 1, "()"),
        "ridge": checks.interval("ridge", learner.ridge, 0, inf, "()"),
        "scale": checks.interval("scale", learner.scale, 0, inf, "()"),
    }
