"""`TurnTable`: the scheduled turns of a corpus, one per row, with what decides whether two of them may be swapped."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from music.conversation import Conversation
from music.preferences.split import opening_key
from music_agents.contrasts import Schedule
from music_agents.defects.swaps import Transcript
from music_agents.quality.texts import find_degeneration, find_leak, find_malformation, find_refusal

__all__ = ["Integers", "TurnTable", "request_and_reply"]

Integers: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnTable:
    """Scheduled turns in the order of their conversations; equal numbers stand for equal texts.

    Attributes:
        requests: The user's message of each turn.
        conversations: Index of the conversation.
        turns: Index of the turn in it.
        openings: The first user message of the conversation, ignoring blanks and case.
        request_ids: The request, ignoring blanks and case.
        reply_ids: The reply, likewise.
        lengths: Characters of the reply.
        refusals: Whether the reply is a refusal.
        sound: Whether no gate drops the reply by itself.
    """

    requests: list[str]
    conversations: Integers
    turns: Integers
    openings: Integers
    request_ids: Integers
    reply_ids: Integers
    lengths: Integers
    refusals: npt.NDArray[np.bool_]
    sound: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, transcripts: Sequence[Transcript], schedule: Schedule, seed: int) -> "TurnTable":
        """Return the scheduled turns of conversations."""
        number = _numbers()
        rows: list[tuple[int, ...]] = []
        requests: list[str] = []
        for index, one in enumerate(transcripts):
            opening = number(opening_key(one.conversation))
            for turn in sorted(schedule.turns_of(one.conversation.num_turns, index, seed)):
                request, reply = request_and_reply(one.conversation, turn)
                requests.append(request)
                ids = number(_plain(request)), number(_plain(reply))
                rows.append((index, turn, opening, *ids, len(reply), bool(find_refusal(reply)), _is_sound(reply)))
        conversations, turns, openings, request_ids, reply_ids, lengths, refusals, sound = (
            np.array(rows, dtype=np.int64).reshape(-1, 8).T
        )
        return cls(
            requests=requests,
            conversations=conversations,
            turns=turns,
            openings=openings,
            request_ids=request_ids,
            reply_ids=reply_ids,
            lengths=lengths,
            refusals=refusals.astype(bool),
            sound=sound.astype(bool),
        )

    def __len__(self) -> int:
        """The number of turns."""
        return len(self.requests)


def request_and_reply(conversation: Conversation, turn: int) -> tuple[str, str]:
    """Return the user's message and the assistant's reply of a turn."""
    end = conversation.turn_ends[turn]
    request, reply = conversation.messages[end - 2 : end]
    return request.content, reply.content


def _numbers() -> Callable[[str], int]:
    """Return a function that numbers distinct texts; it keeps their hashes only, as the texts would fill the memory."""
    known: dict[int, int] = {}
    return lambda text: known.setdefault(hash(text), len(known))


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _is_sound(reply: str) -> bool:
    return not (find_leak(reply) or find_degeneration(reply) or find_malformation(reply))
