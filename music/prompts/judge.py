"""The prompt of a judge who compares two conversations, and the format of its judgement."""

import re
from enum import StrEnum

from music.conversation import Conversation, Message
from music.prompts.judge_template import load_template
from music.prompts.quoting import quote, read_quoted
from music.prompts.template import PromptTemplate

__all__ = ["JUDGE_HEAD", "Choice", "parse_judgement", "read_judged", "render_judge", "render_judgement"]

JUDGE_HEAD = "You are judging an AI assistant by two of its conversations, A and B."

_MARK = re.compile(r"\[\[([ABC])\]\]")
_LAST_MARK = re.compile(r"\[\[([ABC])\]\]\W*\Z")


class Choice(StrEnum):
    """What a judge decides."""

    FIRST = "A"
    SECOND = "B"
    TIE = "C"


def render_judge(
    first: Conversation, second: Conversation, template: PromptTemplate | None = None
) -> tuple[Message, ...]:
    """Ask in which of two conversations the assistant was better.

    Args:
        first: Shown as A.
        second: Shown as B.
        template: By what to judge; `overall` unless told otherwise.

    Raises:
        InvalidInputError: The template is none of a comparison.
    """
    shown = {"first": quote(first), "second": quote(second)}
    return (Message(role="user", content=(template or load_template()).render("pairwise", shown)),)


def read_judged(content: str) -> tuple[Conversation, Conversation]:
    """Return the two conversations that a judge's prompt shows."""
    return read_quoted(content, "conversation_a"), read_quoted(content, "conversation_b")


def render_judgement(choice: Choice, reason: str) -> str:
    """Write a judgement in the format that the prompt asks for."""
    return f"{reason}\n\n[[{choice}]]"


def parse_judgement(text: str) -> Choice | None:
    """Return what a judge decided, or None unless the text ends with a mark and holds no other."""
    last = _LAST_MARK.search(text)
    if last is None or len(_MARK.findall(text)) > 1:
        return None
    return Choice(last[1])
