"""`ScoredPairs`: the pairs that a model has scored, as arrays, from which diagnostics compute figures and curves."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from music.errors import InvalidInputError
from music.evaluation.benchmarks.scored import Floats, ScoredItems, joined
from music.evaluation.benchmarks.types import Item, Scores
from music.report.points import Curve, CurvePoint
from music.statistics import Component, Estimate, Figure, Statistic, composite, describe, mean, proportion, spearman

__all__ = ["Floats", "Mask", "ScoredPairs", "verdict"]

Mask = NDArray[np.bool_]

NUM_BINS = 10
MIN_BIN = 10
"""A bin holds at least this many observations; fewer would show noise."""


class ScoredPairs:
    """Pairs and a model's scores of both sides.

    Attributes:
        items: The pairs.
        rewards: The rewards of the chosen and the rejected side; shape `[pairs, 2]`.
        margins: The chosen side's reward less the rejected side's; shape `[pairs]`.
        hits: 1 where the chosen side scores strictly higher, else 0; shape `[pairs]`.
        prompts: The number of each pair's prompt; shape `[pairs]`.
        standardised: The rewards in standard deviations from their mean; shape `[pairs, 2]`.
    """

    def __init__(self, items: Sequence[Item], scores: Scores) -> None:
        """Arrange the scores in the order of the items.

        Raises:
            InvalidInputError: An item is not a pair, or its scores are missing or not finite.
        """
        for item in items:
            if len(item.completions) != 2 or item.labels[0] <= item.labels[1]:
                raise InvalidInputError(
                    f"item {item.id!r}: expected a pair, the chosen side first, got {len(item.completions)} "
                    f"completions labelled {list(item.labels)}; diagnose pairs that `Preferences` has read"
                )
        self._scores = scores
        self._scored = ScoredItems(items, scores)
        self.items = items
        self.rewards = self._scored.matrix(self._scored.places)
        self.margins: Floats = self.rewards[:, 0] - self.rewards[:, 1]
        self.hits = self._scored.hits
        _, self.prompts = np.unique([item.prompt_id for item in items], return_inverse=True)
        spread = float(self.rewards.std())
        self.standardised: Floats = (self.rewards - self.rewards.mean()) / (spread or 1.0)

    def subset(self, among: Mask) -> "ScoredPairs | None":
        """Return the pairs that a mask selects; None if it selects none."""
        items = [item for item, is_wanted in zip(self.items, among.tolist(), strict=True) if is_wanted]
        return ScoredPairs(items, self._scores) if items else None

    def accuracy(self, name: str, table: str, among: Mask | None = None, *, note: str = "") -> Figure:
        """Return how often the chosen side scores higher among some pairs; ties are misses, and a note counts them."""
        if among is not None and not among.any():
            return self.nothing(name, table, joined("no such pair", note))
        where = self._scored.places if among is None else np.flatnonzero(among)
        return self._scored.accuracy(name, where, table=table, note=note)

    def mean(self, name: str, table: str, values: Floats, *, chance: float | None = None, note: str = "") -> Figure:
        """Return the mean of one number per pair; with `chance`, the note says whether it differs from that."""
        return _compared(name, table, mean(values, clusters=self.prompts), len(values), chance, note)

    def share(self, name: str, table: str, values: Floats, *, chance: float | None = None, note: str = "") -> Figure:
        """Return the mean of one number within [0, 1] per pair, such as a hit or half a tie; else as `mean`."""
        estimate = proportion(values, clusters=self.prompts, exact=chance is not None)
        return _compared(name, table, estimate, len(values), chance, note)

    def of_means(
        self, name: str, table: str, parts: Sequence[tuple[Floats, Mask]], statistic: Statistic, *, null: float | None
    ) -> Figure:
        """Return a statistic of several means, each of one number per pair, over some pairs.

        The figure has no value if one of the means is over no pair. With `null`, the note says whether the statistic
        differs from that.
        """
        if not all(among.any() for _, among in parts):
            return self.nothing(name, table, "no such pair in a part of it")
        estimate = composite([Component(values[among], self.prompts[among]) for values, among in parts], statistic)
        num_items = int(np.logical_or.reduce([among for _, among in parts]).sum())
        note = "" if null is None else verdict(estimate, null)
        return Figure(name=name, table=table, estimate=estimate, num_items=num_items, note=note)

    def correlation(self, name: str, table: str, first: Floats, second: Floats, *, note: str = "") -> Figure:
        """Return the rank correlation of two numbers per pair, shape `[pairs]`, or per side, shape `[pairs, 2]`."""
        if any(not len(values) or (values == values.flat[0]).all() for values in (first, second)):
            return self.nothing(name, table, joined("nothing to rank: all are alike", note))
        clusters = self.prompts if first.ndim == 1 else np.repeat(self.prompts, 2)
        estimate = spearman(first.ravel(), second.ravel(), clusters=clusters)
        note = joined(verdict(estimate, 0.0), note)
        return Figure(name=name, table=table, estimate=estimate, num_items=len(first), chance=0.0, note=note)

    def accuracy_curve(self, name: str, table: str, x: str, values: Floats) -> Curve:
        """Return the curve of accuracy over one number per pair, in bins of equally many pairs."""

        def accuracy(where: NDArray[np.int64]) -> Estimate:
            estimate = self._scored.accuracy("", where).estimate
            assert estimate is not None  # a bin holds pairs
            return estimate

        return Curve(name=name, table=table, x=x, y="accuracy", points=_points(values, accuracy), chance=0.5)

    def reward_curve(self, name: str, table: str, x: str, values: Floats) -> Curve:
        """Return the curve of the reward over a number per side, shape `[pairs, 2]`, in bins of equally many sides."""
        rewards, prompts = self.standardised.ravel(), np.repeat(self.prompts, 2)
        points = _points(values.ravel(), lambda where: mean(rewards[where], clusters=prompts[where]))
        return Curve(name=name, table=table, x=x, y="reward, in standard deviations", points=points)

    def nothing(self, name: str, table: str, note: str) -> Figure:
        """Return a figure without a value, and the reason as its note."""
        return Figure(name=name, table=table, estimate=None, num_items=0, note=note)


def bins_of(values: ArrayLike) -> NDArray[np.int64]:
    """Return the bin of each value: up to 10 bins of similar size, at least 10 each; equal values share a bin."""
    array = np.asarray(values, dtype=np.float64)
    num_bins = max(1, min(NUM_BINS, len(array) // MIN_BIN))
    edges = np.unique(np.quantile(array, np.arange(1, num_bins) / num_bins))
    _, bins = np.unique(np.searchsorted(edges, array, side="right"), return_inverse=True)
    return bins.astype(np.int64)


def verdict(estimate: Estimate, null: float) -> str:
    """Return in words whether an estimate differs from a value."""
    return describe(estimate, null=null).rpartition(": ")[2]


def _compared(name: str, table: str, estimate: Estimate, num: int, chance: float | None, note: str) -> Figure:
    """Return a figure whose note says whether it differs from chance."""
    note = joined("" if chance is None else verdict(estimate, chance), note)
    return Figure(name=name, table=table, estimate=estimate, num_items=num, chance=chance, note=note)


def _points(values: Floats, estimate: Callable[[NDArray[np.int64]], Estimate]) -> tuple[CurvePoint, ...]:
    """Return the points of a curve; `estimate` gets the places of a bin's values."""
    if not len(values):
        return ()
    bins = bins_of(values)
    places = [np.flatnonzero(bins == number) for number in range(int(bins.max()) + 1)]
    return tuple(
        CurvePoint(x=float(values[where].mean()), estimate=estimate(where), num=len(where)) for where in places
    )
