"""Ours, through the public functions."""

from __future__ import annotations

from typing import Any

import protocol
from protocol import Instance, Task
from scipy.sparse import csr_array

from claimlab.bandits.relaxation import Grid, SPDMatrix, grid_sor, red_black_sor, sor

CAP = 1_000_000


def build(system: Instance, task: Task) -> Any:
    b, omega, n = system["b"], float(system["omega"]), task["n"]
    match task["kind"]:
        case "csr":
            A = csr_array((system["data"], system["indices"], system["indptr"]), shape=(len(b), len(b)))
            return sor, SPDMatrix(A), b, omega
        case "stencil":
            return grid_sor, Grid(n, n), b.reshape(n, n), omega
    return red_black_sor, Grid(n, n), b.reshape(n, n), omega


def run(model: Any, task: Task) -> Any:
    method, A, b, omega = model
    return method(A, b, omega, tol=task["tol"], cap=CAP)


if __name__ == "__main__":
    protocol.serve("claimlab", build, run, lambda model, solved, task: (solved.x, solved.iterations))
