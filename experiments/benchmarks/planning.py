"""The planners' cases: MDPs in files, reference values with certified errors, and what the machine is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.benchmarks import race
from claimlab.experiments.benchmarks.instances import SAMPLE, SOURCES, Reference, nbytes, sweep_bytes
from claimlab.experiments.benchmarks.race import GATHER, OURS, Probe, Solver
from claimlab.experiments.benchmarks.stored import Instance, once, read


@dataclass(frozen=True)
class Case(race.Case):
    """What is solved, and how well.

    Parameters
    ----------
    name, title : str
    family : str
        Under which a library lists its methods, best first.
    criterion : str
        "discounted", "average" or "episodic".
    instances : mapping of names to functions
        Each makes one instance; their figures are added up.
    reference : (instances) -> Reference
    gamma : float
    horizon : int
    tol, own_tol : float
        The sup error that the libraries are asked for, and that ours is.
    batch : (N, S, A, seed), optional
        What ours solves; the libraries get the first of them, which are the instances.
    """

    name: str
    title: str
    family: str
    criterion: str
    instances: Mapping[str, Callable[[], Instance]]
    reference: Callable[[list[Instance]], Reference]
    gamma: float = 1.0
    horizon: int = 0
    tol: float = 1e-6
    own_tol: float = 1e-6
    batch: tuple[int, int, int, int] | None = None

    def prepare(self, folder: Path) -> Prepared:
        files = tuple(once(folder, name, make, SOURCES) for name, make in self.instances.items())

        def reference() -> Instance:
            found = self.reference([read(path) for path in files])
            return {name: np.asarray(value) for name, value in found._asdict().items()}

        stored = read(once(folder, f"{self.name}-reference", reference, SOURCES))
        low, high = stored["plain_sweeps"].tolist()
        return Prepared(self, files, Reference(stored["v"], float(stored["error"]), (low, high)))


@dataclass(frozen=True)
class Prepared(race.Prepared):
    case: Case
    files: tuple[Path, ...]
    reference: Reference

    def describe(self) -> dict[str, Any]:
        instances = [read(path) for path in self.files]
        only = instances[0] if len(instances) == 1 and not self.case.batch else None
        described = {
            "name": self.case.name,
            "title": self.case.title,
            "tol": self.case.tol,
            "own_tol": self.case.own_tol,
            "unit": "s an MDP" if self.case.batch else "s",
            "instances": [path.stem.rsplit("-", 1)[0] for path in self.files],
            "input_bytes": sum(map(nbytes, instances)),
            "sweep_bytes": sweep_bytes(only) if only else None,
            "reference_error": self.reference.error,
            "plain_sweeps": list(self.reference.plain_sweeps),
            "rows": None,
        }
        return described | {"facts": facts(described)}

    def task(self, solver: Solver) -> dict[str, Any]:
        case, ours = self.case, solver.name == OURS
        return {
            "instances": [str(path) for path in self.files],
            "batch": case.batch if ours else None,
            "batched": case.batch is not None,
            "count": 1 if case.batch is None else case.batch[0] if ours else min(solver.sample, SAMPLE),
            "criterion": case.criterion,
            "gamma": case.gamma,
            "horizon": case.horizon,
            "tol": case.own_tol if ours else case.tol,
        }

    def judge(self, answer: Array, task: Mapping[str, Any]) -> dict[str, Any]:
        """The reference's own error is on the side of the answer: a library is called wrong only if it is proved to
        be."""
        size = len(self.reference.v) * task["count"] // (self.case.batch[0] if self.case.batch else 1)
        if answer.shape != (size,):
            return {"failure": f"an answer of shape {answer.shape}, not ({size},)"}
        error = float(abs(answer - self.reference.v[:size]).max())
        wrong = not error <= task["tol"] + self.reference.error
        return {"error": error if np.isfinite(error) else None, "wrong": wrong}

    @property
    def probes(self) -> tuple[Probe, ...]:
        """Reading as many bytes as a sweep must, of a sparse `P` also fetching its values, and a sweep of ours."""
        described = self.describe()
        moved, name = described["sweep_bytes"], described["instances"][0]
        if not moved:
            return ()
        own, instance = Probe("sweep", name, moved, self.files), read(self.files[0])
        if "P" in instance:
            return Probe("read", name, moved), own
        fetched = sum(instance[part].nbytes for part in ("indices", "data")) + 8 * len(instance["r"])
        return Probe("read", name, moved), Probe(GATHER, name, fetched, self.files), own


def facts(described: Mapping[str, Any]) -> dict[str, str]:
    """What tables tell of a case, from its description."""
    low, high = described["plain_sweeps"]
    return {
        "arrays": f"{described['input_bytes'] / 1e6:.3g} MB",
        "error of the reference": f"{described['reference_error']:.0e}",
        "plain sweeps": "" if not high else str(low) if low == high else f"{low} to {high}",
    }
