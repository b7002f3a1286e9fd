"""The inverse of the prompts: what a prompt asks a model to play, and in which conversation."""

from dataclasses import dataclass

from music.conversation import Conversation, Message
from music.prompts.contrast import CONTRAST_PROMPTS, asks_for_json, read_in_place
from music.prompts.dialogue import USER_HEAD, read_persona, swapped
from music.prompts.judge import JUDGE_HEAD, RATING_HEAD, read_judged, read_rated
from music.prompts.kinds import ContrastFormat, PromptKind

__all__ = ["RolePrompt", "read_prompt"]


@dataclass(frozen=True, slots=True)
class RolePrompt:
    """What `read_prompt` finds.

    Attributes:
        kind: What the model is to play.
        conversation: The conversation to play it in.
        persona: Who the user is said to be; empty for anyone.
        form: What a contrast's reply is to be written in.
        other: The second of the two conversations that a judge is to compare.
    """

    kind: PromptKind
    conversation: Conversation
    persona: str = ""
    form: ContrastFormat = ContrastFormat.TAGS
    other: Conversation | None = None


def read_prompt(messages: tuple[Message, ...]) -> RolePrompt:
    """Find what a prompt asks a model to play; what no other prompt made is an assistant's."""
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
