import math

from music.report import Interval, Table, cell_text, compact
from music.statistics import Estimate

ESTIMATE = Estimate(-0.0125, -0.02, 0.0011, 9)


def test_compact_keeps_its_width():
    shown = [compact(Estimate(value, value - 0.02, min(1.0, value + 0.02), 9), 2) for value in (0.5, 0.985, 1.0)]
    assert shown == [".50 [.48,.52]", ".98 [.96,1.0]", "1.0 [.98,1.0]"]
    assert compact(Estimate(-0.012, -0.02, 0.001, 9), 3, sign="+") == "-.012 [-.020,+.001]"
    assert compact(Estimate(0.5, -math.inf, math.inf, 1), 2) == ".50 (n = 1)"


def test_cells_as_people_read_them():
    assert [cell_text(cell) for cell in ("a", 12345, 0.12345, 1234.5, None)] == ["a", "12,345", "0.123", "1,234", "-"]
    assert cell_text(Interval(estimate=ESTIMATE, sign="+", verdict="within noise")) == (
        "-.013 [-.020,+.001]  within noise"
    )


def test_spread_gives_every_number_a_column_and_rounds_none():
    told = Interval(estimate=ESTIMATE, verdict="within noise")
    table = Table("t", "c", ["model", "gain", "n"], {"one": [["a", told, 1234]], "two": [["b", None, 5]]})
    assert [*table.spread()] == [
        ["group", "model", "gain", "gain low", "gain high", "gain verdict", "n"],
        ["one", "a", -0.0125, -0.02, 0.0011, "within noise", 1234],
        ["two", "b", "", "", "", "", 5],
    ]
    assert table.num_rows == 2


def test_columns_of_words_stay_as_they_are():
    assert [*Table("t", "c", ["a", "b"], {"": [["x", "y"]]}).spread()] == [["group", "a", "b"], ["", "x", "y"]]
