"""Shapes of one conversation, with nothing to compare it with: for scores, and to start simulations from."""

from collections.abc import Callable
from dataclasses import dataclass

from music.preferences.messages import decoded, parse_messages, required
from music.preferences.said import Said
from music.preferences.shapes.format import Format
from music.preferences.shapes.prompts import read_prompt, with_system
from music.preferences.shapes.shape import Fields

__all__ = ["LONE_SHAPES", "LoneShape"]


@dataclass(frozen=True, slots=True)
class LoneShape:
    """A shape of one conversation.

    Attributes:
        format: Its name, and that of its column but for the prompt's.
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


def _prompt(column: str) -> Callable[[Fields], list[Said]]:
    return lambda fields: read_prompt(fields, column).said


LONE_SHAPES = (
    LoneShape(Format.MESSAGES, "messages", _conversation("messages")),
    LoneShape(Format.CONVERSATIONS, "conversations", _conversation("conversations")),
    *(
        LoneShape(Format.PROMPT, column, _prompt(column), may_be_text=True)
        for column in ("prompt", "instruction", "question")
    ),
)
"""In the order in which they are tried, after all shapes of pairs."""
