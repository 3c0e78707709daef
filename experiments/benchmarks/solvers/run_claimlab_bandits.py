"""Ours, through `play`."""

from __future__ import annotations

from typing import Any

import numpy as np
import protocol
from protocol import Instance, Task

from claimlab.bandits.contextual import play_contextual
from claimlab.bandits.contextual_environments import DisjointLinear
from claimlab.bandits.dynamical import from_outputs
from claimlab.bandits.dynlin import DynLinUCB
from claimlab.bandits.environments import Bernoulli
from claimlab.bandits.linear_contextual import DisjointLinUCB
from claimlab.bandits.optimism import KLUCB, UCB1
from claimlab.bandits.play import play
from claimlab.bandits.weights import Exp3Mixing, TsallisINF

SEED = 2


def build(game: Instance, task: Task) -> Any:
    """The game, with what makes its algorithm for so many rounds."""
    match task["algorithm"]:
        case "linucb":
            return play_contextual, DisjointLinear(game["theta"], float(game["noise"])), lambda rounds: DisjointLinUCB()
        case "dynlin-ucb":
            system = (game[name] for name in ("A", "B", "C", "D", "arms"))
            env = from_outputs(*system, state_noise=float(game["sigma"]), output_noise=float(game["sigma"]))
            return play, env, lambda rounds: dynlin_ucb(env, float(game["sigma"]), rounds)
    makers = {
        "ucb1": lambda rounds: UCB1(),
        "kl-ucb": lambda rounds: KLUCB(),
        "exp3": lambda rounds: Exp3Mixing(float(game["gamma"])),
        "tsallis-inf": lambda rounds: TsallisINF(),
    }
    return play, Bernoulli(game["means"]), makers[task["algorithm"]]


def dynlin_ucb(env: Any, sigma: float, rounds: int) -> DynLinUCB:
    """With the authors' bound on the state and their first arm; they tell it the noise of one output."""
    bound = float(np.linalg.norm(env.arms, axis=1).max()) / (1 - env.rho)
    told = {"state_bound": bound, "sigma": sigma, "random_start": True}
    return DynLinUCB.knowing(env, lam=float(np.log(rounds)), delta=1 / rounds, **told)


def run(model: Any, task: Task) -> Any:
    return games(model, task["timed"], task)


def answer(model: Any, solved: Any, task: Task) -> tuple[Any, None]:
    return games(model, task["judged"], task).regret[:, -1], None


def games(model: Any, size: list[int], task: Task) -> Any:
    (loop, env, make), (runs, rounds) = model, size
    return loop(make(rounds), env, horizon=rounds, runs=runs, seed=SEED, threads=task["threads"])


if __name__ == "__main__":
    protocol.serve("claimlab", build, run, answer)
