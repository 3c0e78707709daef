"""Runs in process, on a pool and on a cluster; killed and resumed; with checks that fail in every way."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from claimlab.experiments import Store, catalogue, ledger, load, pool, runner, verify
from claimlab.experiments.errors import WrongUsage
from claimlab.theory.claims import SMOKE
from claimlab.theory.evidence import Identity, Outcome

from . import sample_claims

FILE = Path(sample_claims.__file__).resolve()
SELECTION = catalogue.select([str(FILE)])
CLAIMS, FILES = SELECTION.claims, SELECTION.files
SQUARE = sample_claims.CLAIMS[0]


def comparable(found):
    """A ledger's JSON without what may differ between two runs of the same thing."""
    record = found if isinstance(found, dict) else found.to_json()
    return record | {"environment": None, "claims": [claim | {"seconds": None} for claim in record["claims"]]}


@pytest.fixture(scope="module")
def reference():
    return verify(CLAIMS, SMOKE)


def test_verdicts_of_each_kind(reference):
    assert reference.as_expected
    assert [(row.verdict, row.control) for row in reference.rows] == [
        ("refuted", "supported") if row.id == "sample/half" else ("supported", "refuted") for row in reference.rows
    ]
    assert [row.kind for row in reference.rows] == [claim.kind.__name__ for claim in CLAIMS]


def test_rows_say_what_the_contract_says(reference):
    record = json.loads(json.dumps(reference.to_json(), allow_nan=False))
    contract = (
        "id paper source kind verdict expected control tightness vacuous_share instances seconds counterexample level"
    )
    for claim in record["claims"]:
        assert set(contract.split()) <= set(claim)
    assert {"python", "platform", "cpus", "packages", "commit"} <= set(record["environment"])
    rows = {claim["id"]: claim for claim in record["claims"]}
    assert set(rows["sample/half"]["counterexample"]) == {"x", "norm", "bound"}
    assert rows["sample/half"]["worst_instance"] is None
    assert 1 < rows["sample/half"]["tightness"] <= 2
    assert rows["sample/norms"]["counterexample"] is None
    assert len(rows["sample/norms"]["worst_instance"]["x"]) == 3
    assert rows["sample/norms"]["vacuous_share"] == 0
    assert rows["sample/norms"]["level"] is None
    assert rows["sample/rare"]["level"] == 0.05
    assert rows["sample/rare"]["instances"] == 2000
    assert rows["sample/rare"]["tightness"] is None


def test_a_frame_and_a_notebook_view(reference):
    frame = reference.to_frame()
    assert list(frame.index) == [claim.id for claim in CLAIMS]
    assert frame.verdict["sample/half"] == "refuted"
    assert frame.as_expected.all()
    hostile = replace(reference.rows[0], source="<script>", reason="<img>")
    shown = replace(reference, rows=(hostile,))._repr_html_()
    assert "&lt;script&gt;" in shown
    assert "<script>" not in shown
    assert "<img>" not in shown


def test_a_ledger_is_read_as_written(reference, tmp_path):
    reference.write(tmp_path / "ledger.json")
    assert ledger.read(tmp_path / "ledger.json").to_json() == reference.to_json()
    assert load(tmp_path).equals(reference.to_frame())
    (tmp_path / "ledger.json").write_text("{}")
    with pytest.raises(WrongUsage, match="does not hold a ledger"):
        load(tmp_path)
    with pytest.raises(WrongUsage, match="run `claimlab verify` first"):
        load(tmp_path / "nowhere")


def test_the_seed_changes_a_run(reference):
    other = verify(CLAIMS, SMOKE.seeded(1))
    assert other.as_expected
    assert comparable(other)["claims"] != comparable(reference)["claims"]


def test_a_pool_finds_what_one_process_finds(reference, tmp_path):
    seen = []
    with pool(2) as executor:
        found = verify(
            CLAIMS, SMOKE, executor=executor, store=Store(tmp_path), files=FILES, progress=lambda d: seen.append(d)
        )
    same = [replace(row, file=str(FILE)) for row in reference.rows]
    assert comparable(replace(found, environment={})) == comparable(replace(reference, rows=tuple(same)))
    assert [done.number for done in seen] == list(range(1, 13))
    assert not any(done.stored for done in seen)


