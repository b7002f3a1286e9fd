"""The result of an experiment for people: tables in the terminal, a report, and a Markdown file."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from music.files import replace_file
from music.report import Cell, Interval, Report, Table, cell_text
from music.report.terminal import print_result
from music.sandbox.world.defects import ERROR_GROUPS
from music_trainers.experiment.grid import Grid
from music_trainers.experiment.plots import plots
from music_trainers.experiment.records import ArmSummary, ExperimentResult
from music_trainers.experiment.values import BEST_OF_N, CHANGED_BY_READOUT, MEASURES, READOUTS

__all__ = ["experiment_report", "print_experiment", "report_path", "write_markdown"]

INTRO = (
    "Small reward models, trained on a declared grid of arms and seeds in the sandbox and measured on the same "
    "held-out conversations. All start from one model, in one small world, and the oracle that grades them also labels "
    "the base pairs. Read differences between arms, not absolute figures."
)
SCORES = (
    "Accuracy on pairs with one error (0.5 = blind), before the last turn (early) and in it, and on single turns; mean "
    "oracle grade of the conversations that Best-of-N selects. 95% intervals over training seeds and test "
    "conversations. Measures that do not depend on the readout are shown once."
)


def report_path(out: Path, grid: Grid) -> Path:
    """Return the path of a grid's report."""
    return out / f"{grid.name}.html"


def experiment_report(result: ExperimentResult) -> Report:
    """Return the experiment's result as a report."""
    failures = [f"{each.arm}, seed {each.seed}: {each.error}" for each in result.failures]
    return Report(
        title=result.grid.title,
        intro=INTRO,
        findings=result.findings,
        parts=[*plots(result), *_tables(result)],
        notes={**_settings(result), **({"Cells that failed": "\n".join(failures)} if failures else {})},
    )


def print_experiment(result: ExperimentResult, out: Path, console: Console) -> None:
    """Print the main tables and the findings, as plain text if the console is not a terminal."""
    print_result(console, _headline_tables(result), result.findings, report_path(out, result.grid))


def write_markdown(result: ExperimentResult, path: Path) -> None:
    """Write the report as one Markdown file."""
    replace_file(path, "\n".join(_lines(result)) + "\n")


def _settings(result: ExperimentResult) -> dict[str, str]:
    return {
        "Seeds": " ".join(map(str, result.grid.seeds)),
        "Sizes": ", ".join(
            f"{name} {value}"
            for name, value in (result.grid.sandbox.model_dump().items() if result.grid.sandbox else ())
        ),
        "Versions": ", ".join(f"{name} {number}" for name, number in result.versions.items()),
    }


def _lines(result: ExperimentResult) -> Iterator[str]:
    settings = _settings(result)
    shown = f"Seeds {settings['Seeds']}; {settings['Sizes']}; {settings['Versions']}."
    yield from (f"# {result.grid.title}", "", shown, "", "## Findings", "")
    yield from (f"- {finding}" for finding in result.findings)
    for table in _tables(result):
        yield from ("", f"## {table.title}", "", table.caption, "")
        for heading, rows in table.groups.items():
            yield from ("", f"### {heading[:1].upper()}{heading[1:]}", "") if heading else ()
            yield from (_row(table.columns), _row(["---"] * len(table.columns)), *map(_row, rows))


def _row(cells: Sequence[Cell]) -> str:
    shown = (cell_text(cell).replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(shown)} |"


def _tables(result: ExperimentResult) -> list[Table]:
    """Return all tables in the order of reading."""
    return [*_headline_tables(result), _differences_table(result), _arms_table(result), _kinds_table(result)]


def _headline_tables(result: ExperimentResult) -> list[Table]:
    """Return the scores of the grid's arms, of the references, and of each ablation's variations."""
    declared = {arm.name: arm.name for arm in result.grid.arms if arm.name in {a.name for a in result.arms}}
    return [
        _scores_table(result, declared, "The arms"),
        *([_references_table(result)] if result.references else []),
        *(
            _scores_table(result, by_label, f"Ablation of {ablation.of}: {ablation.axis}")
            for ablation, by_label in ((result.grid.ablations[name], arms) for name, arms in result.ablations.items())
        ),
    ]


