r"""Contextual algorithms for a single number in an interval as context, and costs that change with it continuously.

Losses are ``1 - reward`` and lie in [0, 1].  Contexts outside the interval are moved to its nearest end.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log, pi, sqrt
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.bandits.contextual import ContextualAlgorithm
from claimlab.bandits.linear_contextual import inverse_gap_weights
from claimlab.bandits.oracles import BoxScratch, box_least_squares, box_scratch, chebyshev
from claimlab.bandits.weights import tsallis_weights
from claimlab.checks import Array
from claimlab.draws import sample
from claimlab.native import kernel

GAP = 1e-10  # certified suboptimality of the fits in summed squared error, against a regret of order one
RIDGE = 1e-9  # makes the least squares solution unique, nearly that of least norm; adds at most RIDGE |theta|^2


class Chebyshev(NamedTuple):
    """Least squares in Chebyshev features for each arm."""

    gram: Array  # [K, m+1, m+1], RIDGE I + sum of f f^T over the arm's rounds
    moment: Array  # [K, m+1], sum of f loss
    squares: Array  # [K], sum of loss^2
    theta: Array  # [K, m+1], the fits, in units of the loss
    features: Array  # [m+1], of this round's context
    radius: Array  # [m+1], bounds on |theta|
    predicted: Array  # [K]
    p: Array  # [K], distribution of the last draw
    running: Array  # [3]: largest loss so far, summed squared prediction error, learning rate
    scratch: BoxScratch


@kernel
def _start(n_arms: int, dim: int, degree: int) -> Chebyshev:
    if dim != 1:
        raise ValueError("contexts must be single numbers: the environment's dim is not 1.")
    m = degree + 1
    gram = np.zeros((n_arms, m, m))
    for arm in range(n_arms):
        for j in range(m):
            gram[arm, j, j] = RIDGE
    return Chebyshev(
        gram,
        np.zeros((n_arms, m)),
        np.zeros(n_arms),
        np.zeros((n_arms, m)),
        np.zeros(m),
        np.zeros(m),
        np.zeros(n_arms),
        np.zeros(n_arms),
        np.zeros(3),
        box_scratch(m),
    )


@kernel
def unit(x: float, low: float, high: float) -> float:
    """`x` in [`low`, `high`] mapped to [0, 1]."""
    return min(max((x - low) / (high - low), 0.0), 1.0)


@kernel
def _predict(state: Chebyshev, x: float) -> None:
    """Features of the context, in [-1, 1], and every arm's predicted loss there."""
    chebyshev(x, state.features)
    for arm in range(state.predicted.size):
        total = 0.0
        for j in range(state.features.size):
            total += state.theta[arm, j] * state.features[j]
        state.predicted[arm] = total


@kernel
def _remember(state: Chebyshev, arm: int, loss: float) -> None:
    f = state.features
    for i in range(f.size):
        state.moment[arm, i] += f[i] * loss
        for j in range(f.size):
            state.gram[arm, i, j] += f[i] * f[j]
    state.squares[arm] += loss * loss


@kernel
def _fit(state: Chebyshev, arm: int) -> None:
    theta = state.theta[arm]
    box_least_squares(state.gram[arm], state.moment[arm], state.radius, theta, state.scratch, GAP)


@kernel
def _box(radius: Array, constant: float, slope: float) -> None:
    """|theta_0| at most `constant`, |theta_j| at most 2 `slope` / j."""
    radius[0] = constant
    for j in range(1, radius.size):
        radius[j] = 2 * slope / j


