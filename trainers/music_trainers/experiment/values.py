"""The values that are compared: for each arm, measure and readout, one value per training seed and test item."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from music.reward.tokens.contract import Readout
from music_trainers.experiment.cell import CellKey, CellResult
from music_trainers.experiment.measures import READOUTS, MeasureInfo

__all__ = ["CellValues", "Floats", "Sides"]

Floats = NDArray[np.float64]
Sides = tuple[Floats, Floats, tuple[str, ...]]
"""Two sides of a comparison, both of shape `[seeds, items]`, and the prompt of each item."""


class CellValues:
    """The values of all cells.

    Args:
        results: The results of the cells that did not fail.
        infos: The measures of their grid.
    """

    def __init__(self, results: Iterable[CellResult], infos: Iterable[MeasureInfo]) -> None:
        self._values: dict[CellKey, dict[str, dict[Readout, list[float]]]] = {r.cell.key: r.values for r in results}
        self._infos = {info.name: info for info in infos}

    def seeds(self, *arms: str) -> tuple[int, ...]:
        """Return the seeds with a result of every one of these arms."""
        by_arm = [[seed for name, seed in self._values if name == arm] for arm in arms]
        return tuple(seed for seed in by_arm[0] if all(seed in others for others in by_arm))

    def readouts(self, measure: str) -> tuple[Readout, ...]:
        """Return the readouts that give a measure different values."""
        return READOUTS if self._infos[measure].by_readout else ("last",)

    def table(self, arm: str, measure: str, readout: Readout, seeds: Iterable[int]) -> Floats:
        """Return the values of an arm; shape `[seeds, items]`."""
        info = self._infos[measure]
        rows = [self._values[arm, seed][measure][readout if info.by_readout else "last"] for seed in seeds]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(info.clusters))

    def sides(self, arm: str, against: str, measure: str, readout: Readout) -> Sides:
        """Return the values of two arms over the seeds that both have."""
        seeds = self.seeds(arm, against)
        ours, theirs = (self.table(each, measure, readout, seeds) for each in (arm, against))
        return ours, theirs, self._infos[measure].clusters
