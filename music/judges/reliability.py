"""How far a judge can be trusted: position bias, agreement with itself, preferences that go round in a circle.

`JudgeReport` is all that is to be said of a judge.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from music.judges.model import JudgeModel
from music.judges.pairwise import PairJudgement
from music.judges.pointwise import Rated
from music.llm.spending.records import Spending
from music.prompts import Choice, load_template
from music.statistics import Figure, describe, mean

__all__ = ["JudgeReport", "Matches", "cyclic_triples", "pairwise_figures", "pointwise_figures"]

TABLE = "judge"
CYCLIC_BY_CHANCE = 0.25
"""Of eight ways in which three matches can end, two go round in a circle."""

_Values = Callable[[PairJudgement], Iterator[float]]

Matches = Mapping[tuple[int, int], PairJudgement]
"""What a judge says of completions of one prompt, by the numbers of the two."""


class JudgeReport(BaseModel):
    """Who judged, by what, what came of it, how far it can be trusted, and what it cost."""

    model_config = ConfigDict(frozen=True)

    judge: str
    """The endpoint."""
    prompt: str
    prompt_digest: str
    num_samples: int
    temperature: float | None
    num_judgements: int
    """Asked for; those of an earlier run that were replayed included."""
    problems: dict[str, int]
    """Judgements that there are not, by why; they count for neither side."""
    figures: tuple[Figure, ...]
    """Position bias and the like; see `pairwise_figures` and `pointwise_figures`."""
    spending: Spending
    """Of all replies in the journal, those of earlier runs included."""

    @classmethod
    def of(cls, model: JudgeModel, figures: Sequence[Figure]) -> Self:
        """Sum a judge up."""
        template = load_template(model.settings.prompt)
        return cls(
            judge=model.name,
            prompt=template.name,
            prompt_digest=template.digest,
            num_samples=model.settings.num_samples,
            temperature=model.settings.sampling.temperature,
            num_judgements=model.num_judgements,
            problems={problem.value: num for problem, num in sorted(model.problems.items())},
            figures=tuple(figures),
            spending=model.ledger.spending(),
        )

    def lines(self) -> Iterator[str]:
        """Yield it in words, a line each."""
        missing = ", ".join(f"{problem} {num}" for problem, num in self.problems.items())
        yield f"judge {self.judge}, prompt {self.prompt}: {self.num_judgements} judgements, failed: {missing or 'none'}"
        for figure in self.figures:
            if (estimate := figure.estimate) is not None:
                value = str(estimate) if figure.chance is None else describe(estimate, null=figure.chance)
                yield f"  {figure.name}: {value} ({figure.note})"
        cost = "" if self.spending.cost is None else f", {self.spending.cost:.2f} USD"
        yield f"  paid for: {self.spending.num_calls} calls, {self.spending.num_tokens:,} tokens{cost}"
        if num := self.spending.sum("num_reused"):
            yield f"  from the cache, not paid for: {num} replies"


def pairwise_figures(prompts: Sequence[str], matches: Sequence[Matches]) -> list[Figure]:
    """Return what comparisons tell of the judge who made them.

    Args:
        prompts: The unit that each entry of `matches` belongs to, for resampling.
        matches: One entry for each item.
    """
    pairs = [(unit, pair) for unit, item in zip(prompts, matches, strict=True) for pair in item.values()]

    def figure(name: str, values: _Values, chance: float | None, note: str) -> Figure:
        return _figure(name, [(unit, value) for unit, pair in pairs for value in values(pair)], chance, note)

    triples = [(unit, x) for unit, item in zip(prompts, matches, strict=True) for x in cyclic_triples(item)]
    return [
        figure("first shown wins", _first_wins, 0.5, "of judgements with a winner; position bias, if not 0.5"),
        figure("winner goes with the order", _contradictions, None, "of pairs asked in both orders"),
        figure("ties", _ties, None, "of judgements"),
        figure("two samples agree", _agreements, None, "self-consistency, on the same question"),
        _figure("cyclic triples", triples, CYCLIC_BY_CHANCE, "of three completions with a winner in each pair"),
    ]


def pointwise_figures(prompts: Sequence[str], rated: Sequence[Sequence[Rated]]) -> list[Figure]:
    """Return what ratings tell of the judge who made them.

    Args:
        prompts: The unit that each entry of `rated` belongs to, for resampling.
        rated: One entry for each item, of all its completions.
    """
    sound = [
        (unit, [each.value for each in one.ratings if each.value is not None])
        for unit, item in zip(prompts, rated, strict=True)
        for one in item
    ]
    means = [(unit, float(rating.is_expected)) for unit, ratings in sound for rating in ratings]
    spread = [
        (unit, float(np.std([each.value for each in ratings], ddof=1))) for unit, ratings in sound if len(ratings) > 1
    ]
    return [
        _figure("by probabilities", means, None, "of ratings: means over the probabilities of the scale"),
        _figure("spread of samples", spread, None, "self-consistency: standard deviation, on the scale of ratings"),
    ]


def cyclic_triples(matches: Matches) -> Iterator[float]:
    """Yield for each three completions of which each pair has a winner, 1 if their preferences go round in a circle."""
    wins = {}
    for (first, second), judgement in matches.items():
        if judgement.score not in (None, 0.5):
            wins[first, second] = (judgement.score or 0.0) > 0.5
            wins[second, first] = not wins[first, second]
    for a, b, c in itertools.combinations(sorted({number for pair in matches for number in pair}), 3):
        if {(a, b), (b, c), (a, c)} <= wins.keys():
            yield float(wins[a, b] == wins[b, c] == wins[c, a])


def _first_wins(judgement: PairJudgement) -> Iterator[float]:
    for each in (*judgement.forward, *judgement.backward):
        if each.value in (Choice.FIRST, Choice.SECOND):
            yield float(each.value is Choice.FIRST)


def _contradictions(judgement: PairJudgement) -> Iterator[float]:
    for one, other in zip(judgement.forward, judgement.backward, strict=True):
        if one.value is not None and other.value is not None:
            yield float(one.value is other.value is not Choice.TIE)


def _ties(judgement: PairJudgement) -> Iterator[float]:
    for each in (*judgement.forward, *judgement.backward):
        if each.value is not None:
            yield float(each.value is Choice.TIE)


def _agreements(judgement: PairJudgement) -> Iterator[float]:
    for samples in (judgement.forward, judgement.backward):
        for one, other in itertools.combinations([each.value for each in samples if each.value is not None], 2):
            yield float(one is other)


def _figure(name: str, rows: Sequence[tuple[str, float]], chance: float | None, note: str) -> Figure:
    """Return the mean of values by unit; none of none."""
    estimate = mean([x for _, x in rows], clusters=[unit for unit, _ in rows]) if rows else None
    return Figure(name=name, table=TABLE, estimate=estimate, num_items=len(rows), chance=chance, note=note)
