"""Runs that share a cache of replies."""

import pytest

from music.llm.spending.budget import Budget, PriceTable
from music.llm.spending.ledger import Ledger
from music_agents import RunStatus
from music_agents.progress import RunProgress


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache.sqlite"


async def test_a_run_with_other_settings_pays_only_for_what_they_change(tmp_path, fake_model, seeds, run, cache):
    model = fake_model()
    await run(tmp_path / "two turns", seeds, model, cache=cache)
    num_first = len(model.requests)
    report = await run(tmp_path / "three turns", seeds, model, cache=cache, num_turns=3)
    assert report.status is RunStatus.COMPLETE
    assert 0 < len(model.requests) - num_first == report.spending.num_calls < 8 * (3 * 4 - 1)
    assert report.spending.num_calls + report.spending.sum("num_reused") == 8 * (3 * 4 - 1)


async def test_the_output_is_that_of_a_run_without_a_cache(tmp_path, fake_model, seeds, run, shards, cache):
    await run(tmp_path / "filling", seeds, fake_model(), cache=cache)
    unasked = fake_model()
    report = await run(tmp_path / "cached", seeds, unasked, cache=cache)
    assert (report.status, unasked.requests, report.spending.num_tokens) == (RunStatus.COMPLETE, [], 0)
    assert shards(tmp_path / "cached") == shards(tmp_path / "filling")


async def test_a_run_resumes_without_the_cache_and_counts_its_replies_once(tmp_path, fake_model, seeds, run, cache):
    model = fake_model()
    model.name = "fake@http://127.0.0.1:1/v1"
    await run(tmp_path / "filling", seeds, model, cache=cache, num_turns=1)
    num_first = len(model.requests)

    def within(max_cost):
        return RunProgress(ledger=Ledger(Budget(max_cost=max_cost), PriceTable.parse(["fake=100:1000"])))

    report = await run(tmp_path / "run", seeds, model, within(0.02), cache=cache, max_in_flight=2)
    num_paid = len(model.requests) - num_first
    assert (report.status, report.spending.num_calls) == (RunStatus.BUDGET, num_paid)
    assert report.spending.cost == pytest.approx(0.002 * num_paid)
    num_reused = report.spending.sum("num_reused")
    assert num_reused > 0
    report = await run(tmp_path / "run", seeds, model, within(9.0))
    assert (report.status, report.spending.sum("num_reused")) == (RunStatus.COMPLETE, num_reused)
    num_paid = len(model.requests) - num_first
    assert report.spending.num_calls == num_paid == 8 * (2 * 4 - 1) - num_reused
    assert report.spending.cost == pytest.approx(0.002 * num_paid)
