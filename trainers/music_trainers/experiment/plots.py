"""The plots of an experiment: hypotheses, scores, readouts and differences, with 95% intervals."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from music.report import Palette, Plot, Point, curves, intervals, matrix
from music_trainers.experiment.hypotheses import Verdict
from music_trainers.experiment.records import ArmScore, ExperimentResult

__all__ = ["plots"]

SCORES = (
    "Means with 95% intervals over training seeds and test prompts. A tick is the result of a random choice. Measures "
    "that do not depend on the readout are drawn once."
)


def plots(result: ExperimentResult) -> Iterator[Plot]:
    """Yield all plots in the order of reading."""
    palette = Palette([arm.name for arm in result.arms])
    if any(each.estimate for each in result.hypotheses):
        yield _hypotheses(result, palette)
    declared = {arm.name: arm.name for arm in result.grid.arms if arm.name in palette.names}
    yield _scores(result, "Plot: the arms", declared, palette)
    for name, by_label in result.ablations.items():
        if by_label:
            yield _ablation(result, name, by_label, palette)
    if any(each.estimate for each in result.readouts):
        yield _readouts(result, palette)
    if result.differences:
        yield _differences(result, palette)
    yield from _matrices(result)


def _hypotheses(result: ExperimentResult, palette: Palette) -> Plot:
    """Draw the differences of the hypotheses, a row for each, with a tick at the bound of its claim."""
    points = [
        Point(
            place=f"{each.name}: {each.hypothesis.claim}, {each.hypothesis.measure}",
            estimate=each.estimate,
            series=each.hypothesis.arm,
            is_clear=each.verdict == Verdict.CONFIRMED,
            reference=each.hypothesis.null,
        )
        for each in result.hypotheses
        if each.estimate
    ]
    caption = "The arm minus its control, with 95% intervals. A tick is the bound of the claim. Filled: confirmed."
    return intervals(points, title="Plot: hypotheses", caption=caption, x="difference", palette=palette)


def _scores(result: ExperimentResult, title: str, arms: Mapping[str, str], palette: Palette) -> Plot:
    """Draw arms: a panel for each compared measure, a row for each arm, a shape for each readout."""
    points = [
        replace(_point(result, score), place=label) for label, arm in arms.items() for score in _shown(result, arm)
    ]
    return intervals(
        _by_measure(result, points),
        title=title,
        caption=SCORES,
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
        return _scores(result, title, by_label, palette)
    points = [
        replace(_point(result, score), place=float(label), series=ablation.of)
        for label, arm in by_label.items()
        for score in _shown(result, arm)
    ]
    points = _by_measure(result, points)
    return curves(points, title=title, caption=SCORES, x=ablation.axis, y="", palette=palette, shares_y=False)


def _readouts(result: ExperimentResult, palette: Palette) -> Plot:
    """Draw the chosen readouts minus `last`: a panel for each measure, a row for each arm."""
    points = [
        Point(
            place=each.arm,
            estimate=each.estimate,
            series=each.arm,
            panel=each.measure,
            variant=each.chosen,
            reference=0,
        )
        for each in result.readouts
        if each.estimate
    ]
    caption = (
        "The readout that the development half chooses minus `last`, on the confirmation half. Where `last` is chosen "
        "there is no mark."
    )
    return _gains(points, "Plot: readouts", caption, palette)


def _differences(result: ExperimentResult, palette: Palette) -> Plot:
    """Draw the exploratory differences: a panel for each measure, a row for each pair, a shape for each readout."""
    points = [
        Point(
            place=each.pair,
            estimate=each.estimate,
            series=each.arm,
            panel=each.measure,
            variant=each.readout,
            reference=0,
        )
        for each in result.differences
    ]
    caption = "The first arm minus the second, with 95% intervals that hold for each alone. They test nothing."
    return _gains(_by_measure(result, points), "Plot: exploratory differences", caption, palette)


def _gains(points: Sequence[Point], title: str, caption: str, palette: Palette) -> Plot:
    """Draw differences, a panel for each measure."""
    return intervals(
        points, title=title, caption=caption, x="difference", palette=palette, num_columns=3, shares_x=False
    )


def _matrices(result: ExperimentResult) -> Iterator[Plot]:
    """Draw shares that are not compared, such as accuracy by kind of error and turn, as colours; read with `last`."""
    groups = dict.fromkeys(m.group for m in result.measures if m.group and m.unit == "share" and not m.compared)
    for group in groups:
        names = {measure.name for measure in result.measures if measure.group == group}
        points = [
            replace(
                _point(result, score), panel=score.measure.rpartition(", ")[0], place=score.measure.rpartition(", ")[2]
            )
            for score in result.scores
            if score.measure in names and score.readout == "last"
        ]
        caption = "Read with `last`. Blue: above 0.5; orange: below. Intervals and other readouts: in the table."
        yield matrix(points, title=f"Plot: {group[:1].lower()}{group[1:]}", caption=caption, x="")


def _shown(result: ExperimentResult, arm: str) -> Iterator[ArmScore]:
    """Yield an arm's scores in the compared measures."""
    compared = {measure.name for measure in result.measures if measure.compared}
    yield from (score for score in result.scores if score.arm == arm and score.measure in compared)


def _point(result: ExperimentResult, score: ArmScore) -> Point:
    by_chance = result.references.get("random", {}).get(score.measure)
    return Point(
        place=score.arm,
        estimate=score.estimate,
        series=score.arm,
        panel=score.measure,
        variant=score.readout,
        reference=by_chance.value if by_chance else None,
    )


def _by_measure(result: ExperimentResult, points: Iterable[Point]) -> list[Point]:
    order: Sequence[str] = [measure.name for measure in result.measures]
    return sorted(points, key=lambda point: order.index(point.panel))
