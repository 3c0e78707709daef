"""What the machine can do, and one sweep of ours: nothing can sweep faster than the data can be read."""

from __future__ import annotations

from typing import Any

import numpy as np
import protocol
from protocol import Instance, Task

from claimlab.experiments.benchmarks.instances import transitions
from claimlab.experiments.benchmarks.machine import chain, draws, gather, read, triad
from claimlab.mdps import TabularMDP
from claimlab.mdps.blocks import BLOCK
from claimlab.mdps.sweeps import Sweeps


def instances(task: Task) -> list[Instance]:
    return protocol.load(task) if task["method"] in ("gather", "sweep") else [{}]


def build(instance: Instance, task: Task) -> Any:
    n = task["bytes"] // 8
    match task["method"]:
        case "draws":
            return ()
        case "read" | "chain":
            return (np.ones(n),)
        case "triad":
            return np.ones(n // 3), np.ones(n // 3), np.ones(n // 3)  # np.zeros would be allocated under the clock
        case "gemv":
            side = int(n**0.5)
            return np.ones((side, side)), np.ones(side)
        case "gather":
            indices, data = instance["indices"].view(np.uint32), instance["data"]
            return indices, data, np.ones(len(instance["r"])), np.ones(len(data) // BLOCK)
    mdp = TabularMDP(transitions(instance), instance["r"], 0.99)
    rng, sweeps = np.random.default_rng(0), Sweeps(mdp, mdp.gamma, task["threads"])
    v, out = rng.random(mdp.n_states), np.empty(mdp.n_states)
    sweeps.improve(v, out)  # so that the workspace is there, and the policy
    sweeps.greedy.lead.fill(-np.inf)  # every action is looked at again
    return sweeps, v, out


def run(model: Any, task: Task) -> Any:
    match task["method"]:
        case "read":
            return read(model[0], task["threads"], task["count"])
        case "chain":
            return chain(model[0], task["count"])
        case "draws":
            return draws(task["count"], task["uniforms"], task["normals"], task["threads"])
        case "triad":
            return triad(model[0], model[1], model[2], task["threads"])
        case "gemv":
            return model[0] @ model[1]
        case "gather":
            return gather(model[0], model[1], model[2], model[3], task["threads"])
    sweeps, v, out = model
    return sweeps.improve(v, out)


if __name__ == "__main__":
    protocol.serve("claimlab", build, run, lambda model, solved, task: (0.0, None), instances)
