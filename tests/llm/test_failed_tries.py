"""Tries that bring no reply: which are paid for, for how much, and when they are no longer sent."""

import asyncio
import os
import sys
from dataclasses import replace

import pytest
from aiohttp import web

from music.conversation import Message
from music.llm import (
    ChatReply,
    ChatRequest,
    ClientSettings,
    EndpointError,
    OpenAIChatModel,
    PacingSettings,
    ReplicatedModel,
    ReplyOutcome,
    RetryPolicy,
    Sampling,
)
from music.llm.chat import TryUsage
from music.llm.estimates import UsageEstimate, num_chars
from music.llm.journal import Journal
from music.llm.retry import FailedTryError
from music.llm.spending.budget import Budget, PriceTable
from music.llm.spending.ledger import Ledger
from music.llm.spending.model import BudgetedModel, BudgetReachedError

ASKED = ChatRequest(
    messages=(Message(role="user", content="x" * 400),), sampling=Sampling(max_tokens=50), seed=1, key="k", route="7"
)
GUESS = (100, 50)
"""Tokens of the request's characters, and its bound."""


def broken_off():
    response = web.Response(body=b'{"choices": [', headers={"Content-Length": "5000"})
    response.force_close()
    return response


def status(code):
    return lambda: web.Response(status=code, text="no")


def not_json():
    return web.Response(text="<html>busy</html>")


class NoReply(web.Response):
    """Closes the connection in place of an answer."""

    async def prepare(self, request):
        request.transport.abort()
        return await super().prepare(request)


class Till:
    """A payer that notes what it pays, until its money is spent."""

    def __init__(self, num_tries=99):
        self.paid = []
        self._num_tries = num_tries

    def admit(self, request):
        if not self._num_tries:
            raise BudgetReachedError("nothing left")
        self._num_tries -= 1

    async def pay(self, request, usage):
        assert request.route == ASKED.route
        self.paid.append(usage)


@pytest.fixture
async def open_client():
    """Open clients that try twice without waiting, and close them in the end."""
    opened = []

    def open_(base_url, **settings):
        quick = {"retry": RetryPolicy(max_tries=2, backoff=0.0), "pacing": PacingSettings(cooldown=0.0)}
        opened.append(OpenAIChatModel("m", base_url, ClientSettings(**(quick | settings))))
        return opened[-1]

    yield open_
    for client in opened:
        await client.aclose()


@pytest.mark.parametrize("answer", [broken_off, not_json, NoReply, status(504)])
async def test_a_try_that_the_endpoint_may_have_worked_for_is_paid_for_by_an_estimate(
    serve, script, completion, open_client, answer
):
    till = Till()
    client = open_client(await serve(script(answer, completion())))
    assert (await client.complete(replace(ASKED, payer=till))).text == "Hello."
    (usage,) = till.paid
    assert (usage.prompt_tokens, usage.completion_tokens) == GUESS
    assert (usage.model, usage.is_estimate) == ("m", True)


@pytest.mark.parametrize("code", [400, 401, 422, 429, 500, 503])
async def test_a_try_that_was_refused_costs_nothing(serve, script, open_client, code):
    till = Till()
    client = open_client(await serve(script(status(code))), retry=RetryPolicy(max_tries=2, max_rate_limited=2))
    with pytest.raises(EndpointError):
        await client.complete(replace(ASKED, payer=till))
    assert till.paid == []


async def test_a_server_that_is_not_there_costs_nothing(unused_tcp_port, open_client):
    till = Till()
    with pytest.raises(EndpointError):
        await open_client(f"http://127.0.0.1:{unused_tcp_port}/v1").complete(replace(ASKED, payer=till))
    assert till.paid == []


async def test_every_try_that_timed_out_is_paid_for_though_the_call_fails_in_the_end(serve, open_client):
    done, till = asyncio.Event(), Till()

    async def hang(request):
        await done.wait()
        return web.Response()

    client = open_client(await serve(hang), timeout=0.2)
    with pytest.raises(EndpointError, match="tried 2 times"):
        await client.complete(replace(ASKED, payer=till))
    done.set()
    assert [(usage.prompt_tokens, usage.completion_tokens) for usage in till.paid] == [GUESS, GUESS]


async def test_a_call_that_is_cut_short_is_paid_for(serve, open_client):
    arrived, done, till = asyncio.Event(), asyncio.Event(), Till()

    async def hang(request):
        arrived.set()
        await done.wait()
        return web.Response()

    call = asyncio.create_task(open_client(await serve(hang)).complete(replace(ASKED, payer=till)))
    await arrived.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    done.set()
    assert [(usage.prompt_tokens, usage.completion_tokens) for usage in till.paid] == [GUESS]


