"""The race of the bandits: expected regrets against enumeration, what is judged wrong, and what is shown."""

import json
import shutil
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import cache
from math import exp, inf, log, sqrt
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import brentq
from typer.testing import CliRunner

from claimlab.experiments import __main__ as cli
from claimlab.experiments import benchmarks
from claimlab.experiments.benchmarks import document, race, regrets, render
from claimlab.experiments.benchmarks.aggregate import limit_share
from claimlab.experiments.benchmarks.algorithms import RUNS, Prepared
from claimlab.experiments.benchmarks.bandits import BANDITS, bernoulli, dynamical, linear
from claimlab.experiments.benchmarks.machine import draws
from claimlab.experiments.benchmarks.race import OURS, SCRIPTS, Race, Solver, Source, Track
from claimlab.experiments.errors import WrongUsage
from claimlab.native import CACHE

from .test_benchmarks import environment

ROOT = Path(__file__).parent.parent
CASES = {case.name: case for case in BANDITS.cases}
SOLVERS = {solver.name: solver for solver in BANDITS.solvers}
EVERY = pytest.mark.parametrize("name", CASES)


# Expected regrets.


def exact_regret(policy, means, rounds, history=()):
    """By enumeration of all histories [(arm, reward), ...], from which a policy makes a distribution."""
    if not rounds:
        return 0.0
    total = 0.0
    for arm, p in enumerate(policy(history)):
        for reward, chance in ((1.0, means[arm]), (0.0, 1 - means[arm])):
            if p * chance > 0:
                rest = exact_regret(policy, means, rounds - 1, (*history, (arm, reward)))
                total += p * chance * (max(means) - means[arm] + rest)
    return total


def exact_index_regret(index, means, rounds):
    """By the distribution of pulls and wins, which is all that an index looks at."""
    arms, total = range(len(means)), 0.0
    states = {(tuple(0 for _ in arms), tuple(0 for _ in arms)): 1.0}
    for t in range(rounds):
        after = defaultdict(float)
        for (pulls, wins), p in states.items():
            values = [index(wins[a] / pulls[a], pulls[a], t) if pulls[a] else inf for a in arms]
            arm = values.index(max(values))
            total += p * (max(means) - means[arm])
            more = tuple(n + (a == arm) for a, n in enumerate(pulls))
            after[more, tuple(n + (a == arm) for a, n in enumerate(wins))] += p * means[arm]
            after[more, wins] += p * (1 - means[arm])
        states = after
    return total


def ucb_index(mean, pulls, t):
    return mean + sqrt(2 * log(t) / pulls)


def kl(p, q):
    return sum(x * log(x / y) for x, y in ((p, q), (1 - p, 1 - q)) if x)


@cache
def kl_index(mean, pulls, t):
    if mean == 1:
        return mean
    return brentq(lambda q: pulls * kl(mean, q) - log(t), mean, 1 - 1e-15, xtol=1e-14)


def weighted(distribution, best):
    """A policy that draws by a distribution of the importance-weighted losses ``best - reward``."""

    def policy(history):
        loss = [0.0, 0.0, 0.0]
        for t, (arm, reward) in enumerate(history):
            loss[arm] += (best - reward) / distribution(loss, t + 1)[arm]
        return distribution(loss, len(history) + 1)

    return policy


def exp3(loss, t):
    weights = [exp(-0.6 / 3 * x) for x in loss]
    return [0.4 * w / sum(weights) + 0.6 / 3 for w in weights]


def tsallis_inf(loss, t):
    eta = 2 / sqrt(t)

    def weights(x):
        return [4 / (eta * (y - x)) ** 2 for y in loss]

    x = brentq(lambda x: sum(weights(x)) - 1, min(loss) - 1e3, min(loss) - 1e-6, xtol=1e-13)
    return [p / sum(weights(x)) for p in weights(x)]


MEANS = [0.2, 0.9, 0.6]


