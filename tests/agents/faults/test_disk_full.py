"""A disk without room, as files that may not grow beyond a size."""

import resource
from contextlib import contextmanager

import pytest

from music.errors import MusicError
from music.sandbox.server import ServerConfig, sandbox_server

IN_FLIGHT = 16
SETTINGS = {"num_pairs": 60, "max_in_flight": IN_FLIGHT, "shard_size": 20}


@contextmanager
def files_of_at_most(num_bytes):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_ends_the_session_with_the_remedy_and_costs_what_was_in_flight(make_run, stats, tmp_path):
    with sandbox_server(ServerConfig(seed=1)) as url:
        whole = make_run(tmp_path / "whole", f"m@{url}", **SETTINGS)
        await whole.go()
        num_calls = stats(url)["requests"]
        run = make_run(tmp_path / "run", f"m@{url}", **SETTINGS)
        sizes = [1 << 16, 1 << 17, 1 << 18]  # the log of the first, the second, ... session meets its end there
        for size in sizes:
            with files_of_at_most(size), pytest.raises(MusicError, match="make room"):
                await run.go()
        report = await run.go()
        num_asked = stats(url)["requests"] - num_calls
    assert (report.status, report.num_pairs) == ("complete", 60)
    assert run.table.equals(whole.table)
    assert run.failures == whole.failures
    assert num_calls <= num_asked <= num_calls + len(sizes) * IN_FLIGHT