def _scores_table(result: ExperimentResult, arms: Mapping[str, str], title: str) -> Table:
    """Return a row for each measure and a column for each arm, named by label."""
    cells = {
        (s.arm, s.readout, s.measure): Interval(estimate=s.estimate, digits=3 if s.measure in BEST_OF_N else 2)
        for s in result.scores
    }
    measures = {READOUTS[0]: MEASURES, READOUTS[1]: CHANGED_BY_READOUT}
    groups: dict[str, list[list[Cell]]] = {
        f"read with {readout}": [
            [measure, *(cells.get((arm, readout, measure)) for arm in arms.values())] for measure in measures[readout]
        ]
        for readout in READOUTS
    }
    return Table(title, SCORES, ["measure", *arms], groups)


def _references_table(result: ExperimentResult) -> Table:
    """Return the Best-of-N results of selectors without a reward model."""
    rows: list[list[Cell]] = [
        [measure, *(Interval(estimate=by_measure[measure]) for by_measure in result.references.values())]
        for measure in BEST_OF_N
    ]
    caption = "Mean oracle grade of a random choice, of the longest candidate and of the oracle's choice."
    return Table("Best-of-N without a reward model", caption, ["measure", *result.references], {"": rows})


def _differences_table(result: ExperimentResult) -> Table:
    """Return all comparisons, with their verdicts."""
    groups: dict[str, list[list[Cell]]] = {}
    for d in result.differences:
        by_seed = " ".join(f"{value:+.3f}" for value in d.by_seed)
        figures: list[Cell] = [
            Interval(estimate=d.estimate, sign="+"),
            by_seed,
            f"{d.p_value:.4f}",
            f"{d.adjusted_p_value:.3f}",
        ]
        smallest = "-" if d.smallest_found is None else f"{d.smallest_found:.3f}"
        groups.setdefault(d.pair, []).append([d.measure, *figures, smallest, d.verdict])
    return Table(
        title="Differences",
        caption="Paired by training seed and conversation. Adjusted: by Holm's method for all comparisons here. "
        "Smallest found: the true difference that an unadjusted comparison would find four times in five.",
        columns=["measure", "difference", "by seed", "p", "adjusted p", "smallest found", "verdict"],
        groups=groups,
    )


def _arms_table(result: ExperimentResult) -> Table:
    """Return each arm's training data and training figures."""
    return Table(
        title="Training of the arms",
        caption="Means over seeds. Seconds: of one core, for training and measuring. Loss: over the last tenth of the "
        "steps, on each arm's own pairs.",
        columns=["arm", "what for", "pairs", "T", "contrasted", "skill", "seeds", "steps", "tokens", "loss", "seconds"],
        groups={"": [_arm_row(arm) for arm in result.arms]},
    )


def _arm_row(arm: ArmSummary) -> list[Cell]:
    pairs = " + ".join(f"{num:,.0f} {source}" for source, num in arm.num_pairs.items() if num)
    settings = arm.settings
    simulated = (
        [str(settings.num_turns), settings.schedule, settings.skill]
        if settings.pairs.keys() - {"base"}
        else ["", "", ""]
    )
    figures = [round(arm.num_steps), round(arm.num_tokens), arm.loss, round(sum(arm.seconds.values()))]
    return [arm.name, arm.description, pairs, *simulated, len(arm.seeds), *figures]


def _kinds_table(result: ExperimentResult) -> Table:
    """Return the accuracy of all arms by kind of error and turn."""
    cells = {(k.arm, k.readout, k.kind, k.turn): Interval(estimate=k.estimate, digits=2) for k in result.kinds}
    turns = range(1, max((k.turn for k in result.kinds), default=0) + 1)
    kinds = dict.fromkeys(k.kind for k in result.kinds)
    shown = "; ".join(f"{group} is {', '.join(members)}" for group, members in ERROR_GROUPS.items())
    return Table(
        title="Accuracy by kind of error and turn",
        caption=f"How often the flawless side wins. Groups of the first table: {shown}.",
        columns=["arm", *(f"turn {turn}" for turn in turns)],
        groups={
            f"{kind}, read with {readout}": [
                [arm.name, *(cells.get((arm.name, readout, kind, turn)) for turn in turns)] for arm in result.arms
            ]
            for kind in kinds
            for readout in READOUTS
        },
    )
