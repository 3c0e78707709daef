"""Ours, through the public functions."""

from __future__ import annotations

from typing import Any

import protocol
from protocol import Instance, Task

from claimlab.experiments.benchmarks.instances import batch, transitions
from claimlab.mdps import (
    AverageMDP,
    EpisodicMDP,
    TabularMDP,
    backward_induction,
    batched,
    relative_value_iteration,
    solve,
)


def instances(task: Task) -> list[Instance]:
    return [batch(*task["batch"])] if task["batch"] else protocol.load(task)


def build(instance: Instance, task: Task) -> Any:
    if task["batch"]:
        instance["P"].flags.writeable = instance["r"].flags.writeable = False  # spares copies
        return batched.MDPBatch(instance["P"], instance["r"], task["gamma"])
    P, r = transitions(instance), instance["r"]
    match task["criterion"]:
        case "average":
            return AverageMDP(P, r)
        case "episodic":
            return EpisodicMDP(P, r, task["horizon"])
    return TabularMDP(P, r, task["gamma"])


def run(model: Any, task: Task) -> Any:
    threads = task["threads"]
    if task["batch"]:
        return batched.solve(model, task["tol"], threads=threads)
    match task["criterion"]:
        case "average":
            return relative_value_iteration(model, task["tol"], threads=threads)
        case "episodic":
            return backward_induction(model, threads=threads)
    return solve(model, task["tol"], threads=threads)


def answer(model: Any, solved: Any, task: Task) -> tuple[Any, int | None]:
    match task["criterion"]:
        case "average":
            return solved.gain, solved.iterations
        case "episodic":
            return solved.v[0], task["horizon"]
    return solved.v, None if task["batch"] else solved.iterations


if __name__ == "__main__":
    protocol.serve("claimlab", build, run, answer, instances)
