"""A cluster of processes finds what one process finds, to the bit, whatever befalls it: nothing lost, nothing twice."""

import ctypes
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from errno import ENOSPC
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimlab.experiments import Store, atomic, catalogue, runner, scale_out, verify
from claimlab.experiments.errors import WrongUsage
from claimlab.theory.claims import SMOKE
from claimlab.theory.evidence import KINDS, Outcome

from . import sample_claims
from .test_runner import HEAD, SLOW, comparable

SAMPLE = catalogue.select([str(Path(sample_claims.__file__).resolve())])
PAPERS = (  # cheap ones, of each kind of evidence
    "policy-smoothing/half-space",
    "realizability/suffices",
    "spo/first-visit-forgets",
    "learning-to-relax/surrogate-cliff",
    "learning-to-relax/tsallis-cb-beats-tsallis",
    "ftpedel/pevi-coverage",
)


def units(claims):
    return Counter((claim.id, role) for claim in claims for role in ("check", "control"))


@pytest.fixture(scope="module")
def serial():
    return verify(SAMPLE.claims, SMOKE, files=SAMPLE.files)


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """Eight claims that take a while, and their ledger by one process."""
    file = tmp_path_factory.mktemp("slow") / "slow.py"
    file.write_text(HEAD + SLOW)
    selection = catalogue.select([str(file)])
    return selection, verify(selection.claims, SMOKE, files=selection.files)


# Tasks of several units, on an executor that fails as told.


class Told(Executor):
    """Does, forgets or breaks each task, as it is told; when all is told, it does them."""

    def __init__(self, fates):
        self.fates = iter(fates)

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        match next(self.fates, "do"):
            case "forget":
                future.cancel()
                future.set_running_or_notify_cancel()
            case "break":
                future.set_exception(ChildProcessError("its worker died"))
            case _:
                future.set_result(fn(*args, **kwargs))
        return future


UNITS = [(claim.id, role) for claim in SAMPLE.claims for role in ("check", "control")]
CODE = {id: catalogue.code_version(file) for id, file in SAMPLE.files.items()}
KNOWN = {
    (claim.id, role): runner.Result(None, f"{claim.id} {role}", 0.0, {})
    for claim, role in ((claim, role) for claim in SAMPLE.claims for role in ("check", "control"))
}


