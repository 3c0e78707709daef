"""The command line: what it prints, what it writes, how it ends."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from claimlab.experiments import __main__ as cli
from claimlab.experiments.runner import Done
from claimlab.theory.claims import SMOKE

from . import sample_claims

FILE = str(Path(sample_claims.__file__).resolve())


@pytest.fixture
def claimlab(tmp_path, monkeypatch):
    """Run the command in an empty folder, with the sample as the only paper, and without processes of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("claimlab.experiments.papers.PAPERS", (sample_claims,))
    monkeypatch.setattr(cli.runner, "pool", threads)
    runner = CliRunner()
    return lambda *words: runner.invoke(cli.app, list(map(str, words)))


def threads(workers):
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(workers)


def test_verify_writes_and_tells(claimlab, tmp_path):
    result = claimlab("verify", "--budget", "smoke", "--json", "copy/all.json")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("[1/12] sample/")
    assert lines[11].startswith("[12/12] sample/")
    assert "6 of 6 claims as expected." in lines
    assert lines[-1] == "results: claimlab-out/ledger.json"
    ledger = json.loads((tmp_path / "claimlab-out/ledger.json").read_text())
    assert ledger == json.loads((tmp_path / "copy/all.json").read_text())
    assert ledger["budget"] == {"name": "smoke", "instances": SMOKE.instances, "runs": SMOKE.runs, "seed": 0}
    assert not (tmp_path / "claimlab-out/report").exists()


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ([], 6),
        (["sample"], 6),
        (["sample/norms"], 1),
        (["sample/*r*"], 5),
        (["s*"], 6),
        (["sample/norms", "sample/half", "sample/norms"], 2),
        ([FILE], 6),
    ],
)
def test_patterns(claimlab, patterns, expected, monkeypatch):
    if FILE in patterns:
        monkeypatch.setattr("claimlab.experiments.papers.PAPERS", ())
    result = claimlab("list", "--json", *patterns)
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)) == expected


def test_list_shows_the_last_verdicts(claimlab):
    assert json.loads(claimlab("list", "--json").stdout)[0]["verdict"] is None
    claimlab("verify", "sample/half", "--budget", "smoke")
    listed = {entry["id"]: entry for entry in json.loads(claimlab("list", "--json").stdout)}
    assert listed["sample/half"]["verdict"] == "refuted"
    assert listed["sample/half"]["control"] == "supported"
    assert listed["sample/norms"]["verdict"] is None
    shown = claimlab("list").stdout
    assert "sample/half" in shown
    assert "Lemma 3" in shown


def test_a_second_run_takes_what_is_stored(claimlab):
    claimlab("verify", "sample/half", "--budget", "smoke")
    again = claimlab("verify", "sample/half", "--budget", "smoke").stdout
    assert again.splitlines()[0] == "[1/2] sample/half refuted stored"
    other = claimlab("verify", "sample/half", "--budget", "smoke", "--seed", "1").stdout
    assert "stored" not in other


def write_claim(path, expected="supported", check="check", control="control", extra=""):
    path.write_text(f"""
from claimlab.theory.claims import Claim, Paper
from claimlab.theory.evidence import Identity, Outcome
def check(budget):
    return Identity(0.0, 0.0, 3, "rational")
def control(budget):
    return Identity(1.0, 0.0, 3, "rational")
def broken(budget):
    raise RuntimeError("no such luck")
CLAIMS = [Claim("mine/one", Paper("mine", "My paper", "I", "desk", "", "C"), "ours", "$0=0$", Identity, (),
                {check}, {control}, "$0=1$", Outcome("{expected}"))]
{extra}
""")
    return path


