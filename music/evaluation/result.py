"""`evaluate` computes an `EvaluationResult` from scores: the figures, and what was left out of them."""

from collections.abc import Iterable, Iterator, Sequence

from pydantic import BaseModel, ConfigDict

from music.errors import InvalidInputError
from music.evaluation.benchmarks.types import Benchmark, Item, ItemSet, RejectedItem
from music.evaluation.comparison import ModelComparison, compare_models
from music.evaluation.scoring.records import ItemScores, ScoreSet, require_scored
from music.judges.reliability import JudgeReport
from music.statistics import Figure

__all__ = ["EvaluationResult", "Exclusion", "evaluate", "exclusions", "require_differences", "scored_by_all"]


class Exclusion(BaseModel):
    """The rows or items that were left out for one reason."""

    model_config = ConfigDict(frozen=True)

    stage: str
    """`reading` (rows of files), `scoring` (items), `probing` (changed items), or `judging` (items that are ties)."""
    reason: str
    num: int
    example: str
    """The first one: its file and place, or its id."""


class EvaluationResult(BaseModel):
    """The figures of a model on a benchmark, as they are printed, saved and plotted."""

    model_config = ConfigDict(frozen=True)

    benchmark: str
    source: str
    """The origin of the benchmark."""
    files: tuple[str, ...]
    model: str
    """The name that the user gave."""
    description: str
    fingerprint: str | None
    figures: tuple[Figure, ...]
    """The figures, the headline first."""
    num_items: int
    """The number of items that the figures are computed from."""
    num_items_of_all: int | None = None
    """The number of items before some prompts were drawn; None if all were used."""
    num_completions: int
    num_truncated: int
    """The number of completions that were scored without their oldest exchanges."""
    exclusions: tuple[Exclusion, ...]
    comparison: ModelComparison | None = None
    judge: JudgeReport | None = None
    """The reliability of the judge, if a judge gave the scores."""
    seconds: float
    """The time that scoring took; 0 if all scores were read from a file."""
    versions: dict[str, str]
    """The versions of the packages that computed the scores."""


def evaluate(
    benchmark: Benchmark,
    items: ItemSet,
    scores: ScoreSet,
    *,
    baseline: ScoreSet | None = None,
    files: Sequence[str] = (),
    num_items_of_all: int | None = None,
    strict: bool = True,
) -> EvaluationResult:
    """Compute a benchmark's figures from scores; no model is needed.

    Args:
        benchmark: The benchmark that defines the figures.
        items: The items that were scored.
        scores: The model's scores.
        baseline: The scores of another model, to compare with.
        files: The files that the items come from, for the record.
        num_items_of_all: The number of items before some prompts were drawn, for the record.
        strict: Whether a completion without a score is an error. Otherwise such items are counted. Those of a model are
            left out. Those of a judge are ties, so that a judge gains nothing by a missing judgement.

    Raises:
        UnscoredError: A completion has no score, and `strict`.
        InvalidInputError: The scores distinguish no completions of any item, no item is left, or the figures cannot be
            computed.

    Example:
        >>> from music.evaluation import load_benchmark, load_scored_model, read_benchmark, score_items
        >>> from music.preferences import write_preferences
        >>> from music.sandbox.world.seeds import seed_pairs
        >>> write_preferences(seed_pairs(20, 0), "pairs.jsonl")
        20
        >>> benchmark = load_benchmark("preferences")
        >>> items = read_benchmark(benchmark, ["pairs.jsonl"])
        >>> result = evaluate(benchmark, items, score_items(items, load_scored_model("oracle")))
        >>> print(result.figures[0].estimate)
        0.850 [0.640, 0.948]
    """
    for each in filter(None, (scores, baseline)):
        _require_usable(each, strict=strict)
    header, counted = scores.header, _with_ties(scores)
    usable = scored_by_all(items.items, [counted])
    rows = [counted.rows[item.id] for item in usable]
    return EvaluationResult(
        benchmark=items.benchmark,
        source=benchmark.source,
        files=tuple(files),
        model=header.model,
        description=header.description,
        fingerprint=header.fingerprint,
        figures=(
            *benchmark.figures([*usable, *items.unscorable], counted.of(usable)),
            *_of_one_order(benchmark, items, scores),
        ),
        num_items=len(usable),
        num_items_of_all=num_items_of_all,
        num_completions=sum(len(row.scores) for row in rows),
        num_truncated=sum(row.num_truncated for row in rows),
        exclusions=_exclusions(items, scores),
        comparison=_compare(benchmark, items, counted, _with_ties(baseline)) if baseline else None,
        judge=scores.judge,
        seconds=scores.seconds,
        versions=header.versions,
    )


