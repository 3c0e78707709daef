"""Environments whose arms change: adversaries who have written down all rewards beforehand, and drifting means."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.bandits.play import Environment
from claimlab.checks import Array, Ints


@dataclass(frozen=True, eq=False)
class Table(Environment):
    r"""An oblivious adversary: arm `a` pays ``rewards[t, a]``, float[T, K] in [0, 1], in round t.

    The comparator is the best fixed arm in hindsight over the whole game, so `gap` may be negative in single rounds and
    the regret is that of the game at its last round only.  A game longer than the table is refused.
    """

    rewards: Array

    def __post_init__(self) -> None:
        rewards = checks.unit("rewards", self.rewards, ndim=2)
        if not rewards.size:
            raise ValueError(f"rewards must hold a round and an arm at least, got shape {rewards.shape}.")
        self._settle(rewards=rewards)

    @property
    def n_arms(self) -> int:  # type: ignore[override]
        return self.rewards.shape[1]

    def begin(self, horizon: int, rng: Generator) -> Ints:
        if horizon > self.rewards.shape[0]:
            raise ValueError("the horizon exceeds the table of rewards.")
        best, best_total = 0, -inf
        for arm in range(self.rewards.shape[1]):
            total = 0.0
            for t in range(horizon):
                total += self.rewards[t, arm]
            if total > best_total:
                best, best_total = arm, total
        return np.array([best])

    def gap(self, state: Ints, t: int, arm: int) -> float:
        return self.rewards[t, state[0]] - self.rewards[t, arm]

    def pull(self, state: Ints, t: int, arm: int, rng: Generator) -> float:
        return self.rewards[t, arm]


@dataclass(frozen=True, eq=False)
class Switching(Environment):
    """Bernoulli arms with means that are constant in pieces (Garivier & Moulines 2011).

    Parameters
    ----------
    means : float[S, K]
        In [0, 1], a row for each piece.
    starts : int[S]
        First round of each piece, increasing from 0.

    The comparator is the best arm of each round.
    """

    means: Array
    starts: Ints

    def __post_init__(self) -> None:
        means = checks.unit("means", self.means, ndim=2)
        starts = checks.shaped("starts", self.starts, means.shape[:1], "(S,)")
        if not means.size:
            raise ValueError(f"means must hold a piece and an arm at least, got shape {means.shape}.")
        if starts[0] != 0 or (np.diff(starts) < 1).any() or (starts != np.floor(starts)).any():
            raise ValueError(f"starts must be whole numbers that increase from 0, got {starts.tolist()}.")
        self._settle(means=means, starts=starts.astype(np.int64))

    @property
    def n_arms(self) -> int:  # type: ignore[override]
        return self.means.shape[1]

    def begin(self, horizon: int, rng: Generator) -> Ints:
        return np.zeros(1, dtype=np.int64)

    def gap(self, state: Ints, t: int, arm: int) -> float:
        while state[0] + 1 < self.starts.size and t >= self.starts[state[0] + 1]:
            state[0] += 1
        best = self.means[state[0], 0]
        for other in range(1, self.means.shape[1]):
            best = max(best, self.means[state[0], other])
        return best - self.means[state[0], arm]

    def pull(self, state: Ints, t: int, arm: int, rng: Generator) -> float:
        return 1.0 if rng.random() < self.means[state[0], arm] else 0.0


@dataclass(frozen=True, eq=False)
class Drifting(Environment):
    """Bernoulli arms whose means walk: after each round every mean moves by :math:`N(0, step^2)`, kept in [0, 1].

    A restless bandit as in Slivkins & Upfal (2008), from the means `start`, float[K].  The comparator is the best arm
    of each round.
    """

    start: Array
    step: float

    def __post_init__(self) -> None:
        start = checks.unit("start", self.start, ndim=1)
        if not start.size:
            raise ValueError("start must hold one arm at least.")
        self._settle(start=start, step=checks.interval("step", self.step, 0, 1))

    @property
    def n_arms(self) -> int:  # type: ignore[override]
        return self.start.size

    def begin(self, horizon: int, rng: Generator) -> Array:
        return self.start.copy()

    def gap(self, state: Array, t: int, arm: int) -> float:
        return state.max() - state[arm]

    def pull(self, state: Array, t: int, arm: int, rng: Generator) -> float:
        reward = 1.0 if rng.random() < state[arm] else 0.0
        for i in range(state.size):
            moved = abs(state[i] + self.step * rng.standard_normal()) % 2.0
            state[i] = min(moved, 2.0 - moved)
        return reward


class Phase(NamedTuple):
    number: Ints  # [1]
    end: Ints  # [1], first round of the next phase


@dataclass(frozen=True, eq=False)
class StochasticallyConstrained(Environment):
    r"""Gaps that never change under means that do: between stochastic and adversarial (Wei & Luo 2018).

    Phase n lasts :math:`\lceil \text{growth}^n \rceil` rounds.  In even phases arm `a` is Bernoulli of mean
    :math:`\max\Delta - \Delta_a`, in odd ones of mean :math:`1 - \Delta_a`; with one arm of gap 0, all others of one
    gap and ``growth=1.6`` it is the environment of Zimmert & Seldin (2021, Section 6).

    Parameters
    ----------
    gaps : float[K]
        In [0, 1], the least of them 0.
    growth : float
        Greater than 1.
    """

    gaps: Array
    growth: float = 1.6

    def __post_init__(self) -> None:
        gaps = checks.unit("gaps", self.gaps, ndim=1)
        if not gaps.size or gaps.min() != 0:
            raise ValueError(f"gaps must hold a 0, for the best arm, got {gaps.tolist()}.")
        self._settle(gaps=gaps, growth=checks.interval("growth", self.growth, 1, inf, "()"))

    @property
    def n_arms(self) -> int:  # type: ignore[override]
        return self.gaps.size

    def begin(self, horizon: int, rng: Generator) -> Phase:
        return Phase(np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.int64))

    def gap(self, state: Phase, t: int, arm: int) -> float:
        return self.gaps[arm]

    def pull(self, state: Phase, t: int, arm: int, rng: Generator) -> float:
        if t == state.end[0]:
            state.number[0] += 1
            state.end[0] = t + int(np.ceil(self.growth ** state.number[0]))
        top = 1.0 if state.number[0] % 2 else self.gaps.max()
        return 1.0 if rng.random() < top - self.gaps[arm] else 0.0


@dataclass(frozen=True, eq=False)
class AutoRegressive(Environment):
    r"""Rewards that remember: arm `a` pays :math:`X_t = \min(1, \max(-1, r_t + \epsilon_t))` with
    :math:`\epsilon_t \sim N(0, \sigma^2)`, and :math:`r_{t+1} = \alpha X_t`, whether it is pulled or not.

    Chen, Golrezaei & Bouneffouf (2023), with truncation at 1.  Each :math:`r_0` is drawn from
    :math:`N(0, \alpha^2\sigma^2/(1-\alpha^2))`, the stationary law without the bounds, and truncated to
    :math:`[-\alpha, \alpha]`.  The comparator is the arm of largest :math:`r_t` in each round.
    """

    n_arms: int
    alpha: float
    sigma: float

    def __post_init__(self) -> None:
        self._settle(
            n_arms=checks.integer("n_arms", self.n_arms, 1),
            alpha=checks.interval("alpha", self.alpha, 0, 1, "[)"),
            sigma=checks.interval("sigma", self.sigma, 0, inf, "()"),
        )

    def begin(self, horizon: int, rng: Generator) -> Array:
        r, spread = np.zeros(self.n_arms), self.alpha * self.sigma / sqrt(1 - self.alpha**2)
        for i in range(self.n_arms):
            r[i] = min(self.alpha, max(-self.alpha, spread * rng.standard_normal()))
        return r

    def gap(self, state: Array, t: int, arm: int) -> float:
        return state.max() - state[arm]

    def pull(self, state: Array, t: int, arm: int, rng: Generator) -> float:
        reward = 0.0
        for i in range(state.size):
            x = min(1.0, max(-1.0, state[i] + self.sigma * rng.standard_normal()))
            state[i] = self.alpha * x
            if i == arm:
                reward = x
        return reward