async def test_every_try_of_a_round_of_replicas_is_paid_for(serve, script, completion, open_client):
    till = Till()
    bad = [open_client(await serve(script(broken_off))) for _ in range(2)]
    model = ReplicatedModel(bad, RetryPolicy(max_tries=4, backoff=0.0))
    with pytest.raises(EndpointError, match="tried 4 times"):
        await model.complete(replace(ASKED, payer=till))
    assert len(till.paid) == 4


async def test_no_try_is_sent_that_the_payer_does_not_admit(serve, script, open_client):
    server, till = script(broken_off), Till(num_tries=1)
    client = open_client(await serve(server))
    with pytest.raises(BudgetReachedError):
        await client.complete(replace(ASKED, payer=till))
    assert (len(server.requests), len(till.paid), client.pacer.in_flight) == (1, 1, 0)


async def test_requests_that_wait_for_their_turn_are_not_sent_once_the_budget_is_spent(serve, script, open_client):
    server = script(broken_off)
    client = open_client(
        await serve(server), retry=RetryPolicy(max_tries=1), pacing=PacingSettings(ceiling=2, cooldown=0.0)
    )
    ledger = Ledger(Budget(max_total_tokens=300))
    model = BudgetedModel(client, ledger.open("user", client.name), ledger)
    ends = await asyncio.gather(*(model.complete(ASKED) for _ in range(40)), return_exceptions=True)
    assert len(server.requests) <= 3  # two tries reach the bound; one more was in flight
    assert sum(isinstance(end, BudgetReachedError) for end in ends) >= 37
    assert ledger.spending().sum("num_failed_tries") == len(server.requests)


def test_estimates_follow_the_replies():
    estimate = UsageEstimate()
    unbounded = replace(ASKED, sampling=Sampling())
    assert estimate.guess(unbounded).completion_tokens == 256
    reply = ChatReply(text="x", outcome=ReplyOutcome.COMPLETE, model="m", prompt_tokens=400, completion_tokens=20)
    for _ in range(100):
        estimate.learn(num_chars(unbounded), reply)
    assert estimate.guess(unbounded).prompt_tokens == pytest.approx(400, abs=2)
    assert estimate.guess(unbounded, at_most=True).completion_tokens == 20
    assert estimate.guess(ASKED).completion_tokens == 20  # as replies are
    assert estimate.guess(ASKED, at_most=True).completion_tokens == 50  # as long as it may have grown
    silent = replace(reply, prompt_tokens=0, completion_tokens=0)
    estimate.learn(num_chars(unbounded), silent)
    assert estimate.guess(unbounded).completion_tokens == 20


def test_what_the_endpoint_counted_is_paid_and_not_an_estimate():
    counted = TryUsage(prompt_tokens=7, completion_tokens=3)
    failure = FailedTryError(EndpointError("broke off"), usage=counted, may_be_paid=True)
    assert UsageEstimate().of_failed_try(ASKED, failure) == counted


KILLED = """
import asyncio, sys
from pathlib import Path
from music.conversation import Message
from music.llm import ChatRequest, ClientSettings, OpenAIChatModel, RetryPolicy
from music.llm.journal import Journal, JournaledModel
from music.llm.spending.ledger import Ledger
from music.llm.spending.model import BudgetedModel

async def main(path, base_url):
    ledger = Ledger()
    retry = RetryPolicy(max_tries=100_000, backoff=0.0)
    async with Journal.open(Path(path), {}) as journal:
        client = OpenAIChatModel("m", base_url, ClientSettings(retry=retry))
        paying = BudgetedModel(client, ledger.open("user", client.name, journal), ledger)
        model = JournaledModel(paying, journal, "user")
        messages = (Message(role="user", content="x" * 400),)
        await asyncio.gather(*(model.complete(ChatRequest(messages=messages, key=str(i))) for i in range(4)))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_kill_9_loses_no_failed_try_but_those_in_flight(serve, tmp_path):
    num_sent, enough = 0, asyncio.Event()

    async def break_off(request):
        nonlocal num_sent
        num_sent += 1
        if num_sent >= 60:
            enough.set()
        return broken_off()

    base_url = await serve(break_off)
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, tmp_path / "j", base_url, env=env)
    died = asyncio.create_task(process.wait())
    await asyncio.wait([died, asyncio.create_task(enough.wait())], return_when=asyncio.FIRST_COMPLETED)
    assert not died.done()
    process.kill()
    await died
    async with Journal.open(tmp_path / "j", {}) as journal:
        ledger = Ledger(prices=PriceTable.parse(["m=1:1"]))
        ledger.open("user", f"m@{base_url}", journal)
        (row,) = ledger.spending().accounts
    assert num_sent - 4 <= row.num_failed_tries <= num_sent
    assert row.num_estimated == row.num_failed_tries
    assert row.cost == pytest.approx(row.num_failed_tries * (100 + 256) * 1e-6)
