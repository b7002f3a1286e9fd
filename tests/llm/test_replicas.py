import asyncio
from collections import Counter

import pytest
from aiohttp import web

from music.conversation import Message
from music.llm import (
    ChatRequest,
    ClientSettings,
    EndpointUnavailableError,
    PacingSettings,
    RequestRejectedError,
    RetryPolicy,
    load_model,
)
from music.llm.openai import OpenAIChatModel
from music.llm.replicas import ReplicatedModel
from music.sandbox.server import ServerConfig, sandbox_server


class Server:
    """A replica that answers with its name, or with a status if told to."""

    def __init__(self, name, completion):
        self.name = name
        self.completion = completion
        self.status = 200
        self.num_requests = 0

    async def __call__(self, _):
        self.num_requests += 1
        return web.json_response(self.completion(self.name), status=self.status)


@pytest.fixture
async def cluster(serve, completion):
    """Three servers, a model over them, its clock (in a list) and the waits between its tries."""
    servers = [Server(name, completion) for name in "abc"]
    settings = ClientSettings(pacing=PacingSettings(cooldown=0.0))
    clients = [OpenAIChatModel("m", await serve(server), settings) for server in servers]
    now, sleeps = [0.0], []

    async def sleep(seconds):
        sleeps.append(seconds)

    policy = RetryPolicy(max_rate_limited=1)
    model = ReplicatedModel(clients, policy, sleep=sleep, clock=lambda: now[0])
    yield model, servers, now, sleeps
    await model.aclose()


def ask(model, route=""):
    return model.complete(ChatRequest(messages=(Message(role="user", content="Hi!"),), route=route))


async def texts(model, routes):
    return [reply.text for reply in await asyncio.gather(*(ask(model, route) for route in routes))]


async def test_a_route_stays_with_its_replica_and_routes_are_spread(cluster):
    model, *_ = cluster
    routes = [f"pair-{n}" for n in range(30)]
    homes = await texts(model, routes)
    assert Counter(homes) == {"a": 10, "b": 10, "c": 10}
    assert await texts(model, reversed(routes)) == homes[::-1]
    assert Counter(await texts(model, [""] * 30)) == {"a": 10, "b": 10, "c": 10}


async def test_a_failing_replica_is_left_probed_and_taken_back(cluster):
    model, (a, *_), now, sleeps = cluster
    routes = [f"pair-{n}" for n in range(30)]
    homes = await texts(model, routes)
    a.status = 500
    assert set(await texts(model, routes)) == {"b", "c"}
    num_waits = len(sleeps)
    a.num_requests = 0
    now[0] = 0.9
    await texts(model, routes)
    assert a.num_requests == 0
    now[0] = 1.1
    await texts(model, routes)
    assert a.num_requests == 1
    now[0] = 2.9
    await texts(model, routes)
    assert a.num_requests == 1
    assert sleeps[num_waits:] == [0.0]
    a.status = 200
    now[0] = 3.2
    assert (await texts(model, [routes[homes.index("b")]])) == ["a"]
    assert "a" in await texts(model, [f"new-{n}" for n in range(10)])


@pytest.mark.parametrize("status", [400, 429])
async def test_what_a_replica_refuses_or_limits_does_not_take_it_down(cluster, status):
    model, (a, *_), *_ = cluster
    (home,) = await texts(model, ["pair-1"])
    assert home == "a"
    a.status = status
    for _ in range(5):
        with pytest.raises(Exception, match=f"HTTP {status}"):
            await ask(model, "pair-1")
    a.status = 200
    assert await texts(model, ["pair-1"]) == ["a"]


async def test_with_all_down_the_tries_are_bounded_and_all_are_named(cluster):
    model, servers, _, sleeps = cluster
    for server in servers:
        server.status = 503
    for _ in range(4):
        with pytest.raises(EndpointUnavailableError) as info:
            await ask(model, "pair-1")
    assert all(endpoint.name in str(info.value) for endpoint in model.endpoints)
    assert "no replica" in str(info.value)
    assert sum(server.num_requests for server in servers) == 20
    assert any(seconds >= 0.5 for seconds in sleeps)
    for server in servers:
        server.status = 200
    assert await texts(model, ["pair-1"])


async def test_a_rejection_is_final(cluster):
    model, servers, *_ = cluster
    for server in servers:
        server.status = 404
    with pytest.raises(RequestRejectedError):
        await ask(model)
    assert sum(server.num_requests for server in servers) == 1


async def test_one_of_three_processes_killed_loses_no_request():
    config = ServerConfig(latency="20")
    with sandbox_server(config) as first, sandbox_server(config) as second:
        with sandbox_server(config) as third:
            model = load_model(",".join(f"good@{url}" for url in (first, second, third)))
            tasks = [asyncio.create_task(_converse(model, n)) for n in range(60)]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        # The third is gone now, with requests in flight.
        replies = await asyncio.gather(*tasks)
        assert all(reply.text for replies_ in replies for reply in replies_)
        assert model.endpoints[2].pacer.errors.total() > 0
        await model.aclose()


async def _converse(model, number):
    """Twenty turns one after another, in one route."""
    turns = (
        ChatRequest(messages=(Message(role="user", content=f"{number} {n}"),), route=f"pair-{number}")
        for n in range(5 + number // 2)
    )
    return [await model.complete(turn) for turn in turns]
