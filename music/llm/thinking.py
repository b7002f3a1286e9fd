"""Removes the thinking of reasoning models from the front of their replies.

A server with a reasoning parser reports thinking in a separate field. Without a parser, thinking comes before the
answer, between marks that differ by model. The first mark is missing if the chat template opens the thinking; the last
one is missing if the token limit cuts it.

Only thinking at the front of a reply is removed. Later marks stay: the reply may be about such marks. A mark in quotes
does not end thinking. Nor does a last mark without a first one if it is in a block of code or used like a word in a
sentence.
"""

import re
from dataclasses import dataclass

from music.llm.sanitise import is_quoted, outside_code

__all__ = ["THINKING_WORDS", "find_open_mark", "find_thinking_mark", "split_thinking"]


@dataclass(frozen=True, slots=True)
class _Form:
    """How some models mark their thinking.

    Attributes:
        opens: Regular expression of the first mark.
        closes: Regular expression of the last mark.
        template_opens: Whether the first mark may be missing because the chat template writes it.
        may_break_off: Whether the last mark may be missing. It may not in forms of plain words, which without their
            end are an ordinary sentence.
    """

    opens: str
    closes: str
    template_opens: bool = True
    may_break_off: bool = True


def _tags(name: str) -> _Form:
    return _Form(f"<(?i:{name})>", f"</(?i:{name})>")


def _words(opens: str, closes: str) -> _Form:
    return _Form(opens, closes, template_opens=False, may_break_off=False)


_FORMS = (
    _tags("think"),  # DeepSeek, Qwen, GLM, MiniMax, Nemotron, OLMo, SmolLM3, Hunyuan, Phi-4, EXAONE 4, Granite 3.3
    _tags("thinking"),  # models that copy Claude
    _tags("thought"),  # EXAONE Deep, Marco-o1
    _tags("reasoning"),  # Reka Flash, recipes of reinforcement learning
    _tags("seed:think"),  # Seed-OSS
    _tags("mm:think"),  # MiniMax M3
    _tags("think_fast(?:er)?"),  # K2 Think V2
    _Form(r"\[THINK\]", r"\[/THINK\]"),  # Magistral
    _Form("◁think▷", "◁/think▷"),  # Kimi
    _Form(r"<\|open\|>think<\|sep\|>", r"<\|close\|>think<\|sep\|>"),  # Kimi K3
    _Form(r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),  # Command A
    _Form(r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),  # Sky-T1, OpenThinker
    _Form(r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),  # Apertus
    _Form(r"<\|think:start\|>", r"<\|think:end\|>"),  # Solar Open 2
    _Form(r"<\|channel>thought\n?", r"<channel\|>"),  # Gemma 4
    _Form(r"<\|channel\|>(?:analysis|commentary)<\|message\|>", r"<\|channel\|>final<\|message\|>"),  # gpt-oss
    _Form(r"<\|think\|>", r"<\|end\|>(?=<\|begin\|>)", template_opens=False),  # Solar Open
    _Form(r"<\|content_thinking\|>", r"<\|end_message\|>", template_opens=False),  # Inkling
    _words(r"analysis(?=\S)", "assistantfinal"),  # gpt-oss whose special tokens were dropped
    _words(r"Here(?: is|'s) my thought process:", r"Here(?: is|'s) my response:"),  # Granite 3.2
    _Form("Here are my reasoning steps:", r"\[BEGIN FINAL RESPONSE\]", may_break_off=False),  # Apriel
)
_BY_NAME = {f"form{place}": form for place, form in enumerate(_FORMS)}
_OPENS = re.compile(r"\s*(?:" + "|".join(f"(?P<{name}>{form.opens})" for name, form in _BY_NAME.items()) + ")")
_CLOSES = {name: re.compile(form.closes) for name, form in _BY_NAME.items()}
_MARKS = [form.opens for form in _FORMS if form.may_break_off]
_ENDS = [form.closes for form in _FORMS if form.template_opens]
_END = re.compile("|".join(_ENDS))
"""A last mark that may come without a first one."""
_MARK = re.compile("|".join(_ENDS + _MARKS))
"""Such a mark or a first one. Each alternative begins with a fixed letter, so a search is a scan for few letters."""
THINKING_WORDS = ("analysis", "Here is my ", "Here's my ", "Here are my ")
"""Beginnings of the forms that are plain words."""
_WORDS = ("think", "thought", "reasoning", "channel", "inner_", "final response")
"""Every mark of the other forms contains a bracket and one of these words; this check takes a tenth of a search."""

