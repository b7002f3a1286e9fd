"""`run_experiment`: run the missing cells of a grid in processes, then write the report."""

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

__all__ = ["ExperimentEvent", "run_experiment"]

REFERENCES_NAME = "references.json"


@dataclass(frozen=True, slots=True)
class ExperimentEvent:
    """The end of one simulation or one cell.

    Attributes:
        phase: `simulate` or `cells`.
        name: Name of the simulation or cell, for people to read.
        num_done: How many are done in this phase.
        num: How many there are in this phase.
        seconds: Time since the phase began.
        error: The error; empty if it succeeded.
    """

    phase: str
    name: str
    num_done: int
    num: int
    seconds: float
    error: str = ""

    @property
    def seconds_left(self) -> float:
        """Expected time for the rest of the phase, at the rate so far."""
        return self.seconds / self.num_done * (self.num - self.num_done)


OnProgress = Callable[[ExperimentEvent], None]
K = TypeVar("K", Simulation, CellKey)
T = TypeVar("T")


def run_experiment(grid: Grid, out: Path, num_jobs: int, on_progress: OnProgress = lambda _: None) -> ExperimentResult:
    """Run the missing cells, and write `NAME.json`, `NAME.md` and `NAME.html` about all cells.

    Args:
        grid: The grid.
        out: Folder of pairs, cells and report; cells in it are not run again.
        num_jobs: Number of processes at a time, of one thread each.
        on_progress: Called after each simulation and each cell.

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
    """Return how many pairs to make in each simulation: as many as any cell needs.

    Finished cells count too, so that a resumed run looks for the files that exist.
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
    """Simulate the pairs of the missing cells, run the cells, and store their results and failures."""
    files = {simulation: num_simulated[simulation] for cell in missing.values() for simulation in cell.simulations()}
    simulating = {
        simulation: (run_simulated, (simulation, num, store.pairs))
        for simulation, num in files.items()
        if not simulation.path(store.pairs, num).exists()
    }
    outcomes = _run_phase("simulate", simulating, num_jobs, on_progress)
    lost = {simulation: outcome for simulation, outcome in outcomes if isinstance(outcome, Failure)}
    failures: list[CellFailure] = []
    running = {}
    for key, cell in missing.items():
        needed = {simulation: num_simulated[simulation] for simulation in cell.simulations()}
        if causes := [lost[simulation] for simulation in needed if simulation in lost]:
            failures.append(store.add_failure(cell, causes[0]))
        else:
            running[key] = (run_cell, (cell, needed, store.pairs))
    for key, outcome in _run_phase("cells", running, num_jobs, on_progress):
        if isinstance(outcome, Failure):
            failures.append(store.add_failure(missing[key], outcome))
        else:
            store.add(outcome)
    return failures


def _run_phase(
    phase: str, work: Mapping[K, tuple[Callable[..., T], tuple[Any, ...]]], num_jobs: int, on_progress: OnProgress
) -> Iterator[tuple[K, T | Failure]]:
    """Run a phase's work in processes, yield each outcome, and report it."""
    began = time.perf_counter()
    for num_done, (key, outcome) in enumerate(run_in_processes(work, num_jobs), start=1):
        yield key, outcome
        error = outcome.error if isinstance(outcome, Failure) else ""
        name = key.name if isinstance(key, Simulation) else f"{key[0]}, seed {key[1]}"
        on_progress(ExperimentEvent(phase, name, num_done, len(work), time.perf_counter() - began, error))