@pytest.mark.parametrize("tasks", [1, 3, 5000])
@given(fates=st.lists(st.sampled_from(["do", "forget", "break"]), max_size=20))
def test_each_unit_comes_once_whatever_befalls_its_task(tasks, fates):
    """With its own result, or as lost, if it broke its task when it was alone in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "TASKS", tasks)
        patch.setattr(runner, "attempt", lambda claim, role, *_: KNOWN[claim.id, role])
        found = list(runner._distributed(Told(fates), UNITS, SMOKE, SAMPLE.files, CODE))
    assert sorted(unit for unit, _ in found) == sorted(UNITS)
    lost = [result for unit, result in found if result != KNOWN[unit]]
    assert all(result.error == "ChildProcessError: its worker died" for result in lost)
    alone = tasks >= len(UNITS)
    assert len(lost) <= fates.count("break") if alone else "break" in fates or not lost


@pytest.mark.parametrize(("n", "longest"), [(1, 1), (5_000, 1), (5_001, 2), (1_000_000, 200)])
def test_tasks_stay_few_however_many_units_there_are(n, longest, monkeypatch):
    lengths = []

    class Counting(Executor):
        def submit(self, fn, /, *args, **kwargs):
            lengths.append(len(args[0]))
            future = Future()
            future.set_result([None] * len(args[0]))
            return future

    names = [("c", "check")] * n
    assert sum(1 for _ in runner._distributed(Counting(), names, SMOKE, {}, {"c": "code"})) == n
    assert max(lengths) == longest
    assert len(lengths) <= runner.TASKS


def test_an_executor_that_was_shut_down_is_no_endless_loop():
    class Closed(Executor):
        def submit(self, fn, /, *args, **kwargs):
            raise RuntimeError("cannot schedule new futures after shutdown")

    with pytest.raises(RuntimeError, match="after shutdown"):
        verify(SAMPLE.claims, SMOKE, files=SAMPLE.files, executor=Closed())


# A cluster.


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster


def on(cluster, selection, **options):
    with runner.dask(cluster.scheduler_address) as executor:
        return verify(selection.claims, SMOKE, executor=executor, files=selection.files, **options)


def test_a_cluster_finds_what_one_process_finds(cluster, serial):
    assert comparable(on(cluster, SAMPLE)) == comparable(serial)
    papers = catalogue.select(PAPERS)
    assert {claim.kind for claim in papers.claims} == set(KINDS.values())
    assert comparable(on(cluster, papers)) == comparable(verify(papers.claims, SMOKE))


def test_a_worker_killed_in_the_middle(cluster, slow, tmp_path):
    selection, reference = slow
    seen = Counter()

    def kill(done):
        seen.update([done[2:4]])
        if done.number == 3:
            os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)

    assert comparable(on(cluster, selection, store=Store(tmp_path), progress=kill)) == comparable(reference)
    assert seen == units(selection.claims)
    assert len(list(tmp_path.iterdir())) == 16


def test_a_clock_that_jumps(cluster, slow, tmp_path, monkeypatch, serial):
    """By a day, to and fro, where results are stored and tasks scheduled, and once where they are computed.

    Seconds come from a clock that cannot jump.  (Tornado, on which Dask rests, may wait for a day where a clock jumps
    between two of its looks at it; that is not ours to repair.)
    """
    distributed = pytest.importorskip("distributed")
    true, days = distributed.metrics.time, itertools.cycle([86_400.0, -86_400.0])
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: true() + next(days))
        here = verify(SAMPLE.claims, SMOKE, files=SAMPLE.files, store=Store(tmp_path / "here"))
        assert comparable(verify(SAMPLE.claims, SMOKE, files=SAMPLE.files, store=Store(tmp_path / "here"))) == (
            comparable(here)
        )
    assert comparable(here) == comparable(serial)

    selection, reference = slow
    offset = [0.0]
    monkeypatch.setattr("distributed.scheduler.time", lambda: true() + offset[0])

    def skew():  # within the function, so that it is sent whole
        import time

        true = time.time
        time.time = lambda: true() + 86_400.0

    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        client.run(skew)

    def jump(done):
        offset[0] = next(days)

    found = on(cluster, selection, store=Store(tmp_path / "there"), progress=jump)
    assert comparable(found) == comparable(reference)
    assert all(0 <= row.seconds < 60 for row in (*here.rows, *found.rows))
    assert len(list((tmp_path / "there").iterdir())) == 16


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextmanager
def parts(port):
    """What starts a scheduler and a worker at `port`; all of them end with the block."""
    started = []

    def start(what, *words):
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *words, "--no-dashboard"]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return started[-1]

    def both():
        scheduler = start("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-show")
        start("worker", f"tcp://127.0.0.1:{port}", "--nthreads", "1", "--no-nanny")
        return scheduler

    try:
        yield both
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_scheduler_that_is_restarted(slow, tmp_path):
    pytest.importorskip("distributed")
    selection, reference = slow
    port = free_port()
    address, seen = f"tcp://127.0.0.1:{port}", Counter()
    with parts(port) as both:
        scheduler = both()

        def restart(done):
            seen.update([done[2:4]])
            if done.number == 3:
                scheduler.kill()
                scheduler.wait()
                both()

        with runner.dask(address) as executor:
            found = verify(
                selection.claims,
                SMOKE,
                executor=executor,
                files=selection.files,
                store=Store(tmp_path),
                progress=restart,
            )
    assert comparable(found) == comparable(reference)
    assert seen == units(selection.claims)
    assert len(list(tmp_path.iterdir())) == 16


def test_a_scheduler_that_is_gone_for_good_says_so(monkeypatch):
    distributed = pytest.importorskip("distributed")

    class Client:
        def __init__(self, *_, **__):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def get_executor(self, pure):
            return None

    monkeypatch.setattr(distributed, "Client", Client)
    with pytest.raises(WrongUsage, match="went away and did not come back"), runner.dask("tcp://somewhere:1"):
        raise distributed.client.ClosedClientError


# A disk, and a folder that is shared.


def test_a_disk_that_is_full_in_the_middle_loses_nothing(tmp_path, monkeypatch, serial):
    store, syncs, real = Store(tmp_path), [], os.fsync

    def fsync(descriptor):
        syncs.append(descriptor)
        if len(syncs) > 5:
            raise OSError(ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left on device"):
        verify(SAMPLE.claims, SMOKE, store=store, files=SAMPLE.files)
    assert len(list(tmp_path.iterdir())) == 5
    monkeypatch.undo()
    stored = []
    again = verify(
        SAMPLE.claims, SMOKE, store=store, files=SAMPLE.files, progress=lambda done: stored.append(done.stored)
    )
    assert comparable(again) == comparable(serial)
    assert sum(stored) == 5
    assert len(stored) == len(list(tmp_path.iterdir())) == 12


def _on_a_small_disk(disk, ledger, ready):
    """In a process with file systems of its own: run until the disk is full, give it room, and run again."""
    os.setsid()
    new_namespace = 0x00020000
    libc = ctypes.CDLL(None, use_errno=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=24k", "none", str(disk)]
    if (
        libc.unshare(new_namespace)
        or subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True).returncode
        or subprocess.run(mount, capture_output=True).returncode
    ):
        ready.send("cannot")
        return
    try:
        verify(SAMPLE.claims, SMOKE, store=Store(disk), files=SAMPLE.files)
        ready.send("never full")
    except OSError as error:
        ready.send((error.errno, len(list(disk.glob("*.json"))), len(list(disk.iterdir()))))
    subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
    stored = []
    again = verify(
        SAMPLE.claims, SMOKE, store=Store(disk), files=SAMPLE.files, progress=lambda done: stored.append(done.stored)
    )
    again.write(ledger)
    ready.send((sum(stored), len(stored)))


@pytest.mark.skipif(not shutil.which("mount"), reason="needs a disk to fill")
def test_a_small_disk_that_fills_up(tmp_path, serial):
    (disk := tmp_path / "disk").mkdir()
    ours, theirs = get_context("fork").Pipe()
    process = get_context("fork").Process(target=_on_a_small_disk, args=(disk, tmp_path / "ledger.json", theirs))
    process.start()
    first = ours.recv()
    if first == "cannot":
        process.join()
        pytest.skip("this user cannot mount a disk")
    errno, whole, files = first
    assert errno == ENOSPC
    assert 0 < whole == files < 12  # nothing half-written is left
    assert ours.recv() == (whole, 12)
    process.join()
    assert process.exitcode == 0
    assert comparable(json.loads((tmp_path / "ledger.json").read_text())) == comparable(serial)


def _run_into(folder, ledger, barrier):
    barrier.wait()
    verify(SAMPLE.claims, SMOKE, store=Store(folder), files=SAMPLE.files).write(ledger)


def test_two_runs_into_one_folder_at_the_same_time(tmp_path, serial):
    context = get_context("fork")
    barrier, results = context.Barrier(2), tmp_path / "results"
    runs = [context.Process(target=_run_into, args=(results, tmp_path / f"{i}.json", barrier)) for i in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0]
    for i in range(2):
        assert comparable(json.loads((tmp_path / f"{i}.json").read_text())) == comparable(serial)
    assert len(list(results.iterdir())) == 12
    stored = []
    verify(SAMPLE.claims, SMOKE, store=Store(results), files=SAMPLE.files, progress=lambda d: stored.append(d.stored))
    assert all(stored)


# The cost of a unit.


def test_the_units_of_the_measurement_are_claims_like_others(tmp_path):
    file = scale_out.trivial(tmp_path, 20)
    selection = catalogue.select([str(file)])
    found = verify(selection.claims, SMOKE, store=Store(tmp_path / "results"), files=selection.files)
    assert len(found.rows) == 10
    assert found.as_expected
    assert {(row.verdict, row.control) for row in found.rows} == {(Outcome.SUPPORTED, Outcome.REFUTED)}


def test_the_record_adds_up():
    rows = scale_out.recorded()
    assert len(rows)
    assert (rows.claims * 2 == rows.units).all()
    seconds = 0.51e-4  # they are rounded to four decimals, the rates to one
    rate = rows.units / rows.seconds
    assert (abs(rate - rows["units a second"]) <= 0.051 + rate * seconds / rows.seconds).all()
    assert (abs(1e6 / rate - rows["microseconds a unit"]) <= 0.051 + 1e6 * seconds / rows.units).all()
