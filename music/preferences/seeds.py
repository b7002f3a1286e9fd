"""`Seed`: what conversations start from; and the reading of seeds from pairs, conversations and prompts.

A seed is the chosen side of a preference pair, a conversation, or a prompt: a conversation that ends with the user.
`music_agents.seeds` defines what both sides of a simulated pair take from it.
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
    """What conversations start from.

    Attributes:
        id: Of the row or the pair, unique among those of a source.
        conversation: The chosen side, the conversation or the prompt; it holds a message of the user's at least.
        source: Where it is from.
        num_shared: How many messages the sides of its pair share; None if it is of no pair.
    """

    id: str
    conversation: Conversation
    source: str = ""
    num_shared: int | None = None

    def __post_init__(self) -> None:
        """Check that there is something to go on from."""
        if not self.conversation.messages or self.conversation.messages[-1].role == "system":
            raise InvalidInputError(f"seed {self.id!r}: expected at least one message by the user, got none")

    @classmethod
    def of(cls, seed: "Seed | PreferencePair") -> "Seed":
        """Return a seed; of a preference pair that is its chosen side."""
        if isinstance(seed, Seed):
            return seed
        both = zip(seed.chosen.messages, seed.rejected.messages, strict=False)
        num_shared = sum(1 for _ in takewhile(lambda two: two[0] == two[1], both))
        return cls(seed.id, seed.chosen, seed.source, num_shared)

    @property
    def request(self) -> Conversation:
        """The conversation up to its last user message; of a pair, up to the last one that both sides share."""
        messages = self.conversation.messages
        end = len(messages) if self.num_shared is None else self.num_shared
        while end and messages[end - 1].role != "user":
            end -= 1
        return self.conversation.prefix(end)


@dataclass(frozen=True, slots=True)
class SeedSet:
    """The seeds of a source.

    Attributes:
        seeds: In order.
        summary: What was read, and what was left out, where and why, in one line.
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
    """Read seeds: rows of pairs of any shape, of one conversation each, or of prompts alone.

    Conversations with tool messages are left out and counted: simulated players call no tools.

    Args:
        source: As for `read_preferences`.
        format: The format of all rows; by default it is found row by row.
        split: Which split of a folder or a hub data set; by default `train`, or the only one.
        strict: Whether the first bad row is an error; otherwise bad rows are counted.
        limit: Stop after this many.
        consecutive: What to do with two consecutive messages by one speaker.

    Raises:
        InvalidInputError: The source cannot be read, no row has a known format, or, if `strict`, a row is bad.
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
    left_out = f"; {num_with_tools} conversations with tool messages left out: simulated players call no tools"
    return SeedSet(tuple(seeds[:limit]), account.result().summary() + (left_out if num_with_tools else ""))


def _seeds(read: ReadRow) -> Iterator[Seed]:
    if read.conversation is not None:
        source = read.row.content.get("source")
        yield Seed(read.id, read.conversation, source if isinstance(source, str) else read.row.stem)
    # Pairs of one row often share their request: it is one seed, however many replies to it are compared.
    known: set[Conversation] = set()
    for seed in map(Seed.of, read.pairs):
        if len(read.pairs) == 1 or seed.request not in known:
            known.add(seed.request)
            yield seed
