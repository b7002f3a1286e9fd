"""Faults as they are on the wire, and the knobs that ask for them."""

import asyncio
import json
import time
import urllib.request

import aiohttp
import pytest
from pydantic import ValidationError

from music.sandbox.server import ServerConfig, sandbox_server
from music.sandbox.server.faults import Fault, FaultPlan, Latency, read_faults
from music.sandbox.server.service import RateLimit, format_duration

SPOILED = "truncate", "invalid_json", "no_choices", "wrong_types", "huge", "nul", "surrogate", "control_tokens"


def chat(text="What should I know about rivers?", seed=0):
    fields = {"model": "good", "seed": seed, "messages": [{"role": "user", "content": text}]}
    return json.dumps(fields).encode()


def stats(url):
    with urllib.request.urlopen(url.removesuffix("/v1") + "/stats", timeout=30) as response:
        return json.load(response)


def wait_for_hang(url, number):
    while stats(url)["by_fault"].get("hang") != number:
        time.sleep(0.01)  # another process's progress: there is no event to wait for


async def post(url, body=None):
    """Return status, headers and body of an answer."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/chat/completions", data=body or chat()) as response,
    ):
        return response.status, response.headers, await response.read()


async def raw(url, body):
    """Return the bytes of an answer, up to the connection's end."""
    host, port = url.removeprefix("http://").removesuffix("/v1").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    try:
        return await reader.read()
    finally:
        writer.close()


@pytest.fixture(scope="module")
def sound():
    """The sandbox's reply to `chat()`."""
    with sandbox_server() as url:
        request = urllib.request.Request(f"{url}/chat/completions", data=chat())
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)["choices"][0]["message"]["content"]


def content(body):
    return json.loads(body)["choices"][0]["message"]["content"]


async def test_a_reset_connection_gives_no_answer():
    with sandbox_server(ServerConfig(faults="reset=1")) as url:
        with pytest.raises(ConnectionResetError):
            await raw(url, chat())
        counts = stats(url)
    assert counts["by_fault"] == {"reset": 1}
    assert (counts["by_status"], counts["completed"]) == ({}, 0)


async def test_a_truncated_body_is_shorter_than_its_length_and_the_connection_closes():
    with sandbox_server(ServerConfig(faults="truncate=1")) as url:
        head, _, body = (await raw(url, chat())).partition(b"\r\n\r\n")
        with pytest.raises(aiohttp.ClientPayloadError):
            await post(url)
        assert stats(url)["completed"] == 0
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length"))
    assert 0 < len(body) < length


async def test_a_hanging_request_ends_with_its_client_and_with_the_server():
    with sandbox_server(ServerConfig(faults="hang=1", latency="0")) as url:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(post(url), 0.3)
        task = asyncio.create_task(post(url))
        await asyncio.to_thread(wait_for_hang, url, 2)
    with pytest.raises(aiohttp.ClientConnectionError):
        await asyncio.wait_for(task, 30)


async def test_a_hanging_request_is_answered_in_the_end(sound):
    with sandbox_server(ServerConfig(faults="hang=1", hang_seconds=0.05)) as url:
        start = time.perf_counter()
        _, _, body = await post(url)
        assert time.perf_counter() - start >= 0.05
        assert stats(url)["completed"] == 1
    assert content(body) == sound


async def test_spoiled_bodies():
    with sandbox_server(ServerConfig(faults="invalid_json=1")) as url:
        status, _, body = await post(url)
        assert status == 200
        with pytest.raises(ValueError):
            json.loads(body)
    with sandbox_server(ServerConfig(faults="no_choices=1")) as url:
        assert json.loads((await post(url))[2])["choices"] == []


async def test_wrong_types_are_numbers_and_objects():
    with sandbox_server(ServerConfig(faults="wrong_types=1")) as url:
        bodies = [(await post(url, chat(seed=seed)))[2] for seed in range(20)]
    assert {type(content(body)) for body in bodies} == {int, dict}
    assert all(json.loads(body)["usage"]["prompt_tokens"] == "many" for body in bodies)


@pytest.mark.parametrize(
    ("fault", "escaped"), [("nul", b"\\u0000"), ("surrogate", b"\\ud83d"), ("control_tokens", b"<|im_end|>")]
)
async def test_hostile_replies_hold_what_they_should(sound, fault, escaped):
    with sandbox_server(ServerConfig(faults=f"{fault}=1")) as url:
        status, _, body = await post(url)
        assert stats(url)["completed"] == 1
    assert status == 200
    assert escaped in body
    text = content(body)
    assert text.replace("\0", "").replace("\ud83d", "").startswith(sound)


async def test_a_huge_reply_is_ten_megabytes():
    with sandbox_server(ServerConfig(faults="huge=1")) as url:
        assert len(content((await post(url))[2])) >= 10_000_000


async def test_poison_always_fails_and_spares_the_rest():
    with sandbox_server(ServerConfig(poison="glaciers")) as url:
        statuses = [(await post(url, chat("Tell me about glaciers.")))[0] for _ in range(5)]
        assert statuses == [500] * 5
        assert (await post(url))[0] == 200
        counts = stats(url)
    assert counts["by_fault"] == {"poison": 5}
    assert counts["max_tries"] == 5


