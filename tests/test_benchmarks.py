"""The races: references against exact values, the protocol of a measurement, ratios by hand, and what is shown."""

import json
import shutil
import sys
import tomllib
from contextlib import nullcontext
from dataclasses import asdict, replace
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from claimlab.experiments import __main__ as cli
from claimlab.experiments import benchmarks
from claimlab.experiments.benchmarks import document, machine, race, render
from claimlab.experiments.benchmarks import instances as make
from claimlab.experiments.benchmarks.aggregate import entries, entry, figure, ours_failed, records, summary
from claimlab.experiments.benchmarks.machine import gather, read, triad
from claimlab.experiments.benchmarks.mdps import MDPS
from claimlab.experiments.benchmarks.planning import Case
from claimlab.experiments.benchmarks.race import OURS, SCRIPTS, Probe, Race, Solver, Track
from claimlab.experiments.benchmarks.stored import once
from claimlab.experiments.benchmarks.stored import read as arrays
from claimlab.experiments.errors import WrongUsage
from claimlab.experiments.figures import save
from claimlab.mdps import AverageMDP, TabularMDP, gain_and_bias, gridworld, solve
from claimlab.mdps.exact import exact
from claimlab.native import CACHE, interpreted

GAMMA = 0.9


def small():
    return make.garnet(6, 2, 3, seed=1)


def full():
    return make.dense(4, 2, seed=2)


def grid():
    return make.frozen(3, 0.2, seed=0)


SMALL = pytest.mark.parametrize("instance", [small(), full(), grid(), make.maze(3)])


# References.


@SMALL
def test_a_discounted_reference_encloses_the_exact_values(instance):
    reference = make.discounted_reference(instance, GAMMA, 1e-6)
    best = exact(TabularMDP(make.transitions(instance), instance["r"], GAMMA)).v
    distance = max(abs(Fraction(float(v)) - x) for v, x in zip(reference.v, best))
    assert distance <= Fraction(reference.error)
    assert reference.error <= make.TARGET


@pytest.mark.parametrize("off", [1e-3, -1e-3])
def test_the_bound_of_a_wrong_reference_says_so(off):
    instance = small()
    v = make.discounted_reference(instance, GAMMA, 1e-6).v
    v[2] += off
    bound = make._bound(instance, v, make.backup(instance, v, GAMMA), GAMMA)
    assert bound >= abs(off)


@pytest.mark.parametrize("instance", [small(), full()])
def test_an_average_reference_is_the_best_gain(instance):
    mdp = AverageMDP(make.transitions(instance), instance["r"])
    S, A = instance["r"].shape
    best = max(gain_and_bias(mdp, np.array(pi)).gain for pi in product(range(A), repeat=S) if _one_class(mdp, pi))
    reference = make.average_reference(instance)
    assert abs(reference.v[0] - best) <= reference.error + 1e-12  # solve's own rounding
    assert reference.error <= make.TARGET


def _one_class(mdp, pi):
    try:
        gain_and_bias(mdp, np.array(pi))
    except ValueError:
        return False
    return True


@SMALL
def test_an_episodic_reference_is_the_rational_recursion(instance):
    P = make.transitions(instance)
    P = np.asarray(P if isinstance(P, np.ndarray) else P.toarray()).reshape(*instance["r"].shape, -1)
    v = [Fraction(0)] * len(P)
    for _ in range(7):
        v = [max(_backup(P[s, a], instance["r"][s, a], v) for a in range(P.shape[1])) for s in range(len(P))]
    reference = make.episodic_reference(instance, 7)
    assert max(abs(Fraction(float(x)) - y) for x, y in zip(reference.v, v)) <= Fraction(reference.error)
    assert reference.error <= 1e-14 * (1 + abs(reference.v).max())


def _backup(row, r, v):
    return Fraction(float(r)) + sum((Fraction(float(p)) * x for p, x in zip(row, v)), Fraction(0))


def test_a_batch_reference_is_exact_for_each():
    batch = make.batch(60, 3, 3, seed=7)
    reference = make.batch_reference(batch, GAMMA)
    best = [x for P, r in zip(batch["P"], batch["r"]) for x in exact(TabularMDP(P, r, GAMMA)).v]
    assert max(abs(Fraction(float(v)) - x) for v, x in zip(reference.v, best)) <= Fraction(reference.error)
    assert reference.error <= make.TARGET


