"""A reward model behind a server: a real process that speaks vLLM's protocol, or something like it."""

import asyncio
import json
import logging
import multiprocessing
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from urllib.request import urlopen

import pytest

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.llm.chat import (
    EndpointTimeoutError,
    EndpointUnreachableError,
    MalformedReplyError,
    RequestRejectedError,
)
from music.llm.retry import RetryPolicy
from music.reward import RemoteReward, RemoteRewardSettings, UnscorableError, length_reward, load_reward

QUICK = RemoteRewardSettings(retry=RetryPolicy(max_tries=3, backoff=0.0))
HISTORY = Conversation().user("Name a river.").assistant("The Rhine.").user("Another one?")
CONVERSATIONS = [HISTORY.assistant("Elbe" + "!" * number) for number in range(40)]


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    for name in ("MUSIC_API_KEY", "MUSIC_API_KEY_127_0_0_1", "MUSIC_TRUST_ENV"):
        monkeypatch.delenv(name, raising=False)


def stats(url, model):
    """Return what the server was asked of this model, and the most requests that it had at once."""
    with urlopen(f"{url}/stats") as answer:
        seen = json.load(answer)
    return [body for body in seen["bodies"] if body["model"] == model], seen["most_in_flight"]


@pytest.mark.parametrize("model", ["rm", "sigmoid"])
def test_scores_are_those_of_the_served_reward_in_order_and_nothing_is_warned_of(reward_server, model, caplog):
    reward = load_reward(f"{model}@{reward_server}")
    assert isinstance(reward, RemoteReward)
    assert reward(CONVERSATIONS) == length_reward(CONVERSATIONS)
    assert reward([]) == []
    assert not caplog.records


def test_requests_are_what_vllm_expects(reward_server):
    RemoteReward("rm", reward_server)(CONVERSATIONS[:1])
    assert stats(reward_server, "rm")[0][-1] == {
        "model": "rm",
        "messages": CONVERSATIONS[0].to_messages(),
        "add_generation_prompt": False,
        "use_activation": False,
    }


def test_a_server_that_may_ignore_the_flag_is_warned_of_once(reward_server, caplog):
    reward = RemoteReward("ignores-flag", reward_server)
    with caplog.at_level(logging.WARNING):
        assert all(0 < score < 1 for score in reward(CONVERSATIONS[:2]) + reward(CONVERSATIONS[:2]))
    (record,) = caplog.records
    assert f"ignores-flag@{reward_server}: scores may not be raw" in record.getMessage()


def test_a_softmax_over_one_label_is_refused(reward_server):
    reward = RemoteReward("softmax", reward_server)
    for _ in range(2):
        with pytest.raises(MalformedReplyError, match=r"got 1\.0 for 4 different conversations.*SGLang"):
            reward(CONVERSATIONS[:1])


@pytest.mark.parametrize(
    "model",
    [
        "two-results",
        "no-result",
        "no-probs",
        "no-classes",
        "nan",
        "infinite",
        "null",
        "text",
        "embedding",
        "html",
        "cut",
    ],
)
def test_an_answer_without_one_finite_reward_is_an_error(reward_server, model):
    with pytest.raises(MalformedReplyError, match=rf"{model}@{reward_server}: .*probs.*got: .*\(tried 3 times\)"):
        RemoteReward(model, reward_server, QUICK)(CONVERSATIONS[:1])


def test_a_classifier_is_no_reward_model(reward_server):
    with pytest.raises(MalformedReplyError, match="got 2 of 2 classes: serve a reward model with one label"):
        RemoteReward("two-labels", reward_server)(CONVERSATIONS[:1])


def test_an_answer_is_read_up_to_its_bound(reward_server):
    with pytest.raises(MalformedReplyError, match="larger than 2097152 bytes"):
        RemoteReward("huge", reward_server, QUICK)(CONVERSATIONS[:1])


@pytest.mark.parametrize("model", ["flaky", "limited"])
def test_what_a_server_cannot_do_now_is_tried_again(reward_server, model):
    assert RemoteReward(model, reward_server, QUICK)(CONVERSATIONS[:5]) == length_reward(CONVERSATIONS[:5])


def test_what_a_server_refuses_is_not_tried_again(reward_server):
    with pytest.raises(RequestRejectedError, match=r"`nobody` does not exist.*without /v1.*--runner pooling"):
        RemoteReward("nobody", reward_server)(CONVERSATIONS[:1])
    asked = [json.dumps(body) for body in stats(reward_server, "nobody")[0]]
    assert len(asked) == len(set(asked))


def test_a_conversation_that_the_server_cannot_take_has_no_score(reward_server):
    reward = RemoteReward("rm", reward_server)
    long = HISTORY.assistant("TOO LONG")
    with pytest.raises(UnscorableError, match=r"conversation 1 cannot be scored: .*maximum context length"):
        reward([CONVERSATIONS[0], long])
    for unanswered in (HISTORY, Conversation()):
        with pytest.raises(UnscorableError, match="conversation 0: expected it to end with the assistant"):
            reward([unanswered])


