"""One pair, from its index to its outcome: seed context, persona, graph, gates."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from music.llm.chat import EndpointError
from music.pairs import ContrastivePair
from music_agents.failures import FailedPair, FailureReason, RoleFailedError, RoleStopError, failure_of, shown
from music_agents.graph import PairContext, PairGraph, PairState, check_graph, run_pair_graph
from music_agents.personas import Persona, PersonaSource
from music_agents.quality import GateView, PairGate
from music_agents.roles import MAX_ATTEMPTS
from music_agents.seeds import SeedContext, SeedContexts

__all__ = ["Outcome", "PairSimulator", "pair_id", "pass_gates"]

Outcome: TypeAlias = ContrastivePair | FailedPair


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSimulator:
    """Simulates the pair of any index; its outcome depends on the replies alone.

    Attributes:
        graph: The pair graph.
        contexts: The seed contexts, by index.
        num_turns: Simulated turns of each side.
        run_seed: The run's seed.
        personas: Personas of the users; None for no personas.
        gates: Checks of a finished pair; the first that fails drops it.
        models: Endpoint of each role by role name, for the output.
        num_attempts: Requests that a role may make for one turn, by the pair's index.
    """

    graph: PairGraph
    contexts: SeedContexts
    num_turns: int
    run_seed: int
    personas: PersonaSource | None = None
    gates: Sequence[PairGate] = ()
    models: Mapping[str, str] = field(default_factory=dict)
    num_attempts: Callable[[int], int] = lambda _: MAX_ATTEMPTS

    def __post_init__(self) -> None:
        """Check the graph before the first call."""
        check_graph(self.graph)

    async def run(self, index: int) -> Outcome:
        """Simulate the pair with this index."""
        start = self.contexts[index]
        failed = partial(FailedPair, index=index, id=pair_id(self.run_seed, index), seed_id=start.seed.id)
        persona = self.personas(index, start.seed, self.run_seed) if self.personas else None
        context = PairContext(
            pair=index,
            run_seed=self.run_seed,
            num_seed_messages=len(start.conversation.messages),
            num_turns=self.num_turns,
            persona=persona,
            num_attempts=self.num_attempts(index),
            opening=start.opening,
        )
        try:
            state = await run_pair_graph(self.graph, start.conversation, context)
        except RoleStopError as error:
            return failed(**failure_of(error), role=error.role, side=error.side, turn=error.turn)
        except (RoleFailedError, EndpointError) as error:  # from a node that asks a model by itself
            return failed(**failure_of(error))
        if state["chosen"] == state["rejected"]:
            return failed(reason=FailureReason.IDENTICAL_SIDES, detail="no turn of the rejected side differs")
        view = GateView(pair=index, run_seed=self.run_seed)
        return await pass_gates(self._pair(index, start, state, persona), self.gates, view, failed)

    def _pair(self, index: int, start: SeedContext, state: PairState, persona: Persona | None) -> ContrastivePair:
        """Return the final state of a graph as a pair."""
        return ContrastivePair(
            id=pair_id(self.run_seed, index),
            chosen=state["chosen"],
            rejected=state["rejected"],
            source=start.seed.source,
            seed_id=start.seed.id,
            num_seed_messages=len(start.conversation.messages),
            contrasts=tuple(state["contrasts"]),
            models=dict(self.models),
            usage=state["usage"],
            seed=self.run_seed,
            persona=persona.model_dump_json(exclude_defaults=True) if persona else "",
            retries=tuple(state["retries"]),
        )


async def pass_gates(
    pair: ContrastivePair, gates: Sequence[PairGate], view: GateView, failed: "partial[FailedPair]"
) -> Outcome:
    """Check a pair with gates in order; `failed` builds the record of a pair that a gate drops."""
    usage, judgement = pair.usage, ""
    for gate in gates:
        try:
            verdict = await gate(pair, view)
        except (RoleFailedError, EndpointError) as error:
            return failed(**failure_of(error), role="judge")
        usage += verdict.usage
        judgement = verdict.judgement or judgement
        if verdict.reason is not None:
            found: dict[str, Any] = {"usage": usage, "retries": pair.retries, "judgement": judgement}
            if verdict.turn is not None:
                messages = (pair.chosen if verdict.side == "chosen" else pair.rejected).messages
                reply = messages[pair.num_seed_messages + 2 * verdict.turn + 1]
                found |= {"side": verdict.side, "turn": verdict.turn, "text": shown(reply.content)}
            return failed(reason=verdict.reason, detail=verdict.detail, **found)
    return pair.model_copy(update={"usage": usage, "judgement": judgement})


def pair_id(run_seed: int, index: int) -> str:
    """Return the id of the pair with this index."""
    return f"music-{run_seed}-{index:06d}"
