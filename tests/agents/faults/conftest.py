"""Simulations against server processes that fail, and what a test needs to see of them."""

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from music.sandbox.world.seeds import seed_pairs
from music_agents import SimulationConfig, run_simulation
from music_agents.progress import RunProgress
from music_agents.run import Models, RunReport
from music_agents.run.roles import make_progress

SEEDS = seed_pairs(200, 0)


class Run:
    """A simulation against endpoints, in a directory."""

    def __init__(self, directory: Path, endpoint: str, **settings: Any) -> None:
        self.directory = directory
        roles = dict.fromkeys(("user", "assistant", "contrast"), endpoint)
        self.config = SimulationConfig(**roles, **{"num_turns": 2, "max_in_flight": 16, **settings})

    async def go(self, seeds=SEEDS, progress: RunProgress | None = None, retry_failed: bool = False) -> RunReport:
        """Run a session in this process."""
        progress = progress or make_progress(self.config)
        return await run_simulation(
            self.config, self.directory, seeds=seeds, progress=progress, retry_failed=retry_failed
        )

    async def go_with(self, models: Models) -> RunReport:
        """Run a session with models that stay the caller's."""
        return await run_simulation(self.config, self.directory, models=models, seeds=SEEDS)

    @property
    def table(self) -> pa.Table:
        """The rows on disk, in order."""
        return pq.read_table(sorted(self.directory.glob("pairs-*.parquet")))

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """The rows on disk by id; no id comes twice."""
        rows = self.table.to_pylist()
        by_id = {row["id"]: row for row in rows}
        assert len(by_id) == len(rows)
        return by_id

    @property
    def failures(self) -> list[dict[str, Any]]:
        """The lines of `failures.jsonl`."""
        return [json.loads(line) for line in (self.directory / "failures.jsonl").read_text().splitlines()]

    def assert_whole(self) -> None:
        """Every pair is a whole row or a listed failure, and those are all the indices from the first on."""
        failures = self.failures
        assert all(failure["reason"] and failure["detail"] for failure in failures)
        indices = [int(id_[-6:]) for id_ in self.rows] + [failure["index"] for failure in failures]
        assert sorted(indices) == list(range(len(indices)))
        for row in self.rows.values():
            start, num_messages = row["num_seed_messages"], len(row["chosen"])
            assert num_messages == len(row["rejected"]) == start + 2 * self.config.num_turns
            assert row["chosen"][:start] == row["rejected"][:start]
            for side in (row["chosen"], row["rejected"]):
                assert [message["role"] for message in side] == ["user", "assistant"] * (num_messages // 2)
                assert all(message["content"].strip() for message in side)


class Server:
    """A sandbox server in a process of its own that can be killed, and started again at the same address."""

    def __init__(self, *flags: str) -> None:
        self._flags = flags
        self._process: subprocess.Popen[str] | None = None
        self.url = ""
        self.start()

    def start(self) -> None:
        port = [f"--port={self.url.split(':')[2].removesuffix('/v1')}"] if self.url else []
        command = [sys.executable, "-m", "music.sandbox.cli", "serve", "--with-parent", *self._flags, *port]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=env)
        self.url = self._process.stdout.readline().strip()

    def kill(self) -> None:
        """End the process by SIGKILL."""
        with self._process:
            self._process.kill()


class Sessions:
    """Starts sessions of one run in processes that can be killed."""

    def __init__(self, run) -> None:
        command = [sys.executable, Path(__file__).with_name("sessions.py"), run.config.model_dump_json(), run.directory]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)

    def start(self) -> int:
        """Return the session's process id."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read()

    def end(self) -> int:
        """Wait for the session to end and return its exit code."""
        return self._read()

    def _read(self) -> int:
        return int(self._process.stdout.readline())

    def complete(self) -> int:
        """Run a last session and return its exit code."""
        self.start()
        try:
            return self.end()
        finally:
            self.close()

    def close(self) -> None:
        with self._process:
            self._process.stdin.close()


def read_stats(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url.removesuffix("/v1") + "/stats", timeout=30) as response:
        return json.load(response)


async def wait_for(url: str, name: str, num: int, task: asyncio.Task[Any]) -> dict[str, Any]:
    """Return a server's counts once one of them is there; the task that makes the calls must not end before."""
    while (stats := await asyncio.to_thread(read_stats, url))[name] < num:
        assert not task.done(), task.result()
        await asyncio.sleep(0.01)  # another process's progress: there is no event to wait for
    return stats


@pytest.fixture(scope="session")
def make_run() -> type[Run]:
    return Run


@pytest.fixture(scope="session")
def sessions_of() -> type[Sessions]:
    return Sessions


@pytest.fixture(scope="session")
def stats() -> Callable[[str], dict[str, Any]]:
    return read_stats


@pytest.fixture(scope="session")
def stats_once() -> Callable[..., Any]:
    return wait_for


@pytest.fixture
def servers() -> Iterator[Callable[..., Server]]:
    """Start servers that end with the test."""
    started: list[Server] = []

    def start(*flags: str) -> Server:
        started.append(Server(*flags))
        return started[-1]

    yield start
    for server in started:
        server.kill()
