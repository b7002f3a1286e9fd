from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from music.conversation import Conversation
from music.llm.chat import ChatModel, ChatReply, ChatRequest
from music.pairs import PreferencePair
from music.prompts import PromptKind
from music_agents import RunReport, SimulationConfig, run_simulation
from music_agents.personas import PersonaSource
from music_agents.progress import RunProgress
from music_agents.run import GraphFactory

Answer = Callable[[PromptKind, Conversation, ChatRequest], str | ChatReply]


async def run_into(
    directory: Path,
    seeds: list[PreferencePair],
    model: ChatModel,
    progress: RunProgress | None = None,
    *,
    judge: ChatModel | None = None,
    personas: PersonaSource | None = None,
    graph: GraphFactory | None = None,
    retry_failed: bool = False,
    **settings: Any,
) -> RunReport:
    # The gates are off by default, as the fake users and assistants say what they please.
    plain = {"num_pairs": 8, "num_turns": 2, "shard_size": 3, "gates": False, "strategy": {"instruction": 1.0}}
    config = SimulationConfig(**{**plain, **settings})
    models = {"user": model, "assistant": model, "contrast": model} | ({"judge": judge} if judge else {})
    return await run_simulation(
        config,
        directory,
        models=models,
        seeds=seeds,
        personas=personas,
        graph=graph,
        progress=progress,
        retry_failed=retry_failed,
    )


def read_shards(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.glob("*.parquet"))}


@pytest.fixture
def run() -> Callable[..., Awaitable[RunReport]]:
    """Return what runs a small simulation in which one model plays all roles."""
    return run_into


@pytest.fixture
def shards() -> Callable[[Path], dict[str, bytes]]:
    """Return what reads the shards of a directory, byte by byte."""
    return read_shards


@pytest.fixture
def failing(plain: Answer) -> Callable[[Iterable[int]], Answer]:
    """Return a maker of answers whose contrasts cannot be read in the pairs with some indices."""

    def make(indices: Iterable[int]) -> Answer:
        def answer(part: PromptKind, conversation: Conversation, request: ChatRequest) -> str | ChatReply:
            if int(request.route) in indices and part is PromptKind.INSTRUCTION:
                return "not in the format"
            return plain(part, conversation, request)

        return answer

    return make
