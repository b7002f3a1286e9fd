"""Who speaks in a rollout, and what they may know.

A `Speaker` is any async callable from a `RoleView` (what it may know) to a `RoleTurn` (what it says). Write your own as
a function or a class with `__call__`; `ask` asks a model for a turn. Contrasts are speakers too:
`music_agents.contrasts`. A `RoleSet` holds the three speakers of a pair.
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
"""How often a role asks for one turn before it gives the pair up."""


NOTHING_SAID = Conversation()


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleView:
    """What a role may know when it speaks.

    Attributes:
        conversation: The history of this side, as far as it goes.
        other: That of the other side. In every turn the chosen side speaks first, so the rejected side may follow it.
        side: The rollout that the turn belongs to.
        part: `user` or `assistant` (a contrast stands in the assistant's place).
        turn: Index of the simulated turn, from 0.
        num_turns: How many turns this pair will have.
        pair: Index of the pair in its run.
        run_seed: The run's seed.
        persona: Who the user is; None for anyone.
        num_attempts: How often to ask for a turn before the pair is given up.
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
        """What the other side was told at this place, if all that came before is the same; None if not.

        A turn that nothing makes worse repeats it, so that the sides part at the first contrasted reply and not before.
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

        Both sides draw from the same seed (common random numbers: they differ by their contrast, not by luck), while
        the key distinguishes them. `attempt` must differ between the requests of one turn; `json_schema` is what the
        reply is to follow, where the endpoint can be held to one.
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
    """What a role says.

    Attributes:
        text: The message; it must not be blank.
        usage: Of all calls that it took.
        contrast: How the message was made worse, if it was.
        retries: Why replies before this one were unusable, as failure reasons.
    """

    text: str
    usage: Usage
    contrast: TurnContrast | None = None
    retries: tuple[str, ...] = ()


class Speaker(Protocol):
    """Anything that speaks a turn; `music_agents.testing.check_speaker` checks one of your own."""

    async def __call__(self, view: RoleView, /) -> RoleTurn:
        """Speak.

        Raises:
            RoleFailedError: The pair must be given up.
            EndpointError: Its model gave no usable reply; likewise.
        """
        ...


async def nobody(view: RoleView) -> RoleTurn:
    """Speak for a role that a `RoleSet` was not given.

    Raises:
        RoleFailedError: Always.
    """
    raise RoleFailedError(f"nobody speaks for the {view.part} on the {view.side} side: give the RoleSet this role")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSet:
    """The roles of a pair, and the models behind them: what graphs and contrasts are built from.

    Attributes:
        user: Writes the user's turns of both sides.
        assistant: Answers on the chosen side.
        contrast: Answers on the rejected side.
        models: The models by role: `user`, `assistant`, `contrast`, and if there are any `weaker` and `judge`. In a run
            they are metered and journaled: what a node of your own asks of them is paid for once and counted.
        sampling: How the models sample, by role; the others sample as their endpoints do.
        contrast_format: What contrasts with a prompt of their own ask for their reply in.
        contrast_template: A prompt of your own for contrasts that take one call; None for this package's.
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
        """Return how a role's model samples."""
        return self.sampling.get(role, AS_THE_ENDPOINT_DOES)
