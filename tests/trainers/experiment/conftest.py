from collections.abc import Callable

import pytest

from music_trainers.experiment import Grid
from music_trainers.experiment.cell import CellResult, GridCell
from music_trainers.experiment.sandbox import sandbox_infos

SIZES = {"num_turns": 2, "num_defects": 1, "num_single_turn": 4, "num_conversations": 3}


@pytest.fixture
def make_grid() -> Callable[..., Grid]:
    """Return a maker of small grids: arms as in a TOML file, by name."""

    def make(arms, *, seeds=(0, 1), ablations=None):
        own = ("description", "against")
        return Grid.model_validate(
            {
                "name": "small",
                "title": "A small grid",
                "seeds": seeds,
                "sandbox": SIZES,
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
