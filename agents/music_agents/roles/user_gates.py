"""User gates: small checks of one message of a simulated user.

A gate takes a message and the view that it was written from, and raises `UnfitReplyError` if the message is unusable;
the role then asks again. These gates refuse obvious faults only, as each refusal costs a call. A substring test comes
before any slow test, as half of all calls are for users.
"""

import re
from collections.abc import Callable
from typing import TypeAlias

from music.llm.sanitise import find_control_token
from music.llm.thinking import find_thinking_mark
from music.prompts.dialogue import INSTRUCTION_PHRASES
from music_agents.failures import FailureReason, UnfitReplyError
from music_agents.personas import PERSONA_HEADINGS
from music_agents.roles.speaker import RoleView
from music_agents.roles.speech import first_of, plain, speaks_as_assistant, stop_mark

__all__ = ["DEFAULT_USER_GATES", "UserGate", "refuse_leaks", "refuse_marks", "refuse_repeats", "refuse_role_flips"]
__all__ += ["refuse_stops"]

UserGate: TypeAlias = Callable[[str, RoleView], None]

MIN_COPIED_CHARS = 60
"""A shorter passage of the assistant's reply may well be a quotation."""
MIN_REPEATED_WORDS = 4
"""Shorter messages ("Go on, please") may be repeated, but not twice in a row."""
MIN_ALIKE_WORDS = 8
"""In shorter messages one other word makes another request."""
MAX_OTHER_SHARE = 0.12
"""Messages are alike if their words and lengths differ by no more than this share."""
MIN_LEAKED_CHARS = 24
"""Anyone might say the shorter phrases of a persona."""

_STOP_HINTS = ("bye", "s all", "is all", "be all", "nothing else", "questions", "have a ")
_STOP = re.compile(
    r"\b(good)?bye\b|\bthat( i|')s all( for (now|today)| i (need|want|had)|[.!,]|$)|\bthat( wi|')ll be all\b"
    r"|\bnothing else[.!]*$|\bno (more|further|other) questions( for now| today)?[.!]*$"
    r"|\bhave a (great|nice|good|wonderful) (day|one|evening|weekend|night)\b"
)
_FLIP_HEADS = ("assistant:", "ai:", "ai assistant:", "chatbot:", "**assistant", "user:", "human:", "**user", "**human")
_FLIP_SCRIPT = ("\nassistant:", "\nai:", "\nuser:", "\nhuman:", "\n**assistant", "\n**user", "\n**human")
_LEAKS = (
    *INSTRUCTION_PHRASES,
    *(heading.lower() for heading in PERSONA_HEADINGS),
    "i am playing the",
    "i'm playing the",
    "as instructed",
    "my persona ",
    "user simulator",
    "<persona>",
)


def refuse_stops(text: str, view: RoleView) -> None:
    """Refuse a farewell before the last turn, and a stop mark.

    Raises:
        UnfitReplyError: The user ends the conversation too early.
    """
    if view.turn + 1 >= view.num_turns:
        return
    lower = plain(text)
    if mark := stop_mark(text):
        raise UnfitReplyError(
            FailureReason.USER_STOPPED, f"the user writes the stop mark {mark!r} before the last turn"
        )
    if "?" not in lower and first_of(_STOP_HINTS, lower) and (match := _STOP.search(lower)):
        raise UnfitReplyError(FailureReason.USER_STOPPED, f"the user says {match[0]!r} before the last turn")


def refuse_role_flips(text: str, view: RoleView) -> None:
    """Refuse messages in the assistant's role: labels, scripts for both sides, offers of help, answers.

    Raises:
        UnfitReplyError: The user speaks as the assistant.
    """
    lower = plain(text)
    if lower.startswith(_FLIP_HEADS):
        raise UnfitReplyError(FailureReason.USER_ROLE_FLIP, "the user's message begins with a speaker's name")
    if "\n" in lower and first_of(_FLIP_SCRIPT, lower):
        raise UnfitReplyError(FailureReason.USER_ROLE_FLIP, "the user writes a script for both sides")
    if shown := speaks_as_assistant(lower):
        raise UnfitReplyError(FailureReason.USER_ROLE_FLIP, shown)


def refuse_repeats(text: str, view: RoleView) -> None:
    """Refuse near copies of earlier user messages and of the assistant's last reply.

    Raises:
        UnfitReplyError: The user repeats.
    """
    body = view.conversation.messages
    for distance, message in enumerate(reversed(body)):
        if message.role == "user" and _is_repeat(text, message.content, in_a_row=distance < 2):
            raise UnfitReplyError(FailureReason.USER_REPEATS, "the user says again what was said before")
    reply = body[-1].content if body else ""
    if len(text) >= MIN_COPIED_CHARS and (text in reply or _are_alike(text, reply)):
        raise UnfitReplyError(FailureReason.USER_REPEATS, "the user copies the assistant's reply")


def refuse_leaks(text: str, view: RoleView) -> None:
    """Refuse quotes from the instructions and from the persona's `who` and `style`.

    The user may quote a fact, a constraint or a goal of the persona.

    Raises:
        UnfitReplyError: The user gives away that a part is being played.
    """
    lower = plain(text)
    if leak := first_of(_LEAKS, lower):
        raise UnfitReplyError(FailureReason.USER_LEAKS, f"the user gives the instructions away: {leak!r}")
    persona = view.persona
    for phrase in (persona.who, persona.style) if persona else ():
        if len(phrase) >= MIN_LEAKED_CHARS and plain(phrase) in lower:
            raise UnfitReplyError(FailureReason.USER_LEAKS, f"the user recites the persona: {phrase[:60]!r}")


def refuse_marks(text: str, view: RoleView) -> None:
    """Refuse marks of a chat template: the model began another turn, or it thinks in its message.

    Raises:
        UnfitReplyError: The message holds one.
    """
    if mark := find_control_token(text) or find_thinking_mark(text):
        raise UnfitReplyError(FailureReason.USER_ROLE_FLIP, f"the user's message holds the mark {mark!r}")


DEFAULT_USER_GATES: tuple[UserGate, ...] = (refuse_stops, refuse_role_flips, refuse_repeats, refuse_leaks, refuse_marks)
"""The gates of `UserRole`; leave out what you do not want."""


def _is_repeat(text: str, earlier: str, *, in_a_row: bool) -> bool:
    """Whether a message repeats an earlier one."""
    if text.isascii() and earlier.isascii():
        is_same = len(text) == len(earlier) and text.lower() == earlier.lower()
    else:
        is_same = plain(text) == plain(earlier)
    if is_same:
        return in_a_row or text.count(" ") >= MIN_REPEATED_WORDS - 1
    return _are_alike(text, earlier)


def _are_alike(text: str, other: str) -> bool:
    """Whether two texts of similar length share nearly all of their words."""
    if abs(len(text) - len(other)) > MAX_OTHER_SHARE * len(text) or text.count(" ") < MIN_ALIKE_WORDS - 1:
        return False
    words, others = set(text.lower().split()), set(other.lower().split())
    return len(words ^ others) <= MAX_OTHER_SHARE * len(words | others)
