"""`music experiment`."""

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from music.cli import AsJson, emit, note
from music.errors import InvalidInputError, MusicError
from music.files import require_output_folder
from music.names import did_you_mean

if TYPE_CHECKING:
    from music_trainers.experiment.run import ExperimentEvent

__all__ = ["experiment"]


def experiment(
    grid: Annotated[
        str,
        typer.Argument(
            help="A TOML file of arms, measures, hypotheses and seeds, or the name of a shipped grid: "
            "`default` (the arms and their controls) or `ablations`.",
        ),
    ] = "default",
    out: Annotated[Path, typer.Option(help="Folder of pairs, cells and report; finished cells in it are kept.")] = Path(
        "runs/experiment"
    ),
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes at a time; by default one for each core.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Two seeds and a twentieth of the pairs: checks that everything works.")
    ] = False,
    look: Annotated[
        bool, typer.Option("--look", help="Run the grid's seeds for looking (looked_at); no hypothesis is tested.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train and measure a grid of arms over several seeds, and compare them; an interrupted run resumes.

    Example: music experiment --quick --out runs/quick
    """
    from music_trainers.experiment.grid import read_grid
    from music_trainers.experiment.report import print_experiment
    from music_trainers.experiment.run import run_experiment

    require_output_folder(out)
    declared = read_grid(_find_grid(grid))
    declared = declared.look() if look else declared
    declared = declared.quick() if quick else declared
    result = run_experiment(declared, out, jobs or os.cpu_count() or 1, _show, note)
    if as_json:
        emit(result.model_dump(mode="json"), as_json)
    else:
        print_experiment(result, out, Console(highlight=False, emoji=False))
    if result.failures:
        first = result.failures[0]
        raise MusicError(
            f"{len(result.failures)} cells failed, the first: {first.arm}, seed {first.seed}: {first.error}; "
            f"their tracebacks are in {out / 'cells'} as seed-*.failed.json; run the command again to retry them"
        )


def _find_grid(name: str) -> Path:
    """Return the file of a grid: a shipped one by its name, or the user's own."""
    from music_trainers.experiment.grid import GRIDS

    shipped, own = GRIDS / f"{name}.toml", Path(name)
    if not shipped.exists() and not own.exists():
        names = sorted(path.stem for path in GRIDS.glob("*.toml"))
        hint = did_you_mean(name, names)
        raise InvalidInputError(
            f"{name}: expected a TOML file, or one of {', '.join(names)}; there is no such file{hint}"
        )
    return shipped if shipped.exists() else own


def _show(event: "ExperimentEvent") -> None:
    """Print an event, and the expected time for the rest of its phase."""
    left = timedelta(seconds=round(event.seconds_left))
    state = f"failed: {event.error}" if event.error else "done"
    line = f"{event.phase} {event.num_done}/{event.num}: {event.name}: {state}; ETA {left}"
    note(line)
