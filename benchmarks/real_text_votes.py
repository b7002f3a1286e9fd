"""Pairs from the human votes of MT-Bench: one for each match with a majority.

A match is two models' conversations about one question, judged after the first or the second turn. Its winner has more
votes than its loser; votes for a tie count for neither.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.evaluation.benchmarks.fields import read_choice, read_key, read_number, read_texts, wrong
from music.pairs import PreferencePair
from music.preferences.messages import read_text
from music.preferences.problems import RowError
from music.preferences.rows import row_fields
from music.preferences.sources import iter_rows

__all__ = ["HELD_OUT", "MatchKey", "Matches", "is_unseen", "read_matches", "winners"]

HELD_OUT = frozenset({"gpt-3.5-turbo", "vicuna-13b-v1.2"})
"""Models without any training pair."""
NO_MAJORITY, EMPTY, EQUAL = "no majority", "an empty answer", "equal answers"
SIDES = ("model_a", "model_b")

T = TypeVar("T")
Fields = Mapping[str, Any]
MatchKey = tuple[str, str, str, int]
"""Question, the two models in the order of their names, and turn from 1."""
Texts = Mapping[tuple[str, ...], tuple[str, ...]]
"""The user's messages by question, and the answers by question and model; one text for each turn."""


@dataclass(frozen=True, slots=True)
class Matches:
    """The matches that were voted on.

    Attributes:
        pairs: The conversations of matches with a majority, up to the turn that was judged; the winner's is chosen.
        left_out: Why other matches have no pair.
        differ: The matches whose other turn has a majority for the other model.
    """

    pairs: dict[MatchKey, PreferencePair]
    left_out: dict[MatchKey, str]
    differ: frozenset[MatchKey]


def is_unseen(key: MatchKey) -> bool:
    """Return whether a model of a match is held out."""
    return not HELD_OUT.isdisjoint(key[1:3])


def read_matches(folder: Path) -> Matches:
    """Read `question.jsonl`, `answer_*.jsonl` and `votes_human.jsonl` of a folder.

    Raises:
        InvalidInputError: A file is missing, a row is bad, or a vote is about a question or answer that is not there.
    """
    texts = dict(_read(folder / "question.jsonl", _question))
    for path in sorted(folder.glob("answer_*.jsonl")):
        texts |= _read(path, _answers)
    votes: defaultdict[MatchKey, Counter[str]] = defaultdict(Counter)
    for key, winner in _read(folder / "votes_human.jsonl", partial(_vote, texts)):
        votes[key][winner] += 1
    won = winners(votes)
    pairs, left_out = dict[MatchKey, PreferencePair](), dict.fromkeys(votes.keys() - won.keys(), NO_MAJORITY)
    for key, winner in sorted(won.items()):
        loser = key[2] if winner == key[1] else key[1]
        found = _pair(texts, key[0], winner, loser, key[3])
        if isinstance(found, str):
            left_out[key] = found
        else:
            pairs[key] = found
    differ = frozenset(key for key in pairs if won.get((*key[:3], 3 - key[3]), won[key]) != won[key])
    return Matches(pairs, left_out, differ)


def winners(votes: Mapping[MatchKey, Mapping[str, int]]) -> dict[MatchKey, str]:
    """Return the winner of each match with a majority, given the number of votes for each model."""
    margins = {key: own.get(key[1], 0) - own.get(key[2], 0) for key, own in votes.items()}
    return {key: key[1] if margin > 0 else key[2] for key, margin in margins.items() if margin}


def _pair(texts: Texts, question: str, winner: str, loser: str, turn: int) -> PreferencePair | str:
    """Return the pair of a match, or why there is none."""
    better, worse = (texts[question, model][:turn] for model in (winner, loser))
    if not all(text.strip() for text in (*better, *worse)):
        return EMPTY
    if better == worse:
        return EQUAL
    return PreferencePair(
        id="/".join((question, winner, loser, str(turn))),
        source="mt_bench",
        chosen=_conversation(texts[question,], better),
        rejected=_conversation(texts[question,], worse),
    )


def _conversation(requests: tuple[str, ...], replies: tuple[str, ...]) -> Conversation:
    """Return the conversation of as many turns as there are replies."""
    conversation = Conversation()
    for request, reply in zip(requests, replies, strict=False):
        conversation = conversation.user(request).assistant(reply)
    return conversation


def _read(path: Path, parse: Callable[[Fields], T]) -> Iterator[T]:
    """Yield what is in each row of a file."""
    for row in iter_rows(path):
        try:
            yield parse(row_fields(row))
        except RowError as error:
            raise InvalidInputError(f"{path}, {row.unit} {row.number}: {error}") from error


def _question(fields: Fields) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return (read_key(fields, "question_id"),), read_texts(fields, "turns")


def _answers(fields: Fields) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the question and the model, and the model's answers, which may be empty."""
    match fields.get("choices"):
        case [{"turns": [*turns]}, *_] if all(isinstance(text, str) for text in turns):
            return (read_key(fields, "question_id"), read_text(fields, "model_id")), tuple(turns)
        case other:
            raise wrong("choices", "a list of {turns: a list of texts}", repr(other)[:40])


def _vote(texts: Texts, fields: Fields) -> tuple[MatchKey, str]:
    """Return the match of a vote, and the model that it is for; "" for a tie."""
    question, turn = read_key(fields, "question_id"), read_number(fields, "turn", (1, 2))
    models = {side: read_text(fields, side) for side in SIDES}
    for side, model in models.items():
        if min(len(texts.get(key, ())) for key in ((question,), (question, model))) < turn:
            raise wrong(side, f"a model with an answer to question {question} in turn {turn}", repr(model))
    winner = read_choice(fields, "winner", (*SIDES, "tie", "tie (inconsistent)"))
    first, second = sorted(models.values())
    return (question, first, second, turn), models.get(winner, "")
