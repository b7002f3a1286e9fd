"""How fast `music view` is on many pairs: `python -m benchmarks.viewer [--num 100000]`.

Prints a Markdown table: each figure of the viewer beside that of its baseline, a scan of the parquet files with pyarrow
for each request, and the CPU time that the server takes. The pairs are synthetic: four turns, words drawn by Zipf's
law, sides that differ from a random turn. So are the scores of the model.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from music.viewer.scores import margin_name, preference_name

__all__ = ["Figures", "Times", "child_of", "cpu_seconds", "main", "measure", "viewing", "write_pairs"]

NUM_TURNS = 4
SIDES = ("chosen", "rejected")
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
SCORED_QUERIES = {
    "list, by margin": "/?sort=-{margin}",
    "filter, by margin": "/?diverging=2&sort={margin}",
    "search, by margin": "/?q=w9&sort={margin}",
    "filter by the model's preference": "/?extra={preference}=rejected",
}
"""With the scores of a model."""


class Times(NamedTuple):
    """Milliseconds of some calls: the median, the largest, and the mean of the CPU time of the server."""

    median: float
    largest: float
    cpu: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was measured.

    Attributes:
        first_paint: Seconds from the start of the command to the first page, and of CPU.
        second_paint: The same when the index exists.
        indexed: Seconds from the start until all pairs are in the index.
        pages: Times of each page by name.
        scored_pages: The same with the scores of a model, and of saving a label.
        scans: Milliseconds of a scan of the files for the same, by name.
        server_mb: Largest memory of the server.
        indexer_mb: Largest memory of the process that indexes.
    """

    first_paint: tuple[float, float]
    second_paint: tuple[float, float]
    indexed: float
    pages: dict[str, "Times"]
    scored_pages: dict[str, "Times"]
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
        client = _Client(url, process.pid, rounds)
        pages = {name: client.get(path) for name, path in QUERIES.items()}
        pages |= {
            name: client.open(path) for name, path in {"open a pair": "/", "open a pair of a search": "/?q=w2"}.items()
        }
        server_mb = _peak_mb(process.pid)
    scored_pages = _scored_pages(pairs, folder, rounds)
    return Figures(
        first_paint=first_paint,
        second_paint=second_paint,
        indexed=indexed,
        pages=pages,
        scored_pages=scored_pages,
        scans=_scans(pairs),
        server_mb=server_mb,
        indexer_mb=indexer_mb,
    )


class _Client:
    """Measures requests to a server."""

    def __init__(self, url: str, pid: int, rounds: int) -> None:
        self.url, self._pid, self._rounds = url, pid, rounds

    def get(self, path: str) -> Times:
        """Measure a page."""
        return self._measure([lambda: _get(self.url + path)] * self._rounds)

    def open(self, path: str) -> Times:
        """Measure the pages of different records of a list, the last first."""
        return self._measure([lambda link=link: _get(link) for link in self.links(path)[-self._rounds :]])  # type: ignore[misc]

    def label(self, path: str) -> Times:
        """Measure saving labels of different records of a list."""
        links = self.links(path)[: self._rounds]
        token = _get(links[0]).partition('name="token" value="')[2].partition('"')[0]
        body = urlencode({"token": token, "turn": 0, "verdict": "agree"})
        return self._measure([lambda link=link: _post(link, body) for link in links])  # type: ignore[misc]

    def links(self, path: str) -> list[str]:
        """Return the addresses of the records of a list."""
        pieces = _get(self.url + path).split('class="record" href="')[1:]
        return [self.url + each.split('"')[0].replace("&amp;", "&") for each in pieces]

    def _measure(self, calls: Sequence[Callable[[], object]]) -> Times:
        before = cpu_seconds(self._pid)
        times = [_milliseconds(call) for call in calls]
        return Times(median(times), max(times), 1000 * (cpu_seconds(self._pid) - before) / len(calls))


def _scored_pages(pairs: Path, folder: Path, rounds: int) -> dict[str, Times]:
    """Measure pages with the scores of a model, and saving a label."""
    scores = folder / "scores.jsonl"
    _write_scores(pairs, scores)
    flags = ("--model", str(scores), "--labels", str(folder / "labels.sqlite"))
    with viewing(pairs, folder / "cache", *flags) as (url, process, _):
        while 'class="count scoring"' in _get(url):
            assert process.poll() is None
            time.sleep(0.2)
        client = _Client(url, process.pid, rounds)
        names = {"margin": margin_name(str(scores)), "preference": preference_name(str(scores))}
        queries = {name: path.format(**names) for name, path in SCORED_QUERIES.items()}
        pages = {name: client.get(path) for name, path in queries.items()}
        pages["open a pair, by margin"] = client.open(queries["list, by margin"])
        pages["save a label"] = client.label("/")
    return pages


def _write_scores(pairs: Path, path: Path, seed: int = 0) -> None:
    """Write scores of pairs as `music score --per-turn` does."""
    rng = np.random.default_rng(seed)
    with path.open("wb") as file:
        for shard in sorted(pairs.glob("*.parquet")):
            for id in pq.read_table(shard, columns=["id"])["id"].to_pylist():
                turns = rng.normal(size=(2, NUM_TURNS)).tolist()
                sides = {name: {"score": each[-1], "turns": each} for name, each in zip(SIDES, turns, strict=True)}
                file.write(orjson.dumps({"id": id, **sides}, option=orjson.OPT_APPEND_NEWLINE))


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
def viewing(pairs: Path, cache: Path, *flags: str) -> Iterator[tuple[str, subprocess.Popen[str], float]]:
    """Run the command; yield its address, its process and when it was started."""
    env = os.environ | {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    started = time.monotonic()
    command = [sys.executable, "-c", COMMAND, str(pairs), "--port", "0", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), process, started
        finally:
            process.terminate()


def _get(url: str) -> str:
    with urllib.request.urlopen(quote(url, safe=":/?&=%+")) as response:
        text: str = response.read().decode()
    return text


def _post(url: str, body: str) -> None:
    """Send a form, without following where the answer leads."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc)
    connection.request(
        "POST",
        quote(f"{parts.path}/label?{parts.query}", safe="/?&=%+"),
        body,
        {"Content-Type": "application/x-www-form-urlencoded"},
    )
    status = connection.getresponse().status
    assert status == 303, status
    connection.close()


def _milliseconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


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
    return {name: _milliseconds(scan) for name, scan in scans.items()}


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
    for name, times in (found.pages | found.scored_pages).items():
        shown = f"{times.median:.0f} ms (at most {times.largest:.0f}; {times.cpu:.0f} of CPU)"
        base = f"{found.scans[name]:.0f} ms" if name in found.scans else ""
        print(f"| {name} | {shown} | {base} | {100 if name.startswith(('open', 'save')) else 200} ms |")
    print(f"| memory of the server | {found.server_mb:.0f} MB | | 1,000 MB |")
    print(f"| memory of the process that indexes | {found.indexer_mb:.0f} MB | | 1,000 MB |")


if __name__ == "__main__":
    main()
