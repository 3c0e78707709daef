"""Runs claims: in this process, on its cores, or on a cluster; what is stored is not computed twice."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from time import perf_counter
from typing import NamedTuple

from claimlab.experiments import catalogue, ledger
from claimlab.experiments.environment import environment
from claimlab.experiments.errors import WrongUsage
from claimlab.experiments.ledger import ERROR, ROLES, Ledger
from claimlab.experiments.store import Damaged, Key, Result, Store
from claimlab.theory.claims import Budget, Claim
from claimlab.theory.evidence import LEVEL, to_json

log = logging.getLogger(__name__)

Unit = tuple[str, str]  # claim id and role
Task = Sequence[Unit]
TASKS = 5_000  # at most about so many are given to an executor, however many units there are: a task costs some ms
PATIENCE = "20s"  # for a Dask scheduler to answer, and to come back if it is restarted
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Done(NamedTuple):
    """News for whoever shows the progress.  The outcome is before correction for the size of the ledger."""

    number: int
    total: int
    claim: str
    role: str
    outcome: str
    seconds: float
    stored: bool


def verify(
    claims: Sequence[Claim],
    budget: Budget,
    *,
    executor: Executor | None = None,
    store: Store | None = None,
    progress: Callable[[Done], None] | None = None,
    files: Mapping[str, Path] | None = None,
) -> Ledger:
    """Check every claim and its control, and judge all evidence as one family.

    Parameters
    ----------
    executor : concurrent.futures.Executor, optional
        Runs the units of work, (claim, role); without one they run here, one after the other, and any callable will
        do as a check.  Another process finds a claim by its id, so it must belong to a paper or to one of `files`.
        Who made the executor also shuts it down; see :func:`pool` and :func:`dask`.
    store : Store, optional
        Where results are kept as they come, and taken from.  Claims that belong neither to a paper nor to one of
        `files` are computed each time: nobody can tell whether their code has changed.
    progress : callable, optional
        Called after each unit.
    files : mapping from claim id to path, optional
        The users' files that claims come from.
    """
    files = files or {}
    by_id = {claim.id: claim for claim in claims}
    if len(by_id) < len(claims):
        raise ValueError("claims must have different ids.")
    versions = {file: catalogue.code_version(file) for file in {files.get(id) for id in by_id}}
    code = {id: versions[files.get(id)] for id, claim in by_id.items() if _locatable(claim, files)}
    strangers = sorted(set(by_id) - set(code))
    if executor is not None and strangers:
        raise WrongUsage(f"{strangers[0]} belongs to no paper and no file: another process cannot find it.")

    keys = {(id, role): Key(id, role, budget, code[id]) for id in code for role in ROLES}
    results: dict[Unit, Result] = {}
    units = [(claim.id, role) for claim in claims for role in ROLES]

    def settle(unit: Unit, result: Result, stored: bool) -> None:
        results[unit] = result
        if store is not None and unit in keys and not stored and result.error is None:
            store.put(keys[unit], result)
        if progress is not None:
            progress(Done(len(results), len(units), *unit, _outcome(result), result.seconds, stored))

    for unit in units:
        known = _stored(store, keys[unit]) if store is not None and unit in keys else None
        if known is not None:
            settle(unit, known, True)
    waiting = [unit for unit in units if unit not in results]
    if executor is None:
        for id, role in waiting:
            settle((id, role), attempt(by_id[id], role, budget, files.get(id)), False)
    else:
        for unit, result in _distributed(executor, waiting, budget, files, code):
            settle(unit, result, False)
    return ledger.assemble(claims, results, budget, environment(), files)


def attempt(claim: Claim, role: str, budget: Budget, file: Path | None = None) -> Result:
    """Run the check or the control of a claim, of `file` if a user's; whatever it raises becomes part of the result."""
    start = perf_counter()
    evidence, error = None, None
    try:
        found = getattr(claim, role)(budget.of(claim.id))
        if not isinstance(found, claim.kind):
            raise TypeError(f"{role} must return {claim.kind.__name__}, got {type(found).__name__}.")
        evidence = to_json(found)
        json.dumps(evidence, allow_nan=False)
    except Exception as raised:
        evidence, error = None, f"{_described(raised)} ({_place(raised, file)})"
    return Result(evidence, error, perf_counter() - start, environment())


def perform(units: Sequence[Unit], budget: Budget, files: Mapping[str, Path], code: Mapping[str, str]) -> list[Result]:
    """Units of work in another process, which must run the same sources."""
    here = {file: catalogue.code_version(file) for file in {files.get(id) for id, _ in units}}
    for id, _ in units:
        if here[files.get(id)] != code[id]:
            raise RuntimeError(
                f"the worker runs code {here[files.get(id)]}, this process {code[id]}: "
                "install the same packages and sources on both."
            )
    return [attempt(catalogue.lookup(id, files.get(id)), role, budget, files.get(id)) for id, role in units]


