import asyncio
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from music.cli.config import apply_config
from music.conversation import Message
from music.errors import InvalidInputError
from music.llm.chat import ChatReply, ChatRequest, ReplyOutcome, TryUsage
from music.llm.journal import Journal
from music.llm.spending.budget import Budget, Price, PriceTable
from music.llm.spending.ledger import Ledger
from music.llm.spending.model import BudgetedModel, BudgetReachedError

REMOTE = "gemma@http://127.0.0.1:8000/v1"


def reply(prompt_tokens: int = 1000, completion_tokens: int = 100, model: str = "gemma") -> ChatReply:
    return ChatReply(
        text="yes",
        outcome=ReplyOutcome.COMPLETE,
        model=model,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
    )


def test_prices_are_found_by_the_model_of_an_endpoint():
    table = PriceTable.parse(["gemma=0.15:0.60", "org/llama3:8b=1:2", "*=9:9"])
    assert table.find(REMOTE) == {"gemma": Price(0.15, 0.60)}
    assert table.find(f"{REMOTE}, other@http://127.0.0.1:1/v1") == {"gemma": Price(0.15, 0.60), "other": Price(9, 9)}
    assert table.find("org/llama3:8b@HTTPS://api.example.com/v1") == {"org/llama3:8b": Price(1, 2)}
    assert table.find("sandbox:poor") == {"sandbox:poor": Price(0, 0)}
    assert table.find("local:a,b") == {"local:a,b": Price(0, 0)}
    assert PriceTable().find(REMOTE) == {"gemma": None}
    assert Price(0.15, 0.60).cost(2_000_000, 1_000_000) == pytest.approx(0.90)


@pytest.mark.parametrize(
    "entry",
    [
        "gemma",
        "gemma=1",
        "gemma=1:2:3:4",
        "=1:2",
        "gemma=1:2:",
        "gemma=1:2:inf",
        "gemma=a:b",
        "gemma=-1:2",
        "gemma=nan:1",
    ],
)
def test_a_malformed_price_is_refused_with_the_form_expected(entry):
    with pytest.raises(InvalidInputError, match=r"MODEL=PROMPT:COMPLETION") as error:
        PriceTable.parse([entry])
    assert repr(entry) in str(error.value)


def test_cached_prompt_tokens_have_a_price_of_their_own():
    table = PriceTable.parse(["gemma=2:4:0.5", "*=2:4"])
    discounted, plain = table.find(f"{REMOTE},other@http://127.0.0.1:1/v1").values()
    assert discounted == Price(2, 4, 0.5)
    assert discounted.cost(1_000_000, 250_000, 400_000) == pytest.approx(0.6 * 2 + 0.4 * 0.5 + 1)
    assert plain.cost(1_000_000, 250_000, 400_000) == pytest.approx(3.0)
    account = (ledger := Ledger(prices=table)).open("user", REMOTE)
    account.charge("0", replace(reply(1_000_000, 0), cached_tokens=1_000_000))
    (row,) = ledger.spending().accounts
    assert (row.cached_tokens, row.prompt_tokens, row.cost) == (1_000_000, 1_000_000, pytest.approx(0.5))


def test_two_prices_of_one_model_are_refused():
    with pytest.raises(InvalidInputError, match="two of 'gemma'"):
        PriceTable.parse(["gemma=1:2", "gemma=1:3"])


def test_prices_in_a_config_file_are_a_list(tmp_path):
    app = typer.Typer()

    @app.command()
    def show(
        price: Annotated[list[str], typer.Option()],
        config: Annotated[Path, typer.Option(callback=apply_config, is_eager=True)],
    ) -> None:
        typer.echo(str(PriceTable.parse(price).find(REMOTE)["gemma"]))

    (tmp_path / "run.toml").write_text('price = ["gemma=0.15:0.60", "*=1:1"]\n')
    result = CliRunner().invoke(app, ["--config", str(tmp_path / "run.toml")])
    assert result.stdout.strip() == str(Price(0.15, 0.60)), result.output