def _require_usable(scores: ScoreSet, *, strict: bool) -> None:
    """Refuse scores that make every comparison a tie and, if `strict`, missing ones."""
    if strict:
        require_scored(scores.rows.values())
    require_differences(scores)


def _with_ties(scores: ScoreSet) -> ScoreSet:
    """Return the scores as they count: what a judge could not judge is a tie."""
    return scores.with_ties() if scores.header.is_judge else scores


def _of_one_order(benchmark: Benchmark, items: ItemSet, scores: ScoreSet) -> list[Figure]:
    """Return the headline if a pair that a judge judged in one order only counts by that order."""
    num = sum(bool(row.partial) for row in scores.rows.values())
    if not num:
        return []
    partial = scores.with_partial()
    usable = scored_by_all(items.items, [partial])
    headline = benchmark.figures([*usable, *items.unscorable], partial.of(usable))[0]
    note = (
        f"{num} items lack a judgement and count by the others, as in JudgeBench's own code; the judge may gain by it"
    )
    return [headline.model_copy(update={"table": "missing judgements", "note": note})]


def _exclusions(items: ItemSet, scores: ScoreSet) -> tuple[Exclusion, ...]:
    rows = [scores.rows[item.id] for item in items.items]
    return tuple(exclusions(items.rejected, rows, is_judge=scores.header.is_judge))


def _compare(benchmark: Benchmark, items: ItemSet, scores: ScoreSet, baseline: ScoreSet) -> ModelComparison:
    shared = scored_by_all(items.items, [scores, baseline])
    return compare_models(benchmark, [*shared, *items.unscorable], scores, baseline)


def scored_by_all(items: Sequence[Item], sets: Sequence[ScoreSet]) -> list[Item]:
    """Return the items that have a score in every set.

    Raises:
        InvalidInputError: No item has.
    """
    usable = [item for item in items if all(scores.rows[item.id].problem is None for scores in sets)]
    if not usable:
        names = " and ".join(scores.header.model for scores in sets)
        raise InvalidInputError(f"{sets[0].header.benchmark}: expected items that {names} can score, got none")
    return usable


def require_differences(scores: ScoreSet) -> None:
    """Refuse scores that make every comparison a tie.

    Raises:
        InvalidInputError: Within each item, all scores are the same.
    """
    rows = [row.scores for row in scores.rows.values() if row.problem is None and len(row.scores) > 1]
    if rows and all(len(set(row)) == 1 for row in rows):
        raise InvalidInputError(
            f"{scores.header.model}: expected scores that differ, got the same for all completions of every item "
            f"({rows[0][0]} in the first); is its head trained, and is it meant for this kind of text?"
        )


def exclusions(
    rejected: Iterable[RejectedItem], rows: Iterable[ItemScores], *, is_judge: bool = False
) -> Iterator[Exclusion]:
    """Yield what was left out, by reason, in the order in which the reasons first appear.

    Args:
        rejected: Rows of files.
        rows: The scores of items.
        is_judge: Whether a judge gave the scores; an item without a score then is a tie, and not left out.
    """
    stage = "judging" if is_judge else "scoring"
    found: dict[tuple[str, str], list[str]] = {}
    for row in rejected:
        detail = f": {row.detail}" if row.detail else ""
        found.setdefault(("reading", row.reason), []).append(f"{row.file}, {row.place}{detail}")
    for scored in rows:
        if scored.problem is not None:
            example = f"{scored.id}: {scored.detail}" if scored.detail else scored.id
            found.setdefault((stage, scored.problem), []).append(example)
    for (where, reason), examples in found.items():
        yield Exclusion(stage=where, reason=reason, num=len(examples), example=examples[0])
