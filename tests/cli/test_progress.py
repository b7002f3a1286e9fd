"""Progress of a count, on a terminal of 80 columns and where there is none."""

import io
import re
import time

import pytest
from rich.console import Console

from music.cli import counted
from music.cli.output import describe_progress


def plain():
    return Console(file=io.StringIO(), force_terminal=False, width=80)


def test_lines_come_while_nothing_advances_and_one_more_at_the_end():
    console = plain()
    with counted("replies", 2400, is_bound=True, console=console, seconds=0.001) as advance:
        while "replies: 0 of at most 2,400, 0:00:00, ETA unknown\n" not in console.file.getvalue():
            time.sleep(0.001)
        advance(1200)
    assert console.file.getvalue().splitlines()[-1].startswith("replies: 1,200 of at most 2,400, ")


def test_a_line_says_how_long_the_rest_will_take():
    assert describe_progress("items", 120, 2400, 10.0) == "items: 120 of 2,400, 0:00:10, ETA 0:03:10"
    assert describe_progress("items", 2400, 2400, 200.0, is_over=True) == "items: 2,400 of 2,400, 0:03:20, done"


def test_an_error_is_not_followed_by_a_line_of_its_own():
    console = plain()
    with pytest.raises(ValueError, match="broken"), counted("items", 3, console=console):
        raise ValueError("broken")
    assert console.file.getvalue() == ""


def test_a_bar_fits_a_terminal_of_80_columns():
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with counted("conversations judged", 123_456, console=console) as advance:
        advance(123_000)
    lines = console.file.getvalue().replace("\r", "\n").splitlines()
    assert any("conversations judged" in line and "123000/123456" in line and "ETA" in line for line in lines)


@pytest.mark.parametrize("label", ["steps", "candidate replies"])
def test_eighty_columns_show_the_bar_the_count_and_the_eta_of_a_million(label):
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    with counted(label, 1_234_567, console=console) as advance:
        advance(617_283)
    last = [line for line in re.split(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]", console.file.getvalue()) if line.strip()][-1]
    assert len(last) <= 80
    assert re.fullmatch(rf"{label} ━{{10,}}.* 617283/1234567 ETA \S+\s*", last)
