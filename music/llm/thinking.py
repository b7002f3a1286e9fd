"""Takes the thinking of reasoning models off the front of their replies.

A server with a reasoning parser hands thinking over in a field of its own. Many are run without one, and then it stands
before the answer, between marks that differ by model. Where the chat template opens the thinking, the first mark is
missing; where the token limit cuts it, the last one is.

Only thinking at the front of a reply is taken. A mark further on is left: the reply may be about such marks. A mark in
quotes ends no thinking, and a last mark without a first one ends none either if it is in a block of code or stands in a
sentence like a word.
"""

import re
from dataclasses import dataclass

from music.llm.sanitise import is_quoted, outside_code

__all__ = ["THINKING_WORDS", "find_open_mark", "find_thinking_mark", "split_thinking"]


@dataclass(frozen=True, slots=True)
class _Form:
    """How some models mark their thinking.

    Attributes:
        opens: Expression of the first mark.
        closes: Expression of the last mark.
        template_opens: The first mark may be missing, as the chat template writes it.
        may_break_off: The last mark may be missing. In forms that are plain words it may not: without their end they
            are a sentence.
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
"""A last mark that may stand alone."""
_MARK = re.compile("|".join(_ENDS + _MARKS))
"""Such a mark or a first one. Each alternative begins with one letter, so that a search is a scan for a few letters."""
THINKING_WORDS = ("analysis", "Here is my ", "Here's my ", "Here are my ")
"""Beginnings of the forms that are plain words."""
_WORDS = ("think", "thought", "reasoning", "channel", "inner_", "final response")
"""Each mark of the other forms holds a bracket and one of these words; to look for them costs a tenth of a search."""

_WRAPPED = re.compile(r"<(answer|response|output)>(.*)</\1>\s*", re.DOTALL | re.IGNORECASE)
"""An answer in tags of its own, which some of these models set it in (Hunyuan, Granite 3.3, ERNIE)."""
_AS_A_WORD = re.compile(r"[ \t]+[a-z]")
_AT_THE_END = re.compile(f"(?:{'|'.join(_MARKS)})\\s*\\Z")


def split_thinking(text: str) -> tuple[str, str]:
    """Return what a model thought at the front of a text, and the text after it.

    A text without thinking is returned unchanged. The time depends on the text's length alone, whatever is in it.
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
    """Return the first mark of thinking in a reply from which thinking was split off; empty if there is none.

    It stands where thinking has no place, so the text around it is likely to be some. Marks that are spoken of do not
    count.
    """
    if not _may_hold_a_mark(text):
        return ""
    marks = outside_code(text, _MARK.finditer(text))
    return next((mark[0] for mark in marks if not _is_mention(text, mark)), "")


def find_open_mark(prompt: str) -> str:
    """Return the mark at the end of a prompt that opens thinking, within which the reply begins; empty for none."""
    mark = _AT_THE_END.search(prompt)
    return mark[0] if mark else ""


def _may_hold_a_mark(text: str) -> bool:
    """Whether a text must be searched."""
    if "<" not in text and "[" not in text and "◁" not in text:
        return False
    lowered = text.lower()
    return any([word in lowered for word in _WORDS])  # noqa: C419 - a generator would take twice the time


def _next_thought(text: str, start: int) -> tuple[str, int] | None:
    """Return thinking that begins at a place, and where it and its last mark end; None if none begins there."""
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
    """Whether a mark is spoken of: it is in quotes, or has its place in a sentence as a word has."""
    before, after = text[max(0, mark.start() - 1) : mark.start()], text[mark.end() : mark.end() + 1]
    is_word = before in (" ", "\t", "(") and after in tuple(" \t.,;:!?)")
    return is_word or is_quoted(text, mark)
