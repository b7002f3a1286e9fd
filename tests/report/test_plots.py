import itertools
import json
import math
from xml.etree import ElementTree

import pytest
import vl_convert

from music.report import Palette, Point, curves, histograms, intervals, matrix
from music.report.points import Histogram
from music.statistics import Estimate

MODELS = ("a", "b")
PALETTE = Palette(MODELS)
WORDS = {"title": "t", "caption": "c", "palette": PALETTE}


def texts(plot):
    """Return the words that the plot shows."""
    elements = ElementTree.fromstring(vl_convert.vegalite_to_svg(plot.chart)).iter("{http://www.w3.org/2000/svg}text")
    return [element.text for element in elements]


def colors(spec):
    """Yield the colour scales of a plot."""
    if isinstance(spec, dict):
        scale = spec.get("color", {}).get("scale") if isinstance(spec.get("color"), dict) else None
        if scale and "range" in scale:
            yield dict(zip(scale["domain"], scale["range"], strict=True))
        for value in spec.values():
            yield from colors(value)
    elif isinstance(spec, list):
        for value in spec:
            yield from colors(value)


@pytest.fixture(scope="module")
def rows_of_two(point):
    return [
        point(place, 0.5 + 0.1 * place + 0.05 * index, series=model, panel=panel, reference=0.5)
        for panel in ("one", "two")
        for place in (1, 2, 3)
        for index, model in enumerate(MODELS)
    ]


@pytest.fixture(scope="module")
def every_plot(rows_of_two):
    counts = {"chosen": (1, 2), "rejected": (2, 1)}
    histogram = Histogram(name="rewards", table="d", x="reward", edges=(0.0, 1.0, 2.0), counts=counts)
    named = [Point(place=f"row {p.place}", estimate=p.estimate, series=p.series, panel=p.panel) for p in rows_of_two]
    return {
        "side by side": intervals(named, x="share", num_columns=2, **WORDS),
        "stacked": intervals(named, x="share", **WORDS),
        "curves": curves(rows_of_two, x="turn", y="share", **WORDS),
        "histograms": histograms(dict.fromkeys(MODELS, histogram), **WORDS),
        "matrix": matrix(rows_of_two, title="t", caption="c", x="turn"),
    }


def test_every_plot_names_its_axes_panels_and_models(every_plot):
    for name, words in {
        "side by side": {"share", "one", "two", "row 1", "row 3", *MODELS},
        "stacked": {"share", "one", "two", "row 1", "row 3", *MODELS},
        "curves": {"turn", "share", "one", "two", *MODELS},
        "histograms": {"reward", "how many", *MODELS},
        "matrix": {"turn", "one", "two", "0.60", *MODELS},
    }.items():
        assert words - set(texts(every_plot[name])) == set(), name


def test_a_model_has_one_colour_everywhere(every_plot):
    found = [scale for name in every_plot for scale in colors(every_plot[name].chart) if set(scale) == set(MODELS)]
    assert len(found) > 5
    assert {(model, scale[model]) for scale in found for model in MODELS} == {
        (model, PALETTE.color(model)) for model in MODELS
    }


def test_a_click_on_the_legend_singles_a_model_out(every_plot):
    for name in ("side by side", "stacked", "curves"):
        compiled = json.dumps(vl_convert.vegalite_to_vega(every_plot[name].chart))
        assert '"name": "series_legend_symbols"' in compiled, name
        assert "vlSelectionTest(" in compiled


def test_more_models_than_colours_differ_in_shape(point):
    many = [f"model {n}" for n in range(9)]
    palette = Palette(many)
    assert palette.color(many[0]) == palette.color(many[7])
    shown = intervals([point("row", 0.5, series=name) for name in many], x="x", **WORDS | {"palette": palette})
    shapes = shown.chart["vconcat"][0]["layer"][-1]["encoding"]["shape"]["scale"]
    by_model = dict(zip(shapes["domain"], shapes["range"], strict=True))
    assert by_model[many[0]] != by_model[many[7]]


def test_the_numbers_are_those_that_were_given(rows_of_two, every_plot, drawn):
    for name in ("stacked", "curves", "matrix"):
        rows = drawn(every_plot[name])
        assert [(row["value"], row["low"], row["high"]) for row in rows] == [
            (p.estimate.value, p.estimate.low, p.estimate.high) for p in rows_of_two
        ]
    assert every_plot["curves"].rows[0] == {
        "panel": "one", "place": 1, "series": "a", "value": 0.6, "low": 0.6 - 0.04, "high": 0.64, "n": 30
    }  # fmt: skip


def test_an_open_interval_has_no_bar(drawn):
    lone = Estimate(0.5, -math.inf, math.inf, 1)
    for plot in (
        intervals([Point(place="x", estimate=lone)], x="x", **WORDS),
        curves([Point(place=1, estimate=lone)], x="x", y="y", **WORDS),
    ):
        (row,) = drawn(plot)
        assert (row["low"], row["high"]) == (None, None)
        assert vl_convert.vegalite_to_svg(plot.chart)


