"""`RowMessage`, a message of a row, and `to_conversation`, which makes a conversation of them.

Readers of shapes turn columns into lists of `RowMessage`. `to_conversation` leaves out empty system messages, merges or
refuses consecutive messages by one speaker, and checks that roles are in order and that no message is blank.
"""

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from music.conversation import Conversation, Message, Role, find_out_of_order
from music.preferences.problems import Change, RowError, RowProblem

__all__ = ["Consecutive", "RowMessage", "require_reply", "to_conversation"]


class Consecutive(StrEnum):
    """What to do with two consecutive messages by one speaker."""

    REFUSE = "refuse"
    """The row is bad."""
    MERGE = "merge"
    """They become one message, with a blank line between the texts."""


class RowMessage(NamedTuple):
    """A message of a row, not yet checked.

    Attributes:
        role: The role of its speaker.
        content: The text, which may be blank.
        place: The place in the row, for errors: `chosen[2]`.
        tool_calls: The tool calls as JSON text of a list; empty for none.
        tool_call_id: The id of the call that a tool's result answers.
        name: The name of the tool.
    """

    role: Role
    content: str
    place: str
    tool_calls: str = ""
    tool_call_id: str = ""
    name: str = ""

    @property
    def is_of_tools(self) -> bool:
        """Whether the message calls a tool or is a tool's result."""
        return self.role == "tool" or bool(self.tool_calls)

    def is_same(self, other: "RowMessage") -> bool:
        """Whether both messages have the same role, text and tool calls."""
        own = (self.role, self.content.strip(), self.tool_calls)
        return own == (other.role, other.content.strip(), other.tool_calls)


def to_conversation(
    messages: Sequence[RowMessage],
    name: str,
    consecutive: Consecutive = Consecutive.REFUSE,
    changes: Counter[Change] | None = None,
) -> Conversation:
    """Make a conversation of a row's messages.

    Args:
        messages: The messages, in order.
        name: The name of the column, for errors.
        consecutive: What to do with two consecutive messages by one speaker.
        changes: The counter of changes; it is updated.

    Raises:
        RowError: A role is out of order, or a message is blank.
    """
    changes = Counter() if changes is None else changes
    kept = [one for one in messages if one.role != "system" or one.content.strip()]
    changes[Change.EMPTY_SYSTEM] += len(messages) - len(kept)
    if consecutive is Consecutive.MERGE:
        merged = _merged(kept)
        changes[Change.MERGED] += len(kept) - len(merged)
        kept = merged
    if fault := find_out_of_order([one.role for one in kept]):
        place, expected = fault
        problem, got = RowProblem.ROLES_OUT_OF_ORDER, repr(kept[place].role)
        if place and kept[place].role == kept[place - 1].role != "system":
            got += ", twice in a row (--consecutive merge joins such messages)"
        raise RowError(problem, kept[place].place, expected=f"role {expected}", got=got)
    return Conversation(messages=tuple(map(_message, kept)))


def require_reply(conversation: Conversation, name: str) -> Conversation:
    """Return a conversation after checking that it ends with the assistant.

    Raises:
        RowError: It does not.
    """
    if not conversation.messages or conversation.messages[-1].role != "assistant":
        got = repr(conversation.messages[-1].role) if conversation.messages else "no message"
        raise RowError(RowProblem.NO_REPLY, name, expected="a last message by the assistant", got=got)
    return conversation


def _merged(messages: Sequence[RowMessage]) -> list[RowMessage]:
    """Join consecutive messages by one speaker, except for tool calls and their results."""
    merged: list[RowMessage] = []
    for one in messages:
        if merged and merged[-1].role == one.role and not (one.is_of_tools or merged[-1].is_of_tools):
            texts = filter(str.strip, (merged[-1].content, one.content))
            merged[-1] = merged[-1]._replace(content="\n\n".join(texts))
        else:
            merged.append(one)
    return merged


def _message(message: RowMessage) -> Message:
    if not message.content.strip() and not message.is_of_tools:
        raise RowError(RowProblem.EMPTY_TEXT, message.place, expected="text", got=repr(message.content[:40]))
    if not (message.is_of_tools or message.name):
        return Message.trusted(message.role, message.content)
    return Message(
        role=message.role,
        content=message.content,
        tool_calls=message.tool_calls,
        tool_call_id=message.tool_call_id,
        name=message.name,
    )
