"""The tables of an experiment, in the order of reading."""

from collections.abc import Iterable, Mapping, Sequence

from music.report import Cell, Interval, Table
from music.report.table import p_text
from music_trainers.experiment.hypotheses import HypothesisResult
from music_trainers.experiment.measures import READOUTS
from music_trainers.experiment.records import ArmSummary, ExperimentResult, MeasureSummary

__all__ = ["all_tables", "score_tables"]

HYPOTHESES = (
    "Declared in the grid. Each is tested one-sided over training seeds and prompts; p is adjusted by Holm's "
    "method for these hypotheses alone. Confirmed: adjusted p below 0.025. Refuted: the 95% interval lies wholly on "
    "the wrong side. Open: neither. Smallest found: the true distance from the bound of the claim that this test alone "
    "finds four times in five."
)
SCORES = (
    "Means with 95% intervals over training seeds and test prompts. Measures that do not depend on the readout are "
    "shown once, with `last`."
)
READOUTS_CAPTION = (
    "The prompts of each measure are divided into halves. The columns of readouts are means over the development half. "
    "The best of them is compared with `last` on the other half, so that choosing does not flatter it. p is two-sided "
    "and not adjusted."
)
DIFFERENCES = (
    "Comparisons that no hypothesis declares, paired by training seed and test item. 95% interval and two-sided p of "
    "each alone: among so many, some are far from 0 by chance. Use them to declare hypotheses for other seeds."
)
TRAINING = (
    "Means over seeds. Loss: Bradley-Terry, at the end of training, on each arm's own pairs. Seconds: of one core, for "
    "training and measuring."
)


def all_tables(result: ExperimentResult) -> list[Table]:
    """Return all tables; those of measures that are not compared come last."""
    return [
        *([_hypotheses(result.hypotheses)] if result.hypotheses else []),
        *score_tables(result),
        *([_references(result)] if any(result.references.values()) else []),
        *([_readouts(result)] if result.readouts else []),
        *([_differences(result)] if result.differences else []),
        _training(result),
        _measures(result.measures),
        *(
            _scores(result, _declared(result), group, of)
            for group, of in _groups(result).items()
            if not _main(group, of)
        ),
    ]


def score_tables(result: ExperimentResult) -> list[Table]:
    """Return the scores of the grid's arms and of each ablation's variations, in the measures that are compared."""
    groups = {group: of for group, of in _groups(result).items() if _main(group, of)}
    compared = [measure for measure in result.measures if measure.compared]
    return [
        *(_scores(result, _declared(result), group or "Scores", of) for group, of in groups.items()),
        *(
            _scores(result, arms, f"Ablation of {ablation.of}: {ablation.axis}", compared)
            for ablation, arms in ((result.grid.ablations[name], arms) for name, arms in result.ablations.items())
            if arms
        ),
    ]


def _groups(result: ExperimentResult) -> dict[str, list[MeasureSummary]]:
    """Return the measures by the heading of their table."""
    groups: dict[str, list[MeasureSummary]] = {}
    for measure in result.measures:
        groups.setdefault(measure.group, []).append(measure)
    return groups


def _main(group: str, measures: Iterable[MeasureSummary]) -> bool:
    return not group or any(measure.compared for measure in measures)


def _declared(result: ExperimentResult) -> dict[str, str]:
    """Return the grid's own arms that have a result, by label."""
    found = {arm.name for arm in result.arms}
    return {arm.name: arm.name for arm in result.grid.arms if arm.name in found}


def _hypotheses(results: Sequence[HypothesisResult]) -> Table:
    """Return a row for each hypothesis."""
    rows: list[list[Cell]] = []
    for each in results:
        hypothesis = each.hypothesis
        rows.append(
            [
                f"{each.name}: {hypothesis.statement}",
                f"{hypothesis.claim} in {hypothesis.measure}, read with {hypothesis.readout}",
                Interval(estimate=each.estimate, sign="+") if each.estimate else None,
                _by_seed(each.by_seed),
                p_text(each.adjusted_p_value),
                None if each.smallest_found is None else f"{each.smallest_found:.3f}",
                f"{each.verdict.capitalize()}: {each.reason}.",
            ]
        )
    columns = ["hypothesis", "claim", "difference", "by seed", "adjusted p", "smallest found", "verdict"]
    return Table("Hypotheses", HYPOTHESES, columns, {"": rows})