@pytest.mark.parametrize(("regret", "index"), [(regrets.ucb1, ucb_index), (regrets.kl_ucb, kl_index)])
def test_the_regret_of_an_index_is_that_of_its_markov_chain(regret, index):
    found = regret({"means": np.array(MEANS)}, 30, 20_000, seed=3)
    assert abs(found.mean() - exact_index_regret(index, MEANS, 30)) <= 4 * found.std() / sqrt(20_000)


@pytest.mark.parametrize(
    ("regret", "policy"),
    [(regrets.exp3, weighted(exp3, 0.0)), (regrets.tsallis_inf, weighted(tsallis_inf, 1.0))],
    ids=["exp3", "tsallis-inf"],
)
def test_the_regret_of_random_weights_is_that_of_enumeration(regret, policy):
    found = regret({"means": np.array(MEANS), "gamma": 0.6}, 4, 400_000, seed=3)
    assert abs(found.mean() - exact_regret(policy, MEANS, 4)) <= 4 * found.std() / sqrt(400_000)


def test_the_linear_regret_is_that_of_ridge_regressions_from_scratch():
    """The same random numbers, and every round all fits anew from the whole history."""
    instance, rounds, runs = linear(4, 3), 30, 2
    rng, theta = np.random.default_rng(8), instance["theta"]
    histories = [[[] for _ in theta] for _ in range(runs)]
    regret = np.zeros(runs)
    for _ in range(rounds):
        contexts, means, arms = rng.standard_normal((runs, 3)) / np.sqrt(3), [], []
        for run, x in enumerate(contexts):
            values = []
            for history in histories[run]:
                X, y = np.array([c for c, _ in history]).reshape(-1, 3), np.array([r for _, r in history])
                A = np.eye(3) + X.T @ X
                values.append(x @ np.linalg.solve(A, X.T @ y) + np.sqrt(x @ np.linalg.solve(A, x)))
            arms.append(int(np.argmax(values)))
            means.append(theta @ x)
            regret[run] += means[run].max() - means[run][arms[run]]
        noise = 0.1 * rng.standard_normal(runs)
        for run, x in enumerate(contexts):
            histories[run][arms[run]].append((x, means[run][arms[run]] + noise[run]))
    assert np.allclose(regrets.linucb(instance, rounds, runs, seed=8), regret, rtol=0, atol=1e-9)


def test_the_dynamical_regret_is_that_of_the_authors_program():
    """Two trials of their `main.py` at commit 7fb103e with horizon 20000: 1025 with regularisation log T."""
    found = regrets.dynlin_ucb(dynamical(), 20_000, 4, seed=0)
    assert abs(found.mean() / 1025 - 1) <= 0.01


def test_the_first_of_the_dynamical_arms_is_kept_for_a_round_more():
    values = np.array([0.8125, 0.78125, 0.61805556, 0.55555556, 0.39236111, 0.36111111])
    found = regrets.dynlin_ucb(dynamical(), 2, 200, seed=0)
    assert np.allclose(np.unique(found.round(6)), np.sort(2 * (0.8125 - values)).round(6))


def test_the_dynamical_system_is_that_of_the_paper():
    system = dynamical()
    h = (system["D"] + system["C"] @ np.linalg.inv(np.eye(3) - system["A"]) @ system["B"]).sum(axis=0)
    assert np.allclose(h, [0.5625, 0.5, 1 / 9], rtol=0, atol=1e-12)
    assert sorted(map(tuple, system["arms"])) == sorted(
        [(1, 0.5, 0), (0.5, 1, 0), (1, 0, 0.5), (0, 1, 0.5), (0.5, 0, 1), (0, 0.5, 1)]
    )


# What is judged.


def ready(expected=None, **changes):
    expected = np.array([90.0, 110.0] * 100) if expected is None else expected
    case = replace(CASES["ucb1"], **changes)
    return Prepared(case, Path("game.npz"), expected)


def judged(answer, *, differs=False, prepared=None):
    task = {"judged": [len(answer), 2000], "differs": differs}
    return (prepared or ready()).judge(np.array(answer), task)


