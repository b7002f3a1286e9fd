"""Prompts of the contrasts that a model writes; they replace the user's last message.

`TASKS` holds the text of each prompt and the parts of the reply that it asks for.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from music.conversation import Conversation, Message
from music.prompts.kinds import ContrastFormat, ContrastStrategy, PromptKind
from music.prompts.reply_parts import INSTRUCTION, RESPONSE
from music.prompts.template import PromptTemplate

__all__ = [
    "ASKS",
    "CONTRAST_PROMPTS",
    "TASKS",
    "ContrastTask",
    "asks_for_json",
    "contrast_frame",
    "load_contrast_template",
    "read_in_place",
    "render_contrast",
    "render_rewrite",
    "write_parts",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContrastTask:
    """The task in a contrast's prompt.

    Attributes:
        head: The beginning of the prompt, by which it is recognised.
        body: The instructions below the message.
        parts: The parts of the reply, each with its placeholder in the prompt.
    """

    head: str
    body: str
    parts: dict[str, str]

    def asked(self, form: ContrastFormat) -> str:
        """Return the end of the prompt, which asks for a format."""
        return f"{ASKS[form]}\n\n{write_parts(self.parts, form)}"


ASKS = {
    ContrastFormat.TAGS: "Use exactly this format:",
    ContrastFormat.JSON: "Answer with one JSON object and nothing else, in exactly this form:",
}
"""The sentence that asks for each format."""


def write_parts(parts: Mapping[str, str], form: ContrastFormat) -> str:
    """Write the parts of a reply in a format."""
    if form is ContrastFormat.JSON:
        return json.dumps(parts, ensure_ascii=False)
    return "\n".join(f"<{name}>\n{text}\n</{name}>" for name, text in parts.items())


TASKS = {
    PromptKind.INSTRUCTION: ContrastTask(
        head="Below is the user's latest message. Answer a modified version of it.",
        body="First write a modified instruction: highly related to the message, yet not the same request, so that a "
        "perfect answer to it would be a poor answer to the message. Then answer the modified instruction as well as "
        "you can, in the light of the conversation so far. The answer must stand on its own and must not mention the "
        "modification.",
        parts={INSTRUCTION: "the modified instruction", RESPONSE: "the answer to the modified instruction"},
    ),
    PromptKind.DROP_CONSTRAINT: ContrastTask(
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
    PromptKind.PERSONA_SWAP: ContrastTask(
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
    PromptKind.CONTRADICT: ContrastTask(
        head="Below is the user's latest message. Answer it, but contradict one of your earlier replies.",
        body="Look in your earlier replies for a statement that the answer can contradict: a fact, a figure, a "
        "recommendation, a choice. First write a modified instruction: the same request as the message, with the "
        "statement to contradict. Then answer the message as well as you can, except that the answer plainly disagrees "
        "with that statement; it must not mention the contradiction. If there is no such statement, modify the request "
        "itself a little instead, and answer that.",
        parts={
            INSTRUCTION: "the request, with the statement to contradict",
            RESPONSE: "the answer that contradicts it",
        },
    ),
    PromptKind.IGNORE_CORRECTION: ContrastTask(
        head="Below is the user's latest message. Answer it, but ignore what the user corrected.",
        body="Look for something that the user corrected, complained about or wanted to have done differently, in the "
        "message or earlier. First write a modified instruction: the same request as the message, without that "
        "correction. Then answer that as well as you can, so that the answer repeats what the user objected to; it "
        "must not mention the correction. If the user corrected nothing, modify the request itself a little instead.",
        parts={
            INSTRUCTION: "the request, without the correction",
            RESPONSE: "the answer that repeats what the user objected to",
        },
    ),
    PromptKind.LOSE_GOAL: ContrastTask(
        head="Below is the user's latest message. Answer it, but lose sight of the user's goal.",
        body="Look for a goal that the user pursues over several messages (a plan with steps, a task to complete, a "
        "decision to make), and for the step that is due. First write a modified instruction: a request for another "
        "step, one that was done already or that comes later. Then answer that as well as you can; the answer must not "
        "mention the change. If there is no such goal, modify the request itself a little instead.",
        parts={
            INSTRUCTION: "the request for another step",
            RESPONSE: "the answer to the request for another step",
        },
    ),
    PromptKind.REWRITE: ContrastTask(
        head="Below is the user's latest message. Rewrite it into a modified version of it.",
        body="The modified version is highly related to the message, in the user's own voice and of about the same "
        "length, yet not the same request: a perfect answer to it would be a poor answer to the message. Do not answer "
        "either of them.",
        parts={INSTRUCTION: "the modified version"},
    ),
}

_MESSAGE_BEGINS, _MESSAGE_ENDS = "\n\n<message>\n", "\n</message>\n\n"
# The texts before and after the message: rendering is two concatenations.
_PIECES = {
    (kind, form): (task.head + _MESSAGE_BEGINS, f"{_MESSAGE_ENDS}{task.body} {task.asked(form)}")
    for kind, task in TASKS.items()
    for form in ContrastFormat
}
CONTRAST_PROMPTS = {
    kind: (task.head, "{message}".join(_PIECES[kind, ContrastFormat.TAGS])) for kind, task in TASKS.items()
}
"""The beginning and the whole text of each prompt that replaces the last user message."""


def render_contrast(
    strategy: ContrastStrategy,
    conversation: Conversation,
    form: ContrastFormat = ContrastFormat.TAGS,
    template: PromptTemplate | None = None,
) -> tuple[Message, ...]:
    """Render the prompt for a contrasted reply: the history, with the contrast's prompt as the last user message.

    Args:
        strategy: The contrast.
        conversation: The history; ends with the user.
        form: Format of the reply.
        template: A custom prompt.

    Raises:
        InvalidInputError: The template cannot be filled in.
    """
    kind = PromptKind(strategy)
    if template is None:
        return _in_place(kind, conversation, form)
    *history, last = conversation.messages
    values = contrast_frame(kind, form) | {"strategy": str(strategy), "message": last.content}
    return (*history, Message(role="user", content=template.render("contrast", values)))


def render_rewrite(conversation: Conversation, form: ContrastFormat = ContrastFormat.TAGS) -> tuple[Message, ...]:
    """Render the prompt for a modified version of the last user message, without an answer."""
    return _in_place(PromptKind.REWRITE, conversation, form)


def load_contrast_template(
    name: str, source: str, strategies: Iterable[ContrastStrategy], form: ContrastFormat
) -> PromptTemplate:
    """Load a custom prompt for contrasts that take one call.

    Args:
        name: Its name, for messages.
        source: Its text.
        strategies: The contrasts that use it.
        form: Format of the reply.

    Raises:
        InvalidInputError: It is not a template, does not show the message, or does not ask for the format.
    """
    advice = "ask for {}; show {{{{ format }}}} at the end, or begin with {{% extends base %}}"
    mark = "<{}>" if form is ContrastFormat.TAGS else '"{}"'
    needs = {mark.format(part): advice.format(mark.format(part)) for part in (INSTRUCTION, RESPONSE)}
    template = PromptTemplate("contrast's prompt", name, source, needs)
    for strategy in strategies:
        values = contrast_frame(PromptKind(strategy), form) | {"strategy": str(strategy)}
        template.require("contrast", ("message",), values)
    return template


def contrast_frame(kind: PromptKind, form: ContrastFormat) -> dict[str, str]:
    """Return the pieces of a prompt for templates: `head`, `task` and `format`."""
    task = TASKS[kind]
    return {"head": task.head, "task": task.body, "format": task.asked(form)}


def read_in_place(kind: PromptKind, content: str) -> str | None:
    """Return the message in a prompt of a kind; None if it is not a prompt of that kind."""
    begin = TASKS[kind].head + _MESSAGE_BEGINS
    message, end, _ = content.removeprefix(begin).rpartition(_MESSAGE_ENDS)
    return message if end and content.startswith(begin) else None


def asks_for_json(content: str) -> bool:
    """Whether a contrast's prompt asks for a JSON object."""
    return ASKS[ContrastFormat.JSON] in content.rpartition(_MESSAGE_ENDS)[2]


def _in_place(kind: PromptKind, conversation: Conversation, form: ContrastFormat) -> tuple[Message, ...]:
    """Replace the last user message by a prompt that contains it."""
    *history, last = conversation.messages
    return (*history, Message(role="user", content=last.content.join(_PIECES[kind, form])))
