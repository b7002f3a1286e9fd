"""The figures of all cells: scores of each arm, paired differences between arms, and the findings in sentences."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from statistics import fmean, median

from music.reward.tokens.contract import Readout
from music.statistics import crossed_difference, crossed_mean, crossed_proportion, holm, mean
from music_trainers.experiment.cell import CellResult
from music_trainers.experiment.grid import Arm, Grid
from music_trainers.experiment.measures import MeasureInfo
from music_trainers.experiment.records import ArmDifference, ArmScore, ArmSummary, ExperimentResult, KindAccuracy
from music_trainers.experiment.sandbox import References
from music_trainers.experiment.store import CellFailure
from music_trainers.experiment.values import (
    BEST_OF_N,
    CHANGED_BY_READOUT,
    COMPARED,
    MEASURES,
    READOUTS,
    CellValues,
    kind_values,
)

__all__ = ["analyse"]


@dataclass(frozen=True, slots=True)
class _Question:
    """One planned comparison."""

    arm: str
    against: str
    readout: Readout
    against_readout: Readout
    measure: str


def analyse(
    grid: Grid,
    results: Sequence[CellResult],
    infos: Sequence[MeasureInfo],
    references: References,
    failures: Sequence[CellFailure],
    versions: Mapping[str, str],
) -> ExperimentResult:
    """Return the result of an experiment from its cells; arms without a finished cell are left out."""
    known = {info.name for info in infos}
    by_arm: dict[str, dict[int, CellResult]] = {}
    for result in results:
        by_arm.setdefault(result.cell.arm, {})[result.cell.seed] = result
    ablations = {
        name: {label: arm.name for label, arm in grid.variations(name).items() if arm.name in by_arm}
        for name in grid.ablations
    }
    arms = {arm.name: arm for arm in grid.runs().values() if arm.name in by_arm}
    values = CellValues(results)
    summaries = [_summary(arm, by_arm[name]) for name, arm in arms.items()]
    scores = [score for name in arms for score in _scores(name, list(by_arm[name]), values, known)]
    differences = _differences(
        [question for question in _questions(grid, arms, ablations) if question.measure in known],
        {name: tuple(cells) for name, cells in by_arm.items()},
        values,
    )
    return ExperimentResult(
        grid=grid,
        arms=summaries,
        ablations=ablations,
        scores=scores,
        references={
            name: {measure: mean(grades) for measure, grades in values.items()}
            for name, values in references.values.items()
        },
        kinds=[accuracy for name in arms for accuracy in _kinds(name, infos, list(by_arm[name].values()))],
        differences=differences,
        findings=list(_findings(grid, differences, failures)),
        failures=list(failures),
        versions=dict(versions),
    )


def _summary(arm: Arm, cells: Mapping[int, CellResult]) -> ArmSummary:
    done = list(cells.values())
    return ArmSummary(
        name=arm.name,
        description=arm.description,
        settings=arm.settings,
        seeds=tuple(cells),
        num_pairs={source: fmean(cell.num_pairs[source] for cell in done) for source in done[0].num_pairs},
        num_steps=fmean(cell.num_steps for cell in done),
        num_tokens=fmean(cell.num_tokens for cell in done),
        loss=fmean(cell.loss for cell in done),
        seconds={phase: fmean(cell.seconds[phase] for cell in done) for phase in done[0].seconds},
    )


def _scores(arm: str, seeds: Sequence[int], values: CellValues, known: Set[str]) -> Iterator[ArmScore]:
    """Estimate every measure of an arm, with each readout."""
    for readout in READOUTS:
        for measure in (measure for measure in MEASURES if measure in known):
            table = values.table(arm, readout, measure, seeds)
            estimate = crossed_mean(table) if measure in BEST_OF_N else crossed_proportion(table)
            by_seed = tuple(float(mean) for mean in table.mean(axis=1))
            yield ArmScore(arm=arm, readout=readout, measure=measure, estimate=estimate, by_seed=by_seed)


def _kinds(arm: str, infos: Sequence[MeasureInfo], cells: Sequence[CellResult]) -> Iterator[KindAccuracy]:
    """Estimate the accuracy of an arm for each kind of error and turn."""
    for readout in READOUTS:
        for (kind, turn), table in kind_values(infos, cells, readout).items():
            yield KindAccuracy(arm=arm, readout=readout, kind=kind, turn=turn + 1, estimate=crossed_proportion(table))


def _questions(grid: Grid, arms: Mapping[str, Arm], ablations: Mapping[str, Mapping[str, str]]) -> Iterator[_Question]:
    """Yield the comparisons: declared arms, readouts of one arm, and variations with the arm that they vary."""
    for arm in (arm for arm in grid.arms if arm.name in arms):
        for against in (name for name in arm.against if name in arms):
            yield from _of_arms(arm.name, against)
        for measure in (name for name in CHANGED_BY_READOUT if name in COMPARED):
            yield _Question(arm.name, arm.name, "turn_mean", "last", measure)
    for name, variations in ablations.items():
        of = grid.ablations[name].of
        for varied in (arm for arm in variations.values() if arm != of and of in arms):
            yield from _of_arms(varied, of)


def _of_arms(arm: str, against: str) -> Iterator[_Question]:
    """Yield the comparisons of two arms with the same readout."""
    for readout in READOUTS:
        for measure in COMPARED:
            if readout == READOUTS[0] or measure in CHANGED_BY_READOUT:
                yield _Question(arm, against, readout, readout, measure)


def _differences(
    questions: Iterable[_Question], seeds: Mapping[str, tuple[int, ...]], values: CellValues
) -> list[ArmDifference]:
    """Answer all questions, over the seeds that both sides have; adjust the p values by Holm's method."""
    found: list[ArmDifference] = []
    for question in questions:
        shared = [seed for seed in seeds[question.arm] if seed in seeds[question.against]]
        if shared:
            found.append(_difference(question, shared, values))
    adjusted = holm([difference.p_value for difference in found])
    return [d.model_copy(update={"adjusted_p_value": p}) for d, p in zip(found, adjusted, strict=True)]


