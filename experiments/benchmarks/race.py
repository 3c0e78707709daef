"""Running a race: every measurement in a process of its own, under a limit, with the threads it may use."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.benchmarks.instances import SAMPLE, Instance, Reference, nbytes, once, read, sweep_bytes
from claimlab.experiments.errors import WrongUsage

SCRIPTS = Path(__file__).parent / "solvers"
OURS, MACHINE = "claimlab", "machine"
BUDGET = 6.0  # seconds of repetitions after the first call
PATIENCE = 2.0  # a method that takes so many times as long as the library's best so far is stopped
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

Measurement = dict[str, Any]


@dataclass(frozen=True)
class Case:
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


@dataclass(frozen=True)
class Solver:
    """A library in the race.

    Parameters
    ----------
    name : str
        Of its script, its requirements and its environment.
    methods : mapping of families to methods, the best known first
        What is not listed it does not offer.
    threads : bool
        Whether it can use more than one.
    sample : int
        How many instances of a batch it is timed on.
    compiles : bool
        Whether a first call may take much longer than others.
    """

    name: str
    methods: Mapping[str, tuple[str, ...]]
    threads: bool = False
    sample: int = 1000
    compiles: bool = False


@dataclass(frozen=True)
class Race:
    name: str
    title: str
    cases: tuple[Case, ...]
    solvers: tuple[Solver, ...]  # ours first


@dataclass(frozen=True)
class Track:
    """Where and how long: environments of the libraries, files of the instances, repetitions, CPU seconds a case."""

    peers: Path
    instances: Path
    threads: tuple[int, ...] = (1,)
    reps: int = 5
    limit: float = 60.0

    def python(self, solver: str) -> Path | None:
        """The interpreter of a library; None if its environment is missing."""
        if solver in (OURS, MACHINE):
            return Path(sys.executable)
        path = self.peers / solver / "bin" / "python"
        return path if path.exists() else None


@dataclass(frozen=True)
class Prepared:
    """A case with its files."""

    case: Case
    files: tuple[Path, ...]
    reference: Reference

    @cached_property
    def description(self) -> dict[str, Any]:
        """What a record says of the case, in JSON values."""
        instances = [read(path) for path in self.files]
        only = instances[0] if len(instances) == 1 and not self.case.batch else None
        return {
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
        }


def prepare(case: Case, folder: Path) -> Prepared:
    """Write the case's instances and reference values into `folder`, unless they are there."""
    files = tuple(once(folder, name, make) for name, make in case.instances.items())

    def reference() -> Instance:
        found = case.reference([read(path) for path in files])
        return {name: np.asarray(value) for name, value in found._asdict().items()}

    stored = read(once(folder, f"{case.name}-reference", reference))
    low, high = stored["plain_sweeps"].tolist()
    return Prepared(case, files, Reference(stored["v"], float(stored["error"]), (low, high)))


def run(race: Race, prepared: list[Prepared], track: Track) -> Iterator[Measurement]:
    """All measurements of a race, as they come.  Kernels are compiled where a case first needs them."""
    with empty_kernel_cache() as compiled:
        for ready in prepared:
            for solver in race.solvers:
                yield from _enter(solver, ready, track, compiled)


