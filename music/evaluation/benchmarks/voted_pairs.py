"""`HelpSteer3` and `LMArena`: human preferences between replies within conversations, grouped by their own columns.

Both are read as `preferences` reads them (see docs/your-own-data.md, `helpsteer3` and `arena`). Ties are left out.

- HelpSteer3 (arXiv 2505.11475): the columns are those of its card, nvidia/HelpSteer3, subset `preference`: `domain`,
  `language`, `context`, `response1`, `response2`, and `overall_preference` from -3 (the first is much better) to 3.
- LMArena: the columns are those of the cards of lmarena-ai/arena-human-preference-140k (and -100k): `conversation_a`,
  `conversation_b`, `winner`, `language`, `is_code`. Both sides are whole conversations, which differ from the first
  reply on: one verdict covers them.
"""

from collections.abc import Sequence

from music.evaluation.benchmarks.fields import prompt_key, read_flag, row_fields
from music.evaluation.benchmarks.pairs import MANY_TURNS, PairBenchmark, pair_item, turns_name
from music.evaluation.benchmarks.scored import ScoredItems
from music.evaluation.benchmarks.types import Item, Scores, Tag
from music.pairs import PreferencePair
from music.preferences.messages import read_text
from music.preferences.sources import Row
from music.statistics import Figure

__all__ = ["HelpSteer3", "LMArena"]

_STRENGTHS = {1: "slightly better", 2: "better", 3: "much better"}


class HelpSteer3(PairBenchmark):
    """HelpSteer3's preferences."""

    name = "helpsteer3"
    source = "nvidia/HelpSteer3, subset `preference`, split `validation`; arXiv 2505.11475"
    split = "validation"

    def item(self, pair: PreferencePair, row: Row) -> Item:
        """Return the item of a pair."""
        fields = row_fields(row)
        strength = _STRENGTHS.get(abs(int(fields["overall_preference"])), "") if "overall_preference" in fields else ""
        tags: dict[str, Tag] = {name: read_text(fields, name) for name in ("domain", "language") if fields.get(name)}
        return _item(pair, str(tags.get("domain", "")), tags | {"strength": strength})

    def figures(self, items: Sequence[Item], scores: Scores) -> list[Figure]:
        """Return the accuracy overall, by number of turns, domain, strength of the preference and language."""
        scored = ScoredItems(items, scores)
        names = {"domain": "domains", "strength": "strength", "language": "languages"}
        groups = [figure for tag, table in names.items() for figure in _by_tag(scored, tag, table)]
        return [scored.accuracy("overall", scored.places), *by_turns(scored), *groups]


class LMArena(PairBenchmark):
    """Votes of LMArena's users on whole conversations."""

    name = "lmarena"
    source = "lmarena-ai/arena-human-preference-140k, or -100k"
    split = "train"

    def item(self, pair: PreferencePair, row: Row) -> Item:
        """Return the item of a battle."""
        fields = row_fields(row)
        tags: dict[str, Tag] = {"language": read_text(fields, "language")} if fields.get("language") else {}
        if (is_code := read_flag(fields, "is_code")) is not None:
            tags["code"] = "code" if is_code else "no code"
        return _item(pair, row.stem, tags)

    def figures(self, items: Sequence[Item], scores: Scores) -> list[Figure]:
        """Return the accuracy overall, by number of turns, code and language."""
        scored = ScoredItems(items, scores)
        groups = [*_by_tag(scored, "code", "code"), *_by_tag(scored, "language", "languages")]
        return [scored.accuracy("overall", scored.places), *by_turns(scored), *groups]


def by_turns(scored: ScoredItems) -> list[Figure]:
    """Return the accuracy by the number of turns of the chosen side."""
    turns = scored.group(lambda item: min(item.completions[0].num_turns, MANY_TURNS))
    return [scored.accuracy(turns_name(num), turns[num], table="turns") for num in sorted(turns)]


def _item(pair: PreferencePair, subset: str, tags: dict[str, Tag]) -> Item:
    prompt = next(message.content for message in pair.chosen.messages if message.role == "user")
    return pair_item(pair.id, subset, pair.chosen, pair.rejected, prompt_id=prompt_key(prompt), tags=tags)


def _by_tag(scored: ScoredItems, tag: str, table: str) -> list[Figure]:
    """Return the accuracy for each value of a tag, the most frequent first."""
    groups = scored.group(lambda item: str(item.tags.get(tag, "")) or None)
    return [
        scored.accuracy(name, where, table=table)
        for name, where in sorted(groups.items(), key=lambda each: -len(each[1]))
    ]
