"""One of three servers of a model is killed in the middle of a run, and comes back."""

import asyncio
import sqlite3
from collections import defaultdict
from contextlib import aclosing

import pytest

from music.llm.endpoints import load_model
from music.llm.retry import RetryPolicy
from music.llm.settings import ClientSettings
from music_agents.run.endpoints import paced_endpoints
from music_agents.run.roles import make_progress

IN_FLIGHT = 24
NUM_LEFT = 200
"""Calls that the others answer while it is away."""


def replicas_by_pair(run):
    """Return the models that answered each pair's calls; each replica here has a name of its own."""
    connection = sqlite3.connect(run.directory / "journal.sqlite")
    answered = defaultdict(set)
    for key, model in connection.execute("SELECT key, model FROM replies"):
        answered[key.partition("/")[0]].add(model)
    connection.close()
    return answered


@pytest.fixture
def cluster(servers):
    return [servers("--latency=20") for _ in range(3)]


@pytest.fixture
def endpoint(cluster):
    return ",".join(f"{name}@{server.url}" for name, server in zip("abc", cluster, strict=True))


async def test_while_all_live_the_calls_of_a_pair_go_to_one(cluster, endpoint, make_run, stats, tmp_path):
    run = make_run(tmp_path, endpoint, num_pairs=60)
    report = await run.go()
    assert (report.status, report.num_pairs) == ("complete", 60)
    homes = replicas_by_pair(run)
    assert all(len(names) == 1 for names in homes.values())
    counts = [stats(server.url)["requests"] for server in cluster]
    assert sum(counts) == report.spending.num_calls
    assert min(counts) > sum(counts) / 6


async def test_one_that_is_killed_costs_no_pair_and_is_used_again(
    cluster, endpoint, make_run, stats, stats_once, tmp_path
):
    victim, *others = cluster
    # More pairs than it takes; the run is stopped when the test has seen what it is about, and then finished.
    run = make_run(tmp_path, endpoint, num_pairs=3000, max_in_flight=IN_FLIGHT)
    progress = make_progress(run.config)
    task = asyncio.create_task(run.go(progress=progress))
    await stats_once(victim.url, "requests", 50, task)
    victim.kill()
    for server in others:
        num = stats(server.url)["requests"]
        await stats_once(server.url, "requests", num + NUM_LEFT, task)
    await asyncio.to_thread(victim.start)
    await stats_once(victim.url, "completed", 50, task)
    progress.stop()
    report = await task
    assert report.status == "interrupted"
    # Those that were with the victim when it died, and the one whose call was the probe.
    assert sum(len(names) > 1 for names in replicas_by_pair(run).values()) <= IN_FLIGHT + 1
    run = make_run(tmp_path, endpoint, num_pairs=report.num_pairs + IN_FLIGHT, max_in_flight=IN_FLIGHT)
    report = await run.go()
    assert report.status == "complete"
    assert set(report.failures) <= {"identical_sides"}
    run.assert_whole()


async def test_with_patience_an_outage_of_all_replicas_costs_no_pair(
    cluster, endpoint, make_run, stats, stats_once, tmp_path
):
    """All are killed, stay away until every pair in flight has failed more often than tries allow, and come back."""
    policy = RetryPolicy(max_tries=2, backoff=0.05, max_backoff=0.1, patience=600.0)
    run = make_run(tmp_path, endpoint, num_pairs=60, max_in_flight=IN_FLIGHT)
    async with aclosing(load_model(endpoint, ClientSettings(retry=policy))) as model:
        models = dict.fromkeys(("user", "assistant", "contrast"), model)
        task = asyncio.create_task(run.go_with(models))
        await stats_once(cluster[0].url, "requests", 20, task)
        for server in cluster:
            server.kill()
        paced = paced_endpoints(models)
        while sum(model.pacer.errors["EndpointUnreachable"] for model in paced) < 5 * IN_FLIGHT:
            assert not task.done(), task.result()
            await asyncio.sleep(0.01)  # the run's own progress: there is no event to wait for
        assert any("to try again" in model.pacer.waits for model in paced)
        for server in cluster:
            await asyncio.to_thread(server.start)
        report = await task
    assert (report.status, report.num_pairs) == ("complete", 60)
    assert set(report.failures) <= {"identical_sides"}
    run.assert_whole()


async def test_one_that_hangs_costs_time_and_no_pair(servers, make_run, stats, tmp_path):
    """It takes what it is sent and never answers; the rows are those of a run without it."""
    sound, hanging = [servers("--latency=5") for _ in range(2)], servers("--faults=hang=1")
    settings = {"num_pairs": 40, "max_in_flight": IN_FLIGHT}
    whole = make_run(tmp_path / "whole", ",".join(f"m@{server.url}" for server in sound), **settings)
    await whole.go()
    endpoint = ",".join(f"m@{server.url}" for server in (hanging, *sound))
    run = make_run(tmp_path / "run", endpoint, timeout=2.0, **settings)
    report = await run.go()
    assert stats(hanging.url)["requests"] > 0
    assert (report.status, report.num_pairs) == ("complete", 40)
    assert run.table.equals(whole.table)
    assert run.failures == whole.failures
