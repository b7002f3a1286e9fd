"""The client's CPU time per call: the product, its parts, and other clients on the same requests.

All contenders alternate in one process with one server (the sandbox's, in its own process, without latency). Figures
are microseconds of client CPU time per call (`time.process_time`: waiting and the server do not count).
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import orjson

from music.llm.chat import ChatModel, ChatReply, ChatRequest
from music.llm.endpoints import load_model
from music.llm.journal import Journal
from music.sandbox.world.seeds import seed_pairs
from music_agents import SimulationConfig, run_simulation
from music_agents.contrasts import InstructionContrast
from music_agents.graph import build_pair_graph
from music_agents.roles import AssistantRole, RoleSet, UserRole
from music_agents.run import Models
from music_agents.simulation import simulate

__all__ = [
    "IN_FLIGHT",
    "NUM_TURNS",
    "SEEDS",
    "MemoryModel",
    "drain",
    "measure_cpu",
    "measure_ratio",
    "remote_model",
    "run_plain_loop",
    "same_model",
]

IN_FLIGHT = 64
NUM_TURNS = 5
OPENAI_SHARE = 5
"""AsyncOpenAI is so slow that a fifth of the requests is enough."""
SEEDS = seed_pairs(200, 0)


class MemoryModel:
    """Repeats earlier answers of another model, or asks it and stores its answer."""

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
        """Do nothing: there is nothing to release."""


async def measure_cpu(base_url: str, num_pairs: int, num_rounds: int) -> dict[str, list[float]]:
    """Return the CPU microseconds per call of each path, by round."""
    costs: dict[str, list[float]] = {}
    async with remote_model(base_url) as model:
        memory = MemoryModel(model)
        await drain(memory, num_pairs)
        requests, few = memory.requests, memory.requests[:: OPENAI_SHARE * num_rounds]
        paths: dict[str, tuple[int, Callable[[], Awaitable[None]]]] = {
            "product": (len(requests), lambda: run_product(model, num_pairs)),
            "plain loop": (len(requests), lambda: run_plain_loop(base_url, requests)),
            "AsyncOpenAI + gather": (len(few), lambda: run_openai(base_url, few)),
            "client alone": (len(requests), lambda: run_client(model, requests)),
            "graph and roles": (len(requests), lambda: drain(memory, num_pairs)),
            "journal": (len(requests), lambda: run_journal(memory.replies, IN_FLIGHT)),
            "journal, 1000 callers": (len(requests), lambda: run_journal(memory.replies, 1000)),
        }
        for number in range(num_rounds + 1):
            for name, (num_calls, path) in paths.items():
                started = time.process_time()
                await path()
                if number:  # the first round warms up
                    costs.setdefault(name, []).append((time.process_time() - started) / num_calls * 1e6)
    return costs


async def measure_ratio(base_url: str, in_flight: int, num_rounds: int) -> tuple[float, float]:
    """Return the median CPU microseconds per call of the product and of a plain loop."""
    products, plains = [], []
    async with remote_model(base_url) as model:
        memory = MemoryModel(model)
        await drain(memory, 200)
        num_pairs = max(200, in_flight)
        requests = memory.requests * (num_pairs // 200)
        for _ in range(num_rounds):
            started = time.process_time()
            await run_product(model, num_pairs, in_flight)
            ended = time.process_time()
            products.append((ended - started) / (num_pairs * (NUM_TURNS * 4 - 1)) * 1e6)
            await run_plain_loop(base_url, requests, in_flight)
            plains.append((time.process_time() - ended) / len(requests) * 1e6)
    return statistics.median(products), statistics.median(plains)


async def run_product(model: ChatModel, num_pairs: int, in_flight: int = IN_FLIGHT) -> None:
    """Simulate as `music simulate` does."""
    config = SimulationConfig(num_pairs=num_pairs, num_turns=NUM_TURNS, max_in_flight=in_flight)
    with tempfile.TemporaryDirectory() as directory:
        await run_simulation(config, Path(directory), models=same_model(model), seeds=SEEDS)


async def run_plain_loop(base_url: str, requests: list[ChatRequest], in_flight: int = IN_FLIGHT) -> None:
    """Send the same requests by hand."""
    url = f"{base_url}/chat/completions"

    async def work(session: aiohttp.ClientSession, waiting: Iterator[ChatRequest]) -> None:
        for request in waiting:
            messages = [{"role": message.role, "content": message.content} for message in request.messages]
            body = orjson.dumps({"model": "sandbox", "messages": messages, "seed": request.seed})
            async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as response:
                assert orjson.loads(await response.read())["choices"][0]["message"]["content"]

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        waiting = iter(requests)
        await asyncio.gather(*(work(session, waiting) for _ in range(in_flight)))


async def run_openai(base_url: str, requests: list[ChatRequest]) -> None:
    """Send the same requests with OpenAI's client."""
    from openai import AsyncOpenAI

    async def work(client: AsyncOpenAI, waiting: Iterator[ChatRequest]) -> None:
        for request in waiting:
            messages = [{"role": message.role, "content": message.content} for message in request.messages]
            reply = await client.chat.completions.create(
                model="sandbox",
                messages=messages,  # type: ignore[arg-type]  # plain dicts are what everyone sends
                seed=request.seed,
            )
            assert reply.choices[0].message.content

    async with AsyncOpenAI(base_url=base_url, api_key="none") as client:
        waiting = iter(requests)
        await asyncio.gather(*(work(client, waiting) for _ in range(IN_FLIGHT)))


async def run_client(model: ChatModel, requests: list[ChatRequest]) -> None:
    """Send the same requests with this package's client alone."""

    async def work(waiting: Iterator[ChatRequest]) -> None:
        for request in waiting:
            await model.complete(request)

    waiting = iter(requests)
    await asyncio.gather(*(work(waiting) for _ in range(IN_FLIGHT)))


async def run_journal(replies: dict[str, ChatReply], num_callers: int) -> None:
    """Journal the same replies, with several callers waiting at a time."""

    async def work(journal: Journal, waiting: Iterator[tuple[str, ChatReply]]) -> None:
        for key, reply in waiting:
            await journal.put(key, reply, "user")

    with tempfile.TemporaryDirectory() as directory:
        async with Journal.open(Path(directory) / "journal.sqlite", {}) as journal:
            waiting = iter(replies.items())
            await asyncio.gather(*(work(journal, waiting) for _ in range(num_callers)))


async def drain(model: ChatModel, num_pairs: int) -> None:
    """Simulate in memory."""
    roles = RoleSet(user=UserRole(model), assistant=AssistantRole(model), contrast=InstructionContrast(model))
    graph = build_pair_graph(roles)
    async for _ in simulate(SEEDS, graph, num_pairs=num_pairs, num_turns=NUM_TURNS, max_in_flight=IN_FLIGHT):
        pass


def same_model(model: ChatModel) -> Models:
    """Return one model in every role."""
    return {"user": model, "assistant": model, "contrast": model}


@asynccontextmanager
async def remote_model(base_url: str) -> AsyncIterator[ChatModel]:
    """Open the client of a server."""
    model = load_model(f"sandbox@{base_url}")
    try:
        yield model
    finally:
        await model.aclose()
