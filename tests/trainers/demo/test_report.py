import io
import math
import re

import pytest
from rich.console import Console

from music.report import compact, write_report
from music.statistics import Estimate, describe
from music_trainers.demo import DemoConfig, DemoResult, DemoSizes
from music_trainers.demo.report import REPORT_NAME, best_of_n_plot, defects_plot, demo_report, print_demo
from music_trainers.demo.results import BestOfNRow, DefectAccuracy, DefectGain, TrainedArm

MODELS = ("last-turn", "music", "mixture", "last-turn, prefix mean")
SELECTORS = (*MODELS, "random", "longest", "oracle")
TURNS = range(1, 6)
PLACES = ("before the last turn", "in the last turn")
GAINS = [(group, model, place) for group in ("relevance", "count") for model in MODELS[1:] for place in PLACES]


def estimate(index, num=150):
    """Return an estimate that no other index has."""
    value = 0.301 + 0.0137 * (index % 50)
    return Estimate(value, value - 0.041, value + 0.037, num)


def best_of_n_row(index, selector, protocol, num_candidates):
    value = 0.003 * (index % 9 - 4)
    difference = None if selector == "last-turn" else Estimate(value, value - 0.0051, value + 0.0053, 150)
    return BestOfNRow(
        selector=selector,
        protocol=protocol,
        num_candidates=num_candidates,
        score=estimate(index),
        difference=difference,
        finding=describe(difference) if difference else "",
    )


@pytest.fixture
def result(tmp_path):
    """Return a result as the demo has it: three arms, three kinds of defect, five turns, N = 4 and 8."""
    cells = [(group, model, turn) for group in ("relevance", "count", "standing") for model in MODELS for turn in TURNS]
    rows = [(s, protocol, num) for protocol, num in (("greedy", 4), ("whole", 4), ("whole", 8)) for s in SELECTORS]
    return DemoResult(
        config=DemoConfig(
            out=tmp_path / ("long_folder_" * 12),
            seed=17,
            sizes=DemoSizes(
                num_base_pairs=4001,
                num_contrastive_pairs=2602,
                num_defects=53,
                num_single_turn=504,
                num_conversations=155,
            ),
        ),
        arms=[
            TrainedArm(
                name=name,
                description=f"base pairs and, from the same seed contexts, what {name} adds to them at its turns",
                num_pairs=6600 + index,
                num_steps=1381 + index,
                num_tokens=1023411 + index,
                seconds=86.4 + index,
                loss=0.4123 + index / 100,
            )
            for index, name in enumerate(("last-turn", "music", "mixture"))
        ],
        defects=[
            DefectAccuracy(model=model, group=group, turn=turn, estimate=estimate(index, num=200 + index))
            for index, (group, model, turn) in enumerate(cells)
        ],
        gains=[
            DefectGain(model=model, group=group, place=place, difference=found, finding=describe(found))
            for index, (group, model, place) in enumerate(GAINS)
            for found in [estimate(index, num=150 + index)]
        ],
        single_turn={name: estimate(index + 11, num=504) for index, name in enumerate(("start", *MODELS[:3]))},
        best_of_n=[best_of_n_row(index, *row) for index, row in enumerate(rows)],
        findings=["music ranks early defects better: +0.139 [0.111, 0.167]: higher, beyond noise", "within noise: N=4"],
        num_calls=52013,
        seconds={"simulate": 41.2, "train": 255.1, "measure": 33.4},
        versions={"music-rm": "0.1.0", "torch": "2.13.0"},
    )


def only_one_arm(result):
    return result.model_copy(
        update={
            "arms": result.arms[:1],
            "defects": [row for row in result.defects if row.model == "last-turn"],
            "gains": [],
            "best_of_n": [row for row in result.best_of_n if row.selector == "last-turn"],
            "single_turn": {"last-turn": result.single_turn["last-turn"]},
        }
    )


def terminal_text(result, width=140):
    console = Console(file=io.StringIO(), width=width)
    print_demo(result, console)
    return console.file.getvalue()


@pytest.fixture
def page_of(tmp_path, read_page):
    """Return what writes a result's report and reads it back."""

    def write(result):
        write_report(demo_report(result), tmp_path / REPORT_NAME)
        return read_page(tmp_path / REPORT_NAME)

    return write


