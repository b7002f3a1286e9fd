"""`Seed`, the start of simulated conversations, and `read_seeds`.

A seed is the chosen side of a preference pair, a conversation, or a prompt (a conversation that ends with the user).
`music_agents.seeds` defines which part of it both sides of a simulated pair share.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.pairs import PreferencePair
from music.preferences.reader import PreferenceSetBuilder, bad_row
from music.preferences.row_messages import Consecutive
from music.preferences.rows import ReadRow, read_rows
from music.preferences.shapes import Format

__all__ = ["Seed", "SeedSet", "read_seeds"]


@dataclass(frozen=True, slots=True)
class Seed:
    """The start of simulated conversations.

    Attributes:
        id: The id of the row or the pair, unique in a source.
        conversation: The chosen side, the conversation or the prompt, with at least one message that is not the
            system's.
        source: The origin of the seed.
        num_shared: The number of messages that both sides of its pair share; None if the seed is not of a pair.
    """

    id: str
    conversation: Conversation
    source: str = ""
    num_shared: int | None = None

    def __post_init__(self) -> None:
        """Check that the conversation has more than a system message."""
        if not self.conversation.messages or self.conversation.messages[-1].role == "system":
            raise InvalidInputError(f"seed {self.id!r}: expected at least one message by the user, got none")

    @classmethod
    def of(cls, seed: "Seed | PreferencePair") -> "Seed":
        """Return a seed unchanged, or the seed of a preference pair: its chosen side."""
        if isinstance(seed, Seed):
            return seed
        both = zip(seed.chosen.messages, seed.rejected.messages, strict=False)
        num_shared = sum(1 for _ in takewhile(lambda two: two[0] == two[1], both))
        return cls(seed.id, seed.chosen, seed.source, num_shared)

    @property
    def request(self) -> Conversation:
        """The conversation up to its last user message; for a pair, the last one that both sides share."""
        messages = self.conversation.messages
        end = len(messages) if self.num_shared is None else self.num_shared
        while end and messages[end - 1].role != "user":
            end -= 1
        return self.conversation.prefix(end)


@dataclass(frozen=True, slots=True)
class SeedSet:
    """The seeds of a source.

    Attributes:
        seeds: The seeds, in order.
        summary: One line on what was read, and what was left out, where and why.
    """

    seeds: tuple[Seed, ...]
    summary: str


def read_seeds(
    source: str | Path,
    *,
    format: Format | None = None,
    split: str | None = None,
    strict: bool = False,
    limit: int | None = None,
    consecutive: Consecutive = Consecutive.REFUSE,
) -> SeedSet:
    """Read seeds from rows of pairs, of single conversations, or of prompts.

    Conversations with tool messages are left out and counted, because simulated roles call no tools.

    Args:
        source: A source, as for `read_preferences`.
        format: The format of all rows; by default it is detected for each row.
        split: The split of a folder or a hub data set; by default `train`, or the only one.
        strict: Whether the first bad row is an error. Otherwise bad rows are counted and left out.
        limit: The maximum number of seeds to read.
        consecutive: What to do with two consecutive messages by one speaker.

    Raises:
        InvalidInputError: The source cannot be read, no row has a known format, or a row is bad and `strict`.
    """
    account = PreferenceSetBuilder(source)
    seeds: list[Seed] = []
    num_with_tools = 0
    for read in read_rows(source, split=split, format=format, consecutive=consecutive, with_conversations=True):
        if limit is not None and len(seeds) >= limit:
            break
        if strict and read.error is not None:
            raise bad_row(source, read.row, read.error) from read.error
        account.add(read)
        found = list(_seeds(read))
        usable = [seed for seed in found if not seed.conversation.has_tools]
        num_with_tools += len(found) - len(usable)
        seeds += usable
    left_out = f"; {num_with_tools} conversations with tool messages left out: simulated roles call no tools"
    return SeedSet(tuple(seeds[:limit]), account.result().summary() + (left_out if num_with_tools else ""))


def _seeds(read: ReadRow) -> Iterator[Seed]:
    if read.conversation is not None:
        source = read.row.content.get("source")
        yield Seed(read.id, read.conversation, source if isinstance(source, str) else read.row.stem)
    # The pairs of one row often share their request. It is one seed, whatever the number of replies.
    known: set[Conversation] = set()
    for seed in map(Seed.of, read.pairs):
        if len(read.pairs) == 1 or seed.request not in known:
            known.add(seed.request)
            yield seed
