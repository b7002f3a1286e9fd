"""Gymnasium's wrappers: those that make sense for text work, and the others say why they cannot."""

import gymnasium
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.spaces.utils import flatdim, flatten, flatten_space, unflatten
from gymnasium.wrappers.utils import create_zero_array

from music.conversation import Conversation
from music.errors import InvalidInputError
from music_envs import ConversationSpace, ReplySpace


def make():
    return gymnasium.make("music/Chat-v0", num_turns=3, reward="length", reward_mode="per_turn")


def play(env):
    steps = [env.reset(seed=0)[0]]
    return [*steps, *(env.step(f"Reply {number}.")[0] for number in range(3))]


@pytest.mark.parametrize("delay", [1, 2])
def test_observations_are_delayed_and_empty_until_then(delay):
    plain, delayed = play(make()), play(wrappers.DelayObservation(make(), delay=delay))
    assert delayed == [*[Conversation()] * delay, *plain][: len(plain)]


@pytest.mark.parametrize("padding", ["reset", "zero"])
def test_observations_are_stacked(padding):
    plain = play(make())
    env = wrappers.FrameStackObservation(make(), stack_size=2, padding_type=padding)
    before = plain[0] if padding == "reset" else Conversation()
    assert play(env) == list(zip([before, *plain], plain, strict=False))


def test_zero_texts_are_empty():
    assert create_zero_array(ReplySpace()) == ""
    assert create_zero_array(ConversationSpace()) == Conversation()


WORKS = {
    "Autoreset": {},
    "ClipReward": {"min_reward": 0, "max_reward": 1},
    "NormalizeReward": {},
    "OrderEnforcing": {},
    "PassiveEnvChecker": {},
    "RecordEpisodeStatistics": {},
    "StickyAction": {"repeat_action_probability": 0.5},
    "TimeLimit": {"max_episode_steps": 3},
    "TransformAction": {"func": str.upper, "action_space": ReplySpace()},
    "TransformObservation": {"func": str, "observation_space": None},
    "TransformReward": {"func": float},
}


@pytest.mark.parametrize("name", WORKS)
def test_wrappers_that_do_not_compute_with_observations_work(name):
    assert len(play(getattr(wrappers, name)(make(), **WORKS[name]))) == 4


def test_time_is_added_beside_the_conversation():
    env = wrappers.TimeAwareObservation(wrappers.TimeLimit(make(), 3), flatten=False)
    assert [int(each["time"][0]) for each in play(env)] == [0, 1, 2, 3]


@pytest.mark.parametrize("call", [flatdim, flatten_space, lambda space: flatten(space, None)])
@pytest.mark.parametrize("space", [ReplySpace(), ConversationSpace()])
def test_text_is_not_flattened_and_the_error_says_what_to_do(space, call):
    for flat in (call, lambda space: unflatten(space, np.zeros(3))):
        with pytest.raises(InvalidInputError, match=r"got (Reply|Conversation)Space.*: text has none\. Leave this"):
            flat(space)
    with pytest.raises(InvalidInputError, match="TransformObservation and your tokenizer"):
        wrappers.FlattenObservation(make())


@pytest.mark.parametrize("mode", ["sync", "vector_entry_point"])
def test_vector_environments_of_all_modes_step_alike(mode):
    envs = gymnasium.make_vec("music/Chat-v0", num_envs=2, num_turns=2, vectorization_mode=mode)
    envs.reset(seed=0)
    assert envs.step(("Yes.", "No."))[0] == expected()
    envs.close()


def test_processes_need_no_shared_memory():
    arguments = {"num_envs": 2, "num_turns": 2, "vectorization_mode": "async"}
    with pytest.raises(ValueError, match="shared_memory=False"):
        gymnasium.make_vec("music/Chat-v0", **arguments)
    envs = gymnasium.make_vec("music/Chat-v0", **arguments, vector_kwargs={"shared_memory": False})
    envs.reset(seed=0)
    assert envs.step(("Yes.", "No."))[0] == expected()
    envs.close()


def expected():
    envs = gymnasium.make_vec("music/Chat-v0", num_envs=2, num_turns=2)
    envs.reset(seed=0)
    return envs.step(("Yes.", "No."))[0]
