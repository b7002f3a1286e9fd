import csv
import json
import re
import sys
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from music.report import Interval, Palette, Point, Report, Table, curves, intervals, write_report
from music.statistics import Estimate

NASTY = "</script><b onclick=x>{{ 7 * 7 }}&amp;"


def make_report(name="a", parts=None):
    points = [
        Point(place=place, estimate=Estimate(0.5 + place / 10, 0.4, 0.9, 20), series=name, panel=panel)
        for panel in (name, "two")
        for place in (1, 2)
    ]
    rows = [Point(place=name, estimate=Estimate(0.5, 0.4, 0.6, 20), series=name, variant=name)]
    words = {"title": f"Plot of {name}", "caption": name, "palette": Palette([name])}
    table = Table(f"Table of {name}", name, ["model", "gain"], {name: [[name, Interval(estimate=rows[0].estimate)]]})
    return Report(
        title=name,
        intro=name,
        findings=[name],
        parts=[curves(points, x=name, y=name, **words), intervals(rows, x=name, **words), table]
        if parts is None
        else parts,
        notes={name: name},
    )


@pytest.fixture
def write(tmp_path, read_page):
    def run(report, name="report.html"):
        write_report(report, tmp_path / name)
        return read_page(tmp_path / name)

    return run


def test_the_page_asks_for_nothing_from_outside(write):
    page = write(make_report())
    addresses = [attrs[key] for _, attrs in page.tags for key in ("src", "href", "srcset", "data") if attrs.get(key)]
    assert addresses == []
    assert not re.search(r"@import|url\(", page.styles)
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy


def test_the_library_is_there_once_and_ends_in_its_script(write):
    page = write(make_report())
    assert sum(len(script) > 500_000 for script in page.scripts) == 1
    assert "window.embed=" in next(script for script in page.scripts if len(script) > 500_000)
    assert not any(re.search(r"</script|<!--", script, re.IGNORECASE) for script in page.scripts)
    assert page.text.rstrip().endswith("all numbers as CSV.")


def test_a_warning_stands_first_and_what_is_empty_is_left_out(write, tmp_path):
    report = replace(make_report(), warnings=["LEAK <b>"], notes={"Nothing": "", "Account": "a"})
    report = replace(
        report, parts=[Table("Empty table", "c", ["x"], {}), replace(report.parts[0], rows=[]), *report.parts]
    )
    page = write(report)
    assert [attrs.get("role") for _, attrs in page.tags if attrs.get("role") == "alert"] == ["alert"]
    assert page.text.index("LEAK <b>") < page.text.index("Findings")
    assert "Empty table" not in page.text
    assert "Nothing" not in page.text
    assert len({path.stem for path in (tmp_path / "report").iterdir()}) == 3
    assert not any(attrs.get("role") == "alert" for _, attrs in write(make_report()).tags)


def test_a_page_without_plots_has_no_library(write):
    page = write(make_report(parts=make_report().parts[-1:]))
    assert page.scripts == []


def test_plots_are_data_of_the_page(write):
    report = make_report()
    page = write(report)
    plots = [json.loads(script) for script in page.scripts if script.startswith("{")]
    assert plots == [part.chart for part in report.parts[:2]]


def test_names_are_text_not_markup(write):
    clean, page = write(make_report()), write(make_report(NASTY))
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in clean.tags}
    assert len(page.scripts) == len(clean.scripts)
    assert page.text.count(NASTY) >= 9
    assert "49" not in page.text


def test_every_part_has_files_of_its_numbers_and_pictures(write, tmp_path):
    write(make_report("Ä/../b"))
    folder = tmp_path / "report"
    stems = {"01-plot-of-b": True, "02-plot-of-b": True, "03-table-of-b": False}
    expected = {
        f"{stem}{suffix}"
        for stem, is_plot in stems.items()
        for suffix in (".csv", ".png", ".svg")[: 3 if is_plot else 1]
    }
    assert {path.name for path in folder.iterdir()} == expected
    assert (folder / "01-plot-of-b.png").read_bytes().startswith(b"\x89PNG")
    ElementTree.parse(folder / "01-plot-of-b.svg")
    with (folder / "01-plot-of-b.csv").open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert [(row["panel"], float(row["place"]), float(row["value"])) for row in rows] == [
        ("Ä/../b", 1, 0.6), ("Ä/../b", 2, 0.7), ("two", 1, 0.6), ("two", 2, 0.7)
    ]  # fmt: skip
    with (folder / "03-table-of-b.csv").open(newline="") as opened:
        assert list(csv.reader(opened))[1] == ["Ä/../b", "Ä/../b", "0.5", "0.4", "0.6"]


def test_writing_again_leaves_no_file_of_the_report_before(write, tmp_path):
    write(make_report())
    mine = tmp_path / "report" / "10-pairs.parquet"
    mine.touch()
    write(make_report(parts=make_report().parts[-1:]))
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"01-table-of-a.csv", mine.name}


def test_the_same_report_gives_the_same_files(write, tmp_path):
    for name in ("one.html", "two.html"):
        write(make_report(), name)
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two
    pages = [(tmp_path / f"{name}.html").read_text().replace(f"In {name}:", "") for name in ("one", "two")]
    assert pages[0] == pages[1]


def test_the_command_is_told_if_there_is_one(write, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/music", "evaluate", "a b"])
    assert "music evaluate 'a b'" in write(make_report()).text
    monkeypatch.setattr(sys, "argv", ["/usr/lib/kernel.py", "--secret"])
    assert "--secret" not in write(make_report()).text


def test_a_long_table_is_folded_up(write):
    table = Table("t", "c", ["n"], {"": [[number] for number in range(61)]})
    folded, short = (
        [attrs for tag, attrs in write(make_report(parts=[each])).tags if tag == "details"]
        for each in (table, make_report().parts[-1])
    )
    assert (folded, short) == ([{}], [{"open": None}])
