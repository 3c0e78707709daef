"""The page is well-formed, its links lead somewhere, and nothing that a user wrote becomes markup."""

import itertools
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from claimlab.experiments import catalogue, ledger, report, verify
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.literature import Reach, listed
from claimlab.theory.claims import SMOKE
from claimlab.theory.evidence import Inequality, Outcome

from .sample_claims import CLAIMS, FIGURES

ARXIV = ("https://arxiv.org/abs/", "https://arxiv.org/search/?searchtype=title&query=")
VOID = {"meta", "input", "img", "br", "link", "hr"}
HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)">\'"&amp;'
SQUARE, NORMS, HALF = CLAIMS[:3]


class Page(HTMLParser):
    """Elements as (tag, attributes), with a check that they nest."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def write(claims, folder, figures=()):
    found = verify(claims, SMOKE)
    path = report.write(found, figures, folder).path
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    text, page = write(CLAIMS, folder, [("sample", figure) for figure in FIGURES])
    return folder, text, page


def test_the_page_tells_all(page):
    _, text, parsed = page
    assert text.startswith("<!DOCTYPE html>")
    for words in (
        "All as expected",
        "6/6",
        "Counterexample",
        "Worst instance",
        "numpy",
        "On & about <samples>",
        "A beats B",
    ):
        assert words in parsed.text
    assert len(parsed.all("article")) == len(CLAIMS)
    assert len(parsed.all("math")) >= 8
    assert "prefers-color-scheme: dark" in text
    assert any(attributes.get("name") == "viewport" for attributes in parsed.all("meta"))


def test_links_lead_somewhere(page):
    folder, _, parsed = page
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"] for a in parsed.all("a")] + [image["src"] for image in parsed.all("img")]
    assert sum(link.startswith("figures/sample/squares.") for link in links) == 4
    for link in links:
        if link.startswith("#"):
            assert unquote(link[1:]) in ids
        elif not link.startswith(ARXIV):
            assert (folder / unquote(link)).is_file()


def test_figures_keep_their_shape_and_are_linked(page):
    _, _, parsed = page
    (image,) = parsed.all("img")
    width, height = int(image["width"]), int(image["height"])
    assert (width, height) == (round(3.25 * 130), round(2.3 * 130))
    assert any(link["href"] == f"#sample/{FIGURES[0].name}" for link in parsed.all("a"))


def test_nothing_is_loaded_from_the_network(page):
    _, _, parsed = page
    assert not parsed.all("link")
    assert not any("src" in attributes for attributes in parsed.all("script"))
    assert "url(" not in page[1]
    assert "@import" not in page[1]


def hostile_check(budget):
    return Inequality(2.0, 1.0, 0.0, 1, 1, 1, 1, {HOSTILE: [HOSTILE, 1.0]})


def hostile_draw():
    raise RuntimeError(HOSTILE)


def raising(budget):
    raise RuntimeError(HOSTILE)


def test_what_a_user_wrote_never_becomes_markup(tmp_path):
    paper = replace(NORMS.paper, title=HOSTILE, authors=HOSTILE, venue=HOSTILE, arxiv=HOSTILE, tier=HOSTILE)
    formula = (
        f"${HOSTILE}$ $\\text{{{HOSTILE}}}$ $\\href{{javascript:alert(1)}}{{x}}$ $\\style{{background:url(x)}}{{y}}$"
    )
    words = f"{HOSTILE} {formula} $\\text{{&lt;script&gt;}}$"
    hostile = {"paper": paper, "source": HOSTILE, "statement": words, "premises": (words,), "control_statement": words}
    claims = [replace(HALF, check=hostile_check, **hostile), replace(NORMS, check=raising, **hostile)]
    _, parsed = write(claims, tmp_path, [("sample", PaperFigure("f", words, hostile_draw))])
    assert len(parsed.all("script")) == 1  # our own
    assert parsed.all("img") == []
    assert not any(name.startswith("on") for _, attributes in parsed.elements for name in attributes)
    assert all(link["href"].startswith(("#", *ARXIV)) for link in parsed.all("a"))
    assert "href" not in str(parsed.all("math"))
    tags = {name for name, _ in parsed.elements}
    assert not tags & {"iframe", "object", "embed", "base", "link", "annotation-xml", "maction", "mglyph"}
    assert not any("style" in attributes for _, attributes in parsed.elements)
    assert parsed.text.count(HOSTILE) > 10  # all of it is there to be read


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a < b & c", "a &lt; b &amp; c"),
        (r"costs 5\$ or 6\$", "costs 5$ or 6$"),
        ("one $ alone", "one $ alone"),
        ("$\\frac{$", "<code>$\\frac{$</code>"),
        ("", ""),
    ],
)
def test_text_around_formulas(text, html):
    assert report.math(text) == html


@pytest.mark.parametrize(
    ("latex", "expected"),
    [
        (r"\alpha", "<mi>α</mi>"),
        ("a<b", "<mo>&lt;</mo>"),
        (r"\|x\|_2 \le \sum_i |x_i|", "<mo>≤</mo>"),
        (r"\mathbb{E}", "<mi>𝔼</mi>"),
        (r"\text{a <b> &lt;i&gt;}", "&lt;b&gt;"),
    ],
)
def test_formulas_become_mathml(latex, expected):
    text = report.mathml(latex)
    assert expected in text
    assert Page(str(text)).elements[0][0] == "math"


def test_a_figure_that_fails_is_said_and_the_rest_is_written(tmp_path):
    figures = [("sample", PaperFigure("broken", "caption", hostile_draw)), ("sample", FIGURES[0])]
    written = report.write(verify(CLAIMS[:1], SMOKE), figures, tmp_path)
    assert written.failures == [f"sample/broken: RuntimeError: {HOSTILE}"]
    parsed = Page(written.path.read_text())
    assert "broken could not be drawn" in parsed.text
    assert len(parsed.all("img")) == 1


def test_departures_come_first(tmp_path):
    wrong = replace(NORMS, check=HALF.check)
    _, parsed = write([SQUARE, wrong], tmp_path)
    assert "1 of 2 not as expected" in parsed.text
    assert "verdict refuted, expected supported" in parsed.text
    assert any(attributes.get("data-departs") == "departs" for attributes in parsed.all("article"))


def test_instances_are_readable():
    witness = {"P": [[1.0, 0.0], [0.5, 0.5]], "gamma": 0.9, "name": "ä", "empty": []}
    assert report.pretty(witness) == (
        '{\n  "P": [[1.0, 0.0], [0.5, 0.5]],\n  "gamma": 0.9,\n  "name": "ä",\n  "empty": []\n}'
    )
    row = [0.25] * 10
    line = json.dumps(row)
    assert report.pretty({"P": [row, row]}) == f'{{\n  "P": [\n    {line},\n    {line}\n  ]\n}}'
    long = report.pretty({"x": list(range(5000))})
    assert len(long) < 4100
    assert "ledger.json holds all" in long


def colours(text):
    """The colour variables of the page: light, and dark."""
    blocks = re.findall(r":root \{(.*?)\}", text, re.DOTALL)
    return [dict(re.findall(r"--(\w+): #(\w+);", block)) for block in blocks]


def luminance(colour):
    """Relative luminance by WCAG 2.2."""
    if len(colour) == 3:
        colour = "".join(2 * digit for digit in colour)
    channels = (int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_has_contrast_in_light_and_dark(page):
    schemes = colours(page[1])
    assert len(schemes) == 2
    for scheme in schemes:
        assert set(scheme) - {"paper", "panel", "line", "field"} >= {
            "ink",
            "faint",
            "link",
            *map(str, Outcome),
            "error",
        }
        for name, colour in scheme.items():
            for ground in ("paper", "panel"):
                low, high = sorted((luminance(colour), luminance(scheme[ground])))
                needed = {"paper": 1, "panel": 1, "line": 1, "field": 3}.get(name, 4.5)  # text 4.5, edge of a field 3
                assert (high + 0.05) / (low + 0.05) >= needed, (name, ground)


def test_a_keyboard_and_a_screen_reader_find_their_way(page):
    _, text, parsed = page
    ids = {attributes["id"] for _, attributes in parsed.elements if "id" in attributes}
    assert all(attributes["aria-labelledby"] in ids for attributes in parsed.all("table"))
    assert all(attributes.get("scope") == "col" for attributes in parsed.all("th"))
    assert all("alt" in image for image in parsed.all("img"))
    assert all(pre.get("tabindex") == "0" for pre in parsed.all("pre"))  # it may scroll
    fields = parsed.all("input") + parsed.all("select")
    assert len(fields) == len(parsed.all("label")) == 4
    assert len(re.findall(r"<label[^>]*>(?:(?!</label>).)*<(?:input|select)", text, re.DOTALL)) == 4
    headings = [int(name[1]) for name, _ in parsed.elements if re.fullmatch("h[1-6]", name)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(headings))


def test_all_papers_of_the_catalogue_are_listed(page):
    _, _, parsed = page
    entries = listed()
    assert len(entries) == len({entry.slug for entry in entries}) == 82
    assert sum(entry.reach == Reach.NONE for entry in entries) == 14
    assert all(bool(entry.reason) == (entry.reach == Reach.NONE) for entry in entries)
    for entry in entries:
        assert entry.title in parsed.text
        assert entry.reason in parsed.text
    assert parsed.text.count("not honestly checkable.") == 14


def test_the_modules_speak_of_papers_as_the_catalogue_does():
    titles = {entry.slug: entry.title for entry in listed()}
    ours = {module.CLAIMS[0].paper.slug: module.CLAIMS[0].paper.title for module in catalogue.papers()}
    both = ours.keys() & titles
    assert len(both) > 20
    assert {slug: ours[slug] for slug in both} == {slug: titles[slug] for slug in both}
    assert not {entry.slug for entry in listed() if entry.reach == Reach.NONE} & ours.keys()


def test_a_users_paper_is_not_taken_for_one_of_the_catalogue(tmp_path):
    text, _ = write([replace(SQUARE, id="rover/square", paper=replace(SQUARE.paper, slug="rover"))], tmp_path)
    assert "checked here" not in text
    assert "Stated in" not in text


def test_the_recorded_ledger_fits_on_a_page(tmp_path):
    recorded = ledger.read(Path(__file__).parents[1] / "experiments" / "records" / "ledger-standard.json")
    text = report.write(recorded, [], tmp_path).path.read_text(encoding="utf-8")
    assert len(text.encode()) < 2_000_000
    parsed = Page(text)
    for paper in recorded.papers:
        rows = [row for row in recorded.rows if row.paper == paper.slug]
        counts = [sum(row.verdict == verdict for row in rows) for verdict in ("supported", "refuted")]
        cells = re.findall(rf'<tr data-paper="{paper.slug}">(.*?)</tr>', text)
        assert re.findall(r">([0-9–]+)</td>", cells[0])[:3] == [str(n or "–") for n in (len(rows), *counts)]
    vacuous = [article for article in parsed.all("article") if "data-vacuous" in article]
    assert {article["id"] for article in vacuous} == {row.id for row in recorded.rows if (row.vacuous_share or 0) > 0}
    assert {option.get("value") for option in parsed.all("option")} >= {paper.slug for paper in recorded.papers}
    assert "checked here" in text
