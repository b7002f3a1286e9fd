"""The parts that a prompt can ask a model to play."""

from dataclasses import dataclass
from enum import StrEnum

from music.conversation import Conversation

__all__ = ["ContrastFormat", "ContrastStrategy", "Part", "RolePrompt"]


class ContrastStrategy(StrEnum):
    """Contrasts whose prompt gets both the modified instruction and the answer to it in one call."""

    INSTRUCTION = "instruction"
    DROP_CONSTRAINT = "drop_constraint"
    PERSONA_SWAP = "persona_swap"


class ContrastFormat(StrEnum):
    """What a contrast's reply is asked for in."""

    TAGS = "tags"
    JSON = "json"
    """A JSON object; endpoints that can be held to a schema are."""


class Part(StrEnum):
    """The part that a prompt asks a model to play."""

    USER = "user"
    ASSISTANT = "assistant"
    INSTRUCTION = "instruction"
    DROP_CONSTRAINT = "drop_constraint"
    PERSONA_SWAP = "persona_swap"
    REWRITE = "rewrite"
    JUDGE = "judge"
    RATE = "rate"


@dataclass(frozen=True, slots=True)
class RolePrompt:
    """What `read_prompt` finds: the part to play, the conversation to play it in, and who the user is said to be."""

    part: Part
    conversation: Conversation
    persona: str = ""
    form: ContrastFormat = ContrastFormat.TAGS
    """What a contrast's reply is to be written in."""
    other: Conversation | None = None
    """The second of the two conversations that a judge is to compare."""
