"""rlberry-scool's dynamic programming: it stops at a change of epsilon, an error of gamma / (1 - gamma) epsilon."""

from __future__ import annotations

from typing import Any

from protocol import Instance, Task, dense, serve
from rlberry_scool.agents.dynprog.utils import (  # pyright: ignore[reportMissingImports]
    backward_induction,
    value_iteration,
)


def build(instance: Instance, task: Task) -> Any:
    return instance["r"], dense(instance)


def solve(model: Any, task: Task) -> Any:
    if task["criterion"] == "episodic":
        return backward_induction(*model, task["horizon"])
    return value_iteration(*model, task["gamma"], epsilon=task["tol"] * (1 - task["gamma"]) / task["gamma"])


def answer(model: Any, solved: Any, task: Task) -> tuple[Any, int | None]:
    return (solved[1][0], task["horizon"]) if task["criterion"] == "episodic" else (solved[1], solved[2])


if __name__ == "__main__":
    serve("rlberry-scool", build, solve, answer)
