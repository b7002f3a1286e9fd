"""MT-Bench human judgments (arXiv 2306.05685): votes between two models' answers after the first or second turn.

Both conversations are cut at the turn that was judged. Agreement is counted vote by vote and, as a variant, with the
majority of the votes of one match. Ties are left out when votes are read, even splits when majorities are counted. For
comparison, how often two human votes of one match agree is given, too: no model can do much better on such data. It is
what FastChat's `compute_agreement.py` prints for two humans without ties: .81002 of 479 pairs of votes in turn 1 and
.81857 of 474 in turn 2.

No model can score an empty reply (llama-13b's answer to question 127). Votes on such a conversation are counted and
named. They count in the agreement among humans, and nowhere else.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from music.evaluation.benchmarks.fields import read_key, read_number, row_fields, wrong
from music.evaluation.benchmarks.scored import Places, ScoredItems, joined
from music.evaluation.benchmarks.types import Item, LeftOutError, Scores, Tag
from music.preferences.messages import parse_messages, read_text, required
from music.preferences.row_messages import RowMessage, require_reply, to_conversation
from music.preferences.rows import row_id
from music.preferences.sources import Row
from music.statistics import Figure, proportion

__all__ = ["HUMANS", "MTBench"]

TURNS = (1, 2)
HUMAN, AUTHOR = "human", "author"
HUMANS = (HUMAN, AUTHOR)
EMPTY = "an empty reply, which no model can score"


class MTBench:
    """Human judgments of MT-Bench, or GPT-4's."""

    name = "mt_bench"
    source = "lmsys/mt_bench_human_judgments, splits `human` and `gpt4_pair`; arXiv 2306.05685"
    split = "human"

    def read(self, row: Row) -> Iterable[Item]:
        """Return a vote as a pair, the winner's conversation first.

        Raises:
            LeftOutError: The judge saw a tie, or a reply is empty.
        """
        fields = row_fields(row)
        turn, sides = read_number(fields, "turn", TURNS), _sides(fields)
        names = [read_text(fields, f"model_{side}") for side in sides]
        if names[0] == names[1]:
            raise wrong("model_b", "another model than model_a", repr(names[1]))
        vote = _vote(row, fields, turn, names)
        conversations = [f"conversation_{side}" for side in sides]
        both = [_cut(fields, conversation, turn) for conversation in conversations]
        for name, messages in zip(names, both, strict=True):
            if empty := _find_empty(messages):
                raise LeftOutError(EMPTY, f"question {vote.prompt_id}, {name}, turn {empty}", vote)
        completions = tuple(
            require_reply(to_conversation(*one), one[1]) for one in zip(both, conversations, strict=True)
        )
        return [replace(vote, completions=completions, labels=(1.0, 0.0))]

    def figures(self, items: Sequence[Item], scores: Scores) -> list[Figure]:
        """Return agreement with votes, with majorities and among humans, overall and by turn."""
        scored = ScoredItems([item for item in items if item.completions], scores)
        turns = dict.fromkeys(f"turn {turn}" for turn in TURNS) | scored.group(lambda item: item.subset)
        named = {"overall": scored.places} | {name: where for name, where in turns.items() if where is not None}
        matches = _matches(scored)
        judges = scored.accuracies("judges", lambda item: str(item.tags["judge"]))
        note = joined("each vote for a side counts", "pools judges of several kinds" if len(judges) > 1 else "")
        return [
            scored.accuracy("overall", scored.places, note=note),
            *(scored.accuracy(name, where, table="turns") for name, where in turns.items()),
            *(_majority(scored, matches, name, where) for name, where in named.items()),
            *(_ceiling(items, name) for name in named),
            *judges,
        ]


@dataclass(frozen=True, slots=True, eq=False)
class _Matches:
    """The votes of each match, summed up; the place of one of its votes stands for a match.

    Attributes:
        decided: For each match with a majority, a vote for the winner.
        split: For each match without a majority, one of its votes.
    """

    decided: Places
    split: Places


