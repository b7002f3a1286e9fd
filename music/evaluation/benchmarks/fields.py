"""Reads and checks the fields of a benchmark's rows; a `RowError` explains each failure."""

from collections.abc import Collection, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from music.conversation import Conversation, Message
from music.preferences.messages import read_side, read_text
from music.preferences.problems import RowError, RowProblem
from music.preferences.rows import row_fields

__all__ = [
    "prompt_key",
    "read_choice",
    "read_flag",
    "read_key",
    "read_number",
    "read_texts",
    "reply",
    "row_fields",
    "wrong",
]


def read_key(fields: Mapping[str, Any], name: str) -> str:
    """Return a field that holds an id: text or a whole number, which pandas may have written as 7.0."""
    value = _whole(fields.get(name))
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise wrong(name, "text or a whole number", _came(fields, name))
    return str(value)


def read_number(fields: Mapping[str, Any], name: str, choices: Collection[int]) -> int:
    """Return a field that holds one of a few whole numbers, which pandas may have written as 1.0."""
    value = _whole(fields.get(name))
    if isinstance(value, bool) or not isinstance(value, int) or value not in choices:
        raise wrong(name, " or ".join(map(str, choices)), _came(fields, name))
    return value


def read_flag(fields: Mapping[str, Any], name: str) -> bool | None:
    """Return a field that holds true or false, also as text; None if it is missing or null."""
    value = fields.get(name)
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    if value is not None and not isinstance(value, bool):
        raise wrong(name, "true, false or null", _came(fields, name))
    return value


def read_choice(fields: Mapping[str, Any], name: str, choices: Collection[str]) -> str:
    """Return a field that holds one of a few words."""
    value = fields.get(name)
    if value not in choices:
        raise wrong(name, f"one of {', '.join(choices)}", _came(fields, name))
    return str(value)


def read_texts(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return a field that holds a list of at least one text, none of them blank."""
    values = fields.get(name)
    if not isinstance(values, list) or not values:
        raise wrong(name, "a list of texts", _came(fields, name))
    return tuple(read_text({f"{name}[{index}]": value}, f"{name}[{index}]") for index, value in enumerate(values))


def reply(history: str | Sequence[Message], text: str, name: str) -> Conversation:
    """Return a history followed by a reply; a history that is a string is one user message.

    Raises:
        RowError: The history's roles are out of order, or it does not end with the user.
    """
    messages = (Message(role="user", content=history),) if isinstance(history, str) else tuple(history)
    return read_side((*messages, Message(role="assistant", content=text)), name)


def prompt_key(text: str) -> str:
    """Return a hash of a prompt that ignores blanks and case, so that one prompt has one key in all files."""
    return blake2b(" ".join(text.casefold().split()).encode(), digest_size=8).hexdigest()


def wrong(name: str, expected: str, got: str) -> RowError:
    """Return the error of an invalid field."""
    return RowError(RowProblem.WRONG_TYPE, name, expected=expected, got=got)


def _whole(value: object) -> object:
    """Return a whole number for a float that is one, and other values unchanged."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _came(fields: Mapping[str, Any], name: str) -> str:
    """Return a description of a field's value for an error message."""
    if (value := fields.get(name)) is None:
        return "null" if name in fields else "no such field"
    return repr(value)[:40]