@SMALL
@pytest.mark.parametrize("most", [1, 5, 10_000])
def test_plain_sweeps_are_counted_or_enclosed(instance, most):
    low, high = make.plain_sweeps(instance, GAMMA, 1e-6, most=most)
    counted, _ = make.plain_sweeps(instance, GAMMA, 1e-6, most=10_000)
    v, count = np.zeros(len(instance["r"])), 0
    mdp = TabularMDP(make.transitions(instance), instance["r"], GAMMA)
    while True:
        tv = (mdp.r + GAMMA * mdp.expect(v)).max(axis=1)
        count += 1
        if GAMMA / (1 - GAMMA) * abs(tv - v).max() <= 1e-6:
            break
        v = tv
    assert counted == count
    assert low <= count <= high


# Instances.


@pytest.mark.parametrize(
    "instance", [*(instance() for instance in (small, full, grid)), make.maze(4), make.table("blackjack")]
)
def test_instances_are_mdps_without_missing_actions(instance):
    mdp = TabularMDP(make.transitions(instance), instance["r"], GAMMA)
    assert mdp.actions.all()
    assert make.nbytes(instance) == sum(part.nbytes for part in instance.values())
    assert make.sweep_bytes(instance) == make.nbytes(instance) + 16 * mdp.n_states


def test_filling_missing_actions_changes_no_value():
    rows = ["S.P", "..G"]
    mdp = gridworld(rows, GAMMA, slip=0.5, sparse=True)
    assert not mdp.actions.all()
    instance = make.arrays(mdp)
    filled = TabularMDP(make.transitions(instance), instance["r"], GAMMA)
    assert np.allclose(solve(filled).v, solve(mdp).v, rtol=0, atol=2e-9)  # two certificates at 1e-9


def test_a_maze_costs_a_step_each():
    v = exact(TabularMDP(make.transitions(make.maze(2)), make.maze(2)["r"], GAMMA)).v
    assert v[3] == 0
    assert float(v[1]) < -1  # beside the goal, but it may slip


def test_instances_are_the_same_each_time():
    for one, other in ((small(), small()), (full(), full()), (grid(), grid())):
        assert all(np.array_equal(one[name], other[name]) for name in one)
    few, many = make.batch(3, 2, 2, seed=1), make.batch(make.SAMPLE + 5, 2, 2, seed=1)
    assert np.array_equal(few["P"], many["P"][:3])
    assert np.array_equal(few["r"], many["r"][:3])
    assert not np.array_equal(many["P"][:5], many["P"][make.SAMPLE :])


def test_files_are_written_once_by_the_same_sources(tmp_path):
    path = once(tmp_path, "one", small, make.SOURCES)
    assert once(tmp_path, "one", lambda: pytest.fail("made again"), make.SOURCES) == path
    assert all(np.array_equal(arrays(path)[name], part) for name, part in small().items())
    (tmp_path / "edited.py").write_text("")
    edited = (tmp_path / "edited.py",)
    assert once(tmp_path, "one", full, edited) != path
    assert "P" in arrays(once(tmp_path, "one", full, edited))


def test_sums_and_triads_of_the_machine():
    x = np.arange(100_001.0)
    assert read(x, 2) == x.sum()
    a = np.zeros(70_001)
    triad(a, x[:70_001], x[::-1][:70_001].copy(), 2)
    assert np.array_equal(a, x[:70_001] + 3 * x[::-1][:70_001])
    assert interpreted(machine._total)(x[2:5], 1) == 9


def test_the_machine_gathers_as_a_sparse_product_does(monkeypatch):
    monkeypatch.setattr(machine, "LEAST", 80)
    rng, out = np.random.default_rng(0), np.empty(50)
    indices, data, v = rng.integers(9, size=405).astype(np.uint32), rng.random(405), rng.random(9)
    gather(indices, data, v, out, 2)
    np.testing.assert_allclose(out, (data * v[indices])[:400].reshape(50, 8).sum(axis=1), rtol=1e-14)