def test_a_silent_server_is_given_up(reward_server):
    settings = RemoteRewardSettings(timeout=0.1, retry=RetryPolicy(max_tries=1))
    with pytest.raises(EndpointTimeoutError, match=r"silent@.*no reply within 0\.1 s.*nothing was scored"):
        RemoteReward("silent", reward_server, settings)(CONVERSATIONS[:1])


def test_no_more_requests_than_allowed_are_in_flight(killable_reward_server):
    url = killable_reward_server.url
    reward = RemoteReward("in-step", url, RemoteRewardSettings(max_in_flight=4))  # it answers when it has four
    assert reward(CONVERSATIONS) == length_reward(CONVERSATIONS)
    assert stats(url, "in-step")[1] == 4


def test_a_key_is_sent_and_never_shown(reward_server, monkeypatch):
    monkeypatch.setenv("MUSIC_API_KEY_127_0_0_1", "sk-not-to-be-seen")
    with pytest.raises(RequestRejectedError, match=r"bad key: Bearer \[redacted\]") as caught:
        RemoteReward("locked", reward_server)(CONVERSATIONS[:1])
    assert "sk-not" not in str(caught.value)


def test_a_dead_server_is_named_and_the_same_call_works_once_it_is_back(killable_reward_server):
    server = killable_reward_server
    reward = RemoteReward("rm", server.url, QUICK)
    before = reward(CONVERSATIONS)
    server.kill()
    with pytest.raises(
        EndpointUnreachableError, match=rf"rm@{server.url}: .*tried 3 times\): nothing was scored; check"
    ):
        reward(CONVERSATIONS)
    server.start()
    assert reward(CONVERSATIONS) == before


def test_a_call_outlasts_a_restart(killable_reward_server):
    server = killable_reward_server
    server.kill()
    patient = RemoteRewardSettings(retry=RetryPolicy(max_tries=10_000, backoff=0.01, max_backoff=0.01))
    with ThreadPoolExecutor(1) as pool:
        scores = pool.submit(RemoteReward("rm", server.url, patient), CONVERSATIONS)
        server.start()
        assert scores.result(timeout=60) == length_reward(CONVERSATIONS)


async def test_it_works_in_a_running_loop_and_on_threads(reward_server):
    reward = RemoteReward("rm", reward_server)
    assert reward(CONVERSATIONS) == length_reward(CONVERSATIONS)
    parts = await asyncio.gather(*(asyncio.to_thread(reward, [conversation]) for conversation in CONVERSATIONS))
    assert [score for part in parts for score in part] == length_reward(CONVERSATIONS)


def test_threads_that_begin_at_once_check_once(killable_reward_server):
    url = killable_reward_server.url
    reward, begin = RemoteReward("rm", url), threading.Barrier(8)

    def score(conversation):
        begin.wait(timeout=30)
        return reward([conversation])[0]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(score, CONVERSATIONS[:8])) == length_reward(CONVERSATIONS[:8])
    assert len(stats(url, "rm")[0]) == 8 + 4 + 4


REWARDS = []


def score_inherited(conversations):
    return REWARDS[0](conversations)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this platform does not fork")
def test_a_forked_child_goes_on_while_its_parent_has_requests_in_flight(killable_reward_server):
    REWARDS[:] = [RemoteReward("rm", killable_reward_server.url, RemoteRewardSettings(max_in_flight=1))]
    with ThreadPoolExecutor(1) as pool:
        here = pool.submit(REWARDS[0], CONVERSATIONS * 5)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as children:
            there = children.submit(score_inherited, CONVERSATIONS).result(timeout=60)
        assert there == length_reward(CONVERSATIONS)
        assert here.result(timeout=60) == length_reward(CONVERSATIONS * 5)


def test_it_can_be_sent_to_another_process(reward_server):
    reward = RemoteReward("rm", reward_server, QUICK)
    reward(CONVERSATIONS[:1])
    copy = pickle.loads(pickle.dumps(reward))
    assert copy.name == reward.name == f"rm@{reward_server}"
    assert copy(CONVERSATIONS) == length_reward(CONVERSATIONS)


def test_it_can_be_closed_twice_and_used_again(reward_server):
    reward = RemoteReward("rm", reward_server)
    reward.close()
    for _ in range(2):
        assert reward(CONVERSATIONS[:1]) == length_reward(CONVERSATIONS[:1])
        reward.close()
        reward.close()


def test_a_script_that_leaves_it_open_ends_quietly_and_needs_no_torch(reward_server):
    script = (
        "import sys; from music.conversation import Conversation; from music.reward.functions import load_reward\n"
        f"reward, said = load_reward('rm@{reward_server}'), [Conversation().user('Hi!').assistant('Hello.')]\n"
        "reward(said), reward.close()\n"
        "print(reward(said), 'torch' in sys.modules)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert (ended.stdout, ended.stderr) == ("[6.0] False\n", "")


@pytest.mark.parametrize("spec", ["rm@http://", "rm@http://user:secret@host", "a@http://h:1,b@http://h:2"])
def test_addresses_that_are_none_are_refused(spec):
    with pytest.raises(InvalidInputError) as caught:
        load_reward(spec)
    assert "secret" not in str(caught.value)
