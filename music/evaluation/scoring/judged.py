"""Scores items by a judge, which rates each completion or compares every two.

The result is a `ScoreSet` like any other, so every benchmark can compute its figures from it.
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
from music.evaluation.scoring.records import ItemScores, ScoreSet, ScoresHeader, require_scored
from music.evaluation.scoring.store import ScoreStore
from music.judges.model import Judgement, JudgeModel, Problem, open_judge_model
from music.judges.pairwise import PairwiseJudge
from music.judges.pointwise import PointwiseJudge, Rated
from music.judges.reliability import JudgeReport, Matches, pairwise_figures, pointwise_figures
from music.judges.settings import JudgeSettings, judge_flag, read_judge
from music.statistics import Figure

__all__ = ["ByComparing", "ByRating", "ItemJudge", "PairwiseJudge", "describe_judge", "judge_items", "open_item_judge"]

Answer = TypeVar("Answer")


class ItemJudge(Protocol[Answer]):
    """Judges whole items; the type of an answer depends on the kind of judge."""

    @property
    def model(self) -> JudgeModel:
        """The model that is asked."""
        ...

    def num_calls(self, item: Item) -> int:
        """Return the largest number of judgements that an item may need, without retries."""
        ...

    async def judge(self, item: Item) -> Answer:
        """Judge an item."""
        ...

    def row(self, item: Item, answer: Answer) -> ItemScores:
        """Return an item's scores, computed from the answer."""
        ...

    def figures(self, prompts: Sequence[str], answers: Sequence[Answer]) -> list[Figure]:
        """Return figures on the judge's reliability, from the answers to all items."""
        ...


@dataclass(frozen=True, slots=True)
class ByRating:
    """Judges items by rating each completion; the score is the rating."""

    rater: PointwiseJudge

    @property
    def model(self) -> JudgeModel:
        """The model that is asked."""
        return self.rater.model

    def num_calls(self, item: Item) -> int:
        """Return one for each completion and sample."""
        return self.rater.num_calls(len(item.completions))

    async def judge(self, item: Item) -> list[Rated]:
        """Rate all completions."""
        return await gather_all(self.rater.rate(completion) for completion in item.completions)

    def row(self, item: Item, answer: list[Rated]) -> ItemScores:
        """Return the ratings."""
        scores = [rated.score for rated in answer]
        return _row(item, scores, [rated.failure for rated in answer if rated.score is None])

    def figures(self, prompts: Sequence[str], answers: Sequence[list[Rated]]) -> list[Figure]:
        """Return figures on the reliability of the ratings."""
        return pointwise_figures(prompts, answers)


@dataclass(frozen=True, slots=True)
class ByComparing:
    """Judges items by comparing every two completions; the score is the share of wins, with ties counted half."""

    comparer: PairwiseJudge

    @property
    def model(self) -> JudgeModel:
        """The model that is asked."""
        return self.comparer.model

    def num_calls(self, item: Item) -> int:
        """Return two for each pair of completions and sample."""
        return self.comparer.num_calls(len(item.completions))

    async def judge(self, item: Item) -> Matches:
        """Compare every two completions."""
        pairs = list(itertools.combinations(range(len(item.completions)), 2))
        sides = [(item.completions[i], item.completions[j]) for i, j in pairs]
        judgements = await gather_all(self.comparer.compare(first, second) for first, second in sides)
        return dict(zip(pairs, judgements, strict=True))

    def row(self, item: Item, answer: Matches) -> ItemScores:
        """Return the shares of wins; an item has none if the judge failed on a pair."""
        failures = [judgement.failure for judgement in answer.values() if judgement.score is None]
        points = [0.0] * len(item.completions)
        for (i, j), judgement in answer.items():
            points[i] += judgement.partial_score
            points[j] += 1 - judgement.partial_score
        shares = tuple(each / max(1, len(points) - 1) for each in points)
        if not failures:
            return _row(item, shares, failures)
        return _row(item, [None] * len(points), failures).model_copy(update={"partial": shares})

    def figures(self, prompts: Sequence[str], answers: Sequence[Matches]) -> list[Figure]:
        """Return figures on the reliability of the comparisons."""
        return pairwise_figures(prompts, answers)


