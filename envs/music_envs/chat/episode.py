"""`Episode`: one conversation as an environment sees it, and what is reported of it; `ChatSnapshot`, to go back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from music.conversation import Conversation, StopReason
from music.pairs import Usage
from music_agents.personas import Persona

__all__ = ["ChatSnapshot", "Episode", "begin_info", "step_info", "transcript"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """The state of an episode. It never changes: every step makes a new one, so an earlier one can be resumed.

    Attributes:
        conversation: All messages so far.
        seed_index: Which of the seeds it grew from.
        seed: Makes the seeds of all requests to the user.
        user: The name of whoever plays the user.
        persona: Defines the user; None for anyone.
        turn: Replies given so far.
        score: Of the conversation up to the last reply, if the reward mode scored it.
        usage: Of the user's calls.
        stop_reason: Why it ended; None while it continues.
        error: What went wrong, after the stop reason `error`.
    """

    conversation: Conversation
    seed_index: int
    seed: int
    user: str
    persona: Persona | None = None
    turn: int = 0
    score: float | None = None
    usage: Usage = field(default_factory=Usage)
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

    @property
    def info(self) -> dict[str, Any]:
        """The info that came with the last observation."""
        return step_info(self) if self.turn else begin_info(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSnapshot:
    """The state of a chat environment: its episode, and the generator that draws the next ones. It can be pickled.

    Attributes:
        episode: None before the first reset.
        generator: State of the environment's generator, as numpy gives it.
    """

    episode: Episode | None
    generator: Mapping[str, Any]


def begin_info(episode: Episode) -> dict[str, Any]:
    """Return the info of a `reset`."""
    usage = episode.usage
    return {
        "seed_index": episode.seed_index,
        "turn": episode.turn,
        "user": episode.user,
        "persona": episode.persona.describe() if episode.persona else None,
        "usage": {
            "num_calls": usage.num_calls,
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
        },
    }


def step_info(episode: Episode) -> dict[str, Any]:
    """Return the info of a `step`."""
    info = begin_info(episode) | {"stop_reason": episode.stop_reason}
    if episode.score is not None:
        info["score"] = episode.score
    if episode.error:
        info["error"] = episode.error
    return info


def transcript(conversation: Conversation) -> str:
    """Return a conversation as text for people."""
    return "\n\n".join(f"{message.role}: {message.content}" for message in conversation.messages)
