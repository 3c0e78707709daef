"""QuantEcon's DiscreteDP.  Its epsilon bounds twice the error of the values."""

from __future__ import annotations

from typing import Any

import numpy as np
from protocol import Instance, Task, serve
from quantecon.markov import DiscreteDP
from quantecon.markov.ddp import backward_induction
from scipy.sparse import csr_matrix


def build(instance: Instance, task: Task) -> Any:
    gamma = 1.0 if task["criterion"] == "episodic" else task["gamma"]
    r = instance["r"]
    S, A = r.shape
    if "P" in instance:
        return DiscreteDP(r, instance["P"], gamma)
    Q = csr_matrix((instance["data"], instance["indices"], instance["indptr"]), shape=(S * A, S))
    return DiscreteDP(r.ravel(), Q, gamma, np.repeat(np.arange(S), A), np.tile(np.arange(A), S))


def solve(model: Any, task: Task) -> Any:
    if task["criterion"] == "episodic":
        return backward_induction(model, task["horizon"])
    return model.solve(task["method"], epsilon=2 * task["tol"], max_iter=10**7)


def answer(model: Any, solved: Any, task: Task) -> tuple[Any, int | None]:
    return (solved[0][0], task["horizon"]) if task["criterion"] == "episodic" else (solved.v, solved.num_iter)


if __name__ == "__main__":
    serve("quantecon", build, solve, answer)