def test_a_bound_on_the_cost_needs_every_price():
    ledger = Ledger(Budget(max_cost=1.0), PriceTable.parse(["gemma=1:1"]))
    ledger.open("user", "sandbox")
    ledger.open("assistant", REMOTE)
    with pytest.raises(InvalidInputError, match=r"'dear' \(role judge\): add --price 'dear=PROMPT:COMPLETION'"):
        ledger.open("judge", f"{REMOTE},dear@http://127.0.0.1:8000/v1")
    Ledger(Budget(max_total_tokens=10)).open("judge", REMOTE)


@pytest.fixture
async def journal(tmp_path):
    async with Journal.open(tmp_path / "journal.sqlite", {}) as opened:
        yield opened


async def session(journal, price, *replies, num_failed=0):
    """Spend on an account as one session does, and return its spending."""
    ledger = Ledger(prices=PriceTable.parse([price] if price else []))
    account = ledger.open("user", REMOTE, journal)
    number = itertools.count(sum(tally.num_calls for tally in journal.spent("user").values()))
    for each in replies:
        account.charge("", each)
        await journal.put(str(next(number)), each, "user", account.cost(each))
    for _ in range(num_failed):
        await account.pay("", "k", TryUsage(prompt_tokens=1_000_000, model="gemma", is_estimate=True))
    return ledger.spending()


async def test_what_was_charged_keeps_its_cost_when_the_price_changes(journal):
    million = reply(1_000_000, 0)
    assert (await session(journal, "gemma=1:1", million, num_failed=1)).cost == 2.0
    assert (await session(journal, "gemma=50:50")).cost == 2.0
    assert (await session(journal, "gemma=50:50", million)).cost == 52.0
    assert (await session(journal, "gemma=0.1:0.1", million)).cost == pytest.approx(52.1)
    assert (await session(journal, "")).cost == pytest.approx(52.1)  # with no price at all


async def test_what_was_charged_without_a_price_gets_the_first_there_is_and_keeps_it(journal):
    million = reply(1_000_000, 0)
    assert (await session(journal, "", million, num_failed=2)).cost is None
    assert (await session(journal, "gemma=1:1", million)).cost == 4.0
    assert (await session(journal, "gemma=50:50")).cost == 4.0


async def test_failed_tries_count_in_the_budget_and_are_marked_as_estimates(journal):
    await session(journal, "gemma=1:1", reply(), num_failed=3)
    ledger = Ledger(Budget(max_cost=3.0), PriceTable.parse(["gemma=9:9"]))
    ledger.open("user", REMOTE, journal)
    assert "--max-cost 3.00" in ledger.exhausted()
    (row,) = ledger.spending().accounts
    assert (row.num_calls, row.num_failed_tries, row.num_estimated) == (1, 3, 3)
    assert (row.prompt_tokens, row.estimated_tokens) == (3_001_000, 3_000_000)
    assert row.cost == pytest.approx(3.0011)


async def test_spending_is_kept_by_account_and_model(journal):
    await session(journal, "gemma=1:10", reply(250, 25), reply(250, 25))
    ledger = Ledger(prices=PriceTable.parse(["gemma=1:10"]))
    user = ledger.open("user", REMOTE, journal)
    judge = ledger.open("judge", "sandbox")
    user.charge("0", reply())
    judge.charge("0", reply(7, 3, "oracle"))
    spending = ledger.spending()
    rows = {(row.account, row.model): row for row in spending.accounts}
    assert rows["user", "gemma"].cost == pytest.approx(1500e-6 + 150 * 10e-6)
    assert (rows["user", "gemma"].num_calls, rows["user", "gemma"].prompt_tokens) == (3, 1500)
    assert (rows["judge", "sandbox"].cost, rows["judge", "sandbox"].completion_tokens) == (0.0, 3)
    assert (spending.num_calls, spending.num_tokens) == (4, 1660)
    assert spending.cost == pytest.approx(3000e-6)


