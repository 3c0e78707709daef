"""Optimism: pull the arm whose upper confidence bound is largest."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, log, sqrt
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.bandits.play import Algorithm
from claimlab.checks import Array, Ints
from claimlab.native import kernel


class Counts(NamedTuple):
    pulls: Array  # [K]
    total: Array  # [K], summed reward


@dataclass(frozen=True)
class UCB1(Algorithm):
    r"""Optimism with Hoeffding radii: pull :math:`\arg\max_a \hat\mu_a + \sqrt{c\log t/N_a}`, unpulled arms first.

    Auer, Cesa-Bianchi & Fischer (2002), Figure 1, is ``c=2``, for rewards in [0, 1]; Theorem 1 bounds its regret by
    :func:`claimlab.theory.regret.ucb1`.
    """

    c: float = 2.0

    def __post_init__(self) -> None:
        self._settle(c=checks.interval("c", self.c, 0, inf, "[)"))

    def init(self, n_arms: int, horizon: int) -> Counts:
        return Counts(np.zeros(n_arms), np.zeros(n_arms))

    def act(self, state: Counts, t: int, rng: Generator) -> int:
        return widest(state.pulls, state.total, self.c * log(max(t, 1)))

    def learn(self, state: Counts, t: int, arm: int, reward: float) -> None:
        state.pulls[arm] += 1
        state.total[arm] += reward


@dataclass(frozen=True)
class GaussianKLUCB(Algorithm):
    r"""KL-UCB for Gaussian rewards: :math:`\arg\max_a \hat\mu_a + \sqrt{2\sigma^2 \log(1 + t \log^c t)/N_a}`.

    The divergence of two Gaussians of standard deviation `sigma` is :math:`(p-q)^2/2\sigma^2`, which makes the index of
    :class:`KLUCB` explicit.  With ``c=2`` it is Lattimore & Szepesvari (2020), Algorithm 6, asymptotically optimal by
    their Theorem 8.1.
    """

    sigma: float = 1.0
    c: float = 2.0

    def __post_init__(self) -> None:
        self._settle(
            sigma=checks.interval("sigma", self.sigma, 0, inf, "()"), c=checks.interval("c", self.c, 0, inf, "[)")
        )

    def init(self, n_arms: int, horizon: int) -> Counts:
        return Counts(np.zeros(n_arms), np.zeros(n_arms))

    def act(self, state: Counts, t: int, rng: Generator) -> int:
        return widest(state.pulls, state.total, 2 * self.sigma * self.sigma * exploration(t + 1, self.c))

    def learn(self, state: Counts, t: int, arm: int, reward: float) -> None:
        state.pulls[arm] += 1
        state.total[arm] += reward


@kernel
def widest(pulls: Array, total: Array, bonus: float) -> int:
    r""":math:`\arg\max_a \hat\mu_a + \sqrt{\text{bonus}/N_a}`, the first arm without pulls before all others."""
    best, best_index = 0, -inf
    for arm in range(pulls.size):
        n = pulls[arm]
        if n == 0:
            return arm
        index = total[arm] / n + sqrt(bonus / n)
        if index > best_index:
            best, best_index = arm, index
    return best


@kernel
def exploration(t: float, c: float) -> float:
    r""":math:`\log(1 + t \log^c t)` for t >= 1."""
    return log(1 + t * log(t) ** c)


class KLCounts(NamedTuple):
    pulls: Array  # [K]
    total: Array  # [K], summed reward
    entropy: Array  # [K], m log m + (1-m) log(1-m) at the mean reward m
    index: Array  # [K], the last index that was computed
    last: Ints  # [1], the arm pulled last


@dataclass(frozen=True)
class KLUCB(Algorithm):
    r"""Optimism with Chernoff's bound: pull the arm with the largest
    :math:`\max\{q : N_a \, \mathrm{kl}(\hat\mu_a, q) \le \log(1 + t\log^c t)\}`, unpulled arms first.

    For rewards in [0, 1]; kl is the divergence of Bernoulli laws.  Garivier & Cappe (2011), Algorithm 1, write
    :math:`\log t + c \log\log t`, which is the same from some t on, with ``c=3`` in theory and ``c=0`` in practice;
    ``c=2`` is Lattimore & Szepesvari (2020), Algorithm 8, whose Theorem 10.6 is
    :func:`claimlab.theory.regret.kl_ucb`.

    Notes
    -----
    Only arms that may win have their index computed: arm `a` beats an index `q` above its mean if and only if
    :math:`N_a \mathrm{kl}(\hat\mu_a, q)` is below the level, which two logarithms of `q` decide for all arms.  Ties go
    to the arm pulled last, then to the first.  Indices are upper bounds within 1e-9 (:func:`kl_upper`).
    """

    c: float = 0.0

    def __post_init__(self) -> None:
        self._settle(c=checks.interval("c", self.c, 0, inf, "[)"))

    def init(self, n_arms: int, horizon: int) -> KLCounts:
        last = np.zeros(1, dtype=np.int64)
        return KLCounts(np.zeros(n_arms), np.zeros(n_arms), np.zeros(n_arms), np.zeros(n_arms), last)

    def act(self, state: KLCounts, t: int, rng: Generator) -> int:
        for arm in range(state.pulls.size):
            if state.pulls[arm] == 0:
                return arm
        return optimist(state.pulls, state.total, state.entropy, state.index, state.last[0], exploration(t + 1, self.c))

    def learn(self, state: KLCounts, t: int, arm: int, reward: float) -> None:
        state.pulls[arm] += 1
        state.total[arm] += reward
        state.entropy[arm] = negative_entropy(state.total[arm] / state.pulls[arm])
        state.last[0] = arm


@kernel
def negative_entropy(p: float) -> float:
    """p log p + (1-p) log(1-p)."""
    return (p * log(p) if p > 0 else 0.0) + ((1 - p) * log(1 - p) if p < 1 else 0.0)


@kernel
def kl_upper(p: float, limit: float, start: float) -> float:
    r"""The largest q in [p, 1] with :math:`\mathrm{kl}(p, q) \le` `limit`, found by Newton's method from `start`.

    kl(p, .) is convex and increasing beyond `p`, so a Newton step from anywhere above p leads to a point not below the
    root, from where the iterates fall; Pinsker's bound :math:`p + \sqrt{\text{limit}/2}` caps the first.  Stops after a
    step of less than 1e-9, so that the error is below 1e-9.
    """
    if limit <= 0 or p >= 1:
        return p
    if p <= 0:
        return 1 - exp(-limit)
    cap = min(p + sqrt(0.5 * limit), 1 - 2.0**-53)
    if cap <= p:
        return 1.0
    entropy = negative_entropy(p)
    q = start if p < start < cap else cap
    for _ in range(50):
        excess = entropy - p * log(q) - (1 - p) * log(1 - q) - limit
        step = excess * q * (1 - q) / (q - p)
        moved = min(q - step, cap)
        if abs(moved - q) < 1e-9 or moved <= p:
            return max(moved, p)
        q = moved
    return q


@kernel
def optimist(pulls: Array, total: Array, entropy: Array, index: Array, leader: int, level: float) -> int:
    """The arm with the largest KL index; `leader` is tried first.  Every arm has been pulled."""
    n = pulls[leader]
    best = kl_upper(total[leader] / n, level / n, index[leader])
    index[leader] = best
    log_best, log_rest = log(best) if best > 0 else -inf, log(1 - best) if best < 1 else -inf
    first = leader
    for arm in range(pulls.size):
        if arm == first:
            continue
        n = pulls[arm]
        p = total[arm] / n
        if p < best and (best >= 1 or n * (entropy[arm] - p * log_best - (1 - p) * log_rest) >= level):
            continue
        q = kl_upper(p, level / n, index[arm])
        index[arm] = q
        if q > best:
            leader, best = arm, q
            log_best, log_rest = log(best), log(1 - best) if best < 1 else -inf
    return leader


class Indexed(NamedTuple):
    pulls: Array  # [K]
    total: Array  # [K], summed reward
    index: Array  # [K]


@dataclass(frozen=True)
class MOSS(Algorithm):
    r"""The minimax optimal strategy for a known horizon T:
    :math:`\arg\max_a \hat\mu_a + 2\sigma\sqrt{\log^+(T/(K N_a))/N_a}`, unpulled arms first.

    Audibert & Bubeck (2009), with `sigma`-subgaussian rewards; 1/2 is for rewards in [0, 1].  Lattimore & Szepesvari
    (2020), Theorem 9.1, bound its regret by :func:`claimlab.theory.regret.moss`.
    """

    sigma: float = 0.5

    def __post_init__(self) -> None:
        self._settle(sigma=checks.interval("sigma", self.sigma, 0, inf, "()"))

    def init(self, n_arms: int, horizon: int) -> tuple[Indexed, Array]:
        return Indexed(np.zeros(n_arms), np.zeros(n_arms), np.full(n_arms, inf)), np.array([horizon / n_arms])

    def act(self, state: tuple[Indexed, Array], t: int, rng: Generator) -> int:
        arms, best = state[0], 0
        for arm in range(arms.index.size):
            if arms.index[arm] > arms.index[best]:
                best = arm
        return best

    def learn(self, state: tuple[Indexed, Array], t: int, arm: int, reward: float) -> None:
        arms, share = state
        arms.pulls[arm] += 1
        arms.total[arm] += reward
        n = arms.pulls[arm]
        arms.index[arm] = arms.total[arm] / n + 2 * self.sigma * sqrt(max(log(share[0] / n), 0.0) / n)


@dataclass(frozen=True)
class AnytimeMOSS(Algorithm):
    r"""MOSS with the round t in place of the horizon (Degenne & Perchet 2016):
    :math:`\arg\max_a \hat\mu_a + 2\sigma\sqrt{\log^+(t/(K N_a))/N_a}`, unpulled arms first.
    """

    sigma: float = 0.5

    def __post_init__(self) -> None:
        self._settle(sigma=checks.interval("sigma", self.sigma, 0, inf, "()"))

    def init(self, n_arms: int, horizon: int) -> Counts:
        return Counts(np.zeros(n_arms), np.zeros(n_arms))

    def act(self, state: Counts, t: int, rng: Generator) -> int:
        best, best_index, share = 0, -inf, t / state.pulls.size
        for arm in range(state.pulls.size):
            n = state.pulls[arm]
            if n == 0:
                return arm
            index = state.total[arm] / n + 2 * self.sigma * sqrt(max(log(share / n), 0.0) / n)
            if index > best_index:
                best, best_index = arm, index
        return best

    def learn(self, state: Counts, t: int, arm: int, reward: float) -> None:
        state.pulls[arm] += 1
        state.total[arm] += reward
