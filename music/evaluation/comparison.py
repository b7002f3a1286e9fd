"""`ModelComparison`: two models on the same items, figure by figure, prompt by prompt."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from music.evaluation.benchmarks.scored import Floats
from music.evaluation.benchmarks.types import Benchmark, Item
from music.evaluation.scoring.records import ScoreSet
from music.statistics import Basis, Estimate, Figure, composite, holm, swap_p_value

__all__ = ["FigureDifference", "ModelComparison", "compare_models"]

LEVEL = 0.05


class FigureDifference(BaseModel):
    """One figure of the model, less the baseline's."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    name: str
    table: str
    value: float | None
    baseline: float | None
    estimate: Estimate | None = None
    """Of the difference, over prompts that are resampled for both at once; None where figures cannot be compared."""
    p_value: float | None = None
    """That the two do equally well; see `swap_p_value`."""
    adjusted_p_value: float | None = None
    """Adjusted for the number of differences, but for the first; see `ModelComparison.note`."""
    verdict: str
    """In words."""


class ModelComparison(BaseModel):
    """A model against a baseline, over the items that both have scores of."""

    model_config = ConfigDict(frozen=True)

    baseline: str
    """As the user named it."""
    description: str
    fingerprint: str | None
    num_items: int
    differences: tuple[FigureDifference, ...]
    """In the order of the figures."""
    note: str


def compare_models(benchmark: Benchmark, items: Sequence[Item], model: ScoreSet, baseline: ScoreSet) -> ModelComparison:
    """Compare two models by all figures of a benchmark.

    Args:
        benchmark: Whose figures.
        items: Those that both have scores of.
        model: Whose advantage is estimated.
        baseline: Over whom.

    Raises:
        InvalidInputError: The figures cannot be computed of these items.
    """
    figures, others = (benchmark.figures(items, scores.of(items)) for scores in (model, baseline))
    found = [_difference(one, other) for one, other in zip(figures, others, strict=True)]
    p_values = [difference.p_value for difference in found if difference.p_value is not None]
    adjusted = iter([*p_values[:1], *holm(p_values[1:])])
    return ModelComparison(
        baseline=baseline.header.model,
        description=baseline.header.description,
        fingerprint=baseline.header.fingerprint,
        num_items=len(items),
        differences=tuple(_judged(each, next(adjusted)) if each.p_value is not None else each for each in found),
        note=_note(len(p_values)),
    )


def _difference(one: Figure, other: Figure) -> FigureDifference:
    sides = [figure.estimate.value if figure.estimate else None for figure in (one, other)]
    difference = FigureDifference(
        name=one.name, table=one.table, value=sides[0], baseline=sides[1], verdict="not compared"
    )
    if one.basis is None or other.basis is None:
        return difference
    estimate, p_value = _tested(one.basis, other.basis)
    return difference.model_copy(update={"estimate": estimate, "p_value": p_value})


def _tested(one: Basis, other: Basis) -> tuple[Estimate, float]:
    parts, num = [*one.parts, *other.parts], len(one.parts)

    def less(means: Floats) -> Floats:
        return one.statistic(means[:, :num]) - other.statistic(means[:, num:])

    return composite(parts, less), swap_p_value(parts, less)


def _judged(difference: FigureDifference, p_value: float) -> FigureDifference:
    verdict = "within noise"
    if difference.estimate and p_value < LEVEL:
        verdict = f"{'higher' if difference.estimate.value > 0 else 'lower'}, beyond noise"
    return difference.model_copy(update={"adjusted_p_value": p_value, "verdict": verdict})


def _note(num: int) -> str:
    if num < 2:
        return "beyond noise: p < 0.05 if the two models are swapped on prompts at random"
    return (
        f"beyond noise: p < 0.05 if the two models are swapped on prompts at random; the first figure alone, the "
        f"other {num - 1} adjusted for their number (Holm). Intervals are of each figure alone"
    )