class _Pool(ProcessPoolExecutor):
    """Processes of this machine, which get their next task when they are free."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)
        self.workers = workers


@contextmanager
def pool(workers: int) -> Iterator[Executor]:
    """A pool of processes, each with one thread for linear algebra and kernels.  They end with this process.

    On an exception, such as Ctrl-C, running units are stopped at once.
    """
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))  # children read them when they import numpy
    others, executor = multiprocessing.active_children(), _Pool(workers)
    try:
        yield executor
        executor.shutdown()
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            if child not in others:
                child.terminate()
        raise
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def dask(address: str) -> Iterator[Executor]:
    """The workers of a Dask cluster, on which this package and the users' claim files must be present."""
    try:
        distributed = import_module("distributed")
    except ImportError:
        raise WrongUsage('--dask needs the package distributed: pip install "claimlab[cluster]".') from None
    try:
        client = distributed.Client(address, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise WrongUsage(f"no Dask scheduler answers at {address}: {error}.") from None
    try:
        with client:
            yield client.get_executor(pure=False)
    except distributed.client.ClosedClientError:  # it has tried for so long to find the scheduler again
        raise WrongUsage(
            f"the Dask scheduler at {address} went away and did not come back; the same command goes on."
        ) from None


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits until the end; a process that is started meanwhile does not see it before it can ignore it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)  # a parent killed by force closes nothing, and its workers would wait for ever

    Thread(target=follow, daemon=True).start()


def _distributed(
    executor: Executor, units: Sequence[Unit], budget: Budget, files: Mapping[str, Path], code: Mapping[str, str]
) -> Iterator[tuple[Unit, Result]]:
    """Results as they come, each unit once.

    Units travel in tasks of several where there are very many.  A task that fails as a whole, as its process died, is
    taken apart, so that one unit does not cost the others their results.  Tasks that nobody knows of any more, as the
    scheduler was restarted, are submitted again.
    """

    def submit(task: Task) -> Future[list[Result]]:
        own = {id: files[id] for id, _ in task if id in files}
        try:
            with _uninterrupted():
                return executor.submit(perform, task, budget, own, {id: code[id] for id, _ in task})
        except BrokenExecutor as broken:  # an earlier unit took its process down
            lost = Future[list[Result]]()
            lost.set_exception(broken)
            return lost

    size = -(-len(units) // TASKS) if units else 1
    waiting: list[Task] = [units[start : start + size] for start in range(0, len(units), size)]
    while waiting:
        tasks, waiting = waiting, []
        for task, future in _ended(tasks, submit, executor.workers if isinstance(executor, _Pool) else len(tasks)):
            if future.cancelled():
                waiting.append(task)
                continue
            error = future.exception()
            if error is None:
                yield from zip(task, future.result(), strict=True)
            elif len(task) == 1:
                yield task[0], _lost(error)
            else:
                waiting += [[unit] for unit in task]


def _ended(
    tasks: list[Task], submit: Callable[[Task], Future[list[Result]]], width: int
) -> Iterator[tuple[Task, Future[list[Result]]]]:
    """Tasks with their futures as they end, at most `width` of them submitted at once; `tasks` is emptied.

    The next is the first of a paper that none is at: two processes would compile the same kernels.
    """
    running: dict[Future[list[Result]], Task] = {}
    ended: SimpleQueue[Future[list[Result]]] = SimpleQueue()
    few = width < len(tasks)
    while tasks or running:
        while tasks and len(running) < width:
            busy = {_paper(task) for task in running.values()} if few else set()
            task = tasks.pop(next((i for i, task in enumerate(tasks) if _paper(task) not in busy), 0))
            future = submit(task)
            running[future] = task
            future.add_done_callback(ended.put)
        future = ended.get()
        yield running.pop(future), future  # a result that was handed on is kept by nobody else


def _paper(task: Task) -> str:
    return task[0][0].split("/")[0]


def _lost(error: BaseException) -> Result:
    return Result(None, _described(error), 0.0, environment())


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _place(error: BaseException, file: Path | None) -> str:
    """Where an error was raised, after the last line of the user's own file on the way there."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if file is not None and frame.filename == str(file)]
    places = dict.fromkeys((Path(frame.filename).name, frame.lineno) for frame in (*own[-1:], frames[-1]))
    return "; ".join(f"{name}, line {line}" for name, line in places)


def _locatable(claim: Claim, files: Mapping[str, Path]) -> bool:
    return claim.id in files or catalogue.registered(claim)


def _stored(store: Store, key: Key) -> Result | None:
    try:
        return store.get(key)
    except Damaged as error:
        log.warning("%s It is computed anew.", error)
        return None


def _outcome(result: Result) -> str:
    evidence = result.read()
    return ERROR if evidence is None else str(evidence.rule(LEVEL)[0])
