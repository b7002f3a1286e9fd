"""What an open page of a running simulation costs the run: `python -m benchmarks.viewer_live [--num 600] [--rounds 6]`.

In each round the same simulation runs three times: alone, with `music view` beside it and its page fetched every two
seconds, as a browser does, and alone again. CPU time is that of the run's process, as the system counts it. The two
runs alone show the noise. Prints a Markdown table.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import orjson

from benchmarks.viewer import child_of, cpu_seconds, viewing

__all__ = ["LiveCost", "main", "measure_live"]

PAGE_SECONDS = 2.0
SIMULATE = "from music.cli import main; main()"


@dataclass(frozen=True, slots=True)
class LiveCost:
    """What was measured.

    Attributes:
        alone: Seconds of CPU of the runs without a viewer, two in each round.
        watched: Seconds of CPU of the run with one in each round.
        viewer: Seconds of CPU of the viewer's two processes during each of these.
        num_pages: Pages that were fetched in all.
    """

    alone: list[tuple[float, float]]
    watched: list[float]
    viewer: list[float]
    num_pages: int

    @property
    def added(self) -> list[float]:
        """The CPU time that the viewer adds to the run in each round, as a share."""
        return [2 * watched / sum(alone) - 1 for alone, watched in zip(self.alone, self.watched, strict=True)]

    @property
    def noise(self) -> list[float]:
        """The difference between the two runs without a viewer in each round, as a share."""
        return [second / first - 1 for first, second in self.alone]


def measure_live(num_pairs: int, folder: Path, rounds: int) -> LiveCost:
    """Measure simulations in a folder for the runs and the index; a first one warms the caches."""
    runs = folder / "runs"
    _simulate(num_pairs, runs / "first", "")
    cost = LiveCost([], [], [], 0)
    num_pages = 0
    for number in range(rounds):
        first, _ = _simulate(num_pairs, runs / f"{number}-first", "")
        with viewing(runs, folder / "cache") as (url, process, _):
            while not orjson.loads(_get(f"{url}/status"))["is_whole"]:
                time.sleep(0.2)
            processes = [process.pid, child_of(process.pid)]
            before = sum(map(cpu_seconds, processes))
            watched, num = _simulate(num_pairs, runs / f"{number}-watched", url)
            cost.viewer.append(sum(map(cpu_seconds, processes)) - before)
        second, _ = _simulate(num_pairs, runs / f"{number}-second", "")
        cost.watched.append(watched)
        cost.alone.append((first, second))
        num_pages += num
        for name in ("first", "watched", "second"):
            shutil.rmtree(runs / f"{number}-{name}")
    return replace(cost, num_pages=num_pages)


def _simulate(num_pairs: int, out: Path, url: str) -> tuple[float, int]:
    """Run a simulation; return its seconds of CPU, and how often the page of a viewer was fetched meanwhile."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", SIMULATE, "simulate", "sandbox", "--num-pairs", str(num_pairs), "--out", str(out)]
    num_pages = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env) as run:
        while True:
            pid, status, usage = os.wait4(run.pid, os.WNOHANG)
            if pid:
                run.returncode = os.waitstatus_to_exitcode(status)
                assert run.returncode == 0
                return usage.ru_utime + usage.ru_stime, num_pages
            if url:
                assert 'id="run"' in _get(f"{url}/live")
                num_pages += 1
            time.sleep(PAGE_SECONDS)


def _get(url: str) -> str:
    with urllib.request.urlopen(url) as response:
        text: str = response.read().decode()
    return text


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=6)
    flags = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = measure_live(flags.num, Path(folder), flags.rounds)
    alone = [seconds for each in found.alone for seconds in each]
    print(f"{flags.num:,} pairs of the sandbox, {flags.rounds} rounds, {found.num_pages} pages\n")
    print("| | median | range |\n|---|---|---|")
    print(f"| CPU of a run without a viewer | {_described(alone, '.2f')} |")
    print(f"| CPU of a run with an open page | {_described(found.watched, '.2f')} |")
    print(f"| CPU of the viewer meanwhile | {_described(found.viewer, '.2f')} |")
    print(f"| added to the run | {_described(found.added, '+.1%')} |")
    print(f"| noise: of two runs without a viewer, the second against the first | {_described(found.noise, '+.1%')} |")


def _described(values: list[float], form: str) -> str:
    return f"{median(values):{form}} | {min(values):{form}} to {max(values):{form}}"


if __name__ == "__main__":
    main()
