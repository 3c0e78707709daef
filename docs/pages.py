"""The generated pages: the API reference, the notebooks, and what the recorded ledger found wrong or loose."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from claimlab.experiments import ledger
from claimlab.experiments.ledger import Ledger, Row, number
from claimlab.experiments.report import FORMULA, pretty
from claimlab.theory.claims import Paper

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "experiments" / "records" / "ledger-standard.json"
PACKAGES = {
    "claimlab": "What all parts share",
    "claimlab.mdps": "Markov decision processes",
    "claimlab.bandits": "Bandits",
    "claimlab.bandits.relaxation": "Over-relaxation as a bandit",
    "claimlab.theory": "Claims, evidence, mathematics",
    "claimlab.experiments": "Papers, runs, reports",
    "claimlab.experiments.lm": "Language models",
}
INNER = re.compile(r"kernels$|^claimlab\.(fingerprint|factor)$|__main__$|\.(papers|benchmarks)\b")  # nobody calls these
LOOSE, SHORT = (
    0.5,
    24,
)  # the worst ratio below which a bound is called loose; lines of an instance that are shown at once
READING = re.compile(
    r"\bours\b|\bas if\b|contrary|opposite|\bwithout\b|as invariance|\btaken\b|one reading|common practice"
)


def write(folder: Path) -> None:
    """Write all generated pages into ``folder/generated``; what has not changed stays, so that Sphinx skips it."""
    texts = {"findings.md": findings(ledger.read(RECORD)), **api()}
    contents = {name: text.encode() for name, text in texts.items()} | notebooks()
    target = folder / "generated"
    target.mkdir(exist_ok=True)
    for name, content in contents.items():
        path = target / name
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)
    for path in target.iterdir():
        if path.name not in contents:
            path.unlink()


# The notebooks --------------------------------------------------------------------------------------------------------


def notebooks() -> dict[str, bytes]:
    """A page for each notebook, with the outputs that are stored in it, their figures, and a page that lists them."""
    from nbconvert import MarkdownExporter  # of the extra `docs`: the tests of the other pages do without

    found: dict[str, bytes] = {}
    lines = ["# Notebooks", "", "As they were run; the files are in the folder `notebooks` of the repository.", ""]
    entries = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb"), key=lambda path: (path.stem != "quickstart", path.stem)):
        text, made = MarkdownExporter().from_filename(str(path), resources={"unique_key": f"notebook-{path.stem}"})
        title = text.partition("\n")[0].removeprefix("# ")
        text = text.replace("![png]", f"![A figure of the notebook {path.stem}, drawn by the cell above]")
        found |= {f"notebook-{path.stem}.md": text.encode(), **made["outputs"]}
        lines.append(f"- [{title}](notebook-{path.stem}.md)")
        entries.append(f"notebook-{path.stem}")
    lines += ["", "```{toctree}", ":hidden:", "", *entries, "```", ""]
    return {"notebooks.md": "\n".join(lines).encode(), **found}


# The API reference ----------------------------------------------------------------------------------------------------


def modules(package: str) -> list[str]:
    """Modules of a package that a user calls, without those of its subpackages."""
    found = importlib.import_module(package)
    names = [m.name for m in pkgutil.iter_modules(found.__path__, f"{package}.") if not m.ispkg]
    return [name for name in names if not INNER.search(name) and not name.rpartition(".")[2].startswith("_")]


def api() -> dict[str, str]:
    texts, toctree = {}, []
    for package, title in PACKAGES.items():
        if package.endswith(".lm") and find_spec("torch") is None:
            continue
        exported = _exported(package)
        names = modules(package)
        lines = [f"``{package}``", "=" * (len(package) + 4), "", f"{title}.", ""]
        lines += [".. toctree::", "   :hidden:", "", *(f"   {name}" for name in names), ""]
        for name in names:
            lines += [f":doc:`{name.rpartition('.')[2]} <{name}>`", f"   {_first_line(name)}", ""]
            texts[f"{name}.rst"] = _page(name, package, exported)
        texts[f"{package}.rst"] = "\n".join(lines)
        toctree.append(f"   {package}")
    head = [
        "API reference",
        "=============",
        "",
        "Every public name, from its docstring; each entry links its source.",
        "",
    ]
    texts["api.rst"] = "\n".join([*head, ".. toctree::", "   :maxdepth: 1", "", *toctree, ""])
    return texts


def _exported(package: str) -> dict[str, list[str]]:
    """For each module the names that its package offers directly."""
    found = importlib.import_module(package)
    by_module: dict[str, list[str]] = {}
    for name in getattr(found, "__all__", ()):
        by_module.setdefault(getattr(getattr(found, name), "__module__", ""), []).append(name)
    by_module.pop("", None)  # a plain dictionary does not know where it comes from
    return by_module


def _page(module: str, package: str, exported: dict[str, list[str]]) -> str:
    short = module.removeprefix("claimlab.")
    lines = [f"``{short}``", "=" * (len(short) + 4), ""]
    if module in exported:
        names = ", ".join(f"``{name}``" for name in exported[module])
        lines += [f"Import from ``{package}``: {names}.", ""]
    return "\n".join([*lines, f".. automodule:: {module}", ""])


def _first_line(module: str) -> str:
    text = (importlib.import_module(module).__doc__ or "").strip().split("\n\n")[0]
    return " ".join(text.split())


# What was found wrong or loose ----------------------------------------------------------------------------------------


def findings(recorded: Ledger) -> str:
    """The page on the literature, from a ledger."""
    return "\n".join([*_head(recorded), *_wrong(recorded), *_loose(recorded)])


def _head(recorded: Ledger) -> Iterator[str]:
    refuted = [row for row in recorded.rows if row.verdict == "refuted"]
    printed = sum(not is_reading(row) for row in refuted)
    yield f"""# What we found wrong or loose in the literature

