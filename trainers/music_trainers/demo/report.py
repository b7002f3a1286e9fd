"""The demo's result for people: tables in the terminal, and a report with plots and the same tables.

Nothing here computes a result. Arms, kinds of defect, selectors and turns are those of the result.
"""

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console

from music.report import Cell, Interval, Palette, Plot, Point, Report, Table, curves, intervals
from music.report.terminal import print_result
from music.statistics import Estimate
from music_trainers.demo.results import DemoResult

__all__ = ["REPORT_NAME", "best_of_n_plot", "defects_plot", "demo_report", "print_demo"]

REPORT_NAME = "report.html"
"""The report's name in the demo's output folder."""

INTRO = """\
A reward model for conversations is usually trained on pairs that differ in their last reply only, and may learn to look
at nothing else. MUSIC (Algorithm 1 of arXiv 2512.24693) adds simulated pairs whose sides differ at every turn: a
simulated user talks with an assistant on both sides, and on the rejected side the assistant answers a modified request
under the original one. This run did that on a small synthetic world, in which a program can check every reply: it
simulated the pairs with language models behind an HTTP server, trained one small reward model per arm from the same
starting model, on the same {num_base_pairs:,} base pairs plus {num_contrastive_pairs:,} simulated pairs from the same
seed contexts, and measured them on held-out data. The arms differ only in which contrasts those simulated pairs hold.
Error bars and brackets are 95% confidence intervals given the trained models: they do not cover another training seed.
The models are tiny and the world is narrow; read differences between arms, not absolute figures."""

_PROTOCOLS = {
    "greedy": "Best-of-N, greedy: at each turn the best of N replies is kept",
    "whole": "Best-of-N, whole conversations: the best of N finished ones",
}
"""Titles of the Best-of-N protocols."""
_BLIND = 0.5


def print_demo(result: DemoResult, console: Console) -> None:
    """Print tables, findings and notes for 100 columns, as plain text if the console is not a terminal."""
    print_result(console, _tables(result), result.findings, result.config.out / REPORT_NAME, _notes(result))


def demo_report(result: DemoResult) -> Report:
    """Return the demo's result as a report."""
    return Report(
        title="Reward models that judge whole conversations: the paper in miniature",
        intro=INTRO.format_map(result.config.sizes.model_dump()),
        findings=result.findings,
        parts=[defects_plot(result), best_of_n_plot(result), *_tables(result)],
        notes=_notes(result),
    )


def defects_plot(result: DemoResult) -> Plot:
    """Draw accuracy by turn: a panel for each kind of defect, a line for each model."""
    return curves(
        [
            Point(place=row.turn, estimate=row.estimate, series=row.model, panel=row.group, reference=_BLIND)
            for row in result.defects
        ],
        title="Plot: accuracy by turn",
        caption="How often a model ranks the flawless side above one with a single defect at that turn. Dashed: a "
        "model that is blind to it. Hover over a point for its interval, click a name to show it alone.",
        x="turn that holds the defect",
        y="accuracy",
        palette=_palette(result),
        reference="blind",
    )


def best_of_n_plot(result: DemoResult) -> Plot:
    """Draw mean oracle scores: a panel for each protocol, a row for each selector, a shape for each N."""
    return intervals(
        [
            Point(
                place=row.selector,
                estimate=row.score,
                series=row.selector,
                panel=row.protocol,
                variant=f"N={row.num_candidates}",
            )
            for row in result.best_of_n
        ],
        title="Plot: Best-of-N",
        caption="The true score of the selected conversations. greedy: at each turn the best of N replies is kept (the "
        "paper's protocol); whole: the best of N finished conversations.",
        x="mean oracle score",
        palette=_palette(result),
        num_columns=2,
    )


def _palette(result: DemoResult) -> Palette:
    """Return the colours of the models and of the other selectors."""
    names = [*(row.model for row in result.defects), *(row.selector for row in result.best_of_n)]
    return Palette(list(dict.fromkeys(names)))


def _tables(result: DemoResult) -> list[Table]:
    """Return all tables in the order of reading."""
    protocols = dict.fromkeys(row.protocol for row in result.best_of_n)
    return [
        _defects_table(result),
        _gains_table(result),
        _arms_table(result),
        *(_best_of_n_table(result, protocol) for protocol in protocols),
        _single_turn_table(result),
    ]


def _notes(result: DemoResult) -> dict[str, str]:
    """Return duration, calls, settings and versions of the run, by name."""
    sizes = ", ".join(f"{name} {value:,}" for name, value in result.config.sizes.model_dump().items())
    phases = ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in result.seconds.items())
    return {
        "Names": "prefix mean: the mean of a model's scores after each turn, which needs no training; "
        "random, longest: a random or the longest candidate; oracle: the truly best candidate",
        "Time": f"{phases}; {sum(result.seconds.values()):.1f} s in total",
        "Calls": f"{result.num_calls:,} to the simulated language models, over HTTP",
        "Settings": f"seed {result.config.seed}, {sizes}",
        "Versions": ", ".join(f"{name} {version}" for name, version in result.versions.items()),
    }


