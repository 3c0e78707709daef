"""coba.  Its LinUCB has one model of features: one-hot arms times the context make it disjoint."""

from __future__ import annotations

from typing import Any

import games
import numpy as np
from coba.learners import BanditUCBLearner, LinUCBLearner  # pyright: ignore[reportMissingImports]
from protocol import Instance, Task, serve


def solve(game: Instance, task: Task) -> Any:
    return _linear(game, task) if task["method"] == "LinUCBLearner" else _arms(game, task)


def _arms(game: Instance, task: Task) -> Any:
    K = list(range(len(game["means"])))

    def policy(run: int) -> Any:
        learner = BanditUCBLearner(seed=run + 1)
        return lambda: learner.predict(None, K)[0], lambda arm, reward: learner.learn(None, arm, reward, 1.0)

    return games.arms(game, task, policy)


def _linear(game: Instance, task: Task) -> Any:
    one_hot = [tuple(row) for row in np.eye(len(game["theta"])).tolist()]
    place = {row: arm for arm, row in enumerate(one_hot)}

    def policy(run: int) -> Any:
        learner = LinUCBLearner(alpha=1.0, features=["ax"], seed=run + 1)

        def choose(x: Any) -> int:
            return place[learner.predict(tuple(x.tolist()), one_hot)[0]]

        return choose, lambda x, arm, reward: learner.learn(tuple(x.tolist()), one_hot[arm], reward, 1.0)

    return games.contexts(game, task, policy)


if __name__ == "__main__":
    serve("coba", lambda game, task: game, solve, lambda game, regret, task: (regret, None))
