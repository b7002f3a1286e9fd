"""A cell of the grid: one arm with one seed, from its pairs to its margins and grades; and the reference selectors."""

import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import BaseModel, ConfigDict

from music.files import replace_file
from music.reward.tokens.contract import Readout
from music.sandbox.artifacts import REWARD_MODEL
from music.sandbox.world.defects import DEFECT_KINDS
from music_trainers.arms import (
    Measures,
    TestSets,
    TestSizes,
    draw_test_sets,
    last_loss,
    measure_controls,
    measure_readouts,
    train_arm,
)
from music_trainers.experiment.grid import Arm, ArmSettings, Grid
from music_trainers.experiment.pairs import MadePairs, Simulation, simulations

__all__ = ["KINDS", "CellKey", "CellResult", "GridCell", "Readings", "References", "read_references", "run_cell"]

KINDS = {str(kind): (kind,) for kind in DEFECT_KINDS}
"""The kinds of errors, each as a group of its own."""
DIGITS = 5

CellKey = tuple[str, int]
"""Name of the arm, and seed."""


class GridCell(BaseModel):
    """One arm with one seed, and everything that its result depends on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    arm: str
    seed: int
    settings: ArmSettings
    matched: ArmSettings | None
    """The settings of the arm whose number of tokens it matches; None if it matches none."""
    sizes: TestSizes
    test_seed: int

    @classmethod
    def of(cls, grid: Grid, arm: Arm, seed: int) -> "GridCell":
        """Return a cell of a grid."""
        matched = grid.arm(arm.settings.tokens_of).settings if arm.settings.tokens_of else None
        return cls(
            arm=arm.name,
            seed=seed,
            settings=arm.settings,
            matched=matched,
            sizes=grid.sizes,
            test_seed=grid.test_seed,
        )

    @property
    def key(self) -> CellKey:
        """Its key within its grid."""
        return self.arm, self.seed

    def simulations(self) -> dict[Simulation, int]:
        """Return the simulations that it needs, each with the least number of pairs."""
        both = filter(None, (self.settings, self.matched))
        return {
            simulation: part.stop for settings in both for simulation, part in simulations(settings, self.seed).items()
        }


class Readings(BaseModel):
    """The results of one model with one readout; see `Measures`."""

    model_config = ConfigDict(frozen=True)

    margins: dict[str, dict[int, list[float]]]
    """By kind of error and turn (from 0): the reward of the flawless side minus the reward of the other side."""
    single_turn: list[float]
    """The same for single-turn pairs."""
    whole: dict[int, list[float]]
    """Oracle grade of each selected conversation, by number of candidates."""
    greedy: list[float]
    """Oracle grade of each conversation that is chosen reply by reply."""


class CellResult(BaseModel):
    """The result of a cell, as in its file."""

    model_config = ConfigDict(frozen=True)

    cell: GridCell
    num_pairs: dict[str, int]
    """Number of training pairs by source."""
    num_steps: int
    num_tokens: int
    loss: float
    """Mean Bradley-Terry loss over the last tenth of the steps; 0 without training."""
    seconds: dict[str, float]
    """Duration of `train` and `measure`."""
    readings: dict[Readout, Readings]


def run_cell(cell: GridCell, num_simulated: Mapping[Simulation, int], folder: Path) -> CellResult:
    """Train and measure a cell.

    Args:
        cell: The cell.
        num_simulated: How many pairs were made in each simulation.
        folder: Folder of the simulated pairs.
    """
    from music.reward import RewardModel

    made = MadePairs(cell.seed, num_simulated, folder)
    pairs = made.matched(cell.settings, cell.matched) if cell.matched else made.of(cell.settings)
    flat = [pair for some in pairs.values() for pair in some]
    with TemporaryDirectory() as scratch:
        trained = train_arm(flat, Path(scratch), cell.seed) if flat else None
        began = time.perf_counter()
        model = RewardModel.from_pretrained(scratch if trained else REWARD_MODEL)
        measured = measure_readouts(model, _test_sets(cell.sizes, cell.test_seed), cell.test_seed)
    return CellResult(
        cell=cell,
        num_pairs={source: len(some) for source, some in pairs.items()},
        num_steps=trained.num_steps if trained else 0,
        num_tokens=trained.num_tokens if trained else 0,
        loss=last_loss(trained) if trained else 0.0,
        seconds={"train": trained.seconds if trained else 0.0, "measure": time.perf_counter() - began},
        readings={readout: _readings(measures) for readout, measures in measured.items()},
    )


class References(BaseModel):
    """The Best-of-N results of selectors without a reward model, on the test conversations of a grid."""

    model_config = ConfigDict(frozen=True)

    sizes: TestSizes
    test_seed: int
    readings: dict[str, Readings]
    """By selector, `random`, `longest` or `oracle`; Best-of-N only."""


def read_references(sizes: TestSizes, test_seed: int, path: Path) -> References:
    """Read the references of these test conversations from `path`, or measure and write them."""
    if path.exists():
        kept = References.model_validate_json(path.read_bytes())
        if (kept.sizes, kept.test_seed) == (sizes, test_seed):
            return kept
    measured = measure_controls(draw_test_sets(sizes, test_seed, {}), test_seed)
    readings = {name: _readings(measures) for name, measures in measured.items()}
    found = References(sizes=sizes, test_seed=test_seed, readings=readings)
    replace_file(path, found.model_dump_json() + "\n")
    return found


@cache
def _test_sets(sizes: TestSizes, seed: int) -> TestSets:
    """Draw the test sets, once per process."""
    return draw_test_sets(sizes, seed, KINDS)


def _readings(measures: Measures) -> Readings:
    """Return measures in the form of a cell's file."""
    margins: dict[str, dict[int, list[float]]] = {}
    for (kind, turn), values in measures.margins.items():
        margins.setdefault(kind, {})[turn] = _rounded(values)
    return Readings(
        margins=margins,
        single_turn=_rounded(measures.single_turn),
        whole={num: _rounded(grades) for num, grades in measures.whole.items()},
        greedy=_rounded(measures.greedy),
    )


def _rounded(values: Sequence[float | None]) -> list[float]:
    assert all(value is not None for value in values), "the sandbox finishes every rollout"
    return [round(value or 0.0, DIGITS) for value in values]
