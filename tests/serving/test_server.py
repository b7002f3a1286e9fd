import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession, web

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward import RewardModel
from music.serving import ScoringService, ServingConfig, reward_server
from music.serving.access import AccessRules
from music.serving.server import build_app, listening, run_service

SECRET = "the words of a user"
CONVERSATION = [{"role": "user", "content": "Name a fruit."}, {"role": "assistant", "content": "An apple."}]
TURNS = [{"role": "user", "content": SECRET}, {"role": "assistant", "content": SECRET}] * 60
"""A conversation that is too long, and whose oldest exchanges are dropped."""


def ask(url, path, body=None, headers=None, method=None):
    """Send a request; return status, headers and the JSON of the answer."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.headers, read(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, read(error)


def read(response):
    body = response.read()
    return json.loads(body) if body and response.headers.get_content_type() == "application/json" else body.decode()


def score(url, *conversations, **fields):
    return ask(url, "/v1/score", {"conversations": conversations, **fields})


def code(answer):
    return answer[0], answer[2]["error"]["code"]


@contextmanager
def serve(checkpoint, *flags, **variables):
    """Run `music serve`; yield the process and its base URL."""
    command = [sys.executable, "-m", "music", "serve", str(checkpoint), "--port", "0", "--device", "cpu", *flags]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | variables
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env, start_new_session=True) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.fixture(scope="module")
def url(checkpoint):
    """Serve with low limits, for the whole module: every fault below happens to one and the same server."""
    flags = (
        "--device",
        "cpu",
        "--max-body",
        "200000",
        "--max-conversations",
        "50",
        "--max-tokens",
        "5000",
        "--read-seconds",
        "1",
    )
    with reward_server(str(checkpoint), *flags) as base:
        yield base


@pytest.fixture(autouse=True, scope="module")
def _server_is_unharmed(url, checkpoint):
    yield
    expected = RewardModel.from_pretrained(checkpoint, device="cpu").score([Conversation.from_messages(CONVERSATION)])
    assert [item["score"] for item in score(url, CONVERSATION)[2]["data"]] == pytest.approx(expected, abs=1e-5)


def test_pages(url, checkpoint):
    assert ask(url, "/health")[2] == {"status": "ok"}
    assert ask(url, "/ready")[2] == {"status": "ready"}
    contract = ask(url, "/contract")[2]
    model = RewardModel.from_pretrained(checkpoint, device="cpu")
    assert contract["contract"] == model.contract.model_dump()
    assert contract["fingerprint"] == model.fingerprint
    assert {"music-rm", "torch", "transformers"} <= contract["versions"].keys()
    assert [each["id"] for each in ask(url, "/v1/models")[2]["data"]] == [str(checkpoint)]
    assert ask(url, "/health", method="HEAD")[0] == 200


def test_metrics_count_requests_tokens_and_failures(url):
    def values():
        lines = ask(url, "/metrics")[2].splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[:1] != "#")}

    before = values()
    score(url, CONVERSATION, CONVERSATION, [])
    score(url, CONVERSATION)
    ask(url, "/no/such/page")
    after = values()

    def grown(name):
        return after[name] - before.get(name, 0)

    assert grown('music_requests_total{path="/v1/score",status="200"}') == 2
    assert grown('music_requests_total{path="other",status="404"}') == 1
    assert grown('music_request_seconds_count{path="/v1/score"}') == 2
    assert grown('music_failures_total{code="no_reply"}') == 1
    assert grown("music_batch_conversations_sum") == 3
    assert grown("music_asked_tokens_total") > 2 * grown("music_computed_tokens_total")
    assert after["music_queued_conversations"] == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"conversations": "text"}',
        b'{"conversations": [[1]]}',
        b'{"conversations": [[{"role": "user", "content": "\\ud800"}]]}',
        b'{"conversations": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b'{"conversations": [], "per_turn": NaN}',
        b'{"conversations": [], "per_turn": 1' + b"0" * 10_000 + b"}",
        json.dumps({"conversations": [CONVERSATION], "history": CONVERSATION}).encode(),
    ],
)
def test_a_body_that_is_no_request_gets_400(url, body):
    assert code(ask(url, "/v1/score", body)) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([], "no_reply"),
        (CONVERSATION[:1], "no_reply"),
        (CONVERSATION[1:], "invalid_conversation"),
        (CONVERSATION * 2 + CONVERSATION[1:], "invalid_conversation"),
        ([{"role": "bot", "content": "Hi"}], "invalid_conversation"),
        ([{"role": "user", "content": 3}], "invalid_conversation"),
        ([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "pear " * 600}], "over_long"),
        ([CONVERSATION[0], CONVERSATION[1] | {"tool_calls": "{"}], "invalid_conversation"),
        ([CONVERSATION[0], CONVERSATION[1] | {"tool_calls": [2**80]}], "invalid_conversation"),
    ],
)
def test_a_faulty_conversation_has_an_error_of_its_own(url, messages, error):
    status, _, answer = score(url, CONVERSATION, messages, CONVERSATION)
    first, faulty, last = answer["data"]
    assert status == 200
    assert (faulty["score"], faulty["error"]["code"]) == (None, error)
    assert first["score"] == pytest.approx(last["score"])


def test_what_was_dropped_from_a_long_conversation_is_reported(url):
    (item,) = score(url, TURNS)[2]["data"]
    assert item["score"] is not None
    assert 0 < item["num_dropped_turns"] < 60


def test_characters_that_are_odd_but_valid_are_scored(url):
    assert score(url, [CONVERSATION[0], {"role": "assistant", "content": "a\x00b\u2028😀\ufeff"}])[2]["data"][0][
        "score"
    ]


def test_limits(url):
    assert code(score(url, *[CONVERSATION] * 51)) == (413, "too_many_conversations")
    assert code(score(url, *[TURNS] * 20)) == (413, "too_many_tokens")
    assert code(ask(url, "/v1/score", b" " * 300_000)) == (413, "body_too_large")


def test_a_body_of_ten_megabytes_is_refused_however_it_is_sent(url):
    async def post(data):
        async with ClientSession() as session, session.post(f"{url}/v1/score", data=data) as response:
            return response.status

    async def chunks():
        for _ in range(160):
            yield b"x" * 65_536

    assert asyncio.run(post(b"x" * 10_000_000)) == 413
    assert asyncio.run(post(chunks())) == 413
    compressed = {"Content-Encoding": "deflate"}
    assert ask(url, "/v1/score", zlib.compress(b" " * 10_000_000), compressed)[0] == 413
    assert ask(url, "/v1/score", b"no deflate", compressed)[0] == 400


def test_other_paths_and_methods(url):
    status, headers, answer = ask(url, "/v1/score")
    assert (status, headers["Allow"]) == (405, "POST")
    assert code(ask(url, "/health", b"{}")) == (405, "method_not_allowed")
    assert code(ask(url, "/v2/score", b"{}")) == (404, "no_such_route")
    assert "/v1/score" in ask(url, "/v2/score", b"{}")[2]["error"]["message"]
    assert answer["error"]["code"] == "method_not_allowed"


def test_each_protocol_refuses_in_its_own_shape(url):
    assert ask(url, "/get_reward", b"{")[0] == 400
    assert ask(url, "/predict", b"{")[2]["error_type"]
    assert ask(url, "/pooling", b"{")[2]["error"]["message"]


def test_a_slow_client_gets_408_and_delays_nobody(url):
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as slow:
        slow.sendall(b'POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"conv')
        assert score(url, CONVERSATION)[0] == 200
        assert slow.recv(65_536).startswith(b"HTTP/1.1 408")


def test_garbage_instead_of_http_is_refused(url):
    for garbage in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET", b"POST /v1/score HTTP/1.1\r\nHost: " + b"x" * 20_000):
        assert b" 400 " in send(url, garbage + b"\r\n\r\n")


def send(url, data):
    """Send bytes that may not be HTTP; return the first bytes of the answer."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as connection:
        connection.sendall(data)
        return connection.recv(65_536)


