"""Checks of a single reply's text: refusals, leaked instructions, broken forms, loops.

Each function returns what it found, in words, or an empty string. False alarms are rare, and some cases are missed:
docs/quality.md has the rates on real replies. English only.
"""

import re

from music.llm.sanitise import find_control_token
from music.llm.thinking import find_thinking_mark
from music.prompts import CONTRAST_PROMPTS

__all__ = ["find_degeneration", "find_leak", "find_malformation", "find_refusal"]

# Every finding contains one of its triggers. Searching for triggers costs a tenth of the expressions, which rarely run.
_OPENING_CHARACTERS = 240
"""A refusal is searched for in this many characters; later ones are advice."""
_NOT_ABLE = (
    r"(?:can(?:not|'t| not)|could(?: not|n't)|won't|will not"
    r"|(?:am|'m) (?:not able|unable|not going) to|must decline to)"
)
_HELP = (
    r"(?:help|assist|support|provide|answer|comply|fulfill?|process|create|write|generate|discuss|engage|give|share"
    r"|do that|offer|respond|participate|continue|encourage|recommend|condone|in good conscience)"
)
_REFUSAL = re.compile(
    rf"\bI(?:'m| am) (?:sorry|afraid)\b[^.!?\n]{{0,60}}\bI ?{_NOT_ABLE} (?:\w+ )?{_HELP}\b"
    rf"|\A\W*(?:\w+[,.!] )?I ?{_NOT_ABLE} (?:\w+ )?{_HELP}\b"
    rf"|\bas an AI\b[^.!?\n]{{0,60}}\bI ?{_NOT_ABLE} (?:\w+ )?{_HELP}\b"
    rf"|\A\W*I(?:'m| am) (?:sorry|afraid)[^.!?\n]{{0,30}}\bI don't feel comfortable\b"
    rf"|\A\W*(?:I must|I have to) (?:refuse|decline)\b"
    rf"|\A[^.!?\n]{{0,40}}\b(?:not|isn't) something I can (?:\w+ )?{_HELP}\b",
    re.IGNORECASE,
)
_REFUSAL_TRIGGERS: tuple[str, ...] = (
    "can't",
    "cannot",
    "can not",
    "could",
    "won't",
    "will not",
    "unable",
    "not able",
    "not going to",
)
_REFUSAL_TRIGGERS += ("decline", "refuse", "comfortable", "something i can")

_LEAK_TRIGGERS = ("modified", "constraint", "dropped", "<response>", "</response>", "<message>")
_LEAK = re.compile(
    r"</?modified_instruction>|</?response>\s*\Z|\A\s*<(?:response|message)>"
    r"|\b(?:the|your|this|my) modified (?:instruction|request|message|version of (?:the|your) (?:instruction|message))"
    r"|^\W*modified (?:instruction|request|message)\b"
    r"|\bas (?:requested|instructed|asked)\b[^.!?\n]{0,20}\bI(?:'ve| have)? (?:dropped|modified|ignored)\b"
    r"|\b(?:dropped|dropping|ignored|ignoring) (?:the|your|one of your|that) (?:\w+ )?constraints?\b",
    re.IGNORECASE | re.MULTILINE,
)
_MIN_CLAUSE_WORDS = 5


def _holds_any(text: str, triggers: tuple[str, ...]) -> bool:
    """Return whether a text contains one of the triggers."""
    for trigger in triggers:  # noqa: SIM110 - a generator would take twice the time
        if trigger in text:
            return True
    return False


def _prompt_clauses() -> frozenset[str]:
    """Return the longer clauses of the contrasts' prompts that contain a trigger."""
    text = " ".join(prompt for _, prompt in CONTRAST_PROMPTS.values())
    clauses = (" ".join(clause.split()).lower() for clause in re.split(r"[.:;,()<>]", text))
    long = (clause for clause in clauses if len(clause.split()) >= _MIN_CLAUSE_WORDS)
    return frozenset(clause for clause in long if _holds_any(clause, _LEAK_TRIGGERS))


_CLAUSES = _prompt_clauses()

# A definition is not a label: "Assistant: a noun ...".
_LABEL = re.compile(r"\A\W*(?:user|human|assistant)\W{0,3}:(?!\W*(?-i:an?|the|noun|n\.) )", re.IGNORECASE)
_HEADER_TRIGGERS = ("assistant\n", "user\n")
_NAKED_HEADER = re.compile(r"(?:[.!?:)\]\"'*`]|\n)(?:(?:assistant|user)\n\s*(?:\n|\Z)|assistant\Z)")
"""A turn's header without its control tokens, within a reply: Llama 3's, as in `...for you!assistant`."""
_OTHERS_TURN = re.compile(r"\n\n(?:Human|User): .*\n\n(?:Assistant|AI): ", re.DOTALL)

_LOOP_CHARACTERS = 24
_MAX_LOOPS = 6


def find_refusal(text: str) -> str:
    """Find a refusal in the opening of a reply."""
    opening = text[:_OPENING_CHARACTERS].replace("’", "'")
    if not _holds_any(opening.lower(), _REFUSAL_TRIGGERS):
        return ""
    match = _REFUSAL.search(opening)
    return match[0] if match else ""


def find_leak(text: str) -> str:
    """Find words that can only come from the contrast's prompt."""
    lowered = text.lower()
    if not _holds_any(lowered, _LEAK_TRIGGERS):
        return ""
    match = _LEAK.search(text)
    return match[0] if match else next((clause for clause in _CLAUSES if clause in lowered), "")


def find_malformation(text: str) -> str:
    """Find marks of a transcript or of thinking, or a code block without an end."""
    if (label := _LABEL.match(text)) is not None:
        return label[0]
    if mark := find_control_token(text) or find_thinking_mark(text):
        return mark
    if (_holds_any(text, _HEADER_TRIGGERS) or text.endswith("assistant")) and (
        header := _NAKED_HEADER.search(text)
    ) is not None:
        return header[0].strip()
    if ("\n\nHuman: " in text or "\n\nUser: " in text) and _OTHERS_TURN.search(text) is not None:
        return "turns of both speakers"
    return "a code block without an end" if text.count("```") % 2 else ""


def find_degeneration(text: str) -> str:
    """Find a reply without a word, or one that ends in a loop (of a character, a word, a sentence)."""
    stripped = text.strip()
    if not any(map(str.isalnum, stripped)):
        return "no word"
    end = stripped[-_LOOP_CHARACTERS:]
    # A model that loops does so to the end, so it is enough to count the end.
    if any(map(str.isalnum, end)) and stripped.count(end) >= _MAX_LOOPS:
        return f"it ends in a loop of {end!r}"
    return ""
