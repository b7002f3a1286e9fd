"""How a judge scores an item: by rating each completion, or by comparing each with each."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from music.evaluation.benchmarks.types import Item
from music.evaluation.scoring.records import ItemScores
from music.judges.gathering import gather_all
from music.judges.judgement import Judgement
from music.judges.model import JudgeModel
from music.judges.pairwise import PairwiseJudge
from music.judges.pointwise import PointwiseJudge, Rated
from music.judges.reliability import Matches, pairwise_figures, pointwise_figures
from music.statistics.figures import Figure

__all__ = ["ByComparing", "ByRating", "ItemJudge"]

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
