"""The parts of a contrast's reply: what they are called, by prompts and by models, and the error for what has none."""

from music.errors import MusicError

__all__ = ["INSTRUCTION", "PART_NAMES", "RESPONSE", "ReplyFormatError", "place_of"]

INSTRUCTION = "modified_instruction"
RESPONSE = "response"

_GAP = r"[ \t_\\-]{0,3}"
PART_NAMES = {
    INSTRUCTION: rf"(?:(?:the|my|your){_GAP})?(?:modified|revised|rewritten|changed|altered|new){_GAP}"
    r"(?:instruction|request|message|prompt|question|query|version)",
    RESPONSE: rf"(?:(?:the|my|your|final|modified|revised|new){_GAP}){{0,2}}(?:response|answer|reply)"
    rf"(?:{_GAP}to{_GAP}the{_GAP}(?:modified|other|new){_GAP}(?:instruction|request|message|user))?",
}
"""Regular expressions of the names by which a part is known, in lower case."""


class ReplyFormatError(MusicError, ValueError):
    """A reply does not keep to the format that was asked for; the message says what was expected, and where."""


def place_of(text: str, start: int, stop: int | None = None) -> str:
    """Name a place of a text, for people: what stands there, and its line."""
    shown = text[start : stop or start + 60].strip().split("\n")[0]
    return f"{shown!r} (line {text.count(chr(10), 0, start) + 1})"
