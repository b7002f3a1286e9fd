"""Two contrasts in one pair, chosen by the conversation: once the user has stated a wish, it is dropped.

    START -> user -> assistant -> choose -> contrast or drop_wish -> user -> ... -> END

`--strategy` mixes contrasts between pairs, and `--schedule` depends on the turn's number. A node can read the messages.

Run it: `python examples/second_contrast_graph.py`. It needs no key and no GPU. On the command line it is
`music simulate sandbox --out runs/a --graph examples/second_contrast_graph.py:two_contrasts`.
"""

import asyncio
import re
from collections import Counter
from typing import Literal

from langgraph.graph import END, START, StateGraph
from langgraph.types import Command

from music.pairs import ContrastivePair
from music.sandbox.model import SandboxModel
from music.sandbox.world.seeds import seed_pairs
from music_agents import (
    AssistantRole,
    DropConstraintContrast,
    InstructionContrast,
    PairContext,
    PairGraph,
    PairState,
    RoleSet,
    UserRole,
    answer_node,
    simulate,
    user_node,
)

WISH = re.compile(r"\b(each time|always|never|leave out|from now on)\b", re.IGNORECASE)


def two_contrasts(roles: RoleSet) -> PairGraph:
    drop_wish = DropConstraintContrast(roles.model("contrast"), roles.sampling_of("contrast"))

    async def choose(state: PairState) -> Command[Literal["contrast", "drop_wish"]]:
        said = " ".join(message.content for message in state["rejected"].messages if message.role == "user")
        return Command(goto="drop_wish" if WISH.search(said) else "contrast")

    graph = StateGraph(PairState, context_schema=PairContext)
    graph.add_node("user", user_node(roles.user, then="assistant"), destinations=("assistant",))
    graph.add_node("assistant", answer_node(roles.assistant, "chosen", then="choose"), destinations=("choose",))
    graph.add_node("choose", choose)
    graph.add_node("contrast", answer_node(roles.contrast, "rejected", then="user"), destinations=("user", END))
    graph.add_node("drop_wish", answer_node(drop_wish, "rejected", then="user"), destinations=("user", END))
    graph.add_edge(START, "user")
    return graph.compile(name="two_contrasts")


async def main() -> None:
    model = SandboxModel()
    user, assistant, contrast = UserRole(model), AssistantRole(model), InstructionContrast(model)
    graph = two_contrasts(RoleSet(user=user, assistant=assistant, contrast=contrast, models={"contrast": model}))
    num_turns = Counter[tuple[int, str]]()
    async for pair in simulate(seed_pairs(50, seed=0), graph, num_turns=4):
        assert isinstance(pair, ContrastivePair), pair
        num_turns.update((contrast.turn + 1, contrast.strategy) for contrast in pair.contrasts)
    for (turn, strategy), num in sorted(num_turns.items()):
        print(f"turn {turn}: {strategy:15} in {num} pairs")


if __name__ == "__main__":
    asyncio.run(main())
