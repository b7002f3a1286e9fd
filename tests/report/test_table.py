import io
import math
from pathlib import Path

from rich.console import Console

from music.report import Interval, Table, cell_text, compact
from music.report.terminal import print_result
from music.statistics import Estimate

ESTIMATE = Estimate(-0.0125, -0.02, 0.0011, 9)


def test_estimates_have_one_format_in_tables_and_sentences():
    for value in (0.5, 0.985, 1.0, -0.012):
        estimate = Estimate(value, value - 0.02, value + 0.02, 9)
        assert compact(estimate) == str(estimate)
    assert compact(Estimate(0.012, -0.02, 0.001, 9), sign="+") == "+0.012 [-0.020, 0.001]"
    assert compact(Estimate(0.5, -math.inf, math.inf, 1)) == "0.500 (n = 1)"


def test_numbers_have_three_digits_unless_they_are_large_or_nearly_nothing():
    shown = [cell_text(number) for number in (0.5, 0.06, 8.0, 12.345, 1234.5, 0.0, 0.00012)]
    assert shown == ["0.500", "0.060", "8.000", "12.3", "1,234", "0.000", "0.0001"]


def printed(table, width):
    console = Console(file=io.StringIO(), width=width)
    print_result(console, [table], [], Path("report.html"))
    return console.file.getvalue().splitlines()


def test_in_a_narrow_terminal_intervals_go_below_their_values_and_then_away():
    cells = [Interval(estimate=Estimate(0.5, 0.401, 0.599, 9)) for _ in range(3)]
    table = Table("t", "c.", ["model", "a", "b", "c"], {"": [["a model", *cells]]})
    wide, middle, narrow = (printed(table, width) for width in (100, 64, 40))
    assert "0.500 [0.401, 0.599]" in wide[3]
    assert (middle[3].count("0.500"), middle[4].count("[0.401, 0.599]")) == (3, 3)
    assert narrow[3].split() == ["a", "model", "0.500", "0.500", "0.500"]
    assert "Intervals: in the report" in " ".join(narrow)
    assert not any("Intervals:" in line for line in wide + middle)


def test_values_that_are_too_wide_are_divided_into_blocks_of_columns():
    arms = [f"an-arm-{number}" for number in range(4)]
    cells = [Interval(estimate=Estimate(number / 10, 0.0, 0.9, 9)) for number in range(4)]
    lines = printed(Table("t", "c.", ["measure", *arms], {"": [["early", *cells]]}), 30)
    assert [line.split() for line in lines if "arm" in line] == [["measure", *arms[:2]], ["measure", *arms[2:]]]
    assert [line.split() for line in lines if "early" in line] == [
        ["early", "0.000", "0.100"],
        ["early", "0.200", "0.300"],
    ]
    assert max(map(len, lines)) <= 30


def test_a_difference_of_nothing_has_no_minus():
    assert compact(Estimate(-0.0001, -0.0002, 0.1, 9), sign="+") == "+0.000 [0.000, 0.100]"


def test_what_is_empty_is_not_printed():
    lines = printed(Table("nothing", "c", ["a"], {}), 80)
    assert lines == ["Report    report.html"]


def test_cells_as_people_read_them():
    assert [cell_text(cell) for cell in ("a", 12345, 0.12345, 1234.5, None)] == ["a", "12,345", "0.123", "1,234", "-"]
    assert cell_text(Interval(estimate=ESTIMATE, sign="+", verdict="within noise")) == (
        "-0.013 [-0.020, 0.001]  within noise"
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
