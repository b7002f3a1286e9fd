"""Contrasts without a prompt of their own, and `answer_plainly`: a turn that is not contrasted."""

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

    While both sides have the same history, the chosen side's reply is repeated without a call: the sides differ from
    the first contrasted reply on, and a common reply is paid for once.

    Args:
        assistant: Answers if the histories differ.
        view: The turn.

    Raises:
        RoleFailedError: The assistant gives the pair up.
        EndpointError: The model of the assistant gave no usable reply.
    """
    if (text := view.already_said) is not None:
        return RoleTurn(text=text, usage=Usage())
    return await assistant(view)


@dataclass(frozen=True, slots=True)
class ForgetContrast:
    """Answers the right request, but sees only the last turns of the conversation (and a system message).

    One call per turn. The reply guesses or denies facts, misses standing wishes, and misreads requests that refer to
    earlier turns. While the conversation has no more than `turns` turns, the turn is not contrasted.

    Attributes:
        assistant: Answers.
        turns: Number of user messages, the latest included, that the assistant sees.
    """

    assistant: Speaker
    turns: int = 1

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Answer the last turns of the conversation."""
        starts = _user_messages(view.conversation)
        if len(starts) <= self.turns:
            return await answer_plainly(self.assistant, view)
        messages = view.conversation.messages
        system = messages[: int(view.conversation.has_system)]
        seen = Conversation(messages=(*system, *messages[starts[-self.turns] :]))
        return await _answered(self.assistant, view, seen, "forget", {"turns": self.turns})


@dataclass(frozen=True, slots=True)
class StaleContrast:
    """Answers the user's previous request again instead of the latest one.

    One call per turn. The reply misses the current request and the wishes stated with it. If there is no previous
    request, or the latest message asks for nothing, the turn is not contrasted.

    Attributes:
        assistant: Answers.
    """

    assistant: Speaker

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Answer the conversation up to the previous request."""
        starts = _user_messages(view.conversation)
        if len(starts) < 2 or not asks(plain(view.conversation.messages[-1].content)):
            return await answer_plainly(self.assistant, view)
        return await _answered(self.assistant, view, view.conversation.prefix(starts[-2] + 1), "stale", {})


async def _answered(
    assistant: Speaker, view: RoleView, seen: Conversation, strategy: str, parameters: dict[str, str | int | float]
) -> RoleTurn:
    """Let the assistant answer a conversation; the record holds the request that it answers."""
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

    One call per turn. The reply has the weaker model's own errors. Some turns have none, so the labels are noisier than
    those of the other contrasts, and the two models' styles can reveal the sides.

    Attributes:
        weaker: The weaker model.
        sampling: Its sampling settings.
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
