"""A diagnosis for people: a table of figures for each model, then what was found of the pairs, in words."""

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from music.evaluation.diagnostics.disagreement import Disagreement
from music.evaluation.diagnostics.leakage import Leakage
from music.evaluation.diagnostics.records import Diagnosis, ModelDiagnosis
from music.evaluation.tables import figure_table
from music.statistics import PairedComparison

__all__ = ["family_note", "leakage_account", "model_account", "pair_account", "show_diagnosis"]

SHOWN_MATCHES = 3
SMALLEST_P = 0.0001


def show_diagnosis(diagnosis: Diagnosis) -> RenderableType:
    """Lay a diagnosis out: the pairs, each model, the models together."""
    shown: list[RenderableType] = [figure_table("pairs", diagnosis.pair_set.figures)]
    shown += map(Text, pair_account(diagnosis))
    shown += map(Text, leakage_account(diagnosis.leakage)) if diagnosis.leakage else ()
    for model in diagnosis.models:
        shown += [Text(), figure_table(model.model, model.figures), *map(Text, model_account(model))]
    if diagnosis.disagreement is not None:
        shown += [Text(), *_together(diagnosis.disagreement)]
    return Group(*shown)


def pair_account(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield what the pairs are, in sentences."""
    found = diagnosis.pair_set
    twice = found.duplicates
    yield f"{found.num_pairs} pairs of {found.num_prompts} seeds, {found.num_multi_turn} of several turns"
    yield (
        f"duplicates: {twice.num_repeated} pairs repeated, {twice.num_contradicted} also the other way round, "
        f"{twice.num_same_seed} with the seed of an earlier one, {twice.num_near_seed} seeds nearly an earlier one"
    )
    if diagnosis.num_pairs_of_all is not None:
        yield f"a draw of prompts from {diagnosis.num_pairs_of_all} pairs"
    yield from (f"left out in reading: {each.num} for {each.reason}" for each in diagnosis.exclusions)


def leakage_account(found: Leakage) -> Iterator[str]:
    """Yield what of the pairs the training set has, in sentences."""
    yield (
        f"against {found.num_train_pairs} training pairs of {found.num_train_prompts} seeds: {found.num_same_seed} "
        f"pairs share a seed, {found.num_near_seed} more nearly do, {found.num_same_side} share a side, "
        f"{found.num_same_pair} are the same, {found.num_swapped_pair} the other way round"
    )
    for match in found.examples[:SHOWN_MATCHES]:
        yield f"  {match.similarity:.2f} {match.id}: {match.text!r} ~ {match.other_id}: {match.other_text!r}"


def model_account(model: ModelDiagnosis) -> Iterator[str]:
    """Yield what a model's figures rest on, and what they do not, in sentences."""
    yield f"{model.num_pairs} pairs; {model.description}" if model.description else f"{model.num_pairs} pairs"
    yield model.note
    for each in model.exclusions:
        yield f"left out in {each.stage}: {each.num} for {each.reason} (first: {each.example})"
    if model.num_truncated:
        yield f"{model.num_truncated} conversations were scored without their oldest exchanges"
    if model.seconds:
        yield f"scored in {model.seconds:.1f} s"


def _together(found: Disagreement) -> list[RenderableType]:
    table = Table(title="accuracy, every two models", title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.add_column("")
    for column in ("difference", "p", "adjusted p", "smallest found"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    for comparison in found.comparisons:
        table.add_row(*map(Text, _compared(comparison)))
    figures = figure_table(f"together, on the {found.num_pairs} pairs that all have scored", found.figures)
    return [table, Text(family_note(found)), Text(), figures]


def family_note(found: Disagreement) -> str:
    """Say how the comparisons of every two models are to be read."""
    return (
        f"comparisons: {len(found.comparisons)}, as one family; p by sign flips of whole prompts, adjusted by Holm's "
        "method. Smallest found: the true difference that one such comparison would find four times in five."
    )


def _compared(found: PairedComparison) -> tuple[str, ...]:
    return (
        f"{found.first} less {found.second}",
        f"{'+' if found.estimate.value >= 0 else ''}{found.estimate}",
        _p(found.p_value),
        _p(found.adjusted_p_value),
        f"{found.minimum_detectable:.3f}",
        found.verdict,
    )


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= SMALLEST_P else f"<{SMALLEST_P}"
