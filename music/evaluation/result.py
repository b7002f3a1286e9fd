"""`evaluate`: scores to an `EvaluationResult`: the figures, and an account of what they do not rest on."""

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
    """What was left out for one reason."""

    model_config = ConfigDict(frozen=True)

    stage: str
    """`reading` (rows of files), `scoring` (items) or `probing` (changed items)."""
    reason: str
    num: int
    example: str
    """The first: its file and place, or its id."""


class EvaluationResult(BaseModel):
    """The figures of a model's scores of a benchmark; it is printed, saved and drawn."""

    model_config = ConfigDict(frozen=True)

    benchmark: str
    source: str
    """Where the benchmark is from."""
    files: tuple[str, ...]
    model: str
    """As the user named it."""
    description: str
    fingerprint: str | None
    figures: tuple[Figure, ...]
    """The headline first."""
    num_items: int
    """That the figures rest on."""
    num_items_of_all: int | None = None
    """Before prompts were drawn from them; None if none were."""
    num_completions: int
    num_truncated: int
    """Completions whose score does not see their oldest exchanges."""
    exclusions: tuple[Exclusion, ...]
    comparison: ModelComparison | None = None
    judge: JudgeReport | None = None
    """Who gave the scores, where that was a judge, and how far it can be trusted."""
    seconds: float
    """Of scoring; 0 where all scores were there."""
    versions: dict[str, str]
    """Of the packages that the scores were taken with."""


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
        benchmark: Whose figures.
        items: What was scored.
        scores: The model's.
        baseline: Of another model, to compare with.
        files: That the items are from, for the record.
        num_items_of_all: Where only some prompts were drawn: the items of all, for the record.
        strict: Whether a completion without a score is an error; otherwise such items are counted and left out.

    Raises:
        UnscoredError: A completion has no score, and `strict`.
        InvalidInputError: The scores distinguish no completions of any item, no item is left, or the figures cannot be
            computed.

    Example:
        >>> from music.evaluation import load_benchmark, load_scored_model, read_benchmark, score_items
        >>> from music.preferences import write_preferences
        >>> from music.sandbox.world.seeds import seed_pairs
        >>> write_preferences(seed_pairs(20, 0), "/tmp/music-evaluated.jsonl")
        20
        >>> benchmark = load_benchmark("preferences")
        >>> items = read_benchmark(benchmark, ["/tmp/music-evaluated.jsonl"])
        >>> result = evaluate(benchmark, items, score_items(items, load_scored_model("oracle")))
        >>> print(result.figures[0].estimate)
        0.850 [0.640, 0.948]
    """
    both = [scores] if baseline is None else [scores, baseline]
    for each in both:
        if strict:
            require_scored(each.rows.values())
        require_differences(each)
    usable = scored_by_all(items.items, [scores])
    header, rows = scores.header, [scores.rows[item.id] for item in usable]
    return EvaluationResult(
        benchmark=items.benchmark,
        source=benchmark.source,
        files=tuple(files),
        model=header.model,
        description=header.description,
        fingerprint=header.fingerprint,
        figures=tuple(benchmark.figures(usable, scores.of(usable))),
        num_items=len(usable),
        num_items_of_all=num_items_of_all,
        num_completions=sum(len(row.scores) for row in rows),
        num_truncated=sum(row.num_truncated for row in rows),
        exclusions=tuple(exclusions(items.rejected, (scores.rows[item.id] for item in items.items))),
        comparison=compare_models(benchmark, scored_by_all(items.items, both), *both) if len(both) == 2 else None,
        judge=scores.judge,
        seconds=scores.seconds,
        versions=header.versions,
    )


def scored_by_all(items: Sequence[Item], sets: Sequence[ScoreSet]) -> list[Item]:
    """Return the items that have a score in every set.

    Raises:
        InvalidInputError: There are none.
    """
    usable = [item for item in items if all(scores.rows[item.id].problem is None for scores in sets)]
    if not usable:
        names = " and ".join(scores.header.model for scores in sets)
        raise InvalidInputError(f"{sets[0].header.benchmark}: expected items that {names} can score, got none")
    return usable


def require_differences(scores: ScoreSet) -> None:
    """Refuse scores that are the same for all completions of every item: every comparison would be a tie.

    Raises:
        InvalidInputError: They are all the same within each item.
    """
    rows = [row.scores for row in scores.rows.values() if row.problem is None]
    if rows and all(len(set(row)) == 1 for row in rows):
        raise InvalidInputError(
            f"{scores.header.model}: expected scores that differ, got the same for all completions of every item "
            f"({rows[0][0]} in the first); is its head trained, and is it meant for this kind of text?"
        )


def exclusions(rejected: Iterable[RejectedItem], rows: Iterable[ItemScores]) -> Iterator[Exclusion]:
    """Yield what was left out, by reason, in the order in which the reasons first come."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rejected:
        detail = f": {row.detail}" if row.detail else ""
        found.setdefault(("reading", row.reason), []).append(f"{row.file}, {row.place}{detail}")
    for scored in rows:
        if scored.problem is not None:
            example = f"{scored.id}: {scored.detail}" if scored.detail else scored.id
            found.setdefault(("scoring", scored.problem), []).append(example)
    for (stage, reason), examples in found.items():
        yield Exclusion(stage=stage, reason=reason, num=len(examples), example=examples[0])
