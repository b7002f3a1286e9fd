"""`answer_plainly`: a turn of the rejected side that is not contrasted."""

from dataclasses import dataclass, replace

from music.conversation import Conversation
from music.llm.chat import AS_THE_ENDPOINT_DOES, ChatModel, Sampling
from music.pairs import TurnContrast, Usage
from music_agents.roles import RoleTurn, RoleView, Speaker
from music_agents.roles.model_roles import AssistantRole
from music_agents.roles.speech import asks, plain

__all__ = ["ForgetContrast", "StaleContrast", "WeakerModelContrast", "answer_plainly"]


async def answer_plainly(assistant: Speaker, view: RoleView) -> RoleTurn:
    """Answer a turn that is not made worse.

    While both sides have the same history, the chosen side's reply is repeated and nobody is asked: the sides part at
    the first contrasted reply, and a reply that both hold is paid for once.

    Args:
        assistant: Who answers otherwise.
        view: The turn.

    Raises:
        RoleFailedError: As the assistant does.
        EndpointError: Likewise.
    """
    if (text := view.already_said) is not None:
        return RoleTurn(text=text, usage=Usage())
    return await assistant(view)


@dataclass(frozen=True, slots=True)
class ForgetContrast:
    """Answers the right request, but remembers only the last turns of the conversation (and a system message).

    One call a turn. Its errors are those of forgetting: facts guessed or denied, standing wishes missed, requests
    that lean on earlier turns misread. While the conversation is no longer than its memory, the turn is plain.

    Attributes:
        assistant: Who answers.
        turns: How many user messages, the latest included, the assistant sees.
    """

    assistant: Speaker
    turns: int = 1

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Answer the end of the conversation."""
        starts = _user_messages(view.conversation)
        if len(starts) <= self.turns:
            return await answer_plainly(self.assistant, view)
        messages = view.conversation.messages
        system = messages[: int(view.conversation.has_system)]
        seen = Conversation(messages=(*system, *messages[starts[-self.turns] :]))
        return await _answered(self.assistant, view, seen, "forget", {"turns": self.turns})


@dataclass(frozen=True, slots=True)
class StaleContrast:
    """Answers the user's previous request once more instead of the latest one.

    One call a turn. Its errors are against what is current: the request, and wishes stated with it. Where there is no
    previous request, the turn is plain; so it is where the user's latest message asks for nothing, as the previous
    answer may then serve as well as any.

    Attributes:
        assistant: Who answers.
    """

    assistant: Speaker

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Answer the conversation as it stood one request ago."""
        starts = _user_messages(view.conversation)
        if len(starts) < 2 or not asks(plain(view.conversation.messages[-1].content)):
            return await answer_plainly(self.assistant, view)
        return await _answered(self.assistant, view, view.conversation.prefix(starts[-2] + 1), "stale", {})


async def _answered(
    assistant: Speaker, view: RoleView, seen: Conversation, strategy: str, parameters: dict[str, str | int | float]
) -> RoleTurn:
    """Let the assistant answer what it is shown; on record is the request that it answers."""
    said = await assistant(replace(view, conversation=seen))
    request = seen.messages[-1].content
    record = TurnContrast(turn=view.turn, strategy=strategy, modified_instruction=request, parameters=parameters)
    return replace(said, contrast=record)


def _user_messages(conversation: Conversation) -> list[int]:
    """Return the indices of the user's messages."""
    return [index for index, message in enumerate(conversation.messages) if message.role == "user"]


@dataclass(frozen=True, slots=True)
class WeakerModelContrast:
    """Lets a weaker model answer the unchanged conversation.

    One call a turn. Its errors are the weaker model's own, of every kind that it makes; some turns have none, so its
    labels are noisier than those of the other contrasts, and the two models' styles can give the sides away.

    Attributes:
        weaker: Who answers.
        sampling: How it samples.
    """

    weaker: ChatModel
    sampling: Sampling = AS_THE_ENDPOINT_DOES

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Answer the user."""
        said = await AssistantRole(self.weaker, self.sampling)(view)
        request = view.conversation.messages[-1].content
        record = TurnContrast(
            turn=view.turn,
            strategy="weaker_model",
            modified_instruction=request,
            parameters={"model": self.weaker.name},
        )
        return replace(said, contrast=record)