def _scores(result: ExperimentResult, arms: Mapping[str, str], title: str, measures: Sequence[MeasureSummary]) -> Table:
    """Return a row for each measure and readout and a column for each arm, named by label."""
    cells = {(s.arm, s.readout, s.measure): Interval(estimate=s.estimate) for s in result.scores}
    groups: dict[str, list[list[Cell]]] = {}
    for readout in READOUTS if any(measure.by_readout for measure in measures) else READOUTS[:1]:
        groups[f"read with {readout}"] = [
            [measure.name, *(cells[arm, readout, measure.name] for arm in arms.values())]
            for measure in measures
            if measure.by_readout or readout == "last"
        ]
    return Table(title, SCORES, ["measure", *arms], groups)


def _references(result: ExperimentResult) -> Table:
    """Return the results of selectors without a reward model."""
    rows: list[list[Cell]] = [
        [
            measure.name,
            *(
                Interval(estimate=scores[measure.name]) if measure.name in scores else None
                for scores in result.references.values()
            ),
        ]
        for measure in result.measures
        if any(measure.name in scores for scores in result.references.values())
    ]
    caption = "What a random choice, the longest candidate and the oracle's own choice get."
    return Table("Best-of-N without a reward model", caption, ["measure", *result.references], {"": rows})


def _readouts(result: ExperimentResult) -> Table:
    """Return the choice of each arm, by measure."""
    groups: dict[str, list[list[Cell]]] = {}
    for each in result.readouts:
        tested: list[Cell] = ["`last` is the best", None, None]
        if each.estimate and each.p_value is not None:
            tested = [Interval(estimate=each.estimate, sign="+"), _by_seed(each.by_seed), p_text(each.p_value)]
        means = [f"{each.development[readout]:.3f}" for readout in READOUTS]
        groups.setdefault(each.measure, []).append([each.arm, *means, each.chosen, *tested])
    columns = ["arm", *READOUTS, "chosen", "chosen - last", "by seed", "p"]
    return Table("Readouts: chosen on one half, tested on the other", READOUTS_CAPTION, columns, groups)


def _differences(result: ExperimentResult) -> Table:
    """Return the exploratory differences, by pair of arms."""
    groups: dict[str, list[list[Cell]]] = {}
    for d in result.differences:
        figures: list[Cell] = [Interval(estimate=d.estimate, sign="+"), _by_seed(d.by_seed), p_text(d.p_value)]
        groups.setdefault(d.pair, []).append([d.measure, d.readout, *figures])
    columns = ["measure", "readout", "difference", "by seed", "p"]
    return Table("Exploratory differences", DIFFERENCES, columns, groups)


def _by_seed(gains: Sequence[float]) -> str:
    """Return the range of the differences in all seeds, and how many of them are above 0."""
    if len(gains) < 2:
        return " ".join(f"{gain:+.3f}" for gain in gains)
    return f"{min(gains):+.3f} to {max(gains):+.3f}; {sum(gain > 0 for gain in gains)} of {len(gains)} above 0"


def _measures(measures: Sequence[MeasureSummary]) -> Table:
    """Return the size of each measure that is compared, and what its values are."""
    values = {"share": "between 0 and 1, such as hits and misses", "grade": "grades"}
    rows: list[list[Cell]] = [
        [m.name, m.num_items, m.num_prompts, values[m.unit], "yes" if m.by_readout else "no"]
        for m in measures
        if m.compared
    ]
    columns = ["measure", "items", "prompts", "values", "depends on the readout"]
    return Table("Test items", "Items of one prompt count as one unit in intervals and tests.", columns, {"": rows})


def _training(result: ExperimentResult) -> Table:
    """Return each arm's training data and training figures."""
    rows = [_arm_row(arm, is_simulated=bool(result.grid.contrasts(arm.settings))) for arm in result.arms]
    columns = [name for name in rows[0] if any(row[name] not in ("", 0) for row in rows)]
    return Table("Training of the arms", TRAINING, columns, {"": [[row[name] for name in columns] for row in rows]})


def _arm_row(arm: ArmSummary, *, is_simulated: bool) -> dict[str, Cell]:
    """Return the figures of an arm by column; columns that are empty for all arms are not shown."""
    settings = arm.settings
    return {
        "arm": arm.name,
        "what for": arm.description,
        "pairs": " + ".join(f"{num:,.0f} {source}" for source, num in arm.num_pairs.items() if num),
        "T": str(settings.num_turns) if is_simulated else "",
        "contrasted": settings.schedule if is_simulated else "",
        "skill": settings.skill if is_simulated else "",
        "seeds": len(arm.seeds),
        "steps": round(arm.num_steps),
        "tokens": round(arm.num_tokens),
        "loss": arm.loss,
        "seconds": round(sum(arm.seconds.values())),
    }
