"""The plots of an experiment: scores and differences with 95% intervals, and accuracy by kind of error and turn."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from music.report import Palette, Plot, Point, curves, intervals, matrix
from music.reward.tokens.contract import Readout
from music_trainers.experiment.records import ArmScore, ExperimentResult
from music_trainers.experiment.values import BEST_OF_N, CHANGED_BY_READOUT, MEASURES, READOUTS

__all__ = ["plots"]

BLIND = 0.5
CAPTION = (
    "Accuracy on pairs with one error, before the last turn (early) and in it, against 0.5 for a blind model; mean "
    "oracle grade of the conversations that Best-of-N selects. Intervals cover training seeds and test conversations. "
    "Measures that do not depend on the readout are drawn once."
)


def plots(result: ExperimentResult) -> Iterator[Plot]:
    """Yield all plots in the order of reading."""
    palette = Palette([arm.name for arm in result.arms])
    yield _scores(result, [arm.name for arm in result.grid.arms if arm.name in palette.names], palette)
    for name, by_label in result.ablations.items():
        if by_label:
            yield _ablation(result, name, by_label, palette)
    if result.differences:
        yield _differences(result, palette)
    for readout in READOUTS:
        yield _kinds(result, readout)


def _scores(result: ExperimentResult, arms: Sequence[str], palette: Palette) -> Plot:
    """Draw the arms: a panel for each measure, a row for each arm, a shape for each readout."""
    points = [_point(score, score.arm) for arm in arms for score in _shown(result, arm)]
    return intervals(
        _by_measure(points),
        title="Plot: the arms",
        caption=CAPTION,
        x="value",
        palette=palette,
        num_columns=3,
        shares_x=False,
    )


def _ablation(result: ExperimentResult, name: str, by_label: Mapping[str, str], palette: Palette) -> Plot:
    """Draw the variations of an arm: as curves if their labels are numbers, else as rows."""
    ablation = result.grid.ablations[name]
    title = f"Plot: ablation of {ablation.of}, {ablation.axis}"
    if not all(label.replace(".", "", 1).isdigit() for label in by_label):
        points = [_point(score, label) for label, arm in by_label.items() for score in _shown(result, arm)]
        return intervals(
            _by_measure(points), title=title, caption=CAPTION, x="value", palette=palette, num_columns=3, shares_x=False
        )
    points = [
        replace(_point(score, float(label)), series=ablation.of)
        for label, arm in by_label.items()
        for score in _shown(result, arm)
    ]
    return curves(
        _by_measure(points), title=title, caption=CAPTION, x=ablation.axis, y="", palette=palette, shares_y=False
    )


def _differences(result: ExperimentResult, palette: Palette) -> Plot:
    """Draw the differences: a panel for each comparison, a row for each measure, a shape for each readout."""
    points = [
        Point(
            place=each.measure,
            estimate=each.estimate,
            series=each.arm,
            panel=f"{each.arm}: {each.readout} against {each.against_readout}"
            if each.arm == each.against
            else f"{each.arm} against {each.against}",
            variant=each.readout,
            is_clear=each.is_clear,
            reference=0,
        )
        for each in sorted(result.differences, key=lambda each: READOUTS.index(each.readout))
    ]
    caption = (
        "The first arm minus the second, paired by training seed and test conversation. Filled: beyond noise after "
        "adjustment for all comparisons, with the same sign in every seed. Hollow: within noise."
    )
    return intervals(points, title="Plot: differences", caption=caption, x="difference", palette=palette, num_columns=3)


def _kinds(result: ExperimentResult, readout: Readout) -> Plot:
    """Draw accuracy by arm, kind of error and turn as colours."""
    points = [
        Point(place=each.turn, estimate=each.estimate, series=each.arm, panel=each.kind)
        for each in result.kinds
        if each.readout == readout
    ]
    caption = "How often the flawless side wins. Blue: better than blind (0.5); orange: worse. Intervals: in the table."
    title = f"Plot: accuracy by kind of error and turn, read with {readout}"
    return matrix(points, title=title, caption=caption, x="turn of the error")


def _shown(result: ExperimentResult, arm: str) -> Iterator[ArmScore]:
    """Yield an arm's scores; those that do not depend on the readout only once."""
    for score in result.scores:
        if score.arm == arm and (score.readout == READOUTS[0] or score.measure in CHANGED_BY_READOUT):
            yield score


def _point(score: ArmScore, place: str | float) -> Point:
    return Point(
        place=place,
        estimate=score.estimate,
        series=score.arm,
        panel=score.measure,
        variant=score.readout,
        reference=None if score.measure in BEST_OF_N else BLIND,
    )


def _by_measure(points: Iterable[Point]) -> list[Point]:
    return sorted(points, key=lambda point: MEASURES.index(point.panel))
