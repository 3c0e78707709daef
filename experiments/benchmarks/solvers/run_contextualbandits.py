"""contextualbandits, updated in every round."""

from __future__ import annotations

from typing import Any

import games
import numpy as np
from contextualbandits.online import LinUCB  # pyright: ignore[reportMissingImports]
from protocol import Instance, Task, serve


def solve(game: Instance, task: Task) -> Any:
    K, d = game["theta"].shape

    def policy(run: int) -> Any:
        own = {"alpha": 1.0, "lambda_": 1.0, "fit_intercept": False, "ucb_from_empty": True, "beta_prior": None}
        made = LinUCB(K, random_state=run + 1, njobs=1, **own)
        made.partial_fit(np.zeros((K, d)), np.arange(K), np.zeros(K))  # contexts that are zero change nothing

        def learn(x: Any, arm: int, reward: float) -> None:
            made.partial_fit(x[None], np.array([arm]), np.array([reward]))

        return lambda x: made.predict(x[None])[0], learn

    return games.contexts(game, task, policy)


if __name__ == "__main__":
    serve("contextualbandits", lambda game, task: game, solve, lambda game, regret, task: (regret, None))
