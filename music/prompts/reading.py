"""`read_prompt`: finds the role that a prompt asks a model to play, and the conversation."""

from dataclasses import dataclass

from music.conversation import Conversation, Message
from music.prompts.contrast import CONTRAST_PROMPTS, asks_for_json, read_in_place
from music.prompts.dialogue import USER_HEAD, read_persona, swapped
from music.prompts.judge import JUDGE_HEAD, RATING_HEAD, read_judged, read_rated
from music.prompts.kinds import ContrastFormat, PromptKind

__all__ = ["RolePrompt", "read_prompt"]


@dataclass(frozen=True, slots=True)
class RolePrompt:
    """The content of a prompt.

    Attributes:
        kind: The role of the model.
        conversation: The conversation.
        persona: The user's persona; empty for none.
        form: The format of a contrast's reply.
        other: The second conversation of a comparison.
    """

    kind: PromptKind
    conversation: Conversation
    persona: str = ""
    form: ContrastFormat = ContrastFormat.TAGS
    other: Conversation | None = None


def read_prompt(messages: tuple[Message, ...]) -> RolePrompt:
    """Read a prompt back; messages of no other kind are an assistant's prompt."""
    if messages and messages[0].content.startswith(USER_HEAD):
        conversation = Conversation(messages=tuple(map(swapped, messages[1:])))
        return RolePrompt(PromptKind.USER, conversation, read_persona(messages[0].content))
    *history, last = messages
    if last.content.startswith(JUDGE_HEAD):
        first, second = read_judged(last.content)
        return RolePrompt(PromptKind.JUDGE, first, other=second)
    if last.content.startswith(RATING_HEAD):
        return RolePrompt(PromptKind.RATE, read_rated(last.content))
    for kind in CONTRAST_PROMPTS:
        if (message := read_in_place(kind, last.content)) is not None:
            original = Message(role="user", content=message)
            form = ContrastFormat.JSON if asks_for_json(last.content) else ContrastFormat.TAGS
            return RolePrompt(kind, Conversation(messages=(*history, original)), form=form)
    return RolePrompt(PromptKind.ASSISTANT, Conversation(messages=messages))