@dataclass(frozen=True)
class ChebCB(ContextualAlgorithm):
    r"""SquareCB over Chebyshev polynomials of the context, fitted by follow-the-leader in a box.

    Khodak, Chow, Balcan & Talwalkar (2024), Algorithms 3, 6 and 7: for each arm least squares over
    :math:`|\theta_0| \le 1/N`, :math:`|\theta_j| \le 2CL/(Nj)` on the losses divided by
    :math:`N = 2 + 4CL(1+\log m)`, so that predictions lie in [-1/2, 1/2]; then
    :func:`~claimlab.bandits.linear_contextual.inverse_gap_weights`.

    Parameters
    ----------
    low, high : float
        The interval of contexts, :math:`C = high - low`.
    lipschitz : float
        L, of the losses in [0, 1], per unit of context.
    degree : int
        m, of the polynomials.
    eta : float
        Learning rate; :func:`chebcb_rate` is the one of Theorem C.4.
    """

    low: float
    high: float
    lipschitz: float
    degree: int
    eta: float

    def __post_init__(self) -> None:
        _settle_interval(self, self.low, self.high)
        self._settle(
            lipschitz=checks.interval("lipschitz", self.lipschitz, 0, inf, "[)"),
            degree=checks.integer("degree", self.degree, 1),
            eta=checks.interval("eta", self.eta, 0, inf, "[)"),
        )

    def start(self, n_arms: int, dim: int, horizon: int) -> Chebyshev:
        state = _start(n_arms, dim, self.degree)
        _box(state.radius, 1.0, (self.high - self.low) * self.lipschitz)
        return state

    def choose(self, state: Chebyshev, t: int, context: Array, rng: Generator) -> int:
        _predict(state, 2 * unit(context[0], self.low, self.high) - 1)
        shrink = normalisation((self.high - self.low) * self.lipschitz, self.degree)
        inverse_gap_weights(state.predicted, self.eta / shrink, state.p)
        return sample(state.p, rng.random())

    def update(self, state: Chebyshev, t: int, context: Array, arm: int, reward: float) -> None:
        _remember(state, arm, 1 - reward)
        _fit(state, arm)


@kernel
def normalisation(slope: float, degree: int) -> float:
    r""":math:`N = 2 + 4CL(1+\log m)`; `slope` is CL."""
    return 2 + 4 * slope * (1 + log(degree))


@kernel
def truncation(slope: float, degree: int) -> float:
    r""":math:`\frac{\pi + (2/\pi)\log(2m+1)}{2(m+1)}CL`: how far a CL/2-Lipschitz function of [-1, 1] may be from its
    Chebyshev series up to degree m (Theorem C.1)."""
    return (pi + 2 / pi * log(2 * degree + 1)) / (2 * (degree + 1)) * slope


def chebcb_rate(n_arms: int, horizon: int, span: float, lipschitz: float, degree: int) -> float:
    r"""The learning rate of :class:`ChebCB`, :math:`\eta = 2\sqrt{dT/(R_T + 2\alpha^2T)}` (Theorem C.4).

    :math:`R_T` is :func:`square_regret` and :math:`\alpha` the :func:`truncation` error divided by N.

    Parameters
    ----------
    span : float
        C, the length of the interval of contexts.
    lipschitz : float
        L, of the losses in [0, 1].
    """
    d, T = checks.integer("n_arms", n_arms, 1), checks.integer("horizon", horizon, 1)
    m = checks.integer("degree", degree, 1)
    slope = checks.interval("span", span, 0, inf, "()") * checks.interval("lipschitz", lipschitz, 0, inf, "[)")
    alpha = truncation(slope, m) / normalisation(slope, m)
    return 2 * sqrt(d * T / (square_regret(d, T, slope, m) + 2 * alpha**2 * T))


def square_regret(n_arms: int, horizon: int, slope: float, degree: int) -> float:
    r"""Regret in squared loss of the box least squares of :class:`ChebCB`, for all arms together.

    .. math:: R_T = d(m+1)\Big(1 + \log\frac{T\sqrt{d(m+1)(1 + 2(CL)^2\pi^2/3)}}{N}\Big)

    with CL = `slope` (Khodak et al. 2024, Algorithm 7, from Theorem C.3).
    """
    d, T, m = n_arms, horizon, degree
    radius = sqrt(d * (m + 1) * (1 + 2 * slope**2 * pi**2 / 3))
    return d * (m + 1) * (1 + log(T * radius / normalisation(slope, m)))


