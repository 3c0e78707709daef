"""What the solvers' scripts share: read a task, time it, write the answer.  Standard library and NumPy alone.

A script is started as ``python script.py TASK FOLDER`` in the environment of its library.  TASK is a JSON file; into
FOLDER go ``report.json`` and, where there is an answer, ``answer.npy``.  The script never sees the reference values.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

Instance = dict[str, Any]
Task = dict[str, Any]

SHORT = 0.05  # seconds: shorter calls are repeated within one measurement, as some clocks tick at 4 ms


def load(task: Task) -> list[Instance]:
    """The instances of a task, a dict of arrays each; of an MDP `r` float[S, A] and `P` or `indptr, indices, data`."""
    return [instance for path in task["instances"] for instance in _read(path, task["sample"])]


def _read(path: str, sample: int) -> list[Instance]:
    with np.load(path, allow_pickle=False) as arrays:
        instance = {name: arrays[name] for name in arrays.files}
    if "P" in instance and instance["P"].ndim == 4:  # a batch of small ones
        return [{"P": P, "r": r} for P, r in zip(instance["P"][:sample], instance["r"])]
    return [instance]


def dense(instance: Instance) -> Any:
    """Transitions as float[S, A, S]."""
    if "P" in instance:
        return instance["P"]
    S, A = instance["r"].shape
    P = np.zeros((S * A, S))
    P[np.repeat(np.arange(S * A), np.diff(instance["indptr"])), instance["indices"]] = instance["data"]
    return P.reshape(S, A, S)


def serve(
    package: str,
    build: Callable[[Instance, Task], Any],
    solve: Callable[[Any, Task], Any],
    answer: Callable[[Any, Any, Task], tuple[Any, int | None]],
    instances: Callable[[Task], list[Instance]] = load,
    release: str = "",
) -> None:
    """Run one task.

    ``build(instance, task)`` makes the library's model, ``solve(model, task)`` is what is timed, and
    ``answer(model, solved, task)`` returns values and the number of iterations (None where it is not told).  `release`
    is the version of what is no `package`.
    """
    task, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    try:
        _bound_memory()
        report, values = _measure(task, build, solve, answer, instances(task))
        np.save(folder / "answer.npy", values, allow_pickle=False)
    except BaseException as error:  # a library may call sys.exit
        report = {"failure": f"{type(error).__name__}: {error}"[:300]}
    report["version"] = release or version(package)
    (folder / "report.json").write_text(json.dumps(report))


def _measure(
    task: Task,
    build: Callable[[Instance, Task], Any],
    solve: Callable[[Any, Task], Any],
    answer: Callable[[Any, Any, Task], tuple[Any, int | None]],
    instances: list[Instance],
) -> tuple[dict[str, Any], Any]:
    def models(copies: int = 1) -> list[list[Any]]:
        return [[build(instance, task) for instance in instances] for _ in range(copies)]

    def run(prepared: list[list[Any]]) -> list[list[Any]]:
        return [[solve(model, task) for model in each] for each in prepared]

    ingest = Timed(models)
    fresh = ingest.result
    signal.setitimer(signal.ITIMER_PROF, task["limit"])  # CPU seconds; the default action ends even compiled code
    first = Timed(run, fresh)
    signal.setitimer(signal.ITIMER_PROF, 0)
    values, iterations = zip(*(answer(model, solved, task) for model, solved in zip(fresh[0], first.result[0])))
    first.forget()
    calls, peak, built = _repeat(task, models, run, first, ingest)
    report = {
        "cpu": [cpu for cpu, _ in calls],
        "wall": [wall for _, wall in calls],
        "first_cpu": first.cpu,
        "ingest_cpu": built.cpu,
        "ingest_wall": built.wall,
        "peak_bytes": peak,
        "iterations": None if None in iterations else int(sum(iterations)),
    }
    return report, np.concatenate([np.asarray(v, dtype=np.float64).ravel() for v in values])


def _repeat(
    task: Task, models: Callable[[int], Any], run: Callable[[Any], Any], first: Timed, ingest: Timed
) -> tuple[list[tuple[float, float]], int | None, Timed]:
    """CPU and wall seconds of the calls after the first, how much memory one takes, and the building of a model.

    A library that keeps its last values would only have to look at them again, so each call gets a fresh model.  Where
    one call takes all the time there is, the first one counts, unless it had to compile.
    """
    if first.wall > task["budget"] and not task["compiles"]:
        return [(first.cpu, first.wall)], first.peak, ingest
    started = time.perf_counter()
    fresh = Timed(models, 1)
    second = Timed(run, fresh.result).forget()
    copies = int(max(1, min(200, SHORT / max(second.wall, 1e-9), 1 / max(fresh.wall, 1e-9))))
    calls = [] if copies > 1 else [(second.cpu, second.wall)]
    while len(calls) < task["reps"] and (not calls or time.perf_counter() - started < task["budget"]):
        call = Timed(run, models(copies)).forget()
        calls.append((call.cpu / copies, call.wall / copies))
    return calls, second.peak, fresh


class Timed:
    """The result of a call with its CPU and wall seconds, and by how many bytes its memory rose (None if not told)."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        gc.collect()
        before = _restart_peak()
        cpu, wall = time.process_time(), time.perf_counter()
        self.result: Any = function(*args)
        self.wall, self.cpu = time.perf_counter() - wall, time.process_time() - cpu
        self.peak = None if before is None else _status("VmHWM") - before

    def forget(self) -> Timed:
        """The next call may have the memory of this one's result: new memory is no library's cost."""
        self.result = None
        return self


def _restart_peak() -> int | None:
    """Give freed memory back and restart the kernel's high-water mark; what is resident now, in bytes."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except (OSError, AttributeError):  # not Linux, or not glibc
        return None


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field + ":"))


def _bound_memory() -> None:
    """A library that asks for more than the machine has gets a MemoryError, and the machine does not swap."""
    if sys.platform == "linux":
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (total, resource.getrlimit(resource.RLIMIT_AS)[1]))
