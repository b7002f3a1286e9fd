"""`Episode`: one conversation as an environment sees it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from music.conversation import Conversation, StopReason
from music.pairs import Usage
from music_agents.personas import Persona

__all__ = ["Episode", "Snapshot"]

NOTHING_USED = Usage()


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """Where an episode stands. It never changes: every step makes a new one, so a kept one can be gone on from.

    Attributes:
        conversation: What was said.
        seed_index: Which of the seeds it grew from.
        seed: Makes the seeds of all requests to the user.
        user: Who plays the user, by name.
        persona: Who the user is; None for anyone.
        turn: Replies given so far.
        score: Of the conversation up to the last reply, if the reward mode had it scored.
        usage: Of the user's calls.
        stop_reason: Why it ended; None while it goes on.
        error: What went wrong, after the stop reason `error`.
    """

    conversation: Conversation
    seed_index: int
    seed: int
    user: str
    persona: Persona | None = None
    turn: int = 0
    score: float | None = None
    usage: Usage = NOTHING_USED
    stop_reason: StopReason | None = None
    error: str = ""

    @property
    def judged(self) -> Conversation:
        """The conversation up to its last reply: what is scored."""
        return self.conversation.prefix(self.conversation.turn_ends[-1])

    @property
    def is_terminated(self) -> bool:
        """Whether the task is over, so that nothing is to be expected beyond it."""
        return self.stop_reason not in (None, StopReason.ERROR)

    @property
    def is_truncated(self) -> bool:
        """Whether an error cut the task short."""
        return self.stop_reason is StopReason.ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An environment at one moment: its episode, and the generator that draws the next ones. It can be pickled.

    Attributes:
        episode: None before the first reset.
        generator: State of the environment's generator, as numpy gives it.
    """

    episode: Episode | None
    generator: Mapping[str, Any]
