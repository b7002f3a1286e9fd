"""Whether a mark in a text is at work or only spoken of."""

import re
from collections.abc import Iterable, Iterator

__all__ = ["is_quoted", "outside_code"]

_QUOTES = "`'\"‘’“”«»"
_FENCE = "```"


def is_quoted(text: str, mark: re.Match[str]) -> bool:
    """Whether a mark has a quotation mark or a backtick beside it."""
    around = text[max(0, mark.start() - 1) : mark.start()] + text[mark.end() : mark.end() + 1]
    return any(char in _QUOTES for char in around)


def outside_code(text: str, marks: Iterable[re.Match[str]], start: int = 0) -> Iterator[re.Match[str]]:
    """Yield those marks, in order, that are not in a block of code that begins after `start`."""
    is_code = False
    for mark in marks:
        is_code ^= text.count(_FENCE, start, mark.start()) % 2 == 1
        start = mark.start()
        if not is_code:
            yield mark
