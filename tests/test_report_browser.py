"""The page in a real browser: search, filters and links work, nothing is logged, and it fits a phone.

Runs where Playwright is installed and finds a Chromium (its own, or one on the path).
"""

import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest

from claimlab.experiments import ledger, report

playwright = pytest.importorskip("playwright.sync_api")
RECORDED = Path(__file__).parents[1] / "experiments" / "records" / "ledger-standard.json"
HIDDEN = """links => links.map(a => decodeURIComponent(a.hash.slice(1)))
                      .filter(id => !document.getElementById(id)?.checkVisibility())"""  # where links lead to nothing
PHONE, DESKTOP = {"width": 375, "height": 800}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as running:
        path = shutil.which("chromium") or running.chromium.executable_path
        if not Path(path).exists():
            pytest.skip("there is no Chromium")
        yield (started := running.chromium.launch(executable_path=path, args=["--no-sandbox"]))
        started.close()


@pytest.fixture(scope="module")
def recorded():
    return ledger.read(RECORDED)


@pytest.fixture(scope="module")
def path(recorded, tmp_path_factory):
    return report.write(recorded, [], tmp_path_factory.mktemp("report")).path


@pytest.fixture(params=[(PHONE, "dark"), (DESKTOP, "light")], ids=["phone", "desktop"])
def opened(browser, path, request):
    size, scheme = request.param
    page = browser.new_page(viewport=size, color_scheme=scheme)
    logged = []
    page.on("console", lambda message: logged.append(message.text))
    page.on("pageerror", lambda error: logged.append(str(error)))
    page.on("request", lambda sent: logged.append(sent.url) if not sent.url.startswith("file:") else None)
    page.goto(path.as_uri())
    yield page
    page.close()
    assert logged == []


def shown(page):
    """Ids of the claims that one sees, under the papers that one sees."""
    ids = page.eval_on_selector_all(".claims tbody tr", "all => all.filter(r => r.checkVisibility()).map(r => r.id)")
    papers = page.eval_on_selector_all(
        "section.paper", "all => all.filter(p => p.checkVisibility()).map(p => p.dataset.paper)"
    )
    assert papers == list(dict.fromkeys(id.partition("/")[0] for id in ids))
    assert page.get_by_role("status").inner_text().startswith(f"{len(ids)} of ")
    return set(ids)


def test_search_and_filters(opened, recorded):
    rows = recorded.rows
    assert shown(opened) == {row.id for row in rows}
    opened.get_by_role("combobox", name="Verdict").select_option("refuted")
    assert shown(opened) == {row.id for row in rows if row.verdict == "refuted"}
    opened.get_by_role("combobox", name="Paper").select_option("spo")
    assert shown(opened) == {row.id for row in rows if row.verdict == "refuted" and row.paper == "spo"}
    opened.get_by_role("combobox", name="Verdict").select_option("")
    opened.get_by_label("Words").fill("TRACKER variance")
    assert "spo/tracker-variance" in shown(opened) < {row.id for row in rows if row.paper == "spo"}
    opened.get_by_label("Words").fill("no such words anywhere")
    assert shown(opened) == set()
    opened.get_by_label("Words").fill("")
    opened.get_by_role("combobox", name="Paper").select_option("")
    opened.get_by_label("only bounds").check()
    assert shown(opened) == {row.id for row in rows if row.vacuous_share}
    opened.get_by_label("only recorded").check()
    assert shown(opened) < {row.id for row in rows if row.vacuous_share}


def test_a_link_to_what_a_filter_hides_shows_it(opened):
    opened.get_by_role("combobox", name="Paper").select_option("spo")
    opened.locator('td a[href="#rover"]').last.click()
    assert opened.locator('[id="rover"]').is_visible()
    assert opened.evaluate("location.hash") == "#rover"


def test_every_link_of_the_page_leads_somewhere_visible(opened):
    assert opened.eval_on_selector_all('a[href^="#"]', HIDDEN) == []


def test_every_link_to_a_claim_leads_to_it(opened):
    """From the overview to each paper's page, from there to every claim, and back."""
    links = opened.eval_on_selector_all(".claims tbody tr a", "all => all.map(a => a.href)")
    wanted = {}
    for link in links:
        path, _, anchor = link.partition("#")
        wanted.setdefault(path, []).append(unquote(anchor))
    for path, anchors in wanted.items():
        opened.goto(path)
        found = opened.eval_on_selector_all("article", "all => all.filter(a => a.checkVisibility()).map(a => a.id)")
        assert found == anchors
        assert opened.eval_on_selector_all('a[href^="#"]', HIDDEN) == []
        assert opened.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), path
    opened.get_by_role("link", name="All papers").click()
    assert opened.locator("h1").inner_text() == "claimlab ledger"


def test_a_claim_of_a_paper_is_opened(opened):
    opened.get_by_label("Words").fill("tracker as printed")
    opened.get_by_role("link", name="tracker-as-printed").click()
    assert opened.locator('article[id="tracker-as-printed"]').is_visible()
    assert opened.evaluate("document.getElementById('tracker-as-printed').matches(':target')")


def test_it_is_no_wider_than_the_screen(opened):
    assert opened.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_it_is_dark_where_the_reader_wants_it(opened):
    dark = opened.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    ground = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(13, 17, 23)" if dark else "rgb(255, 255, 255)")


def test_the_keyboard_reaches_search_and_claims(opened):
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.className") == "skip"
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.id") == ":words"
    opened.keyboard.type("tracker")
    assert shown(opened)