# The protocol: a process for each measurement.


def case(name="tiny", instance=small, **changes):
    reference = changes.pop("reference", lambda found: make.discounted_reference(found[0], GAMMA, 1e-6))
    settings = {"family": "mixing", "criterion": "discounted", "gamma": GAMMA} | changes
    return Case(name=name, title=name, instances={name: instance}, reference=reference, **settings)


OWN = MDPS.solvers[0]


@pytest.fixture(autouse=True)
def _kernels_of_earlier_tests(monkeypatch):
    """Compiling anew is a race's measurement, and here a waste."""
    monkeypatch.setattr(race, "empty_kernel_cache", lambda: nullcontext(CACHE))


@pytest.fixture
def track(tmp_path):
    return Track(tmp_path / "peers", tmp_path / "instances", reps=2)


def environment(track, name):
    """An interpreter as in a library's environment; a link would not find this one's packages."""
    python = track.peers / name / "bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)


def run(solver, entered, track):
    return list(race.run(Race("r", "r", (entered,), (solver,), MDPS.words), [entered.prepare(track.instances)], track))


@pytest.mark.parametrize(
    "entered",
    [
        case(),
        case("full", full),
        case("average", criterion="average", family="average", reference=lambda i: make.average_reference(i[0])),
        case(
            "steps",
            criterion="episodic",
            family="episodic",
            horizon=5,
            reference=lambda i: make.episodic_reference(i[0], 5),
        ),
        case(
            "batch",
            lambda: make.batch(make.SAMPLE, 2, 2, 3),
            family="batch",
            batch=(1500, 2, 2, 3),
            reference=lambda i: make.batch_reference(make.batch(1500, 2, 2, 3), GAMMA),
        ),
    ],
    ids=lambda entered: entered.name,
)
def test_ours_is_right_in_a_process_of_its_own(entered, track):
    (done,) = run(OWN, entered, track)
    assert done["failure"] is None
    assert not done["wrong"]
    assert done["error"] <= entered.own_tol
    assert len(done["cpu"]) == len(done["wall"]) == track.reps
    assert done["count"] == (1500 if entered.batch else 1)
    assert (done["case"], done["solver"], done["threads"]) == (entered.name, OURS, 1)


@pytest.mark.parametrize(("name", "package"), [("quantecon", "quantecon"), ("pymdptoolbox", "mdptoolbox")])
@pytest.mark.usefixtures("quantecon")
def test_libraries_at_hand_answer_as_ours(name, package, track):
    pytest.importorskip(package)
    environment(track, name)
    known = next(solver for solver in MDPS.solvers if solver.name == name)
    solver = replace(known, methods={family: methods[:1] for family, methods in known.methods.items()})
    steps = case(
        "steps",
        criterion="episodic",
        family="episodic",
        horizon=5,
        reference=lambda i: make.episodic_reference(i[0], 5),
    )
    cases = (case(), case("full", full), steps)
    prepared = [entered.prepare(track.instances) for entered in cases]
    done = list(race.run(Race("r", "r", cases, (solver,), MDPS.words), prepared, track))
    assert [(m["case"], m["failure"], m["wrong"]) for m in done] == [(c.name, None, False) for c in cases]


SCRIPT = """
from protocol import serve
def build(instance, task):
    {build}
def solve(model, task):
    {solve}
def answer(model, solved, task):
    return solved, 1
if __name__ == "__main__":
    serve("numpy", build, solve, answer)
"""


