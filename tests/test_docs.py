"""The pages of the documentation: their code runs and prints what they show, and what is generated is right."""

import doctest
import re
import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from typer.testing import CliRunner

from claimlab.experiments import __main__ as cli
from claimlab.experiments import ledger

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(path for folder in ("tutorial", "howto") for path in (DOCS / folder).glob("*.md"))
BLOCK = re.compile(
    r"^```(?:\{code-block\} )?(python|sh|text)\n(?::caption: (\S+)\n)?(.*?)^```$", re.MULTILINE | re.DOTALL
)
PLUGIN = ("-p", "no:claimlab", "-p", "claimlab.pytest_plugin", "-p", "no:cacheprovider", "-p", "no:xdist")
SHOWN = doctest.OutputChecker()
pytest_plugins = ["pytester"]


@pytest.fixture
def shell(kept_modules, pytester, monkeypatch):
    """What a command of a page prints, run in this process and in an empty folder, where the page's files go."""
    monkeypatch.setattr(cli.runner, "pool", ThreadPoolExecutor)

    def run(line):
        command, *arguments = shlex.split(line, comments=True)
        if command == "pytest":
            result = pytester.runpytest_inprocess(*PLUGIN, *arguments)
            assert result.ret == 0
            return result.stdout.str()
        assert command == "claimlab"
        result = CliRunner().invoke(cli.app, arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def play(text, shell):
    """Run the blocks of a page in order in one namespace; each that prints must be followed by what it prints."""
    scope, printed = {"__name__": "page"}, ""
    for kind, caption, code in BLOCK.findall(text):
        if kind == "text":
            assert SHOWN.check_output(code, printed, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE), printed
            printed = ""
            continue
        assert printed == "", f"the page does not show what was printed: {printed}"
        if caption:
            Path(caption).write_text(code, encoding="utf-8")
        elif kind == "sh":
            printed = "".join(shell(line) for line in code.splitlines())
        else:
            with redirect_stdout(StringIO()) as stdout:
                exec(compile(code, "page", "exec"), scope)
            printed = stdout.getvalue()
    assert printed == ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs_and_prints_what_it_shows(page, shell):
    if "distributed" in page.read_text(encoding="utf-8"):
        pytest.importorskip("distributed")
    play(page.read_text(encoding="utf-8"), shell)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```python\nprint(1)\n```\n\n```text\n2\n```\n", "1"),
        ("```python\nprint(1)\n```\n", "1"),
        ("```python\nprint(1)\n```\n```python\nx = 1\n```\n", "does not show"),
    ],
)
def test_a_page_that_rots_is_seen(text, message):
    with pytest.raises(AssertionError, match=message):
        play(text, None)


def test_every_page_has_code_and_is_in_the_contents():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    for page in PAGES:
        assert BLOCK.search(page.read_text(encoding="utf-8")), page
        assert f"\n{page.parent.name}/{page.stem}\n" in index


@pytest.fixture(scope="module")
def pages():
    sys.path.insert(0, str(DOCS))
    try:
        import pages
    finally:
        sys.path.remove(str(DOCS))
    return pages


def test_the_findings_hold_every_refuted_claim_with_its_repair(pages):
    recorded = ledger.read(pages.RECORD)
    text = pages.findings(recorded)
    refuted = [row for row in recorded.rows if row.verdict == "refuted"]
    for row in refuted:
        assert text.count(f"; `{row.id}`)\n") == 1
    assert text.count("*Refuted:*") == len(refuted)
    assert text.count("*Repair:*") == sum(row.control == "supported" for row in refuted)
    assert f"Of {len(refuted)} refuted statements" in text
    loose = [
        row.id
        for row in recorded.rows
        if row.kind == "Inequality" and row.verdict == "supported" and float(row.tightness) < 0.5
    ]
    assert loose
    assert set(re.findall(r"^\* \*\*.*?; `([^`]+)`\)", text, re.MULTILINE)) == set(loose)


def test_what_is_printed_is_told_from_what_is_read_into_it(pages):
    rows = {row.id: row for row in ledger.read(pages.RECORD).rows}
    for id in (
        "pav/theorem-3.1",
        "rover/gradient-as-printed",
        "learning-to-relax/energy-norm",
        "spo/group-mean-variance",
    ):
        assert not pages.is_reading(rows[id])
    for id in (
        "refuel/own-turn-suffices",
        "props/mse-never-larger",
        "stepmix/mixing-all-steps",
        "realizability/suffices",
    ):
        assert pages.is_reading(rows[id])


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        (r"at most $\|x\|_2$ for *all* x_i", r"at most {math}`\|x\|_2` for \*all\* x\_i"),
        (r"costs 5\$ or <b>", r"costs 5\$ or \<b\>"),
        ("one $ alone", r"one \$ alone"),
    ],
)
def test_statements_as_markdown(pages, text, markdown):
    assert pages.typeset(text) == markdown


def test_the_reference_has_every_module_that_a_user_calls(pages):
    texts = pages.api()
    assert {"claimlab.mdps.planning.rst", "claimlab.theory.strategies.rst", "claimlab.pytest_plugin.rst"} <= set(texts)
    assert "``solve``" in texts["claimlab.mdps.planning.rst"]
    assert not any("kernels" in name or ".papers" in name for name in texts)
    for package in ("claimlab.mdps", "claimlab.bandits", "claimlab.theory", "claimlab.experiments"):
        for module in pages._exported(package):
            assert f"{module}.rst" in texts, module


def test_every_notebook_has_a_page_with_its_figures(pages):
    pytest.importorskip("nbconvert")
    found = pages.notebooks()
    stems = [path.stem for path in (pages.ROOT / "notebooks").glob("*.ipynb")]
    contents = found["notebooks.md"].decode()
    for stem in stems:
        text = found[f"notebook-{stem}.md"].decode()
        drawn = re.findall(r"!\[A figure[^]]*\]\((.*?)\)", text)
        assert f"](notebook-{stem}.md)" in contents
        assert f"\nnotebook-{stem}\n" in contents
        assert drawn
        assert set(drawn) <= set(found)
    assert len(stems) == sum(name.startswith("notebook-") and name.endswith(".md") for name in found)
    assert "\ngenerated/notebooks\n" in (DOCS / "index.md").read_text(encoding="utf-8")


def test_fields_of_a_named_tuple_keep_their_shapes():
    pytest.importorskip("sphinx")
    pytest.importorskip("latex2mathml")
    sys.path.insert(0, str(DOCS))
    try:
        import site_parts
    finally:
        sys.path.remove(str(DOCS))
    from claimlab.theory.stability import CliffRadius

    fields = {name: (kind, words) for name, kind, words in site_parts.fields_of(CliffRadius)}
    assert fields["perturbation"] == ("Array", "[S, A], of norm `radius`: adding it to the reward closes the gap")
    assert fields["gap"] == ("float", "of that action")
    assert fields["unique"][1].endswith("is the question to ask".replace("_", "\\_"))
    assert fields["radius"] == ("float", "")
