"""The page under a reader's hands: real keys in a real browser, at three widths and on paper."""

import re

import pytest
from browser import Browser
from fake_run import ROWS

from velatura.report.page import write_report

pytestmark = pytest.mark.browser

WAIT = "new Promise((done) => setTimeout(done, 250))"
DARK = {"name": "prefers-color-scheme", "value": "dark"}
NAMES = "[...document.querySelectorAll('#table tbody tr')].map((r) => r.dataset.name)"


@pytest.fixture(scope="module")
def page(chromium, full, tmp_path_factory):
    """A browser that has the report of a whole run before it; each test opens it anew."""
    folder = tmp_path_factory.mktemp("browser")
    file = write_report(full, folder / "report.html")
    with Browser(chromium, folder) as browser:
        browser.file, browser.folder = file, folder
        yield browser


@pytest.fixture(autouse=True)
def no_problems(page):
    """Whatever a test does: no word on the console, and no request but for the file itself."""
    page.problems.clear()
    page.requests.clear()
    yield
    assert page.problems == []
    assert {u for u in page.requests if not u.startswith("data:")} <= {page.file.as_uri()}


def focused(page):
    return page.run("document.activeElement.id || document.activeElement.textContent.trim()")


def tab_to(page, wanted, most=120):
    """Press Tab until ``wanted`` (an id, or the text) has the focus; it must show."""
    for _ in range(most):
        page.press("Tab")
        if focused(page) == wanted:
            assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            return
    raise AssertionError(f"{wanted} is not reached by Tab; last was {focused(page)}")


def test_a_table_is_sorted_by_keys_alone(page, full):
    page.open(page.file)
    before = page.run(NAMES)
    assert before[:2] == ["no information", "action alone"]
    tab_to(page, "filter")
    tab_to(page, "Leakage L")
    page.press("Enter")
    rising = page.run(NAMES)
    assert rising[:2] == before[:2]  # what is given stays on top
    assert rising[2] == "constant"
    assert rising[3] == "constrained"
    assert set(rising[-2:]) == {"raw", "penalty_0.1"}
    at = "document.activeElement.parentElement.ariaSort"
    assert page.run(at) == "ascending"
    assert (
        page.run("document.getElementById('said').textContent") == "sorted by Leakage L, ascending"
    )
    page.press(" ")
    assert page.run(at) == "descending"
    assert page.run(NAMES)[2:] != rising[2:]
    assert page.run(NAMES)[-1] == "constant"
    page.press("Enter")
    assert page.run(at) is None
    assert page.run(NAMES) == before


def test_names_sort_as_words_and_blanks_go_last(page):
    page.open(page.file)
    script = "[...document.querySelectorAll('#table th button')].find((b) => {0}).click()"
    page.run(script.format("b.textContent === 'Method'"))
    assert page.run(NAMES)[2:] == sorted(ROWS)
    page.run(script.format("b.textContent.startsWith('beyond B')"))  # known for two rows alone
    assert set(page.run(NAMES)[2:4]) == {"penalty_0.1", "penalty_0.2"}
    page.run(script.format("b.textContent.startsWith('beyond B')"))
    assert set(page.run(NAMES)[2:4]) == {"penalty_0.1", "penalty_0.2"}


def test_the_filter_reaches_every_table(page):
    page.open(page.file)
    page.run("document.querySelector('#table [data-name=raw] th').append(', no PENALTY')")
    tab_to(page, "filter")
    page.press(*"pENALTY")
    shown = (
        "[...document.querySelectorAll('#{0} tbody tr')].filter((r) => !r.hidden)"
        ".map((r) => r.dataset.name)"
    )
    assert page.run(shown.format("table"))[2:] == ["raw", "penalty_0.1", "penalty_0.2"]
    for table in ("attackers", "effort-table", "identity-table", "groups-table", "targets-table"):
        assert page.run(shown.format(table)) == ["penalty_0.1", "penalty_0.2"]
    assert page.run("document.getElementById('said').textContent") == "3 of 9 rows"


def test_the_row_of_the_ladder_is_chosen_by_keys(page):
    page.open(page.file)
    title = "document.querySelector('.said[data-of=ladder-row] p:not([hidden]) b').textContent"
    bars = "document.getElementById('ladder-0').ariaLabel"
    assert page.run(title) == "constrained."
    tab_to(page, "ladder-row")
    page.press("ArrowUp")
    page.run(WAIT)
    assert page.run(title) == "penalty 0.2."
    assert page.run(bars).startswith("penalty 0.2, All attributes (cMAP)")
    assert page.run("document.querySelectorAll('#ladder-shown > div:not([hidden])').length") == 1
    assert page.run("document.querySelectorAll('#ladder-0 .barlayer .point').length") == 6
    assert page.run("document.querySelectorAll('#ladder-panels .card:not([hidden])').length") == 10


