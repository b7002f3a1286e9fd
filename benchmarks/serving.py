"""`music serve` against scoring in one process and against a serial server: `python -m benchmarks.serving [--quick]`.

Prints Markdown. Servers, clients and models run on one machine, the model on one thread. Each figure and its baseline
alternate within a run. The models are random, with the sandbox's tokenizer. Ratios of time need a quiet machine. Ratios
of CPU seconds of the server, HTTP and tokenizing included, hold on a busy one too. With `--soak SECONDS`, 64 clients
keep the server saturated for that long, and its memory and errors are reported.
"""

import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch

from benchmarks.reward_models import versions
from benchmarks.serving_parts import (
    Load,
    Server,
    draw_conversation,
    draw_text,
    make_model,
    music_server,
    parser,
    run_clients,
    serial_server,
)
from music.conversation import Conversation
from music.reward import RewardModel

MODELS = {"1M": (128, 4, 512), "6M": (256, 6, 256)}
"""Hidden size, layers and number of conversations by name."""
NUM_TURNS, NUM_WORDS = 3, 15
"""Conversations of 3 turns with messages of about 15 words: 200 to 450 tokens."""
LONG = 8
"""Turns of longer conversations: 500 to 1,000 tokens."""
GROUP = 16
"""Replies to one history, as in RL with 16 samples a prompt."""


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
        for name, (hidden_size, num_layers, num) in list(MODELS.items())[: 1 if options.quick else 2]:
            path = Path(folder) / name
            model = make_model(path, hidden_size, num_layers)
            print(f"A random Llama of {name} parameters\n\n| what | x in time | rounds | x in CPU seconds | baseline |")
            print("|---|---|---|---|---|")
            for row in measure(path, model, rounds, 64 if options.quick else num):
                print(row, flush=True)
            print()


