"""Contextual algorithms with a linear model of each arm's reward."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.bandits.contextual import ContextualAlgorithm
from claimlab.bandits.oracles import Ridge, ridge, ridge_predict, ridge_update, ridge_widths
from claimlab.checks import Array
from claimlab.draws import sample
from claimlab.native import kernel


class Linear(NamedTuple):
    fit: Ridge
    value: Array  # [K], predicted reward
    width: Array  # [K], its standard error or, after that, the arm's probability


@dataclass(frozen=True)
class DisjointLinUCB(ContextualAlgorithm):
    r"""Optimism with a ridge regression for each arm: :math:`\arg\max_a \hat\theta_a^\top x + \alpha\sqrt{x^\top
    A_a^{-1}x}`.

    Li, Chu, Langford & Schapire (2010), Algorithm 1 (disjoint linear models), which has ``penalty=1``.

    Parameters
    ----------
    alpha : float
        Width of the confidence interval in standard errors.
    penalty : float
        Ridge parameter.
    """

    alpha: float = 1.0
    penalty: float = 1.0

    def __post_init__(self) -> None:
        alpha, penalty = checks.interval("alpha", self.alpha, 0, inf, "[)"), self.penalty
        self._settle(alpha=alpha, penalty=checks.interval("penalty", penalty, 0, inf, "()"))

    def start(self, n_arms: int, dim: int, horizon: int) -> Linear:
        return Linear(ridge(n_arms, dim, self.penalty), np.zeros(n_arms), np.zeros(n_arms))

    def choose(self, state: Linear, t: int, context: Array, rng: Generator) -> int:
        ridge_predict(state.fit, context, state.value)
        ridge_widths(state.fit, context, state.width)
        best, best_index = 0, -inf
        for arm in range(state.value.size):
            index = state.value[arm] + self.alpha * state.width[arm]
            if index > best_index:
                best, best_index = arm, index
        return best

    def update(self, state: Linear, t: int, context: Array, arm: int, reward: float) -> None:
        ridge_update(state.fit, arm, context, reward)


@dataclass(frozen=True)
class SharedLinUCB(ContextualAlgorithm):
    r"""Optimism with one ridge regression for all arms: :math:`\arg\max_a \hat\theta^\top x_a + \alpha\sqrt{x_a^\top
    A^{-1}x_a}`.

    Li et al. (2010), Section 3.1, with features of arms in place of users; Chu, Li, Reyzin & Schapire (2011), Algorithm
    1.  The context holds the features of one arm after the other, float[K * p].
    """

    alpha: float = 1.0
    penalty: float = 1.0

    def __post_init__(self) -> None:
        alpha, penalty = checks.interval("alpha", self.alpha, 0, inf, "[)"), self.penalty
        self._settle(alpha=alpha, penalty=checks.interval("penalty", penalty, 0, inf, "()"))

    def start(self, n_arms: int, dim: int, horizon: int) -> Linear:
        if dim % n_arms:
            raise ValueError("contexts must hold equally many features of each arm: dim is no multiple of n_arms.")
        return Linear(ridge(1, dim // n_arms, self.penalty), np.zeros(1), np.zeros(1))

    def choose(self, state: Linear, t: int, context: Array, rng: Generator) -> int:
        p, best, best_index = state.fit.gain.size, 0, -inf
        for arm in range(context.size // p):
            x = context[arm * p : (arm + 1) * p]
            ridge_predict(state.fit, x, state.value)
            ridge_widths(state.fit, x, state.width)
            index = state.value[0] + self.alpha * state.width[0]
            if index > best_index:
                best, best_index = arm, index
        return best

    def update(self, state: Linear, t: int, context: Array, arm: int, reward: float) -> None:
        p = state.fit.gain.size
        ridge_update(state.fit, 0, context[arm * p : (arm + 1) * p], reward)


@kernel
def inverse_gap_weights(loss: Array, eta: float, p: Array) -> int:
    r"""Fill `p` with :math:`p_a = 1/(K + \eta(\ell_a - \ell_{b}))` for all arms but the best, b, which gets the rest.

    Every :math:`p_a \le 1/K`, so :math:`p_b \ge 1/K` up to a rounding of K epsilon (Abe & Long 1999).  Returns b, the
    first of the arms with least `loss`.
    """
    best = 0
    for arm in range(loss.size):
        if loss[arm] < loss[best]:
            best = arm
    rest = 1.0
    for arm in range(loss.size):
        if arm != best:
            p[arm] = 1 / (loss.size + eta * (loss[arm] - loss[best]))
            rest -= p[arm]
    p[best] = rest
    return best


@dataclass(frozen=True)
class SquareCB(ContextualAlgorithm):
    r"""Inverse gap weighting of the rewards that a ridge regression for each arm predicts.

    Foster & Rakhlin (2020), Algorithm 1, with :math:`\mu = K`; their Theorem 1 takes :func:`squarecb_rate`.

    Parameters
    ----------
    gamma : float
        Learning rate: 0 explores uniformly, infinity would be greedy.
    penalty : float
        Ridge parameter.
    """

    gamma: float
    penalty: float = 1.0

    def __post_init__(self) -> None:
        gamma, penalty = checks.interval("gamma", self.gamma, 0, inf, "[)"), self.penalty
        self._settle(gamma=gamma, penalty=checks.interval("penalty", penalty, 0, inf, "()"))

    def start(self, n_arms: int, dim: int, horizon: int) -> Linear:
        return Linear(ridge(n_arms, dim, self.penalty), np.zeros(n_arms), np.zeros(n_arms))

    def choose(self, state: Linear, t: int, context: Array, rng: Generator) -> int:
        ridge_predict(state.fit, context, state.value)
        for arm in range(state.value.size):
            state.value[arm] = -state.value[arm]
        inverse_gap_weights(state.value, self.gamma, state.width)
        return sample(state.width, rng.random())

    def update(self, state: Linear, t: int, context: Array, arm: int, reward: float) -> None:
        ridge_update(state.fit, arm, context, reward)


def squarecb_rate(n_arms: int, horizon: int, square_regret: float, delta: float) -> float:
    r"""The learning rate :math:`\gamma = \sqrt{KT/(R_{Sq} + \log(2/\delta))}` of Foster & Rakhlin (2020), Theorem 1.

    Parameters
    ----------
    square_regret : float
        Bound on the regret of the regression oracle in squared loss over `horizon` rounds.
    delta : float
        Probability that the regret bound may fail.
    """
    K, T = checks.integer("n_arms", n_arms, 1), checks.integer("horizon", horizon, 1)
    regret = checks.interval("square_regret", square_regret, 0, inf, "[)")
    return sqrt(K * T / (regret + np.log(2 / checks.interval("delta", delta, 0, 1, "()"))))
