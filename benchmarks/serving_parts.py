"""Parts of the serving benchmark: a model to serve, conversations, clients, and a serial server to compare with."""

import argparse
import asyncio
import multiprocessing
import os
import random
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp
import torch
from aiohttp import web
from transformers import LlamaConfig, LlamaForSequenceClassification

from music.conversation import Conversation
from music.reward import RewardModel
from music.sandbox.artifacts import REWARD_MODEL

__all__ = ["Load", "draw_conversation", "draw_text", "make_model", "parser", "run_clients", "serial_server"]

WORDS = ("apple", "pear", "plan", "walk", "city", "cold", "warm", "short", "sentence", "answer", "one", "two", "three")


def make_model(folder: Path, hidden_size: int, num_layers: int) -> RewardModel:
    """Save a random reward model with the sandbox's tokenizer, and return it on one thread of the CPU."""
    torch.manual_seed(0)
    tokens = RewardModel.from_pretrained(REWARD_MODEL, device="cpu").tokens
    tokens = tokens.with_contract(max_length=4096, reference=None)
    shape: dict[str, Any] = {"num_labels": 1, "pad_token_id": tokens.contract.pad_token_id}
    config = LlamaConfig(
        vocab_size=len(tokens.tokenizer),
        hidden_size=hidden_size,
        intermediate_size=4 * hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=hidden_size // 64,
        num_key_value_heads=max(1, hidden_size // 128),
        max_position_embeddings=4096,
        **shape,
    )
    classifier: Any = LlamaForSequenceClassification
    model = RewardModel(classifier(config).eval(), tokens, device="cpu")
    model.save_pretrained(folder)
    return model


def draw_conversation(rng: random.Random, num_turns: int, num_words: int) -> Conversation:
    """Draw a conversation of random words whose messages have about this many words."""
    conversation = Conversation()
    for _ in range(num_turns):
        conversation = conversation.user(draw_text(rng, num_words)).assistant(draw_text(rng, num_words))
    return conversation


def draw_text(rng: random.Random, num_words: int) -> str:
    """Draw a text of about this many words."""
    return " ".join(rng.choices(WORDS, k=max(1, round(num_words * rng.lognormvariate(0, 0.4)))))


@dataclass(frozen=True, slots=True)
class Load:
    """What a number of clients saw.

    Attributes:
        seconds: Time from the first request to the last answer.
        latencies: Seconds of each request, in order of the answers.
        answers: The answers, in order of the requests.
    """

    seconds: float
    latencies: list[float]
    answers: list[Any]

    @property
    def median_ms(self) -> float:
        """Median latency in milliseconds."""
        return 1000 * statistics.median(self.latencies)


async def run_clients(url: str, bodies: Sequence[dict[str, Any]], num_clients: int) -> Load:
    """Send requests from clients that each wait for an answer before they send the next."""
    answers: list[Any] = [None] * len(bodies)
    latencies: list[float] = []
    left: Iterable[int] = iter(range(len(bodies)))
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout()
    ) as session:

        async def client() -> None:
            for index in left:
                began = time.monotonic()
                async with session.post(url, json=bodies[index]) as response:
                    response.raise_for_status()
                    answers[index] = await response.json()
                latencies.append(time.monotonic() - began)

        began = time.monotonic()
        await asyncio.gather(*(client() for _ in range(num_clients)))
    return Load(time.monotonic() - began, latencies, answers)


@contextmanager
def serial_server(model: Path) -> Iterator[str]:
    """Run a server of the shape of OpenRLHF's in its own process; yield the URL of `/get_reward`.

    It scores the queries of one request by a padded forward pass of transformers, within the event loop: one request
    after another.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_serve_serially, args=(str(model), sender), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{receiver.recv()}/get_reward"
    finally:
        process.terminate()
        process.join()


def _serve_serially(path: str, sender: "Connection[int, int]") -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32).eval()

    async def get_reward(request: web.Request) -> web.Response:
        queries = (await request.json())["query"]
        batch = tokenizer(queries, return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.no_grad():
            rewards = model(batch["input_ids"], batch["attention_mask"]).logits[:, 0].tolist()
        return web.json_response({"rewards": rewards, "scores": rewards, "extra_logs": {"dummy_scores": rewards}})

    async def main() -> None:
        app = web.Application()
        app.router.add_post("/get_reward", get_reward)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
        sender.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(main())


def parser(description: str) -> argparse.ArgumentParser:
    """Return the flags of the benchmark."""
    flags = argparse.ArgumentParser(description=description)
    flags.add_argument("--quick", action="store_true", help="fewer conversations, one model, one round")
    flags.add_argument("--soak", type=float, default=0.0, metavar="SECONDS", help="run only the soak, for this long")
    flags.add_argument("--rounds", type=int, default=3)
    return flags
