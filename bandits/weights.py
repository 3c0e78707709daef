"""Randomised weights over importance-weighted losses: for adversaries, who choose the rewards beforehand.

Rewards lie in [0, 1] and are turned into losses, ``1 - reward``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import e, exp, inf, log, sqrt
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.bandits.play import Algorithm
from claimlab.checks import Array
from claimlab.draws import sample
from claimlab.native import kernel

TSALLIS_TOLERANCE = 1e-11  # of the normaliser: as if the learning rate were off in its 11th digit
UNIT_ROUNDOFF = 2.0**-53


@kernel
def exponential_weights(loss: Array, eta: float, p: Array) -> None:
    r"""Fill `p` with :math:`p_i = e^{-\eta L_i} / \sum_j e^{-\eta L_j}`."""
    least, total = loss[0], 0.0
    for i in range(1, loss.size):
        least = min(least, loss[i])
    for i in range(loss.size):
        p[i] = exp(eta * (least - loss[i]))
        total += p[i]
    share = 1 / total
    for i in range(p.size):
        p[i] *= share


def exp3_rate(n_arms: int, horizon: int) -> float:
    r""":math:`\sqrt{2 \log K / (K T)}`: the constant learning rate of Exp3 for a known horizon, and of Exp3-IX.

    Bubeck & Cesa-Bianchi (2012), Theorem 3.1; Neu (2015), Theorem 1.
    """
    return sqrt(2 * log(checks.integer("n_arms", n_arms, 1)) / (n_arms * checks.integer("horizon", horizon, 1)))


def anytime_rate(n_arms: int) -> float:
    r""":math:`\sqrt{\log K / K}`: Exp3 and Exp3-IX with :math:`\eta_t = \sqrt{\log K / (K t)}` need no horizon.

    Bubeck & Cesa-Bianchi (2012), Theorem 3.1; Neu (2015), Theorem 1.
    """
    return sqrt(log(checks.integer("n_arms", n_arms, 1)) / n_arms)


def mixing_rate(n_arms: int, gain: float) -> float:
    r""":math:`\min(1, \sqrt{K \log K / ((e-1) g)})`: the mixing of :class:`Exp3Mixing` if no arm earns more than g.

    Auer, Cesa-Bianchi, Freund & Schapire (2002), Corollary 3.2; `gain` is g, and T always is right.
    """
    K = checks.integer("n_arms", n_arms, 1)
    return min(1.0, sqrt(K * log(K) / ((e - 1) * checks.interval("gain", gain, 0, inf, "()"))))


class Weights(NamedTuple):
    loss: Array  # [K], summed importance-weighted loss
    p: Array  # [K], distribution of the last draw


@dataclass(frozen=True)
class Exp3(Algorithm):
    r"""Exponential weights on importance-weighted losses, :math:`p_i \propto e^{-\eta \hat L_i}`.

    Bubeck & Cesa-Bianchi (2012), Figure 3.1; Lattimore & Szepesvari (2020), Algorithm 9.

    Parameters
    ----------
    eta : float
        Learning rate; with :func:`exp3_rate` the pseudo-regret is at most :math:`\sqrt{2TK\log K}`
        (:func:`claimlab.theory.regret.exp3`).
    anytime : bool
        Whether the learning rate falls, :math:`\eta_t = \text{eta}/\sqrt t`; with :func:`anytime_rate` the bound is
        :math:`2\sqrt{TK\log K}` for all T.
    """

    eta: float
    anytime: bool = False

    def __post_init__(self) -> None:
        self._settle(
            eta=checks.interval("eta", self.eta, 0, inf, "()"), anytime=checks.boolean("anytime", self.anytime)
        )

    def init(self, n_arms: int, horizon: int) -> Weights:
        return Weights(np.zeros(n_arms), np.zeros(n_arms))

    def act(self, state: Weights, t: int, rng: Generator) -> int:
        exponential_weights(state.loss, self.eta / sqrt(t + 1.0) if self.anytime else self.eta, state.p)
        return sample(state.p, rng.random())

    def learn(self, state: Weights, t: int, arm: int, reward: float) -> None:
        state.loss[arm] += (1 - reward) / state.p[arm]


@dataclass(frozen=True)
class Exp3IX(Algorithm):
    r"""Exp3 with implicit exploration: losses are divided by :math:`p_i + \eta_t/2`, so that their sum is bounded with
    high probability (Neu 2015).

    Parameters
    ----------
    eta : float
        Learning rate; with :func:`exp3_rate` the regret is bounded by :func:`claimlab.theory.regret.exp3_ix`.
    anytime : bool
        Whether the learning rate falls, :math:`\eta_t = \text{eta}/\sqrt t`; :func:`anytime_rate` suits.
    """

    eta: float
    anytime: bool = False

    def __post_init__(self) -> None:
        self._settle(
            eta=checks.interval("eta", self.eta, 0, inf, "()"), anytime=checks.boolean("anytime", self.anytime)
        )

    def init(self, n_arms: int, horizon: int) -> Weights:
        return Weights(np.zeros(n_arms), np.zeros(n_arms))

    def act(self, state: Weights, t: int, rng: Generator) -> int:
        exponential_weights(state.loss, self.eta / sqrt(t + 1.0) if self.anytime else self.eta, state.p)
        return sample(state.p, rng.random())

    def learn(self, state: Weights, t: int, arm: int, reward: float) -> None:
        eta = self.eta / sqrt(t + 1.0) if self.anytime else self.eta
        state.loss[arm] += (1 - reward) / (state.p[arm] + 0.5 * eta)


@dataclass(frozen=True)
class Exp3Mixing(Algorithm):
    r"""Exp3 as first published: weights on gains, mixed with the uniform distribution,
    :math:`p_i = (1-\gamma) w_i / \sum_j w_j + \gamma/K` with :math:`w_i = e^{\gamma \hat G_i/K}`.

    Auer, Cesa-Bianchi, Freund & Schapire (2002), Figure 1; by their Theorem 3.1 the regret against an arm that earns
    `G` is at most :math:`(e-1)\gamma G + K\log K/\gamma`, for any :math:`\gamma \in (0, 1]` (:func:`mixing_rate`).
    """

    gamma: float

    def __post_init__(self) -> None:
        self._settle(gamma=checks.interval("gamma", self.gamma, 0, 1, "(]"))

    def init(self, n_arms: int, horizon: int) -> Weights:
        return Weights(np.zeros(n_arms), np.zeros(n_arms))

    def act(self, state: Weights, t: int, rng: Generator) -> int:
        K = state.p.size
        exponential_weights(state.loss, self.gamma / K, state.p)
        for i in range(K):
            state.p[i] = (1 - self.gamma) * state.p[i] + self.gamma / K
        return sample(state.p, rng.random())

    def learn(self, state: Weights, t: int, arm: int, reward: float) -> None:
        state.loss[arm] -= reward / state.p[arm]


@kernel
def tsallis_weights(loss: Array, eta: float, p: Array, z: float) -> float:
    r"""Fill `p` with the weights of 1/2-Tsallis-INF, :math:`p_i = 4 / (\eta (L_i - x))^2`.

    They minimise :math:`\langle p, L \rangle - \frac{4}{\eta} \sum_i \sqrt{p_i}` over the simplex; the multiplier `x`,
    below :math:`\min L`, is the one with which they sum to one (Zimmert & Seldin 2021, Section 3.3).

    Parameters
    ----------
    loss : float[K]
        Cumulative losses :math:`L`, finite.
    eta : float
        Learning rate, positive.
    p : float[K]
        Overwritten.
    z : float
        Where the search for :math:`z = \eta (\min L - x) / 2` starts: any number; the best is what the last call
        returned.

    Returns
    -------
    float
        z, which lies in :math:`[1, \sqrt{K}]`.

    Notes
    -----
    With :math:`s(z) = \sum_i p_i`, Newton's method solves :math:`s(z)^{-1/2} = 1`.  The left side is concave and
    increasing (a power mean, of exponent -2, of lines in z), so whatever the start, all iterates after the first step
    rise towards the root and never pass it; one below 1 is moved there.

    Error: Newton stops once :math:`|s - 1| \le \epsilon = 10^{-11} + 8 K u` with unit roundoff `u`, and `p` is divided
    by s.  So `p` sums to one up to rounding, :math:`(K+2) u`, and is up to rounding *exactly* the solution for the
    learning rate :math:`\eta\sqrt{s}`, a relative :math:`\epsilon/2` off; each weight is off by a relative
    :math:`\sqrt{K} \epsilon` at most, as :math:`|\partial \log p_i / \partial \log \eta| \le 2\sqrt{K}`.
    """
    least, K = loss[0], loss.size
    for i in range(1, K):
        least = min(least, loss[i])
    tolerance, half, total = TSALLIS_TOLERANCE + 8 * K * UNIT_ROUNDOFF, 0.5 * eta, 1.0
    z = max(1.0, min(z, sqrt(K)))
    for _ in range(100):  # two or three suffice; the bound is for losses that are not finite
        total, cubes = 0.0, 0.0
        for i in range(K):
            root = 1 / (half * (loss[i] - least) + z)
            square = root * root
            p[i] = square
            total += square
            cubes += square * root
        if abs(total - 1) <= tolerance:
            break
        z = max(1.0, z + total * (sqrt(total) - 1) / cubes)
    share = 1 / total
    for i in range(K):
        p[i] *= share
    return z


class TsallisState(NamedTuple):
    loss: Array  # [K], summed estimates of loss / scale
    p: Array  # [K], distribution of the last draw
    last: Array  # [2], normaliser and learning rate of the last draw


@dataclass(frozen=True)
class TsallisINF(Algorithm):
    r"""1/2-Tsallis-INF: best of both worlds without knowing which (Zimmert & Seldin 2021, Algorithm 1).

    Draws from :math:`p_i = 4 / (\eta_t (\hat L_i - x))^2` (:func:`tsallis_weights`).  Against any adversary its
    pseudo-regret is at most :math:`4\sqrt{KT} + 1` (Theorem 1), and :math:`O(\sum_i \log T / \Delta_i)` in a
    stochastic environment.

    Parameters
    ----------
    rate : float
        The learning rate is :math:`\eta_t = \text{rate} / \sqrt{t}` with t from 1; Theorem 1 has 2, and 4 with the
        reduced variance.
    anytime : bool
        With False :math:`\eta_t` is `rate` in every round.
    reduced_variance : bool
        Whether losses are estimated by :math:`1\{i = I_t\} (\ell_i - b_i)/p_i + b_i` with
        :math:`b_i = \frac12 1\{p_i \ge \eta_t^2\}`, instead of with :math:`b_i = 0`.
    scale : float
        Rewards lie in [0, scale] and mean the loss ``scale - reward``; everything above is in units of `scale`.
    """

    rate: float = 2.0
    anytime: bool = True
    reduced_variance: bool = False
    scale: float = 1.0

    def __post_init__(self) -> None:
        self._settle(
            rate=checks.interval("rate", self.rate, 0, inf, "()"),
            anytime=checks.boolean("anytime", self.anytime),
            reduced_variance=checks.boolean("reduced_variance", self.reduced_variance),
            scale=checks.interval("scale", self.scale, 0, inf, "()"),
        )

    def init(self, n_arms: int, horizon: int) -> TsallisState:
        return TsallisState(np.zeros(n_arms), np.zeros(n_arms), np.zeros(2))

    def act(self, state: TsallisState, t: int, rng: Generator) -> int:
        eta = self.rate / sqrt(t + 1.0) if self.anytime else self.rate
        state.last[0], state.last[1] = tsallis_weights(state.loss, eta, state.p, state.last[0]), eta
        return sample(state.p, rng.random())

    def learn(self, state: TsallisState, t: int, arm: int, reward: float) -> None:
        offset = 0.0
        if self.reduced_variance:
            threshold = state.last[1] ** 2
            for i in range(state.p.size):
                if state.p[i] >= threshold:
                    state.loss[i] += 0.5
            offset = 0.5 if state.p[arm] >= threshold else 0.0
        state.loss[arm] += (self.scale * (1 - offset) - reward) / (self.scale * state.p[arm])