def test_one_conversation_at_a_time_a_thousand_times(url):
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname, parts.port, timeout=60)
    body = json.dumps({"conversations": [CONVERSATION]})
    scores = set()
    for _ in range(1_000):
        connection.request("POST", "/v1/score", body)
        scores.add(json.load(connection.getresponse())["data"][0]["score"])
    connection.close()
    assert len(scores) == 1


def test_pages_of_other_sites_cannot_use_a_server_without_a_key(url):
    body = {"conversations": [CONVERSATION]}
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "null"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
        {"Host": "evil.example"},
    ):
        assert ask(url, "/v1/score", body, headers)[0] == 403
        assert ask(url, "/contract", headers=headers)[0] == 403
    own = urlsplit(url).netloc
    assert ask(url, "/v1/score", body, {"Origin": f"http://{own}"})[0] == 200
    assert ask(url, "/v1/score", body, {"Host": "localhost:8300"})[0] == 200


@pytest.fixture
async def gated(make_sum_model, encode, monkeypatch):
    """Serve a model that the test controls, on loopback; every conversation is the tokens 1, 2, 3."""
    monkeypatch.setattr("music.serving.protocols.native.encode_conversations", _encode_as(encode))
    monkeypatch.setattr("music.serving.service.encode_conversations", _encode_as(encode))
    model = make_sum_model()
    config = ServingConfig(max_queued=4, read_seconds=5)
    service = ScoringService(model, config)
    runner = web.AppRunner(build_app(service, config), access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
        yield session, model.model, service
    model.model.gate.set()
    await runner.cleanup()
    await service.engine.aclose()


def _encode_as(encode):
    return lambda served, conversations, **_: encode(*[[1, 2, 3]] * len(conversations))(served)


async def post(session, num_conversations=1):
    body = {"conversations": [CONVERSATION] * num_conversations}
    async with session.post("/v1/score", json=body) as response:
        return response.status, response.headers, await response.json()


async def is_queued(service, num):
    async with asyncio.timeout(30):
        while service.engine.num_queued != num:  # noqa: ASYNC110 - the engine has no event for it
            await asyncio.sleep(0.001)


async def test_a_client_that_disconnects_is_forgotten(gated):
    session, model, service = gated
    model.gate.clear()
    first = asyncio.create_task(post(session))
    await asyncio.to_thread(model.is_waiting.wait)
    gone = asyncio.create_task(post(session, 3))
    await is_queued(service, 4)
    gone.cancel()
    await is_queued(service, 1)
    model.gate.set()
    assert (await first)[0] == 200
    assert (await post(session))[0] == 200
    assert model.batches == [[(1, 2, 3)], [(1, 2, 3)]]


async def test_a_full_queue_gets_429_with_a_time_to_return(gated):
    session, model, service = gated
    model.gate.clear()
    waiting = asyncio.create_task(post(session, 4))
    await is_queued(service, 4)
    status, headers, answer = await post(session)
    assert (status, answer["error"]["code"]) == (429, "queue_full")
    assert int(headers["Retry-After"]) >= 1
    model.gate.set()
    assert (await waiting)[0] == 200


async def test_a_model_that_fails_on_everything_is_not_ready_until_it_recovers(gated, caplog):
    session, model, _ = gated

    def fail(_):
        raise ZeroDivisionError

    model.fault = fail
    _, _, answer = await post(session, 2)
    assert [item["error"]["code"] for item in answer["data"]] == ["failed", "failed"]
    async with session.get("/ready") as response:
        assert (response.status, (await response.json())["error"]["code"]) == (503, "failed")
    async with session.get("/health") as response:
        assert response.status == 200
    model.fault = lambda _: None
    async with session.get("/ready") as response:
        assert response.status == 200


async def test_a_score_that_is_no_number_is_an_error(gated):
    session, model, _ = gated
    model.score_encoded = lambda encoded: [type("Scored", (), {"problem": None, "score": float("nan"), "turns": ()})]
    _, _, answer = await post(session)
    assert answer["data"][0]["score"] is None
    assert "not a finite number" in answer["data"][0]["error"]["message"]


async def test_a_bug_gets_500_and_leaves_no_text_in_the_log(gated, monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError(f"cannot parse {SECRET}")

    session, _, _ = gated
    monkeypatch.setattr("music.serving.protocols.native.encode_conversations", fail)
    status, _, answer = await post(session)
    assert (status, answer["error"]["code"]) == (500, "internal")
    assert "RuntimeError" in caplog.text
    assert SECRET not in caplog.text + json.dumps(answer)


async def test_while_it_drains_new_requests_get_503_and_the_others_are_answered(gated):
    session, model, service = gated
    model.gate.clear()
    waiting = asyncio.create_task(post(session))
    await asyncio.to_thread(model.is_waiting.wait)
    drain = asyncio.create_task(service.engine.drain())
    await asyncio.sleep(0)
    status, headers, answer = await post(session)
    assert (status, answer["error"]["code"], headers["Retry-After"]) == (503, "draining", "1")
    assert headers["Connection"] == "close"
    async with session.get("/ready") as response:
        assert response.status == 503
    model.gate.set()
    assert (await waiting)[0] == 200
    await drain


def test_a_key_is_asked_for_and_appears_nowhere(checkpoint, tmp_path):
    key = tmp_path / "key"
    key.write_text("open-sesame\n")
    with serve(checkpoint, "--api-key-file", str(key), "--frozen", CUDA_VISIBLE_DEVICES="3") as (process, url):
        body = {"conversations": [CONVERSATION]}
        assert ask(url, "/health")[0] == ask(url, "/ready")[0] == 200
        for headers in ({}, {"Authorization": "Bearer open"}, {"Authorization": "Basic open-sesame"}):
            for path in ("/v1/score", "/v1/reload", "/get_reward"):
                status, got, answer = ask(url, path, body, headers)
                assert (status, got["WWW-Authenticate"]) == (401, "Bearer")
                assert "sesame" not in json.dumps(answer)
            assert ask(url, "/metrics", headers=headers)[0] == 401
        right = {"Authorization": "Bearer open-sesame", "Origin": "https://trainer.example"}
        assert ask(url, "/v1/score", body, right)[0] == 200
        assert code(ask(url, "/v1/reload", {}, right)) == (403, "frozen")
        assert ask(url, "/v1/score", {"conversations": [TURNS, CONVERSATION + TURNS[1:]]}, right)[0] == 200
        assert ask(url, "/v1/score", json.dumps(TURNS).encode() + b"}", right)[0] == 400
        for garbage in (f"{SECRET}\r\n\r\n", f"POST /v1/score HTTP/1.1\r\n{SECRET}\r\n\r\n"):
            assert b" 400 " in send(url, garbage.encode())
        process.send_signal(signal.SIGTERM)
        log = process.communicate(timeout=60)[1]
        assert process.returncode == 0
    assert "frozen on cpu, CUDA_VISIBLE_DEVICES=3: weights" in log
    assert "sesame" not in log
    assert SECRET not in log
    assert "BadHttpMessage" in log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_after_the_last_answer(checkpoint, number):
    with (
        serve(checkpoint, "--batch-tokens", "1", "--drain-seconds", "60") as (process, url),
        ThreadPoolExecutor() as pool,
    ):
        long = pool.submit(score, url, *[CONVERSATION + TURNS[:2]] * 512)
        while not is_queued_at(url, 512):
            if long.done():  # on a busy machine it may be answered before it is seen
                long = pool.submit(score, url, *[CONVERSATION + TURNS[:2]] * 512)
        process.send_signal(number)
        status, _, answer = long.result()
        assert status == 200
        assert all(item["score"] is not None for item in answer["data"])
        assert "no more requests are taken" in process.communicate(timeout=60)[1]
        assert process.returncode == 0


def test_sighup_loads_the_checkpoint_again(checkpoint, tmp_path):
    with serve(shutil.copytree(checkpoint, tmp_path / "rm")) as (process, url):
        before = ask(url, "/contract")[2]["fingerprint"]
        process.send_signal(signal.SIGHUP)
        assert next(line for line in process.stderr if f"is served now, fingerprint {before}" in line)
        shutil.rmtree(tmp_path / "rm")
        process.send_signal(signal.SIGHUP)
        assert next(line for line in process.stderr if "SIGHUP: the old model stays" in line)
        assert score(url, CONVERSATION)[0] == 200


@pytest.mark.parametrize(("num_signals", "seconds", "status", "code"), [(1, "0.1", 503, 0), (2, "600", None, 130)])
def test_a_drain_is_bounded_and_a_second_signal_ends_it_at_once(checkpoint, num_signals, seconds, status, code):
    flags = ("--batch-tokens", "1", "--cache-tokens", "0", "--deterministic", "--drain-seconds", seconds)
    with serve(checkpoint, *flags) as (process, url), ThreadPoolExecutor() as pool:
        conversations = [[CONVERSATION[0], {"role": "assistant", "content": f"{i}"}] for i in range(1024)]
        long = [pool.submit(ask_or_fail, url, conversations) for _ in range(4)]
        while not is_queued_at(url, 4096):
            assert not any(each.done() for each in long)
        process.send_signal(signal.SIGTERM)
        assert next(line for line in process.stderr if "no more requests are taken" in line)
        if num_signals == 2:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == code
        results = {each.result() for each in long}  # some may be answered before the signal is met
        assert status in results <= {status, 200}


def ask_or_fail(url, conversations):
    """Return the status of an answer; None if the connection ends."""
    try:
        return score(url, *conversations)[0]
    except (OSError, HTTPException):
        return None


def is_queued_at(url, num):
    """Return whether so many conversations wait in a server."""
    return f"music_queued_conversations {num}.0" in ask(url, "/metrics")[2]


def run(*arguments, **variables):
    command = [sys.executable, "-m", "music", "serve", *arguments]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | variables
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)
    return done.returncode, done.stdout, done.stderr


def test_an_address_that_is_taken_is_reported(checkpoint):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        returncode, output, error = run(str(checkpoint), "--port", str(taken.getsockname()[1]))
    assert (returncode, output) == (1, "")
    assert "cannot listen on 127.0.0.1" in error


async def test_an_address_that_is_taken_while_the_model_is_loaded_is_reported(make_sum_model):
    with listening(ServingConfig(port=0)) as (listener, url):
        config = ServingConfig(port=urlsplit(url).port)
        with listening(config) as (other, _):
            other.listen()
            with pytest.raises(InvalidInputError, match="cannot listen on"):
                await run_service(ScoringService(make_sum_model(), config), config, listener, lambda: None)


@pytest.mark.parametrize(
    ("fields", "variable", "error"),
    [
        ({"host": "0.0.0.0"}, "", "--host 0.0.0.0: expected an API key"),
        ({"host": "::"}, " ", "--host ::: expected an API key"),
        ({"host": "example.org"}, "", "expected an API key"),
        ({"api_key_file": "no-such-file"}, "", "--api-key-file no-such-file: expected a readable text file"),
        ({"api_key_file": os.devnull}, "", "expected a key, got an empty file"),
        ({"host": "0.0.0.0", "insecure": True}, "", None),
        ({"host": "0.0.0.0"}, "key", None),
        ({"host": "::1"}, "", None),
        ({"host": "localhost"}, "", None),
    ],
)
def test_other_addresses_than_loopback_need_a_key(monkeypatch, fields, variable, error):
    monkeypatch.setenv("MUSIC_SERVE_API_KEY", variable)
    with pytest.raises(InvalidInputError, match=re.escape(error)) if error else nullcontext():
        AccessRules.of(ServingConfig(**fields))


def test_the_server_ends_with_a_parent_that_was_killed(checkpoint):
    code = "import os\nfrom music.serving import reward_server\n"
    code += f"with reward_server({str(checkpoint)!r}, '--device', 'cpu') as url:\n"
    code += "    print(url, flush=True)\n    os.kill(os.getpid(), 9)"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # The server inherits standard error, so this returns once both are gone.
    parent = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=120)
    assert parent.returncode == -9
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{parent.stdout.strip()}/health")
