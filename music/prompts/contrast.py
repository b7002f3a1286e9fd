"""Prompts of the contrasts that a model plays, and the format of its reply."""

import re

from music.conversation import Conversation, Message
from music.prompts.parts import ContrastStrategy, Part

__all__ = ["CONTRAST_PROMPTS", "parse_contrast", "parse_rewrite", "render_contrast", "render_contrast_reply"]
__all__ += ["render_rewrite", "render_rewrite_reply"]

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

PERSONA_SWAP_HEAD = "Below is the user's latest message. Answer it as if another user had written it."
PERSONA_SWAP_PROMPT = (
    PERSONA_SWAP_HEAD
    + """

<message>
{message}
</message>

Imagine another user who could have sent this message, but who is not the one of this conversation: with another \
goal, another level of knowledge, other facts about themselves and other wishes for the replies. First write a \
modified instruction: the message as that other user would have meant it. Then answer that other user as well as you \
can, naturally, and without mentioning the change; the answer should plainly not suit the user of this conversation. \
Use exactly this format:

<modified_instruction>
the message, as the other user would have meant it
</modified_instruction>
<response>
the answer to the other user
</response>"""
)

REWRITE_HEAD = "Below is the user's latest message. Rewrite it into a modified version of it."
REWRITE_PROMPT = (
    REWRITE_HEAD
    + """

<message>
{message}
</message>

The modified version is highly related to the message, in the user's own voice and of about the same length, yet not \
the same request: a perfect answer to it would be a poor answer to the message. Do not answer either of them. Use \
exactly this format:

<modified_instruction>
the modified version
</modified_instruction>"""
)

CONTRAST_PROMPTS = {
    Part.INSTRUCTION: (INSTRUCTION_HEAD, INSTRUCTION_PROMPT),
    Part.DROP_CONSTRAINT: (DROP_CONSTRAINT_HEAD, DROP_CONSTRAINT_PROMPT),
    Part.PERSONA_SWAP: (PERSONA_SWAP_HEAD, PERSONA_SWAP_PROMPT),
    Part.REWRITE: (REWRITE_HEAD, REWRITE_PROMPT),
}
"""For each part that answers in place of the last user message: how its prompt begins, and the whole prompt."""
_CONTRAST_REPLY = re.compile(
    r"<modified_instruction>\s*(\S.*?)\s*</modified_instruction>\s*<response>\s*(\S.*?)\s*</response>\s*\Z",
    re.DOTALL,
)
_REWRITE_REPLY = re.compile(r"<modified_instruction>\s*(\S.*?)\s*</modified_instruction>\s*\Z", re.DOTALL)


def render_contrast(strategy: ContrastStrategy, conversation: Conversation) -> tuple[Message, ...]:
    """Ask for a contrasted reply to the last user message: the history, then the contrast's prompt in its place."""
    return _in_place(Part(strategy), conversation)


def render_rewrite(conversation: Conversation) -> tuple[Message, ...]:
    """Ask for a modified version of the last user message, and for no answer."""
    return _in_place(Part.REWRITE, conversation)


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


def render_rewrite_reply(modified_instruction: str) -> str:
    """Write a rewritten message in the format that its prompt asks for."""
    return f"<modified_instruction>\n{modified_instruction}\n</modified_instruction>"


def parse_rewrite(text: str) -> str | None:
    """Return the modified instruction, or None if the reply does not keep to the format."""
    match = _REWRITE_REPLY.search(text)
    return None if match is None or "<modified_instruction>" in match[1] else match[1]


def _in_place(part: Part, conversation: Conversation) -> tuple[Message, ...]:
    """Put a prompt in the place of the last user message."""
    *history, last = conversation.messages
    return (*history, Message(role="user", content=CONTRAST_PROMPTS[part][1].format(message=last.content)))
