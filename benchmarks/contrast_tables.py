"""The records and the Markdown tables of `benchmarks.contrasts`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from music.sandbox.world.defects import ERROR_GROUPS
from music.sandbox.world.oracle import ErrorKind
from music.statistics import Estimate, accuracy, mean, paired_difference

__all__ = ["PairFigures", "Result", "print_row", "print_tables", "show", "show_accuracy"]

ALL_GROUPS = ERROR_GROUPS | {"recollection": (ErrorKind.RECOLLECTION,)}


@dataclass(frozen=True, slots=True)
class PairFigures:
    """Properties of an arm's training pairs, one value per pair."""

    num_calls: list[float]
    oracle_agrees: list[float]
    hop_shortcut: list[float]
    length_gap: list[float]


@dataclass(frozen=True, slots=True)
class Result:
    """One arm of one seed.

    Attributes:
        margins: Reward of the flawless side minus the reward of the side with the error, by group and turn (from 0).
        single_turn: The same for single-turn pairs.
        grades: Oracle grade of the conversation selected from each pool.
        pairs: Properties of the training pairs; None without training.
        seconds: Duration of simulation, training and measuring.
    """

    arm: str
    margins: dict[tuple[str, int], list[float]]
    single_turn: list[float]
    grades: list[float]
    pairs: PairFigures | None
    seconds: float


def print_tables(by_arm: Mapping[str, Sequence[Result]], paper: str, num_turns: int) -> None:
    """Print the measures of the models and of their training pairs.

    Args:
        by_arm: The results of each arm, one for each seed.
        paper: The arm with which the others are compared.
        num_turns: Turns of the test conversations.
    """
    last = num_turns - 1
    spans = {"before the last turn": range(last), "last turn": range(last, last + 1)}
    columns = [f"{group}, {span}" for group in ALL_GROUPS for span in spans]
    print_row("model trained on", *columns, "single turns")
    print_row(*["---"] * (len(columns) + 2))
    for arm, results in by_arm.items():
        cells = [_hits(results, group, turns) for group in ALL_GROUPS for turns in spans.values()]
        print_row(arm, *cells, show_accuracy([margin for r in results for margin in r.single_turn]))
    print()
    print_row("pairs of", "Best-of-8", f"against {paper}", "calls", "oracle agrees", "hop shortcut", "longer, %")
    print_row(*["---"] * 7)
    compared = [grade for r in by_arm[paper] for grade in r.grades]
    for arm, results in by_arm.items():
        grades = [grade for r in results for grade in r.grades]
        difference = "" if arm == paper else show(paired_difference(grades, compared), 3)
        print_row(arm, show(mean(grades), 3), difference, *_pair_cells([r.pairs for r in results if r.pairs]))


def _pair_cells(figures: Sequence[PairFigures]) -> list[str]:
    """Return the cells of the training pairs."""
    if not figures:
        return [""] * 4
    agree, hops = (mean([v for f in figures for v in getattr(f, name)]) for name in ("oracle_agrees", "hop_shortcut"))
    calls, gap = (mean([v for f in figures for v in getattr(f, name)]).value for name in ("num_calls", "length_gap"))
    return [f"{calls:.1f}", show(agree), show(hops), f"{100 * gap:+.1f}"]


def _hits(results: Sequence[Result], group: str, turns: range) -> str:
    """Return the accuracy on the defects of a group in some turns."""
    return show_accuracy([m for r in results for turn in turns for m in r.margins.get((group, turn), [])])


def show_accuracy(margins: Sequence[float]) -> str:
    """Return the share of margins above zero."""
    return show(accuracy(margins, [0.0] * len(margins)))


def show(estimate: Estimate, digits: int = 2, sign: str = "") -> str:
    """Return a figure with its interval as a short text; `sign` is + to write the sign of positive figures."""
    value, low, high = (f"{number:{sign}.{digits}f}" for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def print_row(*cells: str) -> None:
    """Print one row of a Markdown table."""
    print(f"| {' | '.join(cells)} |")