def _difference(question: _Question, seeds: Sequence[int], values: CellValues) -> ArmDifference:
    """Answer one question; its p value is adjusted later."""
    ours = values.table(question.arm, question.readout, question.measure, seeds)
    theirs = values.table(question.against, question.against_readout, question.measure, seeds)
    found = crossed_difference(ours, theirs)
    smallest = found.minimum_detectable
    return ArmDifference(
        arm=question.arm,
        against=question.against,
        readout=question.readout,
        against_readout=question.against_readout,
        measure=question.measure,
        estimate=found.estimate,
        by_seed=tuple(float(gain) for gain in (ours - theirs).mean(axis=1)),
        p_value=found.p_value,
        adjusted_p_value=found.p_value,
        smallest_found=smallest if math.isfinite(smallest) else None,
    )


def _findings(grid: Grid, differences: Sequence[ArmDifference], failures: Sequence[CellFailure]) -> Iterator[str]:
    """Yield the results of the comparisons and their limits, in sentences."""
    by_pair: dict[str, list[ArmDifference]] = {}
    for difference in differences:
        by_pair.setdefault(difference.pair, []).append(difference)
    if failures:
        yield f"{len(failures)} of {len(grid.runs())} cells failed and are left out."
    yield from (_compared(pair, of_pair) for pair, of_pair in by_pair.items())
    yield from _limits(grid, differences)


def _compared(pair: str, differences: Sequence[ArmDifference]) -> str:
    """Return in which measures two arms, or two readouts, differ, as a sentence."""
    if len(differences[0].by_seed) == 1:
        return f"{pair}: one seed, too few to distinguish a difference from noise."
    clear = [d for d in differences if d.is_clear]
    if not clear:
        return f"{pair}: within noise in all {len(differences)} measures."
    shown = "; ".join(
        f"{d.measure} {d.estimate.value:+.3f} [{d.estimate.low:+.3f}, {d.estimate.high:+.3f}]: {d.verdict}"
        for d in clear
    )
    rest = len(differences) - len(clear)
    return f"{pair}: {shown}; " + (f"within noise in the other {rest}." if rest else "no measure within noise.")


def _limits(grid: Grid, differences: Sequence[ArmDifference]) -> Iterator[str]:
    """Yield the limits of the comparisons, in sentences."""
    by_measure: dict[str, list[float]] = {}
    for difference in differences:
        if difference.smallest_found is not None:
            by_measure.setdefault(difference.measure, []).append(difference.smallest_found)
    if differences:
        yield (
            f"{len(differences)} comparisons were made. Beyond noise: p < 0.05 after Holm's adjustment for all of them "
            f"and the same sign in every seed. Unadjusted, about {0.05 * len(differences):.0f} would be significant by "
            "chance alone."
        )
        smallest = ", ".join(f"{measure} {median(values):.3f}" for measure, values in by_measure.items())
        yield (
            "The true difference that one unadjusted comparison would find four times in five (median over arms): "
            f"{smallest}."
        )
    shown = " ".join(map(str, grid.seeds))
    yield (
        f"Intervals cover the draw of pairs and their order (seeds {shown}) and of test conversations. All "
        "arms start from the same model, in the same small world."
    )