def _matches(scored: ScoredItems) -> _Matches:
    decided, split = [], []
    for places in scored.group(lambda item: str(item.tags["match"])).values():
        winners = [scored.items[place].tags["winner"] for place in places.tolist()]
        num = winners.count(winners[0])
        other = next((place for place, winner in zip(places, winners, strict=True) if winner != winners[0]), places[0])
        if 2 * num == len(winners):
            split.append(places[0])
        else:
            decided.append(places[0] if 2 * num > len(winners) else other)
    return _Matches(np.array(decided, dtype=np.int64), np.array(split, dtype=np.int64))


def _sides(fields: Mapping[str, Any]) -> list[str]:
    """Return the letters of the two sides, the winner's first."""
    winner = read_text(fields, "winner")
    if winner.startswith("tie"):
        raise LeftOutError("a tie among judges")
    if winner not in ("model_a", "model_b"):
        raise wrong("winner", "'model_a', 'model_b' or a tie", repr(winner))
    return ["a", "b"] if winner == "model_a" else ["b", "a"]


def _vote(row: Row, fields: Mapping[str, Any], turn: int, names: Sequence[str]) -> Item:
    """Return a vote without its completions; the winner's name comes first."""
    question, judge = read_key(fields, "question_id"), _judge(fields)
    match = "/".join([judge, question, *sorted(names), str(turn)])
    tags: dict[str, Tag] = {"turn": turn, "judge": judge, "winner": names[0], "match": match}
    return Item(id=row_id(row, {}), subset=f"turn {turn}", completions=(), labels=(), prompt_id=question, tags=tags)


def _cut(fields: Mapping[str, Any], name: str, turn: int) -> list[RowMessage]:
    """Return the messages of a conversation up to the reply that was judged."""
    messages = parse_messages(required(fields, name), name)
    ends = [place for place, message in enumerate(messages, start=1) if message.role == "assistant"]
    if len(ends) < turn:
        raise wrong(name, f"at least {turn} turns, as turn {turn} was judged", str(len(ends)))
    return messages[: ends[turn - 1]]


def _find_empty(messages: Sequence[RowMessage]) -> int | None:
    """Return the turn of the first empty reply, from 1; None if there is none."""
    replies = [message.content for message in messages if message.role == "assistant"]
    return next((turn for turn, content in enumerate(replies, start=1) if not content.strip()), None)


def _judge(fields: Mapping[str, Any]) -> str:
    """Return the kind of a judge: `human` for an expert, `author`, or the joined words of a list such as GPT-4's."""
    judge = fields.get("judge")
    if isinstance(judge, list):
        return "-".join(map(str, judge))
    name = read_text(fields, "judge")
    return next((kind for start, kind in (("expert", HUMAN), ("author", AUTHOR)) if name.startswith(start)), name)


def _majority(scored: ScoredItems, matches: _Matches, name: str, where: Places) -> Figure:
    """Return the agreement with the majority of the votes of each match."""
    decided, num_split = np.intersect1d(matches.decided, where), int(np.isin(matches.split, where).sum())
    note = f"{num_split} even split{'s' * (num_split != 1)} left out" if num_split else ""
    if not len(decided):
        return scored.figure(name, table="majority of votes", note=note)
    return scored.accuracy(name, decided, table="majority of votes", note=note)


def _ceiling(votes: Sequence[Item], name: str) -> Figure:
    """Return how often two experts who both name a winner name the same one; `name` is a turn, or `overall`."""
    here = [vote for vote in votes if name in ("overall", vote.subset)]
    by_match: defaultdict[Tag, list[Item]] = defaultdict(list)
    for vote in here:
        if vote.tags["judge"] == HUMAN:
            by_match[vote.tags["match"]].append(vote)
    pairs = [pair for own in by_match.values() for pair in combinations(own, 2)]
    agreements = [float(one.tags["winner"] == other.tags["winner"]) for one, other in pairs]
    estimate = proportion(agreements, clusters=[one.prompt_id for one, _ in pairs]) if pairs else None
    note = f"{len(pairs)} pairs of votes" if pairs else "no match has two votes of experts"
    return Figure(name=name, table="agreement among humans", estimate=estimate, num_items=len(here), note=note)
