"""`run_experiment`: every cell of a grid that is not done yet, in processes; then the report."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from music.errors import InvalidInputError
from music.files import replace_file
from music_trainers.experiment.analysis import analyse
from music_trainers.experiment.cell import CellKey, GridCell, read_references, run_cell
from music_trainers.experiment.grid import Grid
from music_trainers.experiment.pairs import Simulation, run_simulated
from music_trainers.experiment.process_pool import Failure, run_in_processes
from music_trainers.experiment.records import ExperimentResult
from music_trainers.experiment.store import CellFailure, CellStore

__all__ = ["Progress", "run_experiment"]

REFERENCES_NAME = "references.json"


@dataclass(frozen=True, slots=True)
class Progress:
    """What has just been done.

    Attributes:
        phase: `simulate` or `cells`.
        name: Of what was done, for people to read.
        num_done: In this phase, of those that had to be done.
        num: How many had to be.
        seconds: Since the phase began.
        error: What went wrong with it; empty if nothing.
    """

    phase: str
    name: str
    num_done: int
    num: int
    seconds: float
    error: str = ""

    @property
    def seconds_left(self) -> float:
        """The time that the rest of the phase takes at the rate so far."""
        return self.seconds / self.num_done * (self.num - self.num_done)


OnProgress = Callable[[Progress], None]
K = TypeVar("K", Simulation, CellKey)
T = TypeVar("T")


def run_experiment(grid: Grid, out: Path, num_jobs: int, on_progress: OnProgress = lambda _: None) -> ExperimentResult:
    """Run the cells that are not done yet, and write `NAME.json`, `NAME.md` and `NAME.html` over all that are.

    Args:
        grid: What to run.
        out: Folder of pairs, cells and report; cells that lie there are not run again.
        num_jobs: Processes at a time, of one thread each.
        on_progress: Called after each piece of work.

    Raises:
        InvalidInputError: The folder holds cells that were run with other settings, or every cell failed.
    """
    from music.report import write_report
    from music_trainers.experiment.report import experiment_report, report_path, write_markdown

    store = CellStore(out)
    cells = [GridCell.of(grid, arm, seed) for (_, seed), arm in grid.runs().items()]
    done = store.read(cells)
    missing = {cell.key: cell for cell in cells if cell.key not in done}
    failures = _run_missing(missing, _num_simulated(cells), store, num_jobs, on_progress) if missing else []
    done = store.read(cells)
    if not done:
        raise InvalidInputError(f"expected at least one cell that succeeds, got none; first: {failures[0].error}")
    references = read_references(grid.sizes, grid.test_seed, out / REFERENCES_NAME)
    versions = {name: version(name) for name in ("music-rm", "torch", "transformers")}
    result = analyse(grid, list(done.values()), references, failures, versions)
    replace_file(out / f"{grid.name}.json", result.model_dump_json(indent=1) + "\n")
    write_markdown(result, out / f"{grid.name}.md")
    write_report(experiment_report(result), report_path(out, grid))
    return result


def _num_simulated(cells: Iterable[GridCell]) -> dict[Simulation, int]:
    """Return how many pairs to make in each simulation, for the cell that needs most of them.

    Counted over all cells, done or not, so that a resumed run asks for the files that it has.
    """
    needed: dict[Simulation, int] = {}
    for cell in cells:
        for simulation, num in cell.simulations().items():
            needed[simulation] = max(num, needed.get(simulation, 0))
    return needed


def _run_missing(
    missing: Mapping[CellKey, GridCell],
    num_simulated: Mapping[Simulation, int],
    store: CellStore,
    num_jobs: int,
    on_progress: OnProgress,
) -> list[CellFailure]:
    """Simulate what missing cells need, run them, and keep their results and failures."""
    files = {simulation: num_simulated[simulation] for cell in missing.values() for simulation in cell.simulations()}
    simulating = {
        simulation: (run_simulated, (simulation, num, store.pairs))
        for simulation, num in files.items()
        if not simulation.path(store.pairs, num).exists()
    }
    outcomes = _followed("simulate", simulating, num_jobs, on_progress)
    lost = {simulation: outcome for simulation, outcome in outcomes if isinstance(outcome, Failure)}
    failures: list[CellFailure] = []
    running = {}
    for key, cell in missing.items():
        needed = {simulation: num_simulated[simulation] for simulation in cell.simulations()}
        if causes := [lost[simulation] for simulation in needed if simulation in lost]:
            failures.append(store.add_failure(cell, causes[0]))
        else:
            running[key] = (run_cell, (cell, needed, store.pairs))
    for key, outcome in _followed("cells", running, num_jobs, on_progress):
        if isinstance(outcome, Failure):
            failures.append(store.add_failure(missing[key], outcome))
        else:
            store.add(outcome)
    return failures


def _followed(
    phase: str, work: Mapping[K, tuple[Callable[..., T], tuple[Any, ...]]], num_jobs: int, on_progress: OnProgress
) -> Iterator[tuple[K, T | Failure]]:
    """Run a phase's work, and report each piece when it is done."""
    began = time.perf_counter()
    for num_done, (key, outcome) in enumerate(run_in_processes(work, num_jobs), start=1):
        yield key, outcome
        error = outcome.error if isinstance(outcome, Failure) else ""
        on_progress(Progress(phase, _named(key), num_done, len(work), time.perf_counter() - began, error))


def _named(key: Simulation | CellKey) -> str:
    """Name a piece of work for people."""
    return key.name if isinstance(key, Simulation) else f"{key[0]}, seed {key[1]}"
