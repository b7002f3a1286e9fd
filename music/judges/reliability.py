"""The reliability of a judge: position bias, self-consistency, cyclic preferences.

`JudgeReport` summarises a judge.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from music.judges.model import JudgeModel
from music.judges.pairwise import PairJudgement
from music.judges.pointwise import Rated
from music.llm.spending.records import Spending
from music.prompts import Choice, load_template
from music.statistics import Figure, describe, mean, proportion

__all__ = ["JudgeReport", "Matches", "cyclic_triples", "pairwise_figures", "pointwise_figures"]

TABLE = "judge"
CYCLIC_BY_CHANCE = 0.25
"""Two of the eight possible results of three matches are cycles."""

Matches = Mapping[tuple[int, int], PairJudgement]
"""Comparisons of the completions of one prompt, by the indices of the two."""


class JudgeReport(BaseModel):
    """A judge, its prompt and settings, its missing judgements, its reliability and its cost."""

    model_config = ConfigDict(frozen=True)

    judge: str
    """The endpoint."""
    prompt: str
    prompt_digest: str
    num_samples: int
    temperature: float | None
    num_judgements: int
    """Judgements asked for, including those replayed from an earlier run."""
    problems: dict[str, int]
    """Missing judgements by reason; they count for neither side."""
    figures: tuple[Figure, ...]
    """Position bias and the like; see `pairwise_figures` and `pointwise_figures`."""
    spending: Spending
    """The cost of all replies in the journal, earlier runs included."""

    @classmethod
    def of(cls, model: JudgeModel, figures: Sequence[Figure]) -> Self:
        """Summarise a judge."""
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
        """Yield the report as lines of text."""
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
    """Return the reliability figures of a judge that compares.

    Args:
        prompts: The unit that each entry of `matches` belongs to, for resampling.
        matches: One entry for each item.
    """
    items = [*zip(prompts, matches, strict=True)]
    pairs = [(unit, pair) for unit, item in items for pair in item.values()]
    choices = [(unit, each.value) for unit, pair in pairs for each in (*pair.forward, *pair.backward)]
    first_wins = [(unit, float(it is Choice.FIRST)) for unit, it in choices if it in (Choice.FIRST, Choice.SECOND)]
    ties = [(unit, float(choice is Choice.TIE)) for unit, choice in choices if choice is not None]
    contradictions = [
        (unit, float(one.value is other.value is not Choice.TIE))
        for unit, pair in pairs
        for one, other in zip(pair.forward, pair.backward, strict=True)
        if one.value is not None and other.value is not None
    ]
    agreements = [
        (unit, float(one is other))
        for unit, pair in pairs
        for samples in (pair.forward, pair.backward)
        for one, other in itertools.combinations([each.value for each in samples if each.value is not None], 2)
    ]
    triples = [(unit, is_cyclic) for unit, item in items for is_cyclic in cyclic_triples(item)]
    return [
        _figure("first shown wins", first_wins, 0.5, "of judgements with a winner; position bias, if not 0.5"),
        _figure("winner goes with the order", contradictions, None, "of pairs asked in both orders"),
        _figure("ties", ties, None, "of judgements"),
        _figure("two samples agree", agreements, None, "self-consistency, on the same question"),
        _figure("cyclic triples", triples, CYCLIC_BY_CHANCE, "of three completions with a winner in each pair"),
    ]


def pointwise_figures(prompts: Sequence[str], rated: Sequence[Sequence[Rated]]) -> list[Figure]:
    """Return the reliability figures of a judge that rates.

    Args:
        prompts: The unit that each entry of `rated` belongs to, for resampling.
        rated: One entry for each item, with the ratings of all its completions.
    """
    by_completion = [
        (unit, [each.value for each in one.ratings if each.value is not None])
        for unit, item in zip(prompts, rated, strict=True)
        for one in item
    ]
    means = [(unit, float(rating.is_expected)) for unit, ratings in by_completion for rating in ratings]
    spread = [
        (unit, float(np.std([each.value for each in ratings], ddof=1)))
        for unit, ratings in by_completion
        if len(ratings) > 1
    ]
    deviation = mean([x for _, x in spread], clusters=[unit for unit, _ in spread]) if spread else None
    note = "self-consistency: standard deviation, on the scale of ratings"
    return [
        _figure("by probabilities", means, None, "of ratings: means over the probabilities of the scale"),
        Figure(name="spread of samples", table=TABLE, estimate=deviation, num_items=len(spread), note=note),
    ]


def cyclic_triples(matches: Matches) -> Iterator[float]:
    """Yield 1 for a cycle and 0 otherwise, for each three completions in which every pair has a winner."""
    wins = {}
    for (first, second), judgement in matches.items():
        if judgement.score not in (None, 0.5):
            wins[first, second] = (judgement.score or 0.0) > 0.5
            wins[second, first] = not wins[first, second]
    for a, b, c in itertools.combinations(sorted({number for pair in matches for number in pair}), 3):
        if {(a, b), (b, c), (a, c)} <= wins.keys():
            yield float(wins[a, b] == wins[b, c] == wins[c, a])


def _figure(name: str, rows: Sequence[tuple[str, float]], chance: float | None, note: str) -> Figure:
    """Return a share of values with their units; without rows it has no estimate."""
    values, units = [x for _, x in rows], [unit for unit, _ in rows]
    estimate = proportion(values, clusters=units, exact=chance is not None) if rows else None
    return Figure(name=name, table=TABLE, estimate=estimate, num_items=len(rows), chance=chance, note=note)
