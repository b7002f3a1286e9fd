"""The prompts through which a model plays a role, and their inverse.

Rendering and reading stand side by side because both ends of the wire use them: the agents render a role's prompt,
and the sandbox, which plays every role, reads the same prompt back. No prompt uses the system role, and roles always
alternate beginning with "user", so that templates as strict as Gemma's take them.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from music.conversation import Conversation, Message, Role

__all__ = ["ContrastStrategy", "Part", "RolePrompt", "parse_contrast", "read_prompt", "render_assistant"]
__all__ += ["render_contrast", "render_contrast_reply", "render_user"]


class ContrastStrategy(StrEnum):
    """Contrasts that need one call (paper, Algorithm 1, step 3)."""

    INSTRUCTION = "instruction"
    DROP_CONSTRAINT = "drop_constraint"


class Part(StrEnum):
    """The part that a prompt asks a model to play."""

    USER = "user"
    ASSISTANT = "assistant"
    INSTRUCTION = "instruction"
    DROP_CONSTRAINT = "drop_constraint"


@dataclass(frozen=True, slots=True)
class RolePrompt:
    """What `read_prompt` finds: the part to play, and the conversation to play it in."""

    part: Part
    conversation: Conversation


USER_HEAD = "You are playing the human user in a conversation with an AI assistant."
USER_PROMPT = (
    USER_HEAD
    + """ In what follows the sides are swapped: your own earlier messages are \
shown as yours, and each message you receive is the assistant's reply.
{persona}{system}
Write the user's next message and nothing else. Keep to one short, natural message that moves the conversation on: \
follow up on a detail, change or extend the request, or come back to something said earlier. Do not answer your own \
request, do not thank at length, and never say that you are playing a part."""
)

INSTRUCTION_HEAD = "Below is the user's latest message. Answer a modified version of it."
INSTRUCTION_PROMPT = (
    INSTRUCTION_HEAD
    + """

<message>
{message}
</message>

First write a modified instruction: highly related to the message, yet not the same request, so that a perfect answer \
to it would be a poor answer to the message. Then answer the modified instruction as well as you can, in the light of \
the conversation so far. The answer must stand on its own and must not mention the modification. Use exactly this \
format:

<modified_instruction>
the modified instruction
</modified_instruction>
<response>
the answer to the modified instruction
</response>"""
)

DROP_CONSTRAINT_HEAD = "Below is the user's latest message. Answer it, but drop a standing constraint."
DROP_CONSTRAINT_PROMPT = (
    DROP_CONSTRAINT_HEAD
    + """

<message>
{message}
</message>

Look through the user's earlier messages for constraints and wishes that still hold (form, length, tone, how to be \
addressed, what to include or avoid, facts about the user). First write a modified instruction: the same request as \
the message, with one or more of those constraints dropped or changed. Then answer that, as well as you can; the \
answer must not mention the change. If nothing was stated earlier, modify the request itself a little instead. Use \
exactly this format:

<modified_instruction>
the request, with what was dropped or changed
</modified_instruction>
<response>
the answer to the modified instruction
</response>"""
)

_CONTRASTS = {
    ContrastStrategy.INSTRUCTION: (INSTRUCTION_HEAD, INSTRUCTION_PROMPT),
    ContrastStrategy.DROP_CONSTRAINT: (DROP_CONSTRAINT_HEAD, DROP_CONSTRAINT_PROMPT),
}
_CONTRAST_REPLY = re.compile(
    r"<modified_instruction>\s*(\S.*?)\s*</modified_instruction>\s*<response>\s*(\S.*?)\s*</response>\s*\Z",
    re.DOTALL,
)
_SYSTEM = "The assistant was given these instructions:\n<system>\n{system}\n</system>\n"
_OPENING = "\n\nThe conversation has not begun yet: write its first message."


def render_user(conversation: Conversation, persona: str = "") -> tuple[Message, ...]:
    """Ask for the user's next message: the instructions, then the conversation with its sides swapped."""
    body = conversation.messages[int(conversation.has_system) :]
    system = _SYSTEM.format(system=conversation.messages[0].content) if conversation.has_system else ""
    text = USER_PROMPT.format(persona=f"\nWho you are: {persona}\n" if persona else "", system=system)
    first = Message(role="user", content=text if body else text + _OPENING)
    return (first, *(_swapped(message) for message in body))


def render_assistant(conversation: Conversation) -> tuple[Message, ...]:
    """Ask for the assistant's reply: the conversation as it stands."""
    return conversation.messages


def render_contrast(strategy: ContrastStrategy, conversation: Conversation) -> tuple[Message, ...]:
    """Ask for a contrasted reply to the last user message: the history, then the contrast's prompt in its place."""
    *history, last = conversation.messages
    prompt = _CONTRASTS[strategy][1].format(message=last.content)
    return (*history, Message(role="user", content=prompt))


def render_contrast_reply(modified_instruction: str, response: str) -> str:
    """Write a contrast's reply in the format that its prompt asks for."""
    return (
        f"<modified_instruction>\n{modified_instruction}\n</modified_instruction>\n<response>\n{response}\n</response>"
    )


def parse_contrast(text: str) -> tuple[str, str] | None:
    """Return (modified instruction, response), or None if the reply does not keep to the format."""
    match = _CONTRAST_REPLY.search(text)
    if match is None or "<response>" in match[2] or "<modified_instruction>" in match[2]:
        return None
    return match[1], match[2]


def read_prompt(messages: tuple[Message, ...]) -> RolePrompt:
    """Find which part a prompt asks for; anything that no other prompt made is an assistant's."""
    if messages and messages[0].content.startswith(USER_HEAD):
        return RolePrompt(Part.USER, Conversation(messages=tuple(map(_swapped, messages[1:]))))
    *history, last = messages
    for strategy, (head, prompt) in _CONTRASTS.items():
        if last.content.startswith(head):
            before, after = prompt.split("{message}")
            original = Message(role="user", content=last.content[len(before) : -len(after)])
            return RolePrompt(Part(strategy), Conversation(messages=(*history, original)))
    return RolePrompt(Part.ASSISTANT, Conversation(messages=messages))


def _swapped(message: Message) -> Message:
    """Return the message as the other side's."""
    role: Role = "assistant" if message.role == "user" else "user"
    return Message.trusted(role, message.content)
