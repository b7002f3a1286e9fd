"""The kinds of prompts, and the formats of contrasts."""

from enum import StrEnum

__all__ = ["ContrastFormat", "ContrastStrategy", "PromptKind"]


class ContrastStrategy(StrEnum):
    """Contrasts whose prompt asks for the modified instruction and the answer to it in one call."""

    INSTRUCTION = "instruction"
    DROP_CONSTRAINT = "drop_constraint"
    PERSONA_SWAP = "persona_swap"
    CONTRADICT = "contradict"
    IGNORE_CORRECTION = "ignore_correction"
    LOSE_GOAL = "lose_goal"


class ContrastFormat(StrEnum):
    """The format that a contrast's prompt asks for."""

    TAGS = "tags"
    JSON = "json"
    """A JSON object, with its schema in the request."""


class PromptKind(StrEnum):
    """The role that a prompt asks a model to play."""

    USER = "user"
    ASSISTANT = "assistant"
    INSTRUCTION = "instruction"
    DROP_CONSTRAINT = "drop_constraint"
    PERSONA_SWAP = "persona_swap"
    CONTRADICT = "contradict"
    IGNORE_CORRECTION = "ignore_correction"
    LOSE_GOAL = "lose_goal"
    REWRITE = "rewrite"
    JUDGE = "judge"
    RATE = "rate"
