"""The reply to a contrast's prompt: its JSON schema, writing it and reading it.

Models do not always use the format that a prompt asks for, so tags, JSON and other clear delimiters are all read
(`delimited`).
"""

import re
from typing import Any

from music.prompts.contrast import TASKS, write_parts
from music.prompts.delimited import read_parts
from music.prompts.kinds import ContrastFormat, PromptKind
from music.prompts.reply_parts import INSTRUCTION, RESPONSE, ReplyFormatError

__all__ = ["contrast_schema", "read_contrast", "read_rewrite", "render_contrast_reply", "render_rewrite_reply"]

_PLACEHOLDER_NOUNS = frozenset(
    ("instruction", "message", "request", "version", "prompt", "response", "answer", "reply", "text", "content")
)
_PLACEHOLDER_WORDS = _PLACEHOLDER_NOUNS.union(
    ("the", "your", "a", "an", "my", "modified", "revised", "rewritten", "new", "changed", "other", "user"),
    ("here", "goes", "to", "insert", "placeholder", "this", "that", "edited", "of", "question"),
)
_MIN_ECHO_WORDS = 3
"""Shorter texts that occur in the prompts may be a model's own."""
_CHARS_READ = 100
"""Characters of a part that show whether it is a placeholder."""
_WORD = re.compile(r"[^\W_]+")


def contrast_schema(part: PromptKind) -> dict[str, Any]:
    """Return the JSON schema of a reply; the instruction comes first, as the response follows from it."""
    names = list(TASKS[part].parts)
    return {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": names,
        "additionalProperties": False,
    }


def render_contrast_reply(modified_instruction: str, response: str, form: ContrastFormat = ContrastFormat.TAGS) -> str:
    """Write a contrast's reply in a format."""
    return write_parts({INSTRUCTION: modified_instruction, RESPONSE: response}, form)


def render_rewrite_reply(modified_instruction: str, form: ContrastFormat = ContrastFormat.TAGS) -> str:
    """Write a rewritten message in a format."""
    return write_parts({INSTRUCTION: modified_instruction}, form)


def read_contrast(text: str, message: str = "") -> tuple[str, str]:
    """Return the modified instruction and the response of a contrast's reply.

    Args:
        text: The reply.
        message: The message to modify.

    Raises:
        ReplyFormatError: The two parts cannot be distinguished with certainty, one of them is the prompt's placeholder,
            or nothing is modified.
    """
    instruction, response = read_parts(text)
    plain_message, plain_instruction = _plain(message), _plain(instruction)
    _check_written(INSTRUCTION, instruction, plain_instruction, (plain_message,))
    _check_written(RESPONSE, response, _plain(response), (plain_message, plain_instruction))
    return instruction, response


def read_rewrite(text: str, message: str = "") -> str:
    """Return the modified instruction of a reply that should contain nothing else.

    Args:
        text: The reply.
        message: The message to modify.

    Raises:
        ReplyFormatError: As for `read_contrast`.
    """
    (instruction,) = read_parts(text, (INSTRUCTION,))
    _check_written(INSTRUCTION, instruction, _plain(instruction), (_plain(message),))
    return instruction


def _check_written(name: str, part: str, plain: str, others: tuple[str, ...]) -> None:
    """Refuse a part without text of its own.

    Args:
        name: The part's name.
        part: Its text.
        plain: Its text by `_plain`.
        others: Texts by `_plain` that it must not repeat.

    Raises:
        ReplyFormatError: It is a placeholder, or repeats another text.
    """
    if _is_placeholder(plain):
        raise ReplyFormatError(f"expected a text in <{name}>, got the placeholder {part[:60]!r}")
    if "modified instruction" in plain or (plain in _PROMPTS and len(_WORD.findall(plain)) >= _MIN_ECHO_WORDS):
        raise ReplyFormatError(f"expected a text in <{name}>, got the prompt's own words {part[:60]!r}")
    if plain in others:
        raise ReplyFormatError(f"expected something new in <{name}>: it repeats {part[:60]!r} unchanged")


def _is_placeholder(plain: str) -> bool:
    """Whether a text consists of a placeholder's words, or contains no word."""
    names_a_part, is_wordless = False, True
    for match in _WORD.finditer(plain[:_CHARS_READ]):
        word = match[0]
        if word not in _PLACEHOLDER_WORDS:
            return False
        is_wordless, names_a_part = False, names_a_part or word in _PLACEHOLDER_NOUNS
    return is_wordless or names_a_part


def _plain(text: str) -> str:
    """Return a text for comparison: in lower case, on one line, without marks around it."""
    return " ".join(text.casefold().split()).strip(" .!?\"'“”‘’*`<>[](){}")


_PROMPTS = "\n".join(_plain(f"{task.body} {' '.join(task.parts.values())}") for task in TASKS.values())
"""The texts of the prompts, to recognise a reply that repeats them."""
