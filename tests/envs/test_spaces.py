import pytest
from gymnasium.spaces import Tuple
from gymnasium.vector import SyncVectorEnv
from gymnasium.vector.utils import batch_differing_spaces, batch_space, concatenate, create_empty_array, iterate

from music.conversation import Conversation
from music_envs import ChatEnv, ConversationSpace, ReplySpace


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


@pytest.fixture(params=[ReplySpace, ConversationSpace])
def space(request):
    return request.param(seed=3)


@pytest.fixture(params=["alike", "differing"])
def batched(request, space):
    return batch_space(space, 3) if request.param == "alike" else batch_differing_spaces([space] * 3)


def test_batches_are_tuples_whose_samples_belong_and_survive_json(batched):
    batched.seed(5)
    samples = [batched.sample() for _ in range(4)]
    assert isinstance(batched, Tuple)
    assert all(sample in batched for sample in samples)
    assert batched.from_jsonable(batched.to_jsonable(samples)) == samples
    assert len(set(samples[0])) == 3
    batched.seed(5)
    assert [batched.sample() for _ in range(4)] == samples


def test_what_does_not_belong_to_one_does_not_belong_to_the_batch(batched):
    sample = batched.sample()
    for other in (sample[:2], (*sample[:2], None), (*sample[:2], Conversation()), (*sample[:2], " "), sample[0]):
        assert other not in batched


def test_sampling_a_batch_leaves_the_generator_of_the_space_alone(space, batched):
    other = type(space)(seed=3)
    batched.sample()
    assert space.sample() == other.sample()


def test_gymnasiums_helpers_take_batches_apart_and_together(space, batched):
    sample = batched.sample()
    assert tuple(iterate(batched, sample)) == sample
    assert concatenate(space, sample, create_empty_array(space, 3)) == sample


def test_lengths_may_differ_in_a_batch():
    batched = batch_differing_spaces([ReplySpace(200), ReplySpace(300)])
    assert ("x" * 200, "x" * 300) in batched
    assert ("x" * 201, "x" * 300) not in batched
    with pytest.raises(TypeError):
        batch_differing_spaces([ReplySpace(), ConversationSpace()])


def test_gymnasiums_vector_environment_takes_them_as_differing():
    envs = SyncVectorEnv([ChatEnv, ChatEnv], observation_mode="different")
    observations, _ = envs.reset(seed=0)
    assert observations in envs.observation_space
