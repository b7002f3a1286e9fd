"""The turns that defects replace: every assistant turn of the conversations, by index."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.preferences import Consecutive, parse_format, read_seeds
from music.seeding import derive_seed
from music_agents.seeds import neutralised

__all__ = ["Swap", "Swaps", "Transcript", "digest_transcripts", "read_transcripts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """A conversation that defects are put into.

    Attributes:
        id: Unique among those of a run.
        source: The data set that it is from.
        conversation: It ends with the assistant.
    """

    id: str
    source: str
    conversation: Conversation


def read_transcripts(
    source: str,
    format: str | None = None,
    split: str | None = None,
    consecutive: str = Consecutive.REFUSE,
    strict: bool = False,
) -> tuple[list[Transcript], str]:
    """Read conversations: rows of one each, or the chosen sides of preference pairs.

    Args:
        source: A file, a folder or a hub id.
        format: Of its rows; None to detect it.
        split: Which split of a folder or hub data set.
        consecutive: How two messages in a row by one speaker are treated: refused or merged.
        strict: Whether the first bad row is an error.

    Returns:
        The conversations that end with the assistant, and a description of what was read and left out.

    Raises:
        InvalidInputError: The source cannot be read, or holds no conversation that ends with the assistant.
    """
    found = read_seeds(
        source, format=parse_format(format), split=split, strict=strict, consecutive=Consecutive(consecutive)
    )
    whole = [seed for seed in found.seeds if seed.conversation.next_role == "user"]
    if not whole:
        raise InvalidInputError(
            f"{source}: expected conversations that end with the assistant, got none of {len(found.seeds)} "
            f"(the first: {found.seeds[0].id})"
        )
    num_left_out, summary = len(found.seeds) - len(whole), found.summary
    if num_left_out:
        summary += f"\n{num_left_out} conversations left out, as they do not end with the assistant"
    return [Transcript(id=one.id, source=one.source, conversation=one.conversation) for one in whole], summary


@dataclass(frozen=True, slots=True)
class Swap:
    """One turn of one conversation.

    Attributes:
        transcript: The conversation, without control tokens of chat templates.
        turn: The assistant turn, from 0.
    """

    transcript: Transcript
    turn: int

    @property
    def place(self) -> int:
        """The index of the turn's message."""
        return self.transcript.conversation.turn_ends[self.turn] - 1

    @property
    def history(self) -> Conversation:
        """The messages before the turn; they end with the user."""
        return self.transcript.conversation.prefix(self.place)

    @property
    def reply(self) -> str:
        """The assistant's message in the turn."""
        return self.transcript.conversation.messages[self.place].content

    def with_reply(self, text: str) -> Conversation:
        """Return the conversation with another reply in the turn; later messages are unchanged."""
        follows = self.transcript.conversation.messages[self.place + 1 :]
        return Conversation(messages=(*self.history.assistant(text).messages, *follows))


class Swaps:
    """The turn of every index.

    Conversations are used in an order drawn from the run's seed, each with all its turns in their order, and again from
    the start after the last one.
    """

    def __init__(self, transcripts: Sequence[Transcript], run_seed: int) -> None:
        if not transcripts:
            raise InvalidInputError("expected at least one conversation to put defects into, got none")
        order = list(transcripts)
        random.Random(derive_seed(run_seed, "order")).shuffle(order)
        self._places = [(one, turn) for one in order for turn in range(one.conversation.num_turns)]
        self._transcripts = transcripts

    def __len__(self) -> int:
        """The number of turns."""
        return len(self._places)

    def __getitem__(self, index: int) -> Swap:
        """Return the turn of an index (any from 0)."""
        one, turn = self._places[index % len(self._places)]
        conversation = neutralised(one.conversation)
        return Swap(Transcript(id=one.id, source=one.source, conversation=conversation), turn)

    def digest(self) -> str:
        """Return a fingerprint of the conversations, in their original order."""
        return digest_transcripts(self._transcripts)


def digest_transcripts(transcripts: Sequence[Transcript]) -> str:
    """Return the number of conversations and a fingerprint of them, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for one in transcripts:
        digest.update(repr((one.id, one.source, one.conversation.to_messages())).encode())
    return f"{len(transcripts)} conversations, digest {digest.hexdigest()}"
