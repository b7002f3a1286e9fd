"""The figures of all cells: hypotheses, scores, choices of readouts, and exploratory differences."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean

from music.reward.tokens.contract import Readout
from music.statistics import Estimate, crossed_difference, crossed_mean, crossed_proportion, mean
from music_trainers.experiment.arm import Arm
from music_trainers.experiment.cell import CellResult
from music_trainers.experiment.findings import findings
from music_trainers.experiment.grid import Grid
from music_trainers.experiment.hypotheses import answered
from music_trainers.experiment.measures import MeasureInfo
from music_trainers.experiment.readouts import choose_readouts
from music_trainers.experiment.records import ArmDifference, ArmScore, ArmSummary, ExperimentResult, MeasureSummary
from music_trainers.experiment.sandbox import References
from music_trainers.experiment.store import CellFailure
from music_trainers.experiment.values import CellValues, Floats

__all__ = ["analyse"]

Question = tuple[str, str, str, Readout]
"""An arm, the arm that it is compared with, a measure, and the readout of both."""


def analyse(
    grid: Grid,
    results: Sequence[CellResult],
    infos: Sequence[MeasureInfo],
    references: References,
    failures: Sequence[CellFailure],
    versions: Mapping[str, str],
) -> ExperimentResult:
    """Return the result of an experiment from its cells; arms without a finished cell are left out.

    Args:
        grid: The grid.
        results: The finished cells.
        infos: The measures of the grid, in the order of reports.
        references: Values of selectors without a reward model.
        failures: The cells without a result.
        versions: Versions of packages.
    """
    values = CellValues(results, infos)
    arms = {arm.name: arm for arm in grid.runs().values() if values.seeds(arm.name)}
    ablations = {
        name: {label: arm.name for label, arm in grid.variations(name).items() if arm.name in arms}
        for name in grid.ablations
    }
    tested = {} if grid.is_look else grid.hypotheses
    hypotheses = answered(tested, lambda each: values.sides(each.arm, each.control, each.measure, each.readout))
    asked = {(each.arm, each.control, each.measure, each.readout) for each in tested.values()}
    questions = (question for question in _questions(grid, arms, ablations, infos, values) if question not in asked)
    found = ExperimentResult(
        grid=grid,
        measures=[MeasureSummary.of(info) for info in infos],
        arms=[_summary(arm, [r for r in results if r.cell.arm == name]) for name, arm in arms.items()],
        ablations=ablations,
        hypotheses=hypotheses,
        scores=[score for name in arms for info in infos for score in _scores(name, info, values)],
        references=_reference_scores(references, infos),
        readouts=list(choose_readouts(values, infos, list(arms))),
        differences=list(_differences(questions, values)),
        findings=[],
        failures=list(failures),
        versions=dict(versions),
    )
    return found.model_copy(update={"findings": list(findings(found))})


def _summary(arm: Arm, cells: Sequence[CellResult]) -> ArmSummary:
    return ArmSummary(
        name=arm.name,
        description=arm.description,
        settings=arm.settings,
        seeds=tuple(result.cell.seed for result in cells),
        num_pairs={source: fmean(result.num_pairs[source] for result in cells) for source in cells[0].num_pairs},
        num_steps=fmean(result.num_steps for result in cells),
        num_tokens=fmean(result.num_tokens for result in cells),
        loss=fmean(result.loss for result in cells),
        seconds={phase: fmean(result.seconds[phase] for result in cells) for phase in cells[0].seconds},
    )


def _scores(arm: str, info: MeasureInfo, values: CellValues) -> Iterator[ArmScore]:
    """Estimate one measure of an arm, with each readout that changes it."""
    for readout in values.readouts(info.name):
        table = values.table(arm, info.name, readout, values.seeds(arm))
        by_seed = tuple(float(each) for each in table.mean(axis=1))
        yield ArmScore(arm=arm, readout=readout, measure=info.name, estimate=_estimated(table, info), by_seed=by_seed)


def _estimated(table: Floats, info: MeasureInfo) -> Estimate:
    estimate = crossed_proportion if info.unit == "share" else crossed_mean
    return estimate(table, clusters=info.clusters)


def _reference_scores(references: References, infos: Sequence[MeasureInfo]) -> dict[str, dict[str, Estimate]]:
    """Estimate the measures of the selectors that need no reward model."""
    return {
        selector: {
            info.name: mean(by_measure[info.name], clusters=info.clusters) for info in infos if info.name in by_measure
        }
        for selector, by_measure in references.values.items()
    }


def _questions(
    grid: Grid,
    arms: Mapping[str, Arm],
    ablations: Mapping[str, Mapping[str, str]],
    infos: Iterable[MeasureInfo],
    values: CellValues,
) -> list[Question]:
    """Return the comparisons of declared arms, and of variations with the arm that they vary."""
    pairs = [(arm.name, other) for arm in grid.arms for other in arm.against]
    for name, variations in ablations.items():
        pairs += [(arm, grid.ablations[name].of) for arm in variations.values() if arm != grid.ablations[name].of]
    return [
        (arm, against, info.name, readout)
        for arm, against in dict.fromkeys(pairs)
        if arm in arms and against in arms and values.seeds(arm, against)
        for info in infos
        if info.compared
        for readout in values.readouts(info.name)
    ]


def _differences(questions: Iterable[Question], values: CellValues) -> Iterator[ArmDifference]:
    """Answer the questions, each over the seeds that both arms have."""
    for arm, against, measure, readout in questions:
        ours, theirs, clusters = values.sides(arm, against, measure, readout)
        found = crossed_difference(ours, theirs, clusters=clusters)
        yield ArmDifference(
            arm=arm,
            against=against,
            readout=readout,
            measure=measure,
            estimate=found.estimate,
            by_seed=tuple(float(gain) for gain in (ours - theirs).mean(axis=1)),
            p_value=found.p_value,
        )