def test_a_file_of_the_users_own(claimlab, tmp_path):
    file = write_claim(tmp_path / "mine.py")
    result = claimlab("verify", file, "--budget", "smoke", "--report")
    assert result.exit_code == 0, result.output
    assert "report: claimlab-out/report/index.html" in result.stdout
    assert "My paper" in (tmp_path / "claimlab-out/report/index.html").read_text()
    both = claimlab("verify", file, "sample/norms", "--budget", "smoke", "--report")
    assert "2 of 2 claims as expected." in both.stdout
    assert len(list((tmp_path / "claimlab-out/report/figures/sample").iterdir())) == 3


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"expected": "refuted"}, "departs: mine/one: verdict supported, expected refuted"),
        ({"control": "check"}, "departs: mine/one: control supported, expected refuted"),
        ({"check": "broken"}, "departs: mine/one: verdict error, expected supported (RuntimeError: no such luck"),
    ],
)
def test_a_departure_is_named_and_ends_with_1(claimlab, tmp_path, changes, line):
    result = claimlab("verify", write_claim(tmp_path / "mine.py", **changes), "sample/norms", "--budget", "smoke")
    assert result.exit_code == 1
    assert any(shown.startswith(line) for shown in result.stdout.splitlines())
    assert "1 of 2 claims as expected." in result.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["verify", "sampel"], "unknown paper, claim or figure 'sampel'. Did you mean sample"),
        (["verify", "sample/norm"], "Did you mean sample/norms"),
        (["figures", "sample/square_s"], "Did you mean sample/square"),
        (["list", "nothing*"], "unknown paper, claim or figure 'nothing*'"),
        (["verify", "missing.py"], "missing.py: No such file or directory"),
        (["verify", "empty.py"], "empty.py must define CLAIMS"),
        (["verify", "syntax.py"], "cannot load"),
        (["verify", "leaves.py"], "leaves.py: SystemExit: 3"),
        (["verify", "wrong.py"], "CLAIMS of"),
        (["verify", "clash.py"], "defines 'sample/better', which another module defines too"),
        (["verify", "twice.py"], "defines 'mine/one' twice"),
        (["verify", "--out", "file"], "cannot write into file: File exists"),
        (["verify", "--out", "file/below"], "cannot write into file/below: Not a directory"),
        (["verify", "--json", "folder"], "--json takes a file, got the folder folder"),
        (["verify", "--json", "file/x.json"], "cannot write into file: File exists"),
        (["verify", "--dask", "pigeon://x"], "no Dask scheduler answers at pigeon://x"),
        (["report"], "there is no claimlab-out/ledger.json: run `claimlab verify` first"),
        (["report", "--out", "folder"], "folder/ledger.json does not hold a ledger"),
    ],
)
def test_wrong_usage_is_one_line_and_2(claimlab, tmp_path, words, message, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/ledger.json").write_text("{")
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "syntax.py").write_text("def")
    (tmp_path / "leaves.py").write_text("raise SystemExit(3)")
    (tmp_path / "wrong.py").write_text("CLAIMS = [1]")
    (tmp_path / "clash.py").write_text(Path(FILE).read_text())
    write_claim(tmp_path / "twice.py", extra="CLAIMS = CLAIMS * 2")
    monkeypatch.setattr(cli.runner, "verify", lambda *args, **kwargs: pytest.fail("work was begun"))
    result = claimlab(*words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "[1/" not in result.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["verify", "--budget", "huge"],
        ["verify", "--seed", "-1"],
        ["verify", "--workers", "0"],
        ["bench", "--reps", "0"],
    ],
)
def test_wrong_options_end_with_2(claimlab, words):
    assert claimlab(*words).exit_code == 2


def test_a_reader_that_leaves_ends_it_in_silence():
    """As in ``claimlab list | head -1``."""
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-m", "claimlab.experiments", "list", "--json"]
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writer)
    assert done.returncode == 141
    assert done.stderr == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(claimlab, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    assert claimlab("verify", "--out", "closed").exit_code == 2


def test_figures(claimlab, tmp_path):
    result = claimlab("figures", "sample/squares", "--out", "figs")
    assert result.exit_code == 0, result.output
    assert result.stdout.split() == ["figs/figures/sample/squares.pdf"]
    assert len(list((tmp_path / "figs/figures/sample").iterdir())) == 3


def test_a_figure_that_fails_ends_with_1(claimlab, tmp_path):
    extra = """
from claimlab.experiments.figures import PaperFigure
def draw():
    raise RuntimeError("no paint")
FIGURES = [PaperFigure("f", "caption", draw)]
"""
    file = write_claim(tmp_path / "mine.py", extra=extra)
    result = claimlab("figures", file)
    assert result.exit_code == 1
    assert "mine/f could not be drawn: RuntimeError: no paint" in result.stderr
    assert claimlab("verify", file, "--budget", "smoke", "--report").exit_code == 1


def test_report_of_the_last_run(claimlab, tmp_path):
    claimlab("verify", "sample/half", "--budget", "smoke", "--out", "there")
    result = claimlab("report", "--out", "there")
    assert result.exit_code == 0, result.output
    assert result.stdout == "report: there/report/index.html\n"
    page = (tmp_path / "there/report/index.html").read_text()
    assert "sample/half" in page
    assert "sample/norms" not in page
    assert (tmp_path / "there/report/figures/sample/squares.png").exists()


def test_without_papers_there_is_nothing_to_do(claimlab, monkeypatch):
    monkeypatch.setattr("claimlab.experiments.papers.PAPERS", ())
    result = claimlab("verify")
    assert result.exit_code == 2
    assert result.stderr == "claimlab: there are no claims to look at.\n"


def test_a_terminal_gets_a_bar(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(cli, "_console", lambda: Console(file=screen, force_terminal=True, width=80))
    with cli._progress(2) as progress:
        progress(Done(1, 2, "sample/one", "check", "supported", 0.1, False))
        progress(Done(2, 2, "sample/[bold]", "control", "refuted", 0.1, False))
    assert "2/2" in screen.getvalue()
    assert "sample/[bold] (control)" in screen.getvalue()


def test_the_command_as_users_start_it(tmp_path):
    file = write_claim(tmp_path / "mine.py")
    words = [sys.executable, "-m", "claimlab.experiments", "verify", str(file), "--budget", "smoke", "--workers", "1"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "1 of 1 claims as expected." in done.stdout
