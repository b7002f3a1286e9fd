"""How `music swap` grows with its corpus: `python -m benchmarks.swap [--num 20000 --num 100000]`.

Prints a Markdown table: CPU time, wall time and peak memory of the command in a process of its own. The corpus is
synthetic: conversations of four turns about one of 2,000 topics, with words drawn by Zipf's law. Requests have 10 to 30
words and replies 40 to 80.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from music.preferences import write_rows
from music_agents.output.failure_log import read_failures
from music_agents.run.report import read_report

__all__ = ["SwapCost", "main", "measure", "rows"]

NUM_TURNS = 4
NUM_WORDS = 50_000
NUM_TOPICS = 2000
TOPIC_WORDS = 40
COMMAND = "import typer; from music_agents.swap.cli import swap; typer.run(swap)"


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapCost:
    """The cost of one run of the command, reading and diagnostics included.

    Attributes:
        cpu_seconds: User and system time of its process.
        wall_seconds: Elapsed time.
        peak_gb: Largest resident memory.
        swapped: Share of turns whose replies were swapped, of those in kept pairs.
    """

    cpu_seconds: float
    wall_seconds: float
    peak_gb: float
    swapped: float


def rows(num: int, seed: int = 0) -> Iterator[dict[str, object]]:
    """Yield rows of synthetic conversations."""
    rng = np.random.default_rng(seed)
    topics = rng.integers(200, NUM_WORDS, (NUM_TOPICS, TOPIC_WORDS))
    for index in range(num):
        topic = topics[rng.integers(NUM_TOPICS)]
        messages = []
        for turn in range(2 * NUM_TURNS):
            length = int(rng.integers(40, 80) if turn % 2 else rng.integers(10, 30))
            words = np.minimum(rng.zipf(1.3, length), NUM_WORDS)
            own = rng.random(length) < 0.3
            words[own] = rng.choice(topic, int(own.sum()))
            text = " ".join(f"w{word}" for word in words.tolist())
            messages.append({"role": "assistant" if turn % 2 else "user", "content": text})
        yield {"id": str(index), "messages": messages}


def measure(num: int, folder: Path) -> SwapCost:
    """Run the command on a corpus of `num` conversations; call it with growing numbers, as peaks are of all runs."""
    source, out = folder / f"{num}.jsonl", folder / f"out-{num}"
    write_rows(rows(num), source)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(
        [sys.executable, "-c", COMMAND, source, "--out", out, "--json"], check=True, stdout=subprocess.DEVNULL
    )
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    report = read_report(out / "run.json")
    assert report is not None
    assert report.diagnostics is not None
    assert len(read_failures(out / "failures.jsonl")) == num - report.num_pairs
    return SwapCost(
        cpu_seconds=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        wall_seconds=wall,
        peak_gb=after.ru_maxrss * 1024 / 1e9,
        swapped=report.diagnostics.turns_contrasted / NUM_TURNS,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, action="append", help="conversations; may be repeated")
    nums = sorted(parser.parse_args().num or [20_000, 100_000])
    print(f"{os.cpu_count()} cores; conversations of {NUM_TURNS} turns\n")
    print("| conversations | CPU seconds | wall seconds | peak memory, GB | turns swapped |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for num in nums:
            cost = measure(num, Path(folder))
            figures = f"{cost.cpu_seconds:.0f} | {cost.wall_seconds:.0f} | {cost.peak_gb:.2f} | {cost.swapped:.1%}"
            print(f"| {num:,} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
