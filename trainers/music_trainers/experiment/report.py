"""The experiment's result for people: tables in the terminal, a report, and Markdown to commit beside docs."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from music.report import Cell, Report, cell_text
from music_trainers.experiment.grid import Grid
from music_trainers.experiment.plots import plots
from music_trainers.experiment.records import ExperimentResult
from music_trainers.experiment.store import write_whole
from music_trainers.experiment.tables import headline_tables, tables
from music_trainers.miniature.tables import list_grid, rich_table

__all__ = ["experiment_report", "render_terminal", "report_path", "write_markdown"]

INTRO = (
    "Small reward models, trained on a declared grid of arms and seeds in the sandbox, measured on the same held-out "
    "conversations. All start from one model, in one small world, graded by the oracle that also labels the base "
    "pairs: read differences between arms, not absolute figures."
)


def report_path(out: Path, grid: Grid) -> Path:
    """Return where a grid's report lies; in Markdown, likewise with `.md`."""
    return out / f"{grid.name}.html"


def experiment_report(result: ExperimentResult) -> Report:
    """Return the experiment's result as a report."""
    failures = [f"{each.arm}, seed {each.seed}: {each.error}" for each in result.failures]
    return Report(
        title=result.grid.title,
        intro=INTRO,
        findings=result.findings,
        parts=[*plots(result), *tables(result)],
        notes={**_settings(result), **({"Cells that failed": "\n".join(failures)} if failures else {})},
    )


def render_terminal(result: ExperimentResult, out: Path, console: Console) -> None:
    """Print tables and findings, plain where the console is no terminal."""
    for table in headline_tables(result):
        console.print(Text(table.title, style="bold"))
        console.print(rich_table(table))
        console.print(Text(table.caption, style="dim"), end="\n\n")
    console.print(Text("Findings", style="bold"))
    console.print(list_grid([("-", finding) for finding in result.findings]))
    console.print(Text(f"Report    {report_path(out, result.grid)}"), soft_wrap=True)


def write_markdown(result: ExperimentResult, path: Path) -> None:
    """Write the report as one Markdown file."""
    write_whole(path, "\n".join(_lines(result)) + "\n")


def _settings(result: ExperimentResult) -> dict[str, str]:
    return {
        "Seeds": " ".join(map(str, result.grid.seeds)),
        "Sizes": ", ".join(f"{name} {value}" for name, value in result.grid.sizes.model_dump().items()),
        "Versions": ", ".join(f"{name} {number}" for name, number in result.versions.items()),
    }


def _lines(result: ExperimentResult) -> Iterator[str]:
    settings = _settings(result)
    shown = f"Seeds {settings['Seeds']}; {settings['Sizes']}; {settings['Versions']}."
    yield from (f"# {result.grid.title}", "", shown, "", "## Findings", "")
    yield from (f"- {finding}" for finding in result.findings)
    for table in tables(result):
        yield from ("", f"## {table.title}", "", table.caption, "")
        for heading, rows in table.groups.items():
            yield from ("", f"### {heading[:1].upper()}{heading[1:]}", "") if heading else ()
            yield from (_row(table.columns), _row(["---"] * len(table.columns)), *map(_row, rows))


def _row(cells: Sequence[Cell]) -> str:
    shown = (cell_text(cell).replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(shown)} |"
