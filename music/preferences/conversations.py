"""Reading of conversations to score."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.preferences.problems import RowError
from music.preferences.row_messages import Consecutive, require_reply
from music.preferences.rows import ReadRow, read_rows
from music.preferences.shapes import find_conversation_shape, find_shape
from music.preferences.sources import iter_rows

__all__ = ["is_conversation_file", "read_conversations"]

_DETECTION_ROWS = 50


def is_conversation_file(source: str | Path, *, split: str | None = None) -> bool:
    """Whether the first row of a source is a single conversation, with nothing to compare it with."""
    rows = (row.content for row in islice(iter_rows(source, split), _DETECTION_ROWS))
    first = next((content for content in rows if isinstance(content, dict)), {})
    return find_shape(first) is None and find_conversation_shape(first) is not None


def read_conversations(
    source: str | Path, *, split: str | None = None, consecutive: Consecutive = Consecutive.REFUSE
) -> tuple[Conversation, ...]:
    """Read one conversation per row. A bad row is an error, so that scores stay aligned with rows.

    Args:
        source: A source, as for `read_preferences`, with rows of `messages` or `conversations`.
        split: The split of a folder or a hub data set.
        consecutive: What to do with two consecutive messages by one speaker.

    Raises:
        InvalidInputError: The source cannot be read, a row is bad, or a conversation does not end with the assistant.
    """
    rows = read_rows(source, split=split, consecutive=consecutive, with_conversations=True)
    return tuple(_conversations(source, rows))


def _conversations(source: str | Path, rows: Iterator[ReadRow]) -> Iterator[Conversation]:
    for read in rows:
        try:
            if read.error is not None:
                raise read.error
            if read.conversation is None:
                raise InvalidInputError(f"{source}: expected rows of one conversation each, got rows of {read.format}")
            yield require_reply(read.conversation, str(read.format))
        except RowError as error:
            place = f"{source}, {read.row.unit} {read.row.number}"
            raise InvalidInputError(f"{place}, {error}; fix the row") from error
