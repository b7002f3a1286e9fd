"""Scores of a benchmark's items by a judge, which rates each completion or compares each two.

They are a `ScoreSet` like any other, so every figure of every benchmark can be computed from them.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from music.aio import gather_all
from music.errors import InvalidInputError
from music.evaluation.benchmarks.types import Item, ItemSet
from music.evaluation.scoring.records import ItemScores, ScoreSet, ScoresHeader
from music.evaluation.scoring.store import ScoreStore
from music.judges.model import Judgement, JudgeModel, open_judge_model
from music.judges.pairwise import PairwiseJudge
from music.judges.pointwise import PointwiseJudge, Rated
from music.judges.reliability import JudgeReport, Matches, pairwise_figures, pointwise_figures
from music.judges.settings import JudgeSettings, judge_flag, read_judge
from music.statistics import Figure

__all__ = ["ByComparing", "ByRating", "ItemJudge", "PairwiseJudge", "describe_judge", "judge_items", "open_item_judge"]

Said = TypeVar("Said")


class ItemJudge(Protocol[Said]):
    """Judges whole items; what is said of an item is of the judge's own kind."""

    @property
    def model(self) -> JudgeModel:
        """Who is asked."""
        ...

    def num_calls(self, item: Item) -> int:
        """Return how many judgements an item takes at the most, attempts aside."""
        ...

    async def judge(self, item: Item) -> Said:
        """Judge an item."""
        ...

    def row(self, item: Item, said: Said) -> ItemScores:
        """Return the scores that come of it."""
        ...

    def figures(self, prompts: Sequence[str], said: Sequence[Said]) -> list[Figure]:
        """Return what all items tell of the judge."""
        ...


@dataclass(frozen=True, slots=True)
class ByRating:
    """Scores are ratings."""

    rater: PointwiseJudge

    @property
    def model(self) -> JudgeModel:
        """Who is asked."""
        return self.rater.model

    def num_calls(self, item: Item) -> int:
        """One for each completion and sample."""
        return self.rater.num_calls(len(item.completions))

    async def judge(self, item: Item) -> list[Rated]:
        """Rate all completions."""
        return await gather_all(self.rater.rate(completion) for completion in item.completions)

    def row(self, item: Item, said: list[Rated]) -> ItemScores:
        """Return the ratings."""
        scores = [rated.score for rated in said]
        return _row(item, scores, [rated.failure for rated in said if rated.score is None])

    def figures(self, prompts: Sequence[str], said: Sequence[list[Rated]]) -> list[Figure]:
        """Return the figures of ratings."""
        return pointwise_figures(prompts, said)


@dataclass(frozen=True, slots=True)
class ByComparing:
    """Scores are shares: how often a completion wins against each of the others, ties counted half."""

    comparer: PairwiseJudge

    @property
    def model(self) -> JudgeModel:
        """Who is asked."""
        return self.comparer.model

    def num_calls(self, item: Item) -> int:
        """Two for each pair of completions and sample."""
        return self.comparer.num_calls(len(item.completions))

    async def judge(self, item: Item) -> Matches:
        """Compare each two completions."""
        pairs = list(itertools.combinations(range(len(item.completions)), 2))
        sides = [(item.completions[i], item.completions[j]) for i, j in pairs]
        judgements = await gather_all(self.comparer.compare(first, second) for first, second in sides)
        return dict(zip(pairs, judgements, strict=True))

    def row(self, item: Item, said: Matches) -> ItemScores:
        """Return the shares; an item with an undecided pair has none."""
        failures = [judgement.failure for judgement in said.values() if judgement.score is None]
        points = [0.0] * len(item.completions)
        for (i, j), judgement in said.items():
            points[i] += judgement.score or 0.0
            points[j] += 1 - (judgement.score or 0.0)
        num_others = max(1, len(points) - 1)
        return _row(item, [None if failures else each / num_others for each in points], failures)

    def figures(self, prompts: Sequence[str], said: Sequence[Matches]) -> list[Figure]:
        """Return the figures of comparisons."""
        return pairwise_figures(prompts, said)


