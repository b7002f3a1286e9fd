"""`Episode`: one conversation of an environment, with its info; `ChatSnapshot`: a state to return to."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from music.conversation import Conversation, StopReason
from music.pairs import Usage
from music_agents.personas import Persona

__all__ = ["ChatSnapshot", "Episode", "transcript"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """The state of an episode. It is immutable: every step makes a new one, so you can resume an earlier one.

    Attributes:
        conversation: All messages so far.
        seed_index: Which of the seeds it grew from.
        seed: Makes the seeds of all requests to the user.
        user: Name of the model or role that plays the user.
        persona: Defines the user; None for anyone.
        turn: Replies given so far.
        score: Of the conversation up to the last reply, if the reward mode scored it.
        usage: Of the user's calls.
        num_cut: Messages of the user that were cut at the limit of tokens.
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
    num_cut: int = 0
    stop_reason: StopReason | None = None
    error: str = ""

    @property
    def judged(self) -> Conversation:
        """The conversation up to its last reply: what is scored."""
        return self.conversation.prefix(self.conversation.turn_ends[-1])

    @property
    def is_terminated(self) -> bool:
        """Whether the task is over; no reward follows."""
        return self.stop_reason not in (None, StopReason.ERROR)

    @property
    def is_truncated(self) -> bool:
        """Whether an error cut the task short."""
        return self.stop_reason is StopReason.ERROR

    @property
    def info(self) -> dict[str, Any]:
        """What Gymnasium calls the info of the last observation; `stop_reason` is missing right after a reset."""
        info: dict[str, Any] = {
            "seed_index": self.seed_index,
            "turn": self.turn,
            "user": self.user,
            "persona": self.persona.describe() if self.persona else None,
            "usage": {
                "num_calls": self.usage.num_calls,
                "prompt_tokens": self.usage.prompt_tokens,
                "completion_tokens": self.usage.completion_tokens,
            },
        }
        if self.turn or self.stop_reason:
            info["stop_reason"] = self.stop_reason
        if self.score is not None:
            info["score"] = self.score
        if self.num_cut:
            info["num_cut"] = self.num_cut
        if self.error:
            info["error"] = self.error
        return info

    def failed(self, error: object) -> "Episode":
        """Return the episode ended by an error, whose calls count if they are the user's."""
        usage = self.usage + getattr(error, "spent", Usage())
        return replace(self, stop_reason=StopReason.ERROR, error=str(error), usage=usage)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSnapshot:
    """The state of a chat environment: its episode, and the generator that draws the next ones. It can be pickled.

    Attributes:
        episode: None before the first reset.
        generator: State of the environment's generator, as numpy gives it.
    """

    episode: Episode | None
    generator: Mapping[str, Any]


def transcript(conversation: Conversation) -> str:
    """Return a conversation as text for people."""
    return "\n\n".join(f"{message.role}: {message.content}" for message in conversation.messages)
