"""PyAMG's sweeps, with the residual checked between them."""

from __future__ import annotations

from typing import Any

import numpy as np
from protocol import Instance, Task, serve
from pyamg.relaxation.relaxation import sor  # pyright: ignore[reportMissingImports]
from scipy.sparse import csr_array, csr_matrix


def build(system: Instance, task: Task) -> Any:
    A = csr_matrix(csr_array((system["data"], system["indices"], system["indptr"])))
    return A, system["b"], float(system["omega"])


def solve(model: Any, task: Task) -> Any:
    A, b, omega = model
    every, target = int(task["method"].split("-")[1]), task["tol"] * np.linalg.norm(b)
    x, sweeps = np.zeros(len(b)), 0
    while np.linalg.norm(b - A @ x) > target:
        sor(A, x, b, omega, iterations=every)
        sweeps += every
    return x, sweeps


if __name__ == "__main__":
    serve("pyamg", build, solve, lambda model, solved, task: solved)
