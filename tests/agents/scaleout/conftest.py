"""A sandbox server, a run on it in one process, some of whose pairs fail and are replaced, and the command."""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from music.sandbox.server import ServerConfig, sandbox_server
from music.sandbox.world.seeds import seed_pairs
from music_agents import SimulationConfig, run_simulation

NUM_PAIRS = 24
NUM_TURNS = 2
STRATEGY = "forget(turns=2)"
"""Some pairs come out with identical sides, and some the judge drops."""
IN_FLIGHT = 6


class Site:
    """A server and a file of seeds, with the command to simulate from them."""

    in_flight = IN_FLIGHT

    def __init__(self, base_url: str, seeds: Path) -> None:
        self.base_url = base_url
        self.seeds = seeds

    def config(self, **settings) -> SimulationConfig:
        roles = dict.fromkeys(("user", "assistant", "contrast"), f"m@{self.base_url}")
        config = {"num_pairs": NUM_PAIRS, "num_turns": NUM_TURNS, "max_in_flight": IN_FLIGHT, "strategy": {STRATEGY: 1}}
        return SimulationConfig(seeds=str(self.seeds), **(roles | {"judge": "sandbox"} | config | settings))

    def start(self, out: Path, *flags: str) -> subprocess.Popen[str]:
        shell = [sys.executable, "-c", "from music.cli import main; main()"]
        models = [f"--{role}=m@{self.base_url}" for role in ("user", "assistant", "contrast")]
        output = [f"--strategy={STRATEGY}", "--judge=sandbox"]
        size = [f"--num-pairs={NUM_PAIRS}", f"--turns={NUM_TURNS}", f"--max-in-flight={IN_FLIGHT}"]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        pipe = subprocess.PIPE
        command = [*shell, "simulate", str(self.seeds), f"--out={out}", *models, *output, *size, *flags]
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env)

    def run(self, out: Path, *flags: str) -> tuple[int, str, str]:
        return finish(self.start(out, *flags))

    def num_requests(self) -> int:
        with urllib.request.urlopen(self.base_url.removesuffix("/v1") + "/stats", timeout=10) as response:
            return json.load(response)["requests"]

    def wait_for_requests(self, num: int, process: subprocess.Popen[str]) -> None:
        while self.num_requests() < num:
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)  # another process's progress: there is no event to wait for


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def read_output(directory: Path) -> dict[str, bytes]:
    """What must not depend on who simulated the pairs."""
    paths = [*sorted(directory.glob("pairs-*.parquet")), directory / "failures.jsonl"]
    return {path.name: path.read_bytes() for path in paths}


@pytest.fixture(scope="session")
def finished():
    return finish


@pytest.fixture(scope="session")
def output():
    return read_output


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Iterator[Site]:
    seeds = tmp_path_factory.mktemp("seeds") / "seeds.jsonl"
    rows = [pair.model_dump(include={"chosen", "rejected"}) for pair in seed_pairs(12, 0)]
    seeds.write_text("".join(json.dumps({side: row[side]["messages"] for side in row}) + "\n" for row in rows))
    with sandbox_server(ServerConfig(latency="4")) as base_url:
        yield Site(base_url, seeds)


@pytest.fixture(scope="session")
def alone(tmp_path_factory) -> Callable[[SimulationConfig], Path]:
    """Simulates in one process, uninterrupted."""

    def run(config: SimulationConfig) -> Path:
        directory = tmp_path_factory.mktemp("alone")
        report = asyncio.run(run_simulation(config, directory))
        assert report.status == "complete"
        assert sum(report.failures.values()) >= 3, report.failures
        return directory

    return run


@pytest.fixture(scope="session")
def whole(site, alone) -> Path:
    return alone(site.config())
