"""The measures of a grid: what each is called, how it is shown, and the prompt of each of its test items.

A measure of `[measures.NAME]` reads the items of a benchmark from files. The sandbox's measures are in `sandbox`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from math import isfinite
from statistics import fmean
from typing import Literal, Protocol, get_args

from pydantic import BaseModel, ConfigDict, Field

from music.config import Config
from music.conversation import Conversation
from music.errors import InvalidInputError
from music.evaluation.benchmarks.fields import prompt_key
from music.evaluation.benchmarks.registry import load_benchmark, read_benchmark
from music.evaluation.benchmarks.types import Item, ItemSet, Tag
from music.names import did_you_mean
from music.preferences.split import opening_key
from music.reward.tokens.contract import Readout, read_rewards

__all__ = ["READOUTS", "Measure", "MeasureAccount", "MeasureInfo", "MeasureItems", "Scoring", "Values"]
__all__ += ["forget_measures", "item_value", "item_values", "prompts_of", "read_measure"]

SUBSET = "subset"
READOUTS: tuple[Readout, ...] = get_args(Readout)

Values = dict[str, dict[Readout, list[float]]]
"""By measure and readout, one value per test item."""


class Scoring(Protocol):
    """What measures ask of a reward model."""

    def score(self, conversations: Sequence[Conversation]) -> list[float]:
        """Return the reward at the end of each conversation."""
        ...

    def score_turns(self, conversations: Sequence[Conversation]) -> list[list[float]]:
        """Return the reward after each assistant turn of each conversation."""
        ...


class MeasureInfo(BaseModel):
    """A measure of a grid. All of its cells have one value for each test item, in one order."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Unique in the grid."""
    unit: Literal["share", "grade"]
    """`share`: values within [0, 1], for example 1 if a pair is ranked correctly; `grade`: values of any size."""
    by_readout: bool
    """Whether readouts give different values. If not, it is shown once, with the readout `last`."""
    group: str = ""
    """Heading of the table that shows it; empty for the main table."""
    clusters: tuple[str, ...]
    """The prompt of each item. Items of one prompt are not independent of each other."""
    compared: bool = True
    """Whether its differences between arms are reported."""


class Measure(Config):
    """A benchmark of `music evaluate` on some files, declared in `[measures.NAME]`."""

    benchmark: str
    """Name of the benchmark."""
    files: tuple[str, ...] = Field(min_length=1)
    """Its files, folders or hub ids."""
    value: Literal["order", "selected"] = "order"
    """The value of an item. `order`: the share of its pairs of completions with different labels that the scores order
    correctly; a tie is wrong. `selected`: the label of the completion with the highest score."""
    where: dict[str, Tag | tuple[Tag, ...]] = Field(default={})
    """Keep the items whose tag (or `subset`) has this value, or one of these values."""
    where_not: dict[str, Tag | tuple[Tag, ...]] = Field(default={})
    """Leave out the items whose tag (or `subset`) has this value, or one of these values."""
    limit: int | None = Field(default=None, ge=1)
    """Use only this many of these prompts, drawn at random."""


class MeasureAccount(BaseModel):
    """What became of the rows of a measure's files."""

    model_config = ConfigDict(frozen=True)

    num_items: int
    num_prompts: int
    unusable_rows: dict[str, int]
    """Number of rows that gave no item, by reason."""
    without_order: tuple[str, ...]
    """Ids of the items that were left out because fewer than two labels differ."""


@dataclass(frozen=True, slots=True)
class MeasureItems:
    """The test items of a measure.

    Attributes:
        info: The measure.
        items: At least one.
        prompts: The keys of the first user messages of each item's completions; see `prompts_of`.
        account: What was left out.
    """

    info: MeasureInfo
    items: tuple[Item, ...]
    prompts: tuple[tuple[str, ...], ...]
    account: MeasureAccount

    def places(self, fold: int, num_folds: int) -> list[int]:
        """Return the places of the items of a fold, which depends on the first user message of an item alone."""
        return [place for place, (first, *_) in enumerate(self.prompts) if int(first, 16) % num_folds == fold]


def read_measure(name: str, measure: Measure) -> MeasureItems:
    """Read the items of a measure, once per process.

    Raises:
        InvalidInputError: There is no such benchmark, file or tag, or no item is left; the message names the key.
    """
    return _read_measure(name, measure.model_dump_json())


def forget_measures() -> None:
    """Read all files again when they are asked for: they may have changed."""
    _read_measure.cache_clear()


