"""What the sections share: the paper's entry, classes of models with the truth first, and runs that are watched."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from itertools import product
from typing import NamedTuple

import numpy as np

from claimlab.mdps.average_learning import AverageLearner, AverageRecord, World, learn_average, world
from claimlab.mdps.hypotheses import Models, models
from claimlab.mdps.instances import average_river_swim, jao
from claimlab.mdps.loop import TRIGGER, ModelLOOP
from claimlab.mdps.loop_audit import Watch, Watched, watch
from claimlab.mdps.tabular import AverageMDP
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.loop import model_width

PAPER = Paper(
    slug="loop",
    title="Sample-efficient Learning of Infinite-horizon Average-reward MDPs with General Function Approximation",
    authors="Jianliang He, Han Zhong, Zhuoran Yang",
    venue="ICLR 2024",
    arxiv="2404.12648",
    tier="theory-checkable",
)

claim = partial(Claim, paper=PAPER)

OPTIMALITY = "the Bellman optimality equation has a bounded solution with one gain"
REALIZABLE = r"realizability: $f^* \in \mathcal{H}$"
COMPLETE = r"completeness: $\mathcal{T}_{J_f} V_f \in \mathcal{G}$ for every $f \in \mathcal{H}$"
FINITE = (
    r"$\mathcal{H}$ is finite; rewards are known and deterministic; $\mathrm{sp}$ is the largest span in $\mathcal{H}$"
)
WIDTH = r"$\beta = \mathrm{sp}^2 \log((2|\mathcal{H}| + T)/\delta)$ (ours), trigger $4\beta$"
OURS = "ours, an explicit constant in place of the paper's $O(\\cdot)$"
DELTA = 0.1


class Class(NamedTuple):
    """A class of models whose first is the truth."""

    models: Models
    world: World

    @property
    def span(self) -> float:
        return self.models.optimal.span

    def width(self, horizon: int, delta: float = DELTA) -> float:
        return model_width(self.span, self.models.size, horizon, delta)


@cache
def jao_class(n_actions: int, delta: float, epsilons: tuple[float, ...]) -> Class:
    """JAO's two states with every action as the best one and every epsilon; the first epsilon is the truth's."""
    members = [jao(n_actions, delta, e, best=best) for e, best in product(epsilons, range(n_actions))]
    return Class(models(members), world(members[0]))


@cache
def decoy_class(n_actions: int, delta: float, epsilon: float) -> Class:
    """JAO's MDP with action 0 better by `epsilon`, and a decoy for each other action: better by twice that."""
    members = [jao(n_actions, delta, epsilon)]
    members += [jao(n_actions, delta, 2 * epsilon, best=best) for best in range(1, n_actions)]
    return Class(models(members), world(members[0]))


def hub(n_actions: int, delta: float, epsilon: float, best: int) -> AverageMDP:
    r"""A fair coin with a large stake: state 0 leads to one of two rooms that are left with probability `delta`.

    The room 1 pays 1, room 2 pays 0, the hub 1/2.  Action `best` makes room 1 more likely by `epsilon`.  The span is of
    order :math:`1/\delta`, and so is the standard deviation of :math:`V^*(s')` in the hub; in JAO's MDP it is the root.
    """
    P = np.zeros((3, n_actions, 3))
    P[0, :, 1] = 0.5
    P[0, best, 1] += epsilon
    P[0, :, 2] = 1 - P[0, :, 1]
    P[1:, :, 0] = delta
    P[1, :, 1] = P[2, :, 2] = 1 - delta
    return AverageMDP(P, [[0.5] * n_actions, [1.0] * n_actions, [0.0] * n_actions], initial=[1, 0, 0])


@cache
def hub_class(n_actions: int, delta: float, epsilons: tuple[float, ...]) -> Class:
    """Every action as the best one and every epsilon; the first epsilon is the truth's."""
    members = [hub(n_actions, delta, e, best) for e, best in product(epsilons, range(n_actions))]
    return Class(models(members), world(members[0]))


@cache
def river_class(n: int, side: int) -> Class:
    """RiverSwim with `side` by `side` strengths of swimmer and current, the truth (0.35, 0.05) besides."""
    ends = {"last": 0.35, "small": 0.005}
    grid = product(np.linspace(0.1, 0.6, side), np.linspace(0.02, 0.3, side))
    members = [average_river_swim(n, up=0.35, down=0.05, **ends)]
    members += [average_river_swim(n, up=up, down=down, **ends) for up, down in grid]
    return Class(models(members), world(members[0]))


def near_ties() -> Class:
    """Three actions, and epsilons on both sides of the truth's: optimism has to work its way down."""
    return jao_class(3, 0.2, (0.1, 0.05, 0.12, 0.15, 0.2))


CLASSES: dict[str, Callable[[], Class]] = {"JAO": near_ties, "RiverSwim": partial(river_class, 6, 5)}


def watched(
    given: Class, horizon: int, runs: int, seed: int, *, scale: float = 1.0, trigger: float = TRIGGER
) -> tuple[Watch, AverageRecord]:
    """Runs of LOOP with the width of the theorem times `scale`, and what happened in them."""
    learner = Watched(ModelLOOP(given.models, scale * given.width(horizon), trigger), given.models)
    record = lives(learner, given.world, horizon, runs, seed, keep_states=True)
    return watch(record.states), record


def lives(
    learner: AverageLearner, there: World, horizon: int, runs: int, seed: int, *, keep_states: bool = False
) -> AverageRecord:
    return learn_average(learner, there, horizon=horizon, runs=runs, seed=seed, threads=1, keep_states=keep_states)


def seed_of(budget: Budget, *purpose: object) -> int:
    """A seed for `learn_average` that depends on the budget's seed and stream alone."""
    return int(budget.rng(*purpose).integers(2**31))


def quarter(budget: Budget) -> int:
    """How many runs of a learner a check makes: a quarter of the budget's, 500 in smoke."""
    return budget.runs // 4
