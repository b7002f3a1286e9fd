"""`ScoredItems`: items and their scores as arrays, from which benchmarks compute their figures."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from music.errors import InvalidInputError
from music.evaluation.benchmarks.types import Item, Scores
from music.statistics import Basis, Component, Estimate, Figure, Statistic, composite, mean, proportion

__all__ = ["Floats", "Places", "ScoredItems", "WeightedMean", "joined"]

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
Group = TypeVar("Group", bound=Hashable)

CONSTANT = "the scores of each item are all the same"


@dataclass(frozen=True, slots=True, eq=False)
class WeightedMean:
    """A mean over some items, as a part of a figure.

    Attributes:
        values: One number per item of `where`; shape `[n]`.
        where: The places of those items; shape `[n]`, at least one.
        weight: The weight of the mean in a weighted sum.
    """

    values: Floats
    where: Places
    weight: float = 1.0


class ScoredItems:
    """Items and their scores.

    Attributes:
        items: The items.
        scores: The scores of all completions, item after item; shape `[completions]`.
        starts: The places where each item's scores begin; shape `[items]`.
        places: The places of all items, `0, 1, ...`; shape `[items]`.
        hits: 1 where an item's first completion scores strictly higher than all others, else 0; shape `[items]`.
    """

    def __init__(self, items: Sequence[Item], scores: Scores) -> None:
        """Arrange the scores in the order of the items.

        Raises:
            InvalidInputError: An item has no scores, not one score per completion, or a score that is not finite.
        """
        self.items = items
        self.scores, self.starts = _in_order(items, scores)
        self.places: Places = np.arange(len(items))
        self._sizes = np.diff(np.append(self.starts, len(self.scores)))
        others = self.scores.copy()
        others[self.starts] = -np.inf
        leads = self.scores[self.starts] - self.fold(np.maximum, others)
        self.hits: Floats = (leads > 0).astype(np.float64)
        self._is_tie = leads == 0
        self._is_constant = self.fold(np.minimum, self.scores) == self.fold(np.maximum, self.scores)
        numbers: dict[str, int] = {}
        self._prompts = np.array([numbers.setdefault(item.prompt_id, len(numbers)) for item in items], dtype=np.int64)

    def share(self, where: Places, weight: float = 1.0) -> WeightedMean:
        """Return the mean of the hits of some items, as a part of a figure."""
        return WeightedMean(self.hits[where], where, weight)

    def accuracy(self, name: str, where: Places | None, *, table: str = "overall", note: str = "") -> Figure:
        """Return the share of hits among some items; for None, a figure without a value and a note of the reason."""
        if where is None:
            return self.figure(name, table=table, note=joined("missing: no rows", note))
        chance = float((1 / self._sizes[where]).mean())
        num_ties = int(self._is_tie[where].sum())
        ties = f"{num_ties} tie{'s' * (num_ties != 1)}, counted as missed" if num_ties else ""
        return self.figure(name, self.share(where), table=table, chance=chance, note=joined(note, ties))

    def accuracies(self, table: str, key: Callable[[Item], str | None]) -> list[Figure]:
        """Return the accuracy of each group of items; items whose key is None are left out."""
        return [self.accuracy(name, where, table=table) for name, where in self.group(key).items()]

    def group(self, key: Callable[[Item], Group | None], among: Places | None = None) -> dict[Group, Places]:
        """Return the places of the items by key, keys in order of appearance; items whose key is None are left out."""
        places = self.places if among is None else among
        numbers: dict[Group | None, int] = {}
        codes = [numbers.setdefault(key(self.items[place]), len(numbers)) for place in places.tolist()]
        in_order = places[np.argsort(np.array(codes, dtype=np.int64), kind="stable")]
        groups = np.split(in_order, np.cumsum(np.bincount(codes, minlength=1))[:-1])
        return {value: group for value, group in zip(numbers, groups, strict=False) if value is not None}

    def fold(self, ufunc: np.ufunc, per_completion: Floats) -> Floats:
        """Return each item's completions reduced to one number, for example their maximum; shape `[items]`."""
        return np.asarray(ufunc.reduceat(per_completion, self.starts))

    def spread(self, per_item: Floats) -> Floats:
        """Return each item's number, repeated for each of its completions; shape `[completions]`."""
        return np.repeat(per_item, self._sizes)

    def matrix(self, where: Places) -> Floats:
        """Return the scores of items that all have the same number of completions; shape `[items, completions]`."""
        num = len(self.items[where[0]].completions)
        return np.asarray(self.scores[self.starts[where][:, None] + np.arange(num)])

    def figure(
        self,
        name: str,
        *shares: WeightedMean,
        statistic: Statistic | None = None,
        table: str = "overall",
        chance: float | None = None,
        note: str = "",
    ) -> Figure:
        """Return a figure computed from one or several means; the interval comes from resampling whole prompts.

        Args:
            name: The name of the figure.
            shares: The means. Without any, the figure has no value, and `note` should give the reason.
            statistic: The function of the means; by default their weighted sum.
            table: The table that the figure belongs to.
            chance: The value that random scores give.
            note: A remark for the reader. Scores that are all the same are always noted.
        """
        where = np.unique(np.concatenate([share.where for share in shares])) if shares else self.places[:0]
        basis: Basis | None = None
        if shares:
            weights = np.array([share.weight for share in shares])
            parts = tuple(Component(share.values, self._prompts[share.where]) for share in shares)
            basis = Basis(parts, statistic or (lambda means: means @ weights))
        is_plain = len(shares) == 1 and statistic is None and shares[0].weight == 1
        return Figure(
            name=name,
            table=table,
            estimate=self._mean(shares[0]) if is_plain else basis and composite(basis.parts, basis.statistic),
            basis=basis,
            num_items=len(where),
            chance=chance,
            note=joined(note, self._constant([share.where for share in shares])),
        )

    def _mean(self, share: WeightedMean) -> Estimate:
        """Return a mean with its interval over prompts: of hits and misses a proportion's, else Student's."""
        prompts, values = self._prompts[share.where], share.values
        estimate = proportion if np.isin(values, (0, 1)).all() else mean
        return estimate(values, clusters=prompts)

    def _constant(self, wheres: Sequence[Places]) -> str:
        """Return the note on scores that are all the same, in all or some of the parts; empty if there are none."""
        is_constant = [bool(self._is_constant[where].all()) for where in wheres]
        if not any(is_constant):
            return ""
        return CONSTANT if all(is_constant) else f"{CONSTANT} in {sum(is_constant)} of {len(wheres)} parts"


def joined(*notes: str) -> str:
    """Return the notes that are not empty as one."""
    return "; ".join(filter(None, notes))


def _in_order(items: Sequence[Item], scores: Scores) -> tuple[Floats, Places]:
    try:
        rows = [scores[item.id] for item in items]
    except KeyError as error:
        raise InvalidInputError(f"item {error}: expected its scores, got none; score all items of the set") from error
    sizes = np.array([len(row) for row in rows])
    expected = np.array([len(item.completions) for item in items])
    if not np.array_equal(sizes, expected):
        place = int(np.flatnonzero(sizes != expected)[0])
        raise InvalidInputError(
            f"item {items[place].id!r}: expected {expected[place]} scores, one per completion, got {sizes[place]}"
        )
    starts = np.cumsum(sizes) - sizes
    flat = np.fromiter(chain.from_iterable(rows), np.float64, int(sizes.sum()))
    if not np.isfinite(flat).all():
        place = int(np.flatnonzero(~np.isfinite(flat))[0])
        item = items[int(np.searchsorted(starts, place, side="right")) - 1]
        raise InvalidInputError(f"item {item.id!r}: expected finite scores, got {flat[place]}; score it again")
    return flat, starts
