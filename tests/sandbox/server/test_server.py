import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from pydantic import ValidationError

from music.conversation import Conversation, Message
from music.errors import InvalidInputError
from music.llm import ChatRequest, ClientSettings, EndpointUnavailableError, RateLimitedError, RetryPolicy, load_model
from music.prompts import render_user
from music.sandbox.model import SandboxModel
from music.sandbox.server import ServerConfig, sandbox_server
from music.sandbox.server.faults import Fault, FaultPlan, Latency

TIMEOUT = 30


def request(seed=0):
    return ChatRequest(messages=(Message(role="user", content="What should I know about rivers?"),), seed=seed)


def call(url, body=None):
    """Return status and JSON of a GET, or of a POST if there is a body."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=TIMEOUT) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def stats(url):
    return call(url.removesuffix("/v1") + "/stats")[1]


@pytest.fixture(scope="module")
def url():
    with sandbox_server() as base_url:
        yield base_url


async def complete_all(url, num_requests, **settings):
    """Send requests through the real client; return replies and errors, in order."""
    model = load_model(f"good@{url}", ClientSettings(**settings))
    try:
        calls = (model.complete(request(seed)) for seed in range(num_requests))
        return await asyncio.gather(*calls, return_exceptions=True)
    finally:
        await model.aclose()


async def test_replies_are_those_of_the_sandbox_in_process(url):
    direct = [await SandboxModel("good").complete(request(seed)) for seed in range(5)]
    served = await complete_all(url, 5)
    assert [r.text for r in served] == [r.text for r in direct]
    assert [r.prompt_tokens for r in served] == [r.prompt_tokens for r in direct]
    assert served[0].model == "good"


def test_models_are_listed(url):
    status, answer = call(f"{url}/models")
    assert (status, answer["data"][0]["id"]) == (200, "sandbox")


def chat(**fields):
    return {"model": "good", "messages": [{"role": "user", "content": "Hi there!"}]} | fields


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "JSON"),
        (b"[]", "JSON object"),
        (chat(stream=True), "stream"),
        (chat(n=2), "'n'"),
        (chat(model=None), "'model'"),
        (chat(messages=None), "'messages'"),
        (chat(messages=[]), "'messages'"),
        (chat(messages=["Hi"]), "messages[0]"),
        (chat(messages=[{"role": "user", "content": [{"type": "text"}]}]), "messages[0]"),
        (chat(messages=[{"role": "narrator", "content": "Hi"}]), "system"),
        (chat(messages=[{"role": "user", "content": " "}]), "blank"),
        (chat(messages=[{"role": "user", "content": "Hi"}] * 2), "out of order"),
        (chat(seed="x"), "'seed'"),
        (chat(temperature=[]), "'temperature'"),
        (chat(max_tokens=True), "'max_tokens'"),
    ],
)
def test_a_bad_request_gets_a_400_that_says_what_is_wrong(url, body, said):
    status, answer = call(f"{url}/chat/completions", body)
    assert status == 400
    assert said in answer["error"]["message"]
    assert answer["error"]["type"] == "invalid_request_error"


def test_an_unknown_route_gets_a_404_that_names_the_known_ones(url):
    status, answer = call(url.removesuffix("/v1") + "/chat/completions", chat())
    assert status == 404
    assert "/v1/chat/completions" in answer["error"]["message"]


async def test_faults_are_counted_and_never_poison_a_request():
    with sandbox_server(ServerConfig(faults="error=0.3", rate_429=0.05, retry_after=0.0, seed=3)) as url:
        replies = await complete_all(url, 60, retry=RetryPolicy(max_tries=30, backoff=0.0))
        assert all(not isinstance(reply, BaseException) for reply in replies)
        counts = stats(url)
    assert counts["completed"] == counts["by_status"]["200"] == 60
    assert counts["by_status"]["429"] > 0
    assert counts["by_status"]["500"] > 0
    assert counts["requests"] == sum(counts["by_status"].values())


@pytest.mark.parametrize(
    ("config", "error"),
    [
        (ServerConfig(faults="error=1"), EndpointUnavailableError),
        (ServerConfig(rate_429=1.0, retry_after=0.0), RateLimitedError),
    ],
)
async def test_a_server_that_always_fails_gives_the_client_its_typed_error(config, error):
    with sandbox_server(config) as url:
        (outcome,) = await complete_all(url, 1, retry=RetryPolicy(max_tries=3, max_rate_limited=3, backoff=0.0))
        assert isinstance(outcome, error)
        assert stats(url)["requests"] == 3


async def test_requests_wait_out_their_latency_side_by_side():
    async def seconds(model, seed):
        asked = time.monotonic()
        await model.complete(request(seed))
        return time.monotonic() - asked

    with sandbox_server(ServerConfig(latency="60")) as url:
        model = load_model(f"good@{url}", ClientSettings())
        waits = await asyncio.gather(*(seconds(model, seed) for seed in range(40)))
        await model.aclose()
    assert min(waits) >= 0.06


def test_the_server_ends_with_the_block():
    with sandbox_server() as url:
        assert call(f"{url}/models")[0] == 200
    with pytest.raises(urllib.error.URLError):
        call(f"{url}/models")


def test_the_server_dies_with_a_parent_that_was_killed():
    code = "import os\nfrom music.sandbox.server import sandbox_server\n"
    code += "with sandbox_server() as url:\n    print(url, flush=True)\n    os.kill(os.getpid(), 9)"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # The server inherits standard error, so this returns once both are gone.
    parent = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=TIMEOUT)
    assert parent.returncode == -9
    with pytest.raises(urllib.error.URLError):
        call(f"{parent.stdout.strip()}/models")


def test_a_port_in_use_is_said_plainly(url, capfd):
    port = int(url.rsplit(":", 1)[1].removesuffix("/v1"))
    with pytest.raises(Exception, match="did not start"), sandbox_server(ServerConfig(port=port)):
        pass
    assert f"cannot listen on 127.0.0.1:{port}" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "median"),
    [("200", 0.2), ("uniform:100:300", 0.2), ("lognormal:200:0.5", 0.2), ("exponential:200", 0.1386), ("0", 0.0)],
)
def test_latency_has_the_chosen_distribution(text, median):
    latency = Latency.parse(text)
    assert latency.quantile(0.5) == pytest.approx(median, rel=1e-3)
    assert 0 <= latency.quantile(1e-9) <= latency.quantile(0.5) <= latency.quantile(1 - 1e-9)


@pytest.mark.parametrize(
    "text", ["", "fast", "-1", "nan", "inf", "uniform:1", "gamma:1:2", "uniform:1:x", "lognormal:1:2:3"]
)
def test_a_latency_that_cannot_be_read_is_refused(text):
    with pytest.raises(InvalidInputError, match="expected milliseconds"):
        Latency.parse(text)
    with pytest.raises(ValidationError):
        ServerConfig(latency=text)


def test_draws_follow_the_seed_and_the_request_not_the_order():
    def draws(seed, bodies):
        plan = FaultPlan(Latency.parse("exponential:10"), {Fault.ERROR: 0.3, Fault.RESET: 0.3}, seed=seed)
        return {body: plan.draw(body) for body in bodies}

    bodies = [str(i).encode() for i in range(500)]
    assert draws(1, bodies) == draws(1, reversed(bodies))
    assert draws(1, bodies) != draws(2, bodies)
    faults = [fault for fault, _ in draws(1, bodies).values()]
    assert 100 < faults.count(Fault.ERROR) < 200
    assert 100 < faults.count(Fault.RESET) < 200


async def test_a_model_name_with_memory_plays_users_with_memory(url):
    model, known = load_model(f"fair+memory@{url}"), SandboxModel("fair", memory=True)
    asked = Conversation().user("Can I get one tip for rose cost?").assistant("Sure. Plan lawn cost early.")
    requests = [ChatRequest(messages=render_user(asked), seed=seed) for seed in range(8)]
    try:
        said = [(await model.complete(each)).text for each in requests]
    finally:
        await model.aclose()
    assert said == [known.answer(each) for each in requests]
    assert said != [SandboxModel("fair").answer(each) for each in requests]