def _row(item: Item, scores: Sequence[float | None], failures: Sequence[Judgement[object] | None]) -> ItemScores:
    failure = next(iter(failures), None)
    if failure is None or failure.problem is None:
        return ItemScores(id=item.id, scores=tuple(scores))
    return ItemScores(id=item.id, scores=tuple(scores), problem=failure.problem.value, detail=failure.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class _JudgeScorer(Generic[Answer]):
    """A judge, as a file of scores identifies it."""

    name: str
    judge: ItemJudge[Answer]
    fingerprint: None = None
    """A run resumes from the judge's journal, not from the file of scores; see `ScoredModel`."""

    @property
    def description(self) -> str:
        settings = self.judge.model.settings
        return f"prompt {settings.prompt}, samples: {settings.num_samples}"


async def judge_items(
    items: ItemSet,
    name: str,
    judge: ItemJudge[Answer],
    path: Path | None = None,
    *,
    strict: bool = True,
    on_judged: Callable[[], None] = lambda: None,
) -> ScoreSet:
    """Score all completions of an item set by a judge.

    Args:
        items: The items to judge.
        name: The name of the judge, as the user wrote it.
        judge: The judge, which rates or compares.
        path: The file of scores (see `ScoreStore`), written at the end; replies are kept in the judge's journal.
        strict: Whether the first item that could not be judged is an error, so that no more is paid.
        on_judged: Called after each item.

    Returns:
        The scores, with a `JudgeReport`. If an item could not be judged, its row has a reason and no scores.

    Raises:
        BudgetReachedError: The budget was spent before all items were judged.
        EndpointUnreachableError: The server cannot be reached.
        UnscoredError: An item could not be judged, and `strict`.
        MusicError: All judgements failed.
        InvalidInputError: The file of scores is of another judge.
    """
    began = time.perf_counter()
    header = ScoresHeader.of(items, _JudgeScorer(name=name, judge=judge))
    store = ScoreStore.open(path, header, items) if path is not None else None
    semaphore = asyncio.Semaphore(judge.model.settings.max_in_flight)  # limits the prompts that are held in memory

    async def judged(item: Item) -> Answer:
        async with semaphore:
            answer = await judge.judge(item)
        if strict and (row := judge.row(item, answer)).problem != Problem.BUDGET:  # `require_whole` explains a budget
            require_scored([row])
        on_judged()
        return answer

    answers = await gather_all(judged(item) for item in items.items)
    judge.model.require_whole()
    rows = [judge.row(item, answer) for item, answer in zip(items.items, answers, strict=True)]
    if store is not None:
        store.append(rows)
    report = JudgeReport.of(judge.model, judge.figures([item.prompt_id for item in items.items], answers))
    seconds = time.perf_counter() - began
    return ScoreSet(header=header, rows={row.id: row for row in rows}, seconds=seconds, judge=report)


@asynccontextmanager
async def open_item_judge(name: str, settings: JudgeSettings, journal: Path | None) -> AsyncIterator[ItemJudge[Any]]:
    """Open a judge of items as a context manager.

    Args:
        name: `judge:ENDPOINT` rates each completion, `judge-pairs:ENDPOINT` compares every two.
        settings: How to ask the judge.
        journal: The file that keeps its replies; None to keep none.

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
    """Return a judge's name with the flags that its scores depend on, as in a file of scores."""
    flags = settings.model_dump(include={"prompt", "num_samples", "temperature"}, exclude_defaults=True)
    if settings.options and (options := settings.request_options.describe_sampling()):
        flags["options"] = options
    return " ".join([name, *(f"{judge_flag(field)} {value}" for field, value in flags.items())])
