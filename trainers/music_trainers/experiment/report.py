"""The result of an experiment for people: tables in the terminal, a report, and a Markdown file."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from music.files import replace_file
from music.report import Cell, Report, cell_text
from music.report.terminal import print_result
from music_trainers.experiment.grid import Grid
from music_trainers.experiment.plots import plots
from music_trainers.experiment.records import ExperimentResult
from music_trainers.experiment.tables import all_tables, score_tables

__all__ = ["experiment_report", "print_experiment", "report_path", "write_markdown"]

INTRO = (
    "Reward models trained on the arms of a declared grid, with several seeds each, and measured on the same test "
    "items. Read differences between arms, not absolute figures."
)
TESTED = "The hypotheses were declared in the grid and are tested. Everything else is exploratory."
NOT_TESTED = "No hypothesis is tested: all comparisons are exploratory."
DECLARED = ("model", "folds", "sandbox", "sources", "measures")
"""The tables and keys of the grid that the report repeats beside its arms."""


def report_path(out: Path, grid: Grid) -> Path:
    """Return the path of a grid's report."""
    return out / f"{grid.name}.html"


def experiment_report(result: ExperimentResult) -> Report:
    """Return the experiment's result as a report."""
    return Report(
        title=result.grid.title,
        intro=_intro(result),
        findings=result.findings,
        parts=[*plots(result), *all_tables(result)],
        notes=_notes(result),
    )


def print_experiment(result: ExperimentResult, out: Path, console: Console) -> None:
    """Print the scores and the findings, as plain text if the console is not a terminal."""
    print_result(console, score_tables(result), result.findings, report_path(out, result.grid))


def write_markdown(result: ExperimentResult, path: Path) -> None:
    """Write the report as one Markdown file."""
    replace_file(path, "\n".join(_lines(result)) + "\n")


def _intro(result: ExperimentResult) -> str:
    return f"{INTRO} {TESTED if result.hypotheses else NOT_TESTED}"


def _notes(result: ExperimentResult) -> dict[str, str]:
    """Return the settings, the versions and the failures, by name."""
    declared = result.grid.model_dump(mode="json", include=set(DECLARED), exclude_none=True)
    failures = [f"{each.arm}, seed {each.seed}: {each.error}" for each in result.failures]
    return {
        "Seeds": " ".join(map(str, result.grid.seeds)),
        **{name.capitalize(): _settings(declared[name]) for name in DECLARED if declared.get(name)},
        "Versions": ", ".join(f"{name} {number}" for name, number in result.versions.items()),
        **({"Cells that failed": "\n".join(failures)} if failures else {}),
    }


def _settings(declared: Any) -> str:
    """Return a table of the grid as text, with a line for each of its own tables."""
    if isinstance(declared, Mapping) and all(isinstance(value, Mapping) for value in declared.values()):
        return "\n".join(f"{name}: {_text(value)}" for name, value in declared.items())
    return _text(declared)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        shown = {key: f"({_text(part)})" if isinstance(part, Mapping) else _text(part) for key, part in value.items()}
        return ", ".join(f"{key} {part}" for key, part in shown.items() if part != "()")
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _lines(result: ExperimentResult) -> Iterator[str]:
    yield from (f"# {result.grid.title}", "", _intro(result), "", "## Findings", "")
    yield from (f"- {finding}" for finding in result.findings)
    for table in all_tables(result):
        yield from ("", f"## {table.title}", "", table.caption, "")
        for heading, rows in table.groups.items():
            yield from ("", f"### {heading[:1].upper()}{heading[1:]}", "") if heading else ()
            yield from (_row(table.columns), _row(["---"] * len(table.columns)), *map(_row, rows))
    yield from ("", "## What this rests on", "")
    for name, note in _notes(result).items():
        yield f"- **{name}.** {note.replace(chr(10), '; ')}"


def _row(cells: Sequence[Cell]) -> str:
    shown = (cell_text(cell).replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(shown)} |"
