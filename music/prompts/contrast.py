"""Prompts of the contrasts that a model plays, in place of the user's last message."""

from collections.abc import Iterable

from music.conversation import Conversation, Message
from music.prompts.contrast_tasks import ASKS, TASKS
from music.prompts.part_names import INSTRUCTION, RESPONSE
from music.prompts.parts import ContrastFormat, ContrastStrategy, Part
from music.prompts.template import PromptTemplate

__all__ = ["CONTRAST_PROMPTS", "asks_for_json", "contrast_frame", "load_contrast_template", "read_in_place"]
__all__ += ["render_contrast", "render_rewrite"]

_MESSAGE_BEGINS, _MESSAGE_ENDS = "\n\n<message>\n", "\n</message>\n\n"
# Whole prompts up to the message and from there on: rendering is two additions.
_PIECES = {
    (part, form): (task.head + _MESSAGE_BEGINS, f"{_MESSAGE_ENDS}{task.body} {task.asked(form)}")
    for part, task in TASKS.items()
    for form in ContrastFormat
}
CONTRAST_PROMPTS = {
    part: (task.head, "{message}".join(_PIECES[part, ContrastFormat.TAGS])) for part, task in TASKS.items()
}
"""For each part that answers in place of the last user message: how its prompt begins, and the whole prompt."""


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


def load_contrast_template(
    name: str, source: str, strategies: Iterable[ContrastStrategy], form: ContrastFormat
) -> PromptTemplate:
    """Return a prompt of one's own for contrasts that take one call.

    Args:
        name: As the user named it.
        source: Its text.
        strategies: The contrasts that it is to serve.
        form: What the reply is to be written in.

    Raises:
        InvalidInputError: It is no template, does not show the message, or does not ask for the format.
    """
    advice = "ask for {}; show {{{{ format }}}} at the end, or begin with {{% extends base %}}"
    mark = "<{}>" if form is ContrastFormat.TAGS else '"{}"'
    needs = {mark.format(part): advice.format(mark.format(part)) for part in (INSTRUCTION, RESPONSE)}
    template = PromptTemplate("contrast's prompt", name, source, needs)
    for strategy in strategies:
        values = contrast_frame(Part(strategy), form) | {"strategy": str(strategy)}
        template.require("contrast", ("message",), values)
    return template


def contrast_frame(part: Part, form: ContrastFormat) -> dict[str, str]:
    """Return the pieces of a part's prompt by name, for templates: `head`, `task` and `format`."""
    task = TASKS[part]
    return {"head": task.head, "task": task.body, "format": task.asked(form)}


def read_in_place(part: Part, content: str) -> str | None:
    """Return the message that a part's prompt holds; None if it is no prompt of that part."""
    begin = TASKS[part].head + _MESSAGE_BEGINS
    message, end, _ = content.removeprefix(begin).rpartition(_MESSAGE_ENDS)
    return message if end and content.startswith(begin) else None


def asks_for_json(content: str) -> bool:
    """Whether a contrast's prompt asks for a JSON object."""
    return ASKS[ContrastFormat.JSON] in content.rpartition(_MESSAGE_ENDS)[2]


def _in_place(part: Part, conversation: Conversation, form: ContrastFormat) -> tuple[Message, ...]:
    """Put a prompt in the place of the last user message."""
    *history, last = conversation.messages
    return (*history, Message(role="user", content=last.content.join(_PIECES[part, form])))
