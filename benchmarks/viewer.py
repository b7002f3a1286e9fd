"""How fast `music view` is on many pairs: `python -m benchmarks.viewer [--num 100000]`.

Prints a Markdown table: each figure of the viewer beside that of its baseline, a scan of the parquet files with pyarrow
for each request. The pairs are synthetic: four turns, words drawn by Zipf's law, sides that differ from a random turn.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

__all__ = ["Figures", "child_of", "cpu_seconds", "main", "measure", "viewing", "write_pairs"]

NUM_TURNS = 4
SHARD_ROWS = 5000
COMMAND = "import sys, typer; from music.viewer.cli import view; typer.run(view)"
QUERIES = {
    "list": "/",
    "filter": "/?strategy=instruction&diverging=3",
    "filter, by length gap": "/?diverging=2&sort=gap",
    "search, rare word": "/?q=w4021",
    "search, common word": "/?q=w2",
    "search, by length gap": "/?q=w9&sort=gap",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was measured.

    Attributes:
        first_paint: Seconds from the start of the command to the first page, and of CPU.
        second_paint: The same when the index exists.
        indexed: Seconds from the start until all pairs are in the index.
        pages: Median milliseconds of each page, and the largest, by name.
        scans: Milliseconds of a scan of the files for the same, by name.
        server_mb: Largest memory of the server.
        indexer_mb: Largest memory of the process that indexes.
    """

    first_paint: tuple[float, float]
    second_paint: tuple[float, float]
    indexed: float
    pages: dict[str, tuple[float, float]]
    scans: dict[str, float]
    server_mb: float
    indexer_mb: float


