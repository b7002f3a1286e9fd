"""Defect at turn k: pairs that differ in a single assistant turn, which is worse on the rejected side.

All other turns are the same. A reward that reads only the last turn therefore guesses unless the defect is in that
turn. Accuracy is given by the turn k of the defect, by how many turns follow it, and by kind.
"""

from collections.abc import Iterator, Sequence

from music.evaluation.benchmarks.fields import prompt_key, row_fields
from music.evaluation.benchmarks.pairs import PairBenchmark, pair_item
from music.evaluation.benchmarks.scored import Places, ScoredItems
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
    """Preference pairs, in any format, that differ in exactly one assistant turn.

    The optional column `kind` names the kind of defect. By default, the kind of a simulated pair is its contrast.
    """

    name = "defects"
    source = "pairs that differ in one assistant turn: `music sandbox defects`, `music defects`, or a file of your own"

    def item(self, pair: PreferencePair, row: Row) -> Item:
        """Return the item of a pair.

        Raises:
            LeftOutError: The sides do not differ in exactly one assistant turn.
        """
        turn, fields = find_defect(pair), row_fields(row)
        kind = read_text(fields, "kind") if fields.get("kind") is not None else ""
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
        return [
            scored.accuracy("overall", scored.places),
            *(scored.accuracy(end, ends.get(end)) for end in (EARLY, LAST)),
            *_by_number(scored, "turn", "turn of the defect"),
            *_by_number(scored, "after", "turns after the defect"),
            *(scored.accuracy(kind, where, table="kind") for kind, where in kinds.items()),
            *(each for kind in kinds for each in _by_number(scored, "after", f"{kind}, turns after it", kinds[kind])),
        ]


def find_defect(pair: PreferencePair) -> int:
    """Return the number of the only assistant turn in which the two sides differ, from 0.

    Raises:
        LeftOutError: There is no such turn; the message names the other differences.
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
    """Return the name of a number of turns; from `MANY` on they share one."""
    return str(number) if number < MANY else f"{MANY} or more"


def _by_number(scored: ScoredItems, tag: str, table: str, among: Places | None = None) -> Iterator[Figure]:
    """Yield the accuracy of some items for each value of a numeric tag, the lowest first."""
    groups = scored.group(lambda item: min(int(item.tags[tag]), MANY), among)
    for number in sorted(groups):
        yield scored.accuracy(position_name(number), groups[number], table=table)
