"""MT-Bench human judgments (arXiv 2306.05685): votes between two models' answers after the first or second turn.

Both conversations are cut at the turn that was judged. Agreement is counted vote by vote and, as a variant, with the
majority of the votes of one match. Ties are left out when votes are read, even splits when majorities are counted. For
comparison, how often two human votes of one match agree is given, too: no model can do much better on such data.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from music.conversation import Conversation
from music.evaluation.benchmarks.fields import read_key, row_fields, wrong
from music.evaluation.benchmarks.pairs import pair_item
from music.evaluation.benchmarks.scored import Floats, Places, ScoredItems, joined
from music.evaluation.benchmarks.types import Item, LeftOutError, Scores
from music.preferences.messages import read_messages, read_side, read_text
from music.preferences.rows import row_id
from music.preferences.sources import Row
from music.statistics import Figure, mean

__all__ = ["MTBench"]

TURNS = (1, 2)
HUMAN = "human"


class MTBench:
    """Human judgments of MT-Bench, or GPT-4's."""

    name = "mt_bench"
    source = "lmsys/mt_bench_human_judgments, splits `human` and `gpt4_pair`; arXiv 2306.05685"
    split = "human"

    def read(self, row: Row) -> Iterable[Item]:
        """Return a vote as a pair, the winner's conversation first.

        Raises:
            LeftOutError: The judge saw a tie.
        """
        fields = row_fields(row)
        winner = read_text(fields, "winner")
        if winner.startswith("tie"):
            raise LeftOutError("a tie among judges")
        if winner not in ("model_a", "model_b"):
            raise wrong("winner", "'model_a', 'model_b' or a tie", repr(winner))
        turn = fields.get("turn")
        if turn not in TURNS:
            raise wrong("turn", "1 or 2", repr(turn))
        sides = ["a", "b"] if winner == "model_a" else ["b", "a"]
        chosen, rejected = (_cut(fields, f"conversation_{side}", turn) for side in sides)
        names = [read_text(fields, f"model_{side}") for side in sides]
        question, judge = read_key(fields, "question_id"), _judge(fields)
        match = "/".join([judge, question, *sorted(names), str(turn)])
        tags = {"turn": turn, "judge": judge, "winner": names[0], "match": match}
        return [pair_item(row_id(row, {}), f"turn {turn}", chosen, rejected, prompt_id=question, tags=tags)]

    def figures(self, items: Sequence[Item], scores: Scores) -> list[Figure]:
        """Return agreement with votes, with majorities and among humans, overall and by turn."""
        scored = ScoredItems(items, scores)
        turns = dict.fromkeys(f"turn {turn}" for turn in TURNS) | scored.group(lambda item: item.subset)
        named = {"overall": scored.places} | {name: where for name, where in turns.items() if where is not None}
        matches = _matches(scored)
        judges = scored.accuracies("judges", lambda item: str(item.tags["judge"]))
        note = joined("each vote for a side counts", "pools judges of several kinds" if len(judges) > 1 else "")
        return [
            scored.accuracy("overall", scored.places, note=note),
            *(scored.accuracy(name, where, table="turns") for name, where in turns.items()),
            *(_majority(scored, matches, name, where) for name, where in named.items()),
            *(_ceiling(scored, matches, name, where) for name, where in named.items()),
            *judges,
        ]


@dataclass(frozen=True, slots=True, eq=False)
class _Matches:
    """The votes of each match, summed up; the place of one of its votes stands for a match.

    Attributes:
        decided: For each match with a majority, a vote for the winner.
        split: For each match without a majority, one of its votes.
        pairs: For each two votes of experts on one match, that match.
        agreements: 1 where those two votes agree, else 0.
    """

    decided: Places
    split: Places
    pairs: Places
    agreements: Floats


def _matches(scored: ScoredItems) -> _Matches:
    decided, split, pairs, agreements = [], [], [], []
    for places in scored.group(lambda item: str(item.tags["match"])).values():
        winners = [scored.items[place].tags["winner"] for place in places.tolist()]
        num = winners.count(winners[0])
        other = next((place for place, winner in zip(places, winners, strict=True) if winner != winners[0]), places[0])
        if 2 * num == len(winners):
            split.append(places[0])
        else:
            decided.append(places[0] if 2 * num > len(winners) else other)
        if len(winners) > 1 and scored.items[places[0]].tags["judge"] == HUMAN:
            own = [float(first == second) for first, second in combinations(winners, 2)]
            pairs += [places[0]] * len(own)
            agreements += own
    at_decided, at_split, at_pairs = (np.array(places, dtype=np.int64) for places in (decided, split, pairs))
    return _Matches(at_decided, at_split, at_pairs, np.array(agreements))


def _cut(fields: Mapping[str, Any], name: str, turn: int) -> Conversation:
    """Return a conversation up to the reply that was judged."""
    conversation = read_side(read_messages(fields, name), name)
    if conversation.num_turns < turn:
        raise wrong(name, f"at least {turn} turns, as turn {turn} was judged", str(conversation.num_turns))
    return conversation.prefix(conversation.turn_ends[turn - 1])


def _judge(fields: Mapping[str, Any]) -> str:
    """Return the kind of a judge: `human` for an expert, `author`, or the joined words of a list such as GPT-4's."""
    judge = fields.get("judge")
    if isinstance(judge, list):
        return "-".join(map(str, judge))
    name = read_text(fields, "judge")
    return next((kind for start, kind in (("expert", HUMAN), ("author", "author")) if name.startswith(start)), name)


def _majority(scored: ScoredItems, matches: _Matches, name: str, where: Places) -> Figure:
    """Return the agreement with the majority of the votes of each match."""
    decided, num_split = np.intersect1d(matches.decided, where), int(np.isin(matches.split, where).sum())
    note = f"{num_split} even split{'s' * (num_split != 1)} left out" if num_split else ""
    if not len(decided):
        return scored.figure(name, table="majority of votes", note=note)
    return scored.accuracy(name, decided, table="majority of votes", note=note)


def _ceiling(scored: ScoredItems, matches: _Matches, name: str, where: Places) -> Figure:
    """Return how often two experts who both name a winner name the same one."""
    is_here = np.isin(matches.pairs, where)
    num_pairs = int(is_here.sum())
    questions = [scored.items[place].prompt_id for place in matches.pairs[is_here]]
    estimate = mean(matches.agreements[is_here], clusters=questions) if num_pairs else None
    note = f"{num_pairs} pairs of votes" if num_pairs else "no match has two votes of experts"
    return Figure(name=name, table="agreement among humans", estimate=estimate, num_items=len(where), note=note)
