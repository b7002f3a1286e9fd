"""The vocabulary of benchmarks: `Benchmark`, and the `Item`s that it asks a reward model to score."""

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
"""By the id of an item, one finite score per completion, in their order."""


class LeftOutError(Exception):
    """The benchmark itself leaves a row out; the text is the reason, for counting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Completions that are compared with each other; one row of a benchmark, or one subset of completions of it.

    Attributes:
        id: Unique in its item set.
        subset: As the benchmark names it.
        completions: Whole conversations, each of which ends with the assistant and gets one score.
        labels: How good each completion is, as the benchmark says: of a pair, 1 for the chosen and 0 for the rejected
            side, not a number where it says nothing; shape `[completions]`.
        prompt_id: The unit that is resampled for intervals: items of one prompt, or one seed conversation, are not
            independent of each other.
        tags: Whatever else the benchmark reports by (a domain, a turn, which side is longer).
    """

    id: str
    subset: str
    completions: tuple[Conversation, ...]
    labels: tuple[float, ...]
    prompt_id: str
    tags: Mapping[str, Tag] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RejectedItem:
    """A row that was left out.

    Attributes:
        file: Name of its file, or the hub id.
        place: For example `row 17` or `line 3`.
        reason: One of a few, for counting, for example `a tie among humans`.
        detail: Field, what was expected, what came; empty where the benchmark itself leaves such rows out.
    """

    file: str
    place: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ItemSet:
    """The items of a benchmark's files.

    Attributes:
        benchmark: Its name.
        items: In the files' order.
        rejected: The rows that became no item, in order.
    """

    benchmark: str
    items: tuple[Item, ...]
    rejected: tuple[RejectedItem, ...] = ()

    def draw_prompts(self, num: int, *, seed: int = 0) -> Self:
        """Return the items of some prompts, in their order, for a quick look; the same prompts each time.

        The first rows would be of few subsets.

        Args:
            num: Of prompts; all are kept where there are fewer.
            seed: Of the draw.
        """
        prompts = list(dict.fromkeys(item.prompt_id for item in self.items))
        drawn = set(random.Random(seed).sample(prompts, min(num, len(prompts))))
        return replace(self, items=tuple(item for item in self.items if item.prompt_id in drawn))


class Benchmark(Protocol):
    """How rows become items, and how scores of items become the figures that the field quotes.

    A benchmark is a module of `music.evaluation.benchmarks`, or one of your own: see `register_benchmark`.
    """

    @property
    def name(self) -> str:
        """As it is given on the command line, for example `rewardbench`."""
        ...

    @property
    def source(self) -> str:
        """Where its rows come from: the hub id, and the paper."""
        ...

    @property
    def split(self) -> str:
        """Which split of its hub data set is read unless another is named."""
        ...

    def read(self, row: Row) -> Iterable[Item]:
        """Return the items of a row; most rows are one.

        Raises:
            RowError: The row cannot be used: a field is missing, or is not what it should be.
            LeftOutError: The benchmark itself leaves such rows out, a tie among humans for example.
        """
        ...

    def figures(self, items: Sequence[Item], scores: Scores) -> list[Figure]:
        """Return what the benchmark reports, the headline first.

        Args:
            items: At least one. A subset without items gets a figure without a value; it is never left out silently.
            scores: Of all those items.

        Raises:
            InvalidInputError: The figures cannot be computed of these items.
        """
        ...
