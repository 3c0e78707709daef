"""rlberry-scool's UCBVI.  Timed is `fit`; the regret is that of the policies with which fresh agents act."""

from __future__ import annotations

from typing import Any

import numpy as np
from protocol import Instance, Task, serve
from rlberry.envs.finite_mdp import FiniteMDP  # pyright: ignore[reportMissingImports]
from rlberry_scool.agents.ucbvi import UCBVIAgent  # pyright: ignore[reportMissingImports]


def agent(game: Instance, run: int) -> Any:
    env = FiniteMDP(game["r"], game["P"], initial_state_distribution=0)
    return UCBVIAgent(env, gamma=1.0, horizon=int(game["horizon"]), stage_dependent=False, seeder=run)


def solve(game: Instance, task: Task) -> Any:
    runs, episodes = task["timed"]
    for run in range(runs):
        agent(game, run).fit(episodes)


def answer(game: Instance, solved: Any, task: Task) -> tuple[Any, None]:
    """Regrets at the points in time of the task, by the exact value of each episode's policy."""
    (runs, episodes), P, r, H = task["judged"], game["P"], game["r"], int(game["horizon"])
    best, curves = value(P, r, H, None), np.zeros((runs, episodes))
    for run in range(runs):
        learner = agent(game, 1000 + run)
        for k in range(episodes):
            curves[run, k] = best - value(P, r, H, learner.Q.argmax(axis=2))
            learner.fit(1)
    times = np.unique(np.geomspace(1, episodes, task["points"]).round().astype(int))
    return curves.cumsum(axis=1)[:, times - 1], None


def value(P: Any, r: Any, H: int, policy: Any) -> float:
    """Of a deterministic policy, int[H, S], from state 0; of the best one for None."""
    v, states = np.zeros(len(r)), np.arange(len(r))
    for h in reversed(range(H)):
        q = r + P @ v
        v = q.max(axis=1) if policy is None else q[states, policy[h]]
    return float(v[0])


if __name__ == "__main__":
    serve("rlberry-scool", lambda game, task: game, solve, answer)
