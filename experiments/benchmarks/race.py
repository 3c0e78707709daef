"""Running a race: every measurement in a process of its own, under a limit, with the threads it may use."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.errors import WrongUsage

SCRIPTS = Path(__file__).parent / "solvers"
OURS, MACHINE = "claimlab", "machine"
GATHER = "gather"  # the survey that shows how fast single numbers come from anywhere
OWN = (OURS, MACHINE)  # what runs in this environment
BUDGET = 6.0  # seconds of repetitions after the first call
PATIENCE = 2.0  # a method that takes so many times as long as the library's best so far is stopped
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

Measurement = dict[str, Any]


class Case(ABC):
    """What is raced for: a dataclass whose methods know the subject, and nothing of processes and clocks.

    `family` is under what a library lists its methods.
    """

    name: str
    title: str
    family: str

    @abstractmethod
    def prepare(self, folder: Path) -> Prepared:
        """The case with its files in `folder`, made unless they are there."""


@dataclass(frozen=True)
class Prepared(ABC):
    """A case with its files: what a script is told, and what its answer is worth."""

    case: Case

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What a record says of the case, in JSON values.

        `name`, `title`, `unit`, `tol`; `instances`, by which the machine's surveys are found; `input_bytes` or None;
        `rows`, how many pieces an iteration has, or None; `facts`, what tables tell of it.
        """

    @abstractmethod
    def task(self, solver: Solver) -> dict[str, Any]:
        """What the library's script is told besides method and threads, in JSON values.

        `instances` are files, `count` is how many units of work a call does, and `batched` says whether building the
        model belongs to it.
        """

    @abstractmethod
    def judge(self, answer: Array, task: Mapping[str, Any]) -> dict[str, Any]:
        """What is added to a measurement: `error` (None if not finite) and `wrong`, or `failure`."""

    @property
    @abstractmethod
    def probes(self) -> tuple[Probe, ...]:
        """What the machine is asked for: how fast this could be at best."""