def measure(path: Path, model: RewardModel, rounds: int, num: int) -> Iterator[str]:
    """Yield the rows of the table for a model."""
    rng = random.Random(0)
    alone = [draw_conversation(rng, NUM_TURNS, NUM_WORDS) for _ in range(num)]
    groups = [drawn for _ in range(num // GROUP) for drawn in draw_group(rng)]
    with ExitStack() as stack:
        flags: tuple[list[str], ...] = ([], ["--cache-tokens", "0"], ["--deterministic"])
        ours, no_cache, fixed = (stack.enter_context(music_server(path, *each)) for each in flags)
        offline, served = partial(score_offline, model), partial(ask_one_by_one, ours)
        serially = partial(ask_serially, stack.enter_context(serial_server(path)), model)
        without, exactly = partial(ask_one_by_one, no_cache), partial(ask_one_by_one, fixed)
        replies = f"{GROUP} replies a prompt"
        yield compare("256 clients, single conversations", served, offline, "offline", alone, rounds)
        yield compare("the same without a prefix cache", without, offline, "offline", alone, rounds)
        yield compare("the same, deterministic", exactly, served, "not deterministic", alone, rounds)
        yield compare(f"{replies}, deterministic", exactly, served, "not deterministic", groups, rounds)
        yield compare("256 clients, single conversations", served, serially, "serial server", alone, rounds)
        yield compare(f"256 clients, {replies}", served, serially, "serial server", groups, rounds)
        long = [drawn for _ in range(num // GROUP) for drawn in draw_group(rng, LONG)]
        yield compare(f"the same, histories of {LONG} turns", served, serially, "serial server", long, rounds)
        yield from best_of_16(ours, no_cache, rng, rounds)
        yield growing(ours, no_cache, rng, rounds)
        yield latency(ours, model, alone[:100])


def draw_group(rng: random.Random, num_turns: int = NUM_TURNS) -> list[Conversation]:
    """Draw conversations that differ in their last reply."""
    history = draw_conversation(rng, num_turns - 1, NUM_WORDS).user(draw_text(rng, NUM_WORDS))
    return [history.assistant(draw_text(rng, NUM_WORDS)) for _ in range(GROUP)]


def body(conversation: Conversation, **more: Any) -> dict[str, Any]:
    """Return a request for one conversation."""
    return {"conversations": [conversation.to_messages()], **more}


def renewed(conversations: Sequence[Conversation], round_: int) -> list[Conversation]:
    """Return conversations of the same length that no cache knows."""
    first = [Conversation().user(f"{round_ + 10} {c.messages[0].content}") for c in conversations]
    return [Conversation(messages=(*f.messages, *c.messages[1:])) for f, c in zip(first, conversations, strict=True)]


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds, and CPU seconds of the process with the model."""

    seconds: float
    cpu_seconds: float

    @classmethod
    def of(cls, load: Load) -> "Cost":
        """Return the cost of a load."""
        return cls(load.seconds, load.cpu_seconds)


Way = Callable[[Sequence[Conversation]], Cost]
_drawn = count()


def score_offline(model: RewardModel, conversations: Sequence[Conversation]) -> Cost:
    """Score conversations by one call of the model in this process."""
    began, before = time.monotonic(), time.process_time()
    model.score(conversations)
    return Cost(time.monotonic() - began, time.process_time() - before)


def ask_one_by_one(server: Server, conversations: Sequence[Conversation]) -> Cost:
    """Let 256 clients ask for one conversation at a time."""
    return Cost.of(run_clients(server, [body(c) for c in conversations], 256))


def ask_serially(server: Server, model: RewardModel, conversations: Sequence[Conversation]) -> Cost:
    """Let 256 clients ask the serial server."""
    render = model.tokens.tokenizer.apply_chat_template
    return Cost.of(
        run_clients(server, [{"query": [render(c.to_messages(), tokenize=False)]} for c in conversations], 256)
    )


def compare(name: str, way: Way, other: Way, baseline: str, conversations: Sequence[Conversation], rounds: int) -> str:
    """Return how many times as fast a way is as a baseline, on conversations that no cache knows."""
    ratios = []
    for _ in range(rounds):
        ours, theirs = (each(renewed(conversations, next(_drawn))) for each in (way, other))
        ratios.append(Cost(theirs.seconds / ours.seconds, theirs.cpu_seconds / ours.cpu_seconds))
    return row(name, ratios, baseline)


def row(name: str, ratios: Sequence[Cost], baseline: str) -> str:
    """Return a row of the table."""
    times = [ratio.seconds for ratio in ratios]
    cpu = statistics.median(ratio.cpu_seconds for ratio in ratios)
    return f"| {name} | {statistics.median(times):.2f} | {min(times):.2f}-{max(times):.2f} | {cpu:.2f} | {baseline} |"


def latency(server: Server, model: RewardModel, conversations: Sequence[Conversation]) -> str:
    """Return how much longer a request of a lone client takes than the model alone."""
    served = run_clients(server, [body(c) for c in renewed(conversations, next(_drawn))], 1).median_ms
    alone = 1000 * statistics.median(score_offline(model, [c]).seconds for c in renewed(conversations, next(_drawn)))
    return (
        f"\nOne client: {served:.1f} ms a conversation, {served - alone:.1f} ms over the model alone ({alone:.1f} ms)."
    )


def best_of_16(ours: Server, no_cache: Server, rng: random.Random, rounds: int) -> Iterator[str]:
    """Yield the speed-up of one request with candidates over a request for each."""
    ratios: dict[int, list[Cost]] = {1: [], 16: []}
    for _ in range(rounds):
        history = draw_conversation(rng, 8, 25).user(draw_text(rng, 25))
        replies = [draw_text(rng, 25) for _ in range(16)]
        together = run_clients(ours, [{"history": history.to_messages(), "candidates": replies}], 1)
        each = [body(history.assistant(reply)) for reply in replies]
        for num_clients, found in ratios.items():
            apart = run_clients(no_cache, each, num_clients)
            found.append(Cost(apart.seconds / together.seconds, apart.cpu_seconds / together.cpu_seconds))
    for num_clients, how in ((1, "one after another"), (16, "at once, which share their history too")):
        yield row("Best-of-16 on one history", ratios[num_clients], f"16 requests {how}, no cache")


def growing(ours: Server, no_cache: Server, rng: random.Random, rounds: int) -> str:
    """Return the speed-up of a conversation that is scored as it grows over scoring each beginning anew."""
    ratios = []
    for _ in range(rounds):
        whole = draw_conversation(rng, 10, 50)
        grown = [whole.prefix(end) for end in whole.turn_ends]
        cached = run_clients(ours, [body(c, per_turn=True) for c in grown], 1)
        anew = run_clients(no_cache, [body(c) for c in grown], 1)
        ratios.append(Cost(anew.seconds / cached.seconds, anew.cpu_seconds / cached.cpu_seconds))
    return row("ten turns as they grow, rewards per turn", ratios, "each beginning anew, no cache")


def soak(folder: Path, seconds: float) -> None:
    """Keep a server saturated, and print its memory and errors."""
    rng = random.Random(0)
    model = folder / "model"
    make_model(model, *MODELS["1M"][:2])
    print("| minutes | conversations | errors | server's memory MB |\n|---|---|---|---|")
    with music_server(model, "--cache-tokens", "20000") as server:
        began, num, errors = time.monotonic(), 0, 0
        while (passed := time.monotonic() - began) < seconds:
            asked = [body(draw_conversation(rng, NUM_TURNS, NUM_WORDS)) for _ in range(512)]
            load = run_clients(server, asked, 64)
            num += len(asked)
            errors += sum(answer["data"][0]["score"] is None for answer in load.answers)
            memory = server.process.memory_info().rss / 2**20
            print(f"| {passed / 60:.1f} | {num:,} | {errors} | {memory:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
