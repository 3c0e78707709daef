"""Files of unknown origin and arguments of any kind: one clear error, or an object that can be used."""

import copy
import hashlib
import io
import itertools
import json
import pickle
import re
import sys
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from claimlab import bandits, mdps
from claimlab.experiments import catalogue, ledger, report, verify
from claimlab.experiments.benchmarks import document, stored
from claimlab.experiments.errors import WrongUsage
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.store import Damaged, Key, Result, Store
from claimlab.theory import Budget, Comparison, Identity, Inequality, Paper, Probability, Rate
from claimlab.theory import evidence as rules
from claimlab.theory.claims import SMOKE
from claimlab.theory.concentration import betting_interval, betting_lower, empirical_bernstein

from .sample_claims import CLAIMS, PAPER
from .test_report import HOSTILE, Page

QUICK = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])

# Arguments.

HALF = [[0.5, 0.5], [0.5, 0.5]]
ARMS = [[1.0, 0.0], [0.0, 1.0]]
VALID = [
    (mdps.TabularMDP, {"P": [HALF, HALF], "r": ARMS, "gamma": 0.9, "initial": [0.5, 0.5]}),
    (mdps.EpisodicMDP, {"P": [HALF, HALF], "r": ARMS, "horizon": 3}),
    (mdps.AverageMDP, {"P": [HALF, HALF], "r": ARMS, "actions": [[1, 1], [0, 1]], "terminal": [0, 0]}),
    (mdps.MarkovGame, {"P": [[HALF, HALF], [HALF, HALF]], "r": [ARMS, ARMS], "gamma": 0.5}),
    (mdps.StagedMDP, {"P": [[HALF, HALF]], "r": [ARMS], "initial": [1.0, 0.0]}),
    (mdps.LinearMDP, {"phi": [ARMS, ARMS], "mu": [HALF], "theta": [[0.5, 0.5]], "initial": [1.0, 0.0]}),
    (mdps.MDPBatch, {"P": [[HALF, HALF]], "r": [ARMS], "gamma": 0.9}),
    (mdps.TokenTree, {"vocabulary": 2, "depth": 3}),
    (mdps.Log, {"transitions": [[[[1, 0], [0, 0]], [[0, 2], [0, 0]]]], "rewards": [[[1.0, 0.0], [1.0, 0.0]]]}),
    (
        mdps.EpisodeLog,
        {
            "states": [[0, 1]],
            "actions": [[1, 0]],
            "rewards": [[0.0, 1.0]],
            "propensities": [[0.5, 0.5]],
            "target": HALF,
            "gamma": 0.9,
        },
    ),
    (
        mdps.TransitionLog,
        {
            "states": [0, 1],
            "actions": [1, 0],
            "rewards": [0.0, 1.0],
            "next_states": [1, 1],
            "target": HALF,
            "initial": [1.0, 0.0],
            "gamma": 0.9,
        },
    ),
    (mdps.L1Sets, {}),
    (mdps.BernsteinSets, {}),
    (mdps.TotalVariation, {"radius": 0.1}),
    (mdps.KL, {"radius": [[0.1, 0.2]]}),
    (mdps.ChiSquare, {"radius": 0.1}),
    (bandits.Bernoulli, {"means": [0.5, 0.2]}),
    (bandits.Gaussian, {"means": [0.5, 0.2]}),
    (bandits.Table, {"rewards": ARMS}),
    (bandits.Switching, {"means": HALF, "starts": [0, 3]}),
    (bandits.Drifting, {"start": [0.5, 0.5], "step": 0.1}),
    (bandits.StochasticallyConstrained, {"gaps": [0.0, 0.1]}),
    (bandits.SharedLinear, {"theta": [0.5, 0.5], "n_arms": 3}),
    (bandits.DisjointLinear, {"theta": HALF}),
    (bandits.PiecewiseLinear, {"knots": [0.0, 1.0], "costs": HALF}),
    (bandits.DynamicalLinear, {"A": [[0.5]], "B": [[1.0]], "omega": [1.0], "theta": [1.0], "arms": [[1.0], [0.5]]}),
    (bandits.LinearArms, {"arms": ARMS, "theta": [1.0, 0.5], "sigma": 0.1}),
    (bandits.UCB1, {}),
    (bandits.KLUCB, {}),
    (bandits.EpsilonGreedy, {"epsilon": 0.1}),
    (bandits.Exp3, {"eta": 0.1}),
    (bandits.TsallisINF, {}),
    (bandits.AR2, {"alpha": 0.9, "sigma": 0.1, "epoch": 5, "c1": 1.0}),
    (bandits.DLinUCB, {"arms": ARMS, "gamma": 0.9}),
    (bandits.Delayed, {"base": bandits.UCB1(), "delay": 3}),
    (bandits.BanditLog, {"actions": [0, 1], "rewards": [0.0, 1.0], "propensities": [0.5, 0.5], "target": HALF}),
    (Budget, {"name": "smoke", "instances": 3, "runs": 4, "seed": 0, "stream": ""}),
    (Paper, {"slug": "a", "title": "b", "authors": "c", "venue": "d", "arxiv": "", "tier": "A"}),
    (Identity, {"residual": 0.0, "rounding": 0.0, "instances": 1, "proof": "float"}),
    (
        Inequality,
        {"ratio": 0.5, "excess": -1.0, "error": 0.0, "instances": 1, "informative": 1, "tried": 1, "power": 1},
    ),
    (Rate, {"p_support": 0.5, "p_refute": 0.5}),
    (Probability, {"p_support": 0.5, "p_refute": 0.5}),
    (Comparison, {"p_support": 0.5, "p_refute": 0.5}),
    (rules.probability, {"failures": 1, "runs": 3, "delta": 0.1}),
    (rules.comparison, {"a": list(range(10)), "b": list(range(10)), "effect": 0.0}),
    (rules.rate, {"x": [1, 2, 3], "y": [[1, 2, 3]] * 10, "exponent": 1.0, "side": "at most", "resolution": 0.05}),
    (empirical_bernstein, {"x": [0.0, 1.0], "low": 0, "high": 1, "level": 0.05}),
    (betting_interval, {"x": [0.0, 1.0], "low": 0, "high": 1, "level": 0.05}),
    (betting_lower, {"x": [0.0, 1.0], "level": 0.05}),
    (mdps.garnet, {"n_states": 3, "n_actions": 2, "branching": 2, "gamma": 0.9}),
    (mdps.river_swim, {"n": 4, "gamma": 0.9}),
]
RANDOM = {rules.comparison, rules.rate, mdps.garnet}
ODD = [
    *(None, True, -3, -1, 0, 1, 3, 2**70, -(2**70), 10**400, 0.5, 1e308, -1e308, 5e-324, np.nan, np.inf, -np.inf, 1j),
    *("", "1", "nan", b"1", object, Ellipsis, [], [[]], [[1.0], [1.0, 2.0]], {}, {"a": 1}, set(), range(3)),
    *(np.zeros((0, 2)), np.zeros((2, 0, 2)), np.array(1.0), np.array(["a", "b"]), np.array([None, 1])),
    *(np.array(["2020-01-01"], dtype="datetime64"), np.zeros(2, dtype=[("a", float)]), np.full((2, 2), 1j)),
    *(np.ones((2, 2, 2), dtype=np.float16), np.ma.masked_array([1.0, 2.0], mask=[True, False])),
    *(csr_array(np.eye(2)), csr_array(np.full((4, 2), np.nan)), lambda: 0),
]
ENTRIES = [np.nan, np.inf, -1.0, 2.0, 1e308, -1e308, 5e-324, 0.0, 0.3, 1j, "x", None, 1e16]
DERIVED = {"LinearMDP": ("P",), "DynamicalLinear": ("h", "values")}  # what they compute may be what is wrong


