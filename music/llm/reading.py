"""From what a model wrote to what it says: the one place where raw text becomes a reply, wherever the model runs.

The order matters. Thinking is found by marks that `neutralise` would spoil, and a header may stand before the thinking
as well as after it.
"""

from dataclasses import dataclass

from music.llm.chat import ReplyOutcome
from music.llm.sanitise import neutralise, strip_end_marks, strip_header
from music.llm.thinking import split_thinking

__all__ = ["Reading", "read_text"]


@dataclass(frozen=True, slots=True)
class Reading:
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
    headless = strip_header(raw)
    thought, answer = split_thinking(headless)
    body = answer if answer is headless else strip_header(answer)  # the header after thinking is part of its form
    said = strip_end_marks(body)
    text = neutralise(said)
    kinds = (("role_header", headless != raw), ("end_mark", said != body), ("control_token", text != said))
    if not text.strip():
        text = ""
        end = _outcome_without_text(end, thinking or thought)
    return Reading(
        text=text,
        outcome=end,
        thinking="\n\n".join(filter(None, (thinking.strip(), thought))),
        cleaned=tuple(kind for kind, is_there in kinds if is_there),
        said=said,
    )


def _outcome_without_text(end: ReplyOutcome, thinking: str) -> ReplyOutcome:
    """Return the outcome of a reply that has no text."""
    if end is not ReplyOutcome.COMPLETE:
        return end
    return ReplyOutcome.THOUGHT if thinking.strip() else ReplyOutcome.EMPTY
