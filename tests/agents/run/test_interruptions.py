"""Runs that die or are stopped in the middle, against a real server, through the real command."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from copy import copy
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from music.llm.journal import Journal
from music.sandbox.server import ServerConfig, sandbox_server
from music.sandbox.world.seeds import seed_pairs

NUM_PAIRS = 24
NUM_TURNS = 3
IN_FLIGHT = 6
CALLS = NUM_PAIRS * (NUM_TURNS * 4 - 1) - 2  # in two pairs the first contrast changes nothing
PROBE = 1
"""Each session that has pairs to make asks the endpoint once before them."""


class Site:
    """A server and a file of seeds, with the command to simulate from them."""

    def __init__(self, base_url: str, directory: Path) -> None:
        self._base_url = base_url
        self._seeds = directory / "seeds.jsonl"
        pairs = (pair.model_dump(include={"chosen", "rejected"}) for pair in seed_pairs(12, 0))
        rows = ({side: pair[side]["messages"] for side in pair} for pair in pairs)
        self._seeds.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def moved_to(self, base_url: str) -> "Site":
        moved = copy(self)
        moved._base_url = base_url
        return moved

    def start(self, out: Path, *flags: str) -> subprocess.Popen[str]:
        shell = [sys.executable, "-c", "from music.cli import main; main()"]
        models = [f"--{role}=m@{self._base_url}" for role in ("user", "assistant", "contrast")]
        size = [f"--num-pairs={NUM_PAIRS}", f"--turns={NUM_TURNS}", f"--max-in-flight={IN_FLIGHT}"]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        pipe = subprocess.PIPE
        command = [*shell, "simulate", str(self._seeds), f"--out={out}", *models, *size, *flags]
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env)

    def run(self, out: Path, *flags: str) -> tuple[int, str, str]:
        return finish(self.start(out, *flags))

    def num_requests(self) -> int:
        with urllib.request.urlopen(self._base_url.removesuffix("/v1") + "/stats", timeout=10) as response:
            return json.load(response)["requests"]

    def wait_for_requests(self, num: int, process: subprocess.Popen[str]) -> None:
        while self.num_requests() < num:
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)  # another process's progress: there is no event to wait for


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def assert_same_pairs(directory: Path, whole: Path) -> None:
    (shard,) = directory.glob("pairs-*")
    rows = pq.read_table(shard)
    assert rows.equals(pq.read_table(whole / shard.name))
    assert len(set(rows["id"].to_pylist())) == NUM_PAIRS


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with sandbox_server(ServerConfig(latency="4", seed=1)) as base_url:
        yield Site(base_url, tmp_path_factory.mktemp("seeds"))


@pytest.fixture(scope="module")
def whole(site, tmp_path_factory):
    """The same run, uninterrupted."""
    directory = tmp_path_factory.mktemp("whole")
    before = site.num_requests()
    code, out, err = site.run(directory, "--json")
    assert code == 0, err
    assert json.loads(out)["status"] == "complete"
    assert site.num_requests() - before == CALLS + PROBE
    return directory


def test_after_kill_9_the_same_command_goes_on(site, whole, tmp_path):
    before = site.num_requests()
    process = site.start(tmp_path)
    site.wait_for_requests(before + CALLS // 2, process)
    process.send_signal(signal.SIGKILL)
    assert finish(process)[0] == -signal.SIGKILL
    for shard in tmp_path.glob("*.parquet"):  # a beginning of the rows, if the process lived long enough
        rows = pq.read_table(shard)
        assert rows.equals(pq.read_table(whole / shard.name).slice(0, rows.num_rows))
    code, out, err = site.run(tmp_path)
    assert code == 0, err
    assert "complete: 24 of 24 pairs" in out
    assert_same_pairs(tmp_path, whole)
    assert CALLS <= site.num_requests() - before - 2 * PROBE <= CALLS + IN_FLIGHT  # one call per pair in flight


def test_ctrl_c_finishes_calls_in_flight_and_loses_nothing(site, whole, tmp_path):
    before = site.num_requests()
    for number, share in ((signal.SIGINT, 0.3), (signal.SIGTERM, 0.6)):
        process = site.start(tmp_path)
        site.wait_for_requests(before + int(share * CALLS), process)
        process.send_signal(number)
        code, out, err = finish(process)
        assert code == 130
        assert out.startswith("interrupted: ")
        assert "to resume, run the same command" in err
        assert "Traceback" not in err
        assert json.loads((tmp_path / "run.json").read_bytes())["status"] == "interrupted"
    code, _, err = site.run(tmp_path)
    assert code == 0, err
    assert_same_pairs(tmp_path, whole)
    assert site.num_requests() - before == CALLS + 3 * PROBE


def test_a_second_process_in_the_same_directory_is_refused(site, tmp_path):
    journal = Journal.open(tmp_path / "journal.sqlite", {})
    code, _, err = site.run(tmp_path)
    asyncio.run(journal.aclose())
    assert code == 1
    assert "in use by another process" in err


def test_a_complete_run_says_so_and_asks_nothing(site, whole):
    before = site.num_requests()
    code, _, err = site.run(whole)
    assert code == 0
    assert "already complete" in err
    assert site.num_requests() == before


def test_other_settings_are_refused_without_a_traceback(site, whole):
    code, _, err = site.run(whole, "--seed=5")
    assert code == 1
    assert "seed: 0 -> 5" in err
    assert "Traceback" not in err


def test_a_server_at_another_address_may_go_on_with_a_run(site, whole, tmp_path):
    """A model that moved to another port is the same model: what its replies depend on is its name."""
    assert site.run(tmp_path, "--num-pairs=9")[0] == 0
    before = site.num_requests()
    with sandbox_server(ServerConfig(seed=1)) as base_url:
        code, _, err = site.moved_to(base_url).run(tmp_path)
    assert code == 0, err
    assert site.num_requests() == before
    assert_same_pairs(tmp_path, whole)
    report = json.loads((tmp_path / "run.json").read_bytes())
    assert report["endpoints"]["user"] == f"m@{base_url}"
    assert report["settings"]["models"]["user"] == "m"
    assert report["spending"]["num_calls"] == CALLS + 2 * PROBE