def test_what_is_within_noise_is_hollow(point):
    plot = intervals([point("x", 0.5, is_clear=clear) for clear in (True, False)], x="x", **WORDS)
    fill = plot.chart["vconcat"][0]["layer"][-1]["encoding"]["fill"]
    assert fill["condition"]["test"] == "datum.is_clear"
    assert fill["value"] == "transparent"


def test_stacked_panels_have_only_their_own_rows_in_order(point):
    points = [point("b", 0.5, panel="one"), point("a", 0.6, panel="two"), point("b", 0.7, panel="two")]
    shown = intervals(points, x="x", **WORDS).chart["vconcat"]
    domains = [panel["layer"][0]["encoding"]["y"]["scale"]["domain"] for panel in shown]
    assert domains == [["b"], ["a", "b"]]
    domains = [
        panel["layer"][0]["encoding"]["y"]["scale"]["domain"]
        for panel in intervals([points[1], points[2], points[0]], x="x", **WORDS).chart["vconcat"]
    ]
    assert domains == [["a", "b"], ["b"]]


def test_rows_have_a_line_for_each_series_and_variant(point, drawn):
    several = [point("x", 0.5, series=model, variant=v) for model in MODELS for v in ("last", "mean")]
    assert [row["line"] for row in drawn(intervals(several, x="x", **WORDS))] == [0, 1, 2, 3]
    own = [point(model, 0.5, series=model, variant=v) for model in MODELS for v in ("last", "mean")]
    assert [row["line"] for row in drawn(intervals(own, x="x", **WORDS))] == [0, 1, 0, 1]


def test_lines_at_the_same_places_stand_a_little_aside(rows_of_two, every_plot, drawn):
    rows = drawn(every_plot["curves"])
    aside = [row["dodged"] - point.place for row, point in zip(rows, rows_of_two, strict=True)]
    assert aside[:2] == pytest.approx([-1 / 60, 1 / 60])
    assert max(map(abs, aside)) < 0.05


def test_curves_point_out_places_and_levels_where_there_are_some(point):
    points = [point(step, 0.1 * step, panel="grade", reference=0.3) for step in (1, 9)]
    points += [point(step, 2.0 * step, panel="KL") for step in (1, 9)]
    shown = texts(
        curves(points, x="step", y="", reference="start", marks={"best": 1, "worst": 9}, shares_y=False, **WORDS)
    )
    assert [shown.count(word) for word in ("best", "worst", "start")] == [2, 2, 1]


def placed(item, kind, x=0.0, y=0.0):
    """Yield the items of a kind of mark in a scenegraph, with their places on the page."""
    if "items" not in item:
        return
    if item.get("marktype") is None:  # one group of a group mark
        x, y = x + item.get("x", 0), y + item.get("y", 0)
    for each in item["items"]:
        if item.get("marktype") == kind:
            yield each, x + each.get("x", 0), y + each.get("y", 0) + (each.get("dy") or 0)
        yield from placed(each, kind, x, y)


def box(text, x, y):
    """Return about where a text is: left, right, top, bottom."""
    width, height = 0.55 * 11 * len(text["text"]), 11
    left = {"left": x, "right": x - width}[text["align"]]
    top = {"top": y, "bottom": y - height}[text["baseline"]]
    return left, left + width, top, top + height


@pytest.mark.parametrize("reference", [0.85, 0.53, 0.78])
def test_labels_cover_neither_each_other_nor_the_curve(point, reference):
    values = (0.53, 0.74, 0.78, 0.78, 0.79, 0.79, 0.78, 0.77, 0.79, 0.77, 0.76, 0.75)
    points = [point(5 * i, value, reference=reference) for i, value in enumerate(values)]
    marks = {"best": 45, "over-optimised": 50}
    plot = curves(points, x="step", y="", reference="start, greedy", marks=marks, **WORDS | {"palette": Palette([""])})
    scene = vl_convert.vegalite_to_scenegraph(plot.chart)["scenegraph"]
    boxes = [box(*each) for each in placed(scene, "text") if each[0]["text"] in {"start, greedy", *marks}]
    assert len(boxes) == 3
    for one, other in itertools.combinations(boxes, 2):
        assert one[1] <= other[0] or other[1] <= one[0] or one[3] <= other[2] or other[3] <= one[2]
    dots = [(x, y) for _, x, y in placed(scene, "symbol")]
    assert len(dots) == len(values)
    for left, right, top, bottom in boxes:
        assert not any(left < x < right and top < y < bottom for x, y in dots)


def test_few_whole_numbers_are_ticks(every_plot, point):
    assert {"1", "2", "3"} <= set(texts(every_plot["curves"]))
    assert "1.5" not in texts(every_plot["curves"])
    long = curves([point(1000 * n, 0.5) for n in range(30)], x="x", y="y", **WORDS)
    assert len([text for text in texts(long) if text and text.replace(",", "").isdigit()]) < 15


def test_the_outline_of_a_histogram_ends_on_the_axis(every_plot, drawn):
    rows = [row for row in drawn(every_plot["histograms"]) if row["panel"] == "a"]
    assert [(row["low"], row["chosen"], row["rejected"]) for row in rows] == [(0, 1, 2), (1, 2, 1), (2, 0, 0)]
