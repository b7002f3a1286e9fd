"""ConversationBench: all human preferences between conversations of several turns that you have, in one benchmark.

Each row is read by its own benchmark, which its columns reveal, and becomes part of a *slice*:

- MT-Bench: the votes of humans on the second turn (`conversation_a`, `turn`, `judge`). GPT-4's votes are left out.
- LMArena: votes on conversations (`conversation_a`, `winner`).
- HelpSteer3: preferences between replies within conversations (`context`, `response1`, `overall_preference`).
- Every other file of pairs, such as HH-RLHF, under its own name. Its labels should be of humans; nothing checks that.

Pairs of a single turn, and ties, are left out and counted. Slices weigh the same, whatever their size, because the
largest would hide the others. The figure for a number of turns is the mean over the slices that have enough such pairs,
which its note names. Figures for different numbers of turns may be of different slices; each slice also has its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from music.evaluation.benchmarks.fields import row_fields
from music.evaluation.benchmarks.mt_bench import HUMANS, MTBench
from music.evaluation.benchmarks.pairs import MANY_TURNS, Preferences, turns_name
from music.evaluation.benchmarks.scored import Places, ScoredItems
from music.evaluation.benchmarks.types import Benchmark, Item, LeftOutError, Scores
from music.evaluation.benchmarks.voted_pairs import HelpSteer3, LMArena
from music.preferences.sources import Row
from music.statistics import Figure

__all__ = ["MIN_PAIRS", "ConversationBench"]

MIN_PAIRS = 30
"""A slice with fewer pairs of a number of turns does not enter the mean for that number, which it would dominate."""

_MT_BENCH = "MT-Bench"
_READERS: tuple[tuple[str, Benchmark, frozenset[str]], ...] = (
    (_MT_BENCH, MTBench(), frozenset({"conversation_a", "turn", "judge"})),
    ("LMArena", LMArena(), frozenset({"conversation_a", "winner"})),
    ("HelpSteer3", HelpSteer3(), frozenset({"context", "response1", "overall_preference"})),
)
"""The slices that columns reveal: the first whose columns a row has."""


class ConversationBench:
    """Human preferences between conversations of two turns or more, from files of several benchmarks."""

    name = "conversation_bench"
    source = "any files of mt_bench, lmarena, helpsteer3 and preferences whose labels are of humans"
    split = "test"

    def read(self, row: Row) -> Iterable[Item]:
        """Return the pairs of a row.

        Raises:
            RowError: The row is bad.
            LeftOutError: It has a single turn, is a tie, or is no human's vote.
        """
        slice_, benchmark = _reader(row, row_fields(row))
        try:
            items = list(benchmark.read(row))
        except LeftOutError as error:
            raise LeftOutError(f"{slice_}: {error.reason}", error.detail) from error
        if not items:
            raise LeftOutError(f"{slice_}: a tie")
        if slice_ == _MT_BENCH and items[0].tags["judge"] not in HUMANS:
            raise LeftOutError(f"{slice_}: the vote of a model")
        several = [item for item in items if item.completions[0].num_turns > 1]
        if not several:
            raise LeftOutError(f"{slice_}: a single turn")
        return [replace(item, id=f"{slice_}/{item.id}", subset=slice_, tags={}) for item in several]

    def figures(self, items: Sequence[Item], scores: Scores) -> list[Figure]:
        """Return the mean of the slices, each slice, and both by number of turns."""
        scored = ScoredItems(items, scores)
        slices, turns = scored.group(lambda item: item.subset), _by_turns(scored)
        return [
            _mean(scored, "mean of slices" if len(slices) > 1 else "overall", slices),
            *(scored.accuracy(name, where, table="slices") for name, where in slices.items()),
            *(_of_turns(scored, num, where) for num, where in turns.items()),
            *(
                scored.accuracy(turns_name(num), where[name], table=f"{name}, turns")
                for name in slices
                for num, where in turns.items()
                if name in where
            ),
        ]


def _reader(row: Row, fields: Mapping[str, Any]) -> tuple[str, Benchmark]:
    """Return the slice of a row and the benchmark that reads it."""
    for name, benchmark, columns in _READERS:
        if columns <= fields.keys():
            return name, benchmark
    return row.stem, Preferences()


def _by_turns(scored: ScoredItems) -> dict[int, dict[str, Places]]:
    """Return the places of the items by number of turns, and in each by slice."""
    turns = scored.group(lambda item: min(item.completions[0].num_turns, MANY_TURNS))
    return {num: scored.group(lambda item: item.subset, turns[num]) for num in sorted(turns)}


def _of_turns(scored: ScoredItems, num: int, slices: Mapping[str, Places]) -> Figure:
    """Return the mean of the slices with enough pairs of a number of turns; without any, all pairs count alike."""
    large = {name: where for name, where in slices.items() if len(where) >= MIN_PAIRS}
    if large:
        return _mean(scored, turns_name(num), large, "turns")
    note = f"pairs of {', '.join(slices)}, each with fewer than {MIN_PAIRS}"
    return scored.accuracy(turns_name(num), np.sort(np.concatenate([*slices.values()])), table="turns", note=note)


def _mean(scored: ScoredItems, name: str, slices: Mapping[str, Places], table: str = "overall") -> Figure:
    """Return the unweighted mean of the accuracies of slices."""
    if len(slices) == 1:
        (only, where), *_ = slices.items()
        return scored.accuracy(name, where, table=table, note=only)
    shares = [scored.share(where, 1 / len(slices)) for where in slices.values()]
    note = f"unweighted mean of {', '.join(slices)}"
    return scored.figure(name, *shares, table=table, chance=0.5, note=note)