@dataclass(frozen=True)
class AdaptiveChebCB(ContextualAlgorithm):
    r""":class:`ChebCB` as its authors released it: nothing has to be known beforehand but the interval.

    Losses are measured in units of the largest one so far, K, and taken to be K/C-Lipschitz, so the box is
    :math:`|\theta_0| \le K`, :math:`|\theta_j| \le 2K/j` (``learners/ChebCB.m`` takes its minimum over an array padded
    with zeros).  The learning rate, of losses as they are, grows with t:

    .. math:: \eta_t = 2t\sqrt{\frac{dt}{R - r + 2\alpha^2t}},

    with R the summed squared error of the predictions and r that of the played arm's fit, 0 if it lies inside the box.
    The released ``m`` is ``degree + 1``.
    """

    low: float
    high: float
    degree: int = 5

    def __post_init__(self) -> None:
        _settle_interval(self, self.low, self.high)
        self._settle(degree=checks.integer("degree", self.degree, 1))

    def start(self, n_arms: int, dim: int, horizon: int) -> Chebyshev:
        return _start(n_arms, dim, self.degree)

    def choose(self, state: Chebyshev, t: int, context: Array, rng: Generator) -> int:
        _predict(state, 2 * unit(context[0], self.low, self.high) - 1)
        inverse_gap_weights(state.predicted, state.running[2], state.p)
        return sample(state.p, rng.random())

    def update(self, state: Chebyshev, t: int, context: Array, arm: int, reward: float) -> None:
        running, loss, m = state.running, 1 - reward, self.degree + 1
        running[1] += (state.predicted[arm] - loss) ** 2
        _remember(state, arm, loss)
        if loss > running[0]:
            running[0] = loss
            _box(state.radius, loss, loss)
            for other in range(state.p.size):
                _fit(state, other)
        else:
            _fit(state, arm)
        error = running[1] - _residual(state, arm) + 2 * truncation(running[0], m) ** 2 * (t + 1)
        running[2] = 2 * (t + 1) * sqrt(state.p.size * (t + 1) / error) if error > 0 else 0.0


@kernel
def _residual(state: Chebyshev, arm: int) -> float:
    """Summed squared error of the arm's fit; 0 if the fit lies inside the box."""
    theta, total, inside = state.theta[arm], state.squares[arm], True
    for i in range(theta.size):
        inside = inside and abs(theta[i]) < state.radius[i]
        total -= 2 * state.moment[arm, i] * theta[i]
        for j in range(theta.size):
            total += theta[i] * state.gram[arm, i, j] * theta[j]
    return 0.0 if inside else max(total, 0.0)


def _settle_interval(alg: ContextualAlgorithm, low: float, high: float) -> None:
    low = checks.interval("low", low, -inf, inf, "()")
    alg._settle(low=low, high=checks.interval("high", high, low, inf, "()"))


class Bins(NamedTuple):
    loss: Array  # [m, K], summed estimates of the losses in each bin
    p: Array  # [K], distribution of the last draw
    z: Array  # [m], the normaliser of each bin
    rounds: Array  # [m]
    paid: Array  # [m], summed losses


@dataclass(frozen=True)
class TsallisCB(ContextualAlgorithm):
    r"""An independent 1/2-Tsallis-INF with :math:`\eta_s = 2/\sqrt{s}` for each of `bins` equal parts of the interval.

    Khodak et al. (2024), Algorithm 5; s counts the rounds of the bin.  One bin is Tsallis-INF without contexts.

    Parameters
    ----------
    low, high : float
        The interval of contexts.
    bins : int
    adaptive : bool
        Whether losses are measured in units of the bin's mean loss so far, as in the authors' code: a loss of 1 is then
        no longer the largest one, and Theorem B.4 does not apply.
    """

    low: float
    high: float
    bins: int
    adaptive: bool = False

    def __post_init__(self) -> None:
        _settle_interval(self, self.low, self.high)
        bins, adaptive = checks.integer("bins", self.bins, 1), checks.boolean("adaptive", self.adaptive)
        self._settle(bins=bins, adaptive=adaptive)

    def start(self, n_arms: int, dim: int, horizon: int) -> Bins:
        if dim != 1:
            raise ValueError("contexts must be single numbers: the environment's dim is not 1.")
        m = self.bins
        return Bins(np.zeros((m, n_arms)), np.zeros(n_arms), np.zeros(m), np.zeros(m), np.zeros(m))

    def choose(self, state: Bins, t: int, context: Array, rng: Generator) -> int:
        j = _bin(context[0], self.low, self.high, self.bins)
        eta = 2 / sqrt(state.rounds[j] + 1)
        if self.adaptive and state.paid[j] > 0:
            eta *= state.rounds[j] / state.paid[j]
        state.z[j] = tsallis_weights(state.loss[j], eta, state.p, state.z[j])
        return sample(state.p, rng.random())

    def update(self, state: Bins, t: int, context: Array, arm: int, reward: float) -> None:
        j = _bin(context[0], self.low, self.high, self.bins)
        state.loss[j, arm] += (1 - reward) / state.p[arm]
        state.rounds[j] += 1
        state.paid[j] += 1 - reward


@kernel
def _bin(x: float, low: float, high: float, bins: int) -> int:
    """The bin whose centre is nearest; on a border the lower one, but for rounding."""
    return max(0, int(np.ceil(unit(x, low, high) * bins)) - 1)
