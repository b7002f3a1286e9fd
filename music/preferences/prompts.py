"""Reading what conversations start from: prompts, conversations, and what both sides of pairs share."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from music.conversation import Conversation
from music.pairs import PreferencePair
from music.preferences.reader import Account, PreferenceSet, bad_row
from music.preferences.rows import ReadRow, read_rows
from music.preferences.said import Consecutive
from music.preferences.shapes import Format

__all__ = ["Prompt", "PromptSet", "read_prompts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A conversation to start from.

    Attributes:
        id: Of its row or its pair, unique among those of a source.
        source: Where the row is from.
        conversation: The chosen side of a pair, or the row's conversation; it may end with either side.
        pair: The pair, if it is of one.
    """

    id: str
    source: str
    conversation: Conversation
    pair: PreferencePair | None = None

    @classmethod
    def of(cls, pair: PreferencePair) -> "Prompt":
        """Return the prompt of a pair."""
        return cls(id=pair.id, source=pair.source, conversation=pair.chosen, pair=pair)

    @property
    def shared(self) -> Conversation:
        """What both sides of a pair share, or the conversation, up to its last user message."""
        messages = self.conversation.messages
        end = len(messages)
        if self.pair is not None:
            both = zip(messages, self.pair.rejected.messages, strict=False)
            end = sum(1 for _ in takewhile(lambda two: two[0] == two[1], both))
        while end and messages[end - 1].role != "user":
            end -= 1
        return self.conversation.prefix(end)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSet:
    """What was read to start from.

    Attributes:
        prompts: In order.
        read: The account of all rows.
        num_with_tools: Conversations left out as they hold tool messages, which simulated players do not write.
    """

    prompts: tuple[Prompt, ...]
    read: PreferenceSet
    num_with_tools: int = 0

    def summary(self) -> str:
        """Say in one line what was read, and what was dropped, where and why."""
        left_out = f"; {self.num_with_tools} conversations with tool messages left out: simulated players call no tools"
        return self.read.summary() + (left_out if self.num_with_tools else "")


def read_prompts(
    source: str | Path,
    *,
    format: Format | None = None,
    split: str | None = None,
    strict: bool = False,
    limit: int | None = None,
    consecutive: Consecutive = Consecutive.REFUSE,
) -> PromptSet:
    """Read conversations to start from: rows of pairs of any shape, of one conversation each, or of prompts alone.

    Args:
        source: As for `read_preferences`.
        format: The rows' format; by default each row tells its own.
        split: Which split of a folder or a hub data set; by default `train`, or the only one.
        strict: Whether the first bad row is an error; otherwise bad rows are counted.
        limit: Stop after this many.
        consecutive: What becomes of two messages in a row by one speaker.

    Raises:
        InvalidInputError: The source cannot be read, no row tells a format, or, if `strict`, a row is bad.
    """
    account = Account(source)
    prompts: list[Prompt] = []
    num_with_tools = 0
    for read in read_rows(source, split=split, format=format, consecutive=consecutive, lone=True):
        if limit is not None and len(prompts) >= limit:
            break
        if strict and read.error is not None:
            raise bad_row(source, read.row, read.error) from read.error
        account.add(read)
        found = list(_prompts(read))
        usable = [prompt for prompt in found if not prompt.conversation.has_tools]
        num_with_tools += len(found) - len(usable)
        prompts += usable
    return PromptSet(prompts=tuple(prompts[:limit]), read=account.result(), num_with_tools=num_with_tools)


def _prompts(read: ReadRow) -> Iterator[Prompt]:
    if read.conversation is not None:
        fields = read.row.content
        source = fields.get("source")
        named = source if isinstance(source, str) else read.row.stem
        yield Prompt(id=read.id, source=named, conversation=read.conversation)
    # Pairs of one row often share their prompt: it is one, however many replies to it are compared.
    known: set[Conversation] = set()
    for prompt in map(Prompt.of, read.pairs):
        if len(read.pairs) == 1 or prompt.shared not in known:
            known.add(prompt.shared)
            yield prompt
