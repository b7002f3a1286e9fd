"""A cell of the grid: one arm with one seed, from its training pairs to a value for each test item."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from pydantic import BaseModel, ConfigDict

from music.reward.tokens.contract import Readout, UnscorableError
from music_trainers.experiment.arm import BASE, Arm, ArmSettings, ModelSettings
from music_trainers.experiment.grid import Grid
from music_trainers.experiment.learners import Learner, Trained, load_start, make_learner
from music_trainers.experiment.measures import Measure, Values, item_values, read_measure
from music_trainers.experiment.pairs import CountTokens, MadePairs, Pairs, Simulation, simulations
from music_trainers.experiment.sandbox import SandboxSettings, sandbox_conversations, sandbox_values
from music_trainers.experiment.sources import Source
from music_trainers.experiment.states import MeasuredConversation, require_scorable

__all__ = ["CellKey", "CellResult", "CellWork", "GridCell", "fold_pairs", "measured_conversations", "run_cell"]

CellKey = tuple[str, int]
"""Name of the arm, and seed."""


class GridCell(BaseModel):
    """One arm with one seed, and everything that its result depends on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    arm: str
    seed: int
    settings: ArmSettings
    matched: ArmSettings | None
    """The settings of the arm that it matches; None if it matches none."""
    model: ModelSettings | None
    folds: int
    sandbox: SandboxSettings | None
    test_seed: int
    sources: dict[str, Source]
    """The sources of files that it draws from."""
    measures: dict[str, Measure]
    content: dict[str, str]
    """A hash of what was read, by the TOML key of the base, of each source and of each measure."""

    @classmethod
    def of(cls, grid: Grid, arm: Arm, seed: int, content: Mapping[str, str] | None = None) -> "GridCell":
        """Return a cell of a grid."""
        matched = grid.arm(arm.settings.matches).settings if arm.settings.matches else None
        names = {*arm.settings.pairs, *(matched.pairs if matched else ()), *([arm.settings.fill] if matched else ())}
        sources = {name: source for name, source in grid.sources.items() if name in names}
        read = {"model.base", *(f"sources.{name}" for name in sources), *(f"measures.{name}" for name in grid.measures)}
        return cls(
            arm=arm.name,
            seed=seed,
            settings=arm.settings,
            matched=matched,
            model=grid.model and grid.model.model_copy(update={"features": None}),
            folds=grid.folds,
            sandbox=grid.sandbox,
            test_seed=grid.test_seed,
            sources=sources,
            measures=grid.measures,
            content={key: value for key, value in (content or {}).items() if key in read},
        )

    @property
    def key(self) -> CellKey:
        """Its key within its grid."""
        return self.arm, self.seed

    @property
    def memory(self) -> bool:
        """Whether the sandbox's users have memory."""
        return self.sandbox is not None and self.sandbox.memory

    def simulations(self) -> dict[Simulation, int]:
        """Return the simulations that it needs, each with the least number of pairs."""
        needed: dict[Simulation, int] = {}
        for settings in filter(None, (self.settings, self.matched)):
            contrasts = {name: num for name, num in settings.pairs.items() if num and name not in (BASE, *self.sources)}
            for simulation, part in simulations(settings, contrasts, self.seed, memory=self.memory).items():
                needed[simulation] = max(part.stop, needed.get(simulation, 0))
        return needed


class CellResult(BaseModel):
    """The result of a cell, as in its file. If there are folds, figures of training are means over them."""

    model_config = ConfigDict(frozen=True)

    cell: GridCell
    num_pairs: dict[str, int]
    """Number of training pairs by source."""
    num_steps: int
    num_tokens: int
    loss: float
    """Mean Bradley-Terry loss over the last tenth of the steps, or of a fitted head; 0 without training."""
    seconds: dict[str, float]
    """Duration of `train` and `measure`."""
    values: dict[str, dict[Readout, list[float]]]
    """By measure and readout, one value per test item, in one order for all cells of a grid."""


