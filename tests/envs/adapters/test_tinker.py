import json
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def played(run_beside, make_tokenizer, tmp_path_factory):
    """What tinker-cookbook's rollouts of each scene gave."""
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer().save_pretrained(folder)
    return json.loads(run_beside("tinker", Path(__file__).with_name("tinker_play.py"), folder).splitlines()[-1])


def test_every_step_has_the_reward_of_its_reply(played):
    assert played["played"]["rewards"] == [[4.0, 5.0], [6.0, 4.0]]


def test_the_reward_sees_messages_with_their_roles(played):
    said = [("user", "A river?"), ("assistant", "One."), ("user", "Why 1?"), ("assistant", "Two!!")]
    assert [{"role": role, "content": content} for role, content in said] in played["seen"]
    assert all([m["role"] for m in seen] == ["user", "assistant"] * (len(seen) // 2) for seen in played["seen"])


@pytest.mark.parametrize(
    ("scene", "rewards", "counted"),
    [
        pytest.param("blank", [4.0, -9.0], "unscorable", id="blank: the rewards add up to the floor"),
        pytest.param("cut", [4.0, -9.0], "unscorable", id="cut off: the same"),
        pytest.param("unscorable", [-5.0], "unscorable", id="unscorable: the floor"),
        pytest.param("user_failed", [7.0], "user_failed", id="the user fails: the last reply is rewarded"),
        pytest.param("full", [200.0], "context_full", id="the context is full: the last reply is rewarded"),
    ],
)
def test_how_a_conversation_ends_is_rewarded_and_counted(played, scene, rewards, counted):
    assert played[scene]["rewards"] == [rewards]
    assert [name for name, value in played[scene]["metrics"][0].items() if value] == [counted]
    assert all(metrics == {} for metrics in played[scene]["first"][0])


def test_the_credit_of_a_turn_is_in_its_tokens(played):
    # Returns-to-go: (9, 5) and (10, 4); less the means 9.5 and 4.5; in units of 0.5.
    users = "User: A river?\n\nAssistant: Why 1?\n\nAssistant:"
    assert played["data"] == [
        [[0.0, users], [-1.0, " One.\n\nUser:"], [1.0, " Two!!\n\nUser:"]],
        [[0.0, users], [1.0, " Three.\n\nUser:"], [-1.0, " Four\n\nUser:"]],
    ]


def test_a_pair_is_a_comparison_that_prefers_its_first_completion(played):
    assert played["label"] == "A"
    assert played["comparison"] == {
        "prompt_conversation": [{"role": "user", "content": "A river?"}],
        "completion_A": [{"role": "assistant", "content": "The Rhine."}],
        "completion_B": [{"role": "assistant", "content": "No."}],
    }