This page is written from the recorded run of the ledger ({len(recorded.rows)} claims of {len(recorded.papers)} papers,
budget {recorded.budget.name}, seed {recorded.budget.seed}), so it says what the machine found and nothing else. A
wrong statement stands with its smallest counterexample and with its *repair*, the true statement next to it, which the
same procedure could not refute. How verdicts come about is said on the [design page](../design.md). To compute a claim
again: `claimlab verify PAPER/NAME`.

Of {len(refuted)} refuted statements, {printed} are statements, figures or released code of a paper as the source
tells, and {len(refuted) - printed} are readings, contraries or dropped premises, which mark how far a true statement
carries; those say so. No paper is worthless for a wrong constant: most errors below are repaired in a line.
"""


def is_reading(row: Row) -> bool:
    """Whether the refuted statement is a reading or a limit rather than what the paper states, by its source."""
    return bool(READING.search(row.source))


def _wrong(recorded: Ledger) -> Iterator[str]:
    yield "## Refuted, with counterexample and repair\n"
    for paper in recorded.papers:
        rows = [row for row in recorded.rows if row.paper == paper.slug and row.verdict == "refuted"]
        if rows:
            yield f"### {escaped(paper.title)}\n"
            yield f"{_cited(paper)}\n"
            for row in sorted(rows, key=is_reading):
                yield from _refuted(row)


def _cited(paper: Paper) -> str:
    link = f", [arXiv:{paper.arxiv}](https://arxiv.org/abs/{paper.arxiv})" if paper.arxiv else ""
    return f"{escaped(paper.authors)}. {escaped(paper.venue)}{link}."


def _refuted(row: Row) -> Iterator[str]:
    kind = "a reading or a limit" if is_reading(row) else "as stated there"
    yield f"**{typeset(row.source)}** ({kind}; `{row.id}`)\n"
    yield f"> {typeset(row.statement)}\n"
    if row.premises:
        yield f"Premises: {'; '.join(map(typeset, row.premises))}.\n"
    yield f"*Refuted:* {typeset(row.reason)}\n"
    if row.counterexample is not None:
        yield from _instance(pretty(row.counterexample))
    if row.control == "supported":
        yield f"*Repair:* {typeset(row.control_statement)} Supported: {typeset(row.control_reason)}\n"


def _instance(text: str) -> Iterator[str]:
    block = f"```text\n{text}\n```\n"
    if text.count("\n") < SHORT:
        yield block
    else:
        yield f"<details><summary>Counterexample, {text.count(chr(10)) + 1} lines</summary>\n\n{block}\n</details>\n"


def _loose(recorded: Ledger) -> Iterator[str]:
    rows = [row for row in recorded.rows if row.kind == "Inequality" and row.verdict == "supported"]
    loose = sorted(
        (row for row in rows if float(row.tightness or 0) < LOOSE), key=lambda row: float(row.tightness or 0)
    )
    attained = sum(float(row.tightness or 0) > 0.999 for row in rows)
    yield f"""## Loose: true, but the search never came near

Of {len(rows)} inequalities that no instance violates, {attained} are attained up to a thousandth, and on {len(loose)}
the worst ratio of value and bound that the search found, guided towards the bound, stays below {LOOSE}. That is no
proof that no instance comes closer; it says where a sharper theorem may be had. *Vacuous* is the share of the instances
on which the bound says nothing that one did not know before.
"""
    for row in loose:
        vacuous = f", {100 * (row.vacuous_share or 0):.3g} % vacuous"
        where = f"{row.paper}, {typeset(row.source)}"
        yield f"* **{number(row.tightness)}** of the bound{vacuous} ({where}; `{row.id}`): {typeset(row.statement)}"
    yield ""


def typeset(text: str) -> str:
    """Markdown of a text in which LaTeX stands between dollar signs."""
    pieces = FORMULA.split(text)
    return "".join(f"{{math}}`{piece}`" if i % 2 else escaped(piece) for i, piece in enumerate(pieces))


def escaped(text: str) -> str:
    """Markdown of plain text."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$])", r"\\\1", text.replace(r"\$", "$"))
