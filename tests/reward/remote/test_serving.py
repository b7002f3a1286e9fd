"""`music serve` itself, against the model in this process."""

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from music.conversation import Conversation
from music.llm.retry import RetryPolicy
from music.reward import RemoteReward, RemoteRewardSettings, RewardModel, Scored, Unscorable
from music.serving.server import reward_server as serve

HISTORY = Conversation().user("Name a river.").assistant("The Rhine.").user("Another one?")


@pytest.fixture(scope="module")
def local(reward_checkpoint):
    return RewardModel.from_pretrained(reward_checkpoint(), device="cpu")


@pytest.fixture(scope="module")
def folder(local, tmp_path_factory):
    path = tmp_path_factory.mktemp("served")
    local.save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def served(folder):
    with serve(folder, "--device", "cpu") as url:
        yield url


def close(expected):
    return pytest.approx(expected, abs=1e-5)


def test_the_interface_and_the_numbers_are_those_of_the_model_in_this_process(served, local, make_conversation):
    conversations = [make_conversation(seed, num_turns=1 + seed % 4, system=seed % 2 == 0) for seed in range(150)]
    remote = RemoteReward("rm", served)
    assert remote(conversations) == close(local(conversations))
    turns = local.score_turns(conversations[:20])
    assert [each for turn in remote.score_turns(conversations[:20]) for each in turn] == close(
        [each for turn in turns for each in turn]
    )
    candidates = ["The Elbe.", "No.", "The Elbe, which flows into the North Sea."]
    assert remote.score_candidates(HISTORY, candidates) == close(local.score_candidates(HISTORY, candidates))
    assert remote.contract == local.contract
    assert remote.fingerprint == local.fingerprint


def test_problems_are_those_of_the_model_in_this_process(served, local):
    long = Conversation().user("Why?").assistant("because " * 2000)
    dropped = Conversation()
    for number in range(40):
        dropped = dropped.user(f"Question {number}, and now?").assistant(f"Answer {number}, so there.")
    conversations = [HISTORY, HISTORY.assistant("The Elbe."), long, Conversation(), dropped]
    here, there = local.score_each(conversations), RemoteReward("rm", served).score_each(conversations)
    assert here[2] == there[2] == Scored(None, problem=Unscorable.OVER_LONG)
    assert [(each.problem, each.num_dropped_turns) for each in there] == [
        (each.problem, each.num_dropped_turns) for each in here
    ]
    assert there[4].score == close(here[4].score)


def test_a_replica_killed_under_load_loses_no_score(folder, local, make_conversation):
    conversations = [make_conversation(seed, num_turns=2) for seed in range(60)]
    expected = close(local(conversations))
    settings = RemoteRewardSettings(max_batch=4, retry=RetryPolicy(backoff=0.01))
    command = [sys.executable, "-m", "music", "serve", folder, "--port", "0", "--device", "cpu"]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True))
            for _ in range(2)
        ]
        for process in processes:
            stack.callback(process.kill)
        remote = RemoteReward("rm", [process.stdout.readline().strip() for process in processes], settings)
        has_scored, is_killed = threading.Event(), threading.Event()

        def score_on():
            rounds = []
            while not is_killed.is_set() or len(rounds) < 5:
                rounds.append(remote(conversations))
                has_scored.set()
            return [*rounds, remote(conversations)]

        with ThreadPoolExecutor(1) as pool:
            load = pool.submit(score_on)
            assert has_scored.wait(60)
            os.kill(processes[0].pid, signal.SIGKILL)
            is_killed.set()
            assert all(scores == expected for scores in load.result(60))


@pytest.mark.parametrize("call", ["reward(said)", "asyncio.run(reward.ascore(said))"])
def test_a_script_that_leaves_it_open_ends_without_a_warning(served, call):
    script = (
        "import asyncio; from music.conversation import Conversation; from music.reward import RemoteReward\n"
        f"reward, said = RemoteReward('rm', ['{served}']), [Conversation().user('Hi!').assistant('Hello.')]\n"
        f"print([{call}, {call}])\n"
    )
    command = [sys.executable, "-W", "default::ResourceWarning", "-c", script]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    first, again = json.loads(ended.stdout)
    assert first == close(again)
    assert ended.stderr == ""
