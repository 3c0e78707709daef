"""SMPyBandits: its policies in a bare loop, which is faster than its Evaluator."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import games
import numpy as np
from protocol import Instance, Task, serve

with redirect_stdout(StringIO()):  # it greets
    from SMPyBandits import Policies  # pyright: ignore[reportMissingImports]


def solve(game: Instance, task: Task) -> Any:
    K = len(game["means"])
    own = {"gamma": float(game["gamma"])} if task["method"] == "Exp3" else {}

    def policy(run: int) -> Any:
        np.random.seed(run)  # noqa: NPY002  # its only generator
        made = getattr(Policies, task["method"])(K, **own)
        made.startGame()
        return made.choice, made.getReward

    return games.arms(game, task, policy)


if __name__ == "__main__":
    serve("SMPyBandits", lambda game, task: game, solve, lambda game, regret, task: (regret, None))