@pytest.mark.parametrize(
    ("build", "solve", "outcome"),
    [
        ("raise MemoryError('too much')", "", "MemoryError: too much"),
        ("", "import sys; sys.exit('bad input')", "SystemExit: bad input"),
        ("", "import os; os._exit(3)", "ended with status 3: "),
        ("", "while True: pass", "more than 1 CPU s"),
        ("", "return 7 * [0.0]", "an answer of shape (7,), not (6,)"),
        ("", "return [float('nan')] * 6", None),
        ("", "return [1e-3] * 6", None),
    ],
)
def test_whatever_a_library_does_is_an_outcome(build, solve, outcome, track, tmp_path, monkeypatch):
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    shutil.copy(SCRIPTS / "protocol.py", scripts)
    (scripts / "run_odd.py").write_text(SCRIPT.format(build=build or "return 0", solve=solve or "return 0"))
    monkeypatch.setattr(race, "SCRIPTS", scripts)
    environment(track, "odd")
    solver = Solver("odd", {"mixing": ("m",)})
    (done,) = run(solver, case(), Track(track.peers, track.instances, reps=1, limit=1))
    if outcome is None:
        assert done["wrong"]
        assert done["failure"] is None
    else:
        assert done["failure"].startswith(outcome)
    assert not race.right(done)
    assert entry([done]).remark is not None
    json.dumps(done, allow_nan=False)


@pytest.mark.parametrize(("compiles", "calls"), [(True, 3), (False, 1)])
def test_a_long_first_call_counts_unless_it_compiles(compiles, calls, track, tmp_path, monkeypatch):
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    shutil.copy(SCRIPTS / "protocol.py", scripts)
    slow = "import time; time.sleep(0.0 if hasattr(time, 'again') else 0.5); time.again = True; return 6 * [0.0]"
    (scripts / "run_odd.py").write_text(SCRIPT.format(build="return 0", solve=slow))
    monkeypatch.setattr(race, "SCRIPTS", scripts)
    monkeypatch.setattr(race, "BUDGET", 0.4)
    environment(track, "odd")
    (done,) = run(Solver("odd", {"mixing": ("m",)}, compiles=compiles), case(), replace(track, reps=calls))
    assert len(done["cpu"]) == calls
    assert (done["wall"][0] > 0.4) == (not compiles)


def test_missing_libraries_and_methods_are_no_errors(track):
    (missing,) = run(Solver("absent", {"mixing": ("m",)}), case(), track)
    assert missing["failure"] == "not installed"
    environment(track, "there")
    (lacking,) = run(Solver("there", {"grid": ("m",)}), case(), track)
    assert lacking["failure"] == "not offered"


def test_the_methods_of_a_library_share_the_limit_and_the_best_is_run_with_more_threads(track, monkeypatch):
    """Each has what is left of the limit, or twice the best so far and a second, whichever is less."""
    spent = {"fast": 2.0, "slow": None, "other": 1.5}
    allowed = []

    def measured(solver, method, ready, track, compiled, *, threads, limit):
        allowed.append((method, threads, limit))
        label = {"case": "c", "solver": "s", "method": method, "threads": threads, "wrong": False}
        if spent[method] is None:
            return label | {"failure": race._over(limit)}
        return label | {"failure": None, "cpu": [spent[method]], "first_cpu": spent[method]}

    monkeypatch.setattr(race, "measure", measured)
    environment(track, "s")
    solver = Solver("s", {"mixing": tuple(spent)}, threads=True)
    run(solver, case(), Track(track.peers, track.instances, threads=(1, 2), limit=60))
    assert allowed == [("fast", 1, 60), ("slow", 1, 5.0), ("other", 1, 5.0), ("other", 2, 60)]
    allowed.clear()
    run(solver, case(), Track(track.peers, track.instances, limit=5))
    assert allowed == [("fast", 1, 5), ("slow", 1, 3.0)]


# The race itself.


def test_every_library_has_its_script_and_pinned_requirements():
    for solver in MDPS.solvers:
        assert (SCRIPTS / f"run_{solver.name}.py").exists()
        if solver.name != OURS:
            lines = (SCRIPTS / f"requirements-{solver.name}.txt").read_text().split()
            assert lines
            assert all(line.count("==") == 1 for line in lines)
    settings = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    assert settings["tool"]["setuptools"]["package-data"]["claimlab.experiments.benchmarks"] == ["solvers/*"]
    assert not (SCRIPTS / "__init__.py").exists()  # scripts for other interpreters, not modules of ours


def test_the_cases_fit_the_libraries():
    families = {entered.family for entered in MDPS.cases}
    assert set(MDPS.solvers[0].methods) == families
    assert all(set(solver.methods) <= families for solver in MDPS.solvers)
    assert len({entered.name for entered in MDPS.cases}) == len(MDPS.cases)
    assert "optimistic_value_iteration" in next(s for s in MDPS.solvers if s.name == "storm").methods["mixing"]