def test_processes_work_on_different_papers():
    """Two compile the same kernels otherwise; what is left of one paper they share."""
    names = [f"{paper}/{number}" for paper in "abc" for number in range(3)]
    submitted, unfinished = [], []

    def submit(task):
        submitted.append(task[0][0])
        unfinished.append(future := Future())
        while len(unfinished) > (len(submitted) < len(names)):  # when a second is there, the first is done
            unfinished.pop(0).set_result([])
        return future

    ended = [task[0][0] for task, _ in runner._ended([[(name, "check")] for name in names], submit, 2)]
    assert submitted == ["a/0", "b/0", "a/1", "b/1", "a/2", "b/2", "c/0", "c/1", "c/2"]
    assert sorted(ended) == names


def test_processes_of_a_pool_have_one_thread_and_leave_ctrl_c_to_the_parent():
    before = dict(os.environ)
    with pool(1) as executor:
        assert executor.submit(os.getenv, "OMP_NUM_THREADS").result() == "1"
        assert executor.submit(signal.getsignal, signal.SIGINT).result() is signal.SIG_IGN
    assert dict(os.environ) == before


def test_dask(tmp_path):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(1, processes=False, dashboard_address=None, protocol="inproc://") as cluster,
        runner.dask(cluster.scheduler_address) as executor,
    ):
        assert verify(CLAIMS[:2], SMOKE, executor=executor, files=FILES).as_expected


def test_a_missing_cluster_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(WrongUsage, match=r'pip install "claimlab\[cluster\]"'), runner.dask("tcp://nowhere:1"):
        pass


def counting(calls, **changes):
    def check(budget):
        calls.append(budget)
        return sample_claims.square(budget)

    return replace(SQUARE, check=check, **changes)


def test_stored_results_are_not_computed_twice(tmp_path, reference):
    store, seen = Store(tmp_path), []
    first = verify(CLAIMS, SMOKE, store=store, files=FILES)
    again = verify(CLAIMS, SMOKE, store=store, files=FILES, progress=seen.append)
    assert again == first  # the seconds too: they are those of the computation
    assert all(done.stored for done in seen)
    verify(CLAIMS, SMOKE.seeded(1), store=store, files=FILES, progress=seen.append)
    assert not any(done.stored for done in seen[12:])


def test_a_claim_of_a_notebook_is_computed_each_time(tmp_path):
    """Nobody can tell whether the code of a lambda has changed, so it is never taken from the store."""
    calls = []
    for _ in range(2):
        verify([counting(calls)], SMOKE, store=Store(tmp_path))
    assert len(calls) == 2
    with (
        pytest.raises(WrongUsage, match="sample/square belongs to no paper and no file"),
        ThreadPoolExecutor() as threads,
    ):
        verify([SQUARE], SMOKE, executor=threads)


def test_a_paper_of_the_package_is_found_by_id(tmp_path, monkeypatch):
    monkeypatch.setattr("claimlab.experiments.papers.PAPERS", (sample_claims,))
    with ThreadPoolExecutor() as threads:
        assert verify(sample_claims.CLAIMS, SMOKE, executor=threads, store=Store(tmp_path)).as_expected
    seen = []
    verify(sample_claims.CLAIMS, SMOKE, store=Store(tmp_path), progress=seen.append)
    assert all(done.stored for done in seen)
    changed = replace(SQUARE, check=lambda budget: Identity(1.0, 0.0, 1, "rational"))  # same id, other code
    assert verify([changed], SMOKE, store=Store(tmp_path)).rows[0].verdict == "refuted"


