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
    "items. The hypotheses were declared beforehand and are tested; everything else is exploratory. Read differences "
    "between arms, not absolute figures."
)
DECLARED = ("model", "folds", "sandbox", "sources", "measures")
"""The tables and keys of the grid that the report repeats beside its arms."""


def report_path(out: Path, grid: Grid) -> Path:
    """Return the path of a grid's report."""
    return out / f"{grid.name}.html"


def experiment_report(result: ExperimentResult) -> Report:
    """Return the experiment's result as a report."""
    return Report(
        title=result.grid.title,
        intro=INTRO,
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


def _notes(result: ExperimentResult) -> dict[str, str]:
    """Return the settings, the versions and the failures, by name."""
    declared = result.grid.model_dump(mode="json", include=set(DECLARED), exclude_defaults=True)
    failures = [f"{each.arm}, seed {each.seed}: {each.error}" for each in result.failures]
    return {
        "Seeds": " ".join(map(str, result.grid.seeds)),
        **{name.capitalize(): "\n".join(_settings(declared[name])) for name in DECLARED if name in declared},
        "Versions": ", ".join(f"{name} {number}" for name, number in result.versions.items()),
        **({"Cells that failed": "\n".join(failures)} if failures else {}),
    }


def _settings(declared: Any) -> Iterator[str]:
    """Yield settings in words: one line for each named table, or one line for all."""
    if not isinstance(declared, Mapping):
        yield str(declared)
    elif any(isinstance(value, Mapping) for value in declared.values()):
        for name, value in declared.items():
            yield f"{name}: {'; '.join(_settings(value))}"
    else:
        yield ", ".join(f"{name} {_value(value)}" for name, value in declared.items())


def _value(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _lines(result: ExperimentResult) -> Iterator[str]:
    yield from (f"# {result.grid.title}", "", INTRO, "", "## Findings", "")
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
