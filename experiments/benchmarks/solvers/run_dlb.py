"""The authors' program of Dynamical Linear Bandits: its agent, its environment and its loop."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from protocol import Instance, Task, serve

sys.path.insert(0, str(Path(sys.prefix, "source")))

from dynlinucb.experimental.agents import DynLinUCBAgent  # pyright: ignore[reportMissingImports]
from dynlinucb.experimental.environment import DynLinEnvironment  # pyright: ignore[reportMissingImports]
from dynlinucb.experimental.runner import Runner  # pyright: ignore[reportMissingImports]


def solve(game: Instance, task: Task) -> Any:
    """Constants as its `main.py` has them, with regularisation log T."""
    A, B, C, D, arms = (game[name] for name in ("A", "B", "C", "D", "arms"))
    (runs, rounds), sigma, (K, d) = task["timed"], float(game["sigma"]), arms.shape
    n, m, ones = len(A), len(C), np.ones((1, len(C)))
    agent = DynLinUCBAgent(
        K,
        d,
        arms,
        rounds,
        np.log(rounds),
        max(np.linalg.eigvals(A)),
        np.linalg.norm(ones @ C, 2),
        np.linalg.norm(ones @ D, 2),
        max(np.linalg.norm(arms, axis=1)),
        np.linalg.norm(B, 2),
        1.0,
        sigma**2,
    )
    rng = np.random.default_rng(0)
    noise, out_noise = (sigma * rng.standard_normal((runs, rounds, size)) for size in (n, m))
    environment = DynLinEnvironment(A, B, C, D, n, d, m, rounds, noise, out_noise, runs, ones)
    return Runner(environment, agent, runs, rounds, d, K, arms).perform_simulations()


def answer(game: Instance, played: Any, task: Task) -> tuple[Any, None]:
    A, B, C, D, arms = (game[name] for name in ("A", "B", "C", "D", "arms"))
    h = (D + C @ np.linalg.inv(np.eye(len(A)) - A) @ B).sum(axis=0)
    return ((arms @ h).max() - played @ h).sum(axis=1), None


if __name__ == "__main__":
    commit = Path(sys.prefix, "source", ".git", "HEAD").read_text().strip()[:7]
    serve("numpy", lambda game, task: game, solve, answer, release=commit)
