"""mdpsolver.  Models go in as nested lists; the method is named as "algorithm-update", as in "mpi-standard"."""

from __future__ import annotations

from typing import Any

import numpy as np
from mdpsolver import model as Model  # pyright: ignore[reportMissingImports]
from protocol import Instance, Task, serve

EVALUATIONS = 20  # sweeps between improvements: its default, 100, takes about three times as long here


def build(instance: Instance, task: Task) -> Any:
    if "lists" not in instance:  # they are as good for a second model
        instance["lists"] = _lists(instance)
    model = Model()
    discount = task["gamma"] if task["criterion"] == "discounted" else 0.99  # checked even where it is not used
    model.mdp(discount=discount, **instance["lists"])
    return model, instance


def _lists(instance: Instance) -> dict[str, Any]:
    r = instance["r"]
    if "P" in instance:
        return {"rewards": r.tolist(), "tranMatWithZeros": instance["P"].tolist()}
    S, A = r.shape
    indptr, columns, data = (instance[name].tolist() for name in ("indptr", "indices", "data"))

    def nested(entries: list[Any]) -> list[Any]:
        return [[entries[indptr[row] : indptr[row + 1]] for row in range(s * A, s * A + A)] for s in range(S)]

    return {"rewards": r.tolist(), "tranMatProbs": nested(data), "tranMatColumns": nested(columns)}


def solve(model: Any, task: Task) -> Any:
    algorithm, update = task["method"].split("-")
    model[0].solve(
        algorithm=algorithm,
        update=update,
        criterion=task["criterion"],
        tolerance=task["tol"],
        parIterLim=EVALUATIONS,
        parallel=task["threads"] > 1,
    )


def answer(model: Any, solved: Any, task: Task) -> tuple[Any, int | None]:
    v = np.array(model[0].getValueVector())
    return (_gain(model[1], v), None) if task["criterion"] == "average" else (v, None)


def _gain(instance: Instance, v: Any) -> float:
    """It returns relative values only; the gain is what one more sweep adds to them."""
    sums = np.add.reduceat(instance["data"] * v[instance["indices"]], instance["indptr"][:-1])
    d = (instance["r"] + sums.reshape(instance["r"].shape)).max(axis=1) - v
    return (d.min() + d.max()) / 2


if __name__ == "__main__":
    serve("mdpsolver", build, solve, answer)
