"""`Delimiters`: the literal text that a chat template writes before, between and after messages.

They are learned from renderings of conversations with known contents, so no template is known by name.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Self

from jinja2 import TemplateError

from music.conversation import Conversation, Message
from music.errors import InvalidInputError

__all__ = ["Delimiters", "Render", "shared_start"]

Render = Callable[[Conversation, bool], str]
"""Renders a conversation, with a generation prompt or without; raises `jinja2.TemplateError`."""

_SAID = [f"Pebble number {number:02} is grey." for number in range(7)]
_SYSTEM = Conversation(messages=(Message(role="system", content=_SAID[0]),))
_THOUGHT = "<think>"
_ROLES = "system|developer|user|human|assistant|chatbot|model|tool|function|ipython|observation|environment"


@dataclass(frozen=True, slots=True)
class Delimiters:
    """The literal text of a chat template around the contents of messages.

    Attributes:
        head: Before the first user message, if there is no system message; it may hold a default one.
        system_head: Before the system message; None if the template refuses one or renders it without a mark.
        after_system: Between the system message and the first user message.
        earlier_reply: Between a user message and a reply that other messages follow.
        last_reply: Between the last user message and the last reply. Thinking models may write an empty thought there.
        generation: After the last user message, with a generation prompt.
        unanswered: After the last user message, without one.
        next_user: Between a reply and the next user message.
        end: After the last reply.
    """

    head: str
    system_head: str | None
    after_system: str
    earlier_reply: str
    last_reply: str
    generation: str
    unanswered: str
    next_user: str
    end: str

    @classmethod
    def learn(cls, render: Render) -> Self:
        """Render conversations with known contents, and return what stands around these.

        Raises:
            InvalidInputError: The template leaves out or rewrites messages, or does not mark where one begins.
        """
        try:
            head, earlier, next_user, earlier_2, next_user_2, last, end = _around(render, _exchanges(3))
            short = _around(render, _exchanges(1))
            asked = _around(render, _exchanges(1).user(_SAID[3]))
            prompt = _around(render, _exchanges(1).user(_SAID[3]), is_prompt=True)
        except TemplateError as error:
            raise _unreadable(f"it refuses plain conversations ({error})") from error
        start = [head, earlier, next_user]
        if [head, earlier_2, next_user_2] != start or short != [head, last, end]:
            raise _unreadable("what it writes around a message depends on the place of the message")
        if asked[:3] != start or prompt[:3] != start:
            raise _unreadable("it writes the history of a user's message differently")
        is_marked = bool(earlier.partition(_THOUGHT)[0].strip() and next_user.strip())
        if not is_marked or next_user in earlier or next_user in last:
            raise _unreadable("it does not mark which messages are the user's")
        system = _system(render, [earlier, next_user, earlier, next_user, last, end])
        return cls(head, *system, earlier, last, prompt[3], asked[3], next_user, end)

    def dated(self, placeholder: str, date: str) -> Self:
        """Return the delimiters with a date in place of a placeholder."""
        texts = (getattr(self, field.name) for field in fields(self))
        return type(self)(*(text and text.replace(placeholder, date) for text in texts))

    @property
    def reply_mark(self) -> str:
        """The text between a user message and a reply that begins with thoughts, or whose thoughts were left out."""
        return self.earlier_reply.partition(_THOUGHT)[0]

    @property
    def openers(self) -> re.Pattern[str]:
        """What no message may contain, because a message of some role would begin there."""
        user = self.next_user.removeprefix(self.end)
        if user == self.next_user:
            user = _shared_end(self.head, self.next_user)
        reply = self.reply_mark.removeprefix(self.unanswered)
        whole = [self.next_user, self.reply_mark, *(mark for mark in (user, reply) if mark.strip())]
        frame = _frame(user, reply)
        named = [f"{re.escape(frame[0])}(?i:{_ROLES}){re.escape(frame[1])}"] if frame else []
        if frame and self.end.strip():  # roles of any name, after a message that is closed
            whole.append(self.next_user[: self.next_user.rindex(frame[0])] + frame[0])
        return re.compile("|".join([*map(re.escape, whole), *named]))


def _unreadable(why: str) -> InvalidInputError:
    return InvalidInputError(
        f"text in this chat template cannot be read back into messages: {why}. Send messages instead of text, or "
        "choose another chat template"
    )


def _exchanges(num: int, start: Conversation | None = None) -> Conversation:
    conversation = start or Conversation()
    for place in range(1, 2 * num, 2):
        conversation = conversation.user(_SAID[place]).assistant(_SAID[place + 1])
    return conversation


def _around(render: Render, conversation: Conversation, *, is_prompt: bool = False) -> list[str]:
    """Return the text before, between and after the contents of a conversation's messages."""
    return list(_pieces(render(conversation, is_prompt), conversation))


def _pieces(text: str, conversation: Conversation) -> Iterator[str]:
    for message in conversation.messages:
        before, found, text = text.partition(message.content)
        if not found or message.content in text:
            raise _unreadable("it leaves messages out, rewrites them or repeats them")
        yield before
    yield text


def _system(render: Render, others: list[str]) -> tuple[str | None, str]:
    """Return the text before and after a system message; the texts around the other messages are known."""
    try:
        before, after, *found = _around(render, _exchanges(3, _SYSTEM))
    except (TemplateError, InvalidInputError):
        return None, ""
    return (before, after) if found == others else (None, "")


def shared_start(first: str, second: str) -> str:
    """Return the longest text with which both texts begin."""
    pairs = enumerate(zip(first, second, strict=False))
    return first[: next((place for place, (a, b) in pairs if a != b), min(len(first), len(second)))]


def _shared_end(first: str, second: str) -> str:
    return shared_start(first[::-1], second[::-1])[::-1]


def _frame(user: str, reply: str) -> tuple[str, str] | None:
    """Return what stands around the name of the role where a message begins, if names of roles stand there."""
    after = _shared_end(user, reply)
    names = [re.search(rf"({_ROLES})\Z", text.removesuffix(after), re.IGNORECASE) for text in (user, reply)]
    if not all(names):
        return None
    before = _shared_end(*(name.string[: name.start()] for name in names if name)).lstrip()
    return (before, after) if before else None
