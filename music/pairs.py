"""Preference pairs, the training data of reward models.

`PreferencePair` is a pair of a better and a worse conversation. `ContrastivePair` is a simulated pair: both sides start
with the same seed messages, and each rejected turn has a record of its contrast.
"""

import json
from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from music.conversation import Conversation

__all__ = ["ContrastivePair", "PreferencePair", "TurnContrast", "Usage"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Numbers of calls to language models and of their tokens."""

    num_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def num_tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: "Usage") -> "Usage":
        """Return the sum of two usages."""
        return Usage(
            self.num_calls + other.num_calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


class TurnContrast(BaseModel):
    """How one rejected assistant turn was made worse."""

    model_config = ConfigDict(frozen=True)

    turn: int = Field(ge=0)
    """Index of the simulated turn, from 0."""
    strategy: str
    """Name of the contrast, for example `instruction`."""
    modified_instruction: str
    """The request that the rejected reply answers."""
    parameters: dict[str, str | int | float] = {}
    """Parameters of the contrast, by name; JSON in a row."""

    @field_validator("parameters", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value or {}


class PreferencePair(BaseModel):
    """A preferred and a rejected conversation; both end with the assistant.

    Example:
        >>> from music import Conversation, PreferencePair
        >>> asked = Conversation().user("What is 2 + 2?")
        >>> pair = PreferencePair(id="sum", chosen=asked.assistant("4"), rejected=asked.assistant("5"))
        >>> pair.chosen.num_turns
        1

    Raises:
        pydantic.ValidationError: A side does not end with the assistant, or both sides are equal.
    """

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
    """A simulated pair (paper, Algorithm 1): one row of `music simulate`'s output.

    Example:
        >>> from music import Conversation, ContrastivePair, TurnContrast, Usage
        >>> asked = Conversation().user("What is 2 + 2?")
        >>> contrast = TurnContrast(turn=0, strategy="instruction", modified_instruction="What is 2 + 3?")
        >>> pair = ContrastivePair(
        ...     id="sum/0",
        ...     chosen=asked.assistant("4"),
        ...     rejected=asked.assistant("5"),
        ...     seed_id="sum",
        ...     num_seed_messages=1,
        ...     contrasts=(contrast,),
        ...     models={"assistant": "sandbox"},
        ...     usage=Usage(),
        ...     seed=0,
        ... )
        >>> pair.to_row()["rejected"][-1]
        {'role': 'assistant', 'content': '5'}
    """

    seed_id: str
    num_seed_messages: int
    contrasts: tuple[TurnContrast, ...]
    models: dict[str, str]
    """Endpoint of each role, by role name."""
    usage: Usage
    seed: int
    persona: str = ""
    """The user's persona, as JSON; empty for none."""
    retries: tuple[str, ...] = ()
    """Unusable replies that were requested again, each as `role:reason`."""
    judgement: str = ""
    """A judge's decisions with the chosen side first and then second, for example `first,second`; empty for none."""

    @field_validator("models", mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        # A row of the output table has null for a role that its run did not use.
        return {role: name for role, name in value.items() if name is not None} if isinstance(value, dict) else value

    def to_row(self) -> dict[str, Any]:
        """Return the pair as a row of the output table: sides as lists of `{role, content}`, parameters as JSON."""
        row = self.model_dump(mode="json", exclude={"chosen", "rejected"})
        for contrast in row["contrasts"]:
            contrast["parameters"] = json.dumps(contrast["parameters"])
        return row | {"chosen": self.chosen.to_messages(), "rejected": self.rejected.to_messages()}
