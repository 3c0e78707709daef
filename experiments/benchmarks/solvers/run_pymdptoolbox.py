"""pymdptoolbox.  Its constructors check the input and are part of building the model."""

from __future__ import annotations

from typing import Any

import mdptoolbox.mdp as toolbox
import numpy as np
from protocol import Instance, Task, serve
from scipy.sparse import csr_matrix


def build(instance: Instance, task: Task) -> Any:
    r = instance["r"]
    S, A = r.shape
    P: Any
    if "P" in instance:
        P = np.ascontiguousarray(instance["P"].transpose(1, 0, 2))
    else:
        rows = csr_matrix((instance["data"], instance["indices"], instance["indptr"]), shape=(S * A, S))
        P = tuple(rows[a::A].tocsr() for a in range(A))
    gamma, tol = task["gamma"], task["tol"]
    match task["method"]:
        case "vi":
            return toolbox.ValueIteration(P, r, gamma, epsilon=tol, max_iter=10**7)
        case "mpi":
            return toolbox.PolicyIterationModified(P, r, gamma, epsilon=tol, max_iter=10**7)
        case "pi":
            return toolbox.PolicyIteration(P, r, gamma, eval_type=0, max_iter=10**5)
        case "rvi":
            return toolbox.RelativeValueIteration(P, r, epsilon=tol, max_iter=10**7)
        case "backward":
            return toolbox.FiniteHorizon(P, r, 1.0, task["horizon"])


def solve(model: Any, task: Task) -> Any:
    model.run()


def answer(model: Any, solved: Any, task: Task) -> tuple[Any, int | None]:
    if task["criterion"] == "average":
        return model.average_reward, model.iter
    if task["criterion"] == "episodic":
        return np.asarray(model.V)[:, 0], task["horizon"]
    return np.asarray(model.V), model.iter


if __name__ == "__main__":
    serve("pymdptoolbox", build, solve, answer)