def test_a_reply_costs_what_its_replica_costs_and_the_dearest_price_if_it_does_not_say():
    ledger = Ledger(prices=PriceTable.parse(["cheap=1:1", "dear=5:5"]))
    account = ledger.open("user", "cheap@http://a/v1,dear@http://b/v1")
    account.charge("0", reply(1_000_000, 0, "cheap"))
    account.charge("0", reply(1_000_000, 0, "cheap-2024-08-06"))
    assert {row.model: row.cost for row in ledger.spending().accounts} == {"cheap": 1.0, "dear": 5.0}


def test_without_a_price_the_cost_is_unknown_not_zero():
    ledger = Ledger()
    ledger.open("user", REMOTE).charge("0", reply())
    assert ledger.spending().cost is None
    assert ledger.spending().accounts[0].cost is None


def test_budgets_say_when_they_are_reached():
    cost = Budget(max_cost=0.3)
    assert not cost.reached(0.29, 10**9)
    assert "0.30 USD" in cost.reached(0.1 + 0.1 + 0.1 - 1e-12, 0)
    assert "1,000 tokens" in Budget(max_total_tokens=1000).reached(0.0, 1000)
    assert not Budget().reached(1e9, 10**12)


def test_a_run_is_projected_from_ended_pairs_alone():
    ledger = Ledger(prices=PriceTable.parse(["gemma=1:1"]))
    account = ledger.open("user", REMOTE)
    for index in range(40):  # 40 pairs are in flight, with two calls each
        account.charge(str(index), reply(900_000, 100_000))
        account.charge(str(index), reply(900_000, 100_000))
    for index in range(4):
        ledger.end_pair(index)
    assert ledger.project(100, num_pairs=3, num_failed=1) is None
    ledger.end_pair(4)
    projection = ledger.project(100, num_pairs=4, num_failed=1)
    assert projection is not None
    # 10 calls made four pairs and a failure; so a hundred pairs take 250.
    assert (projection.num_calls, projection.num_tokens, projection.cost) == (250, 250_000_000, pytest.approx(250.0))
    assert ledger.project(100, num_pairs=0, num_failed=5) is None


async def test_a_resumed_run_is_projected_from_both_sessions(journal):
    await session(journal, "", *[reply(10, 1)] * 80)
    ledger = Ledger()
    account = ledger.open("user", "sandbox", journal)
    for _ in range(8):
        account.charge("10", reply(10, 1))
    ledger.end_pair(10)
    projection = ledger.project(110, num_pairs=11, num_failed=0)
    assert projection is not None
    assert (projection.num_calls, projection.num_tokens) == (880, 9680)


class Priced:
    """Answers after `release` is set."""

    name = REMOTE

    def __init__(self):
        self.release = asyncio.Event()
        self.num_calls = 0

    async def complete(self, request):
        self.num_calls += 1
        await self.release.wait()
        return reply()

    async def aclose(self):
        pass


async def test_a_model_within_a_budget_finishes_what_is_in_flight_and_sends_no_more():
    ledger = Ledger(Budget(max_total_tokens=1500, flags="--judge-"))
    inner = Priced()
    model = BudgetedModel(inner, ledger.open("judge", REMOTE), ledger)
    request = ChatRequest(messages=(Message(role="user", content="Hi"),))
    in_flight = [asyncio.create_task(model.complete(request)) for _ in range(3)]
    await asyncio.sleep(0)
    inner.release.set()
    assert await asyncio.gather(*in_flight) == [reply()] * 3
    with pytest.raises(BudgetReachedError, match="3,300 tokens are spent of --judge-max-total-tokens 1,500"):
        await model.complete(request)
    assert (inner.num_calls, ledger.spending().num_tokens) == (3, 3300)
