"""Request options of the roles, from the command line to the requests and to what a run keeps of them."""

import asyncio
import json
from contextlib import aclosing

import pytest
from aiohttp import web

from music.conversation import Message
from music.errors import InvalidInputError
from music.llm.chat import ChatRequest, Sampling, StoppedWaitingError
from music.llm.connection import Connection
from music.llm.journal import ChangedSettingsError
from music.llm.openai import OpenAIChatModel
from music.sandbox.model import SandboxModel
from music.sandbox.world.seeds import seed_pairs
from music_agents import SimulationConfig, run_simulation
from music_agents.progress import RunProgress, StopCause
from music_agents.run.endpoints import load_models, paced_endpoints


def test_each_role_has_its_own_and_a_judge_takes_no_short_form():
    options = ["user.temperature=0.9", "judge.top_p=0.5", "user.headers.X-A=1"]
    config = SimulationConfig(options=options, temperature=0.3, max_reply_tokens=64)
    assert config.sampling_of("user") == Sampling(temperature=0.9, max_tokens=64)
    assert config.sampling_of("assistant") == Sampling(temperature=0.3, max_tokens=64)
    assert config.sampling_of("judge") == Sampling(top_p=0.5)
    connections = {role: own.connection for role, own in config.request_options().items()}
    assert [role for role, connection in connections.items() if connection != Connection()] == ["user"]
    plain = SimulationConfig(options=options[:2], temperature=0.3)
    assert plain == SimulationConfig.model_validate_json(plain.model_dump_json())


def test_no_option_leaves_the_settings_as_they_are():
    settings = SimulationConfig().fixed()
    assert (settings["temperature"], settings["max_reply_tokens"], settings["sampling"]) == (None, None, {})
    with pytest.raises(ValueError, match="--temperature"):
        SimulationConfig(options=["temperature=1"], temperature=0.5)


async def test_roles_that_ask_alike_share_a_model_and_others_do_not():
    endpoint = "m@http://127.0.0.1:9/v1"
    config = SimulationConfig(user=endpoint, assistant=endpoint, contrast=endpoint, options=["user.query.v=1"])
    async with load_models(config) as models:
        assert models["assistant"] is models["contrast"] is not models["user"]
        assert len(paced_endpoints(models)) == 2


async def test_options_reach_the_requests_of_their_role_and_a_changed_one_is_refused(tmp_path, fake_model, seeds, run):
    model = fake_model()
    options = ["user.temperature=0.9", "user.stop=\n", "judge.top_p=0.5"]
    await run(tmp_path, seeds, model, options=options, max_reply_tokens=64, num_pairs=2)
    by_part = {key.split("/")[3]: request.sampling for request in model.requests if (key := request.key)}
    assert by_part["user"] == Sampling(temperature=0.9, stop=("\n",), max_tokens=64)
    assert by_part["assistant"] == Sampling(max_tokens=64)
    changed = ["user.temperature=0.8", *options[1:]]
    with pytest.raises(ChangedSettingsError, match=r"sampling\.user\.temperature: 0\.9 -> 0\.8"):
        await run(tmp_path, seeds, model, options=changed, max_reply_tokens=64, num_pairs=2)


async def test_header_and_query_values_are_kept_nowhere(tmp_path):
    options = ["user.headers.X-Key=hunter2hunter2", "user.query.sig=hunter2"]
    config = SimulationConfig(options=options, num_pairs=2, num_turns=1)
    await run_simulation(config, tmp_path, seeds=seed_pairs(4, 0))
    held = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"hunter2" not in held
    assert "hunter2" not in f"{config!r} {config.model_dump_json()}"


@pytest.fixture
async def strict_server():
    """The sandbox behind a server that takes no seed; the base URL, and the bodies that it got."""
    bodies, model = [], SandboxModel()

    async def answer(request):
        body = await request.json()
        bodies.append(body)
        if "seed" in body:
            fault = {"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}
            return web.json_response({"detail": [fault]}, status=422)
        reply = await model.complete(
            ChatRequest(messages=tuple(Message(**m) for m in body["messages"]), seed=len(bodies))
        )
        choice = {"message": {"role": "assistant", "content": reply.text}, "finish_reason": "stop"}
        return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 9}})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1", bodies
    await runner.cleanup()


async def test_what_a_server_refused_is_reported_once_and_kept_with_the_run(strict_server, tmp_path, caplog):
    url, bodies = strict_server
    config = SimulationConfig(assistant=f"m@{url}", user=f"m@{url}", contrast=f"m@{url}", num_pairs=3, num_turns=1)
    report = await run_simulation(config, tmp_path, seeds=seed_pairs(4, 0))
    assert report.status == "complete"
    assert json.loads((tmp_path / "run.json").read_bytes())["unsupported"] == {f"m@{url}": ["seed"]}
    assert [record.message for record in caplog.records] == [f"m@{url} refuses seed: later requests leave it out"]
    assert 1 <= sum("seed" in body for body in bodies) <= 3  # the pairs in flight before the first answer


async def test_a_stop_lets_go_what_waits_and_a_model_of_ones_own_goes_on_in_the_next_session(tmp_path, seeds):
    """A budget that is reached ends waiting, too."""
    progress = RunProgress()
    async with aclosing(OpenAIChatModel("m", "http://127.0.0.1:9/v1")) as model:
        models = {"user": model, "assistant": model, "contrast": model}
        with progress.asking(models.values()):
            resting = asyncio.create_task(model.pacer.sleep(600.0))
            await asyncio.sleep(0)
            progress.stop(StopCause.BUDGET, "spent")
            with pytest.raises(StoppedWaitingError):
                await resting
        await model.pacer.sleep(0.001)
        config = SimulationConfig(num_pairs=2)
        report = await run_simulation(config, tmp_path, models=models, seeds=seeds, progress=progress)
    assert (report.status, report.failures) == ("budget", {})


def test_options_of_a_role_that_nobody_plays_are_refused():
    config = SimulationConfig(options=["judge.top_p=0.5"])
    with pytest.raises(InvalidInputError, match=r"--option judge\.top_p: expected --judge, too: nobody plays it"):
        config.endpoints()
    assert "judge" in config.model_copy(update={"judge": "sandbox"}).endpoints()
    assert config.sampling_of("judge") == Sampling(top_p=0.5)
    assert SimulationConfig(options=["top_p=0.5"]).sampling_of("user") == Sampling(top_p=0.5)
