"""A ledger and its figures as static pages, an overview and one a paper, that need neither network nor server."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from html import unescape
from importlib.resources import files
from pathlib import Path
from struct import unpack
from types import ModuleType
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element, tostring

from jinja2 import Environment, PackageLoader, StrictUndefined
from latex2mathml.converter import convert_to_element
from markupsafe import Markup, escape

from claimlab.experiments import atomic, catalogue, figures
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.ledger import ERROR, Ledger, Row, number
from claimlab.experiments.literature import Listed, listed
from claimlab.experiments.style import DPI
from claimlab.theory.claims import Paper
from claimlab.theory.evidence import Outcome

log = logging.getLogger(__name__)

FORMULA = re.compile(r"(?<!\\)\$(.+?)(?<!\\)\$", re.DOTALL)
READABLE = 4_000  # characters of an instance; a longer one is cut, and the ledger holds the whole
LINE = 80  # characters up to which a nested list stands on one line
SCALE = 130 / DPI  # pixels of the page per pixel of a figure: its 8 pt become 14 px
# Attributes of MathML that only change its looks: links, styles, ids, and what HTML knows by itself are dropped.
ATTRIBUTES = re.compile(
    "accent|(column|row)(align|lines|spacing)|depth|displaystyle|fence|form|height|largeop|linethickness|[lr]space|"
    "math(size|variant)|(max|min)size|movablelimits|notation|scriptlevel|separator|stretchy|symmetric|voffset|width"
)
ROWS = {"math", "mrow", "msqrt", "mtd"}  # what they hold is a row without saying so
UPRIGHT = {"mathvariant": "normal"}  # letters of a word


class Drawn(NamedTuple):
    """A figure on the page; without paths where drawing it failed, and then `error` says why."""

    caption: str
    name: str
    paths: dict[str, str]
    size: tuple[int, int]  # in the page's pixels
    error: str


class Section(NamedTuple):
    """A paper with its claims, and the module that states them; empty for a user's own paper."""

    paper: Paper
    rows: list[Row]
    module: str

    def count(self, outcome: str) -> int:
        return sum(row.verdict == outcome for row in self.rows)

    @property
    def partly_vacuous(self) -> int:
        return sum(map(says_nothing_somewhere, self.rows))


class Entry(NamedTuple):
    """A paper of the catalogue, how many claims of it are on the page, and its description if a module states any."""

    listed: Listed
    claims: int
    paper: Paper | None


class Report(NamedTuple):
    path: Path
    failures: list[str]  # a line for each figure that could not be drawn


def write(
    ledger: Ledger, drawings: Sequence[tuple[str, PaperFigure]], folder: Path, *, executor: Executor | None = None
) -> Report:
    """Draw the figures, given with their papers' slugs; write ``index.html`` and ``papers/SLUG.html`` into `folder`.

    An `executor` of processes, such as :func:`claimlab.experiments.pool`, draws the figures of the catalogue's papers.
    """
    drawn: dict[str, list[Drawn]] = {}
    for (slug, _), figure in zip(drawings, _draw_all(drawings, folder, executor), strict=True):
        drawn.setdefault(slug, []).append(figure)
    modules = {module.CLAIMS[0].paper.slug: module for module in catalogue.papers()}
    sections = [_section(ledger, paper, modules) for paper in ledger.papers]
    outcomes = [*map(str, Outcome), ERROR]
    templates = _templates()
    page = templates.get_template("report.html.j2").render(
        ledger=ledger,
        sections=sections,
        entries=_entries(sections, modules),
        outcomes=outcomes,
        found=[outcome for outcome in outcomes if any(section.count(outcome) for section in sections)],
        total=len(ledger.rows),
        powerful=sum(row.control == row.control_expected for row in ledger.rows),
        departures=[row for row in ledger.rows if not row.as_expected],
        seconds=sum(row.seconds for row in ledger.rows),
    )
    atomic.write(folder / "report.css", files("claimlab.experiments").joinpath("report.css").read_bytes())
    for section in sections:
        figures_of = drawn.get(section.paper.slug, [])
        text = templates.get_template("report_paper.html.j2").render(section._asdict(), figures=figures_of)
        atomic.write(folder / "papers" / f"{section.paper.slug}.html", text.encode())
    for path in set((folder / "papers").glob("*.html")) - {folder / _page_of(paper.slug) for paper in ledger.papers}:
        path.unlink()  # of an earlier ledger
    atomic.write(folder / "index.html", page.encode())
    failures = [f"{slug}/{f.name}: {f.error}" for slug, entries in drawn.items() for f in entries if f.error]
    return Report(folder / "index.html", failures)


def _templates() -> Environment:
    environment = Environment(loader=PackageLoader("claimlab.experiments", "."), autoescape=True, trim_blocks=True)
    environment.undefined, environment.lstrip_blocks = StrictUndefined, True
    environment.filters |= {"math": math, "pretty": _shown, "brief": _brief, "number": number, "recorded": recorded}
    environment.filters["page"] = lambda row: f"{_page_of(row.paper)}#{row.name}"
    environment.tests["partly_vacuous"] = says_nothing_somewhere
    return environment


def _page_of(slug: str) -> str:
    return f"papers/{slug}.html"


def recorded(row: Row) -> str:
    """How a claim is marked whose evidence was not computed in this run: a premise then begins with "recorded"."""
    said = [premise for premise in row.premises if premise.startswith("recorded")]
    return "" if not said else "recorded on a GPU" if any("GPU" in premise for premise in said) else "recorded"


