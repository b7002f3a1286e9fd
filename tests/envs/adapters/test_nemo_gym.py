import json
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def played(run_beside):
    """What NeMo Gym's agent returned for each prompt."""
    return json.loads(run_beside("nemo_gym", Path(__file__).with_name("nemo_gym_play.py")).splitlines()[-1])


@pytest.mark.parametrize(
    ("prompt", "rewards", "stop_reason", "error"),
    [
        pytest.param("A river?", [4.0, 5.0, 6.0], "turn_limit", None, id="played"),
        pytest.param("A tea?", [6.0, 10.0], "user_done", None, id="the user is done"),
        pytest.param("Full?", [900.0], "context_full", None, id="the context is full: the last reply is rewarded"),
        pytest.param("Mute?", [4.0, -9.0], "error", "blank", id="blank: the rewards add up to the floor"),
        pytest.param("Cut?", [4.0, -9.0], "error", "fills the context", id="cut off: the same"),
        pytest.param("Endless?", [-5.0], "error", "over_long", id="unscorable: the floor"),
        pytest.param("Alone?", [7.0], "error", "user is down", id="the user fails: the last reply is rewarded"),
    ],
)
def test_the_agent_gets_the_reward_of_every_reply_and_why_it_ended(played, prompt, rewards, stop_reason, error):
    rollout = played[prompt]
    info = rollout["info"]
    assert (rollout["reward"], info["turn_rewards"], info["stop_reason"]) == (sum(rewards), rewards, stop_reason)
    assert (rollout["terminated"], rollout["truncated"]) == (error is None, error is not None)
    assert (error or "") in info.get("error", "")
    assert info["is_unscorable"] == (rollout["reward"] == -5.0)


def test_the_episode_is_in_order_and_the_users_messages_are_not_the_assistants(played):
    rollout = played["A river?"]
    said = [(m["role"], m["content"]) for m in rollout["info"]["messages"]]
    assert said == [
        ("system", "Be brief."),
        ("user", "A river?"),
        ("assistant", "One."),
        ("user", "Why One."),
        ("assistant", "Two!!"),
        ("user", "Why Two!!"),
        ("assistant", "Three."),
    ]
    assert rollout["output"] == [["message", role] for role, _ in said[2:]]
    assert (rollout["info"]["persona"], rollout["info"]["usage"]["num_calls"]) == ("A cook.", 2)


def test_the_reward_sees_messages_with_their_roles(played):
    assert played["A river?"]["info"]["messages"] in played["seen"]
    for seen in played["seen"]:
        assert [m["role"] for m in seen] == ["system", *["user", "assistant"] * (len(seen) // 2)]


def test_sessions_are_closed_when_they_are_over(played):
    assert played["open"] == 0
