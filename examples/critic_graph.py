"""A critic in the pair graph: it asks for a second draft of each chosen reply and keeps the better one.

    START -> user -> assistant -> critic -> contrast -> user -> ... -> END

Run it: `python examples/critic_graph.py`. It needs no key and no GPU. On the command line it is
`music simulate sandbox --out runs/a --graph examples/critic_graph.py:critic_graph`. The critic's calls are journaled,
counted and resumed like all others. The sandbox's oracle grades the drafts; replace it with a reward model.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Literal

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command

from music.prompts import render_assistant
from music.sandbox import oracle_score
from music.sandbox.model import SandboxModel
from music.sandbox.world.seeds import seed_pairs
from music_agents import (
    PairContext,
    PairGraph,
    PairState,
    RoleSet,
    RoleTurn,
    RoleView,
    SimulationConfig,
    answer_node,
    ask,
    build_pair_graph,
    run_simulation,
    speak,
    user_node,
)
from music_agents.quality import read_saved_pairs
from music_agents.run import GraphFactory


def critic_graph(roles: RoleSet) -> PairGraph:
    async def critic(state: PairState, runtime: Runtime[PairContext]) -> Command[Literal["contrast"]]:
        draft = state["chosen"]
        history = draft.prefix(len(draft.messages) - 1)

        async def revise(view: RoleView) -> RoleTurn:
            prompt = render_assistant(view.conversation)
            answer = await ask(
                roles.model("assistant"), view, prompt, roles.sampling_of("assistant"), str.strip, step="critic"
            )
            drafts = [draft, history.assistant(answer.content)]
            best, _ = max(zip(drafts, oracle_score(drafts), strict=True), key=lambda graded: graded[1])
            return RoleTurn(text=best.messages[-1].content, usage=answer.usage, retries=answer.retries)

        update = await speak(revise, "critic", state | {"chosen": history}, "chosen", runtime.context)
        return Command(update=update, goto="contrast")

    graph = StateGraph(PairState, context_schema=PairContext)
    graph.add_node("user", user_node(roles.user, then="assistant"), destinations=("assistant",))
    graph.add_node("assistant", answer_node(roles.assistant, "chosen", then="critic"), destinations=("critic",))
    graph.add_node("critic", critic)
    graph.add_node("contrast", answer_node(roles.contrast, "rejected", then="user"), destinations=("user", END))
    graph.add_edge(START, "user")
    return graph.compile(name="pair_with_critic")


async def mean_grade(graph: GraphFactory, directory: Path) -> float:
    models = {"user": SandboxModel(), "assistant": SandboxModel("weak"), "contrast": SandboxModel()}
    config = SimulationConfig(num_pairs=40, num_turns=3)
    report = await run_simulation(config, directory, models=models, seeds=seed_pairs(40, seed=0), graph=graph)
    print(f"{directory.name:>8}: {report.num_pairs} pairs, {report.spending.num_calls} calls")
    grades = oracle_score([pair.chosen for pair in read_saved_pairs(directory)])
    return sum(grades) / len(grades)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for name, factory in {"standard": build_pair_graph, "critic": critic_graph}.items():
            grade = asyncio.run(mean_grade(factory, Path(folder, name)))
            print(f"{name:>8}: the oracle gives the chosen sides {grade:.3f} on average")