def places(value, at=()):
    """Where the entries of nested lists are."""
    if isinstance(value, list):
        for i, inner in enumerate(value):
            yield from places(inner, (*at, i))
    else:
        yield at


def spoilt(value):
    """Something of any kind instead of the value, and something of any kind in some of its places."""
    yield from ODD
    for at in itertools.islice(places(value) if isinstance(value, list) else (), 3):
        for entry in ENTRIES:
            out = copy.deepcopy(value)
            row = out
            for i in at[:-1]:
                row = row[i]
            row[at[-1]] = entry
            yield out


def made(make, arguments):
    extra = {"rng": np.random.default_rng(0)} if make in RANDOM else {}
    return make(**copy.deepcopy(arguments), **extra)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("make", "arguments"), VALID, ids=lambda value: getattr(value, "__name__", ""))
def test_constructors_take_an_argument_or_say_in_a_line_what_is_wrong_with_it(make, arguments):
    """10,000 calls with one argument of any kind: nothing but a ValueError or TypeError that names an argument."""
    plain = made(make, arguments)
    if is_dataclass(make):
        rest = {f.name: getattr(plain, f.name) for f in fields(make) if f.init and f.name not in arguments}
        arguments = arguments | {k: v for k, v in rest.items() if isinstance(v, (bool, int, float, str))}
    known = re.compile(rf"\b({'|'.join(map(re.escape, (*arguments, *DERIVED.get(make.__name__, ()))))})\b")
    for name, value in arguments.items():
        for spoiler in spoilt(value):
            message = ""
            try:
                made(make, arguments | {name: spoiler})
            except (ValueError, TypeError) as error:
                message = str(error)
            if message and not message.startswith("Maximum allowed"):  # NumPy's, of a size beyond all memory
                assert known.search(message), (name, spoiler, message)
                assert "\n" not in message
                assert len(message) < 600


