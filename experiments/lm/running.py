"""Running a study: every training is stored as it ends, and one that was stopped goes on from its last evaluation.

DIR/lm/NAME holds a sealed file for each training, named by the hash of all that it depends on, and while it runs a
folder with its state; DIR/lm/NAME.json is the record.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor
from dataclasses import asdict, replace
from hashlib import sha256 as digest
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import pandas as pd
import torch
from safetensors.torch import load, save

from claimlab.checks import integer
from claimlab.experiments import atomic, environment, store
from claimlab.experiments.errors import WrongUsage
from claimlab.experiments.lm import records
from claimlab.experiments.lm.compare import Cell, compare, curves
from claimlab.experiments.lm.pretrained import LIBRARIES, Pretrained
from claimlab.experiments.lm.seeds import Progress
from claimlab.experiments.lm.studies import Study, named
from claimlab.experiments.lm.transformer import Policy, Shape, Transformer

log = logging.getLogger(__name__)
MEASURED = ("score", "entropy", "reward", "kl", "nll", "clip", "noted")
TOGETHER = {"cpu": 4}  # seeds trained at once: more gain little on a CPU; elsewhere a study's are all at once
METRIC = "the mean score over a run's evaluations after the start"


class News(NamedTuple):
    """How far a study is: `done` of `total` trainings; `row` is the last of the training named by `cell`."""

    done: int
    total: int
    data: str
    cell: Cell
    row: Mapping[str, float]
    note: str  # "2.1 s", "stored", or "step 3/60" while it runs


Tell = Callable[[News], None]


def run(
    study: Study,
    out: Path,
    *,
    executor: Executor | None = None,
    device: str = "cpu",
    tell: Tell = lambda _: None,
    steps: bool = False,
    together: int | None = None,
) -> dict[str, Any]:
    """All trainings of `study` that are not stored yet, and its record, which is written to out/lm/NAME.json.

    With an `executor` they run in other processes (a transformer of ours, on the CPU); without, here, and then `tell`
    hears of every step if `steps`.  A transformer of ours is trained with `together` seeds at once; results are those
    of single seeds to rounding.
    """
    folder = out / "lm" / study.name
    atomic.require_writable(folder)
    if study.threads:
        torch.set_num_threads(study.threads)
    require(device)
    start: Any = study.start()
    if executor is not None and (device != "cpu" or not isinstance(start, Transformer)):
        raise WrongUsage(f"{study.name} on {device} runs in one process: use --workers 1.")
    size = TOGETHER.get(device, study.seeds) if together is None else integer("together", together, 1)
    size = min(size, study.seeds) if isinstance(start, Transformer) else 1
    desk = _Desk(study, folder, start.to(device), device, executor, tell, steps, size)
    tables = []
    for data, sync in study.data.items():
        settings = replace(study.settings, sync=sync)
        work = desk.on(data)
        table = compare(start, study.task, study.arms, settings, seeds=study.seeds, rates=study.rates, solve=work)
        tables.append(table.assign(data=data))
    record = _record(study, pd.concat(tables, ignore_index=True), desk)
    atomic.write_json(out / "lm" / f"{study.name}.json", record)
    return record


def stored(study: Study, out: Path) -> int:
    """How many trainings are in DIR, of whatever version of the code."""
    return len(list((out / "lm" / study.name).glob("*.json")))


class _Job(NamedTuple):
    """A training, the file of its result, what that depends on, and the result if it is stored."""

    cell: Cell
    path: Path
    key: Mapping[str, Any]
    known: dict[str, Any] | None


def _job(folder: Path, cell: Cell, depends: Mapping[str, Any]) -> _Job:
    key = {**depends, "arm": cell.arm, "settings": asdict(cell.settings)}
    path = folder / f"{store.sha256(key)}.json"
    return _Job(cell, path, key, _known(path, key))


def _sheets(jobs: Sequence[_Job], size: int) -> list[list[_Job]]:
    """Neighbours that differ in the seed alone, at most `size`: the same ones whatever is stored."""
    sheets: list[list[_Job]] = []
    for job in jobs:
        first = sheets[-1][0].cell if sheets else None
        same = first and (first.arm, replace(first.settings, seed=job.cell.settings.seed)) == job.cell
        if same and len(sheets[-1]) < size:
            sheets[-1].append(job)
        else:
            sheets.append([job])
    return sheets


class _Desk:
    """Hands out trainings, or what is stored of them."""

    def __init__(
        self,
        study: Study,
        folder: Path,
        start: Any,
        device: str,
        executor: Executor | None,
        tell: Tell,
        steps: bool,
        together: int,
    ) -> None:
        self.study, self.folder, self.start, self.executor = study, folder, start, executor
        self.together = together
        self.tell, self.steps, self.done, self.seconds, self.diverged = tell, steps, 0, 0.0, 0
        self.weights = save(dict(start.state_dict()))
        self.depends = {
            "study": study.name,
            "task": study.task.name,
            "start": digest(self.weights).hexdigest(),
            "device": device,
            "together": together,
            "torch": version("torch"),
            "code": environment.environment()["source"],
        }

    def on(self, data: str) -> Callable[[Sequence[Cell]], list[pd.DataFrame]]:
        """What `compare` calls, for one kind of data."""
        return lambda cells: list(self._solve(data, cells))

    def _solve(self, data: str, cells: Sequence[Cell]) -> Iterator[pd.DataFrame]:
        jobs = [_job(self.folder, cell, self.depends) for cell in cells]
        sheets = _sheets(jobs, self.together)
        waiting: dict[int, Any] = {}
        if self.executor is not None:
            shape = asdict(self.start.shape)
            for i, sheet in enumerate(sheets):
                if todo := [job for job in sheet if job.known is None]:
                    waiting[i] = self.executor.submit(_elsewhere, self.study.name, shape, self.weights, todo)
        for i, sheet in enumerate(sheets):
            todo = [job for job in sheet if job.known is None]
            new = iter(self._result(waiting[i]) if i in waiting else self._here(data, todo))
            for job in sheet:
                found = next(new) if job.known is None else job.known
                note = f"{found['seconds']:.1f} s" if job.known is None else "stored"
                self.done, self.seconds = self.done + 1, self.seconds + found["seconds"]
                self.diverged += len(found["rows"][-1]) == 2
                self.tell(News(self.done, self.study.runs, data, job.cell, found["rows"][-1], note))
                yield pd.DataFrame(found["rows"])

    def _here(self, data: str, todo: Sequence[_Job]) -> list[dict[str, Any]]:
        def step(k: int, row: Mapping[str, float]) -> None:
            cell = todo[k].cell
            note = f"step {row['step']:.0f}/{cell.settings.steps}"
            self.tell(News(self.done, self.study.runs, data, cell, row, note))

        return _trained(self.study, self.start, todo, step if self.steps else None) if todo else []

    def _result(self, future: Any) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = future.result()
        except BrokenExecutor:
            raise WrongUsage(
                "a process was killed, perhaps for want of memory: take fewer --workers; what is done is kept."
            ) from None
        return found


def _elsewhere(name: str, shape: Mapping[str, int], weights: bytes, todo: Sequence[_Job]) -> list[dict[str, Any]]:
    """Trainings in another process, which finds the study by its name."""
    torch.set_num_threads(1)
    start = Transformer(Shape(**shape))
    start.load_state_dict(load(weights))
    return _trained(named(name), start, todo, None)


def _trained(study: Study, start: Policy, todo: Sequence[_Job], progress: Progress | None) -> list[dict[str, Any]]:
    """Cells that differ in the seed, trained at once and stored; each has its share of the seconds."""
    began, arm, plans = perf_counter(), study.arms[todo[0].cell.arm], [job.cell.settings for job in todo]
    folders = [job.path.with_suffix("") for job in todo]
    paid, branching = study.paid.get(todo[0].cell.arm), study.branched.get(todo[0].cell.arm)
    tables = curves(start, study.task, arm, plans, paid=paid, branching=branching, folders=folders, progress=progress)
    where, seconds, results = environment.environment(), (perf_counter() - began) / len(todo), []
    for job, folder, table in zip(todo, folders, tables):
        rows = [{name: v for name, v in row.items() if v == v} for row in table.to_dict("records")]  # NaN: not measured
        results.append({"rows": rows, "seconds": seconds, "environment": where})
        store.seal(job.path, job.key, results[-1])
        shutil.rmtree(folder, ignore_errors=True)
    return results


def _known(path: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        return store.unsealed(path, json.loads(json.dumps(key)))
    except store.Damaged as error:
        log.warning("%s It is computed anew.", error)
        return None


def require(device: str) -> None:
    """That torch has `device`, or one clear error."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise WrongUsage(f"no device {device!r}: {str(error).splitlines()[0]}") from None


def _record(study: Study, table: pd.DataFrame, desk: _Desk) -> dict[str, Any]:
    rows = [
        {n: round(v, 9) if n in MEASURED else v for n, v in row.items() if v == v} for row in table.to_dict("records")
    ]
    where = environment.environment()
    libraries = ("torch", *LIBRARIES) if isinstance(desk.start, Pretrained) else ("torch",)
    return {
        "study": study.name,
        "question": study.question,
        "task": study.task.name,
        "metric": METRIC,
        "effect": study.effect,
        "settings": asdict(study.settings),
        "data": dict(study.data),
        "rates": study.rates,
        "seeds": study.seeds,
        "findings": records.findings(table, study.pairs, study.effect),
        "sane": records.sane(table, study.alike),
        "alike": study.alike,
        "edges": records.edges(table, study.rates),
        "diverged": desk.diverged,
        "together": desk.together,
        "seconds": desk.seconds,
        "rows": rows,
        "environment": where | {"packages": where["packages"] | {name: version(name) for name in libraries}},
    }
