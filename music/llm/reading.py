"""From what a model wrote to what it says: the one place where raw text becomes a reply, wherever the model runs.

The order matters. Thinking is found by marks that `neutralise` would spoil, and a header may stand before the thinking
as well as after it.
"""

from typing import NamedTuple

from music.llm.chat import ReplyOutcome
from music.llm.sanitise import neutralise, strip_end_marks, strip_header
from music.llm.thinking import THINKING_WORDS, split_thinking

__all__ = ["Reading", "read_text"]

_BEGINNINGS = ("assistant", "Assistant", "ASSISTANT", "model", "*", *THINKING_WORDS)
"""Of the headers and the thinking that are plain words; every other mark holds one of the brackets `<[◁`."""


class Reading(NamedTuple):
    """What a model says; the fields without a description are as in `ChatReply`.

    Attributes:
        text: Likewise.
        outcome: Likewise.
        thinking: Likewise.
        cleaned: Likewise.
        said: The part of the raw text that became `text`.
    """

    text: str
    outcome: ReplyOutcome
    thinking: str
    cleaned: tuple[str, ...]
    said: str


def read_text(raw: str, end: ReplyOutcome, thinking: str = "") -> Reading:
    """Read what a model wrote.

    Args:
        raw: All of it, its special tokens included where they are known. It must be valid Unicode.
        end: How it ended: COMPLETE for a reply that ended by itself.
        thinking: What the server handed over apart.
    """
    if not _may_be_marked(raw):
        return Reading(raw, end, thinking.strip(), (), raw)
    headless = strip_header(raw)
    thought, answer = split_thinking(headless)
    body = answer if answer is headless else strip_header(answer)  # the header after thinking is part of its form
    said = strip_end_marks(body)
    text = neutralise(said)
    thinking = "\n\n".join(filter(None, (thinking.strip(), thought))) if thinking or thought else ""
    if not text or text.isspace():
        text = ""
        if end is ReplyOutcome.COMPLETE:
            end = ReplyOutcome.THOUGHT if thinking else ReplyOutcome.EMPTY
    cleaned: tuple[str, ...] = ()
    if text != raw:
        kinds = (("role_header", headless != raw), ("end_mark", said != body), ("control_token", text != said))
        cleaned = tuple(kind for kind, is_there in kinds if is_there)
    return Reading(text, end, thinking, cleaned, said)


def _may_be_marked(raw: str) -> bool:
    """Whether a text must be looked through; most hold no mark, and to look for each costs six times as much."""
    if not raw or raw[0].isspace() or raw.startswith(_BEGINNINGS):
        return True
    return "<" in raw or "[" in raw or "◁" in raw
