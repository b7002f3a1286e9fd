"""Twenty kills at random points of one run; each session is a process of its own, ended by SIGKILL."""

import os
import random
import shutil
import signal
import sqlite3
import time

import pyarrow.parquet as pq
import pytest

from music.sandbox.server import ServerConfig, sandbox_server

NUM_PAIRS = 300
NUM_KILLS = 20
IN_FLIGHT = 16
SHARD_SIZE = 32
START_SECONDS = 0.2
"""About what a session takes to open its files and send its first calls."""


def num_journaled(directory, scratch) -> int:
    """Count the replies of a journal that a killed process left, in a copy."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for path in directory.glob("journal.sqlite*"):
        shutil.copy(path, scratch)
    if not (scratch / "journal.sqlite").exists():
        return 0
    connection = sqlite3.connect(scratch / "journal.sqlite")
    try:
        has_table = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'replies'").fetchone()
        return connection.execute("SELECT count(*) FROM replies").fetchone()[0] if has_table else 0
    finally:
        connection.close()


def kill_points(num_calls):
    """Yield when to kill, given the requests so far and the time: at random counts, every fourth soon after a start."""
    rng = random.Random(3)
    points = iter(sorted(rng.sample(range(1, num_calls), NUM_KILLS)))
    for number in range(NUM_KILLS):
        point, moment = next(points), time.monotonic() + rng.uniform(0, START_SECONDS)
        if number % 4 == 0:
            yield lambda _, now, moment=moment: now >= moment
        else:
            yield lambda num, _, point=point: num >= point


@pytest.fixture(scope="module")
def url():
    with sandbox_server(ServerConfig(latency="5", seed=1)) as url:
        yield url


def test_twenty_kills_lose_nothing_and_pay_for_one_call_per_pair_in_flight(url, make_run, stats, sessions_of, tmp_path):
    settings = {"num_pairs": NUM_PAIRS, "max_in_flight": IN_FLIGHT, "shard_size": SHARD_SIZE}
    whole = make_run(tmp_path / "whole", f"m@{url}", **settings)
    run = make_run(tmp_path / "run", f"m@{url}", **settings)
    assert sessions_of(whole).complete() == 0
    num_calls = stats(url)["requests"]

    def num_requests():
        return stats(url)["requests"] - num_calls

    sessions = sessions_of(run)
    for num_kills, is_due in enumerate(kill_points(num_calls), start=1):
        pid = sessions.start()
        while not is_due(num_requests(), time.monotonic()):
            time.sleep(0.005)  # another process's progress: there is no event to wait for
        os.kill(pid, signal.SIGKILL)
        assert sessions.end() == -signal.SIGKILL
        assert num_requests() - num_journaled(run.directory, tmp_path / "copy") <= num_kills * IN_FLIGHT
        for shard in run.directory.glob("pairs-*.parquet"):  # the last one grows
            rows = pq.read_table(shard)
            assert rows.equals(pq.read_table(whole.directory / shard.name).slice(0, rows.num_rows))
    assert sessions.complete() == 0
    assert run.table.equals(whole.table)
    assert len(run.rows) == NUM_PAIRS
    assert run.failures == whole.failures
    run.assert_whole()
    assert num_calls <= num_requests() <= num_calls + NUM_KILLS * IN_FLIGHT
