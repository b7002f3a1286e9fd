"""Scores of a benchmark's items by a judge.

They are a `ScoreSet` like any other, so that every figure of every benchmark can be computed of them.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from music.evaluation.benchmarks.types import Item, ItemSet
from music.evaluation.scoring.records import ScoreSet, ScoresHeader
from music.evaluation.scoring.store import ScoreStore
from music.judges.by_item import ItemJudge
from music.judges.gathering import gather_all
from music.judges.report import JudgeReport

__all__ = ["judge_items"]

Said = TypeVar("Said")


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
