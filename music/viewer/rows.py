"""`read_records`: the records of a file's row, by the row's own shape.

Pairs and conversations are read as all commands read them (`music.preferences`). Rollouts of `music best-of-n`, lines
of `failures.jsonl` and prompts with lists of completions are recognised by their columns.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from music.conversation import Message
from music.pairs import ContrastivePair, PreferencePair
from music.preferences.files import Row
from music.preferences.problems import RowError, RowProblem
from music.preferences.row_messages import Consecutive
from music.preferences.rows import read_row, row_id
from music.viewer.records import Decision, Kind, Record, Side

__all__ = ["UnknownShapeError", "read_records"]

_TEXTS = {"id", "messages", "conversations", "prompt", "chosen", "rejected", "decisions", "index", "source", "text"}
"""Columns that are shown elsewhere; all others are details."""
_MAX_DETAIL = 2000


class UnknownShapeError(Exception):
    """A row is neither a pair nor anything else that can be shown."""


def read_records(row: Row, data_set: str) -> list[Record]:
    """Return the records of a row; a ranking gives several pairs.

    Raises:
        RowError: The row is of a known shape, but a part of it is bad.
        UnknownShapeError: The row has no known shape.
    """
    if isinstance(row.content, RowError):
        raise row.content
    if not isinstance(row.content, dict):
        raise UnknownShapeError
    fields: dict[str, Any] = row.content
    read = next((read for columns, read in _SHAPES if columns <= fields.keys()), None)
    place = f"{row.file} {row.unit} {row.number}"
    if read is not None and (found := read(row, fields)) is not None:
        return [Record(data_set=data_set, place=place, **found)]
    return [Record(data_set=data_set, place=place, **each) for each in _preferences(row, fields)]


def _preferences(row: Row, fields: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    read = read_row(row, with_conversations=True, consecutive=Consecutive.MERGE)
    if read.format is None:
        raise UnknownShapeError from read.error
    if read.error is not None:
        raise read.error
    if read.conversation is not None:
        sides = (Side("conversation", read.conversation.messages),)
        return [_fields(read.id, Kind.CONVERSATION, sides, source=_text(fields, "source"), details=_details(fields))]
    return [_pair(pair, fields) for pair in read.pairs]


def _pair(pair: PreferencePair, fields: Mapping[str, Any]) -> dict[str, Any]:
    sides = (Side("chosen", pair.chosen.messages), Side("rejected", pair.rejected.messages))
    if not isinstance(pair, ContrastivePair):
        return _fields(pair.id, Kind.PAIR, sides, source=pair.source, details=_details(fields))
    details = pair.model_dump(mode="json", include={"models", "usage", "seed", "persona", "retries", "judgement"})
    return _fields(
        pair.id,
        Kind.PAIR,
        sides,
        source=pair.source,
        seed_id=pair.seed_id,
        num_seed_messages=pair.num_seed_messages,
        contrasts=pair.contrasts,
        details={name: value for name, value in details.items() if value not in ("", [], {}, None)},
    )


def _rollout(row: Row, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Read a rollout of `music best-of-n`."""
    sides = (Side("conversation", _messages(fields["messages"], "messages")),)
    decisions = tuple(_decision(each) for each in fields["decisions"])
    id = f"{row.stem}-{fields.get('index', row.number)}"
    return _fields(id, Kind.ROLLOUT, sides, decisions=decisions, details=_details(fields))


def _decision(row: Any) -> Decision:
    try:
        candidates = tuple(_messages(each, "decisions.candidates") for each in row["candidates"])
        scores = tuple(map(float, row.get("scores") or ()))
        return Decision(int(row["num_messages"]), candidates, scores, int(row["chosen"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        expected = "num_messages, candidates, scores and chosen"
        raise RowError(RowProblem.WRONG_TYPE, "decisions", expected=expected, got=repr(row)[:80]) from error


def _failure(row: Row, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Read a line of `failures.jsonl`."""
    text = _text(fields, "text")
    reply = (Message(role="assistant", content=text),) if text.strip() else ()
    sides = (Side("unusable reply", reply),) if reply else ()
    return _fields(
        str(fields.get("id") or row_id(row, fields)),
        Kind.FAILURE,
        sides,
        source=_text(fields, "reason"),
        seed_id=_text(fields, "seed_id"),
        details=_details({name: value for name, value in fields.items() if name not in ("reason", "seed_id")}),
    )


def _item(row: Row, fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read a prompt with lists of chosen and rejected replies (RewardBench 2); None for other rows."""
    prompt, names = fields["prompt"], ("chosen", "rejected")
    if not isinstance(prompt, str) or not all(_is_texts(fields[name]) for name in names):
        return None
    asked = _messages([{"role": "user", "content": prompt}], "prompt")
    sides = []
    for name in names:
        for number, reply in enumerate(fields[name], start=1):
            label = name if len(fields[name]) == 1 else f"{name} {number}"
            sides.append(Side(label, asked + _messages([{"role": "assistant", "content": reply}], name)))
    source = _text(fields, "source") or _text(fields, "subset")
    return _fields(row_id(row, fields), Kind.ITEM, tuple(sides), source=source, details=_details(fields))


_SHAPES: Sequence[tuple[set[str], Callable[[Row, Mapping[str, Any]], dict[str, Any] | None]]] = (
    ({"messages", "decisions"}, _rollout),
    ({"reason", "detail", "seed_id", "index"}, _failure),
    ({"prompt", "chosen", "rejected"}, _item),
)
"""The columns of a shape and its reader, in the order in which they are tried."""


def _fields(id: str, kind: Kind, sides: tuple[Side, ...], **others: Any) -> dict[str, Any]:
    return {"id": id, "kind": kind, "sides": sides, **others}


def _messages(rows: Any, column: str) -> tuple[Message, ...]:
    try:
        return tuple(map(Message.model_validate, rows))
    except (TypeError, ValidationError) as error:
        raise RowError(
            RowProblem.WRONG_TYPE, column, expected="messages with a role and text", got=repr(rows)[:80]
        ) from error


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, str) for each in value)


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _details(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that are shown nowhere else; long ones are cut."""
    kept = {name: value for name, value in fields.items() if name not in _TEXTS and value not in (None, "", [], {})}
    return {
        name: value if len(str(value)) <= _MAX_DETAIL else f"{value!s:.{_MAX_DETAIL}} …" for name, value in kept.items()
    }
