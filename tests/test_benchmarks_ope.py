"""The race of the estimators: its log, its exact values, judgement, processes, and what is shown."""

import json
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from claimlab.experiments.benchmarks import document, race, render
from claimlab.experiments.benchmarks.off_policy import ESTIMATORS, OPE, Case, expected, rounds
from claimlab.experiments.benchmarks.race import OURS, SCRIPTS, Race, Solver, Track
from claimlab.native import CACHE

from .test_benchmarks import environment

ROOT = Path(__file__).parent.parent
SOLVERS = {solver.name: solver for solver in OPE.solvers}
N = 300


def prepared(tmp_path, name="four"):
    return Case(name, N).prepare(tmp_path)


def exact(log):
    """The four values in rationals of the stored floats."""
    f = lambda x: Fraction(float(x))  # noqa: E731
    w = [f(log["target"][i, a]) / f(log["propensities"][i]) for i, a in enumerate(log["actions"])]
    r = [f(x) for x in log["rewards"]]
    dm = [sum(f(p) * f(q) for p, q in zip(pi, row)) for pi, row in zip(log["target"], log["model"])]
    dr = [d + x * (y - f(log["model"][i, log["actions"][i]])) for i, (d, x, y) in enumerate(zip(dm, w, r))]
    ips = sum(x * y for x, y in zip(w, r))
    return {"ips": ips / N, "snips": ips / sum(w), "dm": sum(dm) / N, "dr": sum(dr) / N}


def test_values_are_those_of_exact_arithmetic(tmp_path):
    values, errors = expected(prepared(tmp_path).file)
    for name, value in exact(rounds(N)).items():
        assert values[name] == pytest.approx(float(value), rel=1e-15)
    assert set(errors) == set(values)
    assert all(0 < error < 0.2 for error in errors.values())


def test_the_log_is_one(tmp_path):
    log = rounds(N)
    for name in ("target", "model"):
        assert log[name].shape == (N, 10)
    np.testing.assert_allclose(log["target"].sum(axis=1), 1)
    assert ((log["propensities"] > 0) & (log["propensities"] < 1)).all()
    assert set(np.unique(log["rewards"])) == {0.0, 1.0}
    assert np.array_equal(rounds(N)["actions"], log["actions"])


@pytest.mark.parametrize(
    ("change", "wrong"),
    [(1.0, False), (1 + 1e-13, False), (1 + 1e-10, True), (np.nan, True), (np.inf, True)],
)
def test_answers_are_judged_by_the_values(tmp_path, change, wrong):
    ready = prepared(tmp_path)
    values, errors = expected(ready.file)
    answer = np.array([values[name] for name in ESTIMATORS["four"]])
    answer[2] *= change
    found = ready.judge(answer, {})
    assert found["wrong"] == wrong
    json.dumps(found, allow_nan=False)
    right = np.array([errors[name] for name in ESTIMATORS["four"]])
    assert ready.judge(np.append(answer, right), {})["wrong"] == wrong
    assert ready.judge(np.append(answer, 1.001 * right), {})["wrong"]


def test_an_answer_of_another_length_is_a_failure(tmp_path):
    assert "failure" in prepared(tmp_path).judge(np.zeros(3), {})
    assert "failure" in prepared(tmp_path, "ips").judge(np.zeros(4), {})


def test_what_must_be_read(tmp_path):
    """Weights and rewards; both tables; both, with actions."""
    found = [prepared(tmp_path, name).touched for name in ("ips", "dm", "dr")]
    assert found == [16 * N, 160 * N, 184 * N]
    description = prepared(tmp_path).describe()
    json.dumps(description, allow_nan=False)
    assert [case.name for case in OPE.cases] == list(ESTIMATORS)
    assert prepared(tmp_path, "four-arrays").task(SOLVERS[OURS])["batched"]


# Processes.


@pytest.fixture(autouse=True)
def _kernels_of_earlier_tests(monkeypatch):
    """Compiling anew is a race's measurement, and here a waste."""
    monkeypatch.setattr(race, "empty_kernel_cache", lambda: nullcontext(CACHE))


@pytest.fixture
def track(tmp_path):
    return Track(tmp_path / "peers", tmp_path / "instances", reps=1)


def run(name, track):
    ready = [Case(case, N).prepare(track.instances) for case in ("snips", "four-arrays")]
    return list(race.run(Race("r", "r", tuple(r.case for r in ready), (SOLVERS[name],), OPE.words), ready, track))


@pytest.mark.parametrize("name", [OURS, "numpy"])
def test_ours_and_numpy_are_right(name, track):
    environment(track, "numpy")
    done = run(name, track)
    assert [(m["failure"], m["wrong"]) for m in done] == 2 * [(None, False)]


def test_what_is_not_there_is_no_error(track):
    assert [m["failure"] for m in run("obp", track)] == 2 * ["not installed"]


def test_every_library_has_its_script_and_pinned_requirements():
    for solver in OPE.solvers:
        assert (SCRIPTS / f"run_{solver.script}.py").exists()
        assert set(solver.methods) == set(ESTIMATORS)
        if solver.name != OURS:
            lines = (SCRIPTS / f"requirements-{solver.library}.txt").read_text().split()
            assert all(line.count("==") == 1 for line in [*lines, *solver.bare])
            assert lines


def test_what_refuses_this_python_comes_last_and_alone(monkeypatch, track):
    """Requirements as pinned, then what would not be installed with its own."""
    calls = []
    monkeypatch.setattr(race.subprocess, "run", lambda words, check: calls.append([str(word) for word in words]))
    monkeypatch.setattr(Track, "python", lambda self, library: Path("python"))
    race.install(Solver("obp", {}, bare=("obp==0.5.7",)), track)
    assert calls[0][1:3] == ["-m", "venv"]
    assert calls[1][-2:] == ["--requirement", str(SCRIPTS / "requirements-obp.txt")]
    assert calls[2][-3:] == ["--no-deps", "--ignore-requires-python", "obp==0.5.7"]
    assert len(calls) == 3


def test_the_race_is_the_recorded_one():
    """Until it is recorded, its place in the README says so; before there is a place, there is nothing to check."""
    readme, record = (ROOT / "README.md").read_text(), ROOT / "experiments/records/bench-ope.json"
    if "<!-- race of the estimators -->\n" not in readme:
        pytest.skip("the README does not tell of this race yet")
    place = readme.split("<!-- race of the estimators -->\n")[1].split("<!-- end of the race of the estimators -->")[0]
    assert place == (render.summary_table(document.read(record)[0]) if record.exists() else "Not recorded yet.\n")


def test_the_record_is_of_this_race():
    record = ROOT / "experiments/records/bench-ope.json"
    (found,) = document.read(record)
    assert found["race"] == "ope"
    assert [case["name"] for case in found["cases"]] == [case.name for case in OPE.cases]
    assert all(m["failure"] is None and not m["wrong"] for m in found["measurements"])
