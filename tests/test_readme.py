"""The README's code runs as printed, and its claim comes out as it says."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from claimlab.experiments.benchmarks import document, render
from claimlab.experiments.papers import PAPERS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def block(word):
    (found,) = [text for text in BLOCKS if word in text]
    return found


def test_the_notebook_example_prints_what_it_promises(capsys):
    scope = {}
    exec(block("garnet("), scope)
    first, size, tied = capsys.readouterr().out.splitlines()
    assert float(first.split()[0]) == scope["cliff"].radius > 0
    assert abs(float(size) - scope["cliff"].radius) <= 1e-15
    assert float(tied) > 0
    assert scope["solution"].error <= 1e-10


def test_the_batch_is_solved_as_promised(capsys):
    exec("import numpy as np\n" + block("MDPBatch("), {})
    assert capsys.readouterr().out == "(100000, 5) True\n"


def test_an_algorithm_of_ones_own_plays(capsys):
    exec(block("ExploreThenCommit"), {"__name__": "cell"})
    own, ucb1 = capsys.readouterr().out.splitlines()
    assert own.startswith("ExploreThenCommit(rounds=1000)")
    assert ucb1.startswith("UCB1(c=2.0)")
    assert 1_000 * 0.2 <= float(own.split()[-1]) <= 100_000 * 0.4
    assert float(ucb1.split()[-1]) > 0


def test_the_log_of_a_bandit_is_evaluated(capsys):
    """The target earns 0.1 * 0.2 + 0.8 * 0.5 + 0.1 * 0.3 = 0.45."""
    scope = {}
    exec(block("evaluate_log(log)"), scope)
    assert abs(scope["found"].snips.value - 0.45) < 5 * scope["found"].snips.stderr
    interval = scope["value_interval"](scope["log"], level=0.05)
    assert interval.low <= 0.45 <= interval.high
    assert interval.width < 0.2
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_the_log_of_an_mdp_tells_what_is_left(capsys):
    exec(block("offline_to_online(mdp"), {})
    assert capsys.readouterr().out.startswith("True ")


@pytest.mark.parametrize(
    ("race", "mark"),
    [
        ("mdps", "race"),
        ("bandits", "the race of the bandits"),
        ("sor", "the race of the sweeps"),
        ("episodes", "the race of the learners"),
        ("ope", "the race of the estimators"),
    ],
)
def test_the_race_is_the_recorded_one(race, mark):
    (recorded,) = document.read(ROOT / "experiments" / "records" / f"bench-{race}.json")
    shown = README.split(f"<!-- {mark.removeprefix('the ')} -->\n")[1].split(f"<!-- end of {mark} -->")[0]
    assert shown == render.summary_table(recorded)


def test_a_claim_of_ones_own(tmp_path):
    """About twenty lines besides the claim's own text, from the README into a file and through the command line."""
    (tmp_path / "my_claims.py").write_text(block("CLAIMS = ("))
    command = [sys.executable, "-m", "claimlab.experiments", "verify", "my_claims.py", "--budget", "smoke"]
    done = subprocess.run(
        [*command, "--workers", "1", "--out", "out"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 claims as expected" in done.stdout


def test_the_property_test_passes(tmp_path):
    """In a process of its own that has compiled nothing yet, as on a reader's machine."""
    code = block("@given") + "\ntest_values_are_bounded()\n"
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    fresh = environment | {"XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=fresh, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_headline_is_that_of_the_recorded_run():
    record = json.loads((ROOT / "experiments" / "records" / "ledger-standard.json").read_text())
    claims = record["claims"]
    verdicts = Counter(claim["verdict"] for claim in claims)
    powerful = sum(
        claim["control"] == ("supported" if claim["expected"] == "refuted" else "refuted") for claim in claims
    )
    papers = {claim["id"].split("/")[0] for claim in claims}
    headline = (
        f"{len(claims)} claims of {len(papers)} papers, {verdicts['supported']} supported, "
        f"{verdicts['refuted']} refuted; "
        f"{powerful} of {len(claims)} controls as they must be"
    )
    assert headline in " ".join(README.split())
    assert record["budget"]["name"] == "standard"
    assert [claim["id"] for claim in claims] == [claim.id for paper in PAPERS for claim in paper.CLAIMS]
    rows = README.split("| paper | claims | supported | refuted |\n")[1].split("\n\n")[0].splitlines()[1:]
    counts = Counter((claim["paper"], claim["verdict"]) for claim in claims)
    for row, paper in zip(rows, PAPERS, strict=True):
        supported, refuted = (counts[paper.PAPER.slug, verdict] for verdict in ("supported", "refuted"))
        assert row.endswith(f"| {supported + refuted} | {supported} | {refuted} |"), row


def test_every_file_that_the_readme_names_exists():
    for path in re.findall(r"\]\(((?!http)[^)]+)\)", README):
        assert (ROOT / path).exists(), path
