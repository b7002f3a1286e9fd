"""Roles that a model plays: the user, the assistant, and `ask`, which asks for a turn until the reply is usable."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, TypeVar

from music.conversation import Message
from music.llm.chat import (
    AS_THE_ENDPOINT_DOES,
    ChatModel,
    ChatReply,
    ChatRequest,
    EndpointError,
    ReplyOutcome,
    Sampling,
    TryUsage,
)
from music.pairs import Usage
from music.prompts import PromptTemplate, render_assistant, render_user
from music_agents.failures import FailureReason, RoleFailedError, UnfitReplyError
from music_agents.roles.speaker import RoleTurn, RoleView, Speaker
from music_agents.roles.speech import plain, without_stop_marks
from music_agents.roles.user_gates import DEFAULT_USER_GATES, UserGate

__all__ = ["Answer", "AssistantRole", "SharedScript", "UserRole", "ask"]

T = TypeVar("T")

_DEFECTS = {  # `music_agents.failures` has the remedies
    ReplyOutcome.EMPTY: (FailureReason.REPLY_EMPTY, "it is empty"),
    ReplyOutcome.LENGTH: (FailureReason.REPLY_CUT, "it is cut at the limit of tokens"),
    ReplyOutcome.CONTENT_FILTER: (FailureReason.REPLY_FILTERED, "the endpoint's content filter stopped it"),
    ReplyOutcome.TOOL_CALLS: (FailureReason.REPLY_TOOL_CALL, "it calls a tool instead of answering"),
    ReplyOutcome.THOUGHT: (FailureReason.REPLY_THOUGHT, "it is thinking alone, with no answer after it"),
}


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """The result of `ask`.

    Attributes:
        content: What `read` returned for the usable reply.
        usage: Of all attempts, and of their tries that brought no reply but were paid for.
        retries: Why earlier attempts were unusable.
        is_cut: Whether the reply was cut at the limit of tokens.
    """

    content: T
    usage: Usage
    retries: tuple[str, ...]
    is_cut: bool = False


@dataclass(slots=True)
class _FailedTries:
    """A `Payer` that adds up the usage of tries that brought no reply."""

    usage: Usage = field(default_factory=Usage)

    def admit(self, request: ChatRequest) -> None:
        """Admit every try."""

    async def pay(self, request: ChatRequest, usage: TryUsage) -> None:
        """Add the usage of a try."""
        self.usage += Usage(1, usage.prompt_tokens, usage.completion_tokens)


async def ask(
    model: ChatModel,
    view: RoleView,
    messages: tuple[Message, ...],
    sampling: Sampling,
    read: Callable[[str], T],
    step: str = "",
    json_schema: Mapping[str, Any] | None = None,
    keeps_cut: bool = False,
) -> Answer[T]:
    """Request one turn, and again with another seed while the reply is unusable.

    Args:
        model: The model.
        view: The turn.
        messages: The prompt.
        sampling: Its sampling settings.
        read: Reads a complete reply's text; raises `UnfitReplyError` if it is unusable.
        step: Distinguishes the questions of a role that asks more than one in a turn.
        json_schema: The schema of the reply, for endpoints that support one.
        keeps_cut: Whether a text that was cut at the limit of tokens is usable.

    Raises:
        RoleFailedError: None of `view.num_attempts` replies was usable.
        EndpointError: The model gave no usable reply. The `spent` of either error is the usage of all attempts.
    """
    usage, retries, failed = Usage(), list[str](), _FailedTries()
    for attempt in range(view.num_attempts):
        request = replace(view.request(messages, sampling, f"{step}{attempt}", json_schema), payer=failed)
        try:
            reply = await model.complete(request)
        except EndpointError as error:
            error.spent = usage + failed.usage
            raise
        usage += Usage(1, reply.prompt_tokens, reply.completion_tokens)
        try:
            content, is_cut = _read(reply, read, keeps_cut), reply.outcome is ReplyOutcome.LENGTH
            return Answer(content, usage + failed.usage, tuple(retries), is_cut)
        except UnfitReplyError as error:
            unfit = error
            retries.append(unfit.reason)
    shown = f"; it begins {reply.text[:80]!r}" if reply.text else ""
    message = f"{view.num_attempts} replies of {model.name} were unusable; the last: {unfit.detail}{shown}"
    given_up = RoleFailedError(message, unfit.reason, reply.text or reply.thinking, tuple(retries))
    given_up.spent = usage + failed.usage
    raise given_up


def _read(reply: ChatReply, read: Callable[[str], T], keeps_cut: bool) -> T:
    """Read a reply.

    Raises:
        UnfitReplyError: It is not complete, or `read` refuses it.
    """
    if reply.outcome is ReplyOutcome.LENGTH and reply.thinking and not reply.text:
        raise UnfitReplyError(FailureReason.REPLY_CUT, "it is cut at the limit of tokens while it still thinks")
    is_kept = keeps_cut and reply.outcome is ReplyOutcome.LENGTH and bool(reply.text.strip())
    if reply.outcome is not ReplyOutcome.COMPLETE and not is_kept:
        raise UnfitReplyError(*_DEFECTS[reply.outcome])
    return read(reply.text)


@dataclass(frozen=True, slots=True)
class AssistantRole:
    """An assistant that answers as well as it can.

    Attributes:
        model: The model of the assistant.
        sampling: Its sampling settings.
        keeps_cut: Whether it says what was cut at the limit of tokens; otherwise it is asked again.
    """

    model: ChatModel
    sampling: Sampling = AS_THE_ENDPOINT_DOES
    keeps_cut: bool = False

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Answer the user."""
        messages = render_assistant(view.conversation)
        answer = await ask(self.model, view, messages, self.sampling, str.strip, keeps_cut=self.keeps_cut)
        return RoleTurn(text=answer.content, usage=answer.usage, retries=answer.retries, is_cut=answer.is_cut)


