"""Prompts of the two who talk: the user simulator's, and the assistant's, which is the conversation itself."""

from pydantic import TypeAdapter

from music.conversation import Conversation, Message, Role

__all__ = [
    "INSTRUCTION_PHRASES",
    "USER_HEAD",
    "USER_PROMPT",
    "read_persona",
    "render_assistant",
    "render_user",
    "swapped",
]

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
INSTRUCTION_PHRASES = (
    "playing the human user",
    "the sides are swapped",
    "the user's next message",
    "moves the conversation on",
    "do not thank at length",
    "playing a part",
)
"""Phrases of the prompt, in lower case, that a user who keeps to it never says."""

_PERSONA = "\nWho you are:\n<persona>\n{persona}\n</persona>\n"
_SYSTEM = "The assistant was given these instructions:\n<system>\n{system}\n</system>\n"
_OPENING = "\n\nThe conversation has not begun yet: write its first message."
_OTHER_ROLE: dict[Role, Role] = {"user": "assistant", "assistant": "user"}
# Pydantic's core validates a batch in a third of the time that building as many messages without validation takes.
_validated = TypeAdapter(tuple[Message, ...]).validate_python


def render_user(conversation: Conversation, persona: str = "") -> tuple[Message, ...]:
    """Ask for the user's next message: the instructions, then the conversation with its sides swapped.

    Args:
        conversation: The history.
        persona: Who the user is, in any words; empty for anyone.
    """
    messages = conversation.messages
    has_system = conversation.has_system
    text = USER_PROMPT.format(
        persona=_PERSONA.format(persona=persona) if persona else "",
        system=_SYSTEM.format(system=messages[0].content) if has_system else "",
    )
    body = messages[1:] if has_system else messages
    prompt = [{"role": "user", "content": text if body else text + _OPENING}]
    return _validated(prompt + [{"role": _OTHER_ROLE[m.role], "content": m.content} for m in body])


def read_persona(prompt: str) -> str:
    """Return the persona that a user prompt's first message holds; empty for none."""
    before, after = (USER_PROMPT.partition("{persona}")[0] + _PERSONA).split("{persona}")
    return prompt.removeprefix(before).partition(after)[0] if prompt.startswith(before) else ""


def render_assistant(conversation: Conversation) -> tuple[Message, ...]:
    """Ask for the assistant's reply: the conversation as it stands."""
    return conversation.messages


def swapped(message: Message) -> Message:
    """Return the message as the other side's."""
    return Message.trusted(_OTHER_ROLE[message.role], message.content)