# Records.


def measurement(solver, cpu=None, *, case="c", threads=1, wrong=False, error=1e-7, failure=None, count=1, wall=None):
    m = {"case": case, "solver": solver, "method": "m", "threads": threads, "failure": failure, "version": "1"}
    m |= {"differs": None, "shown": None}
    if failure is not None:
        return m
    times = {"cpu": cpu, "wall": wall or cpu, "first_cpu": 1.0, "ingest_cpu": 0.5, "ingest_wall": 0.25}
    told = {"peak_bytes": 2**20, "iterations": 3, "error": error, "wrong": wrong, "count": count}
    return m | times | told | {"batched": count > 1}


def described(name, **changes):
    base = {"name": name, "title": f"Case {name}", "tol": 1e-6, "own_tol": 1e-6, "unit": "s", "instances": [name]}
    facts = {"arrays": "1.05 MB", "error of the reference": "1e-10", "plain sweeps": "7 to 9"}
    return base | {"input_bytes": 2**20, "rows": None, "facts": facts} | changes


def found(measurements, *, cases=("c",), threads=(1,), solvers=(OURS, "p", "q", "z"), machine=()):
    """A document as `document.compose` makes it."""
    return {
        "format": document.FORMAT,
        "race": "r",
        "title": "A race",
        "words": asdict(MDPS.words),
        "environment": {"python": "3"},
        "threads": list(threads),
        "limit": 60.0,
        "cases": [described(name) for name in cases],
        "solvers": list(solvers),
        "machine": list(machine),
        "measurements": measurements,
    }


def test_the_figure_is_the_least_of_the_repetitions():
    assert figure(measurement("p", [3.0, 1.0, 2.0])) == 1.0
    assert figure(measurement("p", [3.0, 1.0], wall=[8.0, 5.0], threads=2)) == 5.0


def test_a_batch_is_solved_from_arrays():
    assert figure(measurement("p", [3.0, 2.5], count=1000)) == 0.003
    assert figure(measurement("p", [3.0], wall=[1.75, 4.0], threads=2, count=1000)) == 0.002


def test_a_library_counts_with_its_best_right_answer():
    wrong, slow, fast = measurement("p", [1.0], wrong=True), measurement("p", [9.0]), measurement("p", [4.0])
    assert entry([wrong, slow, fast])[:2] == (4.0, fast)
    assert entry([wrong, slow, fast]).right
    only = entry([wrong, measurement("p", failure="out")])
    assert only.figure == 1.0
    assert not only.right
    assert only.remark == "error 1.0e-07"
    assert (
        entry([measurement("p", failure="a"), measurement("p", failure="b"), measurement("p", failure="b")]).remark
        == "b"
    )
    assert entry([]).remark == "not measured"


def test_ratios_by_hand():
    doc = found(
        [
            measurement(OURS, [2.0]),
            measurement("p", [20.0]),
            measurement("q", [6.0, 8.0]),
            measurement("z", [0.1], wrong=True, error=3.0),
            measurement(OURS, [1.0], case="d"),
            measurement("p", [30.0], case="d"),
            measurement("q", case="d", failure="MemoryError: much"),
            measurement("z", case="d", failure="not installed"),
        ],
        cases=("c", "d"),
        machine=[
            {"what": "read", "instance": "c", "threads": 1, "bytes": 100, "seconds": 0.3},
            {"what": "gather", "instance": "c", "threads": 1, "bytes": 90, "seconds": 0.36},
            {"what": "sweep", "instance": "c", "threads": 1, "bytes": 100, "seconds": 0.4},
            {"what": "read", "instance": "c", "threads": 2, "bytes": 100, "seconds": 9.0},
        ],
    )
    first, second = records(doc)
    assert first["ours"] == 2.0
    assert first["peers"] == {"p": 20.0, "q": 6.0, "z": None}
    assert first["remarks"] == {"z": "error 3.0e+00"}
    assert (first["ratio_best"], first["ratio_median"]) == (3.0, 6.5)
    assert first["limit_share"] == pytest.approx(0.75)
    assert first["gather_share"] == pytest.approx(0.9)
    assert second["gather_share"] is None
    doc |= {"records": [first, second]}
    assert render.header(doc)[-2:] == ["share of the limit", "share of the gather limit"]
    assert [row[-2:] for row in render.rows(doc, 1)] == [["75%", "90%"], ["", ""]]
    doc |= {"records": [record | {"gather_share": None} for record in (first, second)]}  # an older one
    assert render.header(doc)[-1] == "share of the limit"
    assert [row[-1] for row in render.rows(doc, 1)] == ["75%", ""]
    assert second["peers"] == {"p": 30.0, "q": None, "z": None}
    assert (second["ratio_best"], second["ratio_median"], second["limit_share"]) == (30.0, 30.0, None)
    total = summary([first, second])
    assert total["median_over_libraries_and_cases"] == 10.0  # of 10, 3 and 30
    assert total["median_of_best_over_cases"] == 16.5
    assert total["medians"] == {"p": 20.0, "q": 3.0}
    assert total["below_target"] == {"c": 3.0}
    assert [(m["case"], m["solver"]) for m in total["remarks"]] == [("c", "z"), ("d", "q"), ("d", "z")]
    assert ours_failed([first, second]) == []


