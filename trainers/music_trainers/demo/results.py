"""The result of the demo: its records, figures with intervals, and findings in sentences."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from music.sandbox.world.defects import ERROR_GROUPS
from music.statistics import Estimate, accuracy, describe, paired_difference, proportion
from music_envs import compare_grades, mean_grade
from music_trainers.arms import GREEDY_CANDIDATES, NUM_CANDIDATES, Measures
from music_trainers.demo.config import DemoConfig

__all__ = ["CONTROL", "PREFIX_MEAN", "BestOfNRow", "DefectAccuracy", "DefectGain", "DemoResult", "TrainedArm"]
__all__ += ["best_of_n_rows", "defect_accuracies", "defect_gains", "describe_results"]

CONTROL = "last-turn"
"""The arm with which all others are compared."""
PREFIX_MEAN = "last-turn, prefix mean"
"""The control without training: the last-turn model's rewards, averaged over the turn prefixes."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")


class TrainedArm(_Record):
    """One reward model: its training data and its training figures."""

    name: str
    """`last-turn`, `music` or `mixture`."""
    description: str
    num_pairs: int
    num_steps: int
    num_tokens: int
    seconds: float
    loss: float
    """Mean Bradley-Terry loss over the last tenth of the steps."""


class DefectAccuracy(_Record):
    """How often a model ranks the flawless side above the side with a defect."""

    model: str
    """Arm, or `last-turn, prefix mean`."""
    group: str
    """`relevance`, `count` or `standing`."""
    turn: int
    """The turn that holds the defect, from 1."""
    estimate: Estimate


class DefectGain(_Record):
    """How much better than the last-turn model a model ranks defects of a kind."""

    model: str
    group: str
    place: Literal["before the last turn", "in the last turn"]
    """The turns that hold the defects."""
    difference: Estimate
    """Paired difference of the accuracies."""
    finding: str
    """The difference in words."""


class BestOfNRow(_Record):
    """The Best-of-N result of one selector."""

    selector: str
    protocol: str
    """`greedy` (the paper's, per turn) or `whole` (among finished conversations)."""
    num_candidates: int
    score: Estimate
    """Mean oracle score of the selected conversations, in [0, 1]."""
    difference: Estimate | None
    """Paired difference to the last-turn model; None for that model itself."""
    finding: str
    """The difference in words; empty for the last-turn model."""


class DemoResult(_Record):
    """The result of the demo, `demo.json` in the output folder."""

    config: DemoConfig
    arms: list[TrainedArm]
    defects: list[DefectAccuracy]
    gains: list[DefectGain]
    single_turn: dict[str, Estimate]
    """Accuracy on held-out single-turn pairs, by model (`start` is the shipped starting model)."""
    best_of_n: list[BestOfNRow]
    findings: list[str]
    """The conclusions in sentences, computed from the figures."""
    num_calls: int
    """Calls to the simulated language models over HTTP."""
    seconds: dict[str, float]
    """Wall time of each phase."""
    versions: dict[str, str]


def defect_accuracies(measures: Mapping[str, Measures]) -> list[DefectAccuracy]:
    """Estimate each model's accuracy by group and turn of the defect."""
    return [
        DefectAccuracy(model=name, group=group, turn=turn + 1, estimate=accuracy(margins, [0.0] * len(margins)))
        for name, measured in measures.items()
        for (group, turn), margins in measured.margins.items()
    ]


def best_of_n_rows(measures: Mapping[str, Measures]) -> list[BestOfNRow]:
    """Estimate each selector's Best-of-N, and its difference to the last-turn model's."""
    protocols = [("greedy", GREEDY_CANDIDATES), *(("whole", n) for n in NUM_CANDIDATES)]
    return [
        _row(name, protocol, number, _grades(measured, protocol, number), _grades(measures[CONTROL], protocol, number))
        for protocol, number in protocols
        for name, measured in measures.items()
    ]


def defect_gains(measures: Mapping[str, Measures]) -> list[DefectGain]:
    """Compare each model with the control on each kind of defect, before the last turn and in it."""
    control = measures[CONTROL]
    return [
        DefectGain(model=name, group=group, place=place, difference=found, finding=describe(found))
        for group in ERROR_GROUPS
        for name, measured in measures.items()
        if name != CONTROL
        for place, turns in (("before the last turn", _early(control)), ("in the last turn", _last(control)))
        for found in [paired_difference(_hits(measured, [group], turns), _hits(control, [group], turns))]
    ]


def describe_results(measures: Mapping[str, Measures], rows: Sequence[BestOfNRow]) -> list[str]:
    """Return the findings in three sentences; fewer without other models or Best-of-N."""
    return [_blindness(measures[CONTROL]), *_gains(measures), *_selection(rows)]


def _grades(measured: Measures, protocol: str, number: int) -> list[float | None]:
    return measured.greedy if protocol == "greedy" else measured.whole[number]


def _row(name: str, protocol: str, number: int, grades: list[float | None], control: list[float | None]) -> BestOfNRow:
    """Estimate one selector's figures."""
    comparison = compare_grades(grades, control) if name != CONTROL else None
    return BestOfNRow(
        selector=name,
        protocol=protocol,
        num_candidates=number,
        score=mean_grade(grades),
        difference=comparison.difference if comparison else None,
        finding=describe(comparison.difference) if comparison else "",
    )


def _early(measured: Measures) -> range:
    """Return the turns before the last one."""
    return range(max(turn for _, turn in measured.margins))


def _last(measured: Measures) -> range:
    last = max(turn for _, turn in measured.margins)
    return range(last, last + 1)


def _hits(measured: Measures, groups: Iterable[str], turns: range) -> list[float]:
    """Return 1 for every defect of some groups in some turns that a model ranks correctly, else 0."""
    return [float(margin > 0) for group in groups for turn in turns for margin in measured.margins[group, turn]]


def _blindness(control: Measures) -> str:
    """Compare the control's accuracy before the last turn with that in it."""
    early, last = (proportion(_hits(control, ERROR_GROUPS, turns)) for turns in (_early(control), _last(control)))
    verdict = "no better than chance" if early.includes(0.5) else f"{'above' if early.value > 0.5 else 'below'} chance"
    return (
        f"The {CONTROL} model ranks {early} of the defects before the last turn correctly, {verdict}, and {last} of "
        "those in the last turn."
    )


def _gains(measures: Mapping[str, Measures]) -> Iterator[str]:
    """Compare all other models with the control on defects before the last turn."""
    control = measures[CONTROL]
    turns = _early(control)
    before = _hits(control, ERROR_GROUPS, turns)
    gains = []
    for name, measured in measures.items():
        if name != CONTROL:
            found = describe(paired_difference(_hits(measured, ERROR_GROUPS, turns), before))
            difference, _, verdict = found.rpartition(": ")
            gains.append(f"{name} {difference}, {verdict}")
    if gains:
        yield f"Accuracy on defects before the last turn, less that of {CONTROL}: {'; '.join(gains)}."


def _selection(rows: Sequence[BestOfNRow]) -> Iterator[str]:
    """Order the selectors by the conversations that they select."""
    best = [row for row in rows if row.protocol == "whole" and row.num_candidates == max(NUM_CANDIDATES)]
    order = "; ".join(f"{row.selector} {row.score.value:.3f}" for row in sorted(best, key=lambda row: -row.score.value))
    if order:
        yield f"The best of {max(NUM_CANDIDATES)} whole conversations by each model, mean oracle score: {order}."