# Ledgers, results and races.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.sampled_from(["", "inf", "../x", HOSTILE]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "id", "kind"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def record():
    return json.loads(json.dumps(verify(CLAIMS, SMOKE).to_json()))


@st.composite
def changed(draw, value):
    """The JSON value with something in it replaced, dropped or added."""
    if isinstance(value, (dict, list)) and value and draw(st.integers(0, 5)):
        keys = sorted(value) if isinstance(value, dict) else range(len(value))
        key = draw(st.sampled_from(keys))
        out = copy.copy(value)
        what = draw(st.integers(0, 9))
        if what == 0:
            del out[key]
        elif what == 1 and isinstance(out, dict):
            out["new"] = draw(JSON)
        else:
            out[key] = draw(changed(value[key]))
        return out
    return draw(JSON)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_ledger_of_unknown_origin_is_shown_or_refused(data, record, tmp_path):
    path = tmp_path / "ledger.json"
    path.write_text(json.dumps(data.draw(changed(record))))
    found, refusal = None, ""
    try:
        found = ledger.read(path)
    except WrongUsage as error:
        refusal = str(error)
    if found is None:
        assert refusal.startswith(f"{path} does not hold a ledger")
        assert "\n" not in refusal
        return
    found.to_frame()
    found._repr_html_()
    assert all(row.departure.startswith(row.id) or row.as_expected for row in found.rows)
    index = report.write(found, (), tmp_path / "report").path
    papers = sorted((tmp_path / "report" / "papers").glob("*"))
    for path, scripts in ((index, 1), *((path, 0) for path in papers)):
        page = Page(path.read_text(encoding="utf-8"))
        assert len(page.all("script")) == scripts
        assert page.all("img") == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ledger.json", "report"]
    assert {p.name for p in (tmp_path / "report").iterdir()} <= {"index.html", "papers", "report.css"}
    assert {p.name for p in papers} == {f"{paper.slug}.html" for paper in found.papers}


class Bomb:
    def __reduce__(self):
        return exec, ("import sys; sys.bombed = True",)


def bombs():
    """Bytes that hurt whoever trusts them: pickles, sizes without contents, depth without end, and plain noise."""
    buffer = io.BytesIO()
    np.save(buffer, np.array([Bomb()], dtype=object), allow_pickle=True)
    archive = io.BytesIO()
    np.savez(archive, P=np.array([Bomb()], dtype=object))
    head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"
    return {
        "pickle": pickle.dumps(Bomb()),
        "npy pickle": buffer.getvalue(),
        "npz pickle": archive.getvalue(),
        "huge header": b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head,
        "huge safetensors": (2**62).to_bytes(8, "little") + b"{}",
        "deep": b"[" * 100_000,
        "deep object": b'{"a":' * 100_000,
        "long number": b"1" * 10_000,
        "infinite": b'{"claims": Infinity}',
        "utf-16": "{}".encode("utf-16"),
        "zeros": bytes(1000),
        "nothing": b"",
        "surrogate": b'"\\ud800"',
        "twice": b'{"claims": [], "claims": 3}',
    }


@pytest.mark.parametrize("name", bombs())
def test_no_loader_runs_or_trusts_what_it_reads(name, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bombs()[name])
    with pytest.raises(WrongUsage, match="does not hold a ledger"):
        ledger.read(path)
    with pytest.raises(WrongUsage, match="does not hold a race"):
        document.read(path)
    with pytest.raises(ValueError, match="not an intact MDP file"):
        mdps.load(path)
    store, key = Store(tmp_path), Key("a/b", "check", SMOKE, "code")
    path.rename(store.path(key))
    with pytest.raises(Damaged):
        store.get(key)
    store.path(key).rename(path)
    with pytest.raises((ValueError, OSError, EOFError, AttributeError, MemoryError)):  # NumPy's: our own cache only
        stored.read(path)
    assert not hasattr(sys, "bombed")


