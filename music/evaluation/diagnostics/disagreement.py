"""Several models, or training seeds of one, on the same pairs: which is better, and where they agree.

Every two models are compared by accuracy; all comparisons are one family (Holm). The ensemble's reward is the mean of
the models' rewards, each in its own standard deviations.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from pydantic import BaseModel, ConfigDict

from music.evaluation.diagnostics.scored_pairs import Floats, ScoredPairs
from music.report.points import Curve
from music.statistics import Figure, PairedComparison, compare_all, crossed_proportion

__all__ = ["Disagreement", "disagree"]

TABLE = "several models"


class Disagreement(BaseModel):
    """The comparison of several models on the same pairs."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    models: tuple[str, ...]
    num_pairs: int
    """The number of pairs that all models have scored."""
    comparisons: tuple[PairedComparison, ...]
    """The accuracies of every two models, compared as one family; p values are adjusted by Holm's method."""
    figures: tuple[Figure, ...]
    curves: tuple[Curve, ...]


def disagree(models: Mapping[str, ScoredPairs]) -> Disagreement:
    """Compare models that have scored the same pairs, in the same order.

    Args:
        models: At least two models' scored pairs, by the name of the model.
    """
    each = list(models.values())
    first, hits = each[0], np.array([pairs.hits for pairs in each])
    margins = np.array([pairs.margins / (float(pairs.rewards.std()) or 1.0) for pairs in each])
    means = np.mean([pairs.standardised for pairs in each], axis=0).tolist()
    ensemble = ScoredPairs(first.items, {item.id: row for item, row in zip(first.items, means, strict=True)})
    spread: Floats = margins.std(axis=0)
    x = "standard deviation of the models' margins, each in its own standard deviations"
    return Disagreement(
        models=tuple(models),
        num_pairs=hits.shape[1],
        comparisons=compare_all(dict(zip(models, hits, strict=True)), clusters=first.prompts),
        figures=(*_together(ensemble, hits), *_agreement(ensemble, margins), *_by_two(list(models), first, margins)),
        curves=(ensemble.accuracy_curve("ensemble accuracy by disagreement", TABLE, x, spread),),
    )


def _together(ensemble: ScoredPairs, hits: Floats) -> list[Figure]:
    """Return the mean accuracy, the ensemble's accuracy, and their difference."""
    everywhere = np.ones(hits.shape[1], bool)
    gain = [(ensemble.hits, everywhere), (np.asarray(hits.mean(axis=0)), everywhere)]
    mean = Figure(
        name="mean accuracy",
        table=TABLE,
        estimate=crossed_proportion(hits, clusters=ensemble.prompts.tolist()),
        num_items=hits.shape[1],
        note="interval over prompts and models, which count as draws of one recipe",
    )
    return [
        mean,
        ensemble.accuracy("accuracy of the ensemble", TABLE),
        ensemble.of_means("ensemble less mean", TABLE, gain, lambda means: means[:, 0] - means[:, 1], null=0.0),
    ]


def _agreement(ensemble: ScoredPairs, margins: Floats) -> list[Figure]:
    """Return how often all models rank alike, and the ensemble's accuracy where they do and where they do not."""
    alike = (np.sign(margins) == np.sign(margins[0])).all(axis=0)
    return [
        ensemble.share("all rank alike", TABLE, alike.astype(float)),
        ensemble.accuracy("where all rank alike", TABLE, alike),
        ensemble.accuracy("where they disagree", TABLE, ~alike, note="of the ensemble"),
    ]


def _by_two(names: Sequence[str], pairs: ScoredPairs, margins: Floats) -> list[Figure]:
    """Return for every two models how often they rank alike, and the rank correlation of their margins."""
    figures: list[Figure] = []
    for one, two in combinations(range(len(names)), 2):
        alike = np.sign(margins[one]) == np.sign(margins[two])
        name = f"{names[one]} and {names[two]}"
        figures.append(pairs.share(f"{name}: ranked alike", TABLE, alike.astype(float)))
        figures.append(
            pairs.correlation(f"{name}: margins", TABLE, margins[one], margins[two], note="rank correlation")
        )
    return figures