def test_a_damaged_file_is_reported_and_recomputed(tmp_path, caplog, reference):
    store = Store(tmp_path)
    verify(CLAIMS, SMOKE, store=store, files=FILES)
    damaged = sorted(tmp_path.iterdir())[:2]
    damaged[0].write_bytes(damaged[0].read_bytes()[:100])
    damaged[1].write_text(damaged[1].read_text().replace('"seconds": 0', '"seconds": 9', 1))
    with caplog.at_level(logging.WARNING):
        found = verify(CLAIMS, SMOKE, store=store, files=FILES)
    assert found.as_expected
    assert len(caplog.messages) == 2
    assert all(any(str(path) in message for message in caplog.messages) for path in damaged)
    caplog.clear()
    verify(CLAIMS, SMOKE, store=store, files=FILES)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda budget: 1 / 0, "ZeroDivisionError: division by zero (test_runner.py, line"),
        (lambda budget: None, "TypeError: check must return Identity, got NoneType."),
        (sample_claims.triangle, "TypeError: check must return Identity, got Inequality."),
        (lambda budget: Identity(0.0, 0.0, 1, "float", {"x": object()}), "TypeError: a witness holds numbers"),
        (lambda budget: Identity(float("nan"), 0.0, 1, "float"), "ValueError: residual of Identity is NaN"),
    ],
)
def test_a_check_that_fails_is_an_entry_and_the_run_goes_on(check, message):
    found = verify([replace(SQUARE, check=check), CLAIMS[1]], SMOKE)
    assert not found.as_expected
    assert found.rows[0].verdict == "error"
    assert message in found.rows[0].reason
    assert "\n" not in found.rows[0].reason
    assert found.rows[0].control == "refuted"
    assert message in found.rows[0].departure
    assert found.rows[1].as_expected
    assert found.rows[1].departure == ""


