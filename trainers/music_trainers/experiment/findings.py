"""The results of an experiment in sentences: the verdict on each hypothesis, and the limits of all other figures."""

from collections.abc import Iterator

from music.report import compact
from music.report.table import p_text
from music_trainers.experiment.hypotheses import HypothesisResult
from music_trainers.experiment.records import ExperimentResult

__all__ = ["findings"]

LEVEL = 0.05
"""Exploratory p values below it are counted."""


def findings(result: ExperimentResult) -> Iterator[str]:
    """Yield the findings in the order of reading."""
    seeds = " ".join(map(str, result.grid.seeds))
    if result.grid.is_look:
        yield (
            f"This is a look: seeds {seeds} were used to choose settings and hypotheses. No hypothesis is tested on "
            "them, and the test does not use them."
        )
    if result.failures:
        yield f"{len(result.failures)} of {len(result.grid.runs())} cells failed and are left out."
    yield from map(_verdict, result.hypotheses)
    yield from _readouts(result)
    yield from _exploratory(result)
    yield (
        f"Intervals cover the draw of the training pairs and their order (seeds {seeds}) and the test prompts. They do "
        "not cover another starting model, or pairs and prompts from elsewhere."
    )


def _verdict(result: HypothesisResult) -> str:
    """Return the verdict on a hypothesis with its figures."""
    hypothesis = result.hypothesis
    start = f"{result.name} is {result.verdict} ({hypothesis.statement.rstrip('.')}): {result.reason}"
    if result.estimate is None:
        return f"{start}."
    return (
        f"{start}. {hypothesis.arm} - {hypothesis.control} in {hypothesis.measure}, read with {hypothesis.readout}: "
        f"{compact(result.estimate, '+')}, adjusted p {p_text(result.adjusted_p_value)}."
    )


def _readouts(result: ExperimentResult) -> Iterator[str]:
    """Yield how the chosen readouts did on the confirmation half."""
    if not result.readouts:
        return
    clear = [each.estimate.value for each in result.readouts if each.estimate and (each.p_value or 0.0) < LEVEL]
    num_others = sum(each.estimate is not None for each in result.readouts)
    yield (
        f"Readouts: the development half chooses another one than `last` in {num_others} of {len(result.readouts)} "
        f"cases (an arm and a measure). On the confirmation half the chosen one is higher with p < {LEVEL} in "
        f"{sum(value > 0 for value in clear)} of these, and lower in {sum(value < 0 for value in clear)}."
    )


def _exploratory(result: ExperimentResult) -> Iterator[str]:
    """Yield how many comparisons no hypothesis declares, and how many of them chance alone would call significant."""
    of_readouts = [each.p_value for each in result.readouts if each.p_value is not None]
    p_values = [each.p_value for each in result.differences] + of_readouts
    if p_values:
        yield (
            f"{len(result.differences)} differences of arms and {len(of_readouts)} of readouts are exploratory: no "
            f"hypothesis declares them, and their p values are not adjusted. {sum(p < LEVEL for p in p_values)} of "
            f"{len(p_values)} have p < {LEVEL}. By chance alone about {LEVEL * len(p_values):.0f} would."
        )