def test_the_row_of_the_curves_is_chosen_by_keys(page):
    page.open(page.file)
    said = "document.querySelector('.said[data-of=effort-row] p:not([hidden])').textContent"
    assert "has not saturated" in page.run(said)
    tab_to(page, "effort-row", most=200)
    page.press("ArrowUp")
    page.run(WAIT)
    assert "The curve is flat" in page.run(said)
    assert page.run("document.getElementById('effort-0').ariaLabel").startswith("penalty 0.2")


def test_published_points_come_and_go(page):
    page.open(page.file)
    points = "document.querySelectorAll('#trade-off .scatterlayer .point').length"
    hidden = "document.getElementById('published-points').hidden"
    assert (page.run(points), page.run(hidden)) == (len(ROWS) + 1, True)
    tab_to(page, "published")
    page.press("Enter")
    page.run(WAIT)
    assert (page.run(points), page.run(hidden)) == (len(ROWS) + 1 + 11, False)
    assert page.run("document.activeElement.ariaPressed") == "true"
    names = (
        "[...document.querySelectorAll('#trade-off .annotation-text')].map((t) => t.textContent)"
    )
    assert "SPACT" in page.run(names)
    page.press(" ")
    page.run(WAIT)
    assert (page.run(points), page.run(hidden)) == (len(ROWS) + 1, True)


def test_the_first_key_skips_to_the_results(page):
    page.open(page.file)
    page.press("Tab")
    assert focused(page) == "To the results"
    assert page.run("document.activeElement.getBoundingClientRect().top") >= 0
    page.press("Enter")
    assert focused(page) == "main"


def test_whoever_asks_for_no_motion_gets_none(page):
    page.ask(
        "Emulation.setEmulatedMedia",
        features=[{"name": "prefers-reduced-motion", "value": "reduce"}],
    )
    page.open(page.file)
    state = "getComputedStyle(document.querySelector('.clip')).animationPlayState"
    assert page.run(state) == "paused"
    assert page.run("document.getElementById('play').textContent") == "Play"
    page.ask("Emulation.setEmulatedMedia", features=[])


@pytest.mark.parametrize("width", [1280, 360])
def test_a_screenshot(page, width):
    """Nothing is wider than the screen, and the picture is no blank."""
    page.open(page.file, width)
    assert page.run("document.documentElement.scrollWidth") <= width
    over = (
        "[...document.querySelectorAll('.js-plotly-plot')].filter((p) => p.offsetParent && "
        "p.querySelector('svg').getBoundingClientRect().right > "
        "p.parentElement.getBoundingClientRect().right + 1).map((p) => p.id)"
    )
    assert page.run(over) == []
    file = page.screenshot(page.folder / f"{width}.png", whole=False)
    cv2 = pytest.importorskip("cv2")
    image = cv2.imread(str(file))
    assert image.shape[:2] == (900, width)
    assert len({tuple(c) for c in image.reshape(-1, 3)[::7]}) > 50


def test_on_paper(page):
    """The page printed: several sheets, figures no wider than them, and no bar of buttons."""
    page.open(page.file, 690)
    page.ask("Emulation.setEmulatedMedia", media="print")
    page.run("dispatchEvent(new Event('beforeprint'))")
    page.run(WAIT)
    assert page.run("document.documentElement.scrollWidth") <= 690
    assert page.run("document.getElementById('trade-off').clientWidth") <= 680
    assert page.run("document.querySelector('nav').offsetParent") is None
    page.run("dispatchEvent(new Event('afterprint'))")
    page.ask("Emulation.setEmulatedMedia", media="", features=[DARK])
    ink = "getComputedStyle(document.documentElement).getPropertyValue('--ink')"
    dark = page.run(ink)
    page.run("dispatchEvent(new Event('beforeprint'))")  # while the screen is still dark
    assert page.run(ink) != dark
    page.run("dispatchEvent(new Event('afterprint'))")
    assert page.run(ink) == dark
    page.ask("Emulation.setEmulatedMedia", media="", features=[])
    paper = page.printed(page.folder / "report.pdf").read_bytes()
    assert paper.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", paper)) > 3


def test_an_older_run_in_the_same_browser(page, finished):
    old = write_report(finished, page.folder / "old.html")
    page.open(old)
    page.requests.clear()
    assert page.run("document.getElementById('effort-row')") is None
    assert page.run("document.querySelectorAll('#ladder-0 .barlayer .point').length") == 3
