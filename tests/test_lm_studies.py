"""Studies: records are judged and drawn without torch; trainings are stored, go on, and tell what is missing."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from scipy import stats
from typer.testing import CliRunner

from claimlab.experiments import __main__ as cli
from claimlab.experiments.lm import records
from claimlab.theory.evidence import from_json

RNG = np.random.default_rng(0)


def table(seeds=12, gain=0.2, noise=0.02):
    """Two arms on two kinds of data; the second is better by `gain` on stale data and the same run on fresh data."""
    rows = []
    for data in ("fresh", "stale"):
        for seed in range(seeds):
            base = RNG.normal(0.5, noise, 2)
            for arm in ("plain", "clip"):
                extra = gain if (data, arm) == ("stale", "clip") else 0.0
                scores = [0.2, *(base + extra + (RNG.normal(0, noise, 2) if data == "stale" else 0))]
                steps = zip((0, 10, 20), scores)
                rows += [
                    {"data": data, "arm": arm, "rate": 1e-3, "seed": seed, "step": step, "score": s}
                    for step, s in steps
                ]
    return pd.DataFrame(rows)


def test_findings_are_the_stated_differences():
    found = records.findings(made := table(), [("clip", "plain")], 0.05)
    keys = [(f["data"], f["better"], f["worse"]) for f in found]
    assert keys == [
        (d, *p) for d in ("fresh", "stale") for p in (("plain", "start"), ("clip", "start"), ("clip", "plain"))
    ]
    late = made[made["step"] > 0].groupby(["data", "arm", "seed"])["score"].mean()
    by_hand = {d: (late[d, "clip"] - late[d, "plain"]).mean() for d in ("fresh", "stale")}
    assert found[5]["difference"] == pytest.approx(by_hand["stale"])
    evidence = from_json({k: v for k, v in found[5].items() if k not in ("data", "better", "worse")})
    assert evidence.p_support < 1e-4 < evidence.low - 0.05
    assert set(found[2]) == {"data", "better", "worse", "difference"}  # the same run twice
    assert found[2]["difference"] == 0
    few = records.findings(table(seeds=3), [("clip", "plain")], 0.05)
    assert all("low" not in f for f in few)
    ends = records.edges(made.assign(rate=1e-4), (1e-4, 1e-3))
    assert len(ends) == 4
    assert records.edges(made, (1e-4, 1e-3, 1e-2)) == records.edges(made, (1e-3,)) == []


def test_reversed_sides_refute():
    made = table()
    assert records.difference(made, "stale", "clip", "plain", 0.05).p_support < 1e-4
    assert records.difference(made, "stale", "plain", "clip", 0.05).p_refute < 1e-4
    assert records.difference(made, "fresh", "start", "clip", 0.05).p_refute < 1e-4


def test_a_diverged_run_scores_zero_and_the_start_does_not():
    made = table()
    lost = (made["data"] == "stale") & (made["arm"] == "plain") & (made["seed"] == 0)
    made.loc[lost, "score"] = 0.0
    (gain,) = (f for f in records.findings(made, [], 0.05) if (f["data"], f["better"]) == ("stale", "plain"))
    late = made[(made["data"] == "stale") & (made["arm"] == "plain") & (made["step"] > 0)]
    assert gain["difference"] == pytest.approx(late["score"].mean() - 0.2)


def test_an_arm_that_is_scored_in_its_own_way_starts_there():
    made = table()
    first = (made["data"] == "stale") & (made["arm"] == "clip")
    made.loc[first & (made["step"] == 0), "score"] = 0.3
    found = {f["better"]: f for f in records.findings(made[made["data"] == "stale"], [], 0.05)}
    for arm, start in (("clip", 0.3), ("plain", 0.2)):
        late = made[(made["data"] == "stale") & (made["arm"] == arm) & (made["step"] > 0)]
        assert found[arm]["difference"] == pytest.approx(late["score"].mean() - start)


def test_curves_are_means_with_intervals_of_t():
    figure, drawn = records.draw(made := table())
    plt.close(figure)
    scores = made[(made["data"] == "stale") & (made["arm"] == "clip") & (made["step"] == 20)]["score"]
    row = drawn[(drawn["data"] == "stale") & (drawn["arm"] == "clip") & (drawn["step"] == 20)].iloc[0]
    low, high = stats.t.interval(0.95, len(scores) - 1, scores.mean(), stats.sem(scores))
    assert (row["score"], row["low"], row["high"]) == pytest.approx((scores.mean(), low, high))
    assert row["seeds"] == 12


@pytest.mark.parametrize(
    "name",
    [
        "stale",
        "variants",
        "losses",
        "reward-ensembles",
        "pg-rank",
        "rover",
        "epo",
        "nlpo",
        "smollm2-smoke",
        "smollm2",
        "a-lol",
        "sppo",
        "igpo",
        "spo",
        "treepo",
        "refuel",
        "pav",
    ],
)
def test_a_packaged_record_holds_its_design(name):
    record = records.packaged(name)
    made = records.table_of(record)
    assert records.is_packaged(name)
    assert not records.is_packaged("none")
    assert set(made["data"]) == set(record["data"])
    assert set(made["rate"]) <= set(record["rates"])
    assert made.groupby(["data", "arm"])["seed"].nunique().eq(record["seeds"]).all()
    assert record["sane"]
    assert record["sane"] == records.sane(made, record["alike"])
    assert record["edges"] == records.edges(made, record["rates"])
    first, scores = record["findings"][0], records.metric(made[made["data"] == record["findings"][0]["data"]])
    start = made.loc[(made["step"] == 0) & (made["arm"] == first["better"]), "score"].max()
    assert first["difference"] == pytest.approx((scores[first["better"]] - start).mean())


def test_nothing_here_needs_torch():
    """The command line, the papers and the records are imported without it."""
    code = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('torch', 'safetensors'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from claimlab.experiments import __main__ as cli\n"
        "from typer.testing import CliRunner\n"
        "found = CliRunner().invoke(cli.app, ['lm', 'list'])\n"
        "print(found.exit_code, found.output)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.startswith("2 claimlab: language models need the package")
    assert "pip install 'claimlab[lm]'" in found


torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from claimlab.experiments.errors import WrongUsage  # noqa: E402
from claimlab.experiments.lm import running, studies, surrogates, tasks  # noqa: E402
from claimlab.experiments.lm.train import Settings, imitate  # noqa: E402

torch.set_num_threads(1)
MADE = imitate(tasks.modes(2), width=16, steps=10, size=32)
SMALL = replace(
    studies.STALE,
    name="small",
    task=replace(tasks.modes(2), reward=lambda _, answer: answer.count("1") - 0.5 * len(answer)),  # never all alike
    start=lambda: MADE,
    arms={arm: studies.ARMS[arm] for arm in ("REINFORCE", "one-side clip")},
    data={"fresh": 1, "stale": 2},
    pairs=studies.PAIRS[:1],
    alike=studies.ALIKE[:2],
    settings=Settings(steps=4, prompts=2, group=4, evaluate=2, scored=16),
    seeds=1,
    rates=(1e-3, 3e-3),
)


def test_every_training_is_stored_once(tmp_path):
    heard = []
    record = running.run(SMALL, tmp_path, tell=heard.append)
    assert [news.done for news in heard] == list(range(1, 13))
    assert {news.total for news in heard} == {SMALL.runs} == {12}
    assert all(news.note.endswith(" s") for news in heard)
    assert record["sane"]
    assert record["diverged"] == 0
    assert {"score", "kl", "entropy", "clip", "reward"} <= set(record["rows"][1])
    assert running.stored(SMALL, tmp_path) == 12
    assert not [path for path in (tmp_path / "lm/small").iterdir() if path.is_dir()]
    heard.clear()
    assert running.run(SMALL, tmp_path, tell=heard.append) == record
    assert {news.note for news in heard} == {"stored"}
    assert json.loads((tmp_path / "lm/small.json").read_text())["rows"] == record["rows"]


def test_a_stopped_study_goes_on_where_it_was(tmp_path, caplog):
    """Also in the middle of a training; a file that is damaged is computed anew."""
    whole = running.run(SMALL, tmp_path / "whole")
    heard = []

    def stop(news):
        heard.append(news)
        if len(heard) == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        running.run(SMALL, tmp_path / "cut", tell=stop, steps=True)
    assert heard[-1].note == "step 2/4"
    assert running.stored(SMALL, tmp_path / "cut") == 2
    assert [path for path in (tmp_path / "cut/lm/small").iterdir() if path.is_dir()]
    damaged = next((tmp_path / "cut/lm/small").glob("*.json"))
    damaged.write_text(damaged.read_text()[:-20])
    again = running.run(SMALL, tmp_path / "cut")
    assert again["rows"] == whole["rows"]
    assert "cannot be read" in caplog.text


def test_seeds_together_are_stored_as_single_ones_are(tmp_path):
    """The same groups after a stop, and the rows of single trainings."""
    three = replace(SMALL, seeds=3, rates=(1e-3,))
    whole = running.run(three, tmp_path / "alone", together=1)
    heard = []

    def stop(news):
        heard.append(news)
        if len(heard) == 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        running.run(three, tmp_path / "cut", tell=stop, steps=True, together=2)
    steps = [(news.cell.settings.seed, news.note) for news in heard]
    assert steps[:4] == [(0, "step 1/4"), (1, "step 1/4"), (0, "step 2/4"), (1, "step 2/4")]
    assert running.stored(three, tmp_path / "cut") == 2
    again = running.run(three, tmp_path / "cut", together=2)
    assert running.stored(three, tmp_path / "cut") == 12
    assert (whole.pop("together"), again.pop("together")) == (1, 2)
    for row, other in zip(whole["rows"], again["rows"], strict=True):
        assert row == {k: pytest.approx(v, abs=1e-4) if isinstance(v, float) else v for k, v in other.items()}
    assert again["sane"]


def test_a_diverged_training_is_counted(tmp_path):
    wild = replace(SMALL, arms=SMALL.arms | {"one-side clip": lambda logp, batch: logp.sum() * float("nan")}, alike=())
    record = running.run(wild, tmp_path)
    assert record["diverged"] == 6
    lost = [row for row in record["rows"] if row["arm"] == "one-side clip"]
    assert {row["score"] for row in lost} == {0}
    assert {row["step"] for row in lost} == {0, 2, 4}


def test_other_processes_find_a_study_by_its_name(tmp_path, monkeypatch):
    from .test_cli import threads

    study = replace(SMALL, seeds=3, rates=(1e-3,))
    monkeypatch.setattr(studies, "STUDIES", (study,))
    with threads(2) as executor:
        record = running.run(study, tmp_path / "pool", executor=executor, together=2)
    assert record["rows"] == running.run(study, tmp_path / "here", together=2)["rows"]


@pytest.fixture
def claimlab(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(studies, "STUDIES", (SMALL,))
    return lambda *words: CliRunner().invoke(cli.app, ["lm", *words])


def test_the_command_trains_compares_and_draws(claimlab):
    found = claimlab("run", "small")
    assert found.exit_code == 0, found.output
    lines = found.output.splitlines()
    assert lines[0].startswith("[1/12] fresh data, REINFORCE, rate 0.001, seed 1000000: score ")
    assert " kl " in lines[0]
    assert " clip " in lines[0]
    assert lines[-2:] == [
        "record: claimlab-out/lm/small.json",
        "figure: claimlab-out/figures/lm/small.pdf",
    ]
    assert Path("claimlab-out/figures/lm/small.png").exists()
    listed = claimlab("list")
    assert listed.exit_code == 0
    assert "done" in listed.output
    assert claimlab("run", "small").output.splitlines()[0].endswith("(stored)")


def test_an_interval_without_end_is_shown(capsys):
    """Nine of ten pairs alike: the bootstrap has no lower end, and a record holds infinity as text."""
    found = {"data": "fresh", "better": "a", "worse": "b", "difference": -0.1, "low": "-inf", "high": 0.2}
    record = {"findings": [found], "effect": 0.02, "metric": "m", "edges": [], "diverged": 0}
    cli._show_study(record)
    assert "[-inf, +0.200]" in capsys.readouterr().out


def test_arms_that_should_agree_and_do_not_end_with_1(claimlab, monkeypatch):
    off = replace(SMALL, arms=SMALL.arms | {"one-side clip": lambda x, b: -surrogates.reinforce(x, b)}, rates=(3e-2,))
    monkeypatch.setattr(studies, "STUDIES", (off,))
    found = claimlab("run", "small")
    assert found.exit_code == 1
    assert "REINFORCE, one-side clip are provably the same on fresh data, and differ." in found.output


def missing():
    raise ModuleNotFoundError("SmolLM2 needs peft: pip install 'claimlab[lm]'.", name="peft")


def full(logp, batch):
    torch.empty(2**60)


def interrupted(logp, batch):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("study", "words", "status", "message"),
    [
        (SMALL, ["smal"], 2, "unknown study 'smal'. Did you mean small?"),
        (SMALL, ["small", "--device", "cuda:77"], 2, "no device 'cuda:77'"),
        (SMALL, ["small", "--together", "0"], 2, "--together"),
        (replace(SMALL, start=missing), ["small"], 2, "SmolLM2 needs peft: pip install 'claimlab[lm]'."),
        (replace(SMALL, arms={"REINFORCE": full}, pairs=(), alike=()), ["small"], 2, "lower prompts (2) or group (4)"),
        (
            replace(SMALL, arms={"REINFORCE": full}, pairs=(), alike=(), seeds=3, rates=(1e-3,)),
            ["small", "--together", "2"],
            2,
            "group (4) or the number of seeds at once (2)",
        ),
        (
            replace(SMALL, arms={"REINFORCE": interrupted}, pairs=(), alike=()),
            ["small"],
            130,
            "the same command goes on",
        ),
    ],
)
def test_what_goes_wrong_is_one_line(claimlab, monkeypatch, study, words, status, message):
    monkeypatch.setattr(studies, "STUDIES", (study,))
    found = claimlab("run", *words)
    assert found.exit_code == status
    assert message in " ".join(found.output.split())
    assert "Traceback" not in found.output


def test_a_large_model_runs_in_one_process(tmp_path):
    from .test_cli import threads

    with threads(1) as executor, pytest.raises(WrongUsage, match="runs in one process: use --workers 1"):
        running.run(replace(SMALL, start=lambda: torch.nn.Linear(1, 1)), tmp_path, executor=executor)


def test_designs_name_their_arms():
    with pytest.raises(ValueError, match="small has no arm 'OPMD'"):
        replace(SMALL, pairs=(("OPMD", "REINFORCE"),))
    assert studies.STALE.runs == 3 * 4 * 15
    assert studies.VARIANTS.runs == 2 * 7 * 15
    assert studies.LOSSES.runs == 5 * 13
    assert studies.SMOKE.runs == 30
