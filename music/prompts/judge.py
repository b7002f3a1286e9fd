"""Prompts of judges, for comparisons and for ratings, and the formats of their answers.

A template that begins with `{% extends base %}` fills the block `criteria` and serves comparisons and ratings alike;
the text around it asks for the format of the answer. A template that extends nothing is a whole prompt: for comparisons
if it shows `first` and `second`, for ratings if it shows `conversation` (and `lowest` and `highest`, the ends of the
scale). The scale ends at 9, so a rating is one token for every tokenizer.

Conversations are quoted: each message has a label on a line of its own, and every line of its text is indented. So no
text can pass for a label, an end mark or an instruction, and the conversation can be read back exactly.
"""

import re
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import cast

from music.conversation import Conversation, Message, Role
from music.errors import InvalidInputError
from music.prompts.template import SUFFIX, PromptTemplate

__all__ = [
    "HIGHEST",
    "JUDGE_HEAD",
    "LOWEST",
    "RATING_HEAD",
    "Choice",
    "load_template",
    "parse_judgement",
    "parse_rating",
    "read_judged",
    "read_rated",
    "render_judge",
    "render_judgement",
    "render_rate",
    "render_rating",
    "template_names",
]

JUDGE_HEAD = "You are judging an AI assistant by two of its conversations, A and B."
_MARK = re.compile(r"\[\[([ABC])\]\]")
_LAST_MARK = re.compile(r"\[\[([ABC])\]\]\W*\Z")
RATING_HEAD = "You are rating an AI assistant by one of its conversations."
LOWEST = 1
HIGHEST = 9
_RATING = re.compile(r"\[\[\d+\]\]")
_LAST_RATING = re.compile(rf"\[\[([{LOWEST}-{HIGHEST}])\]\]\W*\Z")
_FOLDER = Path(__file__).with_name("judging")
_NEEDS = {
    "[[": "ask for a mark in double brackets at the end, such as [[A]] for a comparison or [[7]] for a rating; begin "
    "it with {% extends base %}, or ask for one"
}
_LABEL = re.compile(r"^\[(system|user|assistant|tool)\]$", re.MULTILINE)
_INDENT = "    "


class Choice(StrEnum):
    """A judge's decision between two conversations."""

    FIRST = "A"
    SECOND = "B"
    TIE = "C"


def render_judge(
    first: Conversation, second: Conversation, template: PromptTemplate | None = None
) -> tuple[Message, ...]:
    """Render the prompt for a comparison: in which of two conversations was the assistant better?

    Args:
        first: Shown as A.
        second: Shown as B.
        template: The criteria; by default `overall`.

    Raises:
        InvalidInputError: The template cannot render a comparison.
    """
    shown = {"first": _quote(first), "second": _quote(second)}
    return (Message(role="user", content=(template or load_template()).render("pairwise", shown)),)


def read_judged(content: str) -> tuple[Conversation, Conversation]:
    """Return the two conversations in the prompt of a comparison."""
    return _read_quoted(content, "conversation_a"), _read_quoted(content, "conversation_b")


def render_judgement(choice: Choice, reason: str) -> str:
    """Write a judgement in the format that the prompt asks for."""
    return f"{reason}\n\n[[{choice}]]"


def parse_judgement(text: str) -> Choice | None:
    """Return a judge's decision, or None unless the text ends with a mark and contains no other."""
    last = _LAST_MARK.search(text)
    if last is None or len(_MARK.findall(text)) > 1:
        return None
    return Choice(last[1])


def render_rate(conversation: Conversation, template: PromptTemplate | None = None) -> tuple[Message, ...]:
    """Render the prompt for a rating: how well did the assistant do in a conversation?

    Args:
        conversation: The conversation to rate.
        template: The criteria; by default `overall`.

    Raises:
        InvalidInputError: The template cannot render a rating.
    """
    values = {"conversation": _quote(conversation), "lowest": LOWEST, "highest": HIGHEST}
    text = (template or load_template()).render("pointwise", values)
    return (Message(role="user", content=text),)


def read_rated(content: str) -> Conversation:
    """Return the conversation in the prompt of a rating."""
    return _read_quoted(content, "conversation")


def render_rating(rating: int) -> str:
    """Write a rating in the format that the prompt asks for."""
    return f"[[{rating}]]"


def parse_rating(text: str) -> int | None:
    """Return a judge's rating, or None unless the text ends with one on the scale and contains no other."""
    last = _LAST_RATING.search(text)
    return int(last[1]) if last is not None and len(_RATING.findall(text)) == 1 else None


def template_names() -> tuple[str, ...]:
    """Return the names of the built-in templates."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*" + SUFFIX)))


@cache
def load_template(name: str = "overall") -> PromptTemplate:
    """Load a built-in template by name, or a file.

    Raises:
        InvalidInputError: There is neither, or the file cannot be read or is not a template.
    """
    path = _FOLDER / (name + SUFFIX) if name in template_names() else Path(name)
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"judge's prompt {name!r}: expected one of {', '.join(template_names())}, or a readable file: {error}"
        ) from error
    return PromptTemplate("judge's prompt", name, source, _NEEDS)


def _quote(conversation: Conversation) -> str:
    """Quote a conversation, with a label above each message; tool calls follow the message's text as JSON."""
    texts = ("\n".join(filter(None, (m.content, m.tool_calls))) for m in conversation.messages)
    indented = (text.replace("\n", "\n" + _INDENT) for text in texts)
    return "\n".join(f"[{m.role}]\n{_INDENT}{text}" for m, text in zip(conversation.messages, indented, strict=True))


def _read_quoted(prompt: str, tag: str) -> Conversation:
    """Return the conversation between the lines `<tag>` and `</tag>` of a prompt."""
    body = prompt.partition(f"\n<{tag}>\n")[2].partition(f"\n</{tag}>\n")[0]
    _, *parts = _LABEL.split(body)
    messages = []
    for role, quoted in zip(parts[::2], parts[1::2], strict=True):
        content = quoted.removeprefix("\n" + _INDENT).removesuffix("\n").replace("\n" + _INDENT, "\n")
        messages.append(Message(role=cast(Role, role), content=content))
    return Conversation(messages=tuple(messages))
