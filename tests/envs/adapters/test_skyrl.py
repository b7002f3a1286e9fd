import json
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def played(run_beside, make_tokenizer, tmp_path_factory):
    """What SkyRL's generator gave its trainer, by reward mode."""
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer().save_pretrained(folder)
    return json.loads(run_beside("skyrl", Path(__file__).with_name("skyrl_play.py"), folder).splitlines()[-1])


def paid(played, mode, row):
    """Return each reply with its reward: the text up to each token that has one."""
    rewards, text = played[mode]["rewards"][row], played[mode]["texts"][row]
    assert len(rewards) == len(played[mode]["masks"][row])
    assert all(mask for mask, reward in zip(played[mode]["masks"][row], rewards, strict=True) if reward)
    replies = [part.split("<|assistant|>")[-1] for part in text.split("<|end|>")][::2]
    return list(zip([reply for reply in replies if reply], [reward for reward in rewards if reward], strict=True))


@pytest.mark.parametrize(
    ("row", "replies"),
    [
        pytest.param(0, [("The Rhine.", 10.0), ("It is long.", 11.0), ("Yes.", 4.0)], id="played"),
        pytest.param(1, [("Well.", 5.0), (" \n", -10.0)], id="blank: the rewards add up to the floor"),
        pytest.param(2, [("endless", -5.0)], id="unscorable: the floor"),
        pytest.param(3, [("One.", 4.0), ("hang up", 7.0)], id="the user fails: the last reply is rewarded"),
        pytest.param(4, [("x" * 60, 60.0), ("y" * 60, 60.0)], id="the context is full: the last reply is rewarded"),
    ],
)
def test_the_generator_puts_the_reward_of_each_turn_on_its_reply(played, row, replies):
    assert paid(played, "difference", row) == replies


def test_a_full_context_ends_with_the_reward_of_the_whole_conversation(played):
    assert [sum(rewards) for rewards in played["terminal"]["rewards"]] == [25.0, -5.0, -5.0, 11.0, 120.0]


def test_the_reward_sees_messages_with_their_roles(played):
    roles = [[message["role"] for message in messages] for messages in played["seen"]]
    assert all(turns == ["user", "assistant"] * (len(turns) // 2) for turns in roles)
    assert max(map(len, roles)) == 6


def test_the_metrics_count_how_conversations_ended(played):
    assert played["difference"]["metrics"] == {
        "environment/unscorable": 0.4,
        "environment/user_failed": 0.2,
        "environment/context_full": 0.2,
        "environment/num_replies": 2.0,
    }
