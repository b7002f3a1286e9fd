"""`ModelComparison` compares two models on the same items, figure by figure."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from music.evaluation.benchmarks.scored import Floats
from music.evaluation.benchmarks.types import Benchmark, Item
from music.evaluation.scoring.records import ScoreSet
from music.statistics import Estimate, Figure, composite, holm, swap_p_value

__all__ = ["FigureDifference", "ModelComparison", "compare_models"]

LEVEL = 0.05


class FigureDifference(BaseModel):
    """The difference between the model and the baseline in one figure."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    name: str
    table: str
    value: float | None
    baseline: float | None
    estimate: Estimate | None = None
    """The difference. The same prompts are resampled for both models; None if the figures cannot be compared."""
    p_value: float | None = None
    """The p value of the hypothesis that both models do equally well; see `swap_p_value`."""
    adjusted_p_value: float | None = None
    """The p value adjusted for the number of differences, except for the first; see `ModelComparison.note`."""
    verdict: str
    """The result of the test in words."""


class ModelComparison(BaseModel):
    """The comparison of a model with a baseline, on the items that both have scored."""

    model_config = ConfigDict(frozen=True)

    baseline: str
    """The name that the user gave."""
    description: str
    fingerprint: str | None
    num_items: int
    differences: tuple[FigureDifference, ...]
    """One for each figure, in their order."""
    note: str


def compare_models(benchmark: Benchmark, items: Sequence[Item], model: ScoreSet, baseline: ScoreSet) -> ModelComparison:
    """Compare two models by all figures of a benchmark.

    Args:
        benchmark: The benchmark that defines the figures.
        items: The items that both models have scored, and those without completions.
        model: The scores of the model.
        baseline: The scores of the baseline.

    Raises:
        InvalidInputError: The figures cannot be computed from these items.
    """
    figures, others = (benchmark.figures(items, scores.of(items)) for scores in (model, baseline))
    found = [_difference(one, other) for one, other in zip(figures, others, strict=True)]
    p_values = [difference.p_value for difference in found if difference.p_value is not None]
    adjusted = iter([*p_values[:1], *holm(p_values[1:])])
    note = "beyond noise: p < 0.05 if the two models are swapped on prompts at random"
    if len(p_values) > 1:
        note += (
            f"; the first figure alone, the other {len(p_values) - 1} adjusted for their number (Holm). Intervals are "
            "of each figure alone"
        )
    return ModelComparison(
        baseline=baseline.header.model,
        description=baseline.header.description,
        fingerprint=baseline.header.fingerprint,
        num_items=sum(bool(item.completions) for item in items),
        differences=tuple(_judged(each, next(adjusted)) if each.p_value is not None else each for each in found),
        note=note,
    )


def _difference(one: Figure, other: Figure) -> FigureDifference:
    sides = [figure.estimate.value if figure.estimate else None for figure in (one, other)]
    difference = FigureDifference(
        name=one.name, table=one.table, value=sides[0], baseline=sides[1], verdict="not compared"
    )
    if one.basis is None or other.basis is None:
        return difference
    first, second = one.basis, other.basis
    parts, num = [*first.parts, *second.parts], len(first.parts)

    def less(means: Floats) -> Floats:
        return first.statistic(means[:, :num]) - second.statistic(means[:, num:])

    update = {"estimate": composite(parts, less), "p_value": swap_p_value(parts, less)}
    return difference.model_copy(update=update)


def _judged(difference: FigureDifference, p_value: float) -> FigureDifference:
    verdict = "within noise"
    if difference.estimate and p_value < LEVEL:
        verdict = f"{'higher' if difference.estimate.value > 0 else 'lower'}, beyond noise"
    return difference.model_copy(update={"adjusted_p_value": p_value, "verdict": verdict})
