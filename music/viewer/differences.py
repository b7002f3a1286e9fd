"""`mark_differences`: the words in which two texts differ, in bounded time.

The parts that both texts begin and end with are found first. Only the rest is compared word by word, and only if it is
short enough; otherwise all of it counts as different. A word or two that happen to be equal between changes are not
shown as equal, because such islands are hard to read.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

__all__ = ["Span", "cut_spans", "differ_throughout", "mark_differences"]

_MAX_CHARACTERS = 20_000
_MAX_WORDS = 2_500
_MAX_PRODUCT = 1_000_000
"""Largest product of the numbers of words that are compared."""
_LONGEST_WORD = 200
_LITTLE_SHARED = 0.15
"""Share of the shorter text below which two texts have nothing to do with each other."""
_SMALL_ISLAND = 2
_MIN_CHANGE = 3
_UNSPACED = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff"
"""Scripts without spaces, whose characters count as words."""
_ASCII_MARKS = re.escape("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_WORD = re.compile(rf"(?:[{_UNSPACED}]|[{_ASCII_MARKS}]+|[^\s{_UNSPACED}{_ASCII_MARKS}]+|(?=\s))\s*")


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a text.

    Attributes:
        text: The piece.
        differs: Whether the other text does not have it.
    """

    text: str
    differs: bool = False


def mark_differences(one: str, other: str) -> tuple[list[Span], list[Span]]:
    """Return the pieces of two texts; joined, they are the texts."""
    if one == other:
        return [Span(one)], [Span(other)]
    start = _word_start(one, _num_shared(one, other))
    end = _shared_end(one[start:], other[start:])
    middles = one[start : len(one) - end], other[start : len(other) - end]
    marked = _compare(*middles)
    tail = one[len(one) - end :]
    first, second = (_joined([Span(one[:start]), *spans, Span(tail)]) for spans in marked)
    return first, second


def differ_throughout(one: Sequence[Span], other: Sequence[Span]) -> bool:
    """Return whether two marked texts share so little that marks tell nothing; not for texts too long to compare."""
    shared = min(_num_letters("".join(span.text for span in spans if not span.differs)) for spans in (one, other))
    texts = ["".join(span.text for span in spans) for spans in (one, other)]
    return _can_compare(*texts) and shared < _LITTLE_SHARED * min(map(_num_letters, texts))


def cut_spans(spans: list[Span], limit: int) -> tuple[list[Span], list[Span]]:
    """Return the spans of the first `limit` characters and those of the rest."""
    shown: list[Span] = []
    for place, span in enumerate(spans):
        if len(span.text) > limit:
            head, tail = Span(span.text[:limit], span.differs), Span(span.text[limit:], span.differs)
            return _joined([*shown, head]), [tail, *spans[place + 1 :]]
        shown.append(span)
        limit -= len(span.text)
    return shown, []


def _compare(one: str, other: str) -> tuple[list[Span], list[Span]]:
    if not _can_compare(one, other):
        return [Span(one, True)], [Span(other, True)]
    words, others = _WORD.findall(one), _WORD.findall(other)
    keys, other_keys = ([word.strip() for word in each] for each in (words, others))
    marked: tuple[list[Span], list[Span]] = ([], [])
    for differs, a, b, c, d in _merged(SequenceMatcher(None, keys, other_keys).get_opcodes()):
        for spans, text in zip(marked, ("".join(words[a:b]), "".join(others[c:d])), strict=True):
            body = text.rstrip()
            spans += [Span(body, differs), Span(text[len(body) :])]  # a mark must not end with a space
    return marked


def _can_compare(one: str, other: str) -> bool:
    """Return whether two texts are short enough to be compared word by word."""
    if max(len(one), len(other)) > _MAX_CHARACTERS:
        return False
    num_words = [len(_WORD.findall(text)) for text in (one, other)]
    return max(num_words) <= _MAX_WORDS and num_words[0] * num_words[1] <= _MAX_PRODUCT


def _num_letters(text: str) -> int:
    """Return the number of letters and digits: a full stop that two texts share does not count."""
    return sum(map(str.isalnum, text))


def _merged(codes: Sequence[tuple[str, int, int, int, int]]) -> list[tuple[bool, int, int, int, int]]:
    """Return which words differ; an island of few equal words between larger changes differs, too."""
    blocks: list[tuple[bool, int, int, int, int]] = []
    for place, (tag, a, b, c, d) in enumerate(codes):
        around = [max(code[2] - code[1], code[4] - code[3]) for code in codes[max(0, place - 1) : place + 2 : 2]]
        is_island = 0 < place < len(codes) - 1 and b - a <= _SMALL_ISLAND and min(around) >= _MIN_CHANGE
        differs = tag != "equal" or is_island
        if blocks and blocks[-1][0] == differs:
            blocks[-1] = (differs, blocks[-1][1], b, blocks[-1][3], d)
        else:
            blocks.append((differs, a, b, c, d))
    return blocks


def _joined(spans: list[Span]) -> list[Span]:
    """Join neighbours of one kind, and leave out empty ones."""
    joined: list[Span] = []
    for span in filter(lambda span: span.text, spans):
        if joined and joined[-1].differs == span.differs:
            joined[-1] = Span(joined[-1].text + span.text, span.differs)
        else:
            joined.append(span)
    return joined


def _num_shared(one: str, other: str) -> int:
    """Return the number of characters that two texts begin with; slices are compared, so long texts are fast."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low


def _word_start(text: str, place: int) -> int:
    """Return where the word begins that a place is in; a very long word is cut."""
    start = place
    while start > 0 and not text[start - 1].isspace():
        start -= 1
        if place - start == _LONGEST_WORD:
            break
    return start


def _shared_end(one: str, other: str) -> int:
    """Return the number of characters of the whole words that both texts end with."""
    num = _num_shared(one[::-1], other[::-1])
    return _word_start(one[::-1], num)
