"""Where defects are put: every assistant turn of every conversation, by index."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.seeding import derive_seed
from music_agents.defects.transcripts import Transcript
from music_agents.seed_contexts import neutralised

__all__ = ["Swap", "Swaps"]


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
        """What is said before the turn; it ends with the user."""
        return self.transcript.conversation.prefix(self.place)

    @property
    def reply(self) -> str:
        """What the assistant says in the turn."""
        return self.transcript.conversation.messages[self.place].content

    def with_reply(self, text: str) -> Conversation:
        """Return the conversation with another reply in the turn; all that follows stays as it is."""
        follows = self.transcript.conversation.messages[self.place + 1 :]
        return Conversation(messages=(*self.history.assistant(text).messages, *follows))


class Swaps:
    """The turn of every index.

    Conversations are taken in an order drawn from the run's seed, each with all its turns in their order, and once
    more from the start when they run out.
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
        """Return a fingerprint of the conversations, in the order in which they were given."""
        digest = hashlib.blake2b(digest_size=16)
        for one in self._transcripts:
            digest.update(repr((one.id, one.source, one.conversation.to_messages())).encode())
        return f"{len(self._transcripts)} conversations, digest {digest.hexdigest()}"