@QUICK
@given(data=st.data())
def test_a_stored_result_of_unknown_origin_is_taken_whole_or_not(data, tmp_path):
    """Whoever can write a checksum can write a result; nothing else than a result is taken."""
    store, key = Store(tmp_path), Key("a/b", "check", SMOKE, "code")
    result = Result(rules.to_json(Identity(0.0, 0.0, 1, "float")), None, 1.0, {"python": "3"})
    store.put(key, result)
    path = store.path(key)
    found = json.loads(path.read_text())
    body = data.draw(changed({"key": found["key"], "result": found["result"]}))
    text = json.dumps(body, sort_keys=True)
    path.write_text(json.dumps({**(body if isinstance(body, dict) else {"key": body}), "checksum": sha(text)}))
    refusal = ""
    try:
        evidence = store.get(key).read()
    except Damaged as error:
        refusal = str(error)
    if refusal:
        assert str(path) in refusal
        assert "\n" not in refusal
    elif evidence is not None:
        assert evidence.rule(0.05)[1]


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


@QUICK
@given(data=st.data())
def test_evidence_of_unknown_origin_is_judged_or_refused(data):
    kind = data.draw(st.sampled_from([Identity(0.0, 0.0, 1, "float"), Rate(0.1, 0.2), Comparison(0.1, 0.2)]))
    kind = data.draw(st.sampled_from([kind, Inequality(0.5, -1.0, 0.0, 1, 1, 1, 1), rules.probability(1, 9, 0.5)]))
    try:
        found = rules.from_json(data.draw(changed(rules.to_json(kind))))
    except ValueError:
        return
    assert found.rule(0.05)[1]
    assert rules.judge({"it": found})["it"].reason


# Names.


@pytest.mark.parametrize("name", ["../x", "..", "a/b", "a\\b", "/etc", "", ".hidden", "a\0b", "a\nb", "é", "con:", "-"])
def test_no_name_leads_out_of_its_folder(name):
    with pytest.raises(ValueError, match="must consist of letters"):
        PaperFigure(name, "caption", lambda: None)
    if name != "-":
        with pytest.raises(ValueError, match="slug must consist of"):
            replace(PAPER, slug=name)
        with pytest.raises(ValueError, match="id must be"):
            replace(CLAIMS[0], id=f"{PAPER.slug}/{name}")


def test_a_key_is_a_file_name_whatever_it_holds(tmp_path):
    for claim in ("../../x", "a\0b", "é" * 500, "/etc/passwd"):
        path = Store(tmp_path).path(Key(claim, "check", SMOKE, "../.."))
        assert path.parent == tmp_path
        assert re.fullmatch(r"[0-9a-f]{64}\.json", path.name)


def test_a_report_runs_no_file_that_a_ledger_names(tmp_path, record, monkeypatch):
    """Whoever wrote the ledger chose the file; only files that the user names are run."""
    from typer.testing import CliRunner

    from claimlab.experiments.__main__ import app

    monkeypatch.chdir(tmp_path)
    evil = tmp_path / "evil.py"
    evil.write_text("import sys\nsys.bombed = True\n")
    for row in record["claims"]:
        row["file"] = str(evil)
    Path("claimlab-out").mkdir()
    Path("claimlab-out/ledger.json").write_text(json.dumps(record))
    result = CliRunner().invoke(app, ["report"])
    assert result.exit_code == 0, result.output
    assert not hasattr(sys, "bombed")
    assert any("evil.py" in path.read_text() for path in Path("claimlab-out/report/papers").glob("*.html"))


# What a user writes into a claim.

