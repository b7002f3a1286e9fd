"""A request that the server fails on every time it comes."""

import pytest

from music.llm.retry import RetryPolicy
from music.sandbox.server import ServerConfig, sandbox_server

POISON = "a zirconium kettle"
CLIENT = {"backoff": 0.02}


@pytest.fixture
def poisoned_seeds(seeds):
    """The seeds, one of which ends with the poison, and so does the first request that is made from it."""
    pair = seeds[3]
    messages = [
        message.model_copy(update={"content": f"I have {POISON}."}) if message.role == "assistant" else message
        for message in pair.chosen.messages
    ]
    chosen = pair.chosen.model_copy(update={"messages": tuple(messages)})
    return [*seeds[:3], pair.model_copy(update={"chosen": chosen}), *seeds[4:]]


@pytest.mark.parametrize("max_in_flight", [1, 16])
async def test_one_pair_is_lost_and_the_run_goes_on(poisoned_seeds, max_in_flight, make_run, stats, tmp_path):
    with sandbox_server(ServerConfig(poison=POISON)) as url:
        run = make_run(tmp_path, f"m@{url}", **CLIENT, num_pairs=7, max_in_flight=max_in_flight)
        report = await run.go(poisoned_seeds)
        by_fault = stats(url)["by_fault"]
    assert (report.status, report.num_pairs, report.failures) == ("complete", 7, {"endpoint_unavailable": 1})
    run.assert_whole()
    (failure,) = run.failures
    assert (failure["seed_id"], failure["role"], failure["side"]) == ("seed-3", "user", "chosen")
    assert "HTTP 500" in failure["detail"]
    assert by_fault == {"poison": RetryPolicy().max_tries}


async def test_it_takes_no_replica_with_it(poisoned_seeds, make_run, stats, tmp_path):
    with sandbox_server(ServerConfig(poison=POISON)) as first, sandbox_server(ServerConfig(poison=POISON)) as second:
        run = make_run(tmp_path, f"m@{first},m@{second}", **CLIENT, num_pairs=7, max_in_flight=1)
        report = await run.go(poisoned_seeds)
        num_poisoned = [stats(url)["by_fault"].get("poison", 0) for url in (first, second)]
    assert (report.status, report.num_pairs, report.failures) == ("complete", 7, {"endpoint_unavailable": 1})
    assert sum(num_poisoned) == RetryPolicy().max_tries
