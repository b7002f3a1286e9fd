"""`music serve` against scoring in one process and against a serial server: `python -m benchmarks.serving [--quick]`.

Prints Markdown. Servers, clients and models run on one machine, the model on one thread. Each figure and its baseline
alternate within a run. The models are random, with the sandbox's tokenizer. With `--soak SECONDS`, 64 clients keep the
server saturated for that long, and its memory and errors are reported.
"""

import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch

from benchmarks.reward_models import versions
from benchmarks.serving_parts import draw_conversation, draw_text, make_model, parser, run_clients, serial_server
from music.conversation import Conversation
from music.reward import RewardModel
from music.serving import reward_server

MODELS = {"4.8M": (256, 6), "27M": (512, 8)}
"""Hidden size and layers by name."""
SCORE = "/v1/score"
NUM_TURNS, NUM_WORDS = 3, 15
"""Conversations of 3 turns with messages of about 15 words: 200 to 450 tokens."""
GROUP = 8


def main() -> None:
    """Run the benchmark and print its report."""
    options = parser(__doc__.splitlines()[0]).parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    rounds = 1 if options.quick else options.rounds
    print(f"{versions('aiohttp')}; {os.cpu_count()} cores, the model on one thread, fp32\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        if options.soak:
            soak(Path(folder), options.soak)
            return
        for name, (hidden_size, num_layers) in list(MODELS.items())[: 1 if options.quick else None]:
            path = Path(folder) / name
            model = make_model(path, hidden_size, num_layers)
            print(f"A random Llama of {name} parameters\n\n| what | figure | rounds | baseline |\n|---|---|---|---|")
            for row in measure(path, model, rounds, 64 if options.quick else 512):
                print(row, flush=True)
            print()


def measure(path: Path, model: RewardModel, rounds: int, num: int) -> Iterator[str]:
    """Yield the rows of the table for a model."""
    rng = random.Random(0)
    alone = [draw_conversation(rng, NUM_TURNS, NUM_WORDS) for _ in range(num)]
    groups = [drawn for _ in range(num // GROUP) for drawn in draw_group(rng)]
    with ExitStack() as stack:
        flags: tuple[list[str], ...] = ([], ["--cache-tokens", "0"], ["--deterministic"])
        ours, no_cache, fixed = (stack.enter_context(reward_server(str(path), *each)) for each in flags)
        serial = stack.enter_context(serial_server(path))
        offline, served = partial(offline_seconds, model), partial(served_seconds, ours)
        serially = partial(serial_seconds, serial, model)
        yield rate("256 clients, single conversations", served, offline, "offline", alone, rounds)
        yield rate(
            "the same without a prefix cache", partial(served_seconds, no_cache), offline, "offline", alone, rounds
        )
        yield rate(
            "the same, deterministic", partial(served_seconds, fixed), served, "not deterministic", alone, rounds
        )
        yield rate(
            f"{GROUP} replies a prompt, deterministic",
            partial(served_seconds, fixed),
            served,
            "not deterministic",
            groups,
            rounds,
        )
        yield rate("256 clients, single conversations", served, serially, "serial server", alone, rounds)
        yield rate(f"256 clients, {GROUP} replies a prompt", served, serially, "serial server", groups, rounds)
        yield latency(ours, model, alone[:100])
        yield from best_of_16(ours, no_cache, rng, rounds)
        yield growing(ours, no_cache, rng, rounds)


def draw_group(rng: random.Random) -> list[Conversation]:
    """Draw replies to one history."""
    history = draw_conversation(rng, NUM_TURNS - 1, NUM_WORDS).user(draw_text(rng, NUM_WORDS))
    return [history.assistant(draw_text(rng, NUM_WORDS)) for _ in range(GROUP)]


def body(conversation: Conversation, **more: Any) -> dict[str, Any]:
    """Return a request for one conversation."""
    return {"conversations": [conversation.to_messages()], **more}


def renewed(conversations: Sequence[Conversation], round_: int) -> list[Conversation]:
    """Return conversations of the same length that no cache knows."""
    first = [Conversation().user(f"{round_ + 10} {c.messages[0].content}") for c in conversations]
    return [Conversation(messages=(*f.messages, *c.messages[1:])) for f, c in zip(first, conversations, strict=True)]


def offline_seconds(model: RewardModel, conversations: Sequence[Conversation]) -> float:
    """Return the time of one call of the model in this process."""
    began = time.monotonic()
    model.score(conversations)
    return time.monotonic() - began


def served_seconds(url: str, conversations: Sequence[Conversation]) -> float:
    """Return the time of 256 clients that ask for one conversation at a time."""
    return asyncio.run(run_clients(url + SCORE, [body(c) for c in conversations], 256)).seconds


def serial_seconds(url: str, model: RewardModel, conversations: Sequence[Conversation]) -> float:
    """Return the time of 256 clients of the serial server."""
    render = model.tokens.tokenizer.apply_chat_template
    bodies = [{"query": [render(c.to_messages(), tokenize=False)]} for c in conversations]
    return asyncio.run(run_clients(url, bodies, 256)).seconds


_drawn = count()


def rate(
    name: str,
    served: Callable[[Sequence[Conversation]], float],
    other: Callable[[Sequence[Conversation]], float],
    baseline: str,
    conversations: Sequence[Conversation],
    rounds: int,
) -> str:
    """Return the throughput of a server as a multiple of a baseline's, on conversations that no cache knows."""
    ratios, speeds = [], []
    for _ in range(rounds):
        asked = renewed(conversations, next(_drawn))
        seconds = served(asked)
        again = renewed(conversations, next(_drawn))
        ratios.append(other(again) / seconds)
        speeds.append(len(asked) / seconds)
    return f"| {name} | {statistics.median(speeds):,.0f}/s, {times(ratios)} | {baseline} |"


def times(ratios: Sequence[float]) -> str:
    """Return the median of ratios, and their range."""
    return f"{statistics.median(ratios):.2f} x | {min(ratios):.2f}-{max(ratios):.2f}"


def latency(url: str, model: RewardModel, conversations: Sequence[Conversation]) -> str:
    """Return how much longer a request of a lone client takes than the model alone."""
    asked = renewed(conversations, next(_drawn))
    served = asyncio.run(run_clients(url + SCORE, [body(c) for c in asked], 1)).median_ms
    alone = 1000 * statistics.median(offline_seconds(model, [c]) for c in asked)
    return (
        f"| one client: milliseconds over the forward | {served - alone:.1f} ({served:.1f} - {alone:.1f}) | | model |"
    )


def best_of_16(ours: str, no_cache: str, rng: random.Random, rounds: int) -> Iterator[str]:
    """Yield the speed-up of one request with candidates over a request for each."""
    ratios: dict[int, list[float]] = {1: [], 16: []}
    for _ in range(rounds):
        history = draw_conversation(rng, 8, 25).user(draw_text(rng, 25))
        replies = [draw_text(rng, 25) for _ in range(16)]
        asked = [{"history": history.to_messages(), "candidates": replies}]
        together = asyncio.run(run_clients(ours + SCORE, asked, 1)).seconds
        each = [body(history.assistant(reply)) for reply in replies]
        for num_clients, found in ratios.items():
            found.append(asyncio.run(run_clients(no_cache + SCORE, each, num_clients)).seconds / together)
    for num_clients, how in ((1, "one after another"), (16, "at once, which share their history too")):
        yield f"| Best-of-16 on one history | {times(ratios[num_clients])} | 16 requests {how}, no cache |"


def growing(ours: str, no_cache: str, rng: random.Random, rounds: int) -> str:
    """Return the speed-up of a conversation that is scored as it grows over scoring each beginning anew."""
    ratios = []
    for _ in range(rounds):
        whole = draw_conversation(rng, 10, 25)
        grown = [whole.prefix(end) for end in whole.turn_ends]
        per_turn = [body(c, per_turn=True) for c in grown]
        cached = asyncio.run(run_clients(ours + SCORE, per_turn, 1)).seconds
        ratios.append(asyncio.run(run_clients(no_cache + SCORE, [body(c) for c in grown], 1)).seconds / cached)
    return f"| ten turns as they grow, rewards per turn | {times(ratios)} | each beginning anew, no cache |"


def soak(folder: Path, seconds: float) -> None:
    """Keep a server saturated, and print its memory and errors."""
    rng = random.Random(0)
    model = folder / "model"
    make_model(model, *MODELS["4.8M"])
    print("| minutes | conversations | errors | server's memory MB |\n|---|---|---|---|")
    before = set(psutil.Process().children())
    with reward_server(str(model), "--cache-tokens", "20000") as url:
        (server,) = set(psutil.Process().children()) - before
        began, num, errors = time.monotonic(), 0, 0
        while (passed := time.monotonic() - began) < seconds:
            asked = [body(draw_conversation(rng, NUM_TURNS, NUM_WORDS)) for _ in range(1024)]
            load = asyncio.run(run_clients(url + SCORE, asked, 64))
            num += len(asked)
            errors += sum(answer["data"][0]["score"] is None for answer in load.answers)
            print(f"| {passed / 60:.1f} | {num:,} | {errors} | {server.memory_info().rss / 2**20:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
