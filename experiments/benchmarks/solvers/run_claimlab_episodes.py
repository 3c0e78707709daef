"""Ours, through `play_episodes` and `learn_average`."""

from __future__ import annotations

from typing import Any

import numpy as np
import protocol
from protocol import Instance, Task

from claimlab.experiments.benchmarks.twin import RlberryUCBVI
from claimlab.mdps.average_learning import learn_average, world
from claimlab.mdps.confidence import L1Sets
from claimlab.mdps.conservative import StepMix
from claimlab.mdps.episodes import play_episodes
from claimlab.mdps.hypotheses import Models
from claimlab.mdps.loop import ModelLOOP
from claimlab.mdps.staged import StagedMDP
from claimlab.theory.loop import model_width

SEED = 2


def build(game: Instance, task: Task) -> Any:
    """What plays so many runs of so many rounds."""
    common = {"seed": SEED, "threads": task["threads"], "checkpoints": task["points"]}
    P, r = game["P"], game["r"]
    if task["algorithm"] == "loop":
        models, delta = Models(P, r), float(game["delta"])
        there = world(models.mdp(0))

        def learn(runs: int, steps: int) -> Any:
            learner = ModelLOOP(models, model_width(models.optimal.span, models.size, steps, delta))
            return learn_average(learner, there, horizon=steps, runs=runs, **common).shortfall

        return learn
    if task["algorithm"] == "stepmix":
        mdp: StagedMDP = StagedMDP(P, r)
        learner: Any = StepMix(game["baseline"], float(game["threshold"]), L1Sets(float(game["delta"])))
    else:
        H = int(game["horizon"])
        mdp, learner = StagedMDP(np.tile(P, (H, 1, 1, 1)), np.tile(r, (H, 1, 1))), RlberryUCBVI()

    def play(runs: int, episodes: int) -> Any:
        return play_episodes(learner, mdp, episodes=episodes, runs=runs, **common).regret

    return play


def whole(task: Task) -> list[Instance]:
    """One game: its kernels of all steps, or of all models, are no batch of MDPs."""
    with np.load(task["instances"][0], allow_pickle=False) as arrays:
        return [{name: arrays[name] for name in arrays.files}]


if __name__ == "__main__":
    protocol.serve(
        "claimlab",
        build,
        lambda play, task: play(*task["timed"]),
        lambda play, solved, task: (play(*task["judged"]), None),
        instances=whole,
    )
