"""The formats of preference rows: how each is recognised, and how its rows become pairs."""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any

from pydantic import ValidationError

from music.conversation import Message
from music.pairs import ContrastivePair, PreferencePair
from music.preferences.messages import TRANSCRIPT_START, read_messages, read_side, read_text, read_transcript
from music.preferences.problems import RowError, RowProblem
from music.preferences.sources import Row

__all__ = ["Format", "detect_format", "read_pair", "row_id"]


class Format(StrEnum):
    """Known shapes of rows; further columns are allowed in each."""

    SKYWORK = "skywork"
    """`chosen`, `rejected`: whole conversations as lists of `{role, content}`. TRL's conversational format with an
    implicit prompt and the rows of `music simulate` have this same shape and are read by the same reader."""
    HH = "hh"
    r"""`chosen`, `rejected`: transcripts, "\n\nHuman: ...\n\nAssistant: ..."."""
    ULTRAFEEDBACK = "ultrafeedback"
    """`prompt`: the user's message; `chosen`, `rejected`: replies as strings, or whole conversations as lists."""
    TRL = "trl"
    """`prompt`: messages; `chosen`, `rejected`: the messages that follow."""


_CONTRASTIVE_FIELDS = ContrastivePair.model_fields.keys() - PreferencePair.model_fields.keys()
_REQUIRED_FIELDS = {name for name in _CONTRASTIVE_FIELDS if ContrastivePair.model_fields[name].is_required()}


def detect_format(rows: Iterable[Row]) -> Format | None:
    """Return the format of the first row that shows one."""
    formats = (_format_of(row.content) for row in rows if isinstance(row.content, dict))
    return next((format for format in formats if format is not None), None)


def _format_of(fields: Mapping[str, Any]) -> Format | None:
    prompt = fields.get("prompt")
    sides = [side for name in ("chosen", "rejected") if (side := fields.get(name)) is not None]
    if not sides:
        return None
    if isinstance(prompt, str):
        return Format.ULTRAFEEDBACK
    if isinstance(prompt, list):
        return Format.TRL
    if all(isinstance(side, list) for side in sides):
        return Format.SKYWORK
    if all(isinstance(side, str) and TRANSCRIPT_START.match(side) for side in sides):
        return Format.HH
    return None


def read_pair(row: Row, format: Format) -> PreferencePair:
    """Read one row; a row of `music simulate` becomes a `ContrastivePair`.

    Raises:
        RowError: The row is bad.
    """
    fields = row.content
    if isinstance(fields, RowError):
        raise fields
    if not isinstance(fields, dict):
        raise RowError(RowProblem.WRONG_TYPE, row.unit, expected="an object with fields", got=type(fields).__name__)
    read = _READERS[format]
    chosen, rejected = (read_side(read(fields, name), name) for name in ("chosen", "rejected"))
    if chosen == rejected:
        raise RowError(RowProblem.IDENTICAL_SIDES, "rejected", expected="another conversation", got="the chosen one")
    source = fields.get("source")
    common = {
        "id": row_id(row, fields),
        "source": source if isinstance(source, str) else row.stem,
        "chosen": chosen,
        "rejected": rejected,
    }
    if all(fields.get(name) is not None for name in _REQUIRED_FIELDS):
        return _contrastive(fields, common)
    return PreferencePair(**common)


def row_id(row: Row, fields: Mapping[str, Any]) -> str:
    """Return the id of a row's pair: its own, or its place.

    Raises:
        RowError: Its id is neither text nor a number.
    """
    value = fields.get("id")
    if value is not None and not isinstance(value, str | int):
        raise RowError(RowProblem.WRONG_TYPE, "id", expected="a string or a whole number", got=type(value).__name__)
    return f"{row.stem}-{row.number}" if value is None or value == "" else str(value)


def _contrastive(fields: Mapping[str, Any], common: Mapping[str, Any]) -> ContrastivePair:
    record = {name: fields[name] for name in _CONTRASTIVE_FIELDS if fields.get(name) is not None}
    # A table holds one column per role over all rows, so a role that this row lacks comes as null.
    if isinstance(record["models"], dict):
        record["models"] = {role: name for role, name in record["models"].items() if name is not None}
    try:
        return ContrastivePair.model_validate({**record, **common})
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        got = repr(fault["input"])[:40]
        raise RowError(RowProblem.WRONG_TYPE, place, expected=fault["msg"], got=got) from error


def _ultrafeedback(fields: Mapping[str, Any], name: str) -> tuple[Message, ...]:
    prompt = Message(role="user", content=read_text(fields, "prompt"))
    if isinstance(fields.get(name), list):
        return read_messages(fields, name)
    return prompt, Message(role="assistant", content=read_text(fields, name))


def _trl(fields: Mapping[str, Any], name: str) -> tuple[Message, ...]:
    return read_messages(fields, "prompt") + read_messages(fields, name)


_READERS: dict[Format, Callable[[Mapping[str, Any], str], tuple[Message, ...]]] = {
    Format.SKYWORK: read_messages,
    Format.HH: read_transcript,
    Format.ULTRAFEEDBACK: _ultrafeedback,
    Format.TRL: _trl,
}
