"""Simulate contrastive pairs as a library, with a persona and a role of your own.

Run it: `python examples/simulate_pairs.py`. It needs no key and no GPU: the sandbox plays every role. To use
a model of your own, replace the sandbox with `load_model("MODEL@http://host:port/v1")` from `music.llm`.
"""

import asyncio

from music.pairs import ContrastivePair, Usage
from music.sandbox.model import SandboxModel
from music.sandbox.world.seeds import seed_pairs
from music_agents import (
    AssistantRole,
    InstructionContrast,
    Persona,
    RoleSet,
    RoleTurn,
    RoleView,
    UserRole,
    build_pair_graph,
    simulate,
)
from music_agents.personas.sources import ListedPersonas


async def main() -> None:
    model = SandboxModel()
    user = UserRole(model)

    async def user_who_leaves(view: RoleView) -> RoleTurn:
        """Say goodbye in the last turn; leave the others to the simulator."""
        if view.turn == view.num_turns - 1:
            return RoleTurn(text="Thanks, that is all. Sum it up in one line, please.", usage=Usage())
        return await user(view)

    roles = RoleSet(user=user_who_leaves, assistant=AssistantRole(model), contrast=InstructionContrast(model))
    graph = build_pair_graph(roles)
    personas = ListedPersonas((Persona.of("A beginner who asks short questions."),))
    async for outcome in simulate(seed_pairs(20, seed=0), graph, num_pairs=3, num_turns=3, personas=personas):
        if isinstance(outcome, ContrastivePair):
            show(outcome)
        else:
            print(f"{outcome.id} failed: {outcome.reason} ({outcome.detail})")


def show(pair: ContrastivePair) -> None:
    print(f"== {pair.id} ({pair.usage.num_calls} calls)")
    for side in ("chosen", "rejected"):
        last_request, last_reply = getattr(pair, side).messages[-4:-2]
        print(f"{side:>8} | {last_request.content} -> {last_reply.content}")


if __name__ == "__main__":
    asyncio.run(main())
