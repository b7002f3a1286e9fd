"""Every endpoint is asked once before the first pair: over real HTTP, with wrong ports, keys and names."""

import json
import socket

import pytest
from aiohttp import web

from music.conversation import Message
from music.llm.openai import OpenAIChatModel
from music.llm.replicas import ReplicatedModel
from music.llm.retry import RetryPolicy
from music.llm.settings import ClientSettings
from music.prompts import read_prompt, render_contrast_reply
from music_agents import SimulationConfig, run_simulation
from music_agents.run.endpoints import EndpointNotReadyError

PROBE_WORDS = "Reply with the word OK"


class Server:
    """Plays all roles for those who know its model and its key, and counts what it is asked."""

    def __init__(self, *, models=("m",), key="", status=200, refuses_bound=False, refuses=""):
        self.models, self.key, self.status, self.refuses_bound = models, key, status, refuses_bound
        self.refuses = refuses
        self.probes, self.others = 0, 0

    async def list_models(self, request):
        return web.json_response({"data": [{"id": name} for name in self.models]})

    async def complete(self, request):
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": {"message": "Incorrect API key provided"}}, status=401)
        body = await request.json()
        if body["model"] not in self.models:
            return web.json_response({"error": {"message": f"The model `{body['model']}` does not exist."}}, status=404)
        if self.refuses_bound and "max_tokens" in body:
            return web.json_response({"error": {"message": "Unsupported parameter: 'max_tokens'"}}, status=400)
        if self.refuses in body:
            said = f"Unsupported parameter: '{self.refuses}' is not supported with this model."
            return web.json_response({"error": {"message": said, "param": self.refuses}}, status=400)
        text = body["messages"][-1]["content"]
        is_probe = text.startswith(PROBE_WORDS)
        self.probes, self.others = self.probes + is_probe, self.others + (not is_probe)
        if self.status != 200:
            return web.Response(status=self.status, text="broken", headers={"Retry-After": "0"})
        part = read_prompt(tuple(Message.model_validate(message) for message in body["messages"])).kind
        answer = f"{part} {self.others}"
        if part in ("instruction", "drop_constraint"):
            answer = render_contrast_reply(answer, f"In answer to it, {self.others}.")
        usage = {"prompt_tokens": 7, "completion_tokens": 3}
        message = {"role": "assistant", "content": answer}
        return web.json_response({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})