def test_an_error_within_the_library_names_the_users_line(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("from claimlab.mdps import TabularMDP\n\ndef check(budget):\n    TabularMDP([[[1]]], [[0]], 1)\n")
    scope = {}
    exec(compile(file.read_bytes(), str(file), "exec"), scope)
    result = runner.attempt(replace(SQUARE, check=scope["check"]), "check", SMOKE, file)
    assert result.error.startswith("ValueError: gamma must lie in [0, 1), got 1. (mine.py, line 4; checks.py, line ")


def test_errors_are_not_stored(tmp_path, monkeypatch):
    broken = replace(SQUARE, check=lambda budget: 1 / 0)
    files = {SQUARE.id: FILE}
    assert verify([broken], SMOKE, store=Store(tmp_path), files=files).rows[0].verdict == "error"
    assert verify([SQUARE], SMOKE, store=Store(tmp_path), files=files).as_expected


@pytest.mark.parametrize(
    ("changes", "verdict"), [({"expected": Outcome.REFUTED}, "supported"), ({"control": SQUARE.check}, "supported")]
)
def test_a_departure_is_seen(changes, verdict):
    found = verify([replace(SQUARE, **changes)], SMOKE)
    assert not found.as_expected
    assert found.rows[0].verdict == verdict


def test_two_claims_of_one_id_are_refused():
    with pytest.raises(ValueError, match="different ids"):
        verify([SQUARE, SQUARE], SMOKE)


HEAD = """
import os, time
from pathlib import Path
from dataclasses import replace
from claimlab.theory.claims import Claim, Paper
from claimlab.theory.evidence import Identity, comparison
import numpy as np
PAPER = Paper("slow", "T", "A", "V", "", "A")
"""
SLOW = """
def check(budget, shift=0.0):
    time.sleep(0.15)
    rng = budget.rng()
    return comparison(rng.normal(0.3 - shift, 1, 40), np.zeros(40), effect=0.0, rng=rng)
def control(budget):
    return check(budget, 1.5)
CLAIMS = tuple(Claim(f"slow/c{i}", PAPER, "ours", "s", type(comparison(np.arange(10.), np.zeros(10), effect=0.0,
               rng=np.random.default_rng(0))), (), check, control, "c") for i in range(8))
"""
WAITING = """
def check(budget):
    return Identity(0.0, 0.0, 1, "rational")
def control(budget):
    Path(__file__).with_name("asleep").touch()
    time.sleep(60)
CLAIMS = (Claim("slow/waits", PAPER, "ours", "s", Identity, (), check, control, "c"),)
"""
DYING = """
def check(budget):
    os._exit(3)
def control(budget):
    return Identity(1.0, 0.0, 1, "rational")
CLAIMS = (Claim("slow/dies", PAPER, "ours", "s", Identity, (), check, control, "c"),)
"""


def command(*words):
    return [sys.executable, "-m", "claimlab.experiments", *words]


def test_a_run_killed_in_the_middle_resumes_to_the_same_ledger(tmp_path):
    file = tmp_path / "slow.py"
    file.write_text(HEAD + SLOW)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run = ("verify", str(file), "--budget", "smoke", "--workers", "2", "--out")
    subprocess.run(command(*run, str(whole)), capture_output=True, timeout=60)

    process = subprocess.Popen(command(*run, str(killed)), stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    for _ in range(5):
        process.stdout.readline()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    workers = children.read_text().split() if children.exists() else []
    process.kill()
    process.wait()
    process.stdout.close()
    stored = list((killed / "results").glob("*.json"))
    assert 5 <= len(stored) < 16
    assert not (killed / "ledger.json").exists()

    resumed = subprocess.run(command(*run, str(killed)), capture_output=True, text=True, timeout=60)
    assert sum(line.endswith(" stored") for line in resumed.stdout.splitlines()) == len(stored)
    assert sum(line.endswith(" s") and line.startswith("[") for line in resumed.stdout.splitlines()) == 16 - len(stored)
    records = [json.loads((folder / "ledger.json").read_text()) for folder in (whole, killed)]
    assert comparable(records[0]) == comparable(records[1])
    assert len(records[0]["claims"]) == 8
    wait_until(lambda: not any(alive(int(worker)) for worker in workers))  # no orphans


def alive(pid):
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_ctrl_c_is_one_line_and_loses_nothing(tmp_path):
    """It comes while one worker waits for work and the other sleeps for a minute: neither delays the end or speaks."""
    file, out = tmp_path / "slow.py", tmp_path / "out"
    file.write_text(HEAD + WAITING)
    words = command("verify", str(file), "--workers", "2", "--out", str(out))
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("[1/2] slow/waits supported")
    wait_until((tmp_path / "asleep").exists)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stderr.splitlines() == [
        f"claimlab: interrupted; the results so far are in {out / 'results'}; the same command goes on."
    ]
    assert len(list((out / "results").glob("*.json"))) == 1


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Windows has no signal masks")
def test_a_worker_that_is_still_importing_does_not_meet_ctrl_c():
    look = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    with runner._uninterrupted():
        done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_check_that_takes_its_process_down_is_an_entry(tmp_path):
    file = tmp_path / "dying.py"
    file.write_text(HEAD + DYING)
    selection = catalogue.select([str(file)])
    with pool(1) as executor:
        found = verify(selection.claims, SMOKE, executor=executor, files=selection.files)
    assert found.rows[0].verdict == "error"
    assert "BrokenProcessPool" in found.rows[0].reason


def test_a_worker_with_other_sources_is_refused():
    with pytest.raises(RuntimeError, match="install the same packages and sources on both"):
        runner.perform([("sample/square", "check")], SMOKE, {"sample/square": FILE}, {"sample/square": "another"})


def test_an_edited_file_is_another_code_version(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(HEAD + DYING)
    before = catalogue.code_version(file)
    assert catalogue.code_version(file) == before
    file.write_text(HEAD + DYING + "\n# edited\n")
    assert catalogue.code_version(file) != before
    assert catalogue.code_version(None) not in (before, catalogue.code_version(file))


def test_results_carry_their_provenance(tmp_path):
    verify([SQUARE], SMOKE, store=Store(tmp_path), files={SQUARE.id: FILE})
    record = json.loads(next(tmp_path.iterdir()).read_text())
    assert set(record["result"]) == set(asdict(runner.attempt(SQUARE, "check", SMOKE)))
    assert record["result"]["environment"]["packages"]["numpy"]
