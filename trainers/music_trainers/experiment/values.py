"""The values that are compared: for each measure, one value per training seed and test conversation."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from music.reward.tokens.contract import Readout
from music.sandbox.world.defects import ERROR_GROUPS
from music_trainers.arms import GREEDY_CANDIDATES, NUM_CANDIDATES
from music_trainers.experiment.cell import CellKey, CellResult, Readings

__all__ = [
    "BEST_OF_N",
    "CHANGED_BY_READOUT",
    "COMPARED",
    "MEASURES",
    "READOUTS",
    "CellValues",
    "best_of_n_values",
    "kind_values",
]

READOUTS: tuple[Readout, ...] = ("last", "turn_mean")
EARLY = tuple(f"{group}, early" for group in ERROR_GROUPS)
LAST = tuple(f"{group}, last" for group in ERROR_GROUPS)
WHOLE = {f"Best-of-{num}": num for num in NUM_CANDIDATES}
GREEDY = f"greedy Best-of-{GREEDY_CANDIDATES}"
BEST_OF_N = (*WHOLE, GREEDY)
MEASURES = (*(name for pair in zip(EARLY, LAST, strict=True) for name in pair), "single turns", *BEST_OF_N)
"""Accuracies on pairs with one error by group of errors, before the last turn and in it; accuracy on single turns; mean
oracle grades of Best-of-N."""
COMPARED = tuple(name for name in MEASURES if name != f"Best-of-{min(NUM_CANDIDATES)}")
"""The measures whose differences are reported."""
CHANGED_BY_READOUT = (*EARLY, *WHOLE)
"""The other measures compare conversations with the same turns before the last, which both readouts rank equally."""


class CellValues:
    """The values of all cells, computed once.

    Args:
        results: The results of the cells that did not fail.
    """

    def __init__(self, results: Iterable[CellResult]) -> None:
        self._values: dict[tuple[CellKey, Readout], dict[str, list[float]]] = {
            (result.cell.key, readout): _values(readings)
            for result in results
            for readout, readings in result.readings.items()
        }

    def table(self, arm: str, readout: Readout, measure: str, seeds: Sequence[int]) -> NDArray[np.float64]:
        """Return the values of an arm, shape `[seeds, conversations]`."""
        return np.array([self._values[(arm, seed), readout][measure] for seed in seeds])


def kind_values(results: Sequence[CellResult], readout: Readout) -> Mapping[tuple[str, int], NDArray[np.float64]]:
    """Return by kind of error and turn (from 0) 1 if the flawless side won, else 0; shape `[seeds, pairs]`."""
    readings = [result.readings[readout] for result in results]
    places = [(kind, turn) for kind, by_turn in readings[0].margins.items() for turn in by_turn]
    return {(kind, turn): np.array([_hits(r.margins[kind][turn]) for r in readings]) for kind, turn in places}


def best_of_n_values(readings: Readings) -> dict[str, list[float]]:
    """Return the oracle's grade of each selected conversation, by measure."""
    return {name: readings.whole[num] for name, num in WHOLE.items()} | {GREEDY: readings.greedy}


def _values(readings: Readings) -> dict[str, list[float]]:
    """Return one cell's values by measure."""
    values: dict[str, list[float]] = {measure: [] for measure in MEASURES}
    for group, kinds in ERROR_GROUPS.items():
        for kind in kinds:
            by_turn = readings.margins[kind]
            for turn, margins in by_turn.items():
                values[f"{group}, {'last' if turn == max(by_turn) else 'early'}"] += _hits(margins)
    return values | {"single turns": _hits(readings.single_turn)} | best_of_n_values(readings)


def _hits(margins: Sequence[float]) -> list[float]:
    """Return 1 for every margin above 0, else 0; a tie counts as wrong."""
    return [float(margin > 0) for margin in margins]