def test_with_more_threads_the_wall_clock_counts_for_all():
    """A library that cannot use them, or is slower with them, is taken with one."""
    doc = found(
        [
            measurement(OURS, [2.0], wall=[2.5]),
            measurement(OURS, [2.2], wall=[1.2], threads=2),
            measurement("p", [6.0], wall=[12.0]),
            measurement("q", [8.0], wall=[24.0]),
            measurement("q", [8.0], wall=[99.0], threads=2),
        ],
        threads=(1, 2),
        solvers=(OURS, "p", "q"),
    )
    one, two = records(doc)
    assert one["ratios"] == {"p": 3.0, "q": 4.0}
    assert two["ratios"] == {"p": 10.0, "q": 20.0}
    assert one["unit"] == "CPU s, threads: 1"
    assert two["unit"] == "wall s, threads: 2"
    assert summary([one, two])["median_over_libraries_and_cases"] == 3.5


@pytest.mark.parametrize("bad", [{"failure": "out"}, {"cpu": [1.0], "wrong": True, "error": None}])
def test_no_ratio_where_ours_is_wrong(bad):
    doc = found([measurement(OURS, **bad), measurement("p", [2.0])], solvers=(OURS, "p"))
    (record,) = records(doc)
    assert (record["ours"], record["ratios"], record["ratio_best"], record["ratio_median"]) == (None, {}, None, None)
    assert len(ours_failed([record])) == 1
    assert summary([record])["median_over_libraries_and_cases"] is None
    assert "none ours" in " ".join(render.conclusion(doc | {"records": [record], "summary": summary([record])}))


# What is written and shown.


def shown(tmp_path):
    path = tmp_path / "bench.json"
    doc = found(
        [
            measurement(OURS, [0.002]),
            measurement("p", [0.02]),
            measurement("p", [0.01], wrong=True, error=3.0) | {"method": "bad"},
            measurement("q", [0.1], wrong=True, error=86.0),
            measurement("z", failure="MemoryError: 74 GiB"),
        ]
    )
    document.write(path, [doc])
    return path, document.read(path)[0]


