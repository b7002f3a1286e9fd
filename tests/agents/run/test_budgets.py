"""A budget against a server most of whose tries bring no reply, and are paid for all the same."""

import asyncio
import itertools
import json

import pytest
from aiohttp import web

from music.conversation import Message
from music.llm import ClientSettings, OpenAIChatModel, RetryPolicy
from music.llm.spending.budget import Budget, PriceTable
from music.llm.spending.ledger import Ledger
from music.prompts import PromptKind, read_prompt, render_contrast_reply
from music_agents import RunStatus
from music_agents.progress import RunProgress

IN_FLIGHT = 4
REPLY_TOKENS = 50
PRICE = 2.0
PRICES = [f"m={PRICE}:{PRICE}"]
ENDS = ["good", "broken", "html", "error", "broken", "good", "hang", "html", "error", "good"]


class CostlyServer:
    """Counts what it used for every request, of which three in ten get a reply."""

    def __init__(self):
        self.num_requests = self.num_tokens = self.most_tokens = 0
        self.done = asyncio.Event()
        self._ends = itertools.cycle(
            ["good", "broken", "html", "error", "broken", "good", "hang", "html", "error", "good"]
        )
        self._number = itertools.count()

    @property
    def cost(self):
        return self.num_tokens * PRICE * 1e-6

    async def handle(self, request):
        asked = await request.json()
        num_chars = sum(len(message["content"]) for message in asked["messages"])
        usage = {"prompt_tokens": round(num_chars / 4), "completion_tokens": REPLY_TOKENS}
        self.num_requests += 1
        self.num_tokens += sum(usage.values())
        self.most_tokens = max(self.most_tokens, sum(usage.values()))
        match next(self._ends):
            case "broken":
                response = web.Response(body=b'{"choices": [', headers={"Content-Length": "5000"})
                response.force_close()
                return response
            case "html":
                return web.Response(text="<html>busy</html>")
            case "hang":
                await self.done.wait()
                return web.Response()
            case "error":
                return web.json_response({"choices": [], "usage": usage})
        return web.json_response(
            {
                "model": "m",
                "choices": [{"message": {"content": self._text(asked)}, "finish_reason": "stop"}],
                "usage": usage,
            }
        )

    def _text(self, asked):
        part = read_prompt(tuple(Message(**message) for message in asked["messages"])).kind
        number = next(self._number)
        if part is PromptKind.INSTRUCTION:
            return render_contrast_reply(f"modified {number}", f"contrast {number}")
        return f"{part} {number}"


@pytest.fixture
async def server():
    costly = CostlyServer()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", costly.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    costly.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield costly
    costly.done.set()
    await runner.cleanup()


@pytest.fixture
async def model(server):
    settings = ClientSettings(timeout=1.0, retry=RetryPolicy(max_tries=20, backoff=0.0))
    client = OpenAIChatModel("m", server.url, settings)
    yield client
    await client.aclose()


def within(max_cost, prices=PRICES):
    return RunProgress(ledger=Ledger(Budget(max_cost=max_cost), PriceTable.parse(prices)))


async def test_failed_tries_are_spent_too_in_all_sessions(tmp_path, seeds, run, server, model):
    settings = {"num_pairs": 100, "max_in_flight": IN_FLIGHT, "max_reply_tokens": REPLY_TOKENS}
    for max_cost in (0.02, 0.05):
        report = await run(tmp_path, seeds, model, within(max_cost), **settings)
        assert report.status is RunStatus.BUDGET
        # What the server used goes over the budget by no more than what was in flight when it was reached.
        assert server.cost <= max_cost + IN_FLIGHT * server.most_tokens * PRICE * 1e-6
        assert report.spending.cost == pytest.approx(server.cost, rel=0.02)
        assert report.spending.num_tokens == pytest.approx(server.num_tokens, rel=0.02)
    spending = json.loads((tmp_path / "run.json").read_bytes())["spending"]
    num_failed, num_estimated, estimated_tokens = (
        sum(row[count] for row in spending["accounts"])
        for count in ("num_failed_tries", "num_estimated", "estimated_tokens")
    )
    assert spending["num_calls"] + num_failed == server.num_requests
    assert 0 < num_estimated <= num_failed
    assert 0 < estimated_tokens < spending["num_tokens"]

    num_requests = server.num_requests
    for prices in (PRICES, ["m=0:0"], ["m=900:900"]):  # spent is spent, whatever the price is now
        report = await run(tmp_path, seeds, model, within(0.05, prices), **settings)
        assert report.status is RunStatus.BUDGET
        assert report.spending.cost == pytest.approx(server.cost, rel=0.02)
    assert server.num_requests == num_requests
