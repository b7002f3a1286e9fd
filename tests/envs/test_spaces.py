import pytest

from music.conversation import Conversation
from music_envs import ConversationSpace, ReplySpace


@pytest.mark.parametrize("make", [ReplySpace, ConversationSpace])
def test_samples_belong_and_follow_the_seed(make):
    first, second = make(), make()
    first.seed(7)
    second.seed(7)
    samples = [first.sample() for _ in range(50)]

    assert all(sample in first for sample in samples)
    assert samples == [second.sample() for _ in range(50)]
    assert len(set(map(str, samples))) > 10
    assert make() == make()


@pytest.mark.parametrize("action", [None, 3, b"hi", "", " \n", "x" * 101, ["hi"]])
def test_what_is_no_reply_does_not_belong(action):
    assert action not in ReplySpace(max_chars=100)


def test_spaces_of_other_kinds_or_sizes_differ():
    assert ReplySpace(200) != ReplySpace(300)
    assert ReplySpace() != ConversationSpace()


def test_conversations_belong_whichever_side_ends_them():
    space = ConversationSpace()
    assert Conversation().user("Hi") in space
    assert Conversation().user("Hi").assistant("Hello") in space
    assert Conversation() not in space
    assert "Hi" not in space


def test_conversations_survive_json():
    space = ConversationSpace(seed=1)
    samples = [space.sample() for _ in range(3)]
    assert space.from_jsonable(space.to_jsonable(samples)) == samples
