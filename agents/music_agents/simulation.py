"""`simulate`: contrastive pairs as they finish.

A pair is the unit of work: it ends as a whole pair, or as a `FailedPair` that gives the reason. At most
`max_in_flight` pairs are started and not yet taken by the consumer, so a slow consumer does not fill the memory. A pair
makes one call at a time, so the same number bounds the calls in flight.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from itertools import count
from typing import Protocol

from music.pairs import PreferencePair
from music_agents.failures import FailedPair, FailureReason
from music_agents.graph import PairGraph
from music_agents.pair_simulator import Outcome, PairSimulator
from music_agents.personas import PersonaSource
from music_agents.quality import PairGate
from music_agents.seeds import Seed, SeedContexts
from music_agents.stall_detection import FailureStreak

__all__ = ["PairIndices", "PairMaker", "run_pairs", "simulate"]

MAX_AHEAD = 8
"""How far the index of a pair may be ahead of the lowest unfinished one, in multiples of `max_in_flight`."""
STARTS_AT_ONCE = 16
"""Pairs started in one round of the event loop, so that nothing else waits long."""


class PairMaker(Protocol):
    """What makes the pair of any index; `PairSimulator` is one."""

    async def run(self, index: int) -> Outcome:
        """Make the pair with this index, or return why it failed."""
        ...


class PairIndices:
    """The indices that still need an outcome, lowest first.

    Args:
        candidates: Indices in rising order.
        num_wanted: How many good pairs are wanted; a failed pair is replaced by the next candidate. None takes each
            candidate once.
    """

    def __init__(self, candidates: Iterable[int], num_wanted: int | None) -> None:
        self._candidates = iter(candidates)
        self._num_left = num_wanted

    def take(self) -> int | None:
        """Return the next index, or None if no more are needed now."""
        if self._num_left == 0:
            return None
        if self._num_left is not None:
            self._num_left -= 1
        return next(self._candidates, None)

    def replace_one(self) -> None:
        """Allow one more index, in place of one that failed."""
        if self._num_left is not None:
            self._num_left += 1


async def simulate(
    seeds: Sequence[Seed | PreferencePair],
    graph: PairGraph,
    *,
    num_pairs: int | None = None,
    num_turns: int = 5,
    seed: int = 0,
    max_in_flight: int = 64,
    personas: PersonaSource | None = None,
    gates: Sequence[PairGate] = (),
) -> AsyncGenerator[Outcome, None]:
    """Simulate contrastive pairs (paper, Algorithm 1).

    Yields exactly `num_pairs` good pairs, in the order in which they finish. It also yields failed pairs, as data; the
    next unused index replaces each of them. The set of pairs depends on the outcome of each index, not on timing.
    Close the iterator early (`contextlib.aclosing`) to cancel the pairs in flight.

    Args:
        seeds: Preference pairs, prompts and conversations to grow from.
        graph: Grows a pair: `build_pair_graph(roles)`, or a graph of your own.
        num_pairs: How many pairs are wanted; by default one for each seed.
        num_turns: Simulated turns of each side.
        seed: The run's seed: of seed contexts, requests and draws.
        max_in_flight: Bound on pairs started and not yet taken, and on calls in flight.
        personas: Who the users are; None for anyone.
        gates: What a pair must pass.

    Yields:
        Each pair, or the record of one that failed.

    Raises:
        SimulationStalledError: Nearly all recent pairs failed (`music_agents.stall_detection`).

    Example:
        >>> async for pair in simulate(seed_pairs(10, seed=0), build_pair_graph(roles), num_turns=3):
        ...     print(pair.id, "failed" if isinstance(pair, FailedPair) else pair.chosen.messages[-1].content)
    """
    simulator = PairSimulator(
        graph=graph,
        contexts=SeedContexts(seeds, seed),
        num_turns=num_turns,
        run_seed=seed,
        personas=personas,
        gates=gates,
    )
    indices = PairIndices(count(), len(seeds) if num_pairs is None else num_pairs)
    async for outcome in run_pairs(simulator, indices, max_in_flight):
        yield outcome


async def run_pairs(
    maker: PairMaker, indices: PairIndices, max_in_flight: int, streak: FailureStreak | None = None
) -> AsyncGenerator[Outcome, None]:
    """Make the pairs of all indices, as `simulate` does.

    Args:
        maker: Makes the pair of an index.
        indices: Which pairs are wanted.
        max_in_flight: Bound on pairs started and not yet taken.
        streak: The failures in a row, with the counts of earlier sessions; by default a new one.
    """
    pool, streak = _PairPool(maker, indices, max_in_flight), streak or FailureStreak()
    try:
        while (outcome := await pool.next_outcome()) is not None:
            streak.add(outcome)
            yield outcome
            if not pool.interrupted:
                streak.check()
    finally:
        await pool.cancel()


class _PairPool:
    """The pairs in flight."""

    def __init__(self, maker: PairMaker, indices: PairIndices, max_in_flight: int) -> None:
        self._maker = maker
        self._indices = indices
        self._max_in_flight = max_in_flight
        self._running: dict[asyncio.Task[Outcome], int] = {}
        self._finished: asyncio.Queue[asyncio.Task[Outcome]] = asyncio.Queue()
        self._next: int | None = None
        self._lowest = 0
        self.interrupted = False

    async def next_outcome(self) -> Outcome | None:
        """Start as many pairs as allowed, and wait for one to end; return None if none is left."""
        await self._start()
        if not self._running:
            return None
        task = await self._finished.get()
        del self._running[task]
        outcome = task.result()
        if isinstance(outcome, FailedPair):
            self.interrupted |= outcome.reason is FailureReason.INTERRUPTED
            self._indices.replace_one()
        return outcome

    async def cancel(self) -> None:
        """Cancel the pairs in flight."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _start(self) -> None:
        """Start pairs, some at a time."""
        num_started = 0
        while not self.interrupted and len(self._running) < self._max_in_flight and self._finished.empty():
            if self._next is None:
                self._next = self._indices.take()
            if self._next is None or self._is_far_ahead(self._next):
                return
            task = asyncio.create_task(self._maker.run(self._next))
            task.add_done_callback(self._finished.put_nowait)
            self._running[task], self._next = self._next, None
            num_started += 1
            if num_started % STARTS_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _is_far_ahead(self, index: int) -> bool:
        """Whether an index must wait for lower ones: pairs that wait for their place in the output use memory."""
        bound = MAX_AHEAD * self._max_in_flight
        if index - self._lowest > bound and self._running:
            self._lowest = min(self._running.values())
        return bool(self._running) and index - self._lowest > bound
