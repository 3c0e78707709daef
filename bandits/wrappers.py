"""Algorithms made of an algorithm: what it sees comes late, or in batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.bandits.play import Algorithm
from claimlab.bandits.weights import Exp3, Exp3IX, Exp3Mixing, TsallisINF
from claimlab.checks import Array, Ints


class Pending(NamedTuple):
    base: Any  # the state of the base algorithm
    due: Ints  # [D + 1], round at whose end the reward arrives; place t mod (D + 1) belongs to round t
    arms: Ints  # [D + 1]
    rewards: Array  # [D + 1]


@dataclass(frozen=True)
class Delayed(Algorithm):
    """The `base` algorithm when the reward of round t arrives at the end of round t + D only.

    Joulani, Gyorgy & Szepesvari (2013): in a stochastic environment the price of a delay is paid once, not every
    round (:func:`claimlab.theory.regret.delayed_ucb1`).

    Parameters
    ----------
    base : Algorithm
        It must not need, when it learns, what it knew when it drew: algorithms that divide by the probability of the
        draw are refused.
    delay : int
        D, or with `random` the largest delay: each round's is then uniform on 0, ..., D.
    random : bool
    """

    base: Algorithm
    delay: int
    random: bool = False

    def __post_init__(self) -> None:
        check_base(self.base)
        if isinstance(self.base, (Exp3, Exp3IX, Exp3Mixing, TsallisINF)):
            raise ValueError(f"base must not weight by the last draw's probability, got {type(self.base).__name__}.")
        self._settle(delay=checks.integer("delay", self.delay, 0), random=checks.boolean("random", self.random))

    def init(self, n_arms: int, horizon: int) -> Pending:
        slots = self.delay + 1
        due, arms = np.full(slots, -1, dtype=np.int64), np.zeros(slots, dtype=np.int64)
        return Pending(self.base.init(n_arms, horizon), due, arms, np.zeros(slots))

    def act(self, state: Pending, t: int, rng: Generator) -> int:
        slots = self.delay + 1
        state.due[t % slots] = t + (int(rng.random() * slots) if self.random else self.delay)
        return self.base.act(state.base, t, rng)

    def learn(self, state: Pending, t: int, arm: int, reward: float) -> None:
        slots = self.delay + 1
        state.arms[t % slots], state.rewards[t % slots] = arm, reward
        latest = t if self.random else t - self.delay
        for past in range(max(t - self.delay, 0), latest + 1):
            place = past % slots
            if state.due[place] == t:
                self.base.learn(state.base, past, state.arms[place], state.rewards[place])


class Batch(NamedTuple):
    base: Any  # the state of the base algorithm
    arm: Ints  # [1], the arm of this batch
    total: Array  # [1], its rewards so far


@dataclass(frozen=True)
class Batched(Algorithm):
    """The `base` algorithm on a clock of batches: an arm is kept for `size` rounds, and their mean reward is its reward.

    Batched Exp3 of Arora, Dekel & Tewari (2012) is ``Batched(Exp3(eta), size)``: against an adversary with bounded
    memory, whose last `size` moves it sees, the price is a regret `size` times that of ``T / size`` rounds.
    """

    base: Algorithm
    size: int

    def __post_init__(self) -> None:
        check_base(self.base)
        self._settle(size=checks.integer("size", self.size, 1))

    def init(self, n_arms: int, horizon: int) -> Batch:
        base = self.base.init(n_arms, max(horizon // self.size, 1))
        return Batch(base, np.zeros(1, dtype=np.int64), np.zeros(1))

    def act(self, state: Batch, t: int, rng: Generator) -> int:
        if t % self.size == 0:
            state.arm[0], state.total[0] = self.base.act(state.base, t // self.size, rng), 0.0
        return state.arm[0]

    def learn(self, state: Batch, t: int, arm: int, reward: float) -> None:
        state.total[0] += reward
        if t % self.size == self.size - 1:
            self.base.learn(state.base, t // self.size, arm, state.total[0] / self.size)


def check_base(base: Algorithm) -> None:
    if not isinstance(base, Algorithm):
        raise TypeError(f"base must be an Algorithm, got {type(base).__name__}.")
