"""Prompts of the contrasts that a model plays, and how its replies are read.

A prompt asks for tags or for a JSON object; `read_contrast` and `read_rewrite` take both, and whatever else is plain.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from music.conversation import Conversation, Message
from music.prompts.delimited import INSTRUCTION, RESPONSE, ReplyFormatError, read_parts
from music.prompts.parts import ContrastFormat, ContrastStrategy, Part
from music.prompts.template import PromptTemplate

__all__ = ["CONTRAST_PROMPTS", "contrast_frame", "contrast_schema", "read_contrast", "read_rewrite"]
__all__ += ["render_contrast", "render_contrast_reply", "render_rewrite", "render_rewrite_reply"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What a contrast's prompt asks for.

    Attributes:
        head: How the prompt begins, by which it is recognised.
        body: What to write, below the message.
        parts: The parts of the reply, each with the words that hold its place in the prompt.
    """

    head: str
    body: str
    parts: dict[str, str]


_TASKS = {
    Part.INSTRUCTION: _Task(
        head="Below is the user's latest message. Answer a modified version of it.",
        body="First write a modified instruction: highly related to the message, yet not the same request, so that a "
        "perfect answer to it would be a poor answer to the message. Then answer the modified instruction as well as "
        "you can, in the light of the conversation so far. The answer must stand on its own and must not mention the "
        "modification.",
        parts={INSTRUCTION: "the modified instruction", RESPONSE: "the answer to the modified instruction"},
    ),
    Part.DROP_CONSTRAINT: _Task(
        head="Below is the user's latest message. Answer it, but drop a standing constraint.",
        body="Look through the user's earlier messages for constraints and wishes that still hold (form, length, tone, "
        "how to be addressed, what to include or avoid, facts about the user). First write a modified instruction: the "
        "same request as the message, with one or more of those constraints dropped or changed. Then answer that, as "
        "well as you can; the answer must not mention the change. If nothing was stated earlier, modify the request "
        "itself a little instead.",
        parts={
            INSTRUCTION: "the request, with what was dropped or changed",
            RESPONSE: "the answer to the modified instruction",
        },
    ),
    Part.PERSONA_SWAP: _Task(
        head="Below is the user's latest message. Answer it as if another user had written it.",
        body="Imagine another user who could have sent this message, but who is not the one of this conversation: with "
        "another goal, another level of knowledge, other facts about themselves and other wishes for the replies. "
        "First write a modified instruction: the message as that other user would have meant it. Then answer that "
        "other user as well as you can, naturally, and without mentioning the change; the answer should plainly not "
        "suit the user of this conversation.",
        parts={
            INSTRUCTION: "the message, as the other user would have meant it",
            RESPONSE: "the answer to the other user",
        },
    ),
    Part.REWRITE: _Task(
        head="Below is the user's latest message. Rewrite it into a modified version of it.",
        body="The modified version is highly related to the message, in the user's own voice and of about the same "
        "length, yet not the same request: a perfect answer to it would be a poor answer to the message. Do not answer "
        "either of them.",
        parts={INSTRUCTION: "the modified version"},
    ),
}
_ASKS = {
    ContrastFormat.TAGS: "Use exactly this format:",
    ContrastFormat.JSON: "Answer with one JSON object and nothing else, in exactly this form:",
}
_MESSAGE_BEGINS, _MESSAGE_ENDS = "\n\n<message>\n", "\n</message>\n\n"


def _format_of(task: _Task, form: ContrastFormat) -> str:
    """Return the end of a prompt, which asks for a format."""
    write = _in_tags if form is ContrastFormat.TAGS else json.dumps
    return f"{_ASKS[form]}\n\n{write(task.parts)}"


def _in_tags(parts: Mapping[str, str]) -> str:
    return "\n".join(f"<{name}>\n{text}\n</{name}>" for name, text in parts.items())


# Whole prompts up to the message and from there on: rendering is two additions.
_PIECES = {
    (part, form): (
        task.head + _MESSAGE_BEGINS,
        f"{_MESSAGE_ENDS}{task.body} {_format_of(task, form)}",
    )
    for part, task in _TASKS.items()
    for form in ContrastFormat
}
CONTRAST_PROMPTS = {
    part: (task.head, "{message}".join(_PIECES[part, ContrastFormat.TAGS])) for part, task in _TASKS.items()
}
"""For each part that answers in place of the last user message: how its prompt begins, and the whole prompt."""
_PLACEHOLDER_NOUNS = frozenset(
    "instruction message request version prompt response answer reply text content placeholder".split()
)
_PLACEHOLDER_WORDS = _PLACEHOLDER_NOUNS | frozenset(
    "the your a an my modified revised rewritten new changed other user here goes to insert".split()
)
_WORD = re.compile(r"[^\W_]+")


def contrast_frame(part: Part, form: ContrastFormat) -> dict[str, str]:
    """Return the pieces of a part's prompt by name, for templates: `head`, `task` and `format`."""
    task = _TASKS[part]
    return {"head": task.head, "task": task.body, "format": _format_of(task, form)}