async def test_replies_do_not_depend_on_faults():
    async def tried(url, seed):
        while True:
            try:
                status, _, body = await post(url, chat(seed=seed))
                if status == 200 and isinstance(text := content(body), str):
                    return text
            except (aiohttp.ClientError, ValueError, IndexError):
                pass

    faults = "error=0.1,reset=0.1,truncate=0.1,invalid_json=0.1,no_choices=0.1,wrong_types=0.1"
    with sandbox_server() as plain, sandbox_server(ServerConfig(faults=faults, rate_429=0.1, seed=1)) as faulty:
        replies = [[await tried(url, seed) for seed in range(20)] for url in (plain, faulty)]
        counts = stats(faulty)
    assert replies[0] == replies[1]
    assert sum(counts["by_fault"].values()) == counts["requests"] - counts["completed"]
    assert len(counts["by_fault"]) == 7
    assert counts["max_tries"] > 1


async def test_the_limit_lets_its_rate_through_and_says_when_to_come_again():
    with sandbox_server(ServerConfig(limit=2)) as url:
        answers = await asyncio.gather(*(post(url, chat(seed=seed)) for seed in range(30)))
        counts = stats(url)
        refused = [headers for status, headers, _ in answers if status == 429]
        assert len(refused) == 30 - counts["allowed"] == counts["by_fault"]["limit"]
        await asyncio.sleep(max(float(headers["Retry-After"]) for headers in refused))
        assert (await post(url))[0] == 200
    assert counts["completed"] == counts["allowed"]
    assert 2 <= counts["allowed"] <= 2 + 2 * counts["uptime"]
    assert all(0 < float(headers["Retry-After"]) <= 0.5 for headers in refused)
    for _, headers, _ in answers:
        assert headers["x-ratelimit-limit-requests"] == "120"
        assert 0 <= int(headers["x-ratelimit-remaining-requests"]) < 2
        assert headers["x-ratelimit-reset-requests"].endswith("s")


async def test_a_limit_can_keep_silent():
    with sandbox_server(ServerConfig(limit=1, limit_headers=False)) as url:
        answers = [await post(url) for _ in range(2)]
    assert [status for status, _, _ in answers] == [200, 429]
    assert "Retry-After" in answers[1][1]
    assert not [name for _, headers, _ in answers for name in headers if name.lower().startswith("x-ratelimit")]


def test_a_slow_limit_still_lets_one_request_through():
    now = [0.0]
    limit = RateLimit(0.5, lambda: now[0])
    assert [limit.ask(), limit.ask()] == [0.0, 2.0]
    assert limit.headers()["x-ratelimit-limit-requests"] == "30"
    assert limit.headers()["x-ratelimit-reset-requests"] == "2s"
    now[0] = 2.0
    assert limit.ask() == 0.0
    assert (limit.num_allowed, limit.uptime) == (2, 2.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.02, "20ms"), (1, "1s"), (8.64, "8.64s"), (360, "6m0s"), (86.4, "1m26.4s"), (3600, "1h0m0s")],
)
def test_durations_are_written_as_openai_does(seconds, text):
    assert format_duration(seconds) == text


def test_a_mix_of_faults_is_read():
    assert read_faults("") == {}
    assert read_faults("error=0.05, hang=1e-2") == {Fault.ERROR: 0.05, Fault.HANG: 0.01}
    assert set(read_faults(",".join(f"{fault}=0.1" for fault in SPOILED))) == {Fault(fault) for fault in SPOILED}


@pytest.mark.parametrize(
    "text", ["error", "error=", "error=x", "error=nan", "error=-1", "error=2", "none=1", "limit=1", "typo=0.1"]
)
def test_a_mix_that_cannot_be_read_is_refused(text):
    with pytest.raises(ValidationError, match=r"expected shares .* the faults are error, reset"):
        ServerConfig(faults=text)


def test_a_fault_named_twice_is_refused():
    with pytest.raises(ValidationError, match="each fault once"):
        ServerConfig(faults="error=0.1,error=0.1")


def test_shares_above_the_whole_are_refused():
    with pytest.raises(ValidationError, match=r"at most 1, got 1\.2"):
        ServerConfig(faults="error=0.4,reset=0.3", rate_429=0.5)


def test_no_request_is_failed_for_ever():
    plan = FaultPlan(Latency.parse("0"), {Fault.ERROR: 0.5, Fault.HUGE: 0.4})
    for number in range(100):
        draws = (plan.draw(str(number).encode())[0] for _ in range(500))
        assert Fault.NONE in draws


def test_the_plan_forgets_the_failures_of_the_oldest_request(monkeypatch):
    def draws(*others):
        plan = FaultPlan(Latency.parse("uniform:0:1000"), {Fault.ERROR: 0.999})
        return [plan.draw(key)[1] for key in (b"a", b"a", *others, b"a")]

    monkeypatch.setattr("music.sandbox.server.faults.MAX_REMEMBERED", 2)
    first, second, third = draws()
    assert len({first, second, third}) == 3
    assert draws(b"b")[-1] == third
    assert draws(b"b", b"c")[-1] == first