@cache
def _read_measure(name: str, settings: str) -> MeasureItems:
    measure = Measure.model_validate_json(settings)
    read = _read_items(name, measure)
    _require_tags(name, measure, read.items)
    kept = [item for item in read.items if _is_kept(item, measure)]
    ordered = [item for item in kept if len({label for label in item.labels if isfinite(label)}) > 1]
    if not ordered:
        raise InvalidInputError(
            f"measures.{name}: expected items of {', '.join(measure.files)} whose labels differ, got none: there are "
            f"{len(read.items)} items, of which {len(kept)} pass where = {measure.where} and where_not = "
            f"{measure.where_not}"
        )
    if measure.limit is not None:
        ordered = list(replace(read, items=tuple(ordered), rejected=()).draw_prompts(measure.limit).items)
    info = MeasureInfo(
        name=name,
        unit="share" if measure.value == "order" or _are_zero_or_one(ordered) else "grade",
        by_readout=any(completion.num_turns > 1 for item in ordered for completion in item.completions),
        clusters=tuple(item.prompt_id for item in ordered),
    )
    account = MeasureAccount(
        num_items=len(ordered),
        num_prompts=len(set(info.clusters)),
        unusable_rows=dict(Counter(row.reason for row in read.rejected)),
        without_order=tuple(item.id for item in kept if len({x for x in item.labels if isfinite(x)}) < 2),
    )
    prompts = tuple(prompts_of(item.completions) for item in ordered)
    return MeasureItems(info, tuple(ordered), prompts, account)


def item_values(measure: Measure, items: Sequence[Item], model: Scoring) -> dict[Readout, list[float]]:
    """Measure a reward model: return the value of each item with each readout."""
    completions = list(dict.fromkeys(completion for item in items for completion in item.completions))
    turns = dict(zip(completions, model.score_turns(completions), strict=True))

    def value(item: Item, readout: Readout) -> float:
        scores = [read_rewards(readout, turns[completion]) for completion in item.completions]
        return item_value(measure.value, item.labels, scores)

    return {readout: [value(item, readout) for item in items] for readout in READOUTS}


def item_value(value: str, labels: Sequence[float], scores: Sequence[float]) -> float:
    """Return an item's value; see `Measure.value`. Completions without a label do not count.

    If several completions have the highest score, `selected` is the mean of their labels.
    """
    both = [(label, score) for label, score in zip(labels, scores, strict=True) if isfinite(label)]
    if value == "selected":
        best = max(score for _, score in both)
        return fmean(label for label, score in both if score == best)
    return fmean(
        (one[0] - other[0]) * (one[1] - other[1]) > 0 for one, other in combinations(both, 2) if one[0] != other[0]
    )


def prompts_of(conversations: Sequence[Conversation]) -> tuple[str, ...]:
    """Return keys of the first user messages of conversations, each once."""
    return tuple(dict.fromkeys(prompt_key(opening_key(conversation)) for conversation in conversations))


def _read_items(name: str, measure: Measure) -> ItemSet:
    try:
        benchmark = load_benchmark(measure.benchmark)
    except InvalidInputError as error:
        raise InvalidInputError(f"measures.{name}.benchmark: {error}") from error
    try:
        return read_benchmark(benchmark, measure.files, strict=False)
    except InvalidInputError as error:
        raise InvalidInputError(f"measures.{name}.files: {error}") from error


def _require_tags(name: str, measure: Measure, items: Sequence[Item]) -> None:
    """Refuse the name of a tag that no item has."""
    known = {SUBSET, *(tag for item in items for tag in item.tags)}
    for key, conditions in (("where", measure.where), ("where_not", measure.where_not)):
        if unknown := [tag for tag in conditions if tag not in known]:
            raise InvalidInputError(
                f"measures.{name}.{key}: expected tags out of {', '.join(sorted(known))}, got {unknown[0]!r}"
                f"{did_you_mean(unknown[0], known)}"
            )


def _is_kept(item: Item, measure: Measure) -> bool:
    return all(_has(item, tag, values) for tag, values in measure.where.items()) and not any(
        _has(item, tag, values) for tag, values in measure.where_not.items()
    )


def _has(item: Item, tag: str, values: Tag | tuple[Tag, ...]) -> bool:
    found = item.subset if tag == SUBSET else item.tags.get(tag)
    return found in (values if isinstance(values, tuple) else (values,))


def _are_zero_or_one(items: Sequence[Item]) -> bool:
    return {label for item in items for label in item.labels if isfinite(label)} <= {0.0, 1.0}
