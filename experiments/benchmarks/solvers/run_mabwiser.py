"""MABWiser, updated in every round."""

from __future__ import annotations

from typing import Any

import games
import numpy as np
from mabwiser.mab import MAB, LearningPolicy  # pyright: ignore[reportMissingImports]
from protocol import Instance, Task, serve


def solve(game: Instance, task: Task) -> Any:
    return _linear(game, task) if task["method"] == "LinUCB" else _arms(game, task)


def _arms(game: Instance, task: Task) -> Any:
    """It wants a first batch: every arm once, which is how UCB1 begins."""
    K = len(game["means"])

    def policy(run: int) -> Any:
        mab = MAB(list(range(K)), LearningPolicy.UCB1(alpha=1.0), seed=run)
        first: list[float] = []

        def choose() -> int:
            return len(first) if len(first) < K else mab.predict()

        def learn(arm: int, reward: float) -> None:
            if len(first) == K:
                mab.partial_fit([arm], [reward])
                return
            first.append(reward)
            if len(first) == K:
                mab.fit(list(range(K)), first)

        return choose, learn

    return games.arms(game, task, policy)


def _linear(game: Instance, task: Task) -> Any:
    """Its first batch is made of contexts that are zero: they change nothing."""
    K, d = game["theta"].shape

    def policy(run: int) -> Any:
        mab = MAB(list(range(K)), LearningPolicy.LinUCB(alpha=1.0, l2_lambda=1.0), seed=run)
        mab.fit(list(range(K)), [0.0] * K, np.zeros((K, d)))
        return lambda x: mab.predict(x[None]), lambda x, arm, reward: mab.partial_fit([arm], [reward], x[None])

    return games.contexts(game, task, policy)


if __name__ == "__main__":
    serve("mabwiser", lambda game, task: game, solve, lambda game, regret, task: (regret, None))