def test_chance_is_no_error_and_another_regret_is():
    """Spread 10.03: of 4 runs and 200, four standard errors are 20.26; two per cent of 100 more are allowed."""
    right = judged([119.0] * 4)
    assert (right["error"], right["wrong"]) == (0.0, False)
    assert right["shown"] == "regret 119 ± 5, expected 100"
    close = judged([122.0] * 4)
    assert 0 < close["error"] <= 0.02
    assert not close["wrong"]
    off = judged([150.0] * 4)
    assert off["error"] == pytest.approx(0.5 - 4 * 10.025 * sqrt(1 / 4 + 1 / 200) / 100, rel=1e-3)
    assert off["wrong"]
    assert judged([50.0] * 4)["wrong"]
    assert not judged([50.0] * 4, differs=True)["wrong"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_wrong(value):
    found = judged([100.0, value])
    assert (found["error"], found["wrong"]) == (None, True)
    json.dumps(found, allow_nan=False)


def test_an_answer_of_another_length_is_a_failure():
    found = ready().judge(np.zeros(3), {"judged": [4, 2000], "differs": False})
    assert found == {"failure": "an answer of shape (3,), not (4,)"}


def test_ours_is_timed_in_long_games_and_judged_in_those_of_the_others():
    prepared = ready()
    own, other = prepared.task(SOLVERS[OURS]), prepared.task(SOLVERS["coba"])
    assert (own["timed"], own["judged"]) == ([100, 100_000], [SOLVERS[OURS].sample, 2000])
    assert own["count"] == 10_000_000
    assert other["timed"] == other["judged"] == [SOLVERS["coba"].sample, 2000]
    assert other["count"] == SOLVERS["coba"].sample * 2000
    assert (own["differs"], other["differs"]) == (False, True)


def test_references_are_made_once(tmp_path):
    first = replace(CASES["exp3"], rounds=20).prepare(tmp_path)
    again = replace(CASES["exp3"], rounds=20, regret=lambda *_: pytest.fail("made again")).prepare(tmp_path)
    assert np.array_equal(first.expected, again.expected)
    assert first.expected.shape == (RUNS,)
    assert json.dumps(first.describe(), allow_nan=False)
    other = replace(CASES["exp3"], rounds=30).prepare(tmp_path)
    assert not np.array_equal(first.expected, other.expected)


# Processes.


@pytest.fixture(autouse=True)
def _kernels_of_earlier_tests(monkeypatch):
    """Compiling anew is a race's measurement, and here a waste."""
    monkeypatch.setattr(race, "empty_kernel_cache", lambda: nullcontext(CACHE))


@pytest.fixture
def track(tmp_path):
    return Track(tmp_path / "peers", tmp_path / "instances", reps=1)


def run(case, solvers, track):
    entered = Race("r", "r", (case,), solvers, BANDITS.words)
    return list(race.run(entered, [case.prepare(track.instances)], track))


@EVERY
def test_ours_has_the_regret_of_each_algorithm(name, track):
    rounds = 5000 if name == "dynlin-ucb" else 200
    case = replace(CASES[name], rounds=rounds, own=(2, 10))
    (done,) = run(case, (replace(SOLVERS[OURS], threads=False),), track)
    assert done["failure"] is None
    assert not done["wrong"], done["shown"]
    assert (done["count"], done["iterations"]) == (20, None)


SCRIPT = """
import games
from protocol import serve
def solve(game, task):
    return games.arms(game, task, lambda run: (lambda: {arm}, lambda arm, reward: None))
serve("numpy", lambda game, task: game, solve, lambda game, regret, task: (regret, None))
"""


@pytest.mark.parametrize(("arm", "regret"), [(0, 0), (9, 22.5)])
def test_a_library_that_plays_another_policy_is_wrong(arm, regret, track, tmp_path, monkeypatch):
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    for file in ("protocol.py", "games.py"):
        shutil.copy(SCRIPTS / file, scripts)
    (scripts / "run_odd.py").write_text(SCRIPT.format(arm=arm))
    monkeypatch.setattr(race, "SCRIPTS", scripts)
    environment(track, "odd")
    case = replace(CASES["ucb1"], rounds=50)
    (done,) = run(case, (Solver("odd", {"ucb1": ("m",)}, sample=4),), track)
    assert done["wrong"]
    assert done["shown"].startswith(f"regret {regret} ")
    assert done["count"] == 200


def test_linear_games_are_those_of_the_reference(monkeypatch):
    """Random arms lose what arms drawn without looking lose on average: E max_a theta_a'x."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import games  # as the scripts import it

    seen = []
    rng = np.random.default_rng(0)

    def policy(run):
        return lambda x: rng.integers(4), lambda x, arm, reward: seen.append(reward)

    instance = linear(4, 3)
    found = games.contexts(instance, {"timed": [20, 200]}, policy)
    x = np.random.default_rng(1).standard_normal((100_000, 3)) / np.sqrt(3)
    expected = 200 * (x @ instance["theta"].T).max(axis=1).mean()
    assert abs(found.mean() - expected) <= 4 * found.std() / sqrt(20) + 0.01 * expected
    assert len(seen) == 4000


def test_one_task_in_two_cases_is_done_once(track, monkeypatch):
    calls = []

    def measured(solver, method, ready, track, compiled, *, threads, limit):
        calls.append((solver.name, ready.case.name))
        label = {"case": ready.case.name, "solver": solver.name, "method": method, "threads": threads}
        return label | {"failure": None, "wrong": False, "cpu": [1.0], "first_cpu": 1.0}

    monkeypatch.setattr(race, "measure", measured)
    cases = tuple(replace(CASES["ucb1"], rounds=20, title=title) for title in ("one", "two"))
    cases = (*cases, replace(cases[0], rounds=30))
    entered = Race("r", "r", cases, (SOLVERS[OURS],), BANDITS.words)
    done = list(race.run(entered, [case.prepare(track.instances) for case in cases], track))
    assert len(calls) == 2
    assert len(done) == 3


# The race itself.


def test_every_library_has_its_script_and_pinned_requirements():
    for solver in (*BANDITS.solvers,):
        assert (SCRIPTS / f"run_{solver.script}.py").exists()
        if solver.name != OURS:
            lines = (SCRIPTS / f"requirements-{solver.library}.txt").read_text().split()
            assert all(line.count("==") == 1 for line in lines)
            assert set(solver.methods) <= set(CASES)
            assert set(solver.differs) <= set(solver.methods)
    assert set(SOLVERS[OURS].methods) == set(CASES)
    pinned = (SCRIPTS / "requirements-smpybandits.txt").read_text().split()
    assert {"numpy==1.26.4", "scipy==1.11.4"} <= set(pinned)  # it imports with no later SciPy


def test_arms_and_mixing():
    game = bernoulli()
    assert np.allclose(game["means"], [0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05])
    assert game["gamma"] == pytest.approx(sqrt(10 * log(10) / (1.718281828 * 2000)))


def test_random_numbers_are_drawn_as_by_numpy():
    rng = np.random.default_rng(0)
    total = 0.0
    for _ in range(5):
        total += rng.random()
        total += rng.random()
        total += rng.standard_normal()
    assert draws(5, 2, 1, 1) == pytest.approx(total, rel=1e-14)


# What is shown.


def told(solver, cpu, *, case="ucb1", threads=1, wrong=False, differs=None, count=1000):
    m = {"case": case, "solver": solver, "method": "m", "threads": threads, "failure": None, "version": "1"}
    m |= {"cpu": [cpu], "wall": [cpu], "first_cpu": cpu, "ingest_cpu": 0.0, "ingest_wall": 0.0, "peak_bytes": None}
    m |= {"iterations": None, "error": 0.5 if wrong else 0.0, "wrong": wrong, "count": count, "batched": False}
    return m | {"differs": differs, "shown": "regret 35 ± 2, expected 68"}


def document_of(*measurements, machine=()):
    cases = [{"name": "ucb1", "title": "UCB1", "tol": 0.02, "unit": "s a round", "instances": ["ucb1"]}]
    cases[0] |= {"input_bytes": None, "rows": None, "facts": {"ours": "2 runs"}}
    base = {"format": document.FORMAT, "race": "bandits", "title": "Playing bandits", "words": asdict(BANDITS.words)}
    base |= {"environment": {"python": "3"}, "threads": [1], "limit": 60.0, "cases": cases, "machine": list(machine)}
    return base | {"solvers": [OURS, "p", "q", "z"], "measurements": list(measurements)}


def shown(tmp_path):
    doc = document_of(
        told(OURS, 1e-4),
        told("p", 0.05),
        told("q", 0.02, differs="UCB1-Tuned"),
        told("z", 0.01, wrong=True),
        machine=[{"what": "draws", "instance": "ucb1", "threads": 1, "bytes": 0, "seconds": 1e-8}],
    )
    path = tmp_path / "bench.json"
    document.write(path, [doc])
    return document.read(path)[0]


def test_rates_and_marks_by_hand(tmp_path):
    doc = shown(tmp_path)
    (row,) = render.rows(doc, 1)
    cells = ["10 M/s", "20 k/s (500×)", "≈ 50 k/s (200×)", "! 100 k/s, regret 35 ± 2, expected 68"]
    assert row == ["ucb1", *cells, "500×", "500×", "10%"]
    (record,) = doc["records"]
    assert record["ratios"] == {"p": pytest.approx(500)}  # neither what is wrong nor what is something else
    assert record["peers"]["q"] == pytest.approx(2e-5)
    lines = render.conclusion(doc)
    assert "≈ q in all cases: UCB1-Tuned." in lines
    assert "Wrong: z m, in 1 of the cases by up to 5.0e-01." in lines
    unit = render.unit(doc, 1)
    assert unit.startswith("Playing bandits: rounds a CPU second, one thread; ")
    assert "≈: something else" in unit
    assert "a second, at most 2 threads" in render.unit(doc, 2)
    text = render.markdown(doc)
    assert "| ucb1 | p 1 | m, 1,000 rounds | 50 µs |" in text
    assert "| draws, ucb1 | 1 |  | 10 ns |  |" in text


def test_without_something_else_there_is_no_such_mark(tmp_path):
    doc = shown(tmp_path)
    doc["measurements"] = [m for m in doc["measurements"] if not m["differs"]]
    assert "≈" not in render.unit(doc, 1)
    assert not any("≈" in line for line in render.conclusion(doc))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1e-7, "10 M/s"), (1e-6, "1 M/s"), (1.1e-6, "909 k/s"), (2e-3, "500 /s"), (4.0, "0.25 /s")],
)
def test_rate(seconds, text):
    assert render.rate(seconds) == text


def test_the_limit_is_the_longest_of_the_surveys():
    machine = [
        {"what": what, "instance": "ucb1", "threads": 1, "bytes": 0, "seconds": seconds}
        for what, seconds in (("draws", 1e-8), ("read", 3e-8))
    ]
    doc = document_of(told(OURS, 1e-4), machine=machine)
    assert limit_share(doc, doc["cases"][0], 1) == pytest.approx(0.3)
    wrong = document_of(told(OURS, 1e-4, wrong=True), machine=machine)
    assert limit_share(wrong, wrong["cases"][0], 1) is None
    failed = document_of(told(OURS, 1e-4), machine=[machine[0] | {"seconds": None}])
    assert limit_share(failed, failed["cases"][0], 1) is None
    assert limit_share(document_of(told(OURS, 1e-4)), doc["cases"][0], 1) is None


def test_the_figure_is_faint_where_something_else_was_done(tmp_path):
    canvas, data = render.figure(shown(tmp_path)).draw()
    (axes,) = canvas.axes
    assert data["same"].tolist() == [True, True, False, True]
    assert [line.get_alpha() == render.FAINT for line in axes.lines] == [False, False, True, False]
    assert axes.get_xlabel() == "CPU seconds a round"
    labels = [text.get_text() for text in canvas.legends[0].get_texts()]
    assert labels[-2:] == ["wrong", "something else"]


# Programs that are on no index.


@pytest.fixture
def claimlab(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "CACHE", tmp_path / "cache")
    authors = Solver("authors", {"ucb1": ("m",)}, source=Source("https://example.org/program", "abc1234"))
    other = Solver("other", {"ucb1": ("m",)})
    entered = Race("tiny", "Tiny", (CASES["ucb1"],), (authors, other), BANDITS.words)
    monkeypatch.setattr(benchmarks, "RACES", (entered,))
    return lambda *words: CliRunner().invoke(cli.app, ["bench", *map(str, words)])


def installing(calls, refuse=""):
    def run(words, check):
        calls.append(words)
        if words[1:3] == ["-m", "venv"]:
            (Path(words[3]) / "bin").mkdir(parents=True)
            (Path(words[3]) / "bin/python").touch()
        if refuse and refuse in words:
            raise race.subprocess.CalledProcessError(128, words)

    return run


def test_a_program_is_cloned_beside_its_environment(claimlab, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(race.subprocess, "run", installing(calls))
    assert claimlab("--prepare", "--peers", "envs").exit_code == 0
    git = [words for words in calls if words[0] == "git"]
    assert git[0][-2:] == ["https://example.org/program", "envs/authors/source"]
    assert git[1][1:3] == ["-C", "envs/authors/source"]
    assert git[1][-1] == "abc1234"


def test_a_program_out_of_reach_keeps_no_library_from_the_race(claimlab, tmp_path, monkeypatch):
    monkeypatch.setattr(race.subprocess, "run", installing([], refuse="clone"))
    result = claimlab("--prepare", "--peers", "envs")
    assert result.exit_code == 0
    assert "authors could not be installed" in result.stderr
    assert not (tmp_path / "envs/authors").exists()
    assert (tmp_path / "envs/other/bin/python").exists()


def test_a_library_that_cannot_be_installed_keeps_no_other_from_it(claimlab, tmp_path, monkeypatch):
    requirements = str(SCRIPTS / "requirements-authors.txt")
    monkeypatch.setattr(race.subprocess, "run", installing([], refuse=requirements))
    entered = benchmarks.RACES[0]
    solvers = (replace(entered.solvers[0], source=None), entered.solvers[1])
    monkeypatch.setattr(benchmarks, "RACES", (replace(entered, solvers=solvers),))
    result = claimlab("--prepare", "--peers", "envs")
    assert result.exit_code == 2
    assert result.stderr.startswith("claimlab: authors could not be installed")
    assert (tmp_path / "envs/other/bin/python").exists()


def test_a_program_that_is_missing_is_not_available(track):
    authors = replace(SOLVERS["dlb"], methods={"ucb1": ("m",)})
    (missing,) = run(replace(CASES["ucb1"], rounds=20), (authors,), track)
    assert missing["failure"] == "not available"
    assert "not available" in render.line(missing, asdict(BANDITS.words))


def test_without_git_there_is_one_line(track, monkeypatch):
    def run(words, check):
        if words[0] == "git":
            raise FileNotFoundError("git")
        installing([])(words, check)

    monkeypatch.setattr(race.subprocess, "run", run)
    with pytest.raises(WrongUsage, match="dlb could not be installed"):
        race.install(SOLVERS["dlb"], track)
    assert not (track.peers / "dlb").exists()


def test_the_race_is_the_recorded_one():
    """Until it is recorded, its place in the README says so."""
    readme, record = (ROOT / "README.md").read_text(), ROOT / "experiments/records/bench-bandits.json"
    place = readme.split("<!-- race of the bandits -->\n")[1].split("<!-- end of the race of the bandits -->")[0]
    assert place == (render.summary_table(document.read(record)[0]) if record.exists() else "Not recorded yet.\n")
