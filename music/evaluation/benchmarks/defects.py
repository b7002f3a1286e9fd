"""Defect at turn k: pairs that are equal but for one assistant turn, which is worse on the rejected side.

Both sides continue alike, so a reward that reads the last turn alone distinguishes the sides where the defect is in the
last turn, and guesses elsewhere. Accuracy stands by the turn k of the defect, by how many turns follow it, and by kind.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from music.evaluation.benchmarks.fields import prompt_key, row_fields
from music.evaluation.benchmarks.pairs import PairBenchmark, pair_item
from music.evaluation.benchmarks.scored import ScoredItems
from music.evaluation.benchmarks.types import Item, LeftOutError, Scores, Tag
from music.pairs import ContrastivePair, PreferencePair
from music.preferences.messages import read_text
from music.preferences.sources import Row
from music.statistics import Figure

__all__ = ["MANY", "Defects", "find_defect", "position_name"]

MANY = 10
"""Numbers of turns from this one on are pooled."""

EARLY, LAST = "before the last turn", "in the last turn"


class Defects(PairBenchmark):
    """Pairs of preferences, in any format, that differ in exactly one assistant turn.

    The column `kind` names a pair's kind of defect; of a simulated pair it is the contrast's. It may be missing.
    """

    name = "defects"
    source = "pairs that differ in one assistant turn: `music sandbox defects`, `music defects`, or a file of your own"

    def item(self, pair: PreferencePair, row: Row) -> Item:
        """Return the item of a pair.

        Raises:
            LeftOutError: The sides differ in more, or elsewhere, than in one assistant turn.
        """
        turn, kind = find_defect(pair), _kind(row_fields(row))
        if not kind and isinstance(pair, ContrastivePair):
            kind = ", ".join(dict.fromkeys(contrast.strategy for contrast in pair.contrasts))
        prompt = next(message.content for message in pair.chosen.messages if message.role == "user")
        tags: dict[str, Tag] = {"turn": turn + 1, "after": pair.chosen.num_turns - turn - 1, "kind": kind}
        return pair_item(pair.id, kind, pair.chosen, pair.rejected, prompt_id=prompt_key(prompt), tags=tags)

    def figures(self, items: Sequence[Item], scores: Scores) -> list[Figure]:
        """Return the accuracy overall, by turn of the defect, by turns after it and by kind."""
        scored = ScoredItems(items, scores)
        ends = scored.group(lambda item: EARLY if item.tags["after"] else LAST)
        kinds = scored.group(lambda item: str(item.tags["kind"]) or None)
        after = partial(_by_number, scored, "after")
        return [
            scored.accuracy("overall", scored.places),
            *(scored.accuracy(end, ends.get(end)) for end in (EARLY, LAST)),
            *_by_number(scored, "turn", "turn of the defect", lambda _: True),
            *after("turns after the defect", lambda _: True),
            *(scored.accuracy(kind, where, table="kind") for kind, where in kinds.items()),
            *(figure for kind in kinds for figure in after(f"{kind}, turns after it", partial(_is_of, kind))),
        ]


def find_defect(pair: PreferencePair) -> int:
    """Return the assistant turn, from 0, in which alone the two sides differ.

    Raises:
        LeftOutError: There is no such turn; the text is where else they differ.
    """
    chosen, rejected = pair.chosen.messages, pair.rejected.messages
    if len(chosen) != len(rejected):
        raise LeftOutError("the sides have different numbers of messages")
    places = [place for place, (one, other) in enumerate(zip(chosen, rejected, strict=True)) if one != other]
    if any(chosen[place].role != "assistant" for place in places):
        raise LeftOutError("the sides differ in what is not the assistant's")
    if len(places) > 1:
        raise LeftOutError("the sides differ in several assistant turns")
    return pair.chosen.turn_ends.index(places[0] + 1)


def position_name(number: int) -> str:
    """Name a number of turns; from `MANY` on they share a name."""
    return str(number) if number < MANY else f"{MANY} or more"


def _kind(fields: Mapping[str, Any]) -> str:
    return read_text(fields, "kind") if fields.get("kind") is not None else ""


def _is_of(kind: str, item: Item) -> bool:
    return item.tags["kind"] == kind


def _by_number(scored: ScoredItems, tag: str, table: str, is_in: Callable[[Item], bool]) -> Iterator[Figure]:
    """Yield the accuracy by a number among the tags of some items, the lowest number first."""
    groups = scored.group(lambda item: min(int(item.tags[tag]), MANY) if is_in(item) else None)
    for number in sorted(groups):
        yield scored.accuracy(position_name(number), groups[number], table=table)