@pytest.fixture
async def serve():
    runners = []

    async def start(server):
        app = web.Application()
        app.router.add_post("/v1/chat/completions", server.complete)
        app.router.add_get("/v1/models", server.list_models)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/v1"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    for name in ("MUSIC_API_KEY", "OPENAI_API_KEY", "MUSIC_API_KEY_127_0_0_1"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def nobody():
    """An address at which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}/v1"


async def simulate(directory, seeds, model, **settings):
    config = SimulationConfig(**({"num_pairs": 2, "num_turns": 1, "gates": False} | settings))
    models = {"user": model, "assistant": model, "contrast": model}
    try:
        return await run_simulation(config, directory, models=models, seeds=seeds, probe=True)
    finally:
        await model.aclose()


async def test_a_probe_is_asked_once_a_session_and_counted(serve, seeds, tmp_path):
    server = Server()
    url = await serve(server)
    report = await simulate(tmp_path, seeds, OpenAIChatModel("m", url))
    assert (report.status, server.probes) == ("complete", 1)
    assert report.spending.num_calls == server.probes + server.others
    assert report.spending.num_tokens == 10 * report.spending.num_calls
    report = await simulate(tmp_path, seeds, OpenAIChatModel("m", url))
    assert server.probes == 1, "a complete run asks nothing"
    report = await simulate(tmp_path, seeds, OpenAIChatModel("m", url), num_pairs=3)
    assert (server.probes, report.spending.num_calls) == (2, server.probes + server.others)


async def test_a_model_that_the_server_does_not_have_is_told_with_those_that_it_has(serve, seeds, tmp_path):
    server = Server(models=("gemma-2-9b-it", "qwen3-8b"))
    model = OpenAIChatModel("gemma-2-9b", await serve(server))
    with pytest.raises(EndpointNotReadyError) as info:
        await simulate(tmp_path, seeds, model)
    assert "user, assistant, contrast: gemma-2-9b@http" in str(info.value)
    assert "does not exist; the server has gemma-2-9b-it, qwen3-8b; did you mean 'gemma-2-9b-it'?" in str(info.value)
    assert "base URL" not in str(info.value)
    assert server.others == 0
    assert not list(tmp_path.glob("*.parquet"))


async def test_a_wrong_key_is_told_and_not_shown(serve, seeds, tmp_path, monkeypatch):
    server = Server(key="right")
    url = await serve(server)
    with pytest.raises(EndpointNotReadyError, match="no key was sent; set MUSIC_API_KEY_127_0_0_1"):
        await simulate(tmp_path, seeds, OpenAIChatModel("m", url))
    monkeypatch.setenv("MUSIC_API_KEY", "wr0ng")
    with pytest.raises(
        EndpointNotReadyError, match="HTTP 401: Incorrect API key provided; the key was refused: see MUSIC_API_KEY"
    ) as info:
        await simulate(tmp_path, seeds, OpenAIChatModel("m", url))
    assert "wr0ng" not in str(info.value)
    monkeypatch.setenv("MUSIC_API_KEY", "right")
    assert (await simulate(tmp_path, seeds, OpenAIChatModel("m", url))).num_pairs == 2


async def test_nobody_at_the_address_and_a_broken_server_stop_the_run(serve, nobody, seeds, tmp_path):
    with pytest.raises(EndpointNotReadyError, match="is the server running, and is this its address"):
        await simulate(tmp_path, seeds, OpenAIChatModel("m", nobody))
    with pytest.raises(EndpointNotReadyError, match=r"HTTP 500: broken \(tried 3 times\); the server is there but"):
        await simulate(tmp_path, seeds, OpenAIChatModel("m", await serve(Server(status=500))))
    few = ClientSettings(retry=RetryPolicy(max_tries=1))
    with pytest.raises(EndpointNotReadyError, match=r"HTTP 500: broken \(tried once\)"):
        await simulate(tmp_path, seeds, OpenAIChatModel("m", await serve(Server(status=500)), few))


async def test_a_refused_option_stops_the_run_whichever_role_has_it(serve, seeds, tmp_path):
    server = Server(refuses="temperature")
    model = OpenAIChatModel("m", await serve(server))
    with pytest.raises(EndpointNotReadyError, match=r"^user, assistant, contrast: .*leave out --temperature"):
        await simulate(tmp_path / "all", seeds, model, temperature=0.5)
    with pytest.raises(EndpointNotReadyError, match=r"^contrast: .*the server does not take 'temperature'"):
        await simulate(tmp_path / "one", seeds, model, options=["contrast.temperature=0.5"])
    assert (server.probes, server.others) == (1, 0)  # user and assistant are asked together


async def test_a_refused_seed_is_found_by_the_probe(serve, seeds, tmp_path):
    server = Server(refuses="seed")
    report = await simulate(tmp_path, seeds, OpenAIChatModel("m", await serve(server)))
    assert (report.num_pairs, server.probes) == (2, 1)
    (told,) = report.unsupported.values()
    assert told == ("seed",)


async def test_a_busy_server_does_not_stop_the_run(serve, seeds, tmp_path, caplog):
    class Busy(Server):
        async def complete(self, request):
            self.status = 200 if self.probes else 429  # the probe alone is limited
            return await super().complete(request)

    report = await simulate(tmp_path, seeds, OpenAIChatModel("m", await serve(Busy())))
    assert report.num_pairs == 2
    assert "HTTP 429: broken (tried once): the run begins all the same" in caplog.text


async def test_a_server_that_refuses_the_bound_is_asked_without_it(serve, seeds, tmp_path):
    server = Server(refuses_bound=True)
    assert (await simulate(tmp_path, seeds, OpenAIChatModel("m", await serve(server)))).num_pairs == 2
    assert server.probes == 1


async def test_a_replica_that_is_down_is_reported_while_another_is_live(serve, nobody, seeds, tmp_path, caplog):
    server = Server()
    replicas = [OpenAIChatModel("m", nobody), OpenAIChatModel("m", await serve(server))]
    report = await simulate(tmp_path, seeds, ReplicatedModel(replicas))
    assert report.num_pairs == 2
    assert f"m@{nobody}: no connection" in caplog.text
    assert "the run begins with the other replicas" in caplog.text


async def test_a_replica_that_does_not_know_the_model_stops_the_run(serve, seeds, tmp_path):
    replicas = [OpenAIChatModel("m", await serve(Server())), OpenAIChatModel("m", await serve(Server(models=("x",))))]
    with pytest.raises(EndpointNotReadyError, match="the server has x"):
        await simulate(tmp_path, seeds, ReplicatedModel(replicas))


async def test_models_in_this_process_are_not_probed(fake_model, seeds, tmp_path):
    model = fake_model()
    report = await simulate(tmp_path, seeds, model)
    assert report.spending.num_calls == len(model.requests)
    assert not any(PROBE_WORDS in request.messages[-1].content for request in model.requests)
    assert json.loads((tmp_path / "run.json").read_bytes())["status"] == "complete"
