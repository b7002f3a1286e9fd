"""Reads a modified instruction and a response from a reply, however a model delimits them.

A prompt asks for tags or for a JSON object. Models also write labels, headings, code fences, capital letters, and words
before and after the parts. A part is the text between two marks, or between a mark and the end. An ambiguous reply (a
part twice, a mark inside a part, a part without a mark) is refused, and the error names the place. A wrong reading is
worse than a refusal: after a refusal, the role asks again.
"""

import html
import re
from dataclasses import dataclass

from music.prompts.reply_parts import (
    INSTRUCTION,
    JSON_KEY,
    PART_NAMES,
    RESPONSE,
    ReplyFormatError,
    place_of,
    read_object,
)

__all__ = ["read_parts"]

_NAME = rf"(?:(?P<instruction>{PART_NAMES[INSTRUCTION]})|(?P<response>{PART_NAMES[RESPONSE]}))"
_TAG = re.compile(rf"[<\[]\s*(?P<close>/?)\s*{_NAME}(?:\s[^<>\[\]\n]{{0,200}})?\s*[>\]]", re.IGNORECASE)
_AROUND = ("**", "__", "`")
"""Markdown that a model writes on both sides of a tag."""
# The form of most replies: as asked, without a character that could begin a mark. A search for all marks is far slower.
_AS_ASKED = re.compile(
    r"\s*<modified_instruction>([^<\[◁`]*)</modified_instruction>\s*<response>([^<\[◁`]*)</response>\s*"
)
_LABEL = re.compile(
    r"^[ \t]*(?:[-*+>][ \t]+|\(?\d{1,2}[.)][ \t]+)?(?P<heading>#{1,6}[ \t]+(?:\d{1,2}[.)][ \t]+)?)?(?P<bold>\*\*|__)?"
    rf"{_NAME}[ \t]*(?P<colon>:)?(?(bold)(?P=bold))[ \t]*(?P<later_colon>:)?(?P<alone>[ \t]*$)?",
    re.IGNORECASE | re.MULTILINE,
)
_THOUGHT = re.compile(
    r"[<\[◁]\s*(?P<close>/?)\s*(?:think(?:ing)?|thoughts?|reasoning|reflection|scratchpad)\s*[>\]▷]", re.IGNORECASE
)
_END_MARK = re.compile(r"(?:< ?[|｜][^|｜<>\n]{1,40}[|｜]>|< ?/s>|< ?(?:end_of_turn|eos)>|\[END\])\Z")
_FENCE = re.compile(r"^[ \t]*(?:`{3,}|~{3,})[ \t]*\w*[ \t]*$", re.MULTILINE)
_FENCED = re.compile(r"(?:`{3,}|~{3,})[ \t]*\w*\n(?P<body>.*)\n(?:`{3,}|~{3,})", re.DOTALL)
_RULES = re.compile(r"\A(?:\s*(?:-{3,}|\*{3,}|_{3,})[ \t]*\n)+|(?:\n[ \t]*(?:-{3,}|\*{3,}|_{3,})\s*)+\Z")
_TALKS_OF_FORMAT = re.compile(
    r"\b(?:modified|modification|original|revised)\b.*\b(?:instruction|request|message|prompt|question)\b"
    r"|\bthis (?:meets your (?:needs|requirements)|follows the format)",
    re.IGNORECASE,
)
_ORDER = re.compile("Ii?(?:Rr?)?")
"""The valid orders of `_Mark.letter`; each part may lack its end."""
# Invisible characters: a part that contains nothing else is empty.
_UNSEEN = dict.fromkeys(map(ord, "\u00ad\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"), None)


@dataclass(frozen=True, slots=True)
class _Mark:
    """The beginning or the end of a part.

    Attributes:
        part: The part's name.
        closes: Whether the part ends here.
        start: Index of the mark in the text.
        end: Index after the mark.
    """

    part: str
    closes: bool
    start: int
    end: int

    @property
    def letter(self) -> str:
        """The part's letter, i or r, in upper case where the part begins."""
        letter = "i" if self.part == INSTRUCTION else "r"
        return letter if self.closes else letter.upper()


