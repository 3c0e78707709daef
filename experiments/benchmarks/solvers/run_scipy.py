"""SciPy: sweeps as triangular solves, and elimination."""

from __future__ import annotations

from typing import Any

import numpy as np
from protocol import Instance, Task, serve
from scipy.sparse import csr_array, diags_array, tril
from scipy.sparse.linalg import spsolve, spsolve_triangular


def build(system: Instance, task: Task) -> Any:
    A = csr_array((system["data"], system["indices"], system["indptr"]))
    if task["method"] == "spsolve":
        return A.tocsc(), system["b"]
    step = csr_array(tril(A, -1) + diags_array(A.diagonal() / system["omega"]))
    return A, system["b"], step


def solve(model: Any, task: Task) -> Any:
    if task["method"] == "spsolve":
        return spsolve(*model), None
    A, b, step = model
    x, r, sweeps, target = np.zeros(len(b)), b, 0, task["tol"] * np.linalg.norm(b)
    while np.linalg.norm(r) > target:
        x += spsolve_triangular(step, r)
        r = b - A @ x
        sweeps += 1
    return x, sweeps


if __name__ == "__main__":
    serve("scipy", build, solve, lambda model, solved, task: solved)
