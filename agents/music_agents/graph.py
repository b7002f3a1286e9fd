"""The pair graph: one seed context grows into a chosen and a rejected conversation (paper, Algorithm 1).

    START -> chosen_user   <-> chosen_assistant   -> END
    START -> rejected_user <-> rejected_contrast  -> END

The two rollouts step side by side and each reads its own history only. Their calls take turns (`PairContext.turn`):
at any moment one call of a pair is in flight, so that a crash can cost one call per pair, and the number of pairs in
flight is the number of calls in flight. Concurrency comes from many pairs.

Nodes go on by `Command`: of the shapes that keep one named node per role it is the one that costs least.
"""

import asyncio
import operator
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol, TypeAlias, TypedDict, cast

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command

from music.conversation import Conversation
from music.llm.chat import EndpointError
from music.pairs import TurnContrast, Usage
from music_agents.failures import RoleFailedError, RoleStopError, failure_reason
from music_agents.roles import Role, RoleTurn, RoleView, Side

__all__ = ["PairContext", "PairGraph", "PairState", "build_pair_graph", "run_pair_graph"]


class PairState(TypedDict):
    """What a pair graph carries from step to step."""

    chosen: Conversation
    rejected: Conversation
    contrasts: Annotated[list[TurnContrast], operator.add]
    usage: Annotated[Usage, operator.add]


@dataclass(slots=True)
class PairContext:
    """What is fixed for one run of the graph.

    Attributes:
        pair: Index of the pair in its run.
        run_seed: The run's seed.
        num_seed_messages: Length of the seed context.
        turn: Held by the side that speaks.
        failed: Set once a role gave the pair up, so that the other side starts nothing more.
    """

    pair: int
    run_seed: int
    num_seed_messages: int
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    failed: RoleStopError | None = None


PairGraph: TypeAlias = CompiledStateGraph[PairState, PairContext, PairState, PairState]


class _Node(Protocol):
    """A node of the pair graph, as LangGraph calls it."""

    def __call__(self, state: PairState, *, runtime: Runtime[PairContext]) -> Awaitable[Command[Any]]: ...


def build_pair_graph(user: Role, assistant: Role, contrast: Role, num_turns: int = 5) -> PairGraph:
    """Return the compiled graph of one pair.

    Args:
        user: Writes the user's turns of both sides.
        assistant: Answers on the chosen side.
        contrast: Answers on the rejected side.
        num_turns: Simulated turns of each side.
    """
    graph = StateGraph(PairState, context_schema=PairContext)
    sides: tuple[tuple[Side, str, Role], ...] = (
        ("chosen", "assistant", assistant),
        ("rejected", "contrast", contrast),
    )
    for side, name, answering in sides:
        ask, answer = f"{side}_user", f"{side}_{name}"
        graph.add_node(ask, _role_node(side, "user", user, num_turns, answer), destinations=(answer,))
        graph.add_node(answer, _role_node(side, name, answering, num_turns, ask), destinations=(ask, END))
        graph.add_edge(START, ask)
    return graph.compile(name="pair")


async def run_pair_graph(graph: PairGraph, seed: Conversation, context: PairContext, num_turns: int) -> PairState:
    """Run a pair graph from a seed context to its end.

    Raises:
        RoleStopError: A role gave the pair up.
    """
    state = PairState(chosen=seed, rejected=seed, contrasts=[], usage=Usage())
    config: RunnableConfig = {"recursion_limit": 2 * num_turns + 2}
    # Not `ainvoke`: it streams updates besides values, only to throw them away.
    async for values in graph.astream(state, config, context=context, stream_mode="values"):
        state = cast(PairState, values)
    return state


def _role_node(side: Side, name: str, role: Role, num_turns: int, then: str) -> _Node:
    """Return the node in which a role speaks on one side; after the last answer the side ends."""

    async def node(state: PairState, *, runtime: Runtime[PairContext]) -> Command[Any]:
        context = runtime.context
        view = _view(state[side], side, num_turns, context)
        async with context.turn:
            if context.failed is not None:
                raise context.failed
            try:
                said = await role(view)
            except (RoleFailedError, EndpointError) as error:
                context.failed = RoleStopError(str(error), failure_reason(error), side=side, role=name, turn=view.turn)
                raise context.failed from error
        ends = view.part == "assistant" and view.turn + 1 == num_turns
        return Command(update=_update(view, said), goto=END if ends else then)

    return node


def _view(conversation: Conversation, side: Side, num_turns: int, context: PairContext) -> RoleView:
    """Return what the role that is to speak next may know."""
    num_simulated = len(conversation.messages) - context.num_seed_messages
    return RoleView(
        conversation=conversation,
        side=side,
        part="assistant" if num_simulated % 2 else "user",
        turn=num_simulated // 2,
        num_turns=num_turns,
        pair=context.pair,
        run_seed=context.run_seed,
    )


def _update(view: RoleView, said: RoleTurn) -> dict[str, Any]:
    """Return what a turn adds to the state."""
    conversation = view.conversation
    spoken = conversation.user(said.text) if view.part == "user" else conversation.assistant(said.text)
    update: dict[str, Any] = {view.side: spoken, "usage": said.usage}
    return update if said.contrast is None else update | {"contrasts": [said.contrast]}
