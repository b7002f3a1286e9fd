"""The parts of a contrast's reply: their names, and reading them from a JSON object.

Some prompts ask for the object, and some models write one unasked. `music.prompts.delimited` reads other formats.
"""

import json
import re
from typing import Any

from music.errors import MusicError

__all__ = ["INSTRUCTION", "JSON_KEY", "PART_NAMES", "RESPONSE", "ReplyFormatError", "place_of", "read_object"]

INSTRUCTION = "modified_instruction"
RESPONSE = "response"
_GAP = r"[ \t_\\-]{0,3}"
PART_NAMES = {
    INSTRUCTION: rf"(?:(?:the|my|your){_GAP})?(?:modified|revised|rewritten|changed|altered|new){_GAP}"
    r"(?:instruction|request|message|prompt|question|query|version)",
    RESPONSE: rf"(?:(?:the|my|your|final|modified|revised|new){_GAP}){{0,2}}(?:response|answer|reply)"
    rf"(?:{_GAP}to{_GAP}the{_GAP}(?:modified|other|new){_GAP}(?:instruction|request|message|user))?",
}
"""Regular expressions of the names of each part, in lower case."""
JSON_KEY = re.compile(rf'"{PART_NAMES[INSTRUCTION]}"\s*:', re.IGNORECASE)
"""A key that only an object of parts contains."""
_KEYS = {part: re.compile(name, re.IGNORECASE) for part, name in PART_NAMES.items()}
_OBJECT = re.compile(r'\{\s*"')
_MAX_OBJECTS = 8
"""Most braces before the first key that are tried as the beginning of the object."""


class ReplyFormatError(MusicError, ValueError):
    """A reply does not have the format that was asked for; the message says what was expected, and where."""


def place_of(text: str, start: int, stop: int | None = None) -> str:
    """Describe a place in a text for messages: the text there, and its line."""
    shown = text[start : stop or start + 60].strip().split("\n")[0]
    return f"{shown!r} (line {text.count(chr(10), 0, start) + 1})"


def read_object(text: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Read the parts of the one JSON object that contains them.

    Raises:
        ReplyFormatError: There is no such object, more than one, or an incomplete one.
    """
    keys = [match.start() for match in JSON_KEY.finditer(text)]
    fields, end = _object_around(text, keys[0])
    if again := [key for key in keys if key >= end]:
        raise ReplyFormatError(f"expected one JSON object; {place_of(text, again[0])} belongs to another")
    return tuple(_field(fields, name) for name in names)


def _object_around(text: str, key: int) -> tuple[tuple[tuple[str, Any], ...], int]:
    """Return the fields of the JSON object that contains a key, and the object's end.

    Raises:
        ReplyFormatError: There is none.
    """
    # Pairs, since a dict would lose a field that occurs twice.
    decoder = json.JSONDecoder(strict=False, object_pairs_hook=tuple)
    for begin in [match.start() for match in _OBJECT.finditer(text, 0, key + 1)][:_MAX_OBJECTS]:
        try:
            value, end = decoder.raw_decode(text, begin)
        except (json.JSONDecodeError, RecursionError):
            continue
        if end > key and any(_KEYS[INSTRUCTION].fullmatch(name) for name, _ in value):
            return value, end
    raise ReplyFormatError(f"expected a whole JSON object around {place_of(text, key)}, got none that parses")


def _field(fields: tuple[tuple[str, Any], ...], name: str) -> str:
    """Return the text of a part.

    Raises:
        ReplyFormatError: There is no such field, or more than one, or it is not text.
    """
    found = [value for key, value in fields if _KEYS[name].fullmatch(key.strip())]
    if len(found) != 1 or not isinstance(found[0], str):
        keys = ", ".join(key for key, _ in fields)[:80]
        raise ReplyFormatError(f"expected one field {name!r} with text in the JSON object, got the fields {keys}")
    return found[0].strip()
