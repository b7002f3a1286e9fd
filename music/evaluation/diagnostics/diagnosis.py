"""`diagnose` computes a `Diagnosis` from the scores of pairs and their probes; no model is needed."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from music.errors import InvalidInputError
from music.evaluation.benchmarks.types import Item
from music.evaluation.diagnostics.calibration import calibration_curve, calibration_figures
from music.evaluation.diagnostics.disagreement import Disagreement, disagree
from music.evaluation.diagnostics.distribution import distribution_figures, reward_histogram, turn_curves, turn_figures
from music.evaluation.diagnostics.history import ProbedPairs, history_figures
from music.evaluation.diagnostics.leakage import Leak, Leakage, find_leakage, leakage_figures
from music.evaluation.diagnostics.pair_set import PairSet, survey_pairs
from music.evaluation.diagnostics.scored_pairs import ScoredPairs
from music.evaluation.diagnostics.shortcuts import CONTINUITY, LENGTH, follow_shortcut
from music.evaluation.result import Exclusion, exclusions, require_differences, scored_by_all
from music.evaluation.scoring.records import ScoreSet, require_scored
from music.pairs import PreferencePair
from music.report.points import Curve, Histogram
from music.statistics import Figure

__all__ = ["Diagnosis", "ModelDiagnosis", "diagnose"]

LEVEL = 0.05


class ModelDiagnosis(BaseModel):
    """The diagnosis of one reward model."""

    model_config = ConfigDict(frozen=True)

    model: str
    """The name that the user gave."""
    description: str
    fingerprint: str | None
    num_pairs: int
    """The number of pairs that the figures are computed from."""
    figures: tuple[Figure, ...]
    """Accuracy first; then by `Figure.table`: length, continuity, turns, history, calibration, distribution, and the
    training set if one was given."""
    curves: tuple[Curve, ...]
    histograms: tuple[Histogram, ...]
    note: str
    """The number of verdicts, and how many chance alone would put beyond noise."""
    exclusions: tuple[Exclusion, ...]
    """The pairs and probes without a score."""
    num_truncated: int
    """The number of conversations, probes included, that were scored without their oldest exchanges."""
    seconds: float
    """The time that scoring took; 0 if all scores were read from a file."""


class Diagnosis(BaseModel):
    """The diagnosis of a set of pairs, and of the models that have scored it."""

    model_config = ConfigDict(frozen=True)

    files: tuple[str, ...]
    pair_set: PairSet
    num_pairs_of_all: int | None = None
    """The number of pairs before some prompts were drawn; None if all were used."""
    leakage: Leakage | None
    """None if no training set was given."""
    models: tuple[ModelDiagnosis, ...]
    disagreement: Disagreement | None
    """None for fewer than two models."""
    exclusions: tuple[Exclusion, ...]
    """The rows that gave no pair."""
    versions: dict[str, str]
    """The versions of the packages that computed the scores."""


def diagnose(
    probed: ProbedPairs,
    scores: Sequence[ScoreSet],
    *,
    train: Iterable[PreferencePair] | None = None,
    files: Sequence[str] = (),
    num_pairs_of_all: int | None = None,
    strict: bool = True,
) -> Diagnosis:
    """Diagnose a set of pairs and the models that have scored it.

    Args:
        probed: The pairs and their probes.
        scores: The scores of `probed.scored`, one set for each model; none to diagnose the pairs alone.
        train: The pairs that the models were trained on, to look for leakage.
        files: The files that the pairs come from, for the record.
        num_pairs_of_all: The number of pairs before some prompts were drawn, for the record.
        strict: Whether a conversation without a score is an error. Otherwise its pair, or probe, is counted and left
            out.

    Raises:
        UnscoredError: A conversation has no score, and `strict`.
        InvalidInputError: Two models have the same name, a model's scores are all the same, or no pair is left.
    """
    names = [each.header.model for each in scores]
    if repeated := [name for number, name in enumerate(names) if name in names[:number]]:
        raise InvalidInputError(f"expected models with different names, got {repeated[0]!r} twice")
    for each in scores:
        if strict:
            require_scored(each.rows.values())
        require_differences(each)
    pairs = probed.items.items
    leak = find_leakage(pairs, train) if train is not None else None
    return Diagnosis(
        files=tuple(files),
        pair_set=survey_pairs(pairs),
        num_pairs_of_all=num_pairs_of_all,
        leakage=leak.leakage if leak else None,
        models=tuple(_of_model(probed, each, leak) for each in scores),
        disagreement=_disagreement(pairs, scores) if len(scores) > 1 else None,
        exclusions=tuple(exclusions(probed.items.rejected, ())),
        versions=scores[0].header.versions if scores else {},
    )


def _of_model(probed: ProbedPairs, scores: ScoreSet, leak: Leak | None) -> ModelDiagnosis:
    """Diagnose one model."""
    by_id = scores.of(scored_by_all(probed.scored.items, [scores]))
    pairs = ScoredPairs(scored_by_all(probed.items.items, [scores]), by_id)
    truncated = {id: row.num_truncated for id, row in scores.rows.items() if row.num_truncated}
    history = history_figures(pairs, probed, by_id, truncated)
    figures, curves = _figures(pairs, history, leak)
    num_verdicts = sum("noise" in figure.note for figure in figures)
    return ModelDiagnosis(
        model=scores.header.model,
        description=scores.header.description,
        fingerprint=scores.header.fingerprint,
        num_pairs=len(pairs.items),
        figures=tuple(figures),
        curves=tuple(curves),
        histograms=(reward_histogram(pairs),),
        note=f"{num_verdicts} figures are called beyond or within noise, none corrected for their number: chance alone "
        f"puts about {num_verdicts * LEVEL:.1f} beyond it",
        exclusions=tuple(_unscored(probed, scores)),
        num_truncated=sum(truncated.values()),
        seconds=scores.seconds,
    )


def _figures(pairs: ScoredPairs, history: Sequence[Figure], leak: Leak | None) -> tuple[list[Figure], list[Curve]]:
    """Return all figures, in the order of the report, and all curves."""
    several = pairs.subset(np.array([min(side.num_turns for side in item.completions) > 1 for item in pairs.items]))
    length, length_curves = follow_shortcut(pairs, LENGTH)
    continuity, continuity_curves = follow_shortcut(several, CONTINUITY) if several else ([], [])
    figures = [pairs.accuracy("accuracy", "overall"), *length, *continuity, *turn_figures(pairs)]
    figures += [*history, *calibration_figures(pairs), *distribution_figures(pairs)]
    figures += leakage_figures(pairs, leak) if leak else ()
    return figures, [*length_curves, *continuity_curves, *turn_curves(pairs), calibration_curve(pairs)]


def _unscored(probed: ProbedPairs, scores: ScoreSet) -> Iterator[Exclusion]:
    """Yield the pairs without a score, then the probes without one."""
    ids = {item.id for item in probed.items.items}
    yield from exclusions((), (row for id, row in scores.rows.items() if id in ids))
    for each in exclusions((), (row for id, row in scores.rows.items() if id not in ids)):
        yield each.model_copy(update={"stage": "probing"})


def _disagreement(pairs: Sequence[Item], scores: Sequence[ScoreSet]) -> Disagreement:
    """Compare the models on the pairs that all of them have scored."""
    shared = scored_by_all(pairs, scores)
    return disagree({each.header.model: ScoredPairs(shared, each.of(shared)) for each in scores})