def write_pairs(folder: Path, num: int, seed: int = 0) -> None:
    """Write synthetic pairs as `music simulate` does, in shards."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number, start in enumerate(range(0, num, SHARD_ROWS)):
        rows = [_pair(rng, index) for index in range(start, min(num, start + SHARD_ROWS))]
        pq.write_table(pa.Table.from_pylist(rows), folder / f"pairs-{number:05d}.parquet")


def measure(num: int, folder: Path, *, rounds: int = 5) -> Figures:
    """Measure the viewer on `num` pairs, in a folder for the pairs and the index."""
    pairs = folder / "pairs"
    write_pairs(pairs, num)
    with viewing(pairs, folder / "cache") as (url, process, started):
        _get(url)
        first_paint = time.monotonic() - started, cpu_seconds(process.pid)
        while (state := orjson.loads(_get(f"{url}/status"))) != {"num_records": num, "is_whole": True}:
            assert process.poll() is None, state
            time.sleep(0.2)
        indexed, indexer_mb = time.monotonic() - started, _peak_mb(child_of(process.pid))
    with viewing(pairs, folder / "cache") as (url, process, started):
        _get(url)
        second_paint = time.monotonic() - started, cpu_seconds(process.pid)
        pages = {name: _times(lambda path=path: _get(url + path), rounds) for name, path in QUERIES.items()}  # type: ignore[misc]
        for name, path in {"open a pair": "/", "open a pair of a search": "/?q=w2"}.items():
            links = [each.split('"')[0] for each in _get(url + path).split('class="record" href="')[1:]]
            pages[name] = _times(lambda links=links: _get(url + links.pop().replace("&amp;", "&")), rounds)  # type: ignore[misc]
        server_mb = _peak_mb(process.pid)
    return Figures(
        first_paint=first_paint,
        second_paint=second_paint,
        indexed=indexed,
        pages=pages,
        scans=_scans(pairs),
        server_mb=server_mb,
        indexer_mb=indexer_mb,
    )


def _pair(rng: np.random.Generator, index: int) -> dict[str, Any]:
    diverging = int(rng.integers(NUM_TURNS))
    chosen: list[dict[str, str]] = []
    rejected: list[dict[str, str]] = []
    for turn in range(NUM_TURNS):
        asked = {"role": "user", "content": _text(rng, 15)}
        reply, other = ({"role": "assistant", "content": _text(rng, 60)} for _ in range(2))
        chosen += [asked, reply]
        rejected += [asked, other if turn >= diverging else reply]
    strategy = ("instruction", "drop_constraint")[index % 2]
    contrast = {"turn": diverging, "strategy": strategy, "modified_instruction": _text(rng, 15), "parameters": "{}"}
    return {
        "id": f"pair-{index:06d}",
        "chosen": chosen,
        "rejected": rejected,
        "source": "synthetic",
        "seed_id": f"seed-{index}",
        "num_seed_messages": 0,
        "contrasts": [contrast],
        "models": {"user": "m", "assistant": "m"},
        "usage": {"num_calls": 8, "prompt_tokens": 1000, "completion_tokens": 500},
        "seed": 0,
        "persona": "",
        "retries": [],
        "judgement": "",
    }


def _text(rng: np.random.Generator, num_words: int) -> str:
    words = np.minimum(rng.zipf(1.3, int(rng.integers(num_words // 2, num_words * 2))), 50_000)
    return " ".join(f"w{word}" for word in words.tolist())


@contextmanager
def viewing(pairs: Path, cache: Path) -> Iterator[tuple[str, subprocess.Popen[str], float]]:
    """Run the command; yield its address, its process and when it was started."""
    env = os.environ | {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    started = time.monotonic()
    command = [sys.executable, "-c", COMMAND, str(pairs), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), process, started
        finally:
            process.terminate()


def _get(url: str) -> str:
    with urllib.request.urlopen(quote(url, safe=":/?&=")) as response:
        text: str = response.read().decode()
    return text


def _times(call: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Return the median and the largest time of some calls, in milliseconds."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - started))
    return median(times), max(times)


def _scans(pairs: Path) -> dict[str, float]:
    """Return the milliseconds of the same work by scanning the files, without an index."""
    files = sorted(pairs.glob("*.parquet"))

    def search() -> None:
        for file in files:
            texts = pq.read_table(file, columns=["chosen", "rejected"])
            for side in texts.columns:
                for chunk in side.chunks:
                    pc.match_substring(pc.struct_field(pc.list_flatten(chunk), "content"), "w4021")

    def open_one() -> None:
        pq.read_table(files[-1]).slice(0, 1).to_pylist()

    def read_all() -> None:
        for file in files:
            pq.read_table(file)

    scans = {"first paint": read_all, "search, rare word": search, "open a pair": open_one}
    return {name: _times(scan, 1)[0] for name, scan in scans.items()}


def child_of(pid: int) -> int:
    """Return the first child of a running process."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a running process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_mb(pid: int) -> float:
    """Return the largest resident memory of a running process so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _paint(seconds: tuple[float, float]) -> str:
    return f"{seconds[0]:.2f} s ({seconds[1]:.2f} s of CPU)"


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=100_000)
    num = parser.parse_args(arguments).num
    with tempfile.TemporaryDirectory() as folder:
        found = measure(num, Path(folder))
    print(f"{num:,} pairs of {NUM_TURNS} turns\n")
    print("| | viewer | scan of the files | target |\n|---|---|---|---|")
    scan = found.scans["first paint"] / 1000
    print(f"| first page, from the start of the command | {_paint(found.first_paint)} | {scan:.2f} s | 1 s |")
    print(f"| first page, the index exists | {_paint(found.second_paint)} | {scan:.2f} s | 1 s |")
    print(f"| all pairs indexed, in the background | {found.indexed:.0f} s | | |")
    for name, (middle, most) in found.pages.items():
        base = f"{found.scans[name]:.0f} ms" if name in found.scans else ""
        print(f"| {name} | {middle:.0f} ms (at most {most:.0f}) | {base} | {100 if 'open' in name else 200} ms |")
    print(f"| memory of the server | {found.server_mb:.0f} MB | | 1,000 MB |")
    print(f"| memory of the process that indexes | {found.indexer_mb:.0f} MB | | 1,000 MB |")


if __name__ == "__main__":
    main()
