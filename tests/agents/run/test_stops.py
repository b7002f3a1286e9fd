"""Runs that stop by themselves: at their budget, or because next to nothing comes back."""

import json

import pytest

from music.errors import InvalidInputError
from music.llm.chat import EndpointUnavailableError
from music.llm.spending.budget import Budget, PriceTable
from music.llm.spending.ledger import Ledger
from music_agents import RunStatus, SimulationStalledError
from music_agents.progress import RunProgress

IN_FLIGHT = 4
TOKENS = 11  # of each of the fake model's replies: 10 of the prompt, and 1


def within(prices=(), **bounds):
    return RunProgress(ledger=Ledger(Budget(**bounds), PriceTable.parse(prices)))


async def test_at_its_token_budget_a_run_stops_and_goes_on_with_a_higher_one(tmp_path, fake_model, seeds, run, shards):
    await run(tmp_path / "whole", seeds, fake_model())
    directory, keys = tmp_path / "cut", []
    for max_total_tokens in (20 * TOKENS, 45 * TOKENS - 3):
        model = fake_model()
        report = await run(directory, seeds, model, within(max_total_tokens=max_total_tokens), max_in_flight=IN_FLIGHT)
        assert report.status is RunStatus.BUDGET
        assert f"of --max-total-tokens {max_total_tokens}" in report.detail
        # what comes over the budget is what was in flight when it was reached
        assert max_total_tokens <= report.spending.num_tokens < max_total_tokens + IN_FLIGHT * TOKENS
        assert len(model.requests) > IN_FLIGHT
        keys += [request.key for request in model.requests]
    assert report.num_pairs > 0
    model = fake_model()
    report = await run(directory, seeds, model, within(max_total_tokens=max_total_tokens), max_in_flight=IN_FLIGHT)
    assert (report.status, model.requests) == (RunStatus.BUDGET, [])  # spent is spent
    report = await run(directory, seeds, model, within(max_total_tokens=10**6))
    assert report.status is RunStatus.COMPLETE
    keys += [request.key for request in model.requests]
    assert len(keys) == len(set(keys)) == report.spending.num_calls == 56
    assert shards(directory) == shards(tmp_path / "whole")


async def test_costs_are_bounded_by_prices_and_kept_by_role(tmp_path, fake_model, seeds, run):
    model = fake_model()
    model.name = "fake@http://127.0.0.1:1/v1"
    prices = ["fake=100:1000"]  # 0.002 USD a call
    report = await run(tmp_path, seeds, model, within(prices, max_cost=0.05), max_in_flight=IN_FLIGHT)
    assert (report.status, report.detail) == (RunStatus.BUDGET, "0.05 USD are spent of --max-cost 0.05")
    assert 25 <= report.spending.num_calls < 25 + IN_FLIGHT
    assert report.spending.cost == pytest.approx(0.002 * report.spending.num_calls)
    assert {row.account for row in report.spending.accounts} == {"user", "assistant", "contrast"}
    assert sum(row.cost for row in report.spending.accounts) == pytest.approx(report.spending.cost)


async def test_a_bound_on_the_cost_wants_a_price_of_every_model(tmp_path, fake_model, seeds, run):
    model = fake_model()
    model.name = "fake@http://127.0.0.1:1/v1"
    with pytest.raises(InvalidInputError, match=r"--price 'fake=PROMPT:COMPLETION'"):
        await run(tmp_path, seeds, model, within(max_cost=1.0))
    assert model.requests == []
    assert (await run(tmp_path, seeds, model)).spending.cost is None  # without a bound it is only not known


async def test_a_run_whose_calls_mostly_fail_stops_between_good_pairs_too(tmp_path, fake_model, plain, seeds, run):
    """Not one run of 20 failed pairs: every sixth pair comes out well, and costs as much as the others together."""

    def answer(part, conversation, request):
        if int(request.route) % 6:
            raise EndpointUnavailableError("connection refused")
        return plain(part, conversation, request)

    size = {"num_pairs": 100, "num_turns": 1, "max_in_flight": 6}
    with pytest.raises(SimulationStalledError, match=r"of the last \d+ calls failed.*connection refused"):
        await run(tmp_path, seeds, fake_model(answer), **size)
    report = json.loads((tmp_path / "run.json").read_bytes())
    assert report["status"] == "stalled"
    assert "calls failed" in report["detail"]
    assert report["num_pairs"] < 10
    report = await run(tmp_path, seeds, fake_model(), **size)
    assert (report.status, report.num_pairs) == (RunStatus.COMPLETE, 100)