@dataclass(frozen=True)
class Probe:
    """A survey of the machine: `what` is done `count` times in a call, for which instance, moving how many bytes."""

    what: str
    instance: str | None
    bytes: int
    files: tuple[Path, ...] = ()
    count: int = 1
    settings: tuple[tuple[str, int], ...] = ()


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
    library : str
        Of its requirements and its environment, where that is not the name.
    script : str
        Where that is not the library.
    differs : mapping of families to words
        Where it solves something else, what that is: it is shown, and counts for nothing.
    source : Source, optional
        What no package index has.
    bare : tuple of str
        Pinned packages that refuse today's Python or libraries but run on them: installed after the requirements, and
        without their own.
    """

    name: str
    methods: Mapping[str, tuple[str, ...]]
    threads: bool = False
    sample: int = 1000
    compiles: bool = False
    library: str = ""
    script: str = ""
    differs: Mapping[str, str] = field(default_factory=dict)
    source: Source | None = None
    bare: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "library", self.library or self.name)
        object.__setattr__(self, "script", self.script or self.library)


class Source(NamedTuple):
    """A program that is not on a package index: cloned beside its environment."""

    address: str
    commit: str


@dataclass(frozen=True)
class Words:
    """How a race is told."""

    aside: str  # what else the figures of a table are
    wrong: str  # what makes an answer wrong
    axis: str  # of the picture
    cases: str  # before the table of the cases
    how: str  # before the table of the measurements
    each: str  # what a measurement counts, if more than one
    rate: str = ""  # what is told by the second; "": seconds are told
    piece: str = ""  # what an iteration consists of, told by itself
    answer: str = ""  # what is told of every answer


@dataclass(frozen=True)
class Race:
    name: str
    title: str
    cases: tuple[Case, ...]
    solvers: tuple[Solver, ...]  # ours first
    words: Words
    probes: tuple[Probe, ...] = ()  # of the machine, whatever the case


@dataclass(frozen=True)
class Track:
    """Where and how long: environments of the libraries, files of the instances, repetitions, CPU seconds a case."""

    peers: Path
    instances: Path
    threads: tuple[int, ...] = (1,)
    reps: int = 5
    limit: float = 60.0

    def python(self, library: str) -> Path | None:
        """The interpreter of a library; None if its environment is missing."""
        if library in OWN:
            return Path(sys.executable)
        path = self.peers / library / "bin" / "python"
        return path if path.exists() else None


def run(race: Race, prepared: list[Prepared], track: Track) -> Iterator[Measurement]:
    """All measurements of a race, as they come.  Kernels are compiled where a case first needs them.

    A library that has the same task in several cases does it once.
    """
    done: dict[str, list[Measurement]] = {}
    with empty_kernel_cache() as compiled:
        for ready, solver in product(prepared, race.solvers):
            task = json.dumps([solver.name, solver.methods.get(ready.case.family), ready.task(solver)])
            if task in done:
                yield from (measurement | {"case": ready.case.name} for measurement in done[task])
                continue
            done[task] = []
            for measurement in _enter(solver, ready, track, compiled):
                done[task].append(measurement)
                yield measurement


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
    if track.python(solver.library) is None or not methods:
        why = "not offered" if not methods else "not available" if solver.source else "not installed"
        label = {"case": case.name, "solver": solver.name, "method": None, "threads": 1}
        yield label | {"differs": None, "shown": None, "failure": why}
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
    task = {"sample": solver.sample, "compiles": solver.compiles, "method": method, "threads": threads}
    task |= ready.task(solver)
    label = {"case": ready.case.name, "solver": solver.name, "method": method, "threads": threads}
    label |= {"count": task["count"], "batched": task["batched"]}
    label |= {"differs": solver.differs.get(ready.case.family), "shown": None}
    report, answer = start(solver.script, solver.library, task, track, compiled, limit)
    return label | report if answer is None else label | report | ready.judge(answer, task)


def start(
    script: str, library: str, task: Mapping[str, Any], track: Track, compiled: Path, limit: float
) -> tuple[dict[str, Any], Array | None]:
    """Run a script on a task in a library's environment: its report and its answer, or why there is none."""
    full = {**task, "reps": track.reps, "budget": BUDGET, "limit": limit}
    settings = dict.fromkeys(THREADS, str(task["threads"])) | {"NUMBA_CACHE_DIR": str(compiled)}
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH" or library in OWN}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "task.json")
        file.write_text(json.dumps(full))
        words = [str(track.python(library)), str(SCRIPTS / f"run_{script}.py"), str(file), folder]
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
    """The libraries whose environments are not there, each once."""
    solvers = {solver.library: solver for race in races for solver in race.solvers}
    return [solver for library, solver in solvers.items() if track.python(library) is None]


def install(solver: Solver, track: Track) -> None:
    """Make the environment of a library, with the versions that its requirements pin and the source it names."""
    target = track.peers / solver.library
    requirements = SCRIPTS / f"requirements-{solver.library}.txt"
    try:
        subprocess.run([sys.executable, "-m", "venv", str(target)], check=True)
        pip = [str(track.python(solver.library)), "-m", "pip", "--disable-pip-version-check", "--quiet"]
        subprocess.run([*pip, "install", "--requirement", str(requirements)], check=True)
        if solver.bare:
            subprocess.run([*pip, "install", "--no-deps", "--ignore-requires-python", *solver.bare], check=True)
        if solver.source:
            folder = str(target / "source")
            subprocess.run(["git", "clone", "--quiet", solver.source.address, folder], check=True)
            subprocess.run(["git", "-C", folder, "checkout", "--quiet", solver.source.commit], check=True)
    except BaseException as error:
        shutil.rmtree(target, ignore_errors=True)  # half an environment would pass for a whole one
        if isinstance(error, subprocess.CalledProcessError | FileNotFoundError):
            raise WrongUsage(f"{solver.library} could not be installed; the lines above say why.") from None
        raise
