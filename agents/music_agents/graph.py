"""The pair graph: one seed context grows into a chosen and a rejected conversation (paper, Algorithm 1).

    START -> user -> assistant -> contrast -> user -> ... -> END

In every turn the user speaks on both sides, the assistant answers on the chosen side, and the contrast answers on the
rejected side. Each side has its own history. While both histories are equal the user is asked once for both, so the
sides differ from the first contrasted reply on. A pair has one call in flight at a time: a crash costs at most one call
per pair, and the number of pairs in flight is the number of calls in flight. Concurrency comes from many pairs.

A graph of your own takes a `PairState`, reads a `PairContext`, and ends when both sides have `num_turns` turns. Build
it from `user_node`, `answer_node` and your own nodes, in which roles `speak`. Nodes choose the next node with
`Command`, which costs less than conditional edges. The final state is checked; docs/graphs.md has the rules.
"""

import operator
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, TypeAlias, TypedDict, cast

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphRecursionError
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command

from music.conversation import Conversation
from music.errors import InvalidInputError, MusicError
from music.llm.chat import EndpointError
from music.pairs import TurnContrast, Usage
from music_agents.failures import RoleFailedError, RoleStopError
from music_agents.personas import Persona
from music_agents.roles import MAX_ATTEMPTS, RoleSet, RoleTurn, RoleView, Side, Speaker
from music_agents.roles.speaker import nobody

__all__ = ["PairContext", "PairGraph", "PairGraphError", "PairState", "answer_node", "build_pair_graph", "check_end"]
__all__ += ["check_graph", "record_turn", "run_pair_graph", "speak", "user_node", "view_of"]

SIDES: tuple[Side, Side] = ("chosen", "rejected")


class PairGraphError(MusicError):
    """A pair graph breaks a rule of pair graphs (docs/graphs.md)."""


class PairState(TypedDict):
    """The state of a pair graph; updates of the last three keys are added."""

    chosen: Conversation
    rejected: Conversation
    contrasts: Annotated[tuple[TurnContrast, ...], operator.add]
    usage: Annotated[Usage, operator.add]
    retries: Annotated[tuple[str, ...], operator.add]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairContext:
    """Values that stay fixed during one run of the graph.

    Attributes:
        pair: Index of the pair in its run.
        run_seed: The run's seed.
        num_seed_messages: Length of the seed context.
        num_turns: Simulated turns of each side.
        persona: Of the user; None for no persona.
        num_attempts: Requests that a role may make for one turn before the pair fails.
        opening: The user's first message on both sides; empty if it is simulated.
    """

    pair: int
    run_seed: int
    num_seed_messages: int
    num_turns: int
    persona: Persona | None = None
    num_attempts: int = MAX_ATTEMPTS
    opening: str = ""


def view_of(state: PairState, side: Side, context: PairContext) -> RoleView:
    """Return the view of the role that speaks next on a side."""
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
    """Return the update of the state for a turn."""
    conversation = view.conversation
    spoken = conversation.user(said.text) if view.part == "user" else conversation.assistant(said.text)
    retries = tuple(f"{name}:{reason}" for reason in said.retries)
    update: dict[str, Any] = {view.side: spoken, "usage": said.usage, "retries": retries}
    return update if said.contrast is None else update | {"contrasts": (said.contrast,)}


