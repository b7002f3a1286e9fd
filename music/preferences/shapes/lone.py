"""Shapes of one conversation, with nothing to compare it with: for scores, and to start simulations from."""

from collections.abc import Callable
from dataclasses import dataclass

from music.preferences.messages import decoded, parse_messages, required
from music.preferences.said import Said
from music.preferences.shapes.format import Format
from music.preferences.shapes.prompts import parse_exchanges, read_instruction, read_prompt, with_system
from music.preferences.shapes.shape import Fields

__all__ = ["LONE_SHAPES", "LoneShape"]

_PROMPT_COLUMNS = ("prompt", "instruction", "question", "query")


@dataclass(frozen=True, slots=True)
class LoneShape:
    """A shape of one conversation.

    Attributes:
        format: Its name.
        column: What a row of it has.
        read: Reads a row; raises a `RowError` if it is bad.
        may_be_text: Whether the column may hold plain text.
    """

    format: Format
    column: str
    read: Callable[[Fields], list[Said]]
    may_be_text: bool = False

    def is_shape_of(self, fields: Fields) -> bool:
        """Whether a row is of this shape."""
        value = fields.get(self.column)
        return isinstance(value, list) or (
            isinstance(value, str) and (self.may_be_text or value.lstrip().startswith("["))
        )


def _conversation(column: str) -> Callable[[Fields], list[Said]]:
    return lambda fields: with_system(fields, parse_messages(decoded(required(fields, column), column), column))


def _prompt(fields: Fields) -> list[Said]:
    if fields.get("instruction") is not None and (fields.get("input") or fields.get("history")):
        return read_instruction(fields).said
    column = next((name for name in _PROMPT_COLUMNS if fields.get(name) is not None), _PROMPT_COLUMNS[0])
    return read_prompt(fields, column).said


LONE_SHAPES = (
    LoneShape(Format.MESSAGES, "messages", _conversation("messages")),
    LoneShape(Format.CONVERSATIONS, "conversations", _conversation("conversations")),
    *(LoneShape(Format.PROMPT, column, _prompt, may_be_text=True) for column in _PROMPT_COLUMNS),
    LoneShape(Format.EXCHANGES, "history", lambda fields: parse_exchanges(fields["history"], "history")),
)
"""In the order in which they are tried, after all shapes of pairs."""
