"""`Record`: one thing to look at, such as a pair, a rollout or a failure, whatever file it comes from.

A record is what the index stores and the pages show. `pack` and `unpack` convert it to compact JSON and back.
"""

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from music.conversation import Message
from music.pairs import TurnContrast

__all__ = ["KEY_LENGTH", "Decision", "Kind", "Record", "Side", "key_of", "pack", "text_key", "unpack"]

KEY_LENGTH = 16
"""Characters of a key that depend on the texts; those of a repeated record have more."""


class Kind(StrEnum):
    """What a record is."""

    PAIR = "pair"
    """A chosen and a rejected conversation."""
    CONVERSATION = "conversation"
    """A single conversation."""
    ROLLOUT = "rollout"
    """A conversation whose replies were selected among candidates."""
    ITEM = "item"
    """A prompt with several completions, as benchmarks have them."""
    FAILURE = "failure"
    """A pair that could not be simulated."""


@dataclass(frozen=True, slots=True)
class Side:
    """One conversation of a record.

    Attributes:
        name: For example `chosen`, `rejected` or `conversation`.
        messages: All its messages.
    """

    name: str
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """One choice among candidates in a rollout.

    Attributes:
        num_messages: The number of messages that all candidates share.
        candidates: The further messages of each candidate.
        scores: The score of each candidate; empty for none.
        chosen: Index of the candidate that was kept.
    """

    num_messages: int
    candidates: tuple[tuple[Message, ...], ...]
    scores: tuple[float, ...]
    chosen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One thing to look at.

    Attributes:
        id: Its id in its file.
        kind: What it is.
        data_set: The data set that it belongs to: a file, or a folder of shards, as the user named it.
        place: Its file and row, for example `pairs-00000.parquet row 17`.
        sides: Its conversations. A pair has the chosen one first, then the rejected one. A failure may have none.
        source: Where its seed comes from; empty if unknown.
        seed_id: The id of its seed; empty for none.
        num_seed_messages: The number of messages of the seed.
        contrasts: How rejected turns were made worse.
        decisions: The choices of a rollout.
        details: Further fields of its row, by name, for people to read.
    """

    id: str
    kind: Kind
    data_set: str
    place: str
    sides: tuple[Side, ...]
    source: str = ""
    seed_id: str = ""
    num_seed_messages: int = 0
    contrasts: tuple[TurnContrast, ...] = ()
    decisions: tuple[Decision, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def num_shared(self) -> int:
        """The number of messages with which all sides begin."""
        if len(self.sides) < 2:
            return 0
        first, *others = (side.messages for side in self.sides)
        limit = min(map(len, (first, *others)))
        return next((i for i in range(limit) if any(other[i] != first[i] for other in others)), limit)


def pack(record: Record) -> bytes:
    """Return a record as compact JSON; the messages that its sides share are stored once."""
    num = record.num_shared
    shared = record.sides[0].messages[:num] if record.sides else ()
    return orjson.dumps(
        {
            "id": record.id,
            "kind": record.kind,
            "data_set": record.data_set,
            "place": record.place,
            "shared": [message.to_dict() for message in shared],
            "sides": [[side.name, [message.to_dict() for message in side.messages[num:]]] for side in record.sides],
            "source": record.source,
            "seed_id": record.seed_id,
            "num_seed_messages": record.num_seed_messages,
            "contrasts": [contrast.model_dump() for contrast in record.contrasts],
            "decisions": [_decision_row(decision) for decision in record.decisions],
            "details": record.details,
        },
        default=str,
        option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY,
    )


def unpack(packed: bytes) -> Record:
    """Return the record that `pack` packed."""
    row = orjson.loads(packed)
    shared = _messages(row.pop("shared"))
    row["kind"] = Kind(row["kind"])
    row["sides"] = tuple(Side(name, shared + _messages(rest)) for name, rest in row["sides"])
    row["contrasts"] = tuple(map(TurnContrast.model_validate, row["contrasts"]))
    row["decisions"] = tuple(map(_decision, row["decisions"]))
    return Record(**row)


def key_of(record: Record) -> str:
    """Return the key of a record in links and labels: a hash of its texts, wherever its file is.

    The id counts, too, but not that of a pair, since pairs may be numbered by their rows.
    """
    digest = hashlib.sha256(orjson.dumps([record.kind, "" if record.kind is Kind.PAIR else record.id]))
    for side in record.sides:
        digest.update(orjson.dumps([side.name, [message.to_dict() for message in side.messages]]))
    return digest.hexdigest()[:KEY_LENGTH]


def text_key(key: str) -> str:
    """Return the key that all records of the same texts share: labels and rewards belong to it."""
    return key[:KEY_LENGTH]


def _messages(rows: list[dict[str, Any]]) -> tuple[Message, ...]:
    return tuple(map(Message.model_validate, rows))


def _decision_row(decision: Decision) -> dict[str, Any]:
    return {
        "num_messages": decision.num_messages,
        "candidates": [[message.to_dict() for message in each] for each in decision.candidates],
        "scores": decision.scores,
        "chosen": decision.chosen,
    }


def _decision(row: dict[str, Any]) -> Decision:
    candidates = tuple(map(_messages, row["candidates"]))
    return Decision(row["num_messages"], candidates, tuple(row["scores"]), row["chosen"])
