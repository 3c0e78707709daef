"""What the scripts of the bandits share: the loops in which a library's policy plays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from protocol import Instance, Task


def arms(
    game: Instance, task: Task, policy: Callable[[int], tuple[Callable[[], int], Callable[[int, float], Any]]]
) -> Any:
    """Pseudo-regrets of Bernoulli games, float[runs]; ``policy(run)`` returns `choose()` and `learn(arm, reward)`."""
    means, (runs, rounds) = game["means"].tolist(), task["timed"]
    regret = np.zeros(runs)
    for run in range(runs):
        uniform = np.random.default_rng(run).random
        choose, learn = policy(run)
        pulls = [0] * len(means)
        for _ in range(rounds):
            arm = int(choose())
            learn(arm, float(uniform() < means[arm]))
            pulls[arm] += 1
        regret[run] = sum(n * (max(means) - mean) for n, mean in zip(pulls, means))
    return regret


def contexts(
    game: Instance, task: Task, policy: Callable[[int], tuple[Callable[[Any], int], Callable[[Any, int, float], Any]]]
) -> Any:
    """Pseudo-regrets of linear contextual games; ``policy(run)`` returns `choose(x)` and `learn(x, arm, reward)`."""
    theta, (runs, rounds) = game["theta"], task["timed"]
    regret = np.zeros(runs)
    for run in range(runs):
        rng = np.random.default_rng(run)
        choose, learn = policy(run)
        for _ in range(rounds):
            x = rng.standard_normal(theta.shape[1]) / np.sqrt(theta.shape[1])
            means = theta @ x
            arm = int(choose(x))
            learn(x, arm, float(means[arm] + game["noise"] * rng.standard_normal()))
            regret[run] += means.max() - means[arm]
    return regret