@dataclass(frozen=True, slots=True)
class CellWork:
    """What a cell needs from the phases before it.

    Attributes:
        num_simulated: How many pairs were made in each simulation.
        folder: Folder of the simulated pairs.
        table: File of the hidden states, if the backbone is frozen.
    """

    num_simulated: Mapping[Simulation, int]
    folder: Path
    table: Path | None


def run_cell(cell: GridCell, work: CellWork) -> CellResult:
    """Train and measure a cell, in each fold."""
    learner = make_learner(cell.model, work.table)
    folds: list[Trained] = []
    values: dict[str, dict[int, dict[Readout, float]]] = {name: {} for name in cell.measures}
    of_sandbox: Values = {}
    seconds = 0.0
    for fold in range(cell.folds):
        trained = _train(cell, work, learner, fold)
        folds.append(trained)
        began = time.perf_counter()
        if cell.sandbox:
            of_sandbox = sandbox_values(trained.model, cell.sandbox, cell.test_seed)
        for name in cell.measures:
            values[name] |= _measured(cell, name, fold, trained)
        seconds += time.perf_counter() - began
    return CellResult(
        cell=cell,
        num_pairs={name: round(fmean(each.num_pairs[name] for each in folds)) for name in folds[0].num_pairs},
        num_steps=round(fmean(each.num_steps for each in folds)),
        num_tokens=round(fmean(each.num_tokens for each in folds)),
        loss=fmean(each.loss for each in folds),
        seconds={"train": sum(each.seconds for each in folds), "measure": seconds},
        values=of_sandbox | {name: _in_order(by_place) for name, by_place in values.items()},
    )


def fold_pairs(cell: GridCell, work: CellWork, count_tokens: CountTokens, fold: int) -> Pairs:
    """Return the training pairs of a cell's fold: no prompt of a test item of the fold is in the pairs of files."""
    tested = set[str]()
    if cell.folds > 1:
        for read in (read_measure(name, measure) for name, measure in cell.measures.items()):
            tested.update(prompt for place in read.places(fold, cell.folds) for prompt in read.prompts[place])
    made = MadePairs(
        seed=cell.seed,
        sources=cell.sources,
        num_simulated=work.num_simulated,
        folder=work.folder,
        count_tokens=count_tokens,
        memory=cell.memory,
        left_out=frozenset(tested),
    )
    return made.matched(cell.arm, cell.settings, cell.matched) if cell.matched else made.of(cell.settings)


def measured_conversations(cell: GridCell) -> Iterator[MeasuredConversation]:
    """Yield the conversations on which a cell is measured."""
    if cell.sandbox:
        for place, conversation in enumerate(sandbox_conversations(cell.sandbox, cell.test_seed)):
            yield MeasuredConversation(f"sandbox: test conversation {place}", conversation)
    for name, measure in cell.measures.items():
        for item in read_measure(name, measure).items:
            yield from (MeasuredConversation(f"measures.{name}: item {item.id}", each) for each in item.completions)


def _train(cell: GridCell, work: CellWork, learner: Learner, fold: int) -> Trained:
    pairs = fold_pairs(cell, work, learner.count_tokens, fold)
    return learner.train(pairs, {name: source.weight for name, source in cell.sources.items()}, cell.seed)


def _measured(cell: GridCell, name: str, fold: int, trained: Trained) -> dict[int, dict[Readout, float]]:
    """Return the values of a measure's items of a fold, by their places and by readout."""
    read = read_measure(name, cell.measures[name])
    places = read.places(fold, cell.folds)
    items = [read.items[place] for place in places]
    try:
        values = item_values(cell.measures[name], items, trained.model)
    except UnscorableError:
        require_scorable(load_start(cell.model).tokens, list(measured_conversations(cell)))  # names the items
        raise
    return {place: {readout: of_one[i] for readout, of_one in values.items()} for i, place in enumerate(places)}


def _in_order(by_place: Mapping[int, Mapping[Readout, float]]) -> dict[Readout, list[float]]:
    ordered = [by_place[place] for place in sorted(by_place)]
    return {readout: [each[readout] for each in ordered] for readout in ordered[0]}
