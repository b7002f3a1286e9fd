"""Prompts of the user simulator and of the assistant; the assistant's is the conversation itself."""

from pydantic import TypeAdapter

from music.conversation import Conversation, Message, Role
from music.prompts.template import PromptTemplate

__all__ = [
    "INSTRUCTION_PHRASES",
    "USER_HEAD",
    "USER_PROMPT",
    "load_user_template",
    "read_persona",
    "render_assistant",
    "render_user",
    "swapped",
    "user_frame",
]

USER_HEAD = "You are playing the human user in a conversation with an AI assistant."
_SWAPPED = (
    " In what follows the sides are swapped: your own earlier messages are shown as yours, and each message you "
    "receive is the assistant's reply."
)
_TASK = (
    "Write the user's next message and nothing else. Keep to one short, natural message that moves the conversation "
    "on: follow up on a detail, change or extend the request, or come back to something said earlier. Do not answer "
    "your own request, do not thank at length, and never say that you are playing a part."
)
USER_PROMPT = f"{USER_HEAD}{_SWAPPED}\n{{persona}}{{system}}\n{_TASK}"
INSTRUCTION_PHRASES = (
    "playing the human user",
    "the sides are swapped",
    "the user's next message",
    "moves the conversation on",
    "do not thank at length",
    "playing a part",
)
"""Phrases of the prompt, in lower case, that a user who follows it never writes."""

_PERSONA = "\nWho you are:\n<persona>\n{text}\n</persona>\n"
_SYSTEM = "The assistant was given these instructions:\n<system>\n{text}\n</system>\n"
_PROBE = "probe-0"
_OPENING = "\n\nThe conversation has not begun yet: write its first message."
_OTHER_ROLE: dict[Role, Role] = {"user": "assistant", "assistant": "user"}
# Validating a batch in Pydantic's core takes a third of the time of building the messages without validation.
_validated = TypeAdapter(tuple[Message, ...]).validate_python


def render_user(
    conversation: Conversation, persona: str = "", template: PromptTemplate | None = None
) -> tuple[Message, ...]:
    """Render the prompt for the user's next message: the instructions, then the conversation with swapped sides.

    Args:
        conversation: The history.
        persona: Description of the user; empty for none.
        template: Custom instructions.

    Raises:
        InvalidInputError: The template cannot be filled in.
    """
    messages = conversation.messages
    has_system = conversation.has_system
    system = messages[0].content if has_system else ""
    if template is None:
        text = USER_PROMPT.format(persona=_quoted(_PERSONA, persona), system=_quoted(_SYSTEM, system))
    else:
        text = template.render("user", user_frame(persona, system))
    body = messages[1:] if has_system else messages
    prompt = [{"role": "user", "content": text if body else text + _OPENING}]
    return _validated(prompt + [{"role": _OTHER_ROLE[m.role], "content": m.content} for m in body])


def load_user_template(name: str, source: str, *, shows_persona: bool = False) -> PromptTemplate:
    """Load custom instructions for the user simulator.

    Args:
        name: Their name, for messages.
        source: Their text.
        shows_persona: Whether they must show the persona, because the run has personas.

    Raises:
        InvalidInputError: They are not a template, or do not show the persona.
    """
    needs = {_PROBE: "show {{ persona }}, as the users of this run have personas; add that"} if shows_persona else {}
    template = PromptTemplate("user's prompt", name, source, needs)
    template.require("user", (), user_frame(_PROBE, _PROBE[::-1]))
    return template


def user_frame(persona: str, system: str) -> dict[str, str]:
    """Return the values for a template of the instructions.

    Args:
        persona: Description of the user; empty for none.
        system: The assistant's system message; empty for none.
    """
    about = _quoted(_PERSONA, persona) + _quoted(_SYSTEM, system)
    return {"head": USER_HEAD + _SWAPPED, "about": about, "task": _TASK, "persona": persona, "system": system}


def _quoted(frame: str, text: str) -> str:
    return frame.format(text=text) if text else ""


def read_persona(prompt: str) -> str:
    """Return the persona in a user prompt's first message; empty for none."""
    before, after = (USER_PROMPT.partition("{persona}")[0] + _PERSONA).split("{text}")
    return prompt.removeprefix(before).partition(after)[0] if prompt.startswith(before) else ""


def render_assistant(conversation: Conversation) -> tuple[Message, ...]:
    """Return the prompt for the assistant's reply: the conversation itself."""
    return conversation.messages


def swapped(message: Message) -> Message:
    """Return the message with the role of the other side."""
    return Message.trusted(_OTHER_ROLE[message.role], message.content)
