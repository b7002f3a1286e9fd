"""The values that are compared: for each measure, one value per training seed and test conversation."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from music.reward.tokens.contract import Readout
from music.sandbox.world.defects import ERROR_GROUPS
from music_trainers.arms import GREEDY_CANDIDATES, NUM_CANDIDATES
from music_trainers.experiment.cell import CellKey, CellResult
from music_trainers.experiment.measures import MeasureInfo

__all__ = [
    "BEST_OF_N",
    "CHANGED_BY_READOUT",
    "COMPARED",
    "MEASURES",
    "READOUTS",
    "CellValues",
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
        self._values: dict[CellKey, dict[str, dict[Readout, list[float]]]] = {
            result.cell.key: result.values for result in results
        }

    def table(self, arm: str, readout: Readout, measure: str, seeds: Sequence[int]) -> NDArray[np.float64]:
        """Return the values of an arm, shape `[seeds, conversations]`."""
        return np.array([self._values[arm, seed][measure][readout] for seed in seeds])


def kind_values(
    infos: Sequence[MeasureInfo], results: Sequence[CellResult], readout: Readout
) -> Mapping[tuple[str, int], NDArray[np.float64]]:
    """Return by kind of error and turn (from 0) 1 if the flawless side won, else 0; shape `[seeds, pairs]`."""
    found = {}
    for info in infos:
        kind, _, turn = info.name.partition(", turn ")
        if info.group and turn:
            found[kind, int(turn) - 1] = np.array([result.values[info.name][readout] for result in results])
    return found
