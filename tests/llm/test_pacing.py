import asyncio
import json
import random
import time
import urllib.request

import pytest

from music.conversation import Message
from music.llm import (
    ChatReply,
    ChatRequest,
    ClientSettings,
    EndpointUnavailableError,
    OpenAIChatModel,
    Pacer,
    PacingSettings,
    RateLimitedError,
    ReplyOutcome,
    RetryPolicy,
    Sampling,
    StoppedWaitingError,
)
from music.llm.rate_limits import Throttle, TokenBucket
from music.llm.retry import FailedTryError
from music.sandbox.server import ServerConfig, sandbox_server

REPLY = ChatReply(text="Hello.", outcome=ReplyOutcome.COMPLETE, model="m", prompt_tokens=60, completion_tokens=40)
BROKEN = FailedTryError(EndpointUnavailableError("broken"))


def limited(retry_after=0.0):
    return FailedTryError(RateLimitedError("slow down"), retry_after, at_once=True)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes at once whenever nothing else is left to do."""

    now = 0.0

    def time(self):
        return self.now

    def _run_once(self):
        if not self._ready and self._scheduled:
            self.now = max(self.now, self._scheduled[0].when())
        super()._run_once()


@pytest.fixture
def run():
    """Run a coroutine in virtual time."""

    def run_(coroutine):
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(coroutine)

    return run_


def make_pacer(max_wait=300.0, **settings):
    return Pacer(PacingSettings(**settings), clock=asyncio.get_running_loop().time, max_wait=max_wait)


async def enter_all(pacer, num, **kwargs):
    """Return the times at which as many requests are admitted, none of which leaves."""

    async def enter():
        await pacer.enter(**kwargs)
        return asyncio.get_running_loop().time()

    return await asyncio.gather(*(enter() for _ in range(num)))


def test_nothing_is_limited_before_the_first_429(run):
    async def scenario():
        pacer = make_pacer()
        assert await enter_all(pacer, 5000) == [0.0] * 5000
        for ticket in range(1, 2001):
            pacer.leave(ticket, BROKEN)
        assert (pacer.limit, pacer.rate, pacer.in_flight) == (None, None, 3000)
        assert pacer.errors == {"EndpointUnavailable": 2000}

    run(scenario())


def test_an_episode_of_429s_cuts_once_and_a_later_one_again(run):
    async def scenario():
        pacer = make_pacer(decrease=0.5)
        await enter_all(pacer, 100)
        for ticket in range(1, 101):
            pacer.leave(ticket, limited())
        assert (pacer.limit, pacer.num_rate_limited, pacer.in_flight) == (49, 100, 0)  # two 429s were taken for stray
        pacer.leave(await pacer.enter(again=True), limited())
        assert pacer.limit < 49

    run(scenario())


def test_a_429_pauses_the_whole_endpoint_as_long_as_it_says(run):
    async def scenario():
        pacer = make_pacer(max_wait=100.0)
        held_back = [pacer.leave(await pacer.enter(), limited(7.0)) for _ in range(3)]
        assert held_back == [False, False, True]  # one or two may be stray
        assert (await enter_all(pacer, 1)) == [7.0]
        pacer.leave(4, limited(5000.0))
        assert (await enter_all(pacer, 1)) == [107.0]

    run(scenario())


def test_429s_that_name_no_time_pause_longer_and_longer(run):
    async def scenario():
        pacer, times = make_pacer(cooldown=1.0), []
        for _ in range(2):  # taken for stray
            pacer.leave(await pacer.enter(), limited(None))
        for _ in range(4):
            ticket = await pacer.enter(again=True)
            times.append(asyncio.get_running_loop().time())
            pacer.leave(ticket, limited(None))
        assert times == [0, 1, 3, 7]

    run(scenario())


def test_tries_of_old_requests_go_before_new_requests_and_each_in_turn(run):
    async def scenario():
        pacer, order = make_pacer(ceiling=1), []

        async def one(name, again):
            ticket = await pacer.enter(again=again)
            order.append(name)
            pacer.leave(ticket, REPLY)

        ticket = await pacer.enter()
        tasks = [asyncio.create_task(one(name, name.isupper())) for name in "abABc"]
        await asyncio.sleep(1)
        tasks[1].cancel()
        await asyncio.sleep(1)
        assert pacer.num_waiting >= 4
        pacer.leave(ticket, REPLY)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == list("ABac")
        assert (pacer.in_flight, pacer.num_waiting, pacer.limit) == (0, 0, 1)

    run(scenario())


def test_a_limit_of_requests_per_minute_is_spread_evenly(run):
    async def scenario():
        return await enter_all(make_pacer(requests_per_minute=60), 61)

    times = run(scenario())
    assert times == pytest.approx(range(61), abs=0.01)


def test_tokens_are_estimated_before_and_corrected_after(run):
    async def scenario():
        pacer = make_pacer(tokens_per_minute=6000)  # 100 per second, and per reply.
        request = ChatRequest(messages=(Message(role="user", content="x" * 800),), sampling=Sampling(max_tokens=200))
        estimate = pacer.estimate(request)
        assert estimate == 400
        pacer.leave(await pacer.enter(estimate), REPLY, estimate)
        assert (await enter_all(pacer, 1, tokens=100.0)) == pytest.approx([1.0], abs=0.01)

    run(scenario())


def test_limits_are_learnt_from_headers(run):
    headers = {
        "x-ratelimit-limit-requests": "600",
        "x-ratelimit-remaining-requests": "2",
        "x-ratelimit-reset-requests": "59.8s",
    }

    async def scenario():
        pacer = make_pacer()
        await pacer.enter()
        pacer.learn(headers, 0.0)
        pacer.leave(1, REPLY)
        return await enter_all(pacer, 12)

    assert run(scenario()) == pytest.approx([0, 0, *(0.1 * n for n in range(1, 11))], abs=0.01)


def held_for(name="requests", **headers):
    return {f"x-ratelimit-{key}-{name}": value for key, value in headers.items()}


@pytest.mark.parametrize(
    "headers",
    [
        held_for(limit="60", remaining="0", reset="1790000000000000"),
        held_for(limit="60", remaining="0", reset="inf"),
        held_for(limit="60", remaining="0", reset="400000d"),
        held_for(limit="1000", remaining="999.9", reset="9999-12-31T23:59:59Z"),
        held_for("tokens", limit="100000", remaining="0", reset="99999999"),
        {
            "anthropic-ratelimit-requests-limit": "50",
            "anthropic-ratelimit-requests-remaining": "0",
            "anthropic-ratelimit-requests-reset": "2999-01-01T00:00:00Z",
        },
    ],
)
def test_no_header_holds_a_request_back_for_longer_than_a_try_may_take(run, headers):
    async def scenario():
        pacer = make_pacer(max_wait=30.0)
        for _ in range(3):
            pacer.learn(headers, 0.0)
            (admitted,) = await enter_all(pacer, 1, tokens=50.0)
            pacer.leave(pacer._last_ticket, REPLY, 50.0)
        return admitted

    assert run(scenario()) <= 90.0


def test_a_reset_in_seconds_since_1970_is_a_moment_and_no_wait_of_years(run):
    async def scenario():
        pacer = make_pacer()
        reset = str(int(time.time()) + 10)
        pacer.learn(held_for(limit="600", remaining="0", reset=reset), 0.0)
        await enter_all(pacer, 1)
        return pacer._clock()

    assert run(scenario()) < 10


def test_what_waits_is_described_with_the_seconds_left(run):
    async def scenario():
        pacer = make_pacer()
        assert pacer.waits == ""
        for _ in range(3):
            pacer.leave(await pacer.enter(), limited(40.0))
        paused = asyncio.create_task(pacer.enter(again=True))
        resting = asyncio.create_task(pacer.sleep(15.0))
        await asyncio.sleep(10)
        waits = pacer.waits
        await asyncio.gather(paused, resting)
        assert pacer.waits == ""
        return waits

    assert run(scenario()) == "30 s more for the end of a pause after a 429; 1 to try again, the next in 5 s"


def test_what_waits_is_let_go_when_told_to_stop_and_not_what_is_in_flight(run):
    async def scenario():
        pacer = make_pacer(requests_per_minute=1)
        ticket = await pacer.enter()
        waiting = [asyncio.create_task(do) for do in (pacer.enter(), pacer.enter(again=True), pacer.sleep(500.0))]
        await asyncio.sleep(1)
        pacer.stop_waiting()
        with pytest.raises(StoppedWaitingError):
            await pacer.enter()
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(end) for end in ends] == [StoppedWaitingError] * 3
        assert (pacer.num_waiting, pacer.in_flight) == (0, 1)
        pacer.leave(ticket, REPLY)
        with pytest.raises(StoppedWaitingError):
            await pacer.sleep(1.0)
        pacer.resume_waiting()
        now = asyncio.get_running_loop().time()
        assert now == 1.0
        return await enter_all(pacer, 1)

    assert run(scenario()) == [60.0]


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_stray_429s_hold_back_their_own_requests_alone(run, share):
    """An endpoint that others use too turns requests away at random; going slower would not help."""

    async def scenario():
        pacer, rng = make_pacer(), random.Random(0)
        for _ in range(64):
            pacer.leave(await pacer.enter(), REPLY)
        num_held_back = 0
        for _ in range(500):
            ticket = await pacer.enter()
            num_held_back += pacer.leave(ticket, limited(1.0) if rng.random() < share else REPLY)
        return num_held_back, pacer.num_rate_limited, asyncio.get_running_loop().time()

    num_held_back, num_limited, seconds = run(scenario())
    assert num_limited > 5
    assert num_held_back <= 0.1 * num_limited
    assert seconds <= 10.0


@pytest.mark.parametrize("burst", [0.5, 1.0, 10.0])
@pytest.mark.parametrize("retry_after", [0.02, 1.0])
def test_a_limit_is_approached_held_and_left_when_it_is_gone(run, burst, retry_after):
    """The arithmetic against a model of a server that allows 100 requests per second, with a backlog without end."""
    done, tries = [], []

    async def scenario():
        clock = asyncio.get_running_loop().time
        pacer, server = make_pacer(), TokenBucket(100.0, 100 * burst, 0.0)

        async def one():
            for num_tries in range(1, 100):
                ticket = await pacer.enter(again=num_tries > 1)
                is_allowed = not server.wait(clock(), 1)
                if is_allowed:
                    server.take(clock(), 1)
                    await asyncio.sleep(0.05)
                is_held_back = pacer.leave(ticket, REPLY if is_allowed else limited(retry_after))
                if is_allowed:
                    done.append(clock())
                    tries.append(num_tries)
                    return
                if not is_held_back:
                    await asyncio.sleep(retry_after + random.uniform(0, RetryPolicy().backoff))

        async def work(until):
            while clock() < until:
                await one()

        await asyncio.gather(*(work(60.0) for _ in range(1000)))
        server.rate, server.capacity = 1e6, 1e6
        await asyncio.gather(*(work(clock() + 60.0) for _ in range(50)))
        return pacer.rate

    rate = run(scenario())
    settled = [time for time in done if 20 <= time < 60]
    assert len(settled) >= 0.9 * 40 * 100
    assert max(tries) <= RetryPolicy().max_rate_limited
    assert rate is None or rate > 300


def test_the_first_limit_is_what_was_served_while_the_429_paused():
    throttle = Throttle()
    assert throttle.limited(0.0, 1, 1000, 1000)
    for _ in range(100):
        throttle.served(0.01, False)
    assert throttle.rate(1.0) == pytest.approx(100)


@pytest.mark.parametrize("has_headers", [False, True])
async def test_a_storm_at_ten_times_the_limit_is_served_with_few_refusals(has_headers):
    limit, num_requests = 60, 300
    with sandbox_server(ServerConfig(limit=limit, latency="5", limit_headers=has_headers)) as url:
        model = OpenAIChatModel("good", url, ClientSettings())
        requests = (
            ChatRequest(messages=(Message(role="user", content=f"How do I cook pasta? {n}"),))
            for n in range(num_requests)
        )
        try:
            replies = await asyncio.gather(*(model.complete(request) for request in requests))
        finally:
            await model.aclose()
        stats = json.load(urllib.request.urlopen(url.removesuffix("/v1") + "/stats"))  # noqa: ASYNC210
    assert len(replies) == stats["completed"] == num_requests
    # Refusals are what a pace is there to avoid: sending all at once again and again would earn several a request.
    assert stats["by_status"].get("429", 0) <= num_requests
    assert stats["max_tries"] <= RetryPolicy().max_rate_limited
    assert model.pacer.in_flight == model.pacer.num_waiting == 0
    assert stats["by_status"].get("429", 0) == model.pacer.num_rate_limited