_WRAPPED = re.compile(r"<(answer|response|output)>(.*)</\1>\s*", re.DOTALL | re.IGNORECASE)
"""An answer in tags, as some of these models write it (Hunyuan, Granite 3.3, ERNIE)."""
_AS_A_WORD = re.compile(r"[ \t]+[a-z]")
_AT_THE_END = re.compile(f"(?:{'|'.join(_MARKS)})\\s*\\Z")


def split_thinking(text: str) -> tuple[str, str]:
    """Split a text into the thinking at its front and the answer after it.

    A text without thinking is returned unchanged. The time is linear in the text's length for any content.
    """
    if not _may_hold_a_mark(text) and not text.startswith(THINKING_WORDS):
        return "", text
    thoughts, end = list[str](), 0
    while (found := _next_thought(text, end)) is not None:
        thought, end = found
        thoughts.append(thought.strip())
    if not end:
        return "", text
    answer = text[end:].strip()
    wrapped = _WRAPPED.fullmatch(answer)
    return "\n\n".join(filter(None, thoughts)), wrapped[2].strip() if wrapped else answer


def find_thinking_mark(text: str) -> str:
    """Return the first mark of thinking that is left in an answer; empty if there is none.

    The text around such a mark is likely to be thinking. Marks that are only mentioned do not count.
    """
    if not _may_hold_a_mark(text):
        return ""
    marks = outside_code(text, _MARK.finditer(text))
    return next((mark[0] for mark in marks if not _is_mention(text, mark)), "")


def find_open_mark(prompt: str) -> str:
    """Return the mark at the end of a prompt that opens thinking, so the reply begins within it; empty for none."""
    mark = _AT_THE_END.search(prompt)
    return mark[0] if mark else ""


def _may_hold_a_mark(text: str) -> bool:
    """Whether a text may contain a mark, so that a search is needed."""
    if "<" not in text and "[" not in text and "◁" not in text:
        return False
    lowered = text.lower()
    return any([word in lowered for word in _WORDS])  # noqa: C419 - a generator would take twice the time


def _next_thought(text: str, start: int) -> tuple[str, int] | None:
    """Return the thinking that begins at `start` and the end of its last mark; None if none begins there."""
    opening = _OPENS.match(text, start)
    if opening is not None:
        name, begin = str(opening.lastgroup), opening.end()
        closing = next((mark for mark in _CLOSES[name].finditer(text, begin) if not is_quoted(text, mark)), None)
        if closing is not None:
            return text[begin : closing.start()], closing.end()
        breaks_off = _BY_NAME[name].may_break_off and _AS_A_WORD.match(text, begin) is None
        return (text[begin:], len(text)) if breaks_off else None
    marks = outside_code(text, _MARK.finditer(text, start), start)
    closing = next((mark for mark in marks if not _is_mention(text, mark)), None)
    if closing is None or _END.match(text, closing.start()) is None:
        return None
    return text[start : closing.start()], closing.end()


def _is_mention(text: str, mark: re.Match[str]) -> bool:
    """Whether a mark is only mentioned: it is in quotes, or used like a word in a sentence."""
    before, after = text[max(0, mark.start() - 1) : mark.start()], text[mark.end() : mark.end() + 1]
    is_word = before in (" ", "\t", "(") and after in tuple(" \t.,;:!?)")
    return is_word or is_quoted(text, mark)
