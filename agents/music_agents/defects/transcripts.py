"""`Transcript`: a conversation that defects are put into, and where it is read from."""

from dataclasses import dataclass

from music.cli import ConsecutiveWord, console
from music.conversation import Conversation
from music.errors import InvalidInputError
from music.preferences import Consecutive, parse_format, read_seeds

__all__ = ["Transcript", "read_transcripts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """A conversation that defects are put into.

    Attributes:
        id: Unique among those of a run.
        source: Where it is from.
        conversation: It ends with the assistant.
    """

    id: str
    source: str
    conversation: Conversation


def read_transcripts(
    source: str,
    format: str | None = None,
    strict: bool = False,
    *,
    split: str | None = None,
    consecutive: ConsecutiveWord = "refuse",
) -> list[Transcript]:
    """Read conversations: rows of one each, or the chosen sides of preference pairs; report what was left out.

    Args:
        source: A file, a folder or a hub id.
        format: Of its rows; by default each tells its own.
        strict: Whether the first bad row is an error.
        split: Which split of a folder or hub data set.
        consecutive: What becomes of two messages in a row by one speaker.

    Raises:
        InvalidInputError: The source cannot be read, or holds no conversation that ends with the assistant.
    """
    found = read_seeds(
        source, format=parse_format(format), split=split, strict=strict, consecutive=Consecutive(consecutive)
    )
    console.print(found.summary, markup=False, highlight=False, soft_wrap=True)
    whole = [seed for seed in found.seeds if seed.conversation.next_role == "user"]
    if num := len(found.seeds) - len(whole):
        console.print(f"{num} conversations left out, as they do not end with the assistant")
    if not whole:
        raise InvalidInputError(f"{source}: expected conversations that end with the assistant, got none")
    return [Transcript(id=one.id, source=one.source, conversation=one.conversation) for one in whole]