def read_parts(text: str, names: tuple[str, ...] = (INSTRUCTION, RESPONSE)) -> tuple[str, ...]:
    """Return the parts of a reply, in the order of their names.

    Args:
        text: The complete reply.
        names: The parts that the prompt asks for: both, or the modified instruction alone.

    Raises:
        ReplyFormatError: A part is missing, is empty, or cannot be distinguished from the rest with certainty.
    """
    if names == (INSTRUCTION, RESPONSE) and (as_asked := _AS_ASKED.fullmatch(text)):
        found: tuple[str, ...] = as_asked[1].strip(), as_asked[2].strip()
    else:
        found = _found(text, names)
    parts = tuple(map(_without_label, names, found))
    for name, part in zip(names, parts, strict=True):
        _check(name, part)
    return parts


def _found(text: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Find the parts by any of the known marks.

    Raises:
        ReplyFormatError: As for `read_parts`.
    """
    text = _after_thoughts(text)
    if "&lt;" in text and not _has_instruction(_tags(text)) and _has_instruction(_tags(html.unescape(text))):
        text = html.unescape(text)
    tags = _tags(text)
    if not _has_instruction(tags) and JSON_KEY.search(text):
        return read_object(text, names)
    return _read_marked(text, _with_labels(text, tags), names)


def _after_thoughts(text: str) -> str:
    """Return the text after the last thought, with its line numbers unchanged.

    Raises:
        ReplyFormatError: A thought does not end.
    """
    marks = list(_THOUGHT.finditer(text))
    stop = max((mark.end() for mark in marks if mark["close"]), default=0)
    if opens := [mark for mark in marks if mark.start() >= stop]:
        place = place_of(text, opens[0].start(), opens[0].end())
        raise ReplyFormatError(f"expected an answer after the thoughts that begin with {place}, got none")
    return "\n" * text.count("\n", 0, stop) + text[stop:]


def _tags(text: str) -> list[_Mark]:
    return [_Mark(_part(m), bool(m["close"]), *_with_what_is_around(text, m)) for m in _TAG.finditer(text)]


def _with_what_is_around(text: str, tag: re.Match[str]) -> tuple[int, int]:
    """Return the span of a tag, including bold or code marks on both sides."""
    start, end = tag.span()
    for mark in _AROUND:
        if text.startswith(mark, end) and text.endswith(mark, 0, start):
            return start - len(mark), end + len(mark)
    return start, end


def _has_instruction(marks: list[_Mark]) -> bool:
    return any(mark.part == INSTRUCTION for mark in marks)


def _with_labels(text: str, tags: list[_Mark]) -> list[_Mark]:
    """Return all marks; labels count only for a part without a tag."""
    tagged = {mark.part for mark in tags}
    labels = [
        _Mark(_part(m), False, m.start(), m.end())
        for m in (_LABEL.finditer(text) if len(tagged) < len(PART_NAMES) else ())
        if _part(m) not in tagged and _is_label(m)
    ]
    if tagged == {RESPONSE}:
        # A label within a tagged part belongs to its text.
        labels = [mark for mark in labels if mark.start < tags[0].start]
    return sorted([*tags, *labels], key=lambda mark: mark.start)


def _is_label(match: re.Match[str]) -> bool:
    """Whether a name at the beginning of a line is a label: it has a colon, or is a heading or bold and alone."""
    set_off = match["heading"] or match["bold"]
    return bool(match["colon"] or match["later_colon"] or (set_off and match["alone"] is not None))


def _part(match: re.Match[str]) -> str:
    return INSTRUCTION if match["instruction"] else RESPONSE


def _read_marked(text: str, marks: list[_Mark], names: tuple[str, ...]) -> tuple[str, ...]:
    """Read the parts between their marks.

    Raises:
        ReplyFormatError: The marks are not of each part once, in order.
    """
    _check_order(text, marks, names)
    begins = {mark.part: mark for mark in marks if not mark.closes}
    ends = {mark.part: mark for mark in marks if mark.closes}
    parts = {}
    for name, begin in begins.items():
        following = [mark.start for mark in marks if mark.start > begin.start]
        part = text[begin.end : following[0]] if following else _open_end(text, begin.end, marks[0].start)
        parts[name] = part.strip() if name in ends else _tidy(part)
    _check_open_instruction(text, begins, ends)
    # Parts that each stand in a code fence lose it. A single fenced part keeps it: it may be code.
    fenced = {name: _FENCED.fullmatch(part) for name, part in parts.items()}
    if len(parts) > 1 and all(fenced.values()):
        parts = {name: match["body"].strip() for name, match in fenced.items() if match}
    return tuple(parts[name] for name in names)


def _check_order(text: str, marks: list[_Mark], names: tuple[str, ...]) -> None:
    """Refuse marks in another order than: instruction, its end, response, its end; ends may be missing.

    Raises:
        ReplyFormatError: A part is missing, occurs twice, or contains another part's mark.
    """
    in_order = _ORDER.match("".join(mark.letter for mark in marks))
    if wrong := marks[in_order.end() if in_order else 0 :]:
        place = place_of(text, wrong[0].start, wrong[0].end)
        wanted = f"each part once, in order and none inside another; {place} is one mark too many or out of place"
        raise ReplyFormatError(f"expected {wanted}")
    given = {mark.part for mark in marks}
    if missing := [name for name in names if name not in given]:
        after = f" after {place_of(text, marks[-1].start, marks[-1].end)}" if marks else ""
        raise ReplyFormatError(f"expected {' and '.join(f'<{name}>' for name in missing)}{after}, got no such mark")


def _check_open_instruction(text: str, begins: dict[str, _Mark], ends: dict[str, _Mark]) -> None:
    """Refuse an instruction without an end that seems to contain the label of the response.

    Raises:
        ReplyFormatError: It contains one.
    """
    if INSTRUCTION in ends or RESPONSE not in begins:
        return
    for match in _LABEL.finditer(text, begins[INSTRUCTION].end, begins[RESPONSE].start):
        if match["response"] and _is_label(match):
            raise ReplyFormatError(
                f"expected </{INSTRUCTION}> before {place_of(text, match.start(), match.end())}, got no such mark"
            )


def _open_end(text: str, start: int, first: int) -> str:
    """Return a last part without an end mark: up to the end of the text or of the code fence around all parts.

    Raises:
        ReplyFormatError: Its last paragraph is about the format, so its end is unclear.
    """
    stop = len(text)
    if len(_FENCE.findall(text, 0, first)) % 2 and (fences := list(_FENCE.finditer(text, start))):
        stop = fences[-1].start()
    part = text[start:stop].strip()
    while match := _END_MARK.search(part):
        part = part[: match.start()].rstrip()
    paragraphs = part.split("\n\n")
    if len(paragraphs) > 1 and _TALKS_OF_FORMAT.search(paragraphs[-1]):
        place = start + part.rindex(paragraphs[-1])
        raise ReplyFormatError(f"expected a mark at the end of the last part before {place_of(text, place)}, got none")
    return part


def _tidy(part: str) -> str:
    """Remove horizontal rules, and quotation marks around the whole, from a part that labels delimit."""
    part = _RULES.sub("", part).strip()
    quoted = len(part) > 2 and part[0] == part[-1] == '"' and '"' not in part[1:-1]
    return part[1:-1].strip() if quoted else part


def _without_label(name: str, part: str) -> str:
    """Remove a part's own label from its beginning, but keep "Answer:", which may belong to the answer.

    Raises:
        ReplyFormatError: It begins with the label of another part.
    """
    label = _LABEL.match(part)
    if label is None or not _is_label(label):
        return part
    if _part(label) != name:
        raise ReplyFormatError(f"expected the text of <{name}>, got {label[0].strip()!r}")
    return part if "answer" in label[0].lower() or "reply" in label[0].lower() else part[label.end() :].strip()


def _check(name: str, part: str) -> None:
    """Refuse a part that is empty or contains another mark.

    Raises:
        ReplyFormatError: It is not plain text, or it contains a mark.
    """
    if not (part if part.isascii() else part.translate(_UNSEEN)).strip():
        raise ReplyFormatError(f"expected text in <{name}>, got nothing")
    if part.startswith(("|\n", ">\n", "|-\n", ">-\n")):
        raise ReplyFormatError(f"expected <{name}> as plain text, got a block of YAML")
    may_hold_tags = "<" in part or "[" in part
    if (inner := may_hold_tags and _TAG.search(part)) or (inner := '"' in part and JSON_KEY.search(part)):
        raise ReplyFormatError(f"expected no mark inside <{name}>, got {inner[0][:60]!r}")
