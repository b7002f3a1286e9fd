"""Reads rows: each gives pairs, one conversation, or an error with its reason."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.pairs import PreferencePair
from music.preferences.pairing import make_pairs
from music.preferences.problems import Change, RowError, RowProblem
from music.preferences.row_messages import Consecutive, to_conversation
from music.preferences.shapes import (
    PAIR_FORMATS,
    ConversationShape,
    Fields,
    Format,
    Shape,
    find_conversation_shape,
    find_nearest,
    find_shape,
    shape_named,
)
from music.preferences.shapes.comparisons import GROUPED, grouped
from music.preferences.sources import Row, iter_rows

__all__ = ["ReadRow", "detect_format", "read_column", "read_row", "read_rows", "row_fields", "row_id"]

_DETECTION_ROWS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRow:
    """The result of reading a row.

    Attributes:
        row: The row; it stands for several if their replies are compared with each other.
        id: The row's own id or its place, made unique among all rows. If the row gives several pairs, their ids end in
            `/1`, `/2` and so on.
        format: The row's format; None if it has no known shape.
        pairs: The pairs of the row.
        conversation: The conversation of a row that holds a single one.
        num_ties: The number of comparisons that ended in a tie.
        changes: The number of changes of each kind.
        error: The reason why the row cannot be used.
    """

    row: Row
    id: str = ""
    format: Format | None = None
    pairs: tuple[PreferencePair, ...] = ()
    conversation: Conversation | None = None
    num_ties: int = 0
    changes: Counter[Change] = field(default_factory=Counter)
    error: RowError | None = None


def read_rows(
    source: str | Path,
    *,
    split: str | None = None,
    prefer: str = "train",
    format: Format | None = None,
    consecutive: Consecutive = Consecutive.REFUSE,
    with_conversations: bool = False,
) -> Iterator[ReadRow]:
    """Yield the result of reading each row of a source, by the row's own shape.

    Args:
        source: A source; see `iter_rows`.
        split: The split to read.
        prefer: The split to read if none is named.
        format: The format of all rows; by default it is detected for each row.
        consecutive: What to do with two consecutive messages by one speaker.
        with_conversations: Whether rows of a single conversation are read too.

    Raises:
        InvalidInputError: The source cannot be read, or none of its first rows has a known shape.
    """
    rows = grouped(iter_rows(source, split, prefer=prefer))
    head = list(islice(rows, _DETECTION_ROWS))
    fallback = shape_named(format) if format else _first_shape(head, with_conversations)
    if fallback is None:
        raise _undetected(source, head, with_conversations)
    seen: dict[str, int] = {}
    for row in chain(head, rows):
        yield read_row(
            row,
            fallback,
            is_forced=format is not None,
            consecutive=consecutive,
            with_conversations=with_conversations,
            seen_ids=seen,
        )


def detect_format(source: str | Path, *, split: str | None = None, with_conversations: bool = False) -> Format:
    """Return the format of the first row of pairs or, if there is none, of the first conversation.

    Raises:
        InvalidInputError: The source cannot be read, or none of its first rows has a known shape.
    """
    head = list(islice(grouped(iter_rows(source, split)), _DETECTION_ROWS))
    if (shape := _first_shape(head, with_conversations)) is None:
        raise _undetected(source, head, with_conversations)
    return shape.format


def read_row(
    row: Row,
    fallback: Shape | ConversationShape | None = None,
    *,
    is_forced: bool = False,
    consecutive: Consecutive = Consecutive.REFUSE,
    with_conversations: bool = False,
    seen_ids: dict[str, int] | None = None,
) -> ReadRow:
    """Read one row by its own shape.

    Args:
        row: The row.
        fallback: The shape to read a row of no known shape by, so that its error names what is missing.
        is_forced: Whether the row is read by the fallback whatever its shape.
        consecutive: What to do with two consecutive messages by one speaker.
        with_conversations: Whether a row of a single conversation is read too.
        seen_ids: The number of earlier rows with each id; it is updated. Bad rows count too, so that the ids of pairs
            do not depend on flags.
    """
    shape = fallback
    changes: Counter[Change] = Counter()
    try:
        fields = row_fields(row)
        id = _unique(row_id(row, fields), {} if seen_ids is None else seen_ids, changes)
        if not is_forced:
            shape = find_shape(fields) or (find_conversation_shape(fields) if with_conversations else None) or fallback
        if shape is None:
            got = f"columns {', '.join(fields)}; {find_nearest(fields)}".removesuffix("; ")
            raise RowError(RowProblem.MISSING_SIDE, "row", expected="a row of preferences", got=got)
        if isinstance(shape, ConversationShape):
            conversation = to_conversation(shape.read(fields), shape.column, consecutive, changes)
            if not any(message.role == "user" for message in conversation.messages):
                raise RowError(RowProblem.EMPTY_TEXT, shape.column, expected="a message by the user", got="none")
            return ReadRow(row=row, id=id, format=shape.format, conversation=conversation, changes=changes)
        found = shape.read(fields)
        pairs = make_pairs(row, fields, id, found.pairs, consecutive, changes)
    except RowError as error:
        return ReadRow(row=row, format=shape.format if shape else None, error=error)
    return ReadRow(row=row, id=id, format=shape.format, pairs=pairs, num_ties=found.num_ties, changes=changes)


def row_fields(row: Row) -> Fields:
    """Return a row's fields.

    Raises:
        RowError: The row is not an object, or could not be parsed.
    """
    if isinstance(row.content, RowError):
        raise row.content
    if not isinstance(row.content, dict):
        got = type(row.content).__name__
        raise RowError(RowProblem.WRONG_TYPE, row.unit, expected="an object with fields", got=got)
    return row.content


def row_id(row: Row, fields: Mapping[str, Any]) -> str:
    """Return a row's own id, or else its place.

    Raises:
        RowError: The id is neither text nor a whole number.
    """
    value = fields.get("id")
    if isinstance(value, float) and (value.is_integer() or value != value):  # pandas writes ids as floats, none as NaN
        value = int(value) if value == value else None
    if value is not None and not isinstance(value, str | int):
        raise RowError(RowProblem.WRONG_TYPE, "id", expected="a string or a whole number", got=type(value).__name__)
    return f"{row.stem}-{row.number}" if value is None or value == "" else str(value)


def read_column(source: str | Path, name: str, *, split: str | None = None) -> dict[str, Any]:
    """Read one column of a source that `read_preferences` or `read_seeds` reads.

    Returns:
        The value in the row of each pair or prompt, by its id. Bad rows and rows without a value are left out.

    Raises:
        InvalidInputError: The source cannot be read, or no row has such a column.
    """
    values: dict[str, Any] = {}
    seen: dict[str, None] = {}
    for read in read_rows(source, split=split, with_conversations=True):
        if not isinstance(read.row.content, dict):
            continue
        seen |= dict.fromkeys(read.row.content)
        value = read.row.content.get(name)
        if value is not None and read.error is None:
            values |= dict.fromkeys([pair.id for pair in read.pairs] or [read.id], value)
    if name not in seen:
        raise InvalidInputError(f"{source}: expected a column {name!r}; there are {', '.join(seen) or 'no columns'}")
    return values


def _unique(id: str, seen: dict[str, int], changes: Counter[Change]) -> str:
    """Return an id, numbered if an earlier row has it too: `p0`, `p0#2`, `p0#3`."""
    seen[id] = number = seen.get(id, 0) + 1
    if number == 1:
        return id
    changes[Change.REPEATED_ID] += 1
    return f"{id}#{number}"


def _first_shape(head: Iterable[Row], with_conversations: bool) -> Shape | ConversationShape | None:
    """Return the shape of the first row of pairs or, if there is none, of the first conversation."""
    fields = [row.content for row in head if isinstance(row.content, dict)]
    shape: Shape | ConversationShape | None = next(filter(None, map(find_shape, fields)), None)
    return shape or (next(filter(None, map(find_conversation_shape, fields)), None) if with_conversations else None)


def _undetected(source: str | Path, head: list[Row], with_conversations: bool) -> InvalidInputError:
    wanted = f"rows of preferences{', conversations or prompts' if with_conversations else ''}"
    fields = next((row.content for row in head if isinstance(row.content, dict)), None)
    if fields is None:
        return InvalidInputError(f"{source}: expected {wanted}, found {'no object' if head else 'no row'}")
    seen = ", ".join(f"{name} ({type(value).__name__})" for name, value in fields.items() if name != GROUPED)
    formats = Format if with_conversations else PAIR_FORMATS
    known = f"known: {', '.join(formats)} (docs/your-own-data.md shows a row of each)"
    hints = filter(None, (_use_of(fields), find_nearest(fields), known))
    return InvalidInputError(f"{source}: expected {wanted}, got columns {seen}; {'; '.join(hints)}")


def _use_of(fields: Fields) -> str:
    """Return a hint on which commands read a row of a single conversation; empty for other rows."""
    shape = find_conversation_shape(fields)
    if shape is None:
        return ""
    if shape.format is Format.PROMPT:
        return "a row is a prompt, which `music simulate` reads"
    return f"a row is one conversation ({shape.format}), which `music score` and `music simulate` read"
