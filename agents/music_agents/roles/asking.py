"""Asking a model for one turn, and again when its reply is of no use."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from music.conversation import Message
from music.llm.chat import ChatModel, ChatReply, ReplyOutcome, Sampling
from music.pairs import Usage
from music_agents.failures import FailureReason, RoleFailedError, UnfitReplyError
from music_agents.roles.role import RoleView

__all__ = ["Answer", "ask"]

T = TypeVar("T")

_DEFECTS = {  # what to do about them is in `music_agents.remedies`
    ReplyOutcome.EMPTY: (FailureReason.REPLY_EMPTY, "it is empty"),
    ReplyOutcome.LENGTH: (FailureReason.REPLY_CUT, "it is cut at the limit of tokens"),
    ReplyOutcome.CONTENT_FILTER: (FailureReason.REPLY_FILTERED, "the endpoint's content filter stopped it"),
    ReplyOutcome.TOOL_CALLS: (FailureReason.REPLY_TOOL_CALL, "it calls a tool instead of answering"),
    ReplyOutcome.THOUGHT: (FailureReason.REPLY_THOUGHT, "it is thinking alone, with no answer after it"),
}


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What came of asking.

    Attributes:
        content: What was read from the reply that was of use.
        usage: Of all attempts.
        retries: Why the attempts before it were of no use.
    """

    content: T
    usage: Usage
    retries: tuple[str, ...]


async def ask(
    model: ChatModel,
    view: RoleView,
    messages: tuple[Message, ...],
    sampling: Sampling,
    read: Callable[[str], T],
    step: str = "",
    json_schema: Mapping[str, Any] | None = None,
) -> Answer[T]:
    """Ask for one turn, again with another seed while the reply is of no use.

    Args:
        model: Whom to ask.
        view: The turn.
        messages: The prompt.
        sampling: How the model samples.
        read: Reads a complete reply's text; raises `UnfitReplyError` if it is of no use.
        step: Tells the questions of a role that asks more than one in a turn apart.
        json_schema: What the reply is to follow, where the endpoint can be held to one.

    Raises:
        RoleFailedError: No reply of `view.num_attempts` was of use.
        EndpointError: The model gave no usable reply.
    """
    usage, retries = Usage(), list[str]()
    for attempt in range(view.num_attempts):
        reply = await model.complete(view.request(messages, sampling, f"{step}{attempt}", json_schema))
        usage += Usage(1, reply.prompt_tokens, reply.completion_tokens)
        try:
            return Answer(_read(reply, read), usage, tuple(retries))
        except UnfitReplyError as error:
            unfit = error
            retries.append(unfit.reason)
    shown = f"; it begins {reply.text[:80]!r}" if reply.text else ""
    message = f"{view.num_attempts} replies of {model.name} were unusable; the last: {unfit.detail}{shown}"
    raise RoleFailedError(message, unfit.reason, reply.text or reply.thinking, tuple(retries))


def _read(reply: ChatReply, read: Callable[[str], T]) -> T:
    """Read a reply.

    Raises:
        UnfitReplyError: It is not complete, or `read` has no use for it.
    """
    if reply.outcome is ReplyOutcome.LENGTH and reply.thinking and not reply.text:
        raise UnfitReplyError(FailureReason.REPLY_CUT, "it is cut at the limit of tokens while it still thinks")
    if reply.outcome is not ReplyOutcome.COMPLETE:
        raise UnfitReplyError(*_DEFECTS[reply.outcome])
    return read(reply.text)
