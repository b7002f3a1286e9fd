from collections.abc import Callable

import pytest

from music_trainers.experiment import ExperimentResult, Grid
from music_trainers.experiment.analysis import analyse
from music_trainers.experiment.cell import CellResult, GridCell
from music_trainers.experiment.measures import READOUTS, MeasureInfo
from music_trainers.experiment.sandbox import References, sandbox_infos
from music_trainers.experiment.store import CellFailure

PROMPTS = tuple(f"prompt {item // 2}" for item in range(40))
MEASURES = [
    MeasureInfo(name="relevance, early", unit="share", by_readout=True, clusters=PROMPTS),
    MeasureInfo(name="single turns", unit="share", by_readout=False, clusters=PROMPTS),
    MeasureInfo(name="Best-of-8", unit="grade", by_readout=True, clusters=PROMPTS),
    MeasureInfo(name="topic, turn 1", unit="share", by_readout=True, group="By kind", clusters=PROMPTS, compared=False),
]
SIZES = {"num_turns": 2, "num_defects": 1, "num_single_turn": 4, "num_conversations": 3}


@pytest.fixture
def make_grid() -> Callable[..., Grid]:
    """Return a maker of small grids: arms as in a TOML file, by name."""

    def make(arms, *, seeds=(0, 1), ablations=None, sandbox=SIZES):
        own = ("description", "against")
        return Grid.model_validate(
            {
                "name": "small",
                "title": "A small grid",
                "seeds": seeds,
                "sandbox": sandbox,
                "arms": [
                    {
                        "name": name,
                        **{key: table[key] for key in own if key in table},
                        "settings": {key: value for key, value in table.items() if key not in own},
                    }
                    for name, table in arms.items()
                ],
                "ablations": ablations or {},
            }
        )

    return make


@pytest.fixture
def make_result() -> Callable[..., CellResult]:
    """Return a maker of results of cells whose margins and grades are given by a function of the measured item."""

    def make(grid, arm, seed, value):
        """`value(readout, index)` is a margin or a grade."""
        cell = GridCell.of(grid, next(a for a in grid.runs().values() if a.name == arm), seed)
        values = {}
        for info in sandbox_infos(grid.sandbox):
            values[info.name] = {}
            for readout in ("last", "turn_mean"):
                many = [value(readout, index) for index in range(40)]
                values[info.name][readout] = [float(each > 0) for each in many] if info.unit == "share" else many
        return CellResult(
            cell=cell,
            num_pairs={"base": 3},
            num_steps=1,
            num_tokens=9,
            loss=0.5,
            seconds={"train": 1.0, "measure": 2.0},
            values=values,
        )

    return make


@pytest.fixture
def analysed() -> Callable[..., ExperimentResult]:
    """Return a maker of analyses of hand-made cells of four measures with 40 items of 20 prompts.

    `values(arm, seed, measure, readout)` returns the values of the items, or None if the cell failed. More keys of the
    grid, as in a TOML file, may be given.
    """

    def make(arms, values, *, seeds=(0, 1, 2), **more):
        tables = [
            {"name": name}
            | {key: table.pop(key) for key in ("against", "description") if key in table}
            | {"settings": table}
            for name, table in ((name, dict(table)) for name, table in arms.items())
        ]
        grid = Grid.model_validate(
            {"name": "small", "title": "A small grid", "seeds": seeds, "sandbox": SIZES, "arms": tables} | more
        )
        results, failures = [], []
        for (name, seed), arm in grid.runs().items():
            cell = GridCell.of(grid, arm, seed)
            of_cell = {i.name: {r: values(name, seed, i.name, r) for r in READOUTS} for i in MEASURES}
            if None in of_cell["Best-of-8"].values():
                failures.append(CellFailure(arm=name, seed=seed, error="it broke"))
                continue
            results.append(
                CellResult(
                    cell=cell,
                    num_pairs={"base": 3, "instruction": 1200},
                    num_steps=seed,
                    num_tokens=9,
                    loss=0.5,
                    seconds={"train": 1.0, "measure": 2.0},
                    values=of_cell,
                )
            )
        references = References(sandbox=grid.sandbox, test_seed=0, values={"random": {"Best-of-8": [0.4, 0.6] * 20}})
        return analyse(grid, results, MEASURES, references, failures, {"music-rm": "1"})

    return make
