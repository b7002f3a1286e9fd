"""A cell of the sandbox: its figures are those of the first edition, and memory adds measures."""

import pytest

from music.sandbox import Outcome
from music_trainers.experiment import pairs as pairs_module
from music_trainers.experiment.cell import CellWork, GridCell, run_cell
from music_trainers.experiment.measures import READOUTS
from music_trainers.experiment.pairs import run_simulated
from music_trainers.experiment.sandbox import sandbox_infos

FIRST_EDITION = {
    "relevance, early": (8, 16),
    "relevance, last": (8, 8),
    "count, early": (4, 7),
    "count, last": (4, 4),
    "standing, early": (13, 18),
    "standing, last": (9, 9),
    "single turns": (14, 14),
    "Best-of-4": (4.8, 5.4),
    "Best-of-8": (5.2, 5.38333),
    "greedy Best-of-4": (4.96666, 4.96666),
}
"""Sums of values with the readouts `last` and `turn_mean`, before measures of files were added."""


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.setattr(pairs_module, "NUM_CONTEXTS", 60)

    def run(grid, arm):
        cell = GridCell.of(grid, grid.arm(arm), 0)
        for simulation, num in cell.simulations().items():
            run_simulated(simulation, num, tmp_path)
        return run_cell(cell, CellWork(cell.simulations(), tmp_path, None))

    return run


def test_the_sandbox_gives_the_figures_of_the_first_edition(make_grid, run):
    sizes = {"num_turns": 3, "num_defects": 4, "num_single_turn": 20, "num_conversations": 6}
    grid = make_grid({"music": {"pairs": {"base": 40, "instruction": 24}}}, sandbox=sizes)
    result = run(grid, "music")
    assert (result.num_pairs, result.num_tokens, result.num_steps) == ({"base": 40, "instruction": 24}, 14006, 8)
    assert result.loss == pytest.approx(0.33901, abs=1e-3)
    sums = {name: tuple(sum(result.values[name][r]) for r in ("last", "turn_mean")) for name in FIRST_EDITION}
    assert sums == {name: pytest.approx(both) for name, both in FIRST_EDITION.items()}


def test_memory_adds_errors_and_outcomes(make_grid, run):
    sizes = {"num_turns": 3, "num_defects": 1, "num_single_turn": 2, "num_conversations": 2, "memory": True}
    grid = make_grid({"start": {"pairs": {"base": 2, "contradict": 2}, "num_turns": 3}}, sandbox=sizes)
    values, infos = run(grid, "start").values, sandbox_infos(grid.sandbox)
    assert {info.name: len(info.clusters) for info in infos} == {
        name: len(of_readout["last"]) for name, of_readout in values.items()
    }
    assert all(set(of_readout) == set(READOUTS) for of_readout in values.values())
    names = [info.name for info in infos]
    assert [f"Best-of-8: {outcome}" for outcome in Outcome] == [name for name in names if name.startswith("Best-of-8")]
    assert {"memory, early", "memory, last", "contradiction, turn 3", "greedy Best-of-4: goal reached"} <= {*names}
    assert "contradiction, turn 2" not in names