def _units(estimates: Iterable[Estimate]) -> str:
    """Return the number of units of the estimates, as text."""
    nums = sorted({estimate.num for estimate in estimates})
    return f"n = {nums[0]:,}" if len(nums) == 1 else f"n = {nums[0]:,} to {nums[-1]:,}"


def _defects_table(result: DemoResult) -> Table:
    """Return the headline table: models by kind of defect, a column per turn."""
    cells = {(row.group, row.model, row.turn): Interval(estimate=row.estimate) for row in result.defects}
    turns = sorted({row.turn for row in result.defects})
    groups: dict[str, list[list[Cell]]] = {}
    for group, model in dict.fromkeys((row.group, row.model) for row in result.defects):
        row: list[Cell] = [model, *(cells.get((group, model, turn)) for turn in turns)]
        groups.setdefault(group, []).append(row)
    return Table(
        title="Accuracy by the turn that holds the only defect",
        caption="How often the flawless side ranks above the one with a defect, [95% interval]; 0.5 = blind. "
        "relevance: the reply misses the request; count: it has the wrong number of items; standing: it breaks a "
        f"constraint stated in an earlier turn. {_units(row.estimate for row in result.defects)} pairs per cell.",
        columns=["model", *(f"turn {turn}" for turn in turns)],
        groups=groups,
    )


def _gains_table(result: DemoResult) -> Table:
    """Return the differences to the control by kind of defect, before the last turn and in it."""
    cells = {
        (row.group, row.model, row.place): Interval(
            estimate=row.difference, sign="+", verdict=row.finding.rpartition(": ")[2], separator="\n"
        )
        for row in result.gains
    }
    places = list(dict.fromkeys(row.place for row in result.gains))
    groups: dict[str, list[list[Cell]]] = {}
    for group, model in dict.fromkeys((row.group, row.model) for row in result.gains):
        groups.setdefault(group, []).append([model, *(cells.get((group, model, place)) for place in places)])
    return Table(
        title="Accuracy less that of last-turn, by the place of the defect",
        caption="Paired by pair, [95% interval].",
        columns=["model", *places],
        groups=groups,
    )


def _arms_table(result: DemoResult) -> Table:
    """Return each arm's training data and training figures."""
    rows: list[list[Cell]] = [
        [arm.name, arm.description, arm.num_pairs, arm.num_steps, arm.num_tokens, arm.seconds, arm.loss]
        for arm in result.arms
    ]
    return Table(
        title="Arms: the reward models that were trained",
        caption="loss: mean Bradley-Terry loss over the last tenth of the steps, each arm on its own pairs.",
        columns=["arm", "learned from", "pairs", "steps", "tokens", "seconds", "loss"],
        groups={"": rows},
    )


def _best_of_n_table(result: DemoResult, protocol: str) -> Table:
    """Return one protocol's selectors: the scores, then the paired differences, a column per N."""
    rows = {(row.selector, row.num_candidates): row for row in result.best_of_n if row.protocol == protocol}
    scores = {key: Interval(estimate=row.score) for key, row in rows.items()}
    nums = sorted({num for _, num in rows})
    # Only the verdict of the finding: the part before its colon repeats the figures.
    separator = "\n" if len(nums) > 1 else "  "
    differences = {
        key: Interval(estimate=row.difference, sign="+", verdict=row.finding.rpartition(": ")[2], separator=separator)
        for key, row in rows.items()
        if row.difference
    }
    groups = {"mean oracle score": _by_num(scores, nums), "difference to last-turn": _by_num(differences, nums)}
    return Table(
        title=_PROTOCOLS.get(protocol, f"Best-of-N, {protocol}"),
        caption="Oracle score of the selected conversations in [0, 1], [95% interval]; differences are paired by "
        f"conversation. {_units(row.score for row in rows.values())} conversations.",
        columns=["selector", *(f"N={num}" for num in nums)],
        groups={heading: body for heading, body in groups.items() if body},
    )


def _by_num(cells: Mapping[tuple[str, int], Interval], nums: Sequence[int]) -> list[list[Cell]]:
    """Lay out cells by selector and number of candidates, in order of appearance."""
    selectors = dict.fromkeys(selector for selector, _ in cells)
    return [[selector, *(cells.get((selector, num)) for num in nums)] for selector in selectors]


def _single_turn_table(result: DemoResult) -> Table:
    """Return the accuracy on held-out single-turn pairs."""
    return Table(
        title="Accuracy on held-out single-turn pairs",
        caption=f"[95% interval]; 0.5 = chance. {_units(result.single_turn.values())} pairs.",
        columns=["model", "accuracy"],
        groups={"": [[model, Interval(estimate=estimate)] for model, estimate in result.single_turn.items()]},
    )
