"""`run_experiment`: run the missing cells of a grid in processes, then write the report."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from music.errors import InvalidInputError
from music.files import replace_file
from music_trainers.experiment.analysis import analyse
from music_trainers.experiment.cell import CellKey, CellResult, CellWork, GridCell, run_cell
from music_trainers.experiment.content import GridContent
from music_trainers.experiment.grid import Grid
from music_trainers.experiment.measures import MeasureInfo
from music_trainers.experiment.pairs import Simulation, run_simulated
from music_trainers.experiment.precompute import make_table
from music_trainers.experiment.process_pool import Failure, run_in_processes
from music_trainers.experiment.records import ExperimentResult
from music_trainers.experiment.sandbox import read_references
from music_trainers.experiment.store import CellFailure, CellStore

__all__ = ["ExperimentEvent", "run_experiment"]

REFERENCES_NAME = "references.json"
MEASURES_NAME = "measures.json"


@dataclass(frozen=True, slots=True)
class ExperimentEvent:
    """The end of one simulation or one cell, or of a batch of hidden states.

    Attributes:
        phase: `simulate`, `states` or `cells`.
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


def run_experiment(
    grid: Grid,
    out: Path,
    num_jobs: int,
    on_progress: OnProgress = lambda _: None,
    on_notice: Callable[[str], None] = lambda _: None,
) -> ExperimentResult:
    """Run the missing cells, and write `NAME.json`, `NAME.md` and `NAME.html` about all cells.

    Args:
        grid: The grid.
        out: Folder of pairs, cells and report; cells in it are not run again.
        num_jobs: Number of processes at a time, of one thread each.
        on_progress: Called after each simulation, each batch of hidden states and each cell.
        on_notice: Called with each line on what was read and left out.

    Raises:
        InvalidInputError: A file of the grid cannot be read or has too few pairs, the folder holds cells that were run
            with other settings, or every cell failed.
    """
    from music.report import write_report
    from music_trainers.experiment.report import experiment_report, report_path, write_markdown

    content = GridContent.read(grid)
    store = CellStore(out)
    cells = [GridCell.of(grid, arm, seed, content.record.hashes) for (_, seed), arm in grid.runs().items()]
    done = store.read(cells)
    for line in content.notices():
        on_notice(line)
    content.write(out / f"{grid.name}-data.json")
    replace_file(out / MEASURES_NAME, TypeAdapter(list[MeasureInfo]).dump_json(content.infos, indent=1))
    missing = {cell.key: cell for cell in cells if cell.key not in done}
    run = _Run(grid, store, num_jobs, on_progress, on_notice)
    failures = run.finish(missing, _num_simulated(cells)) if missing else []
    done = store.read(cells)
    if not done:
        raise InvalidInputError(f"expected at least one cell that succeeds, got none; first: {failures[0].error}")
    references = read_references(grid.sandbox, grid.test_seed, out / REFERENCES_NAME)
    versions = {name: version(name) for name in ("music-rm", "torch", "transformers")}
    result = analyse(grid, list(done.values()), content.infos, references, failures, versions)
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


@dataclass(frozen=True, slots=True)
class _Run:
    """The run of missing cells.

    Attributes:
        grid: The grid.
        store: Keeps results and failures.
        num_jobs: Number of processes at a time.
        on_progress: Called after each piece of work.
        on_notice: Called with each line for the user.
    """

    grid: Grid
    store: CellStore
    num_jobs: int
    on_progress: OnProgress
    on_notice: Callable[[str], None]

    def finish(self, missing: Mapping[CellKey, GridCell], num_simulated: Mapping[Simulation, int]) -> list[CellFailure]:
        """Simulate pairs, compute hidden states, run the cells, and store their results and failures."""
        lost = self._simulate(missing.values(), num_simulated)
        failures: list[CellFailure] = []
        running: dict[CellKey, GridCell] = {}
        for key, cell in missing.items():
            if causes := [lost[simulation] for simulation in cell.simulations() if simulation in lost]:
                failures.append(self.store.add_failure(cell, causes[0]))
            else:
                running[key] = cell
        work = self._with_states(list(running.values()), CellWork(num_simulated, self.store.pairs, None))
        cells = {key: (run_cell, (cell, work)) for key, cell in running.items()}
        for key, outcome in self._phase("cells", cells):
            if isinstance(outcome, CellResult):
                self.store.add(outcome)
            else:
                failures.append(self.store.add_failure(missing[key], outcome))
        self.store.table.unlink(missing_ok=True)  # the states themselves are kept
        return failures

    def _simulate(
        self, cells: Iterable[GridCell], num_simulated: Mapping[Simulation, int]
    ) -> dict[Simulation, Failure]:
        """Make the files of simulated pairs that are not there, and return the failures."""
        files = {simulation: num_simulated[simulation] for cell in cells for simulation in cell.simulations()}
        simulating = {
            simulation: (run_simulated, (simulation, num, self.store.pairs))
            for simulation, num in files.items()
            if not simulation.path(self.store.pairs, num).exists()
        }
        outcomes = self._phase("simulate", simulating)
        return {simulation: outcome for simulation, outcome in outcomes if isinstance(outcome, Failure)}

    def _with_states(self, cells: list[GridCell], work: CellWork) -> CellWork:
        """Compute the hidden states that these cells need, if the backbone is frozen."""
        if self.grid.model is None or self.grid.model.freeze == "none" or not cells:
            return work
        make_table(self.store.table, self.grid.model, cells, work, self._count_states, self.on_notice)
        return replace(work, table=self.store.table)

    @contextmanager
    def _count_states(self, num: int) -> Iterator[Callable[[int], object]]:
        """Report the progress over conversations whose hidden states are computed."""
        began, done = time.perf_counter(), 0

        def advance(more: int) -> None:
            nonlocal done
            done += more
            self.on_progress(ExperimentEvent("states", "conversations", done, num, time.perf_counter() - began))

        yield advance

    def _phase(
        self, phase: str, work: Mapping[K, tuple[Callable[..., T], tuple[Any, ...]]]
    ) -> Iterator[tuple[K, T | Failure]]:
        """Run a phase's work in processes, yield each outcome, and report it."""
        began = time.perf_counter()
        for num_done, (key, outcome) in enumerate(run_in_processes(work, self.num_jobs), start=1):
            yield key, outcome
            error = outcome.error if isinstance(outcome, Failure) else ""
            name = key.name if isinstance(key, Simulation) else f"{key[0]}, seed {key[1]}"
            self.on_progress(ExperimentEvent(phase, name, num_done, len(work), time.perf_counter() - began, error))
