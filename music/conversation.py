"""Conversations: immutable, validated once, cheap to extend by a message.

A `Conversation` is an optional system message followed by user and assistant messages that alternate, beginning with
the user. It may be empty, and it may end with either side. An assistant may call tools before it answers: its message
with `tool_calls`, the results (role `tool`) and its next message belong to one turn. Tokens play no role here.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, field_validator, model_serializer, model_validator

__all__ = ["Conversation", "Message", "Role", "StopReason", "find_out_of_order"]

Role = Literal["system", "user", "assistant", "tool"]


class StopReason(StrEnum):
    """Why a rollout ended."""

    TURN_LIMIT = "turn_limit"
    USER_DONE = "user_done"
    CONTEXT_FULL = "context_full"
    """The next prompt and a reply would not fit into the model's context."""
    ERROR = "error"


# One shared set of field names for all text messages saves a twentieth of the memory.
_MESSAGE_FIELDS = {"role", "content"}
_CONVERSATION_FIELDS = {"messages"}

_MAY_FOLLOW: dict[Role, tuple[Role, ...]] = {
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("assistant", "tool"),
}
"""Roles that may follow a message; the user comes first and after a system message."""


def find_out_of_order(roles: Sequence[Role]) -> tuple[int, str] | None:
    """Return the index of the first role out of order, and the roles expected there; None if all are in order."""
    allowed: tuple[Role, ...] = ("user",)
    start = int(bool(roles) and roles[0] == "system")
    for place, role in enumerate(roles[start:], start):
        if role not in allowed:
            return place, " or ".join(map(repr, allowed))
        allowed = _MAY_FOLLOW[role]
    return None


class Message(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role
    content: str
    """Text; it may be blank only in a tool's result and with `tool_calls`."""
    tool_calls: str = ""
    """An assistant's tool calls: a list as JSON text, in the form of chat templates; a list is accepted too. Empty for
    none."""
    tool_call_id: str = ""
    """The call that a tool's result answers."""
    name: str = ""
    """Name of the tool, or of a speaker."""

    @field_validator("tool_calls", mode="before")
    @classmethod
    def _calls_as_text(cls, value: object) -> object:
        try:
            text = orjson.dumps(value).decode() if isinstance(value, list) else value
            if text and isinstance(text, str) and not isinstance(orjson.loads(text), list):
                raise ValueError
        except (TypeError, ValueError):  # the messages of orjson quote the text
            raise ValueError("expected a list of tool calls, or that list as JSON text") from None
        return text

    @model_validator(mode="after")
    def _not_blank(self) -> Self:
        if not self.content.strip() and self.role != "tool" and not self.tool_calls:
            raise ValueError("expected text, got an empty or blank message")
        return self

    @classmethod
    def trusted(cls, role: Role, content: str) -> "Message":
        """Build a text message; all of them share one set of field names.

        Raises:
            pydantic.ValidationError: The text is blank.
        """
        message = cls(role=role, content=content)
        object.__setattr__(message, "__pydantic_fields_set__", _MESSAGE_FIELDS)
        return message

    @property
    def is_of_tools(self) -> bool:
        """Whether the message calls a tool or is the result of one."""
        return self.role == "tool" or bool(self.tool_calls)

    @model_serializer
    def to_dict(self) -> dict[str, Any]:
        """Return the message as a dict for chat templates and JSON, with the fields of tools only if they are set."""
        plain: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.tool_calls:
            plain["tool_calls"] = orjson.loads(self.tool_calls)
        if self.tool_call_id:
            plain["tool_call_id"] = self.tool_call_id
        if self.name:
            plain["name"] = self.name
        return plain


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
        if fault := find_out_of_order([message.role for message in self.messages]):
            place, expected = fault
            raise ValueError(
                f"roles out of order: expected {expected} at message {place}, got {self.messages[place].role!r}"
            )
        return self

    @classmethod
    def from_messages(cls, messages: Iterable[Mapping[str, Any] | Message]) -> "Conversation":
        """Build a conversation from `{"role", "content"}` mappings, which may have the fields of tools.

        Raises:
            pydantic.ValidationError: A message is blank, has another role, or is out of order.
        """
        return cls.model_validate({"messages": tuple(messages)})

    def to_messages(self) -> list[dict[str, Any]]:
        """Return the messages as dicts for chat templates and JSON."""
        return [message.to_dict() for message in self.messages]

    @property
    def has_system(self) -> bool:
        """Whether the first message is a system message."""
        return bool(self.messages) and self.messages[0].role == "system"

    @property
    def next_role(self) -> Role:
        """The side whose turn it is."""
        return "assistant" if self.messages and self.messages[-1].role in ("user", "tool") else "user"

    @property
    def has_tools(self) -> bool:
        """Whether a message calls a tool or is the result of one."""
        return any(message.is_of_tools for message in self.messages)

    @property
    def num_turns(self) -> int:
        """The number of the assistant's turns, each an answer to a user message."""
        return len(self.turn_ends)

    @property
    def turn_ends(self) -> tuple[int, ...]:
        """For each assistant turn, the number of messages up to and including it; tool calls do not end a turn."""
        roles = [message.role for message in self.messages]
        following = [*roles[1:], "user"]
        return tuple(end for end, role in enumerate(roles, 1) if role == "assistant" and following[end - 1] == "user")

    @property
    def exchange_starts(self) -> tuple[int, ...]:
        """For each user message, the number of messages before it."""
        return tuple(place for place, message in enumerate(self.messages) if message.role == "user")

    def without_exchanges(self, num: int) -> "Conversation":
        """Return the conversation without its `num` oldest exchanges; a system message stays."""
        start = (*self.exchange_starts, len(self.messages))[num]
        return self._with(self.messages[: int(self.has_system)] + self.messages[start:])

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
        return self._with((*self.messages, Message.trusted(role, content)))

    @classmethod
    def _with(cls, messages: tuple[Message, ...]) -> "Conversation":
        """Build a conversation from messages that are known to be in order."""
        return cls.model_construct(_CONVERSATION_FIELDS, messages=messages)
