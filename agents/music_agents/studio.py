"""The pair graph over the sandbox, with plain JSON at both ends, for LangGraph Studio (see `langgraph.json`)."""

from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from music.conversation import Conversation
from music.sandbox.model import SandboxModel
from music_agents.contrasts import InstructionContrast
from music_agents.graph import PairContext, build_pair_graph, run_pair_graph
from music_agents.roles import AssistantRole, UserRole

__all__ = ["StudioState", "pair_graph"]

NUM_TURNS = 5


class StudioState(TypedDict, total=False):
    """What Studio shows: a seed context goes in (it may be empty), both sides come out."""

    seed_messages: list[dict[str, str]]
    run_seed: int
    chosen: list[dict[str, str]]
    rejected: list[dict[str, str]]
    contrasts: list[dict[str, Any]]


def pair_graph() -> CompiledStateGraph[StudioState, None, StudioState, StudioState]:
    """Return a graph of one node, `pair`, in which the pair graph runs."""
    model = SandboxModel()
    inner = build_pair_graph(UserRole(model), AssistantRole(model), InstructionContrast(model), NUM_TURNS)

    async def pair(state: StudioState) -> StudioState:
        seed = Conversation.from_messages(state.get("seed_messages", []))
        context = PairContext(pair=0, run_seed=state.get("run_seed", 0), num_seed_messages=len(seed.messages))
        result = await run_pair_graph(inner, seed, context, NUM_TURNS)
        return StudioState(
            chosen=result["chosen"].to_messages(),
            rejected=result["rejected"].to_messages(),
            contrasts=[contrast.model_dump() for contrast in result["contrasts"]],
        )

    graph = StateGraph(StudioState)
    graph.add_node("pair", pair)
    graph.add_edge(START, "pair")
    graph.add_edge("pair", END)
    return graph.compile(name="pair_over_sandbox")
