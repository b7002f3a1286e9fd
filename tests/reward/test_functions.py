import pytest

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward import RewardModel, length_reward, load_reward, random_reward
from music.sandbox import oracle_score

SHORT = Conversation().user("A long question, about the weather.").assistant("No.")
LONG = Conversation().user("Hi!").assistant("A long answer.")


def test_length_counts_what_the_assistant_wrote():
    assert length_reward([SHORT, LONG]) == [3.0, 14.0]


def test_random_rewards_follow_from_the_seed():
    first = random_reward(3)
    draws = first([SHORT, LONG]) + first([SHORT])
    assert len(set(draws)) == 3
    assert draws == random_reward(3)([SHORT, LONG, LONG])
    assert draws != random_reward(4)([SHORT, LONG, LONG])


def test_opens_what_the_user_names(reward_checkpoint, make_conversation):
    path = reward_checkpoint()
    conversations = [make_conversation(seed) for seed in range(3)]
    model = RewardModel.from_pretrained(path)
    assert load_reward(str(path))(conversations) == model.score(conversations)
    means = [sum(turns) / len(turns) for turns in model.score_turns(conversations)]
    assert load_reward(f"prefix-mean:{path}")(conversations) == pytest.approx(means)
    assert load_reward("length")([LONG]) == [14.0]
    assert load_reward("random:3")([LONG]) == random_reward(3)([LONG])
    assert load_reward("oracle") is oracle_score


@pytest.mark.parametrize("spec", ["random:x", "random:", "no/such/folder/here", "prefix-mean:no/such/folder/here"])
def test_unknown_rewards_are_refused(spec, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InvalidInputError):
        load_reward(spec)