def check_end(state: PairState, seed: Conversation, context: PairContext) -> None:
    """Check the end of a graph.

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


MAX_STEPS_PER_TURN = 20
"""More steps than this mean that a graph does not end; the standard graph takes three."""


PairGraph: TypeAlias = CompiledStateGraph[PairState, PairContext, PairState, PairState]


class PairNode(Protocol):
    """A node of a pair graph, as LangGraph calls it."""

    def __call__(self, state: PairState, *, runtime: Runtime[PairContext]) -> Awaitable[Command[Any]]: ...


def build_pair_graph(roles: RoleSet) -> PairGraph:
    """Return the compiled graph of a pair (paper, Algorithm 1).

    Args:
        roles: The user, the assistant and the contrast.

    Raises:
        InvalidInputError: One of them is missing.

    Example:
        >>> roles = RoleSet(
        ...     user=UserRole(model), assistant=AssistantRole(model), contrast=InstructionContrast(model)
        ... )
        >>> graph = build_pair_graph(roles)
    """
    if nobody in (roles.user, roles.assistant, roles.contrast):
        raise InvalidInputError("expected a RoleSet with user, assistant and contrast; one of them is missing")
    graph = StateGraph(PairState, context_schema=PairContext)
    graph.add_node("user", user_node(roles.user, then="assistant"), destinations=("assistant",))
    graph.add_node("assistant", answer_node(roles.assistant, "chosen", then="contrast"), destinations=("contrast",))
    graph.add_node("contrast", answer_node(roles.contrast, "rejected", then="user"), destinations=("user", END))
    graph.add_edge(START, "user")
    return graph.compile(name="pair")


async def run_pair_graph(graph: PairGraph, seed: Conversation, context: PairContext) -> PairState:
    """Run a pair graph from a seed context to its end.

    Raises:
        RoleStopError: A role gave the pair up.
        PairGraphError: The graph does not end, or its final state is not a pair.
    """
    state = PairState(chosen=seed, rejected=seed, contrasts=(), usage=Usage(), retries=())
    config: RunnableConfig = {"recursion_limit": MAX_STEPS_PER_TURN * (context.num_turns + 1)}
    try:
        # Not `ainvoke`: it streams updates besides values, only to throw them away.
        async for values in graph.astream(state, config, context=context, stream_mode="values"):
            state = cast(PairState, values)
    except GraphRecursionError as error:
        num_steps = config["recursion_limit"]
        raise PairGraphError(
            f"the pair graph took {num_steps} steps and did not end: send it to END when both sides have "
            f"{context.num_turns} turns (answer_node does)"
        ) from error
    check_end(state, seed, context)
    return state


def check_graph(graph: object) -> None:
    """Check that something is a compiled graph.

    Raises:
        PairGraphError: It is not.
    """
    if not isinstance(graph, CompiledStateGraph):
        got = f"a {type(graph).__name__}" + (": end with graph.compile()" if isinstance(graph, StateGraph) else "")
        raise PairGraphError(f"expected a compiled LangGraph graph over PairState, got {got}")


def user_node(role: Speaker, then: str) -> PairNode:
    """Return the node in which the user speaks, first on the chosen side and then on the rejected one.

    Where both sides have the same history, the user is asked once.
    """

    async def node(state: PairState, *, runtime: Runtime[PairContext]) -> Command[Any]:
        chosen = await speak(role, "user", state, "chosen", runtime.context, part="user")
        state = state | cast(PairState, {"chosen": chosen["chosen"]})
        rejected = await speak(role, "user", state, "rejected", runtime.context, part="user")
        both = {name: chosen[name] + rejected[name] for name in ("usage", "retries")}
        return Command(update=chosen | rejected | both, goto=then)

    return node


def answer_node(role: Speaker, side: Side, then: str, name: str = "") -> PairNode:
    """Return the node in which the assistant or the contrast answers on a side.

    Args:
        role: The assistant or the contrast.
        side: The side that it answers.
        then: The node that follows; after the last turn of both sides the graph ends instead.
        name: The role's name in failures; by default `assistant` or `contrast`.
    """
    name = name or ("assistant" if side == "chosen" else "contrast")

    async def node(state: PairState, *, runtime: Runtime[PairContext]) -> Command[Any]:
        context = runtime.context
        update = await speak(role, name, state, side, context)
        sides = state | cast(PairState, update)
        num_messages = min(len(sides["chosen"].messages), len(sides["rejected"].messages))
        is_over = num_messages >= context.num_seed_messages + 2 * context.num_turns
        return Command(update=update, goto=END if is_over else then)

    return node


async def speak(
    role: Speaker,
    name: str,
    state: PairState,
    side: Side,
    context: PairContext,
    *,
    part: Literal["user", "assistant"] = "assistant",
) -> dict[str, Any]:
    """Let a role speak on one side; return the update of the state.

    If the other side already has a user message after the same history, that message is used and the user is not asked.

    Args:
        role: The speaker.
        name: The role's name in failures and retries.
        state: Of the graph; for a second draft of a turn, without the first one.
        side: The side on which the role speaks.
        context: Of the graph; its opening, if any, is the user's first message, and no role is asked for it.
        part: The expected part: `user` or `assistant`.

    Raises:
        RoleStopError: The role gave the pair up.
        PairGraphError: It is the other part's turn.
    """
    view = view_of(state, side, context)
    if view.part != part:
        raise PairGraphError(
            f"pair graph: {name!r} speaks for the {part} on the {side} side, where the {view.part} is next: "
            "let user and assistant take turns on each side"
        )
    if part == "user":
        given = context.opening if view.turn == 0 and context.opening else view.already_said
        if given is not None:
            return record_turn(view, RoleTurn(text=given, usage=Usage()), name)
    try:
        return record_turn(view, await role(view), name)
    except (RoleFailedError, EndpointError) as error:
        raise RoleStopError(error, side, name, view.turn) from error
