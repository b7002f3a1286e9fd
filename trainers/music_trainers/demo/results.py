"""The result of the demo: its records, figures with intervals, and findings in sentences."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from music.sandbox.world.defects import ERROR_GROUPS
from music.statistics import Estimate, accuracy, describe, paired_difference, proportion
from music_envs import compare_grades, mean_grade
from music_trainers.arms import GREEDY_CANDIDATES, NUM_CANDIDATES, Measures
from music_trainers.demo.config import DemoConfig

__all__ = ["CONTROL", "PREFIX_MEAN", "BestOfNRow", "DefectAccuracy", "DemoResult", "TrainedArm", "best_of_n_rows"]
__all__ += ["defect_accuracies", "describe_results"]

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


def describe_results(measures: Mapping[str, Measures], rows: Sequence[BestOfNRow]) -> list[str]:
    """Return the findings in sentences."""
    num_turns = 1 + max(turn for _, turn in measures[CONTROL].margins)
    findings = [_blindness(measures[CONTROL], group, num_turns) for group in ERROR_GROUPS]
    for name in measures:
        if name != CONTROL:
            findings += [_gain(name, measures, group, num_turns) for group in ERROR_GROUPS]
    best = [row for row in rows if row.protocol == "whole" and row.num_candidates == max(NUM_CANDIDATES)]
    ranked = sorted(best, key=lambda row: -row.score.value)
    order = ", ".join(f"{row.selector} {row.score.value:.3f}" for row in ranked)
    return [*findings, f"Whole-conversation Best-of-{max(NUM_CANDIDATES)} by mean oracle score: {order}."]


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


def _hits(measured: Measures, group: str, turns: range) -> list[float]:
    """Return 1 for every defect of a group in some turns that a model ranks correctly, else 0."""
    return [float(margin > 0) for turn in turns for margin in measured.margins[group, turn]]


def _blindness(control: Measures, group: str, num_turns: int) -> str:
    """Compare the control's accuracy before the last turn with that in it."""
    early = proportion(_hits(control, group, range(num_turns - 1)))
    last = proportion(_hits(control, group, range(num_turns - 1, num_turns)))
    verdict = "no better than chance" if early.includes(0.5) else f"{'above' if early.value > 0.5 else 'below'} chance"
    return f"{CONTROL} model, {group}: accuracy {last} for a defect in the last turn, {early} before it ({verdict})."


def _gain(name: str, measures: Mapping[str, Measures], group: str, num_turns: int) -> str:
    """Compare a model with the control on defects before the last turn and in it."""

    def difference(turns: range) -> str:
        return describe(paired_difference(_hits(measures[name], group, turns), _hits(measures[CONTROL], group, turns)))

    before, last = difference(range(num_turns - 1)), difference(range(num_turns - 1, num_turns))
    return f"{name} against {CONTROL}, {group}: {before}, for a defect before the last turn; {last}, in it."