def _row(item: Item, scores: Sequence[float | None], failures: Sequence[Judgement[object] | None]) -> ItemScores:
    failure = next(iter(failures), None)
    if failure is None or failure.problem is None:
        return ItemScores(id=item.id, scores=tuple(scores))
    return ItemScores(id=item.id, scores=tuple(scores), problem=failure.problem.value, detail=failure.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named(Generic[Said]):
    """A judge as a file of scores names it."""

    name: str
    judge: ItemJudge[Said]
    fingerprint: None = None
    """Its journal is what a run goes on from; see `ScoredModel`."""

    @property
    def description(self) -> str:
        settings = self.judge.model.settings
        return f"prompt {settings.prompt}, samples: {settings.num_samples}"


async def judge_items(
    items: ItemSet,
    name: str,
    judge: ItemJudge[Said],
    path: Path | None = None,
    *,
    on_judged: Callable[[], None] = lambda: None,
) -> ScoreSet:
    """Score all completions of an item set by a judge.

    Args:
        items: What to judge.
        name: Of the judge, as the user wrote it.
        judge: Who judges, and how.
        path: File of scores (see `ScoreStore`), written in the end; replies are kept in the judge's journal.
        on_judged: Called after each item.

    Returns:
        The scores, with a `JudgeReport`. An item that could not be judged has a row that says why, and no scores.

    Raises:
        BudgetReachedError: The budget was spent before all were judged.
        EndpointUnreachableError: There is no server.
        MusicError: All judgements failed.
        InvalidInputError: The file of scores is of another judge.
    """
    began = time.perf_counter()
    header = ScoresHeader.of(items, _Named(name=name, judge=judge))
    store = ScoreStore.open(path, header, items) if path is not None else None
    room = asyncio.Semaphore(judge.model.settings.max_in_flight)  # of items, whose prompts are held in memory

    async def judged(item: Item) -> Said:
        async with room:
            said = await judge.judge(item)
        on_judged()
        return said

    said = await gather_all(judged(item) for item in items.items)
    judge.model.require_whole()
    rows = [judge.row(item, each) for item, each in zip(items.items, said, strict=True)]
    if store is not None:
        store.append(rows)
    report = JudgeReport.of(judge.model, judge.figures([item.prompt_id for item in items.items], said))
    seconds = time.perf_counter() - began
    return ScoreSet(header=header, rows={row.id: row for row in rows}, seconds=seconds, judge=report)


@asynccontextmanager
async def open_item_judge(name: str, settings: JudgeSettings, journal: Path | None) -> AsyncIterator[ItemJudge[Any]]:
    """Open a judge of items for as long as the block lasts.

    Args:
        name: `judge:ENDPOINT` rates each completion, `judge-pairs:ENDPOINT` compares each two.
        settings: How the judge is asked.
        journal: File that keeps its replies; None for none.

    Raises:
        InvalidInputError: There is no such judge.
    """
    found = read_judge(name)
    if found is None:
        raise InvalidInputError(f"expected judge:ENDPOINT or judge-pairs:ENDPOINT, got {name!r}")
    kind, endpoint = found
    async with open_judge_model(endpoint, settings, journal) as model:
        yield ByRating(PointwiseJudge(model)) if kind == "rating" else ByComparing(PairwiseJudge(model))


def describe_judge(name: str, settings: JudgeSettings) -> str:
    """Return a judge's name with the flags that its scores depend on, as a file of scores has it."""
    told = settings.model_dump(include={"prompt", "num_samples", "temperature"}, exclude_defaults=True)
    if settings.options and (options := settings.request_options.describe_sampling()):
        told["options"] = options
    return " ".join([name, *(f"{judge_flag(field)} {value}" for field, value in told.items())])
