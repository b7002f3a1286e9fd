"""Roles: who speaks in a rollout.

A role is any async callable from a `RoleView` (what it may know) to a `RoleTurn` (what it says). `UserRole` and
`AssistantRole` play theirs through a `ChatModel`; the contrasts stand in `music_agents.contrasts`. Write your own as
a function or a class with `__call__`: `view.request(...)` gives each call its own key in the journal and its own seed.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

from music.conversation import Conversation, Message
from music.llm.chat import ChatModel, ChatRequest, ReplyOutcome
from music.pairs import TurnContrast, Usage
from music.prompts import render_assistant, render_user
from music_agents.failures import FailureReason, RoleFailedError

__all__ = [
    "MAX_ATTEMPTS",
    "AssistantRole",
    "Role",
    "RoleTurn",
    "RoleView",
    "Roles",
    "Sampling",
    "Side",
    "UserRole",
    "ask",
]
__all__ += ["derive_seed"]

Side = Literal["chosen", "rejected"]
T = TypeVar("T")

MAX_ATTEMPTS = 3
"""How often a role asks for one turn before it gives the pair up."""


_DEFECTS = {
    ReplyOutcome.COMPLETE: (FailureReason.REPLY_UNPARSED, "did not keep to the format asked for"),
    ReplyOutcome.EMPTY: (FailureReason.REPLY_EMPTY, "were empty"),
    ReplyOutcome.LENGTH: (FailureReason.REPLY_CUT, "were cut at the token limit (raise --max-tokens)"),
    ReplyOutcome.CONTENT_FILTER: (FailureReason.REPLY_FILTERED, "were stopped by the endpoint's content filter"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a role's model samples.

    Attributes:
        temperature: None leaves it to the endpoint.
        max_tokens: Bound on one reply's tokens; None leaves it to the endpoint.
    """

    temperature: float | None = None
    max_tokens: int | None = None


AS_THE_ENDPOINT_DOES = Sampling()
"""Sampling that leaves everything to the endpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleView:
    """What a role may know when it speaks.

    Attributes:
        conversation: The history of this side, as far as it goes.
        side: The rollout that the turn belongs to.
        part: `user` or `assistant` (a contrast stands in the assistant's place).
        turn: Index of the simulated turn, from 0.
        num_turns: How many turns this pair will have.
        pair: Index of the pair in its run.
        run_seed: The run's seed.
    """

    conversation: Conversation
    side: Side
    part: Literal["user", "assistant"]
    turn: int
    num_turns: int
    pair: int
    run_seed: int

    def request(
        self, messages: tuple[Message, ...], sampling: Sampling = AS_THE_ENDPOINT_DOES, attempt: int | str = 0
    ) -> ChatRequest:
        """Return a request of this turn.

        Both sides draw from the same seed (common random numbers: they differ by their contrast, not by luck), while
        the key tells them apart. `attempt` must differ between the requests of one turn.
        """
        place = f"{self.turn}/{self.part}/{attempt}"
        return ChatRequest(
            messages=messages,
            seed=derive_seed(self.run_seed, self.pair, place),
            temperature=sampling.temperature,
            max_tokens=sampling.max_tokens,
            key=f"{self.pair}/{self.side}/{place}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleTurn:
    """What a role says.

    Attributes:
        text: The message; it must not be blank.
        usage: Of all calls that it took.
        contrast: How the message was made worse, if it was.
    """

    text: str
    usage: Usage
    contrast: TurnContrast | None = None


class Role(Protocol):
    """Anything that speaks a turn."""

    async def __call__(self, view: RoleView, /) -> RoleTurn:
        """Speak.

        Raises:
            RoleFailedError: The pair must be given up.
            EndpointError: Its model gave no usable reply; likewise.
        """
        ...


@dataclass(frozen=True, slots=True)
class UserRole:
    """The user simulator: it writes the user's next message from the history of its own side.

    Attributes:
        model: Who plays the user.
        persona: Who the user is, in a sentence or more; empty for anyone.
        sampling: How the model samples.
    """

    model: ChatModel
    persona: str = ""
    sampling: Sampling = AS_THE_ENDPOINT_DOES

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Write the user's next message."""
        messages = render_user(view.conversation, self.persona)
        text, usage = await ask(self.model, view, messages, self.sampling, str.strip)
        return RoleTurn(text=text, usage=usage)


@dataclass(frozen=True, slots=True)
class AssistantRole:
    """The assistant: it answers the conversation as it stands.

    Attributes:
        model: Who plays the assistant.
        sampling: How the model samples.
    """

    model: ChatModel
    sampling: Sampling = AS_THE_ENDPOINT_DOES

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Answer the user."""
        text, usage = await ask(self.model, view, render_assistant(view.conversation), self.sampling, str.strip)
        return RoleTurn(text=text, usage=usage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """The roles of a pair graph, and what to record of them.

    Attributes:
        user: Writes the user's turns of both sides.
        assistant: Answers on the chosen side.
        contrast: Answers on the rejected side.
        models: Endpoint of each role by role name, for the output.
    """

    user: Role
    assistant: Role
    contrast: Role
    models: Mapping[str, str] = field(default_factory=dict)


async def ask(
    model: ChatModel,
    view: RoleView,
    messages: tuple[Message, ...],
    sampling: Sampling,
    read: Callable[[str], T | None],
) -> tuple[T, Usage]:
    """Ask for one turn, again with another seed when the reply is of no use.

    Args:
        model: Whom to ask.
        view: The turn.
        messages: The prompt.
        sampling: How the model samples.
        read: What to make of a complete reply's text; None (or an empty string) if it cannot be read.

    Returns:
        What was read, and the usage of all attempts.

    Raises:
        RoleFailedError: No reply of `MAX_ATTEMPTS` was complete and readable.
        EndpointError: The model gave no usable reply.
    """
    usage = Usage()
    for attempt in range(MAX_ATTEMPTS):
        reply = await model.complete(view.request(messages, sampling, attempt))
        usage += Usage(num_calls=1, prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens)
        content = read(reply.text) if reply.outcome is ReplyOutcome.COMPLETE else None
        if content:
            return content, usage
    reason, remedy = _DEFECTS[reply.outcome]
    shown = f", the last beginning {reply.text[:80]!r}" if reply.text else ""
    raise RoleFailedError(f"{MAX_ATTEMPTS} replies of {model.name} {remedy}{shown}", reason)


def derive_seed(*parts: object) -> int:
    """Return a seed in [0, 2**31) that depends on all parts and on nothing else."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1
