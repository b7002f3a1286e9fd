"""The prompt of a judge who rates one conversation, and the format of its rating.

The scale ends at 9, so that a rating is one token for every tokenizer.
"""

import re

from music.conversation import Conversation, Message
from music.prompts.judge_template import load_template
from music.prompts.quoting import quote, read_quoted
from music.prompts.template import PromptTemplate

__all__ = ["HIGHEST", "LOWEST", "RATING_HEAD", "parse_rating", "read_rated", "render_rate", "render_rating"]

RATING_HEAD = "You are rating an AI assistant by one of its conversations."
LOWEST = 1
HIGHEST = 9

_MARK = re.compile(r"\[\[\d+\]\]")
_LAST_MARK = re.compile(rf"\[\[([{LOWEST}-{HIGHEST}])\]\]\W*\Z")


def render_rate(conversation: Conversation, template: PromptTemplate | None = None) -> tuple[Message, ...]:
    """Ask how well the assistant did in a conversation.

    Args:
        conversation: What is rated.
        template: By what to rate; `overall` unless told otherwise.

    Raises:
        InvalidInputError: The template is none of a rating.
    """
    values = {"conversation": quote(conversation), "lowest": LOWEST, "highest": HIGHEST}
    text = (template or load_template()).render("pointwise", values)
    return (Message(role="user", content=text),)


def read_rated(content: str) -> Conversation:
    """Return the conversation that a prompt asks to rate."""
    return read_quoted(content, "conversation")


def render_rating(rating: int) -> str:
    """Write a rating in the format that the prompt asks for."""
    return f"[[{rating}]]"


def parse_rating(text: str) -> int | None:
    """Return a judge's rating, or None unless the text ends with one of the scale and holds no other."""
    last = _LAST_MARK.search(text)
    return int(last[1]) if last is not None and len(_MARK.findall(text)) == 1 else None
