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

from claimlab.experiments import atomic, environment, store
from claimlab.experiments.errors import WrongUsage
from claimlab.experiments.lm import records
from claimlab.experiments.lm.compare import Cell, compare, curve
from claimlab.experiments.lm.pretrained import LIBRARIES, Pretrained
from claimlab.experiments.lm.studies import Study, named
from claimlab.experiments.lm.transformer import Policy, Shape, Transformer

log = logging.getLogger(__name__)
MEASURED = ("score", "entropy", "reward", "kl", "nll", "clip")
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
) -> dict[str, Any]:
    """All trainings of `study` that are not stored yet, and its record, which is written to out/lm/NAME.json.

    With an `executor` they run in other processes (a transformer of ours, on the CPU); without, here, and then `tell`
    hears of every step if `steps`.
    """
    folder = out / "lm" / study.name
    atomic.require_writable(folder)
    if study.threads:
        torch.set_num_threads(study.threads)
    _require(device)
    start: Any = study.start()
    if executor is not None and (device != "cpu" or not isinstance(start, Transformer)):
        raise WrongUsage(f"{study.name} on {device} runs in one process: use --workers 1.")
    desk = _Desk(study, folder, start.to(device), device, executor, tell, steps)
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


class _Desk:
    """Hands out trainings, or what is stored of them."""

    def __init__(
        self, study: Study, folder: Path, start: Any, device: str, executor: Executor | None, tell: Tell, steps: bool
    ) -> None:
        self.study, self.folder, self.start, self.executor = study, folder, start, executor
        self.tell, self.steps, self.done, self.seconds, self.diverged = tell, steps, 0, 0.0, 0
        self.weights = save(dict(start.state_dict()))
        self.depends = {
            "study": study.name,
            "task": study.task.name,
            "start": digest(self.weights).hexdigest(),
            "device": device,
            "torch": version("torch"),
            "code": environment.environment()["source"],
        }

    def on(self, data: str) -> Callable[[Sequence[Cell]], list[pd.DataFrame]]:
        """What `compare` calls, for one kind of data."""
        return lambda cells: list(self._solve(data, cells))

    def _solve(self, data: str, cells: Sequence[Cell]) -> Iterator[pd.DataFrame]:
        keys = [self.depends | {"arm": cell.arm, "settings": asdict(cell.settings)} for cell in cells]
        paths = [self.folder / f"{store.sha256(key)}.json" for key in keys]
        known = [_known(path, key) for path, key in zip(paths, keys)]
        waiting: dict[int, Any] = {}
        if self.executor is not None:
            shape = asdict(self.start.shape)
            for i, cell in enumerate(cells):
                if known[i] is None:
                    waiting[i] = self.executor.submit(
                        _elsewhere, self.study.name, shape, self.weights, cell, paths[i], keys[i]
                    )
        for i, cell in enumerate(cells):
            note = "stored"
            found = known[i]
            if found is None:
                found = self._result(waiting[i]) if i in waiting else self._here(data, cell, paths[i], keys[i])
                note = f"{found['seconds']:.1f} s"
            self.done, self.seconds = self.done + 1, self.seconds + found["seconds"]
            self.diverged += len(found["rows"][-1]) == 2
            self.tell(News(self.done, self.study.runs, data, cell, found["rows"][-1], note))
            yield pd.DataFrame(found["rows"])

    def _here(self, data: str, cell: Cell, path: Path, key: Mapping[str, Any]) -> dict[str, Any]:
        def step(row: Mapping[str, float]) -> None:
            note = f"step {row['step']:.0f}/{cell.settings.steps}"
            self.tell(News(self.done, self.study.runs, data, cell, row, note))

        return _trained(self.study, self.start, cell, path, key, step if self.steps else None)

    def _result(self, future: Any) -> dict[str, Any]:
        try:
            found: dict[str, Any] = future.result()
        except BrokenExecutor:
            raise WrongUsage(
                "a process was killed, perhaps for want of memory: take fewer --workers; what is done is kept."
            ) from None
        return found


def _elsewhere(
    name: str, shape: Mapping[str, int], weights: bytes, cell: Cell, path: Path, key: Mapping[str, Any]
) -> dict[str, Any]:
    """A training in another process, which finds the study by its name."""
    torch.set_num_threads(1)
    start = Transformer(Shape(**shape))
    start.load_state_dict(load(weights))
    return _trained(named(name), start, cell, path, key, None)


def _trained(
    study: Study,
    start: Policy,
    cell: Cell,
    path: Path,
    key: Mapping[str, Any],
    progress: Callable[[Mapping[str, float]], None] | None,
) -> dict[str, Any]:
    began, state = perf_counter(), path.with_suffix("")
    paid = study.paid.get(cell.arm)
    table = curve(start, study.task, study.arms[cell.arm], cell.settings, paid=paid, folder=state, progress=progress)
    rows = [{name: v for name, v in row.items() if v == v} for row in table.to_dict("records")]  # NaN: not measured
    result = {"rows": rows, "seconds": perf_counter() - began, "environment": environment.environment()}
    store.seal(path, key, result)
    shutil.rmtree(state, ignore_errors=True)
    return result


def _known(path: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        return store.unsealed(path, json.loads(json.dumps(key)))
    except store.Damaged as error:
        log.warning("%s It is computed anew.", error)
        return None


def _require(device: str) -> None:
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
        "seconds": desk.seconds,
        "rows": rows,
        "environment": where | {"packages": where["packages"] | {name: version(name) for name in libraries}},
    }