TEXT = st.text(max_size=20) | st.sampled_from(
    [HOSTILE, "$x$", "$", "$\\text{<b>}$", "$\\href{javascript:x}{y}$", "]]>", "{{ 7*7 }}"]
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_text_changes_the_elements_of_the_page(data, record, tmp_path):
    """But for formulas, the page has the elements that it has with plain words."""
    rows = ledger.Ledger(tuple(ledger.Row(**row) for row in record["claims"]), (PAPER,), SMOKE, record["environment"])
    texts = {
        name: data.draw(TEXT)
        for name in ("source", "kind", "reason", "control_reason", "statement", "control_statement", "file")
    }
    witness = {data.draw(TEXT): [data.draw(TEXT), 1.0]}
    wild = replace(rows.rows[0], **texts, premises=[data.draw(TEXT)], worst_instance=witness)
    tame = replace(
        rows.rows[0], **dict.fromkeys(texts, "word"), premises=["word"], worst_instance={"word": ["word", 1.0]}
    )
    paper = replace(PAPER, **{name: data.draw(TEXT) for name in ("title", "authors", "venue")})

    def elements(row, paper):
        found = replace(rows, rows=(row,), papers=(paper,))
        page = Page(report.write(found, (), tmp_path).path.read_text(encoding="utf-8"))
        start = [name for name, _ in page.elements].index("body")
        return [name for name, _ in page.elements[start:] if name in PLAIN]

    assert elements(wild, paper) == elements(tame, PAPER)


PLAIN = {
    "script",
    "img",
    "a",
    "p",
    "div",
    "section",
    "article",
    "pre",
    "ul",
    "li",
    "dl",
    "dd",
    "table",
    "tr",
    "td",
    "b",
}


def test_a_file_of_claims_is_code_and_runs_only_where_it_is_named(tmp_path):
    """`catalogue.load_file` executes what it is given: it is given what the user typed, and nothing else."""
    callers = [
        path.name for path in sorted((Path(catalogue.__file__).parent).glob("*.py")) if "load_file(" in path.read_text()
    ]
    assert callers == ["catalogue.py"]


# States of trainings.


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """A folder with the state of a training, and what goes on from it: a start, its task and its settings."""
    pytest.importorskip("safetensors")
    pytest.importorskip("torch")
    from claimlab.experiments.lm import surrogates, tasks
    from claimlab.experiments.lm.train import Settings, imitate, reinforce

    folder, task = tmp_path_factory.mktemp("training"), tasks.modes(2)
    settings, start = Settings(steps=2, prompts=2, group=2, evaluate=1), imitate(task, width=16, steps=2, size=8)

    def go_on(where):
        return reinforce(copy.deepcopy(start), task, surrogates.rec, settings, folder=where)

    go_on(folder)
    return folder / "state.safetensors", go_on


def _other(state, change):
    """The bytes of a state after a change of its tensors and its words."""
    from safetensors.torch import load, save

    tensors = load(state)
    words = json.loads(state[8 : 8 + int.from_bytes(state[:8], "little")])["__metadata__"]
    change(tensors, words)
    return save({name: value.clone() for name, value in tensors.items()}, words)  # which refuses shared memory


STATES = {
    "empty": lambda s: b"",
    "no header": lambda s: b"\xff" * 64,
    "cut": lambda s: s[: len(s) // 2],
    "no words": lambda s: (2).to_bytes(8, "little") + b"{}",
    "no run": lambda s: _other(s, lambda t, w: w.pop("run")),
    "rows that are no JSON": lambda s: _other(s, lambda t, w: w.update(rows="[{")),
    "no rows": lambda s: _other(s, lambda t, w: w.update(rows="[]")),
    "a row without a step": lambda s: _other(s, lambda t, w: w.update(rows='[{"reward": 1}]')),
    "a step before the first": lambda s: _other(s, lambda t, w: w.update(rows='[{"step": -3}]')),
    "a part is missing": lambda s: _other(s, lambda t, w: [t.pop(k) for k in list(t) if k.startswith("start/")]),
    "another part": lambda s: _other(s, lambda t, w: t.update({"other/x": next(iter(t.values()))})),
    "a name without a part": lambda s: _other(s, lambda t, w: t.update({"x": next(iter(t.values()))})),
    "a wrong shape": lambda s: _other(s, lambda t, w: t.update({k: v[:1].clone() for k, v in t.items() if v.ndim > 1})),
    "a wrong type": lambda s: _other(s, lambda t, w: t.update({k: v.double() for k, v in t.items()})),
    "half a moment": lambda s: _other(s, lambda t, w: t.pop("moments/0/exp_avg")),
    "a moment of nothing": lambda s: _other(s, lambda t, w: t.update({"moments/999/step": t["moments/0/step"]})),
    "a moment by name": lambda s: _other(s, lambda t, w: t.update({"moments/x/step": t["moments/0/step"]})),
}


@pytest.mark.parametrize("name", STATES)
def test_a_state_that_is_damaged_is_named_before_anything_is_changed(name, training, tmp_path):
    state, go_on = training
    path = tmp_path / "state.safetensors"
    path.write_bytes(STATES[name](state.read_bytes()))
    with pytest.raises(ValueError, match=re.escape(f"{path} is not an intact state: ")):
        go_on(tmp_path)


def test_a_state_that_is_whole_is_gone_on_from(training, tmp_path):
    state, go_on = training
    (tmp_path / state.name).write_bytes(_other(state.read_bytes(), lambda tensors, words: None))
    assert len(go_on(tmp_path)) == 3
