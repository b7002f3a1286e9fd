"""`read_text`: splits a model's raw text into thinking and answer, for servers and local models alike.

The order of the steps matters: `neutralise` would destroy the marks of thinking, and a header may come before or after
the thinking.
"""

from typing import NamedTuple

from music.llm.chat import ReplyOutcome
from music.llm.sanitise import neutralise, strip_end_marks, strip_header
from music.llm.thinking import THINKING_WORDS, split_thinking

__all__ = ["Reading", "read_text"]

_BEGINNINGS = ("assistant", "Assistant", "ASSISTANT", "model", "*", *THINKING_WORDS)
"""Beginnings of headers and thinking that are plain words; every other mark contains one of the brackets `<[◁`."""


class Reading(NamedTuple):
    """A model's answer and thinking.

    Attributes:
        text: As in `ChatReply`, like the next three.
        outcome: See above.
        thinking: See above.
        cleaned: See above.
        said: The part of the raw text that became `text`.
    """

    text: str
    outcome: ReplyOutcome
    thinking: str
    cleaned: tuple[str, ...]
    said: str


def read_text(raw: str, end: ReplyOutcome, thinking: str = "") -> Reading:
    """Split a model's raw text into thinking and answer, and remove or neutralise template marks.

    Args:
        raw: The whole text, with special tokens where they are known. It must be valid Unicode.
        end: How it ended: COMPLETE for a reply that ended by itself.
        thinking: Thinking that the server reported separately.
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
    """Whether a text may contain a mark; most do not, and a full search takes six times as long."""
    if not raw or raw[0].isspace() or raw.startswith(_BEGINNINGS):
        return True
    return "<" in raw or "[" in raw or "◁" in raw
