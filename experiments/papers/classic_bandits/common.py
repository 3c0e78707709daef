"""What the sections share: the entry in the catalogue, the searches for a worst instance, and the statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, TypeVar

import numpy as np

from claimlab.bandits import Algorithm, Bernoulli, Environment, Table, play
from claimlab.checks import Array
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.evidence import Comparison, comparison
from claimlab.theory.exact_comparisons import settled
from claimlab.theory.spaces import Box, Case, Space, case_of

PAPER = Paper(
    slug="classic-bandits",
    title="The classic guarantees of multi-armed bandits",
    authors="Lai & Robbins 1985; Auer et al. 2002; Audibert & Bubeck 2009; Garivier & Cappe 2011; and others",
    venue="Advances in Applied Mathematics, Machine Learning, SIAM J. Computing, COLT, JMLR",
    arxiv="",
    tier="theory-checkable",
)

claim = partial(Claim, paper=PAPER)

BERNOULLI = "independent Bernoulli rewards with fixed means"
OBLIVIOUS = "rewards in [0, 1], all written down before the game (an oblivious adversary)"
LARGE = "horizons up to $10^5$ stand for the limit"

MEANS = Space({"K": (2, 6)}, {"means": Box("K", 0.0, 1.0)})
TABLES = Space({"S": (1, 5), "K": (2, 4)}, {"levels": Box("SK", 0.0, 1.0)})


def bernoulli(means: Array) -> Bernoulli:
    return Bernoulli(means)


def pieces(levels: Array, *, horizon: int) -> Table:
    """The table whose rewards are `levels`, float[S, K], each row for an equal part of the game."""
    return Table(levels[np.arange(horizon) * len(levels) // horizon])


def games(budget: Budget, most: int = 600) -> int:
    """How many games a mean is taken over: fewer than the budget's runs, for a game is long."""
    return min(budget.runs // 20, most)


def seed(budget: Budget, *purpose: object) -> int:
    return int(budget.rng(*purpose).integers(2**63))


def regrets(alg: Algorithm, env: Environment, budget: Budget, *purpose: object, horizon: int, runs: int) -> Array:
    """The pseudo-regret of each of `runs` games, float[runs]."""
    record = play(alg, env, horizon=horizon, runs=runs, seed=seed(budget, "play", *purpose), checkpoints=1)
    return record.regret[:, -1]


E = TypeVar("E", bound=Environment)


@dataclass(frozen=True)
class Promise(Generic[E]):
    """ "The expected regret of `algorithm` in `environment` is at most `bound`", for all instances of `space`.

    Parameters
    ----------
    space : Space
    environment : (arrays of the space) -> Environment
    algorithm : Environment -> Algorithm
    bound : Environment -> float
    horizon : int
    hard : tuple of Case
        Tried first.
    """

    space: Space
    environment: Callable[..., E]
    algorithm: Callable[[E], Algorithm]
    bound: Callable[[E], float]
    horizon: int
    hard: tuple[Case, ...] = ()

    def regrets(self, case: Case, budget: Budget, *purpose: object, runs: int) -> Array:
        env = self.environment(**case)
        return regrets(self.algorithm(env), env, budget, *purpose, horizon=self.horizon, runs=runs)

    def limit(self, case: Case) -> float:
        return self.bound(self.environment(**case))

    def worst(self, budget: Budget) -> Case:
        """The instance of largest mean regret / bound found: hard ones, random ones, and steps up from the best."""
        rng, tried = budget.rng("search"), 0

        def ratio(case: Case) -> float:
            nonlocal tried
            tried += 1
            limit = self.limit(case)  # 0 where all arms are equal, and then there is no regret
            return float(self.regrets(case, budget, "pilot", tried, runs=20).mean()) / limit if limit > 0 else 0.0

        found = [(ratio(case), case) for case in (*self.hard, *(self.space.draw(rng) for _ in range(12)))]
        best, case = max(found, key=lambda pair: pair[0])
        for _ in range(24):
            near = case_of(self.space.change(rng, {name: x[None] for name, x in case.items()}), 0)
            if (at := ratio(near)) > best:
                best, case = at, near
        return case

    def check(self, budget: Budget, share: float = 1.0) -> Comparison:
        """Whether the bound, times `share`, exceeds the mean regret on the worst instance, in games of their own."""
        case = self.worst(budget)
        found, limit = self.regrets(case, budget, "final", runs=games(budget)), share * self.limit(case)
        witness = {**case, "horizon": self.horizon, "mean regret": found.mean(), "bound": limit}
        return above(np.full(len(found), limit), found, budget, witness=witness)


def above(
    a: Array,
    b: Array,
    budget: Budget,
    *,
    effect: float = 0.0,
    witness: dict[str, object] | None = None,
    certain: bool = False,
) -> Comparison:
    """Evidence that the mean of `a` exceeds that of `b` by more than `effect`; `certain`: neither has any noise."""
    if certain:
        return replace(settled(a[0], b[0], effect=effect), witness=witness)
    return replace(comparison(a, b, effect=effect, rng=budget.rng("bootstrap")), witness=witness)


def decades(algorithm: Callable[[int], Algorithm], env: Environment, budget: Budget, runs: int) -> Array:
    """The regret of games of 1000, 10 000 and 100 000 rounds, float[runs, 3]; ``algorithm(T)`` may know the horizon."""
    horizons = (1_000, 10_000, 100_000)
    return np.stack([regrets(algorithm(T), env, budget, T, horizon=T, runs=runs) for T in horizons], axis=1)


def logarithmic(budget: Budget, *, algorithm: Callable[[int], Algorithm], env: Environment, runs: int) -> Comparison:
    """Evidence that ten times the rounds cost at most twice what the ten times before did.

    A logarithm adds as much each time, a square root 3.16 times as much, a line 10 times.
    """
    first, second = np.diff(decades(algorithm, env, budget, runs), axis=1).T
    witness = {"regret added by rounds 10^3 to 10^4": first.mean(), "by 10^4 to 10^5": second.mean()}
    return above(2 * first, second, budget, witness=witness)


def hard_means(horizon: int) -> tuple[Case, ...]:
    """Two and five arms, with the gap that costs most, about the root of K / T, and with a large one."""
    return tuple(
        {"means": np.array([0.5 + gap / 2, *[0.5 - gap / 2] * (K - 1)])}
        for K in (2, 5)
        for gap in (0.5, 2 * np.sqrt(K / horizon))
    )


def hard_tables(*options: Iterable[Iterable[float]]) -> tuple[Case, ...]:
    return tuple({"levels": np.array(levels, dtype=np.float64)} for levels in options)