@contextmanager
def empty_kernel_cache() -> Iterator[Path]:
    """A folder for compiled code with nothing in it, so that a first call shows what compiling costs."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _enter(solver: Solver, ready: Prepared, track: Track, compiled: Path) -> Iterator[Measurement]:
    """A library's measurements of one case: each method with one thread, the best with more.

    The limit is on all its methods together, and a method much slower than the best so far is stopped.
    """
    case, best, left = ready.case, None, track.limit
    methods = solver.methods.get(case.family, ())
    if track.python(solver.name) is None or not methods:
        why = "not offered" if not methods else "not installed"
        yield {"case": case.name, "solver": solver.name, "method": None, "threads": 1, "failure": why}
        return
    for method in methods:
        allowed = left if best is None else min(left, 1 + PATIENCE * best["first_cpu"])
        done = measure(solver, method, ready, track, compiled, threads=track.threads[0], limit=allowed)
        yield done
        left -= done.get("first_cpu", allowed if done["failure"] == _over(allowed) else 0.0)
        if right(done) and (best is None or min(done["cpu"]) < min(best["cpu"])):
            best = done
        if left <= 1:
            break
    for threads in track.threads[1:]:
        if best is not None and solver.threads:
            yield measure(solver, best["method"], ready, track, compiled, threads=threads, limit=track.limit)


def right(measurement: Measurement) -> bool:
    """Whether there is an answer, and within the error that was asked for."""
    return measurement["failure"] is None and not measurement["wrong"]


def measure(
    solver: Solver, method: str, ready: Prepared, track: Track, compiled: Path, *, threads: int, limit: float
) -> Measurement:
    """One measurement, in a fresh process."""
    case, ours = ready.case, solver.name == OURS
    task: dict[str, Any] = {
        "instances": [str(path) for path in ready.files],
        "batch": case.batch if ours else None,
        "sample": solver.sample,
        "compiles": solver.compiles,
        "criterion": case.criterion,
        "gamma": case.gamma,
        "horizon": case.horizon,
        "tol": case.own_tol if ours else case.tol,
        "method": method,
        "threads": threads,
    }
    count = 1 if case.batch is None else case.batch[0] if ours else min(solver.sample, SAMPLE)
    label = {"case": case.name, "solver": solver.name, "method": method, "threads": threads, "count": count}
    label["batched"] = case.batch is not None
    report, answer = start(solver.name, task, track, compiled, limit)
    if answer is None:
        return label | report
    size = len(ready.reference.v) * count // (case.batch[0] if case.batch else 1)
    if answer.shape != (size,):
        return label | report | {"failure": f"an answer of shape {answer.shape}, not ({size},)"}
    # The reference's own error is on the side of the answer: a library is called wrong only if it is proved to be.
    error = float(abs(answer - ready.reference.v[:size]).max())
    wrong = not error <= task["tol"] + ready.reference.error
    return label | report | {"error": error if np.isfinite(error) else None, "wrong": wrong}


def start(
    name: str, task: Mapping[str, Any], track: Track, compiled: Path, limit: float
) -> tuple[dict[str, Any], Array | None]:
    """Run a solver's script on a task: its report and its answer, or why there is none."""
    full = {**task, "reps": track.reps, "budget": BUDGET, "limit": limit}
    settings = dict.fromkeys(THREADS, str(task["threads"])) | {"NUMBA_CACHE_DIR": str(compiled)}
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH" or name in (OURS, MACHINE)}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "task.json")
        file.write_text(json.dumps(full))
        words = [str(track.python(name)), str(SCRIPTS / f"run_{name}.py"), str(file), folder]
        try:
            done = subprocess.run(
                words, cwd=folder, env=environment | settings, capture_output=True, timeout=2 * limit + 180, check=False
            )
        except subprocess.TimeoutExpired as expired:
            return {"failure": f"more than {expired.timeout:.0f} s with building the model"}, None
        if done.returncode == -signal.SIGPROF:
            return {"failure": _over(limit)}, None
        try:
            report = json.loads(Path(folder, "report.json").read_bytes())
        except (OSError, ValueError):
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            return {"failure": f"ended with status {done.returncode}: {''.join(last)}"[:300]}, None
        if "failure" in report:
            return report, None
        return report | {"failure": None}, np.load(Path(folder, "answer.npy"), allow_pickle=False)


def _over(limit: float) -> str:
    return f"more than {limit:.0f} CPU s"


def missing(races: Sequence[Race], track: Track) -> list[Solver]:
    """The libraries whose environments are not there."""
    solvers = {solver.name: solver for race in races for solver in race.solvers}
    return [solver for name, solver in solvers.items() if track.python(name) is None]


def install(solver: Solver, track: Track) -> None:
    """Make the environment of a library, with the versions that its requirements pin."""
    target = track.peers / solver.name
    requirements = SCRIPTS / f"requirements-{solver.name}.txt"
    try:
        subprocess.run([sys.executable, "-m", "venv", str(target)], check=True)
        pip = [str(track.python(solver.name)), "-m", "pip", "--disable-pip-version-check", "--quiet"]
        subprocess.run([*pip, "install", "--requirement", str(requirements)], check=True)
    except BaseException as error:
        shutil.rmtree(target, ignore_errors=True)  # half an environment would pass for a whole one
        if isinstance(error, subprocess.CalledProcessError):
            raise WrongUsage(f"{solver.name} could not be installed; pip has said why.") from None
        raise
