"""A server that takes a tenth of what comes at it."""

import asyncio

import pytest

from music.llm.retry import RetryPolicy
from music.sandbox.server import ServerConfig, sandbox_server

LIMIT = 100
"""Requests per second: a small part of what any machine sends and serves."""
NUM_PAIRS = 80
NUM_SETTLED = 180
"""Requests that are let through before the pace is measured."""
NUM_MEASURED = 250


@pytest.mark.parametrize("has_headers", [False, True])
async def test_a_storm_gets_what_the_limit_allows_and_every_pair_is_whole(
    has_headers, make_run, stats, stats_once, tmp_path
):
    with sandbox_server(ServerConfig(limit=LIMIT, limit_headers=has_headers, latency="20")) as url:
        # Left alone, 64 in flight would send ten times the limit and more. A script that both users share makes each
        # request's body its own, so that the server can count its tries.
        run = make_run(tmp_path, f"m@{url}", num_pairs=NUM_PAIRS, max_in_flight=64, shared_script=True)
        task = asyncio.create_task(run.go())
        before = await stats_once(url, "completed", NUM_SETTLED, task)
        after = await stats_once(url, "completed", NUM_SETTLED + NUM_MEASURED, task)
        report = await task
        assert (report.status, report.num_pairs) == ("complete", NUM_PAIRS)
        assert set(report.failures) <= {"identical_sides"}
        end = stats(url)
    run.assert_whole()
    assert len(run.rows) == NUM_PAIRS
    assert end["max_tries"] <= RetryPolicy().max_rate_limited
    assert end["completed"] == report.spending.num_calls
    assert end["requests"] == end["completed"] + end["by_status"].get("429", 0)
    share = (after["completed"] - before["completed"]) / (LIMIT * (after["uptime"] - before["uptime"]))
    assert share >= 0.9
