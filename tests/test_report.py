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

ARXIV = "https://arxiv.org/abs/"
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
    """The pages by their names, parsed, and their texts."""
    report.write(verify(claims, SMOKE), figures, folder)
    texts = {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in folder.rglob("*.html")}
    return {name: Page(text) for name, text in texts.items()}, texts


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return folder, *write(CLAIMS, folder, [("sample", figure) for figure in FIGURES])


@pytest.fixture
def index(site):
    return site[1]["index.html"]


@pytest.fixture
def paper(site):
    return site[1]["papers/sample.html"]


def test_the_pages_tell_all(site, index, paper):
    _, pages, texts = site
    assert set(pages) == {"index.html", "papers/sample.html"}
    for words in ("All as expected", "6/6", "numpy", "On & about <samples>", "norms", "Lemma 2"):
        assert words in index.text
    for words in ("Counterexample", "Worst instance", "On & about <samples>", "A beats B", "Comparison, 60 runs"):
        assert words in paper.text
    assert len(index.all("tr")) == 3 + 1 + len(CLAIMS) + 82  # heads, papers, claims, catalogue
    assert len(paper.all("article")) == len(CLAIMS)
    assert len(paper.all("math")) >= 8
    for name, text in texts.items():
        assert text.startswith("<!DOCTYPE html>")
        assert any(attributes.get("name") == "viewport" for attributes in pages[name].all("meta"))


def test_links_lead_somewhere(site):
    folder, pages, _ = site
    ids = {name: [a["id"] for _, a in page.elements if "id" in a] for name, page in pages.items()}
    figures = 0
    for name, page in pages.items():
        assert len(ids[name]) == len(set(ids[name]))
        links = [a["href"] for a in page.all("a") + page.all("link")] + [image["src"] for image in page.all("img")]
        figures += sum(link.startswith("../figures/sample/squares.") for link in links)
        for link in links:
            if link.startswith(ARXIV):
                continue
            path, _, anchor = unquote(link).partition("#")
            target = (folder / name).parent / path if path else folder / name
            assert target.is_file()
            if anchor:
                assert anchor in ids[target.resolve().relative_to(folder.resolve()).as_posix()]
    assert figures == 4


def test_a_later_report_leaves_no_page_of_an_earlier_one(tmp_path):
    write([replace(SQUARE, id="other/square", paper=replace(SQUARE.paper, slug="other"))], tmp_path)
    assert set(write([SQUARE], tmp_path)[0]) == {"index.html", "papers/sample.html"}


def test_figures_keep_their_shape_and_are_linked(paper):
    (image,) = paper.all("img")
    width, height = int(image["width"]), int(image["height"])
    assert (width, height) == (round(3.25 * 130), round(2.3 * 130))
    assert any(link["href"] == f"#:{FIGURES[0].name}" for link in paper.all("a"))


def test_nothing_is_loaded_from_the_network(site):
    folder, pages, _ = site
    assert [link["href"] for link in pages["index.html"].all("link")] == ["report.css"]
    assert [link["href"] for link in pages["papers/sample.html"].all("link")] == ["../report.css"]
    assert not any("src" in attributes for page in pages.values() for attributes in page.all("script"))
    style = (folder / "report.css").read_text()
    assert "url(" not in style
    assert "@import" not in style
    assert "prefers-color-scheme: dark" in style


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
    pages, _ = write(claims, tmp_path, [("sample", PaperFigure("f", words, hostile_draw))])
    ours = ("#", "papers/sample.html", "../index.html#", ARXIV)
    for name, scripts in (("index.html", 1), ("papers/sample.html", 0)):  # our own
        page = pages[name]
        assert len(page.all("script")) == scripts
        assert page.all("img") == []
        assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
        assert all(link["href"].startswith(ours) for link in page.all("a"))
        assert all(link["href"].endswith("report.css") for link in page.all("link"))
        assert "href" not in str(page.all("math"))
        tags = {name for name, _ in page.elements}
        assert not tags & {"iframe", "object", "embed", "base", "annotation-xml", "maction", "mglyph"}
        assert not any("style" in attributes for _, attributes in page.elements)
    assert pages["papers/sample.html"].text.count(HOSTILE) > 10  # all of it is there to be read


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
        (r"\mathrm{Var}", '<math><mi mathvariant="normal">Var</mi></math>'),
        (r"x_{\frac{1}{i}}^{*}", "<math><msubsup><mi>x</mi><mfrac><mn>1</mn><mi>i</mi></mfrac><mrow><mo>*</mo></mrow>"),
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
    parsed = Page((tmp_path / "papers" / "sample.html").read_text())
    assert "broken could not be drawn" in parsed.text
    assert len(parsed.all("img")) == 1


def test_departures_come_first(tmp_path):
    wrong = replace(NORMS, check=HALF.check)
    index = write([SQUARE, wrong], tmp_path)[0]["index.html"]
    assert "1 of 2 not as expected" in index.text
    assert "verdict refuted, expected supported" in index.text
    assert [row["id"] for row in index.all("tr") if row.get("data-departs") == "departs"] == [wrong.id]


