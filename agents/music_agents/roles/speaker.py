"""`Speaker`: what speaks in a rollout, and `RoleSet`: the three speakers of a pair.

A `Speaker` is any async callable from a `RoleView` (its input) to a `RoleTurn` (its message). Write your own as a
function or as a class with `__call__`; `ask` requests a turn from a model. Contrasts are speakers too:
`music_agents.contrasts`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from music.conversation import Conversation, Message
from music.errors import InvalidInputError
from music.llm.chat import AS_THE_ENDPOINT_DOES, ChatModel, ChatRequest, Sampling
from music.pairs import TurnContrast, Usage
from music.prompts import ContrastFormat, PromptTemplate
from music.seeding import derive_seed
from music_agents.failures import RoleFailedError
from music_agents.personas import Persona

__all__ = ["MAX_ATTEMPTS", "RoleSet", "RoleTurn", "RoleView", "Side", "Speaker", "nobody"]

Side = Literal["chosen", "rejected"]

MAX_ATTEMPTS = 3
"""Requests that a role makes for one turn before it gives the pair up."""


NOTHING_SAID = Conversation()


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleView:
    """The input of a role when it speaks.

    Attributes:
        conversation: The history of this side so far.
        other: The history of the other side. In every turn the chosen side speaks first.
        side: The rollout that the turn belongs to.
        part: `user` or `assistant`; a contrast speaks as the assistant.
        turn: Index of the simulated turn, from 0.
        num_turns: Simulated turns of each side of the pair.
        pair: Index of the pair in its run.
        run_seed: The run's seed.
        persona: Of the user; None for no persona.
        num_attempts: Requests for one turn before the pair fails.
    """

    conversation: Conversation
    other: Conversation = NOTHING_SAID
    side: Side
    part: Literal["user", "assistant"]
    turn: int
    num_turns: int
    pair: int
    run_seed: int
    persona: Persona | None = None
    num_attempts: int = MAX_ATTEMPTS

    @property
    def already_said(self) -> str | None:
        """The next message of the other side, if its history up to there is the same; None if not.

        A turn that is not contrasted repeats it, so that the sides differ from the first contrasted reply on.
        """
        said = self.other.messages
        place = len(self.conversation.messages)
        return said[place].content if len(said) > place and said[:place] == self.conversation.messages else None

    def request(
        self,
        messages: tuple[Message, ...],
        sampling: Sampling = AS_THE_ENDPOINT_DOES,
        attempt: int | str = 0,
        json_schema: Mapping[str, Any] | None = None,
    ) -> ChatRequest:
        """Return a request of this turn.

        Both sides use the same seed (common random numbers: the sides differ by the contrast, not by chance); the key
        distinguishes them. `attempt` must differ between the requests of one turn. `json_schema` is the schema of the
        reply, for endpoints that support one.
        """
        place = f"{self.turn}/{self.part}/{attempt}"
        return ChatRequest(
            messages=messages,
            seed=derive_seed(self.run_seed, self.pair, place),
            sampling=sampling,
            json_schema=json_schema,
            key=f"{self.pair}/{self.side}/{place}",
            route=str(self.pair),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleTurn:
    """The message of a role.

    Attributes:
        text: The message; it must not be blank.
        usage: Of all calls for it.
        contrast: How the message was made worse; None if it was not.
        retries: Why earlier replies were unusable, as failure reasons.
        is_cut: Whether the message was cut at the limit of tokens.
    """

    text: str
    usage: Usage
    contrast: TurnContrast | None = None
    retries: tuple[str, ...] = ()
    is_cut: bool = False


class Speaker(Protocol):
    """Speaks a turn; `music_agents.testing.check_speaker` checks one of your own."""

    async def __call__(self, view: RoleView, /) -> RoleTurn:
        """Speak.

        Raises:
            RoleFailedError: The role gives the pair up.
            EndpointError: Its model gave no usable reply, so the pair fails, too.
        """
        ...


async def nobody(view: RoleView) -> RoleTurn:
    """Stand in for a role that a `RoleSet` lacks.

    Raises:
        RoleFailedError: Always.
    """
    raise RoleFailedError(f"nobody speaks for the {view.part} on the {view.side} side: give the RoleSet this role")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSet:
    """The roles of a pair and their models, from which graphs and contrasts are built.

    Attributes:
        user: Writes the user's turns of both sides.
        assistant: Answers on the chosen side.
        contrast: Answers on the rejected side.
        models: The models by role: `user`, `assistant`, `contrast`, and optionally `weaker` and `judge`. A run meters
            and journals them, so the calls of your own nodes are counted and paid for once.
        sampling: Sampling settings by role; other roles use the defaults of their endpoints.
        contrast_format: Reply format of contrasts with a prompt.
        contrast_template: Your own prompt for contrasts with one call; None for this package's.
    """

    user: Speaker = nobody
    assistant: Speaker = nobody
    contrast: Speaker = nobody
    models: Mapping[str, ChatModel] = field(default_factory=dict)
    sampling: Mapping[str, Sampling] = field(default_factory=dict)
    contrast_format: ContrastFormat = ContrastFormat.TAGS
    contrast_template: PromptTemplate | None = None

    def model(self, role: str) -> ChatModel:
        """Return the model that plays a role.

        Raises:
            InvalidInputError: There is none.
        """
        if role not in self.models:
            raise InvalidInputError(f"expected a model for the role {role!r}, got none: name its endpoint (--{role})")
        return self.models[role]

    def sampling_of(self, role: str) -> Sampling:
        """Return the sampling settings of a role."""
        return self.sampling.get(role, AS_THE_ENDPOINT_DOES)