def _section(ledger: Ledger, paper: Paper, modules: Mapping[str, ModuleType]) -> Section:
    rows = [row for row in ledger.rows if row.paper == paper.slug]
    module = modules.get(paper.slug)
    if module is None or module.CLAIMS[0].paper.title != paper.title:  # a user may have taken our slug
        return Section(paper, rows, "")
    return Section(paper, rows, module.__name__)


def _entries(sections: Sequence[Section], modules: Mapping[str, ModuleType]) -> list[Entry]:
    claims = {section.paper.slug: len(section.rows) for section in sections if section.module}
    stated = {slug: module.CLAIMS[0].paper for slug, module in modules.items()}
    return [Entry(entry, claims.get(entry.slug, 0), stated.get(entry.slug)) for entry in listed()]


def says_nothing_somewhere(row: Row) -> bool:
    """Whether the claim's bound is vacuous on some of the instances it was compared on."""
    return row.verdict == Outcome.VACUOUS or bool(row.vacuous_share)


def _draw_all(drawings: Sequence[tuple[str, PaperFigure]], folder: Path, executor: Executor | None) -> Iterator[Drawn]:
    """In the order given; another process finds a figure by its name, so one of a user's file is drawn here."""
    ours = [figure for module in catalogue.papers() for figure in getattr(module, "FIGURES", ())]
    coming = [
        executor.submit(_draw_ours, slug, figure.name, folder) if executor and figure in ours else None
        for slug, figure in drawings
    ]
    for (slug, figure), there in zip(drawings, coming, strict=True):
        yield there.result() if there else _draw(slug, figure, folder)


def _draw_ours(slug: str, name: str, folder: Path) -> Drawn:
    (figure,) = (figure for _, figure in catalogue.select([f"{slug}/{name}"]).figures if figure.name == name)
    return _draw(slug, figure, folder)


def _draw(slug: str, figure: PaperFigure, folder: Path) -> Drawn:
    try:
        saved = figures.save(figure, folder / "figures" / slug)
    except OSError:  # the folder's fault, not the figure's
        raise
    except Exception as error:
        return Drawn(figure.caption, figure.name, {}, (0, 0), f"{type(error).__name__}: {error}")
    paths = {p.suffix[1:]: p.relative_to(folder).as_posix() for p in saved}
    return Drawn(figure.caption, figure.name, paths, _size(saved.png), "")


def _size(png: Path) -> tuple[int, int]:
    """The size at which all figures have letters of the text's size, from the header of the file."""
    width, height = unpack(">II", png.read_bytes()[16:24])
    return round(width * SCALE), round(height * SCALE)


def math(text: str) -> Markup:
    """HTML of a text in which LaTeX stands between dollar signs; all else is escaped."""
    pieces = FORMULA.split(text.replace("\r", ""))
    return Markup("").join(
        mathml(piece) if i % 2 else escape(piece.replace(r"\$", "$")) for i, piece in enumerate(pieces)
    )


def mathml(latex: str) -> Markup:
    """MathML of a formula; its LaTeX source where the converter does not know a command."""
    try:
        root = convert_to_element(latex)
    except Exception:  # the converter raises a dozen kinds of error, index errors included
        return Markup("<code>${}$</code>").format(latex)
    _clean(root)
    _flatten(root)
    return Markup(tostring(root, encoding="unicode", short_empty_elements=False))


def _clean(element: Element) -> None:
    """Leave plain text and harmless attributes: the converter's own output undoes the escaping of what a user wrote."""
    element.text, element.tail = unescape(element.text or ""), unescape(element.tail or "")
    element.attrib = {k: unescape(v) for k, v in element.attrib.items() if ATTRIBUTES.fullmatch(k)}
    for child in element:
        _clean(child)


def _flatten(element: Element) -> None:
    """Say the same in less: no row within a row or of one thing, and an upright word is one name, not its letters."""
    for child in element:
        _flatten(child)
    if element.tag in ROWS and len(element) == 1 and element[0].tag == "mrow":
        element[:] = element[0]
    parts: list[Element] = []
    for child in element:
        if element.tag in ROWS and parts and child.attrib == parts[-1].attrib == UPRIGHT:
            parts[-1].text = f"{parts[-1].text}{child.text}"
        elif child.tag == "mrow" and len(child) == 1 and child[0].tag != "mo":  # an operator has spaces in a row only
            parts.append(child[0])
        else:
            parts.append(child)
    element[:] = parts


def pretty(value: Any) -> str:
    """JSON with short lists on one line each, cut where nobody would read on."""
    text = _lines(value, "")
    return text if len(text) <= READABLE else f"{text[:READABLE]}\n… cut; ledger.json holds all {len(text)} characters"


def _brief(value: Any) -> Markup:
    """The same with six digits of each number: nobody has to check these by hand, and the ledger has all."""
    return _shown(_rounded(value))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _shown(value: Any) -> Markup:
    """HTML of an instance; between tags a quote needs no escape, and there are thousands of them."""
    return Markup(str(escape(pretty(value))).replace("&#34;", '"'))


def _lines(value: Any, indent: str) -> str:
    inner = indent + "  "
    if isinstance(value, dict) and value:
        entries = [f"{inner}{json.dumps(k, ensure_ascii=False)}: {_lines(v, inner)}" for k, v in value.items()]
        return "{\n" + ",\n".join(entries) + f"\n{indent}}}"
    line = json.dumps(value, ensure_ascii=False)
    if isinstance(value, list) and any(isinstance(entry, (list, dict)) for entry in value) and len(line) > LINE:
        return "[\n" + ",\n".join(inner + _lines(entry, inner) for entry in value) + f"\n{indent}]"
    return line