def expected_figures(result):
    """Return every figure and name of the result, as the tables show them."""
    figures = {compact(row.estimate) for row in result.defects}
    figures |= {compact(row.difference, sign="+") for row in result.gains}
    figures |= {compact(row.score) for row in result.best_of_n}
    figures |= {compact(row.difference, sign="+") for row in result.best_of_n if row.difference}
    figures |= {compact(value) for value in result.single_turn.values()} | set(result.single_turn)
    figures |= {row.model for row in result.defects} | {row.group for row in result.defects}
    figures |= {row.selector for row in result.best_of_n} | {f"N={row.num_candidates}" for row in result.best_of_n}
    for arm in result.arms:
        figures |= {arm.name, f"{arm.num_pairs:,}", f"{arm.num_steps:,}", f"{arm.num_tokens:,}"}
        figures |= {f"{arm.seconds:.1f}", f"{arm.loss:.3f}"}
    figures |= {f"{size:,}" for size in result.config.sizes.model_dump().values()} | {f"seed {result.config.seed}"}
    figures |= {f"{phase} {seconds:.1f} s" for phase, seconds in result.seconds.items()} | {f"{result.num_calls:,}"}
    return figures | {f"{name} {version}" for name, version in result.versions.items()} | set(result.findings)


def test_terminal_shows_every_figure(result):
    text = terminal_text(result)
    assert {figure for figure in expected_figures(result) if figure not in text} == set()


def test_report_shows_every_figure(result, page_of):
    text = page_of(result).text
    assert {figure for figure in expected_figures(result) if figure not in text} == set()


def test_terminal_fits_its_width_and_cuts_nothing(result):
    *lines, last = terminal_text(result).splitlines()
    assert max(map(len, lines)) <= 140
    assert "…" not in "\n".join(lines)
    assert "\x1b" not in "\n".join(lines)
    assert last.endswith(str(result.config.out / REPORT_NAME))  # in one piece, however long


def test_each_headline_row_stands_on_one_line(result):
    lines = terminal_text(result).splitlines()
    row = next(line for line in lines if line.startswith("  last-turn, prefix mean"))
    assert row.count("[") == len(TURNS)


def test_a_narrower_terminal_breaks_cells_and_cuts_none(result):
    lines = terminal_text(result, width=80).splitlines()
    assert max(map(len, lines[:-1])) <= 80
    text = "\n".join(lines)
    assert "…" not in text
    assert {row.model for row in result.defects if f"  {row.model} " not in text} == set()  # labels in one line
    assert {value for row in result.defects if (value := f"{row.estimate.value:.3f}") not in text} == set()
    assert "Intervals: in the report" in text


def test_verdicts_stand_beside_their_differences(result):
    line = next(line for line in terminal_text(result).splitlines() if re.match(r"  music +[+-]0\.\d+ .*noise", line))
    row = next(row for row in result.best_of_n if row.protocol == "greedy" and row.selector == "music")
    assert line.rstrip().split(maxsplit=1)[1].split("  ") == [
        compact(row.difference, sign="+"),
        row.finding.split(": ")[1],
    ]


def test_names_and_findings_are_text_not_markup(result, page_of):
    nasty = "</script><b onclick=x>[red]&amp;"
    changed = result.model_copy(
        update={
            "findings": [nasty],
            "versions": {nasty: nasty},
            "arms": [arm.model_copy(update={"name": nasty, "description": nasty}) for arm in result.arms[:1]],
            "defects": [row.model_copy(update={"model": nasty, "group": nasty}) for row in result.defects[:5]],
            "best_of_n": [row.model_copy(update={"selector": nasty}) for row in result.best_of_n[:1]],
            "single_turn": {nasty: estimate(0)},
        }
    )
    clean, page = (page_of(each) for each in (only_one_arm(result), changed))
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in clean.tags}
    assert len(page.scripts) == len(clean.scripts)
    assert page.text.count(nasty) >= 6
    assert nasty in terminal_text(changed)


def test_a_single_arm_is_enough(result, page_of):
    single = only_one_arm(result)
    assert "difference to last-turn" not in terminal_text(single)
    assert "mixture" not in page_of(single).text


def test_a_missing_cell_is_a_dash(result):
    fewer = result.model_copy(update={"defects": result.defects[1:]})
    line = next(line for line in terminal_text(fewer).splitlines() if line.startswith("  last-turn "))
    assert line.split()[1] == "-"


def test_open_intervals_are_said(result, page_of):
    lone = Estimate(0.5, -math.inf, math.inf, 1)
    rows = [row.model_copy(update={"estimate": lone}) for row in result.defects]
    changed = result.model_copy(update={"defects": rows})
    assert "0.500 (n = 1)" in terminal_text(changed)
    assert "0.500 (n = 1)" in page_of(changed).text


def test_plots_hold_the_figures_with_their_intervals(result):
    rows = defects_plot(result).rows
    assert [(row["panel"], row["series"], row["place"]) for row in rows] == [
        (row.group, row.model, row.turn) for row in result.defects
    ]
    assert [(row["value"], row["low"], row["high"]) for row in rows] == [
        (row.estimate.value, row.estimate.low, row.estimate.high) for row in result.defects
    ]
    rows = best_of_n_plot(result).rows
    assert [(row["panel"], row["place"], row["variant"], row["value"]) for row in rows] == [
        (row.protocol, row.selector, f"N={row.num_candidates}", row.score.value) for row in result.best_of_n
    ]
