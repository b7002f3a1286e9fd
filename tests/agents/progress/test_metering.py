import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from music.llm.chat import ChatReply, ChatRequest, EndpointUnavailableError, ReplyOutcome, RequestRejectedError
from music.llm.openai import OpenAIChatModel
from music.llm.retry import RetryPolicy
from music.llm.settings import ClientSettings
from music.llm.spending.budget import Budget, PriceTable
from music.llm.spending.ledger import Ledger
from music.llm.spending.records import Charges
from music_agents.failures import FailureReason, RoleFailedError
from music_agents.progress import RunProgress, StopCause
from music_agents.progress.metering import MeteredModel

REMOTE = "m@http://127.0.0.1:8000/v1"
REPLY = ChatReply(text="yes", outcome=ReplyOutcome.COMPLETE, model="m", prompt_tokens=90, completion_tokens=10)


class Scripted:
    """Answers as it is told to, and only while its gate is open."""

    name = REMOTE

    def __init__(self, answer: Callable[[int], ChatReply] = lambda _: REPLY) -> None:
        self.num_sent = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._answer = answer

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.num_sent += 1
        number = self.num_sent
        await self.gate.wait()
        return self._answer(number)

    async def aclose(self) -> None:
        pass


class SpentBefore:
    """What earlier sessions spent."""

    def spent(self, account: str) -> dict[str, Charges]:
        return {"m": Charges(num_calls=9, prompt_tokens=900, completion_tokens=100)}


def metered(inner: Scripted, progress: RunProgress, store: Any = None) -> MeteredModel:
    return MeteredModel(inner, progress, progress.open_account("user", inner.name, store))


def request(pair: int = 0) -> ChatRequest:
    return ChatRequest(messages=(), route=str(pair))


async def ask(model: MeteredModel, times: int) -> list[object]:
    return [await asyncio.gather(model.complete(request()), return_exceptions=True) for _ in range(times)]


async def test_what_becomes_of_calls_is_counted():
    inner, progress = Scripted(), RunProgress()
    model = metered(inner, progress)
    inner.gate.clear()
    call = asyncio.create_task(model.complete(request()))
    await asyncio.sleep(0)
    assert progress.num_in_flight == 1
    inner.gate.set()
    assert await call == REPLY
    assert (progress.num_in_flight, progress.num_calls, progress.ledger.total.num_tokens) == (0, 1, 100)
    assert progress.latency.quantile(0.5) is not None


async def test_a_cancelled_call_is_no_longer_in_flight():
    inner, progress = Scripted(), RunProgress()
    inner.gate.clear()
    call = asyncio.create_task(metered(inner, progress).complete(request()))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([call])
    assert (progress.num_in_flight, progress.num_calls, progress.errors.total()) == (0, 0, 0)


@pytest.mark.parametrize(
    "budget", [Budget(max_total_tokens=1000), Budget(max_cost=1000e-6)], ids=["max_total_tokens", "max_cost"]
)
async def test_a_budget_is_overshot_by_no_more_than_what_is_in_flight(budget):
    inner, progress = Scripted(), RunProgress(ledger=Ledger(budget, PriceTable.parse(["*=1:1"])))
    model = metered(inner, progress)
    await ask(model, 6)
    inner.gate.clear()
    in_flight = [asyncio.create_task(model.complete(request())) for _ in range(7)]
    await asyncio.sleep(0)
    inner.gate.set()
    assert await asyncio.gather(*in_flight) == [REPLY] * 7
    with pytest.raises(RoleFailedError, match="--max-") as refused:
        await model.complete(request())
    assert refused.value.reason is FailureReason.INTERRUPTED
    assert inner.num_sent == 13
    assert progress.stop_reason is StopCause.BUDGET


async def test_what_earlier_sessions_spent_counts():
    inner, progress = Scripted(), RunProgress(ledger=Ledger(Budget(max_total_tokens=1000)))
    model = metered(inner, progress, SpentBefore())
    with pytest.raises(RoleFailedError):
        await model.complete(request())
    assert inner.num_sent == 0


async def test_a_budget_that_cannot_be_kept_stops_the_run():
    silent = ChatReply(text="yes", outcome=ReplyOutcome.COMPLETE, model="m")
    inner, progress = Scripted(lambda _: silent), RunProgress(ledger=Ledger(Budget(max_total_tokens=1000)))
    await ask(metered(inner, progress), 30)
    assert inner.num_sent == 20
    assert "did not say how many tokens" in progress.stop_detail
    inner, progress = Scripted(lambda _: silent), RunProgress()
    await ask(metered(inner, progress), 30)
    assert (progress.stop_reason, progress.ledger.spending().accounts[0].num_uncounted) == (None, 30)


async def test_the_run_stops_once_most_recent_calls_fail():
    def answer(number: int) -> ChatReply:
        if number <= 90:
            return REPLY
        if number % 8 == 0:
            raise RequestRejectedError("too long")
        raise EndpointUnavailableError(f"no connection, try {number}")

    inner, progress = Scripted(answer), RunProgress()
    await ask(metered(inner, progress), 200)
    assert inner.num_sent == 90 + 51
    assert progress.stop_reason is StopCause.STALLED
    assert "51 of the last 100 calls failed, 45 of them by endpoint_unavailable" in progress.stop_detail
    assert "no connection, try 141" in progress.stop_detail
    assert progress.errors == {"endpoint_unavailable": 45, "request_rejected": 6}


async def test_few_failures_stop_nothing():
    def answer(number: int) -> ChatReply:
        if number % 2 == 0:
            raise EndpointUnavailableError("down")
        return REPLY

    inner, progress = Scripted(answer), RunProgress()
    await ask(metered(inner, progress), 300)
    assert (inner.num_sent, progress.stopping) == (300, False)


async def test_a_dead_endpoint_stops_the_run_after_twenty_calls():
    unserved = OpenAIChatModel(
        "m", "http://127.0.0.1:9/v1", ClientSettings(retry=RetryPolicy(max_tries=2, backoff=0.0))
    )
    progress = RunProgress()
    model = MeteredModel(unserved, progress, progress.open_account("user", unserved.name))
    try:
        outcomes = await ask(model, 25)
    finally:
        await model.aclose()
    assert progress.errors == {"endpoint_unavailable": 20}
    assert progress.stop_reason is StopCause.STALLED
    assert isinstance(outcomes[-1][0], RoleFailedError)  # type: ignore[index]


async def test_a_run_that_stops_keeps_its_first_reason():
    progress = RunProgress()
    progress.stop()
    progress.stop(StopCause.STALLED, "all is lost")
    assert (progress.stop_reason, progress.stop_detail) == (StopCause.USER, "as asked")
