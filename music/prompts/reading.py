"""The inverse of the prompts: which part a prompt asks for, and in which conversation."""

from music.conversation import Conversation, Message
from music.prompts.contrast import CONTRAST_PROMPTS, asks_for_json, read_in_place
from music.prompts.dialogue import USER_HEAD, read_persona, swapped
from music.prompts.judge import JUDGE_HEAD, read_judged
from music.prompts.parts import ContrastFormat, Part, RolePrompt
from music.prompts.rating import RATING_HEAD, read_rated

__all__ = ["read_prompt"]


def read_prompt(messages: tuple[Message, ...]) -> RolePrompt:
    """Find which part a prompt asks for; anything that no other prompt made is an assistant's."""
    if messages and messages[0].content.startswith(USER_HEAD):
        conversation = Conversation(messages=tuple(map(swapped, messages[1:])))
        return RolePrompt(Part.USER, conversation, read_persona(messages[0].content))
    *history, last = messages
    if last.content.startswith(JUDGE_HEAD):
        first, second = read_judged(last.content)
        return RolePrompt(Part.JUDGE, first, other=second)
    if last.content.startswith(RATING_HEAD):
        return RolePrompt(Part.RATE, read_rated(last.content))
    for part in CONTRAST_PROMPTS:
        if (message := read_in_place(part, last.content)) is not None:
            original = Message(role="user", content=message)
            form = ContrastFormat.JSON if asks_for_json(last.content) else ContrastFormat.TAGS
            return RolePrompt(part, Conversation(messages=(*history, original)), form=form)
    return RolePrompt(Part.ASSISTANT, Conversation(messages=messages))
