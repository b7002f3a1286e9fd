"""Several servers of one reward model: real processes, really killed."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from urllib.request import urlopen

import pytest

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.llm.chat import EndpointError, EndpointUnavailableError
from music.llm.retry import RetryPolicy
from music.reward import RemoteReward, RemoteRewardSettings, length_reward, load_reward

BATCHES = RemoteRewardSettings(max_batch=5, retry=RetryPolicy(backoff=0.01, max_backoff=0.1))
CONVERSATIONS = [
    Conversation().user(f"Question {number}").assistant("Answer." + number % 7 * "!") for number in range(300)
]


@pytest.fixture
def servers(killable_reward_server):
    with ExitStack() as stack:
        yield [killable_reward_server, type(killable_reward_server)("length", stack)]


def asked(url):
    with urlopen(f"{url}/asked") as answer:
        bodies = json.load(answer)["bodies"]
    return [each for body in bodies if "Name a colour." not in json.dumps(body) for each in body["conversations"]]


def test_a_conversation_stays_with_its_replica_as_it_grows(servers):
    urls = [f"{server.url}/music" for server in servers]
    reward = load_reward(f"rm@{','.join(urls)}")
    grown = CONVERSATIONS[:40]
    for turn in range(3):
        assert reward(grown) == length_reward(grown)
        grown = [each.user(f"And {turn}?").assistant("So.") for each in grown]
    first, second = ({each[0]["content"] for each in asked(url)} for url in urls)
    assert len(first | second) == 40
    assert first
    assert second
    assert not first & second


@pytest.mark.parametrize("protocol", ["music", "vllm"])
def test_a_replica_killed_under_load_loses_no_score_and_takes_part_again(servers, protocol):
    first, second = servers
    reward = RemoteReward("rm", [f"{server.url}/{protocol}" for server in servers], BATCHES)
    conversations = CONVERSATIONS[: 300 if protocol == "music" else 50]  # vLLM takes one a request
    assert reward(conversations) == length_reward(conversations)
    stop, rounds = threading.Event(), []

    def score_on():
        while not stop.is_set():
            rounds.append(reward(conversations) == length_reward(conversations))
            scored.set()

    def see_rounds(num):
        for _ in range(num):
            scored.clear()
            assert scored.wait(60) or load.done()

    scored = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(score_on)
        see_rounds(1)
        for victim in (first, second, first):
            victim.kill()
            see_rounds(3)
            victim.start()
            see_rounds(3)
        stop.set()
        load.result(60)
    assert len(rounds) > 18
    assert all(rounds)


def test_requests_in_flight_to_a_killed_replica_go_to_the_other_one(servers):
    first, second = servers
    reward = RemoteReward("rm", [f"{first.url}/gated", f"{second.url}/music"], BATCHES)
    with ThreadPoolExecutor(1) as pool:
        scores = pool.submit(reward, CONVERSATIONS)
        with urlopen(f"{first.url}/gated/wait"):
            first.kill()
        assert scores.result(60) == length_reward(CONVERSATIONS)
    taken = [each[0]["content"] for each in asked(f"{second.url}/music")]
    assert sorted(taken) == sorted(each.messages[0].content for each in CONVERSATIONS)


def test_a_replica_that_never_answers_is_left(servers):
    urls = [f"{servers[0].url}/hanging", f"{servers[1].url}/music"]
    impatient = RemoteRewardSettings(max_batch=5, timeout=0.5, retry=RetryPolicy(backoff=0.01))
    reward = RemoteReward("rm", urls, impatient)
    assert reward(CONVERSATIONS) == length_reward(CONVERSATIONS)


@pytest.mark.parametrize("mode", ["slow", "busy", "draining"])
def test_a_replica_that_is_slow_or_asks_for_time_loses_no_score(servers, mode):
    urls = [f"{servers[0].url}/{mode}", f"{servers[1].url}/music"]
    assert RemoteReward("rm", urls, BATCHES)(CONVERSATIONS) == length_reward(CONVERSATIONS)
    assert asked(urls[0])


def test_a_replica_that_is_down_at_first_takes_part_once_it_is_up(servers):
    first = servers[0]
    first.kill()
    reward = RemoteReward("rm", [f"{server.url}/music" for server in servers], BATCHES)
    assert reward(CONVERSATIONS) == length_reward(CONVERSATIONS)
    first.start()
    while not asked(f"{first.url}/music"):
        assert reward(CONVERSATIONS) == length_reward(CONVERSATIONS)


def test_replicas_of_different_weights_are_refused_and_both_are_named(servers):
    urls = [f"{servers[0].url}/music", f"{servers[1].url}/other"]
    reward = RemoteReward("rm", urls, BATCHES)
    for _ in range(2):
        with pytest.raises(EndpointError, match="expected replicas of one reward model") as caught:
            reward(CONVERSATIONS)
        for url, fingerprint in zip(urls, ("same", "other"), strict=True):
            assert f"rm@{url} serves fingerprint {fingerprint}" in str(caught.value)
    assert not asked(urls[0])


def test_a_replica_of_other_weights_that_comes_later_is_refused_before_it_scores(servers):
    first, second = servers
    first.kill()
    urls = [f"{first.url}/other", f"{second.url}/music"]
    reward = RemoteReward("rm", urls, BATCHES)
    assert reward(CONVERSATIONS) == length_reward(CONVERSATIONS)
    first.start()

    def score_on():
        while True:
            assert reward(CONVERSATIONS) == length_reward(CONVERSATIONS)

    with pytest.raises(EndpointError, match="expected replicas of one reward model"):
        score_on()
    assert not asked(urls[0])


def test_replicas_of_different_protocols_are_refused(servers):
    urls = [f"{servers[0].url}/music", f"{servers[1].url}/vllm"]
    with pytest.raises(EndpointError, match="serves vllm"):
        RemoteReward("rm", urls)(CONVERSATIONS)


def test_if_all_are_down_all_are_named(servers):
    reward = RemoteReward("rm", [f"{server.url}/music" for server in servers], BATCHES)
    assert reward(CONVERSATIONS[:3]) == length_reward(CONVERSATIONS[:3])
    for server in servers:
        server.kill()
    with pytest.raises(EndpointUnavailableError, match=r"no replica of .* is live") as caught:
        reward(CONVERSATIONS)
    assert all(f"rm@{server.url}" in str(caught.value) for server in servers)


@pytest.mark.parametrize(
    "spec", ["rm@http://h:1,rm@http://h:2", "rm@http://h:1,http://h:2", "rm@http://h:1, http://h:2"]
)
def test_replicas_are_urls_after_the_model(spec):
    assert load_reward(spec).name == "rm@http://h:1,http://h:2"


@pytest.mark.parametrize("spec", ["a@http://h:1,b@http://h:2", "rm@http://h:1,length", "rm@http://h:1,http://h:1"])
def test_other_lists_are_refused(spec):
    with pytest.raises(InvalidInputError):
        load_reward(spec)
