"""`simulate`: contrastive pairs as they finish.

A pair is the unit of work: it comes out whole, or as a `FailedPair` that says why. At most `max_in_flight` pairs are
started and not yet taken by the consumer, so a slow consumer bounds the memory; as the calls of a pair take turns,
that is also the bound on calls in flight.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Container, Sequence
from functools import partial
from itertools import count

from music.errors import MusicError
from music.pairs import ContrastivePair, PreferencePair
from music_agents.failures import FailedPair, FailureReason, RoleStopError
from music_agents.graph import PairContext, PairGraph, build_pair_graph, run_pair_graph
from music_agents.roles import Roles
from music_agents.seeds import SeedContexts

__all__ = ["MAX_FAILURES_IN_A_ROW", "Outcome", "SimulationStalledError", "simulate"]

MAX_FAILURES_IN_A_ROW = 20

Outcome = ContrastivePair | FailedPair


class SimulationStalledError(MusicError):
    """Nothing but failures came for a while, so the simulation gave up.

    Attributes:
        failures: The failures in a row, the last one last.
    """

    def __init__(self, failures: Sequence[FailedPair]) -> None:
        reason, times = Counter(failure.reason for failure in failures).most_common(1)[0]
        detail = next(failure.detail for failure in reversed(failures) if failure.reason is reason)
        super().__init__(
            f"the last {len(failures)} pairs all failed, {times} of them by {reason} ({detail}): "
            "mend the cause and run again"
        )
        self.failures = tuple(failures)


async def simulate(
    seeds: Sequence[PreferencePair],
    roles: Roles,
    *,
    num_pairs: int | None = None,
    num_turns: int = 5,
    seed: int = 0,
    max_in_flight: int = 64,
    skip: Container[int] = (),
) -> AsyncGenerator[Outcome, None]:
    """Simulate contrastive pairs (paper, Algorithm 1).

    Exactly `num_pairs` pairs come out, in the order in which they finish. A failed pair comes out too, as data, and the
    next unused index takes its place; so which pairs come out depends on what each index came to, not on timing.
    Close the iterator early (`contextlib.aclosing`) and what is in flight is cancelled.

    Args:
        seeds: Preference pairs to grow from.
        roles: Who speaks.
        num_pairs: How many pairs are wanted; by default one for each seed.
        num_turns: Simulated turns of each side.
        seed: The run's seed: of seed contexts, requests and draws.
        max_in_flight: Bound on pairs started and not yet taken, and on calls in flight.
        skip: Indices not to simulate, as they came to an end in an earlier session.

    Yields:
        Each pair, or what is left of one that failed.

    Raises:
        SimulationStalledError: The last 20 outcomes were failures.
    """
    simulator = _PairSimulator(SeedContexts(seeds, seed), roles, num_turns, seed)
    wanted = len(seeds) if num_pairs is None else num_pairs
    indices = (index for index in count() if index not in skip)
    running: set[asyncio.Task[Outcome]] = set()
    finished: asyncio.Queue[asyncio.Task[Outcome]] = asyncio.Queue()
    streak: deque[FailedPair] = deque(maxlen=MAX_FAILURES_IN_A_ROW)
    interrupted = False
    try:
        while wanted:
            while not interrupted and len(running) < min(max_in_flight, wanted):
                task = asyncio.create_task(simulator.run(next(indices)))
                task.add_done_callback(finished.put_nowait)
                running.add(task)
            if not running:
                return
            task = await finished.get()
            running.remove(task)
            outcome = task.result()
            if isinstance(outcome, FailedPair):
                interrupted |= outcome.reason is FailureReason.INTERRUPTED
                streak.append(outcome)
            else:
                wanted -= 1
                streak.clear()
            yield outcome
            if len(streak) == MAX_FAILURES_IN_A_ROW and not interrupted:
                raise SimulationStalledError(streak)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


class _PairSimulator:
    """Runs the graph of one pair after another."""

    def __init__(self, contexts: SeedContexts, roles: Roles, num_turns: int, seed: int) -> None:
        self._contexts = contexts
        self._models = dict(roles.models)
        self._graph: PairGraph = build_pair_graph(roles.user, roles.assistant, roles.contrast, num_turns)
        self._num_turns = num_turns
        self._seed = seed

    async def run(self, index: int) -> Outcome:
        """Simulate the pair with this index."""
        start = self._contexts[index]
        num_seed_messages = len(start.conversation.messages)
        context = PairContext(pair=index, run_seed=self._seed, num_seed_messages=num_seed_messages)
        failed = partial(FailedPair, index=index, id=self._id(index), seed_id=start.seed_id)
        try:
            state = await run_pair_graph(self._graph, start.conversation, context, self._num_turns)
        except RoleStopError as error:
            return failed(reason=error.reason, detail=str(error), role=error.role, side=error.side, turn=error.turn)
        if state["chosen"] == state["rejected"]:
            return failed(reason=FailureReason.IDENTICAL_SIDES, detail="no turn of the rejected side differs")
        return ContrastivePair(
            id=self._id(index),
            chosen=state["chosen"],
            rejected=state["rejected"],
            source=start.source,
            seed_id=start.seed_id,
            num_seed_messages=num_seed_messages,
            contrasts=tuple(state["contrasts"]),
            models=self._models,
            usage=state["usage"],
            seed=self._seed,
        )

    def _id(self, index: int) -> str:
        """Return the id of the pair with this index."""
        return f"music-{self._seed}-{index:06d}"
