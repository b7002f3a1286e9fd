"""What an open page of a running simulation costs the run: `python -m benchmarks.viewer_live [--num 600] [--rounds 6]`.

The same simulation runs by turns without a viewer, and with `music view` beside it and its page fetched every two
seconds, as a browser does. Its CPU time is that of the process alone, as the system counts it. Prints a Markdown table.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.viewer import viewing

__all__ = ["LiveCost", "main", "measure_live"]

PAGE_SECONDS = 2.0
SIMULATE = "from music.cli import main; main()"


@dataclass(frozen=True, slots=True)
class LiveCost:
    """What was measured.

    Attributes:
        alone: Seconds of CPU of each run without a viewer.
        watched: Seconds of CPU of each run with one.
        num_pages: Pages that were fetched in all.
    """

    alone: list[float]
    watched: list[float]
    num_pages: int

    @property
    def shares(self) -> list[float]:
        """The CPU time that the viewer adds in each round, as a share."""
        return [watched / alone - 1 for alone, watched in zip(self.alone, self.watched, strict=True)]


def measure_live(num_pairs: int, folder: Path, rounds: int) -> LiveCost:
    """Measure simulations in a folder for the runs and the index; a first one warms the caches."""
    _simulate(num_pairs, folder / "first", is_watched=False)
    alone: list[float] = []
    watched: list[float] = []
    num_pages = 0
    for number in range(rounds):
        for is_watched in (False, True) if number % 2 else (True, False):
            cpu_seconds, num = _simulate(num_pairs, folder / f"{number}-{is_watched}", is_watched=is_watched)
            (watched if is_watched else alone).append(cpu_seconds)
            num_pages += num
    return LiveCost(alone, watched, num_pages)


def _simulate(num: int, out: Path, *, is_watched: bool) -> tuple[float, int]:
    """Run a simulation; return its seconds of CPU and the number of pages that were fetched."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", SIMULATE, "simulate", "sandbox", "--num-pairs", str(num), "--out", str(out)]
    num_pages = 0
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env) as run,
        ExitStack() as stack,
    ):
        url = ""
        while True:
            pid, status, usage = os.wait4(run.pid, os.WNOHANG)
            if pid:
                run.returncode = os.waitstatus_to_exitcode(status)
                assert run.returncode == 0
                return usage.ru_utime + usage.ru_stime, num_pages
            if is_watched and not url and (out / "run.json").exists():
                url, _, _ = stack.enter_context(viewing(out, out.parent / "cache"))
            if url:
                with urllib.request.urlopen(f"{url}/live") as page:
                    assert b'id="run"' in page.read()
                num_pages += 1
            time.sleep(PAGE_SECONDS if url else 0.05)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=6)
    flags = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = measure_live(flags.num, Path(folder), flags.rounds)
    shares = sorted(found.shares)
    print(f"{flags.num:,} pairs of the sandbox, {flags.rounds} rounds, {found.num_pages} pages\n")
    print("| | without a viewer | with an open page |\n|---|---|---|")
    print(f"| CPU of the simulation, median | {median(found.alone):.2f} s | {median(found.watched):.2f} s |")
    print(f"| added CPU, median (range) | | {median(shares):+.1%} ({shares[0]:+.1%} to {shares[-1]:+.1%}) |")


if __name__ == "__main__":
    main()
