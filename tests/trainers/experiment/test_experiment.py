"""`music experiment` on a tiny grid: it runs, resumes, and tells what failed."""

import json

import pytest
import typer
from typer.testing import CliRunner

from music.errors import MusicError
from music_trainers.experiment.cli import experiment

GRID = """
name = "tiny"
title = "A tiny grid"
seeds = [0, 1]
[sandbox]
num_turns = 2
num_defects = 1
num_single_turn = 4
num_conversations = 3
[arms.start]
pairs = {}
[arms.base]
pairs = { base = 8 }
against = ["start"]
[arms.music]
pairs = { base = 8, instruction = 8 }
num_turns = 2
against = ["base"]
"""
APP = typer.Typer()
APP.command()(experiment)


def run(folder, grid=GRID):
    (folder / "grid.toml").write_text(grid)
    arguments = [str(folder / "grid.toml"), "--out", str(folder / "out"), "--jobs", "1", "--json"]
    return CliRunner().invoke(APP, arguments, catch_exceptions=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which the simulated pairs of seed 1 cannot be read when the cells run first."""
    folder = tmp_path_factory.mktemp("experiment")
    broken = folder / "out" / "pairs" / "seed-1" / "instruction-8-turns2-all-good.parquet"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no parquet")
    with pytest.raises(MusicError, match=r"1 cells failed, the first: music, seed 1: .*parquet"):
        run(folder)
    return folder


@pytest.fixture(scope="module")
def resumed(folder):
    """The run after the damage is mended, and what was there before it."""
    (folder / "out" / "pairs" / "seed-1" / "instruction-8-turns2-all-good.parquet").unlink()
    before = {path: path.stat().st_mtime_ns for path in (folder / "out" / "cells").rglob("seed-?.json")}
    report = json.loads((folder / "out" / "tiny.json").read_text())
    return before, report, run(folder)


def test_a_cell_that_fails_is_on_record_and_the_others_go_on(resumed):
    before, report, _ = resumed
    assert len(before) == 5
    assert [(f["arm"], f["seed"]) for f in report["failures"]] == [("music", 1)]
    assert "1 of 6 cells failed and are left out." in report["findings"]
    assert {arm["name"]: arm["seeds"] for arm in report["arms"]}["music"] == [0]


def test_a_resumed_run_runs_what_is_missing_and_nothing_else(resumed):
    before, _, outcome = resumed
    assert outcome.exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "cells 1/1: music, seed 1: done; ETA 0:00:00" in outcome.stderr
    result = json.loads(outcome.stdout)
    assert result["failures"] == []
    assert {tuple(arm["seeds"]) for arm in result["arms"]} == {(0, 1)}


def test_the_result_holds_what_was_trained_and_measured(resumed):
    result = json.loads(resumed[2].stdout)
    by_name = {arm["name"]: arm for arm in result["arms"]}
    assert by_name["start"]["num_steps"] == 0
    assert by_name["base"]["num_steps"] == 1
    assert by_name["music"]["num_pairs"] == {"base": 8.0, "instruction": 8.0}
    grades = {name: row["Best-of-8"]["value"] for name, row in result["references"].items()}
    assert grades["oracle"] == max(grades.values())
    whole = [s["estimate"]["value"] for s in result["scores"] if s["measure"] == "Best-of-8"]
    assert max(whole) <= grades["oracle"]


def test_the_report_is_markdown_with_every_arm_and_finding(folder, resumed):
    result, text = json.loads(resumed[2].stdout), (folder / "out" / "tiny.md").read_text()
    assert text.startswith("# A tiny grid\n")
    assert all(f"- {finding}\n" in text for finding in result["findings"])
    assert "| measure | start | base | music |" in text
    widths = {line.count(" | ") for line in text.splitlines() if line.startswith("| topic")}
    assert len(widths) <= 1


def test_the_report_is_a_page_with_every_arm_and_finding(folder, resumed, read_page):
    result, text = json.loads(resumed[2].stdout), read_page(folder / "out" / "tiny.html").text
    assert "A tiny grid" in text
    assert all(finding in text for finding in result["findings"])
    assert {arm["name"] for arm in result["arms"] if arm["name"] not in text} == set()
    assert (folder / "out" / "tiny" / "01-plot-the-arms.png").exists()


def test_a_changed_grid_says_what_changed(folder, resumed):
    with pytest.raises(MusicError, match=r"music, seed 0: settings.pairs.instruction was 8, is 9"):
        run(folder, GRID.replace("instruction = 8", "instruction = 9"))
