import json
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def scenes(run_beside):
    """What verifiers itself recorded, scene by scene."""
    return json.loads(run_beside("verifiers", Path(__file__).with_name("verifiers_play.py")).splitlines()[-1])


def replies(messages):
    return [message["content"] for message in messages if message["role"] == "assistant"]


def test_episodes_are_conversations_with_our_user_and_every_turn_has_its_reward(scenes):
    played = scenes["played"]
    assert played["ok"] == [True] * 4
    roles = ["user", "assistant", "user", "assistant"]
    assert [[m["role"] for m in messages] for messages in played["messages"]] == [["system", *roles]] * 2 + [roles] * 2
    for messages, rewards, reward in zip(played["messages"], played["rewards"], played["reward"], strict=True):
        lengths = [float(len(reply)) for reply in replies(messages)]
        assert rewards == {"turn_1": lengths[0], "turn_2": lengths[1]}
        assert reward == sum(lengths)
        assert messages[-2]["content"] == "Why 1?"
    assert {info["stop_reason"] for info in played["info"]} == {"turn_limit"}


def test_the_reward_sees_messages_with_their_roles(scenes):
    played = scenes["played"]
    assert sorted(map(str, played["messages"])) == sorted(str(seen) for seen in played["seen"] if len(seen) > 3)


@pytest.mark.parametrize(
    ("scene", "error", "ok"),
    [
        ("user_fails", "user is down", [False, True]),
        ("unscorable", "over_long", [False, True]),
        ("broken", "the reward server is gone", [False, False]),
        ("mute", "expected a reply with some text", [False, False]),
    ],
)
def test_what_cannot_be_scored_is_an_error_and_no_reward_and_leaves_the_others_be(scenes, scene, error, ok):
    told = scenes[scene]
    assert told["ok"] == ok
    assert [any(error in message for message in messages) for messages in told["errors"]] == [not each for each in ok]
    assert [bool(rewards) for rewards in told["rewards"]] == ok


def test_a_full_context_ends_a_conversation_whose_last_reply_is_rewarded(scenes):
    full = scenes["full"]
    assert full["ok"] == [True, True]
    for info, messages, rewards in zip(full["info"], full["messages"], full["rewards"], strict=True):
        assert info["stop_reason"] == "context_full"
        assert 1 <= len(replies(messages)) < 9
        assert list(rewards.values())[-1] == sum(map(len, replies(messages)))
        assert sum(rewards.values()) == sum(map(len, replies(messages)))


def test_the_credit_of_a_turn_is_in_its_sampled_tokens(scenes):
    # Returns-to-go: (5, 4) and (3, 0); less the means 4 and 2; in units of the root of (1 + 4 + 1 + 4) / 4.
    first, second = 1 / 2.5**0.5, 2 / 2.5**0.5
    one = [0, 0, 0] * 2 + [0, first, first, 0, 0, 0, 0, second, second]
    assert scenes["credit"][0] == pytest.approx(one)
    assert scenes["credit"][1] == pytest.approx([-each for each in one])
