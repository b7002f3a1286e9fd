"""Preference pairs: what reward models learn from.

`PreferencePair` is any pair with a better and a worse side. `ContrastivePair` is one that was simulated: both sides
grow from the same seed messages, and every rejected turn carries the record of its contrast.
"""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from music.conversation import Conversation

__all__ = ["ContrastivePair", "PreferencePair", "TurnContrast", "Usage"]


class Usage(BaseModel):
    """What calls to language models used."""

    model_config = ConfigDict(frozen=True)

    num_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        """Add up two usages."""
        return Usage(
            num_calls=self.num_calls + other.num_calls,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
        )


class TurnContrast(BaseModel):
    """How one rejected assistant turn was made worse."""

    model_config = ConfigDict(frozen=True)

    turn: int = Field(ge=0)
    """Index of the simulated turn, from 0."""
    strategy: str
    """Name of the contrast, for example `instruction`."""
    modified_instruction: str
    """The request that the rejected reply really answers."""


class PreferencePair(BaseModel):
    """Two conversations, of which the first is preferred. Both end with the assistant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    chosen: Conversation
    rejected: Conversation
    source: str = ""

    @model_validator(mode="after")
    def _sides_differ(self) -> Self:
        for name, side in (("chosen", self.chosen), ("rejected", self.rejected)):
            if not side.messages or side.messages[-1].role != "assistant":
                raise ValueError(f"expected the {name} side to end with an assistant message")
        if self.chosen == self.rejected:
            raise ValueError("identical sides: a pair must differ somewhere")
        return self


class ContrastivePair(PreferencePair):
    """A simulated pair (paper, Algorithm 1): one row of `music simulate`'s output."""

    seed_id: str
    num_seed_messages: int
    contrasts: tuple[TurnContrast, ...]
    models: dict[str, str]
    """Endpoint of each role, by role name."""
    usage: Usage
    seed: int

    def to_row(self) -> dict[str, Any]:
        """Return the pair as a row of the output table, sides as lists of `{role, content}`."""
        row = self.model_dump(mode="json", exclude={"chosen", "rejected"})
        return row | {"chosen": self.chosen.to_messages(), "rejected": self.rejected.to_messages()}
