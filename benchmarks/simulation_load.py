"""Many pairs in flight: throughput relative to the ideal, event-loop lag, and memory.

The ideal is pairs in flight divided by the server's latency, as each pair has one call in flight. The server has its
own process; client and server share this machine's cores. Memory is read from /proc, so it needs Linux.
"""

import asyncio
import gc
import resource
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks.simulation_cpu import NUM_TURNS, SEEDS, MemoryModel, drain, remote_model, run_plain_loop, same_model
from music.cli import run_async
from music.llm.chat import ChatModel, ChatReply, ChatRequest, ReplyOutcome
from music.prompts import render_contrast_reply
from music_agents import SimulationConfig, run_simulation
from music_agents.progress import RunProgress

__all__ = ["Load", "measure_load", "measure_memory"]

PARKED_TURN = 2
FILLER = "Some twenty words of a reply, as a small model writes them when it is asked for one or two tips."
TICK = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The figures of one number of pairs in flight.

    Attributes:
        in_flight: Pairs in flight.
        latency: The server's latency in seconds.
        calls_per_second: Rate between the first and the last tenth of the calls.
        cpu_share: Client CPU seconds per second.
        lag_p99: 99th percentile of the event loop's delay in seconds, in the same span.
        plain_calls_per_second: Rate of a whole plain loop with as many calls in flight.
    """

    in_flight: int
    latency: float
    calls_per_second: float
    cpu_share: float
    lag_p99: float
    plain_calls_per_second: float

    @property
    def share_of_ideal(self) -> float:
        """Throughput divided by pairs in flight over latency."""
        return self.calls_per_second * self.latency / self.in_flight


class ParkingModel:
    """Answers in this process up to one turn; the calls of that turn go to a slow server, or wait here."""

    name = "parking"

    def __init__(self, remote: ChatModel | None, num_pairs: int) -> None:
        self._remote = remote
        self._num_awaited = num_pairs
        self.parked = asyncio.Event()

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request."""
        if int(request.key.split("/")[2]) < PARKED_TURN:
            text = f"{request.key}: {FILLER}"
            if "/rejected/" in request.key and "/assistant/" in request.key:
                text = render_contrast_reply("Give one short tip instead of three long ones.", text)
            return ChatReply(text=text, outcome=ReplyOutcome.COMPLETE, model=self.name)
        self._num_awaited -= 1
        if not self._num_awaited:
            self.parked.set()
        if self._remote is None:
            await asyncio.Event().wait()
        assert self._remote is not None
        return await self._remote.complete(request)

    async def aclose(self) -> None:
        """Do nothing: there is nothing to release."""


async def measure_load(base_url: str, in_flight: int, latency: float) -> Load:
    """Run pairs that are all in flight at once, and a plain loop with as many calls."""
    async with remote_model(base_url) as model:
        progress = RunProgress()
        config = SimulationConfig(num_pairs=in_flight, num_turns=NUM_TURNS, max_in_flight=in_flight)
        with tempfile.TemporaryDirectory() as directory:
            run = asyncio.create_task(
                run_simulation(config, Path(directory), models=same_model(model), seeds=SEEDS, progress=progress)
            )
            ticks = await watch(run, progress, in_flight * (NUM_TURNS * 4 - 1))
            await run
        memory = MemoryModel(model)
        await drain(memory, 100)
    requests = memory.requests * max(1, 3 * in_flight // len(memory.requests))
    started = time.monotonic()
    await run_plain_loop(base_url, requests, in_flight)
    plain = len(requests) / (time.monotonic() - started)
    (first, first_calls, first_cpu), (last, last_calls, last_cpu) = ticks[0], ticks[-1]
    lags = sorted(later - earlier - TICK for (earlier, *_), (later, *_) in pairwise(ticks))
    return Load(
        in_flight=in_flight,
        latency=latency,
        calls_per_second=(last_calls - first_calls) / (last - first),
        cpu_share=(last_cpu - first_cpu) / (last - first),
        lag_p99=lags[int(0.99 * len(lags))],
        plain_calls_per_second=plain,
    )


async def watch(run: "asyncio.Task[object]", progress: RunProgress, num_calls: int) -> list[tuple[float, int, float]]:
    """Record time, calls and CPU seconds at every tick between the first and the last tenth of the calls."""
    ticks = []
    while not run.done() and progress.num_calls < 0.9 * num_calls:
        if progress.num_calls >= 0.1 * num_calls:
            ticks.append((time.monotonic(), progress.num_calls, time.process_time()))
        await asyncio.sleep(TICK)
    return ticks


def measure_memory(base_url: str | None, num_pairs: int) -> float:
    """Return the kilobytes of one more pair that waits in a call of its third turn, over HTTP if there is a URL.

    Call it in a new process.
    """
    return run_async(park(base_url, num_pairs))


async def park(base_url: str | None, num_pairs: int) -> float:
    """Let few pairs wait, then many, and return the difference per pair in kilobytes."""
    async with remote_model(base_url or "http://127.0.0.1/v1") as remote:
        sizes: list[int] = []
        for num in (50, num_pairs):
            model = ParkingModel(remote if base_url else None, num)
            with tempfile.TemporaryDirectory() as directory:
                config = SimulationConfig(num_pairs=num, num_turns=NUM_TURNS, max_in_flight=num, gates=False)
                run = asyncio.create_task(
                    run_simulation(config, Path(directory), models=same_model(model), seeds=SEEDS)
                )
                parked = asyncio.create_task(model.parked.wait())
                await asyncio.wait([run, parked], return_when=asyncio.FIRST_COMPLETED)
                if run.done():
                    run.result()
                await asyncio.sleep(1)  # until all connections are open
                gc.collect()
                sizes.append(resident_bytes())
                run.cancel()
                await asyncio.wait([run])
        return (sizes[1] - sizes[0]) / (num_pairs - 50) / 1024


def resident_bytes() -> int:
    """Return this process's resident memory."""
    num_pages = int(Path("/proc/self/statm").read_text().split()[1])
    return num_pages * resource.getpagesize()
