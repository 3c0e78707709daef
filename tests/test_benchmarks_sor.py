"""The race of the sweeps: systems and residuals against exact arithmetic, judgement, and what is shown."""

import json
from contextlib import nullcontext
from dataclasses import asdict, replace
from fractions import Fraction
from math import pi, sin
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from claimlab.experiments.benchmarks import document, machine, race, render
from claimlab.experiments.benchmarks.aggregate import limit_share
from claimlab.experiments.benchmarks.machine import chain, read
from claimlab.experiments.benchmarks.race import OURS, SCRIPTS, Probe, Race, Track
from claimlab.experiments.benchmarks.relaxation import KINDS, SOR, TOL, Case, poisson, residual
from claimlab.native import CACHE, interpreted

from .test_benchmarks import environment

ROOT = Path(__file__).parent.parent
SOLVERS = {solver.name: solver for solver in SOR.solvers}


def matrix(system):
    return csr_array((system["data"], system["indices"], system["indptr"]))


@pytest.mark.parametrize("n", [2, 3, 7])
def test_the_matrix_is_the_five_point_stencil(n):
    A = matrix(poisson(n)).toarray()
    for i in range(n):
        for j in range(n):
            for k in range(n):
                for m in range(n):
                    expected = {0: 4.0, 1: -1.0}.get(abs(i - k) + abs(j - m), 0.0)
                    assert A[i * n + j, k * n + m] == expected


@pytest.mark.parametrize("n", [2, 5, 20])
def test_the_parameter_is_youngs(n):
    r""":math:`2/(1 + \sqrt{1 - \beta^2})` with the spectral radius of Jacobi's iteration (Young 1954)."""
    system = poisson(n)
    A = matrix(system).toarray()
    beta = abs(np.linalg.eigvalsh(np.eye(n * n) - A / 4)).max()
    assert system["omega"] == pytest.approx(2 / (1 + np.sqrt(1 - beta**2)), rel=1e-12)
    assert system["omega"] == pytest.approx(2 / (1 + sin(pi / (n + 1))), rel=1e-15)


def test_the_residual_is_that_of_exact_arithmetic():
    system, rng = poisson(4), np.random.default_rng(0)
    x = np.linalg.solve(matrix(system).toarray(), system["b"]) + 1e-9 * rng.standard_normal(16)
    A, exact = matrix(system).toarray(), [Fraction(float(value)) for value in x]
    squares = [(1 - sum(Fraction(float(a)) * y for a, y in zip(row, exact))) ** 2 for row in A]
    expected = float(sum(squares)) ** 0.5 / 4
    error, slack = residual(system, x)
    assert error == pytest.approx(expected, rel=1e-9)
    in_doubles = float(np.linalg.norm(system["b"] - A @ x)) / 4
    assert abs(in_doubles - expected) <= slack <= 1e-13


def prepared(tmp_path, kind="csr", n=12):
    return Case(kind, n).prepare(tmp_path)


def solution(n=12):
    system = poisson(n)
    return np.linalg.solve(matrix(system).toarray(), system["b"])


@pytest.mark.parametrize(("size", "wrong"), [(0.0, False), (0.9, False), (1.1, True), (np.nan, True)])
def test_answers_are_judged_by_their_true_residual(tmp_path, size, wrong):
    system, rng = poisson(12), np.random.default_rng(1)
    r = rng.standard_normal(144)
    r *= size * TOL * 12 / np.linalg.norm(r)
    x = solution() + np.linalg.solve(matrix(system).toarray(), r)
    found = prepared(tmp_path).judge(x, {})
    assert found["wrong"] == wrong
    assert found["error"] is None if np.isnan(size) else abs(found["error"] - size * TOL) <= 1e-13
    json.dumps(found, allow_nan=False)


def test_an_answer_of_another_length_is_a_failure(tmp_path):
    assert prepared(tmp_path).judge(np.zeros(3), {}) == {"failure": "an answer of shape (3,), not (144,)"}


def test_the_others_have_one_task_whatever_the_kind(tmp_path):
    """So they are measured once; ours is told the kind."""
    tasks = [[prepared(tmp_path, kind).task(SOLVERS[name]) for kind in KINDS] for name in ("pyamg-10", OURS)]
    assert tasks[0][0] == tasks[0][1] == tasks[0][2]
    assert len({task["kind"] for task in tasks[1]}) == 3