def test_what_is_written_is_read_back(tmp_path):
    path, doc = shown(tmp_path)
    written = json.loads(path.read_text())[0]
    assert written == doc
    wanted = {"case", "unit", "ours", "peers", "ratio_best", "ratio_median", "limit_share", "environment"}
    assert wanted <= set(written["records"][0])
    written["records"], written["summary"] = [], {}
    path.write_text(json.dumps([written]))
    assert document.read(path)[0] == doc  # derived from the measurements anew


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        "[1]",
        '[{"format": 1}]',
        '[{"format": 2}]',
        '[{"format": 0}]',
        "null",
        '{"rows": []}',
        "\udcff",
    ],
)
def test_foreign_files_are_refused_in_one_line(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(WrongUsage, match=r"x\.json does not hold a race") as refused:
        document.read(path)
    assert "\n" not in str(refused.value)


def test_tables_mark_wrong_answers_and_say_why_there_is_none(tmp_path):
    doc = shown(tmp_path)[1]
    (row,) = render.rows(doc, 1)
    assert row == ["c", "2 ms", "20 ms (10×)", "! 100 ms, error 8.6e+01", "MemoryError", "10×", "10×", ""]
    text = render.markdown(doc)
    assert "**! 100 ms, error 8.6e+01**" in text
    assert "- c, z: MemoryError: 74 GiB" in text
    assert "| c | Case c | 1.05 MB | 1e-10 | 7 to 9 | 3 |" in text
    assert "| c | p 1 | m | 20 ms | 20 ms | 20 ms | 1 s | 500 ms | 1.0 MiB | 100% | 3 | 1.0e-07 |" in text
    assert "| c | p | bad | 10 ms | 1e-06 | **3.0e+00** |" in text
    assert "Wrong: p bad, in 1 of the cases by up to 3.0e+00." in text
    assert "Wrong: q m, in 1 of the cases by up to 8.6e+01." in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)


@pytest.mark.parametrize(
    ("value", "text"),
    [(12.34, "12.3 s"), (0.5, "500 ms"), (3e-6, "3 µs"), (6.0e-7, "600 ns"), (1.0, "1 s"), (0, "0 ns")],
)
def test_seconds(value, text):
    assert render.seconds(value) == text


def test_the_figure_has_a_dot_for_each_and_hollow_ones_for_wrong_answers(tmp_path):
    doc = shown(tmp_path)[1]
    drawn = render.figure(doc)
    canvas, data = drawn.draw()
    (axes,) = canvas.axes
    assert data["library"].tolist() == [OURS, "p", "p", "q"]
    assert data["seconds"].tolist() == [0.002, 0.02, 0.01, 0.1]
    assert [line.get_xdata()[0] for line in axes.lines] == [0.002, 0.02, 0.01, 0.1]
    assert [line.get_markerfacecolor() == "none" for line in axes.lines] == [False, False, True, True]
    assert len({line.get_marker() for line in axes.lines}) == 3
    assert axes.get_xscale() == "log"
    saved = save(drawn, tmp_path)
    assert saved.pdf.name == "r.pdf"


# The command.