def test_recorded_evidence_is_marked(tmp_path):
    on_gpu = replace(SQUARE, premises=("recorded on a GPU", "a premise"))
    stored = replace(NORMS, premises=("recorded runs: ten seeds",))
    pages, _ = write([on_gpu, stored, HALF], tmp_path)
    marked = [row["id"] for row in pages["index.html"].all("tr") if "data-recorded" in row]
    assert marked == [on_gpu.id, stored.id]
    for page in pages.values():
        assert len([a for a in page.all("span") if a.get("class") == "mark"]) == 2
    assert "recorded on a GPU" in pages["index.html"].text


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
    """The colour variables of a style: light, and dark."""
    blocks = re.findall(r":root \{(.*?)\}", text, re.DOTALL)
    return [dict(re.findall(r"--(\w+): #(\w+);", block)) for block in blocks]


def luminance(colour):
    """Relative luminance by WCAG 2.2."""
    if len(colour) == 3:
        colour = "".join(2 * digit for digit in colour)
    channels = (int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_has_contrast_in_light_and_dark(site):
    schemes = colours((site[0] / "report.css").read_text())
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


def test_a_keyboard_and_a_screen_reader_find_their_way(site):
    _, pages, texts = site
    for page in pages.values():
        ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
        assert all(a.get("aria-label") or a["aria-labelledby"] in ids for a in page.all("table") + page.all("nav"))
        assert all(attributes.get("scope") == "col" for attributes in page.all("th"))
        assert all("alt" in image for image in page.all("img"))
        assert all(pre.get("tabindex") == "0" for pre in page.all("pre"))  # it may scroll
        headings = [int(name[1]) for name, _ in page.elements if re.fullmatch("h[1-6]", name)]
        assert headings[0] == 1
        assert headings.count(1) == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(headings))
    index = pages["index.html"]
    assert len(index.all("input") + index.all("select")) == len(index.all("label")) == 5
    assert len(re.findall(r"<label[^>]*>(?:(?!</label>).)*<(?:input|select)", texts["index.html"], re.DOTALL)) == 5


def test_all_papers_of_the_catalogue_are_listed(index):
    entries = listed()
    assert len(entries) == len({entry.slug for entry in entries}) == 82
    assert sum(entry.reach == Reach.NONE for entry in entries) == 14
    assert all(entry.reason for entry in entries if entry.reach == Reach.NONE)
    assert len({entry.arxiv for entry in entries}) == 82
    assert all(re.fullmatch(r"\d{4}\.\d{4,5}", entry.arxiv) for entry in entries)
    for entry in entries:
        assert entry.title in index.text
        assert f"arXiv:{entry.arxiv}" in index.text
    assert all(entry.reason in index.text for entry in entries if entry.reach == Reach.NONE)
    assert index.text.count("not honestly checkable.") == 14


def test_the_modules_speak_of_papers_as_the_catalogue_does():
    theirs = {entry.slug: (entry.title, entry.arxiv) for entry in listed()}
    papers = [module.CLAIMS[0].paper for module in catalogue.papers()]
    ours = {paper.slug: (paper.title, paper.arxiv) for paper in papers}
    both = ours.keys() & theirs
    assert len(both) > 20
    assert {slug: ours[slug] for slug in both} == {slug: theirs[slug] for slug in both}
    assert not {entry.slug for entry in listed() if entry.reach == Reach.NONE} & ours.keys()


def test_a_users_paper_is_not_taken_for_one_of_the_catalogue(tmp_path):
    _, texts = write([replace(SQUARE, id="rover/square", paper=replace(SQUARE.paper, slug="rover"))], tmp_path)
    assert "checked here" not in texts["index.html"]
    assert "Stated in" not in texts["papers/rover.html"]


def test_the_recorded_ledger_is_a_small_site(tmp_path):
    recorded = ledger.read(Path(__file__).parents[1] / "experiments" / "records" / "ledger-standard.json")
    text = report.write(recorded, [], tmp_path).path.read_text(encoding="utf-8")
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 2_000_000
    index = Page(text)
    for paper in recorded.papers:
        rows = [row for row in recorded.rows if row.paper == paper.slug]
        counts = [sum(row.verdict == verdict for row in rows) for verdict in ("supported", "refuted")]
        cells = re.findall(rf'<tr data-papers="{paper.slug}">(.*?)</tr>', text)
        assert re.findall(r">([0-9–]+)</td>", cells[0])[:3] == [str(n or "–") for n in (len(rows), *counts)]
        page = Page((tmp_path / "papers" / f"{paper.slug}.html").read_text(encoding="utf-8"))
        assert [article["id"] for article in page.all("article")] == [row.name for row in rows]
        assert "Stated in" in page.text
    vacuous = {row["id"] for row in index.all("tr") if "data-vacuous" in row}
    assert vacuous == {row.id for row in recorded.rows if (row.vacuous_share or 0) > 0}
    assert {option.get("value") for option in index.all("option")} >= {paper.slug for paper in recorded.papers}
    assert "checked here" in text
