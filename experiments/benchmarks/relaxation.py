"""The race of the sweeps: successive over-relaxation to a true residual, on 5-point systems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import pi, sin
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array, eye_array, kron

from claimlab.checks import Array
from claimlab.experiments.benchmarks import race
from claimlab.experiments.benchmarks.machine import LARGE
from claimlab.experiments.benchmarks.race import OURS, Probe, Race, Solver, Words
from claimlab.experiments.benchmarks.stored import Instance, once, read

SOURCES = (Path(__file__),)
TOL = 1e-8  # of the true residual's 2-norm, in that of the right side
PASSES = 100  # of a survey: sweeps, too, find their data where the last one left them
LONG = np.longdouble
KINDS = {
    "csr": "any sparse matrix, rows in order",
    "stencil": "5-point stencil, points in order",
    "red-black": "5-point stencil, red points first",
}


@dataclass(frozen=True)
class Case(race.Case):
    """The Poisson matrix of n x n points; `kind` is how much of it ours is told, and in which order it sweeps.

    The others sweep the sparse matrix in the order of its rows whatever the kind.
    """

    kind: str
    n: int

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"{self.kind}-{self.n}"

    @property
    def title(self) -> str:  # type: ignore[override]
        return f"{self.n} × {self.n}, {KINDS[self.kind]}"

    @property
    def family(self) -> str:  # type: ignore[override]
        return self.kind

    def prepare(self, folder: Path) -> Prepared:
        return Prepared(self, once(folder, f"poisson-{self.n}", lambda: poisson(self.n), SOURCES))


@dataclass(frozen=True)
class Prepared(race.Prepared):
    case: Case
    file: Path

    def describe(self) -> dict[str, Any]:
        system = read(self.file)
        given = sum(part.nbytes for part in system.values())
        return {
            "name": self.case.name,
            "title": self.case.title,
            "tol": TOL,
            "unit": "s",
            "instances": [self.case.name],
            "input_bytes": given,
            "rows": self.case.n**2,
            "facts": {
                "arrays": f"{given / 1e6:.3g} MB",
                "ω": f"{system['omega']:.6f}",
                "a sweep moves": f"{self.moved / 1e6:.3g} MB",
            },
        }

    @property
    def moved(self) -> int:
        """Bytes of one sweep at least: the right side and x in, x out, and the matrix where ours reads one."""
        system = read(self.file)
        entries = 12 * system["data"].size if self.case.kind == "csr" else 0
        return int(24 * self.case.n**2 + entries)

    def task(self, solver: Solver) -> dict[str, Any]:
        kind = {"kind": self.case.kind, "n": self.case.n} if solver.name == OURS else {}
        return {"instances": [str(self.file)], "tol": TOL, "count": 1, "batched": False} | kind

    def judge(self, answer: Array, task: Mapping[str, Any]) -> dict[str, Any]:
        """What a check in double precision may round off is on the side of the answer."""
        system = read(self.file)
        if answer.shape != system["b"].shape:
            return {"failure": f"an answer of shape {answer.shape}, not {system['b'].shape}"}
        error, slack = residual(system, answer)
        return {"error": error if np.isfinite(error) else None, "wrong": not error <= TOL + slack}

    @property
    def probes(self) -> tuple[Probe, ...]:
        """Reading as many bytes as a sweep moves; in order, also a chain of as many dependent steps as it has rows."""
        name = self.case.name
        probes = [Probe("read", name, self.moved, count=PASSES)]
        if self.case.kind != "red-black":
            probes.append(Probe("chain", name, 8 * self.case.n**2, count=PASSES))
        return tuple(probes)


def poisson(n: int) -> Instance:
    """4 on the diagonal, -1 for each of the neighbours, right side 1; the best parameter (Young 1954)."""
    path = eye_array(n, k=-1) + eye_array(n, k=1)
    A = csr_array(4 * eye_array(n * n) - kron(eye_array(n), path) - kron(path, eye_array(n)))
    A.sort_indices()
    matrix = {"indptr": A.indptr.astype(np.int32), "indices": A.indices.astype(np.int32), "data": A.data}
    return matrix | {"b": np.ones(n * n), "omega": np.float64(2 / (1 + sin(pi / (n + 1))))}


def residual(system: Instance, x: Array) -> tuple[float, float]:
    """The norm of b - A x in that of b, in the longest float, and how much of it rounding may make in doubles."""
    b, starts = system["b"], system["indptr"][:-1]
    terms = system["data"].astype(LONG) * x[system["indices"]]
    r, size = b - np.add.reduceat(terms, starts), np.add.reduceat(abs(terms), starts) + abs(b)
    longest = int(np.diff(system["indptr"]).max()) + 2
    scale = np.sqrt((b * b).sum())
    slack = longest * np.finfo(np.float64).eps * np.sqrt((size * size).sum()) / scale
    return float(np.sqrt((r * r).sum()) / scale), float(slack)


CASES = tuple(Case(kind, n) for n in (100, 200, 500) for kind in KINDS)

SOLVERS = (
    Solver(
        OURS,
        {"csr": ("sor",), "stencil": ("grid_sor",), "red-black": ("red_black_sor",)},
        compiles=True,
        script="claimlab_relaxation",
    ),
    Solver("pyamg-10", dict.fromkeys(KINDS, ("sor-10",)), library="pyamg"),
    Solver("pyamg-1", dict.fromkeys(KINDS, ("sor-1",)), library="pyamg"),
    Solver("scipy", dict.fromkeys(KINDS, ("spsolve_triangular",)), library="scipy"),
    Solver(
        "scipy-direct",
        dict.fromkeys(KINDS, ("spsolve",)),
        library="scipy",
        differs=dict.fromkeys(KINDS, "elimination, not sweeps"),
    ),
)

WORDS = Words(
    aside="until the true residual is 1e-8 of the right side, checked after ten sweeps (pyamg-10) or each",
    wrong="a larger residual, shown",
    axis="seconds",
    cases="The others get the sparse matrix each time and are measured once.  ω is the best for sweeps in order.  The "
    "machine reads as many bytes as a sweep moves, and goes through a chain of as many steps as a sweep in order has "
    "rows, one multiply-add each: the share of the limit is the longer of the two, of a sweep of ours.",
    how="Min and median are CPU times of the repetitions, checks of the residual included; the first call compiles "
    "what no earlier case did; the error is the true residual, computed anew.  PyAMG's sweeps know no residual: it is "
    "checked after every tenth (pyamg-10) or after each (pyamg-1).",
    each="",
    piece="row and sweep",
)

SOR = Race(
    "sor", "Over-relaxation", CASES, SOLVERS, WORDS, tuple(Probe(what, None, LARGE) for what in ("read", "triad"))
)