@pytest.fixture
def claimlab(tmp_path, monkeypatch):
    """The command in an empty folder, with a race of one small case and a library that is not there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "CACHE", tmp_path / "cache")
    absent = Solver("quantecon", {"mixing": ("mpi",)})
    monkeypatch.setattr(
        benchmarks, "RACES", (Race("tiny", "Tiny", (case(), case("other", full)), (OWN, absent), MDPS.words),)
    )
    runner = CliRunner()
    return lambda *words: runner.invoke(cli.app, ["bench", *map(str, words)])


def test_a_race_writes_records_tables_and_figure(claimlab, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "survey", lambda entered, prepared, track: iter(()))
    result = claimlab("tiny", "--only", "tiny", "--reps", 1, "--json", "copy/all.json")
    assert result.exit_code == 0, result.output
    assert "[1/2] tiny claimlab solve, threads 1: " in result.stdout
    assert "[2/2] tiny quantecon, threads 1: not installed" in result.stdout
    written = (tmp_path / "claimlab-out/bench.json").read_bytes()
    assert written == (tmp_path / "copy/all.json").read_bytes()
    (doc,) = json.loads(written)
    assert [m["solver"] for m in doc["measurements"]] == [OURS, "quantecon"]
    assert {path.name for path in (tmp_path / "claimlab-out/bench").iterdir()} == {
        f"tiny.{end}" for end in ("md", "pdf", "png", "csv")
    }
    again = claimlab("--from", "claimlab-out/bench.json", "--out", "again")
    assert again.exit_code == 0
    for name in ("bench.json", "bench/tiny.md", "bench/tiny.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "claimlab-out" / name).read_bytes()


def test_the_machine_is_surveyed_for_each_instance_and_number_of_threads(track, monkeypatch):
    monkeypatch.setattr(
        machine, "start", lambda *words: ({"failure": None, "cpu": [3.0, 2.0], "wall": [5.0, 4.0]}, None)
    )
    twice = [entered.prepare(track.instances) for entered in (case(), replace(case(), name="again", gamma=0.5))]
    surveyed = list(machine.survey(MDPS, twice, Track(track.peers, track.instances, threads=(1, 2))))
    large, moved = machine.LARGE, make.sweep_bytes(small())
    once = [("read", None, large), ("triad", None, large), ("gemv", None, large)]
    fetched = moved - 8 * len(small()["r"]) - small()["r"].nbytes - small()["indptr"].nbytes
    once += [("read", "tiny", moved), ("gather", "tiny", fetched), ("sweep", "tiny", moved)]
    assert [(m["what"], m["instance"], m["bytes"], m["threads"]) for m in surveyed] == [
        (*what, threads) for threads in (1, 2) for what in once
    ]
    assert [m["seconds"] for m in surveyed] == 6 * [2.0] + 6 * [4.0]


def test_the_machine_and_a_sweep_are_timed(track):
    folder = CACHE
    file = once(track.instances, "small", small, make.SOURCES)
    for what, files in (("triad", ()), ("gather", (file,)), ("sweep", (file,))):
        found = machine._survey(Probe(what, None, 2**20, files), 1, track, folder)
        assert found["seconds"] is not None


def test_ours_wrong_ends_with_1(claimlab, monkeypatch):
    doc = found([measurement(OURS, [1.0], wrong=True, error=0.5), measurement("p", [1.0])], solvers=(OURS, "p"))
    document.write(Path("bad.json"), [doc])
    result = claimlab("--from", "bad.json")
    assert result.exit_code == 1
    assert result.stderr == "claimlab: ours failed: c: error 5.0e-01\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mdsp"], "unknown race 'mdsp'"),
        (["tinny"], "Did you mean tiny?"),
        (["--only", "tin"], "unknown case 'tin'. Did you mean tiny?"),
        (["--threads", "0"], "--threads takes whole numbers of at least 1 between commas, got '0'"),
        (["--threads", "1,x"], "got '1,x'"),
        (["--threads", ""], "got ''"),
        (["--from", "none.json"], "none.json"),
        (["--from", "foreign.json"], "foreign.json does not hold a race"),
        (["--from", "foreign.json", "tiny"], "--from measures nothing"),
        (["--from", "foreign.json", "--prepare"], "--from measures nothing"),
        (["--out", "file"], "cannot write into file: File exists"),
        (["--json", "folder"], "--json takes a file, got the folder folder"),
    ],
)
def test_wrong_usage_is_one_line_and_2(claimlab, tmp_path, words, message, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "foreign.json").write_text('{"claims": []}')
    monkeypatch.setattr(Case, "prepare", lambda *args: pytest.fail("work was begun"))
    result = claimlab(*words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_prepare_installs_what_is_missing_and_leaves_no_half(claimlab, tmp_path, monkeypatch):
    calls = []

    def run_ok(words, check):
        calls.append(words)
        if words[1:3] == ["-m", "venv"]:
            (Path(words[3]) / "bin").mkdir(parents=True)
            (Path(words[3]) / "bin/python").touch()

    monkeypatch.setattr(race.subprocess, "run", run_ok)
    assert claimlab("--prepare", "--peers", "envs").exit_code == 0
    assert [words[1:3] for words in calls] == [["-m", "venv"], ["-m", "pip"]]
    assert calls[1][-1] == str(SCRIPTS / "requirements-quantecon.txt")
    assert claimlab("--prepare", "--peers", "envs").stdout == ""  # it is there

    def run_pip_fails(words, check):
        run_ok(words, check)
        if "pip" in words:
            raise race.subprocess.CalledProcessError(1, words)

    monkeypatch.setattr(race.subprocess, "run", run_pip_fails)
    result = claimlab("--prepare", "--peers", "other")
    assert result.exit_code == 2
    assert "quantecon could not be installed" in result.stderr
    assert not (tmp_path / "other/quantecon").exists()


def test_documents_name_each_library_once_a_case():
    doc = found([measurement(OURS, [1.0])])
    assert list(entries(doc, "c", 1)) == [OURS, "p", "q", "z"]
