"""Checks that turn the fields of a benchmark's rows into items, each failure with its reason."""

from collections.abc import Collection, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from music.conversation import Conversation, Message
from music.preferences.messages import read_side, read_text
from music.preferences.problems import RowError, RowProblem
from music.preferences.rows import row_fields

__all__ = ["prompt_key", "read_choice", "read_key", "read_texts", "reply", "row_fields", "wrong"]


def read_key(fields: Mapping[str, Any], name: str) -> str:
    """Return a field that identifies something: text or a whole number."""
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise wrong(name, "text or a whole number", _came(fields, name))
    return str(value)


def read_choice(fields: Mapping[str, Any], name: str, choices: Collection[str]) -> str:
    """Return a field that holds one of a few words."""
    value = fields.get(name)
    if value not in choices:
        raise wrong(name, f"one of {', '.join(choices)}", _came(fields, name))
    return str(value)


def read_texts(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return a field that holds a list of texts, at least one and none blank."""
    values = fields.get(name)
    if not isinstance(values, list) or not values:
        raise wrong(name, "a list of texts", _came(fields, name))
    return tuple(read_text({f"{name}[{index}]": value}, f"{name}[{index}]") for index, value in enumerate(values))


def reply(history: str | Sequence[Message], text: str, name: str) -> Conversation:
    """Return the conversation that a reply ends; a history of mere text is one message of the user.

    Raises:
        RowError: The history's roles are out of order, or it does not end with the user.
    """
    messages = (Message(role="user", content=history),) if isinstance(history, str) else tuple(history)
    return read_side((*messages, Message(role="assistant", content=text)), name)


def prompt_key(text: str) -> str:
    """Name a prompt by its text, blanks and case aside, so that items of one prompt are found in all files."""
    return blake2b(" ".join(text.casefold().split()).encode(), digest_size=8).hexdigest()


def wrong(name: str, expected: str, got: str) -> RowError:
    """Return the error of a field that is not what it should be."""
    return RowError(RowProblem.WRONG_TYPE, name, expected=expected, got=got)


def _came(fields: Mapping[str, Any], name: str) -> str:
    """Describe the value of a field."""
    if (value := fields.get(name)) is None:
        return "null" if name in fields else "no such field"
    return repr(value)[:40]
