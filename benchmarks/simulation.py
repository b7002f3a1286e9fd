"""What simulation costs its client: `python -m benchmarks.simulation --quick`.

In one run and against one server (the sandbox's, in a process of its own, without latency) it times by turns
- the product: `run_simulation`, that is graph, roles, journal and client;
- a plain asyncio + aiohttp loop that sends the very same requests with the same number in flight;
- the graph and roles alone, over a model that answers from memory;
- the journal alone.

Reported are client CPU microseconds per call (`time.process_time`, so waiting and the server do not count), medians
over the rounds, and kilobytes of resident memory per pair in flight, each parked in a call in its third turn (read
from /proc, so Linux only).
"""

import argparse
import asyncio
import gc
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import aiohttp
import orjson

from music.cli import run_async
from music.llm.chat import ChatModel, ChatReply, ChatRequest, ReplyOutcome
from music.llm.endpoints import open_model
from music.llm.journal import Journal
from music.prompts import render_contrast_reply
from music.sandbox.seeds import seed_pairs
from music.sandbox.server import ServerConfig, sandbox_server
from music_agents.contrasts import make_contrast
from music_agents.roles import AssistantRole, Roles, UserRole
from music_agents.run import RoleModels, SimulationConfig, run_simulation
from music_agents.simulation import simulate

IN_FLIGHT = 64
NUM_TURNS = 5
PARKED_TURN = 2
FILLER = "Some twenty words of a reply, as a small model writes them when it is asked for one or two tips."
TARGET_CPU_US = 700
TARGET_KB = 100
SEEDS = seed_pairs(200, 0)


class MemoryModel:
    """Answers from what another model answered before, or passes on and remembers."""

    name = "memory"

    def __init__(self, inner: ChatModel) -> None:
        self._inner = inner
        self.replies: dict[str, ChatReply] = {}
        self.requests: list[ChatRequest] = []

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request."""
        reply = self.replies.get(request.key)
        if reply is None:
            reply = self.replies[request.key] = await self._inner.complete(request)
            self.requests.append(request)
        return reply

    async def aclose(self) -> None:
        """Nothing to release."""


class ParkingModel:
    """Answers in this process up to a turn; the calls of that turn go to a server that takes its time."""

    name = "parking"

    def __init__(self, remote: ChatModel, num_pairs: int) -> None:
        self._remote = remote
        self._num_awaited = num_pairs
        self.parked = asyncio.Event()

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request."""
        if int(request.key.split("/")[2]) < PARKED_TURN:
            text = f"{request.key}: {FILLER}"
            if "/rejected/" in request.key and "/assistant/" in request.key:
                text = render_contrast_reply("A modified request.", text)
            return ChatReply(text=text, outcome=ReplyOutcome.COMPLETE, model=self.name)
        self._num_awaited -= 1
        if not self._num_awaited:
            self.parked.set()
        return await self._remote.complete(request)

    async def aclose(self) -> None:
        """Nothing to release."""


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="about half a minute instead of several")
    quick = parser.parse_args().quick
    with sandbox_server(ServerConfig(latency="600000")) as base_url:
        kilobytes = run_async(measure_memory(base_url, num_pairs=400 if quick else 2000))
    with sandbox_server() as base_url:
        costs = run_async(measure_cpu(base_url, num_pairs=40 if quick else 200, num_rounds=3 if quick else 7))
    print(render(costs, kilobytes))


async def measure_cpu(base_url: str, num_pairs: int, num_rounds: int) -> dict[str, list[float]]:
    """Return the CPU microseconds per call of each path, by round."""
    costs: dict[str, list[float]] = {}
    async with remote_model(base_url) as model:
        memory = MemoryModel(model)
        await drain(memory, num_pairs)
        num_calls = len(memory.requests)
        paths: dict[str, Callable[[], Awaitable[None]]] = {
            "product": lambda: run_product(model, num_pairs),
            "plain loop": lambda: run_plain_loop(base_url, memory.requests),
            "graph and roles": lambda: drain(memory, num_pairs),
            "journal": lambda: run_journal(memory.replies),
        }
        for number in range(num_rounds + 1):
            for name, path in paths.items():
                started = time.process_time()
                await path()
                if number:  # the first round warms up
                    costs.setdefault(name, []).append((time.process_time() - started) / num_calls * 1e6)
    return costs


