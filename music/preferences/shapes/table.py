"""The table of all shapes, including those of one conversation, and the search for a row's shape in it."""

from collections.abc import Callable
from dataclasses import dataclass

from music.preferences.messages import decoded, parse_messages, required
from music.preferences.row_messages import RowMessage
from music.preferences.shapes import comparisons, sides
from music.preferences.shapes.prompts import parse_exchanges, read_instruction, read_prompt, with_system
from music.preferences.shapes.shape import Fields, Format, Shape

__all__ = [
    "CONVERSATION_SHAPES",
    "PAIR_FORMATS",
    "ConversationShape",
    "find_conversation_shape",
    "find_nearest",
    "find_shape",
    "shape_named",
]

_PROMPT_COLUMNS = ("prompt", "instruction", "question", "query")


@dataclass(frozen=True, slots=True)
class ConversationShape:
    """A shape of rows that hold one conversation.

    Attributes:
        format: The name of its format.
        column: The column that its rows have.
        read: Reads a row; raises a `RowError` if it is bad.
        may_be_text: Whether the column may hold plain text.
    """

    format: Format
    column: str
    read: Callable[[Fields], list[RowMessage]]
    may_be_text: bool = False

    def is_shape_of(self, fields: Fields) -> bool:
        """Whether a row is of this shape."""
        value = fields.get(self.column)
        return isinstance(value, list) or (
            isinstance(value, str) and (self.may_be_text or value.lstrip().startswith("["))
        )


def _conversation(column: str) -> Callable[[Fields], list[RowMessage]]:
    return lambda fields: with_system(fields, parse_messages(decoded(required(fields, column), column), column))


def _prompt(fields: Fields) -> list[RowMessage]:
    if fields.get("instruction") is not None and (fields.get("input") or fields.get("history")):
        return read_instruction(fields).messages
    column = next((name for name in _PROMPT_COLUMNS if fields.get(name) is not None), _PROMPT_COLUMNS[0])
    return read_prompt(fields, column).messages


SHAPES: tuple[Shape, ...] = (*sides.SHAPES, *comparisons.SHAPES)
PAIR_FORMATS = tuple(dict.fromkeys(shape.format for shape in SHAPES))
"""The formats of pairs, each once."""
CONVERSATION_SHAPES = (
    ConversationShape(Format.MESSAGES, "messages", _conversation("messages")),
    ConversationShape(Format.CONVERSATIONS, "conversations", _conversation("conversations")),
    *(ConversationShape(Format.PROMPT, column, _prompt, may_be_text=True) for column in _PROMPT_COLUMNS),
    ConversationShape(Format.EXCHANGES, "history", lambda fields: parse_exchanges(fields["history"], "history")),
)
"""In the order in which they are tried, after all shapes of pairs."""


def find_shape(fields: Fields) -> Shape | None:
    """Return the first shape of pairs that a row has; None for none."""
    return next((shape for shape in SHAPES if shape.is_shape_of(fields)), None)


def find_conversation_shape(fields: Fields) -> ConversationShape | None:
    """Return the shape of a row that holds one conversation; None for other rows."""
    return next((shape for shape in CONVERSATION_SHAPES if shape.is_shape_of(fields)), None)


def shape_named(format: Format) -> Shape | ConversationShape:
    """Return the shape of a format; if there are several, the first, whose reader reads them all."""
    shapes: tuple[Shape | ConversationShape, ...] = (*SHAPES, *CONVERSATION_SHAPES)
    return next(shape for shape in shapes if shape.format is format)


def find_nearest(fields: Fields) -> str:
    """Return the shapes that a row of no known shape is nearest to, and what it lacks; empty if there are none."""
    complete = [shape for shape in SHAPES if not _missing(shape, fields)]
    partial = [shape for shape in SHAPES if 0 < len(_missing(shape, fields)) < len(shape.columns)]
    near = [f"{shape.format} ({shape.wants})" for shape in complete]
    if partial:
        shape = min(partial, key=lambda shape: len(_missing(shape, fields)) / len(shape.columns))
        missing = ", ".join(_missing(shape, fields))
        near.append(f"{shape.format} ({', '.join(shape.columns)}; missing: {missing})")
    return f"nearest: {', or '.join(near)}" if near else ""


def _missing(shape: Shape, fields: Fields) -> list[str]:
    return [name for name in shape.columns if fields.get(name) is None]
