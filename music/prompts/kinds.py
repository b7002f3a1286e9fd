"""What prompts ask a model to play, and in which formats contrasts are asked for."""

from enum import StrEnum

__all__ = ["ContrastFormat", "ContrastStrategy", "PromptKind"]


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


class PromptKind(StrEnum):
    """What a prompt asks a model to play."""

    USER = "user"
    ASSISTANT = "assistant"
    INSTRUCTION = "instruction"
    DROP_CONSTRAINT = "drop_constraint"
    PERSONA_SWAP = "persona_swap"
    REWRITE = "rewrite"
    JUDGE = "judge"
    RATE = "rate"
