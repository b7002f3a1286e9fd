"""Conversations: immutable, validated once, cheap to extend by a message.

A `Conversation` is an optional system message followed by user and assistant messages that strictly alternate,
beginning with the user. It may be empty, and it may end with either side. Nothing here knows of tokens.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

__all__ = ["Conversation", "Message", "Role", "StopReason"]

Role = Literal["system", "user", "assistant"]


class StopReason(StrEnum):
    """Why a rollout ended."""

    TURN_LIMIT = "turn_limit"
    USER_DONE = "user_done"
    ERROR = "error"


# One set of field names for all that is built without validation: a set for each would cost a twentieth of the memory.
_MESSAGE_FIELDS = {"role", "content"}
_CONVERSATION_FIELDS = {"messages"}


class Message(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role
    content: str

    @field_validator("content")
    @classmethod
    def _not_blank(cls, content: str) -> str:
        if not content.strip():
            raise ValueError("expected text, got an empty or blank message")
        return content

    @classmethod
    def trusted(cls, role: Role, content: str) -> "Message":
        """Build a message from parts that are known to be valid."""
        return cls.model_construct(_MESSAGE_FIELDS, role=role, content=content)


class Conversation(BaseModel):
    """An immutable conversation.

    Example:
        >>> Conversation().user("Hi!").assistant("Hello.").num_turns
        1
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    messages: tuple[Message, ...] = ()

    @model_validator(mode="after")
    def _roles_in_order(self) -> Self:
        body = self.messages[1:] if self.has_system else self.messages
        for index, message in enumerate(body):
            expected = "user" if index % 2 == 0 else "assistant"
            if message.role != expected:
                where = index + int(self.has_system)
                raise ValueError(f"roles out of order: expected {expected!r} at message {where}, got {message.role!r}")
        return self

    @classmethod
    def from_messages(cls, messages: Iterable[Mapping[str, str] | Message]) -> "Conversation":
        """Validate `{"role", "content"}` mappings into a conversation.

        Raises:
            pydantic.ValidationError: A message is blank, has another role, or stands out of order.
        """
        return cls.model_validate({"messages": tuple(messages)})

    def to_messages(self) -> list[dict[str, str]]:
        """Return the messages as plain dicts, as chat templates and JSON want them."""
        return [{"role": m.role, "content": m.content} for m in self.messages]

    @property
    def has_system(self) -> bool:
        """Whether the first message is a system message."""
        return bool(self.messages) and self.messages[0].role == "system"

    @property
    def next_role(self) -> Role:
        """The side whose turn it is."""
        return "assistant" if self.messages and self.messages[-1].role == "user" else "user"

    @property
    def num_turns(self) -> int:
        """The number of assistant messages."""
        return len(self.turn_ends)

    @property
    def turn_ends(self) -> tuple[int, ...]:
        """For each assistant message, the number of messages up to and including it."""
        return tuple(i + 1 for i, m in enumerate(self.messages) if m.role == "assistant")

    def prefix(self, num_messages: int) -> "Conversation":
        """Return the conversation cut after its first `num_messages` messages."""
        return self._with(self.messages[:num_messages])

    def user(self, content: str) -> "Conversation":
        """Return this conversation with one more user message."""
        return self._extend("user", content)

    def assistant(self, content: str) -> "Conversation":
        """Return this conversation with one more assistant message."""
        return self._extend("assistant", content)

    def _extend(self, role: Role, content: str) -> "Conversation":
        """Append one message, validating that message alone."""
        if role != self.next_role:
            raise ValueError(f"roles out of order: expected {self.next_role!r}, got {role!r}")
        valid = Message(role=role, content=content)
        return self._with((*self.messages, Message.trusted(role, valid.content)))

    @classmethod
    def _with(cls, messages: tuple[Message, ...]) -> "Conversation":
        """Build a conversation from messages that are known to be in order."""
        return cls.model_construct(_CONVERSATION_FIELDS, messages=messages)
