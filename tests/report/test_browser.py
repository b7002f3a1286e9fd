"""A report in headless Chromium: nothing is cut, nothing is empty, and plots use the width of the page."""

import pytest

from music.report import Interval, Palette, Report, Table, curves, histograms, intervals, matrix, write_report
from music.report.points import Histogram
from tests.viewer import conftest as viewer

browser = viewer.browser
ARMS = [f"a-rather-long-arm-{number}" for number in range(7)]
PANELS = ("relevance of the replies, before the last turn", "two", "three")
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
CUT = """[...document.querySelectorAll("th, td")].filter(cell => cell.clientHeight > 5 * 22)
    .map(cell => cell.innerText)"""
EMPTY = """[...document.querySelectorAll(".plot")].filter(plot => !plot.querySelector("path[aria-roledescription]"))
    .map(plot => plot.ariaLabel)"""
DRAWN = "[...document.querySelectorAll('.plot')].every(plot => plot.querySelector('svg'))"
CENTRES = """[...document.querySelectorAll("[aria-label=rows] text"),
    ...document.querySelectorAll("[aria-label=rows] path[aria-roledescription=point]")]
    .map(each => [each.textContent, each.getBoundingClientRect()])
    .map(([text, box]) => [text, box.top + box.height / 2])"""
WIDTHS = "[...document.querySelectorAll('.plot svg')].map(drawing => drawing.clientWidth)"


@pytest.fixture(scope="module")
def address(point, tmp_path_factory):
    """Write a report with a plot of each kind and a wide table."""
    palette = Palette(ARMS)
    rows = [point(arm, 0.5, series=arm, panel=panel, reference=0.5) for panel in PANELS for arm in ARMS]
    turns = [point(turn, 0.5, series=arm, panel=panel) for panel in PANELS for turn in (1, 2) for arm in ARMS]
    counts = {"chosen": (1, 2), "rejected": (2, 1)}
    histogram = Histogram(name="rewards", table="d", x="reward", edges=(0.0, 1.0, 2.0), counts=counts)
    words = "A hypothesis is stated in a sentence, which takes a few lines in a narrow column."
    cells = [Interval(estimate=each.estimate, sign="+") for each in rows[: len(ARMS)]]
    parts = [
        intervals(rows, title="side by side", caption="c", x="x", palette=palette, num_columns=3),
        intervals(rows, title="stacked", caption="c", x="x", palette=palette),
        curves(turns, title="curves", caption="c", x="x", y="y", palette=palette),
        histograms({"a": histogram}, title="histograms", caption="c", palette=palette),
        matrix(turns, title="matrix", caption="c", x="x"),
        Table("wide", "c", ["measure", *ARMS, "verdict"], {"read with last": [[words, *cells, words]]}),
    ]
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(Report(title="Title " * 20, intro="i", warnings=["LEAK"], parts=parts), path)
    return path.as_uri()


@pytest.fixture(scope="module")
def page(browser, address):
    """Return the page; its policy would forbid the functions that wait for it."""
    with viewer.opened(browser, bypass_csp=True) as page:
        page.goto(address)
        yield page


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_page_and_nothing_is_empty(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.reload()
    page.wait_for_function(DRAWN)
    assert page.evaluate(OVERFLOW) <= 0
    assert page.evaluate(CUT) == []
    assert page.evaluate(EMPTY) == []


def test_plots_take_the_width_again_after_a_narrow_window(page):
    page.set_viewport_size({"width": 1280, "height": 900})
    page.reload()
    page.wait_for_function(DRAWN)
    widths = page.evaluate(WIDTHS)
    page.set_viewport_size({"width": 390, "height": 900})
    page.wait_for_function(f"{WIDTHS}[0] < 500")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.wait_for_function(f"JSON.stringify({WIDTHS}) === JSON.stringify({widths})")


def test_a_point_is_beside_its_label_where_the_rows_of_another_panel_are_higher(browser, point, tmp_path):
    long = "a label that is so long that it takes a second line in any window"
    rows = [point("short", 0.5, panel="one"), point(long, 0.5, panel="two")]
    plot = intervals(rows, title="rows", caption="c", x="x", palette=Palette([""]))
    write_report(Report(title="t", intro="i", parts=[plot]), tmp_path / "report.html")
    with viewer.opened(browser, bypass_csp=True) as page:
        page.goto((tmp_path / "report.html").as_uri())
        page.wait_for_function(DRAWN)
        centres = page.evaluate(CENTRES)
    label = next(centre for text, centre in centres if text == "short")
    assert min(abs(centre - label) for text, centre in centres if not text) < 3
