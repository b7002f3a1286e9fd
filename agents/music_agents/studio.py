"""Pair graphs over the sandbox, with plain JSON at both ends, for LangGraph Studio (see `langgraph.json`)."""

from typing import Any

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from pydantic import BaseModel, Field, PositiveInt

from music.conversation import Conversation
from music.llm import load_model
from music.registry import SANDBOX
from music_agents.config import SimulationConfig
from music_agents.graph import PairContext, build_pair_graph, run_pair_graph
from music_agents.run.roles import GraphFactory, make_roles

__all__ = ["StudioPair", "StudioSeed", "for_studio", "pair_graph"]


class StudioSeed(BaseModel):
    """The input of a Studio graph."""

    seed_messages: list[dict[str, str]] = []
    """The seed context, as `{role, content}`; it may be empty."""
    run_seed: int = 0
    """The run's seed."""
    num_turns: PositiveInt = Field(default=5, le=20)
    """Simulated turns of each side."""


class StudioPair(BaseModel):
    """The output of a Studio graph."""

    chosen: list[dict[str, str]] = []
    rejected: list[dict[str, str]] = []
    contrasts: list[dict[str, Any]] = []


StudioGraph = CompiledStateGraph[StudioPair, None, StudioSeed, StudioPair]


def pair_graph() -> StudioGraph:
    """Return the standard pair graph for Studio."""
    return for_studio(build_pair_graph)


def for_studio(factory: GraphFactory) -> StudioGraph:
    """Return a graph of one node, `pair`, in which a pair graph runs; Studio shows its nodes too.

    Args:
        factory: Builds the pair graph, as `--graph` takes it.
    """
    model = load_model(SANDBOX)
    inner = factory(make_roles({"user": model, "assistant": model, "contrast": model}, SimulationConfig()))

    async def pair(state: StudioSeed) -> StudioPair:
        seed = Conversation.from_messages(state.seed_messages)
        context = PairContext(
            pair=0, run_seed=state.run_seed, num_seed_messages=len(seed.messages), num_turns=state.num_turns
        )
        end = await run_pair_graph(inner, seed, context)
        return StudioPair(
            chosen=end["chosen"].to_messages(),
            rejected=end["rejected"].to_messages(),
            contrasts=[contrast.model_dump() for contrast in end["contrasts"]],
        )

    graph = StateGraph(StudioPair, input_schema=StudioSeed, output_schema=StudioPair)
    graph.add_node("pair", pair, input_schema=StudioSeed)
    graph.add_edge(START, "pair")
    graph.add_edge("pair", END)
    return graph.compile(name=f"{inner.name}_over_sandbox")
