"""One conversation of a request: its result, or why it has none."""

from dataclasses import dataclass
from math import isfinite

from music.reward.tokens.contract import Scored, Unscorable

__all__ = ["FAILED", "INVALID", "OUT_OF_MEMORY", "UNREADABLE", "ItemError", "ItemResult"]

INVALID = "invalid_conversation"
"""The messages are not a conversation: roles out of order, or a blank message, for example."""
UNREADABLE = "unreadable_text"
"""The text cannot be traced back to messages."""
OUT_OF_MEMORY = "out_of_memory"
"""The conversation alone does not fit into memory."""
FAILED = "failed"
"""The model failed on this conversation; the server's log has the error."""

_MESSAGES = {
    Unscorable.NO_REPLY: "expected it to end with the assistant",
    Unscorable.OVER_LONG: "its last exchange alone is longer than the contract's max_length",
    Unscorable.TEMPLATE_REFUSED: "the chat template refuses it",
    Unscorable.TOOL_CALLS_NOT_RENDERED: "it has tool calls, which the chat template does not render",
    Unscorable.TEXT_NOT_OF_TEMPLATE: "the text is not what the model's chat template renders",
    Unscorable.REWARD_TOKEN_MISSING: "it does not end with the contract's reward token",
}


@dataclass(frozen=True, slots=True)
class ItemError:
    """Why a conversation has no score.

    Attributes:
        code: A value of `Unscorable`, or a constant of this module.
        message: An explanation.
    """

    code: str
    message: str

    @classmethod
    def of(cls, problem: Unscorable) -> "ItemError":
        """Return the error for a problem that scoring reports."""
        return cls(problem, _MESSAGES[problem])

    @property
    def is_of_server(self) -> bool:
        """Whether the server is to blame, so that the same request may succeed later."""
        return self.code in (OUT_OF_MEMORY, FAILED)


@dataclass(frozen=True, slots=True)
class ItemResult:
    """The result of one conversation.

    Attributes:
        score: The raw score; None if there is an error.
        turns: The reward after each assistant turn, if they were asked for.
        num_dropped_turns: Number of oldest exchanges that the score does not depend on.
        num_tokens: Number of tokens that the score depends on.
        error: Why there is no score.
    """

    score: float | None = None
    turns: tuple[float, ...] = ()
    num_dropped_turns: int = 0
    num_tokens: int = 0
    error: ItemError | None = None

    @classmethod
    def of(cls, scored: Scored, num_tokens: int) -> "ItemResult":
        """Return the result of a scored conversation."""
        if scored.problem is not None:
            return cls(error=ItemError.of(scored.problem))
        if not all(value is not None and isfinite(value) for value in (scored.score, *scored.turns)):
            return cls(error=ItemError(FAILED, "the model's reward is not a finite number"))
        return cls(scored.score, scored.turns, scored.num_dropped_turns, num_tokens)