async def measure_memory(base_url: str, num_pairs: int) -> float:
    """Return the kilobytes that one more parked pair takes."""
    async with remote_model(base_url) as remote:
        sizes: list[int] = []
        for num in (50, num_pairs):
            model = ParkingModel(remote, num)
            with tempfile.TemporaryDirectory() as directory:
                config = SimulationConfig(num_pairs=num, num_turns=NUM_TURNS, max_in_flight=num)
                run = asyncio.create_task(run_simulation(Path(directory), SEEDS, same_model(model), config))
                await model.parked.wait()
                await asyncio.sleep(1)  # until all connections stand
                gc.collect()
                sizes.append(resident_bytes())
                run.cancel()
                await asyncio.wait([run])
        return (sizes[1] - sizes[0]) / (num_pairs - 50) / 1024


async def run_product(model: ChatModel, num_pairs: int) -> None:
    """Simulate as `music simulate` does."""
    config = SimulationConfig(num_pairs=num_pairs, num_turns=NUM_TURNS, max_in_flight=IN_FLIGHT)
    with tempfile.TemporaryDirectory() as directory:
        await run_simulation(Path(directory), SEEDS, same_model(model), config)


async def run_plain_loop(base_url: str, requests: list[ChatRequest]) -> None:
    """Send the same requests by hand."""
    url = f"{base_url}/chat/completions"
    waiting = iter(requests)

    async def work(session: aiohttp.ClientSession, waiting: Iterator[ChatRequest]) -> None:
        for request in waiting:
            messages = [{"role": message.role, "content": message.content} for message in request.messages]
            body = orjson.dumps({"model": "sandbox", "messages": messages, "seed": request.seed})
            async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as response:
                assert orjson.loads(await response.read())["choices"][0]["message"]["content"]

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(work(session, waiting) for _ in range(IN_FLIGHT)))


async def run_journal(replies: dict[str, ChatReply]) -> None:
    """Journal the same replies with the same number in flight."""
    waiting = iter(replies.items())

    async def work(journal: Journal, waiting: Iterator[tuple[str, ChatReply]]) -> None:
        for key, reply in waiting:
            await journal.put(key, reply)

    with tempfile.TemporaryDirectory() as directory:
        async with Journal.open(Path(directory) / "journal.sqlite", {}) as journal:
            await asyncio.gather(*(work(journal, waiting) for _ in range(IN_FLIGHT)))


async def drain(model: ChatModel, num_pairs: int) -> None:
    """Simulate in memory."""
    roles = Roles(
        user=UserRole(model), assistant=AssistantRole(model), contrast=make_contrast({"instruction": 1}, model)
    )
    async for _ in simulate(SEEDS, roles, num_pairs=num_pairs, num_turns=NUM_TURNS, max_in_flight=IN_FLIGHT):
        pass


def resident_bytes() -> int:
    """Return this process's resident memory."""
    num_pages = int(Path("/proc/self/statm").read_text().split()[1])
    return num_pages * resource.getpagesize()


def same_model(model: ChatModel) -> RoleModels:
    """Let one model play every role."""
    return RoleModels(user=model, assistant=model, contrast=model)


@asynccontextmanager
async def remote_model(base_url: str) -> AsyncIterator[ChatModel]:
    """Open the client of a server."""
    model = open_model(f"sandbox@{base_url}")
    try:
        yield model
    finally:
        await model.aclose()


def render(costs: dict[str, list[float]], kilobytes: float) -> str:
    """Return the results as Markdown."""
    plain = statistics.median(costs["plain loop"])
    packages = ("aiohttp", "langgraph", "orjson", "pydantic", "uvloop")
    lines = [
        f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in packages),
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}; {IN_FLIGHT} pairs in flight, "
        f"{NUM_TURNS} turns",
        "",
        "| client CPU per call | median us | rounds | x plain loop |",
        "|---|---|---|---|",
    ]
    for name, values in costs.items():
        median = statistics.median(values)
        lines.append(f"| {name} | {median:.0f} | {min(values):.0f}-{max(values):.0f} | {median / plain:.2f} |")
    verdicts = {
        f"{statistics.median(costs['product']):.0f} us per call, all in (target {TARGET_CPU_US})",
        f"{kilobytes:.0f} KB per pair in flight (target {TARGET_KB})",
    }
    return "\n".join([*lines, "", *sorted(verdicts, reverse=True)])


if __name__ == "__main__":
    main()