def test_a_sweep_moves_at_least_its_vectors_and_its_matrix(tmp_path):
    """5 n^2 - 4 n entries of 12 bytes; the right side, and x in and out."""
    assert prepared(tmp_path).moved == 24 * 144 + 12 * (5 * 144 - 4 * 12)
    assert prepared(tmp_path, "stencil").moved == prepared(tmp_path, "red-black").moved == 24 * 144
    surveys = {kind: [probe.what for probe in prepared(tmp_path, kind).probes] for kind in KINDS}
    assert surveys == {"csr": ["read", "chain"], "stencil": ["read", "chain"], "red-black": ["read"]}
    description = prepared(tmp_path).describe()
    assert description["rows"] == 144
    json.dumps(description, allow_nan=False)


# Processes.


@pytest.fixture(autouse=True)
def _kernels_of_earlier_tests(monkeypatch):
    """Compiling anew is a race's measurement, and here a waste."""
    monkeypatch.setattr(race, "empty_kernel_cache", lambda: nullcontext(CACHE))


@pytest.fixture
def track(tmp_path):
    return Track(tmp_path / "peers", tmp_path / "instances", reps=1)


def run(solvers, track, n=6):
    cases = tuple(Case(kind, n) for kind in KINDS)
    ready = [case.prepare(track.instances) for case in cases]
    return list(race.run(Race("r", "r", cases, solvers, SOR.words), ready, track))


def sweeps(n, order):
    """How many Gauss-Seidel sweeps over-relaxed in the order of `order` it takes, by dense algebra."""
    system = poisson(n)
    A, b = matrix(system).toarray()[np.ix_(order, order)], np.ones(n * n)
    step, x, count = np.tril(A, -1) + np.diag(np.diag(A)) / system["omega"], np.zeros(n * n), 0
    while np.linalg.norm(b - A @ x) > TOL * np.linalg.norm(b):
        x, count = x + np.linalg.solve(step, b - A @ x), count + 1
    return count


def test_ours_is_right_and_counts_its_sweeps(track):
    done = run((SOLVERS[OURS],), track)
    assert [(m["failure"], m["wrong"]) for m in done] == 3 * [(None, False)]
    colours = np.add.outer(np.arange(6), np.arange(6)).ravel() % 2
    in_order, red_black = sweeps(6, np.arange(36)), sweeps(6, np.argsort(colours, kind="stable"))
    assert [m["iterations"] for m in done] == [in_order, in_order, red_black]
    assert in_order != red_black  # or the order would not have been seen


def test_scipy_at_hand_answers_as_ours_and_once(track, monkeypatch):
    environment(track, "scipy")
    started = []
    monkeypatch.setattr(race, "start", lambda *words, start=race.start: started.append(words[0]) or start(*words))
    done = run((SOLVERS["scipy"], SOLVERS["scipy-direct"]), track)
    assert [(m["failure"], m["wrong"]) for m in done] == 6 * [(None, False)]
    assert [m["iterations"] for m in done] == 3 * [sweeps(6, np.arange(36)), None]
    assert [m["case"] for m in done[::2]] == [f"{kind}-6" for kind in KINDS]
    assert started == ["scipy", "scipy"]


def test_what_is_not_there_is_no_error(track):
    done = run((SOLVERS["pyamg-10"],), track)
    assert [m["failure"] for m in done] == 3 * ["not installed"]


def test_two_columns_of_a_library_are_one_environment(track):
    missing = race.missing([SOR], track)
    assert [solver.library for solver in missing] == ["pyamg", "scipy"]


def test_chains_and_sums_go_through_as_often_as_asked():
    x = np.array([1.0, 2.0, 4.0])
    once = 4 + (2 + 1 / 4) / 4
    twice = 4 + (2 + (1 + once / 4) / 4) / 4
    assert [interpreted(chain)(x, times) for times in (1, 2)] == pytest.approx([once, twice], rel=1e-15)
    assert chain(x, 2) == pytest.approx(twice, rel=1e-15)
    assert read(np.arange(100_001.0), 2, 3) == 3 * np.arange(100_001.0).sum()


def test_a_survey_tells_of_one_pass(monkeypatch, track):
    monkeypatch.setattr(machine, "start", lambda *words: ({"failure": None, "cpu": [5.0], "wall": [7.0]}, None))
    found = machine._survey(Probe("chain", "c", 8, count=100), 1, track, Path())
    assert (found["seconds"], found["bytes"]) == (0.05, 8)


@pytest.mark.parametrize("what", ["read", "chain", "draws"])
def test_the_machine_is_timed(what, track):
    probe = Probe(what, None, 2**12, count=10, settings=(("uniforms", 1), ("normals", 1)))
    assert machine._survey(probe, 1, track, CACHE)["seconds"] is not None


