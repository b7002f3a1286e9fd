"""`RowMessage`: a message as a row holds it; and how rows' messages become a conversation.

Readers of shapes turn columns into lists of `RowMessage`. For all of them `to_conversation` leaves out empty system
messages, merges or refuses consecutive messages of one speaker, and checks that roles are in order and no message is
blank.
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
    """They become one message, a blank line between their texts."""


class RowMessage(NamedTuple):
    """A message as a row holds it.

    Attributes:
        role: Who speaks.
        content: The text, perhaps blank.
        place: Where it stands, for errors: `chosen[2]`.
        tool_calls: JSON text of a list; empty for none.
        tool_call_id: Which call a tool's result answers.
        name: Of the tool.
    """

    role: Role
    content: str
    place: str
    tool_calls: str = ""
    tool_call_id: str = ""
    name: str = ""

    @property
    def is_of_tools(self) -> bool:
        """Whether it calls a tool or is a tool's result."""
        return self.role == "tool" or bool(self.tool_calls)

    def is_same(self, other: "RowMessage") -> bool:
        """Whether both say the same, wherever they stand."""
        return (self.role, self.content.strip(), self.tool_calls) == (
            other.role,
            other.content.strip(),
            other.tool_calls,
        )


def to_conversation(
    messages: Sequence[RowMessage],
    name: str,
    consecutive: Consecutive = Consecutive.REFUSE,
    changes: Counter[Change] | None = None,
) -> Conversation:
    """Make a conversation of messages.

    Args:
        messages: In order.
        name: What errors call the whole.
        consecutive: Whether messages in a row by one speaker are merged.
        changes: Counts what was changed.

    Raises:
        RowError: A role stands out of order, or a message is blank.
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
    """Return a conversation that ends with the assistant.

    Raises:
        RowError: It does not.
    """
    if not conversation.messages or conversation.messages[-1].role != "assistant":
        got = repr(conversation.messages[-1].role) if conversation.messages else "no message"
        raise RowError(RowProblem.NO_REPLY, name, expected="a last message by the assistant", got=got)
    return conversation


def _merged(messages: Sequence[RowMessage]) -> list[RowMessage]:
    """Join messages that follow one by the same speaker; what tools say and are asked stays apart."""
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
