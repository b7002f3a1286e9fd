import asyncio
from contextlib import ExitStack

import pytest
import torch
from safetensors.torch import load_file

from music.conversation import Message
from music.llm.chat import (
    ChatRequest,
    EndpointTimeoutError,
    EndpointUnreachableError,
    RateLimitedError,
    RequestRejectedError,
)
from music.llm.retry import RetryPolicy
from music.sandbox import SandboxModel
from music.sandbox.server import ServerConfig, sandbox_server
from music_trainers.policy import outages
from music_trainers.policy.config import PolicyTrainingConfig
from music_trainers.policy.outages import OutageError, Outages
from music_trainers.policy.run import train_policy

SMALL = {"num_groups": 2, "group_size": 2, "num_turns": 2, "updates_per_step": 1, "max_reply_tokens": 12}
SMALL |= {"num_steps": 3, "evaluate_every": 3, "num_evaluations": 2, "checkpoint_every": 0}


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self):
        self.now = 100.0

    def sleep(self, seconds):
        self.now += seconds

    async def asleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(outages, "time", type("T", (), {"monotonic": lambda: clock.now, "time": lambda: clock.now}))
    outages.time.sleep = clock.sleep
    monkeypatch.setattr(outages.asyncio, "sleep", clock.asleep)
    return clock


def failing(*errors):
    left = list(errors)

    def call():
        if left:
            raise left.pop(0)
        return "answer"

    return call


def test_a_call_waits_until_there_is_an_answer_and_tells_who_is_away(clock):
    lines = []
    errors = [EndpointUnreachableError("refused"), EndpointTimeoutError("slow"), RateLimitedError("busy")]
    assert Outages(60, lines.append).patient("the reward rm", failing(*errors))() == "answer"
    assert len(lines) == 2
    assert "the reward rm cannot be reached since" in lines[0]
    assert "waiting up to 60 s (refused)" in lines[0]
    assert lines[1] == "the reward rm answers again after 3 s"


def test_the_wait_is_bounded_and_reported_once_a_minute(clock):
    lines = []
    call = Outages(150, lines.append).patient("the reward rm", failing(*[EndpointUnreachableError("refused")] * 999))
    with pytest.raises(OutageError, match="for 150 s: refused"):
        call()
    assert ["for 0 s" in lines[0], "for 60 s" in lines[1], "for 120 s" in lines[2]] == [True] * 3
    assert len(lines) == 3


def test_what_waiting_cannot_help_is_raised_at_once(clock):
    call = Outages(60, lambda _: None).patient("the reward rm", failing(RequestRejectedError("no such model")))
    with pytest.raises(RequestRejectedError):
        call()


def test_a_user_is_waited_for_in_the_same_way(clock):
    class Flaky(SandboxModel):
        left = 2

        async def complete(self, request):
            self.left -= 1
            if self.left >= 0:
                raise EndpointUnreachableError("refused")
            return await super().complete(request)

    lines = []
    request = ChatRequest(messages=(Message(role="user", content="Hi!"),), seed=0)
    model = Outages(60, lines.append).patient_model("the user u", Flaky())
    assert asyncio.run(model.complete(request)) == asyncio.run(SandboxModel().complete(request))
    assert len(lines) == 2
    away = Flaky()
    away.left = 999
    with pytest.raises(OutageError):
        asyncio.run(Outages(60, lines.append).patient_model("the user u", away).complete(request))


@pytest.fixture
def quick(monkeypatch):
    """Let clients try again at once."""
    monkeypatch.setattr(RetryPolicy, "wait", lambda self, state: 0.001)
    monkeypatch.setattr(outages, "PAUSE", 0.001)


def weights(config):
    return load_file(config.out / "policy" / "model.safetensors")


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_survives_servers_that_stop_and_start_again(killable_reward_server, quick, tmp_path):
    """Real processes: the reward stops in step 2, the user in step 3; both come back at their old addresses."""
    with ExitStack() as users:
        user_url = users.enter_context(sandbox_server(ServerConfig()))
        port = int(user_url.split(":")[2].split("/")[0])
        config = PolicyTrainingConfig(
            out=tmp_path / "rl",
            reward=f"rm@{killable_reward_server.url}",
            user=f"good@{user_url}",
            judge="length",
            **SMALL,
        )
        whole = train_policy(config.model_copy(update={"out": tmp_path / "whole"}))
        lines = []

        def stop(step):
            if step == 1:
                killable_reward_server.kill()
            elif step == 2:
                users.close()

        def start(line):
            lines.append(line)
            if "the reward" in line and "cannot" in line:
                killable_reward_server.start()
            elif "the user" in line and "cannot" in line:
                users.enter_context(sandbox_server(ServerConfig(port=port)))

        result = train_policy(config, on_step=stop, on_notice=start)
    assert ["reward" in lines[0], "answers again" in lines[1]] == [True, True]
    assert [line.split(" since")[0] for line in lines[2:3]] == [f"the user good@{user_url} cannot be reached"]
    assert result.curve == whole.curve
    assert same(weights(result.config), weights(whole.config))


def test_an_outage_that_is_too_long_ends_the_run_and_loses_nothing(killable_reward_server, quick, tmp_path):
    config = PolicyTrainingConfig(
        out=tmp_path / "rl", reward=f"rm@{killable_reward_server.url}", judge="length", max_outage=0, **SMALL
    )
    whole = train_policy(config.model_copy(update={"out": tmp_path / "whole"}))
    lines = []
    with pytest.raises(OutageError, match="the reward rm@"):
        train_policy(config, on_step=lambda step: step == 2 and killable_reward_server.kill(), on_notice=lines.append)
    (line,) = lines
    assert "step-00000002; resume it with the same command and --resume" in line
    killable_reward_server.start()
    result = train_policy(config.model_copy(update={"resume": True}))
    assert result.curve == whole.curve
    assert same(weights(result.config), weights(whole.config))
    assert not (tmp_path / "rl" / "checkpoints").exists()
