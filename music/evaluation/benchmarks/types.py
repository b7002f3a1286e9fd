"""The types of benchmarks: `Benchmark`, and the `Item`s that a reward model scores."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

from music.conversation import Conversation
from music.preferences.sources import Row
from music.statistics import Figure

__all__ = ["Benchmark", "Item", "ItemSet", "LeftOutError", "RejectedItem", "Scores", "Tag"]

Tag = str | int | float | bool
Scores = Mapping[str, Sequence[float]]
"""By item id, one finite score per completion, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Completions that are compared with each other: one row of a benchmark, or some completions of a row.

    Attributes:
        id: Unique in its item set.
        subset: The benchmark's name for the group that the item belongs to.
        completions: Whole conversations. Each ends with the assistant and gets one score.
        labels: How good each completion is according to the benchmark; shape `[completions]`. In a pair it is 1 for
            the chosen and 0 for the rejected side. It is NaN if the benchmark has no label.
        prompt_id: The unit that is resampled for intervals: items of one prompt, or one seed conversation, are not
            independent of each other.
        tags: Other properties that the benchmark groups its figures by (a domain, a turn, which side is longer).
    """

    id: str
    subset: str
    completions: tuple[Conversation, ...]
    labels: tuple[float, ...]
    prompt_id: str
    tags: Mapping[str, Tag] = field(default_factory=dict)


class LeftOutError(Exception):
    """A row that the benchmark itself leaves out.

    Args:
        reason: One of a few reasons, for counting.
        detail: What is special about this row; empty if nothing is.
        item: An item without completions, if the row counts in figures that need no score.
    """

    def __init__(self, reason: str, detail: str = "", item: Item | None = None) -> None:
        super().__init__(reason, detail, item)
        self.reason, self.detail, self.item = reason, detail, item

    def __str__(self) -> str:
        """Return the reason."""
        return self.reason


@dataclass(frozen=True, slots=True)
class RejectedItem:
    """A row that was left out.

    Attributes:
        file: The name of its file, or the hub id.
        place: Its place in the file, for example `row 17` or `line 3`.
        reason: One of a few reasons, for counting, for example `a tie among humans`.
        detail: The field, what was expected and what was found, or what is special about the row.
        item: The item without completions, if the row counts in figures that need no score.
    """

    file: str
    place: str
    reason: str
    detail: str = ""
    item: Item | None = None


@dataclass(frozen=True, slots=True)
class ItemSet:
    """The items of a benchmark's files.

    Attributes:
        benchmark: The name of the benchmark.
        items: The items in the order of the files.
        rejected: The rows that gave no item, in order.
    """

    benchmark: str
    items: tuple[Item, ...]
    rejected: tuple[RejectedItem, ...] = ()

    @property
    def unscorable(self) -> tuple[Item, ...]:
        """The items without completions, which no model scores and some figures count."""
        return tuple(row.item for row in self.rejected if row.item is not None)

    def draw_prompts(self, num: int, *, seed: int = 0) -> Self:
        """Return the items of some prompts drawn at random, in their order, for a quick look.

        The same prompts are drawn each time. The first rows alone would be of few subsets.

        Args:
            num: The number of prompts; if there are fewer, all are kept.
            seed: The seed of the draw.
        """
        prompts = list(dict.fromkeys(item.prompt_id for item in self.items))
        drawn = set(random.Random(seed).sample(prompts, min(num, len(prompts))))
        rejected = tuple(row for row in self.rejected if row.item is None or row.item.prompt_id in drawn)
        return replace(self, items=tuple(item for item in self.items if item.prompt_id in drawn), rejected=rejected)


class Benchmark(Protocol):
    """Reads items from rows, and computes from their scores the figures that papers quote.

    A benchmark is a module of `music.evaluation.benchmarks`, or one of your own: see `register_benchmark`.
    """

    @property
    def name(self) -> str:
        """The name on the command line, for example `rewardbench`."""
        ...

    @property
    def source(self) -> str:
        """The origin of its rows: the hub id, and the paper."""
        ...

    @property
    def split(self) -> str:
        """The split of its hub data set that is read by default."""
        ...

    def read(self, row: Row) -> Iterable[Item]:
        """Return the items of a row, usually one.

        Raises:
            RowError: The row cannot be used: a field is missing or invalid.
            LeftOutError: The benchmark itself leaves such rows out, for example ties among humans.
        """
        ...

    def figures(self, items: Sequence[Item], scores: Scores) -> list[Figure]:
        """Return the benchmark's figures, the headline first.

        Args:
            items: At least one item. A subset without items gets a figure without a value; it is never left out.
                Items without completions come last; only a benchmark that makes such items gets them.
            scores: The scores of all items that have completions.

        Raises:
            InvalidInputError: The figures cannot be computed from these items.
        """
        ...