# The race itself.


def test_every_library_has_its_script_and_pinned_requirements():
    for solver in SOR.solvers:
        assert (SCRIPTS / f"run_{solver.script}.py").exists()
        assert set(solver.methods) == set(KINDS)
        if solver.name != OURS:
            lines = (SCRIPTS / f"requirements-{solver.library}.txt").read_text().split()
            assert lines
            assert all(line.count("==") == 1 for line in lines)
    names = [case.name for case in SOR.cases]
    assert names[:4] == ["csr-100", "stencil-100", "red-black-100", "csr-200"]
    assert len(set(names)) == 9


# What is shown.


def told(solver, seconds, iterations, *, case="stencil-10"):
    m = {"case": case, "solver": solver, "method": "m", "threads": 1, "failure": None, "version": "1"}
    m |= {"cpu": [seconds], "wall": [seconds], "first_cpu": 1.0, "ingest_cpu": 0.0, "ingest_wall": 0.0}
    m |= {"peak_bytes": 2**20, "iterations": iterations, "error": 9e-9, "wrong": False, "count": 1}
    differs = "elimination, not sweeps" if iterations is None else None
    return m | {"batched": False, "differs": differs, "shown": None}


def shown(tmp_path):
    case = {"name": "stencil-10", "title": "10 × 10", "tol": TOL, "unit": "s", "instances": ["stencil-10"]}
    case |= {"input_bytes": 2**20, "rows": 100, "facts": {"arrays": "1 MB"}}
    surveys = [("read", 2e-7), ("chain", 4e-7)]
    found = [{"what": w, "instance": "stencil-10", "threads": 1, "bytes": 800, "seconds": s} for w, s in surveys]
    doc = {"format": document.FORMAT, "race": "sor", "title": "Over-relaxation", "words": asdict(SOR.words)}
    doc |= {"environment": {}, "threads": [1], "limit": 60.0, "cases": [case], "machine": found}
    doc |= {"solvers": [OURS, "p", "scipy-direct"]}
    doc["measurements"] = [told(OURS, 4e-5, 50), told("p", 4e-4, 40), told("scipy-direct", 1e-4, None)]
    path = tmp_path / "bench.json"
    document.write(path, [doc])
    return document.read(path)[0]


def test_rows_and_sweeps_by_hand(tmp_path):
    """50 sweeps of 100 rows in 40 µs: 8 ns; the chain takes half of a sweep."""
    doc = shown(tmp_path)
    assert render.pieces(doc, 1) == [["stencil-10", "8 ns", "100 ns", "", "read 2 ns, chain 4 ns"]]
    assert limit_share(doc, doc["cases"][0], 1) == pytest.approx(0.5)
    (row,) = render.rows(doc, 1)
    assert row == ["stencil-10", "40 µs", "400 µs (10×)", "≈ 100 µs (2.5×)", "10×", "10×", "50%"]
    text = render.summary_table(doc)
    assert "The same for a row and sweep." in text
    assert "| stencil-10 | 8 ns | 100 ns |  | read 2 ns, chain 4 ns |" in text
    assert "≈ scipy-direct in all cases: elimination, not sweeps." in text
    whole = render.markdown(doc)
    assert "| stencil-10 | p 1 | m | 400 µs | 400 µs | 400 µs | 1 s | 0 ns | 1.0 MiB | 100% | 40 | 9.0e-09 |" in whole


def test_without_a_right_answer_there_is_no_piece(tmp_path):
    doc = shown(tmp_path)
    doc["measurements"] = [m | {"wrong": m["solver"] == OURS} for m in doc["measurements"]]
    assert render.pieces(doc, 1)[0][:3] == ["stencil-10", "", "100 ns"]
    assert limit_share(doc, doc["cases"][0], 1) is None


def test_an_own_case_is_told_by_its_size():
    case = replace(Case("csr", 100), n=30)
    assert (case.name, case.family) == ("csr-30", "csr")
    assert case.title == "30 × 30, any sparse matrix, rows in order"


def test_the_race_is_the_recorded_one():
    """Until it is recorded, its place in the README says so."""
    readme, record = (ROOT / "README.md").read_text(), ROOT / "experiments/records/bench-sor.json"
    place = readme.split("<!-- race of the sweeps -->\n")[1].split("<!-- end of the race of the sweeps -->")[0]
    assert place == (render.summary_table(document.read(record)[0]) if record.exists() else "Not recorded yet.\n")
