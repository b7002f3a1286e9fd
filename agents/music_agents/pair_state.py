"""What a pair graph carries: `PairState`, which grows, and `PairContext`, which is fixed; and what one must come to."""

import operator
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from music.conversation import Conversation
from music.errors import MusicError
from music.pairs import TurnContrast, Usage
from music_agents.personas import Persona
from music_agents.roles import MAX_ATTEMPTS, RoleTurn, RoleView, Side

__all__ = ["PairContext", "PairGraphError", "PairState", "check_end", "is_over", "record_turn", "view_of"]

SIDES: tuple[Side, Side] = ("chosen", "rejected")


class PairGraphError(MusicError):
    """A pair graph does not do what every pair graph must do."""


class PairState(TypedDict):
    """What a pair graph carries from step to step; the last three add up."""

    chosen: Conversation
    rejected: Conversation
    contrasts: Annotated[tuple[TurnContrast, ...], operator.add]
    usage: Annotated[Usage, operator.add]
    retries: Annotated[tuple[str, ...], operator.add]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairContext:
    """What is fixed for one run of the graph.

    Attributes:
        pair: Index of the pair in its run.
        run_seed: The run's seed.
        num_seed_messages: Length of the seed context.
        num_turns: Simulated turns of each side.
        persona: Who the user is; None for anyone.
        num_attempts: How often a role asks for one turn before the pair is given up.
        opening: What the user says first on both sides; empty if that is simulated.
    """

    pair: int
    run_seed: int
    num_seed_messages: int
    num_turns: int
    persona: Persona | None = None
    num_attempts: int = MAX_ATTEMPTS
    opening: str = ""


def view_of(state: PairState, side: Side, context: PairContext) -> RoleView:
    """Return what the role that is to speak next on a side may know."""
    conversation = state[side]
    num_simulated = len(conversation.messages) - context.num_seed_messages
    return RoleView(
        conversation=conversation,
        other=state["rejected" if side == "chosen" else "chosen"],
        side=side,
        part="assistant" if num_simulated % 2 else "user",
        turn=num_simulated // 2,
        num_turns=context.num_turns,
        pair=context.pair,
        run_seed=context.run_seed,
        persona=context.persona,
        num_attempts=context.num_attempts,
    )


def record_turn(view: RoleView, said: RoleTurn, name: str) -> dict[str, Any]:
    """Return what a turn adds to the state."""
    conversation = view.conversation
    spoken = conversation.user(said.text) if view.part == "user" else conversation.assistant(said.text)
    retries = tuple(f"{name}:{reason}" for reason in said.retries)
    update: dict[str, Any] = {view.side: spoken, "usage": said.usage, "retries": retries}
    return update if said.contrast is None else update | {"contrasts": (said.contrast,)}


def is_over(state: PairState, context: PairContext) -> bool:
    """Whether both sides have all their turns."""
    wanted = context.num_seed_messages + 2 * context.num_turns
    return all(len(state[side].messages) >= wanted for side in SIDES)


def check_end(state: PairState, seed: Conversation, context: PairContext) -> None:
    """Check what a graph came to.

    Raises:
        PairGraphError: A key is missing, or a side is not the seed context and all its turns.
    """
    if missing := PairState.__annotations__.keys() - state.keys():
        raise PairGraphError(
            f"the pair graph ended without {', '.join(sorted(missing))}: build it over PairState, or a subclass"
        )
    num_seed = len(seed.messages)
    for side in SIDES:
        messages = state[side].messages
        num_simulated = len(messages) - num_seed
        if num_simulated != 2 * context.num_turns or messages[:num_seed] != seed.messages:
            raise PairGraphError(
                f"the pair graph ended with {num_simulated} messages on the {side} side after the seed context: "
                f"expected the seed context as it was and {2 * context.num_turns} messages ({context.num_turns} turns)"
            )