@dataclass(frozen=True, slots=True)
class UserRole:
    """A user played by a model, with the persona of the view.

    Attributes:
        model: The model of the user.
        sampling: Its sampling settings.
        gates: Checks of a message; the model is asked again if one fails.
        template: Your own instructions; None for this package's.
        keeps_cut: As of the assistant.
    """

    model: ChatModel
    sampling: Sampling = AS_THE_ENDPOINT_DOES
    gates: tuple[UserGate, ...] = DEFAULT_USER_GATES
    template: PromptTemplate | None = None
    keeps_cut: bool = False

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Write the user's next message.

        Raises:
            RoleFailedError: No reply passed the gates.
            EndpointError: The model gave no usable reply.
        """
        persona = view.persona.describe() if view.persona else ""
        messages = render_user(view.conversation, persona, self.template)
        read = partial(self._read, view=view)
        answer = await ask(self.model, view, messages, self.sampling, read, keeps_cut=self.keeps_cut)
        return RoleTurn(text=answer.content, usage=answer.usage, retries=answer.retries, is_cut=answer.is_cut)

    def _read(self, reply: str, view: RoleView) -> str:
        """Return the message of a reply.

        Raises:
            UnfitReplyError: A gate refuses it, or it has no visible letters.
        """
        # In the last turn a farewell may stay, but the assistant must not answer a stop mark.
        text = without_stop_marks(reply) if view.turn + 1 == view.num_turns else reply.strip()
        if not plain(text):
            detail = "it is nothing but a stop mark" if plain(reply) else "it holds no visible letter"
            raise UnfitReplyError(FailureReason.REPLY_EMPTY, detail)
        for gate in self.gates:
            gate(text, view)
        return text


@dataclass(frozen=True, slots=True)
class SharedScript:
    """A user who writes the same messages on both sides.

    It halves the calls for the user, and the two sides of a pair differ in the assistant's turns alone. But the user
    does not react to the rejected replies.

    Attributes:
        user: Writes the messages, from the history of the chosen side.
    """

    user: Speaker

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Write the chosen side's next message, or repeat it on the rejected side.

        Raises:
            RoleFailedError: The user raises it, or the chosen side has not reached this turn.
        """
        if view.side == "chosen":
            return await self.user(view)
        place = len(view.conversation.messages)
        if place >= len(view.other.messages):
            raise RoleFailedError("a shared script needs the user of the chosen side to speak first in every turn")
        return RoleTurn(text=view.other.messages[place].content, usage=Usage())