def contrast_schema(part: Part) -> dict[str, Any]:
    """Return the JSON schema of a part's reply; the instruction comes first, as the response follows from it."""
    names = list(_TASKS[part].parts)
    return {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": names,
        "additionalProperties": False,
    }


def render_contrast(
    strategy: ContrastStrategy,
    conversation: Conversation,
    form: ContrastFormat = ContrastFormat.TAGS,
    template: PromptTemplate | None = None,
) -> tuple[Message, ...]:
    """Ask for a contrasted reply to the last user message: the history, then the contrast's prompt in its place.

    Args:
        strategy: The contrast.
        conversation: The history; ends with the user.
        form: What the reply is to be written in.
        template: A prompt of the user's own.

    Raises:
        InvalidInputError: The template cannot be filled in.
    """
    part = Part(strategy)
    if template is None:
        return _in_place(part, conversation, form)
    *history, last = conversation.messages
    values = contrast_frame(part, form) | {"strategy": str(strategy), "message": last.content}
    return (*history, Message(role="user", content=template.render("contrast", values)))


def render_rewrite(conversation: Conversation, form: ContrastFormat = ContrastFormat.TAGS) -> tuple[Message, ...]:
    """Ask for a modified version of the last user message, and for no answer."""
    return _in_place(Part.REWRITE, conversation, form)


def read_in_place(part: Part, content: str) -> str | None:
    """Return the message that a part's prompt holds; None if it is no prompt of that part."""
    begin = _TASKS[part].head + _MESSAGE_BEGINS
    message, end, _ = content.removeprefix(begin).rpartition(_MESSAGE_ENDS)
    return message if end and content.startswith(begin) else None


def asks_for_json(content: str) -> bool:
    """Whether a contrast's prompt asks for a JSON object."""
    return content.rpartition(_MESSAGE_ENDS)[2].find(_ASKS[ContrastFormat.JSON]) >= 0


def render_contrast_reply(
    modified_instruction: str, response: str, form: ContrastFormat = ContrastFormat.TAGS
) -> str:
    """Write a contrast's reply in the format that its prompt asks for."""
    return _written({INSTRUCTION: modified_instruction, RESPONSE: response}, form)


def render_rewrite_reply(modified_instruction: str, form: ContrastFormat = ContrastFormat.TAGS) -> str:
    """Write a rewritten message in the format that its prompt asks for."""
    return _written({INSTRUCTION: modified_instruction}, form)


def read_contrast(text: str, message: str = "") -> tuple[str, str]:
    """Return the modified instruction and the response of a contrast's reply.

    Args:
        text: The reply.
        message: What was to be modified.

    Raises:
        ReplyFormatError: The two parts cannot be told beyond doubt, one of them is the prompt's placeholder, or
            nothing is modified.
    """
    instruction, response = read_parts(text)
    _check_written(INSTRUCTION, instruction, (message,))
    _check_written(RESPONSE, response, (message, instruction))
    return instruction, response


def read_rewrite(text: str, message: str = "") -> str:
    """Return the modified instruction of a reply that was to hold nothing else.

    Args:
        text: The reply.
        message: What was to be modified.

    Raises:
        ReplyFormatError: As `read_contrast`.
    """
    (instruction,) = read_parts(text, (INSTRUCTION,))
    _check_written(INSTRUCTION, instruction, (message,))
    return instruction


def _check_written(name: str, part: str, others: tuple[str, ...]) -> None:
    """Refuse a part in which nothing of its own was written.

    Raises:
        ReplyFormatError: It is a placeholder, or repeats another text.
    """
    plain = _plain(part)
    words = set(_WORD.findall(plain))
    if not words or plain in _PLACEHOLDERS or (words <= _PLACEHOLDER_WORDS and words & _PLACEHOLDER_NOUNS):
        raise ReplyFormatError(f"expected a text in <{name}>, got the placeholder {part[:60]!r}")
    if plain in map(_plain, others):
        raise ReplyFormatError(f"expected something new in <{name}>: it repeats {part[:60]!r} unchanged")


def _plain(text: str) -> str:
    """Return a text without capitals, line breaks and marks around it, by which texts are compared."""
    return " ".join(text.casefold().split()).strip(" .!?\"'“”‘’*`<>[](){}")


_PLACEHOLDERS = {_plain(text) for task in _TASKS.values() for text in task.parts.values()}


def _written(parts: Mapping[str, str], form: ContrastFormat) -> str:
    return json.dumps(parts, ensure_ascii=False) if form is ContrastFormat.JSON else _in_tags(parts)


def _in_place(part: Part, conversation: Conversation, form: ContrastFormat) -> tuple[Message, ...]:
    """Put a prompt in the place of the last user message."""
    *history, last = conversation.messages
    return (*history, Message(role="user", content=last.content.join(_PIECES[part, form])))
