"""Conversations that grow until no reply fits any more: they stop, however they are played."""

import asyncio
from copy import copy

import numpy as np
import pytest

from music.conversation import Conversation, StopReason
from music.llm.chat import Sampling
from music.llm.local import LocalChatModel
from music.reward import RewardModel
from music.sandbox.artifacts import BACKBONE, REWARD_MODEL
from music_envs import AsyncChatEnv, ChatEnv, ChatVectorEnv, ChatWorld, ModelPolicy, play_episodes

LIMIT = 320
SEEDS = (Conversation().user("Name a river."),)
REPLY = "The Rhine is a river, and a long one it is."


def size(conversation):
    return sum(len(message.content) for message in conversation.messages)


def fits(conversations):
    return [size(conversation) <= LIMIT for conversation in conversations]


def short(reward_model, max_length):
    """Return a reward model whose contract allows fewer tokens."""
    model = copy(reward_model)
    model._tokens = model.tokens.with_contract(max_length=max_length)
    return model


@pytest.fixture(scope="module")
def reward_model():
    return RewardModel.from_pretrained(REWARD_MODEL)


async def play_awaited(env):
    await env.reset(seed=0)
    while not (step := await env.step(REPLY))[2]:
        pass
    return step


@pytest.mark.parametrize("reward_mode", ["terminal", "per_turn", "difference"])
def test_all_environments_stop_at_the_same_place_and_the_last_reward_counts(reward_mode):
    arguments = {"num_turns": 50, "seeds": SEEDS, "reward": "length", "reward_mode": reward_mode, "fits": fits}
    env, envs, twin = ChatEnv(**arguments), ChatVectorEnv(2, **arguments), AsyncChatEnv(**arguments)
    env.reset(seed=0)
    envs.reset(seed=[0, 0])
    rewards, terminated = [], False
    while not terminated:
        observation, reward, terminated, truncated, info = env.step(REPLY)
        rewards.append(reward)
        assert not truncated
        together = envs.step((REPLY, REPLY))
        assert (together[0][0], together[1][1], together[2][0]) == (observation, reward, terminated)
    assert info["stop_reason"] == together[4]["stop_reason"][0] == StopReason.CONTEXT_FULL
    awaited = asyncio.run(play_awaited(twin))
    assert (awaited[0], awaited[1], awaited[4]) == (observation, rewards[-1], info)
    assert info["score"] == len(REPLY) * info["turn"]
    assert rewards[-1] == (len(REPLY) if reward_mode == "difference" else info["score"])
    assert size(observation) <= LIMIT < size(observation.assistant(REPLY))
    (played,) = play_episodes(ChatWorld(**arguments), lambda cs: [REPLY] * len(cs), [0])
    assert (played.rewards, played.episode.conversation) == (tuple(rewards), observation)


def test_in_the_mode_that_resets_at_once_the_next_episode_begins_in_the_step_that_fills_the_context():
    envs = ChatVectorEnv(2, num_turns=50, seeds=SEEDS, fits=fits, autoreset_mode="SameStep")
    envs.reset(seed=0)
    while not (step := envs.step((REPLY, "Yes.")))[2].any():
        pass
    assert step[4]["final_info"]["stop_reason"][0] is StopReason.CONTEXT_FULL
    assert step[0][0] == SEEDS[0]
    assert step[4]["turn"].tolist()[0] == 0
    envs.send({0: REPLY})
    assert envs.recv()[0].tolist() == [0]


def test_no_more_tokens_are_scored_than_the_reward_model_takes(reward_model):
    limit = 120
    reward, scored = short(reward_model, limit), []

    class Counting:
        fits = staticmethod(reward.fits)

        def __call__(self, conversations):
            scored.extend(len(encoding.ids) for encoding in reward.tokens.encode_all(conversations))
            assert not any(each.num_dropped_turns for each in reward.score_each(conversations))
            return reward(conversations)

    for mode in ("terminal", "per_turn"):
        world = ChatWorld(num_turns=50, seeds=SEEDS, reward=Counting(), reward_mode=mode)
        played = play_episodes(world, lambda cs: [REPLY] * len(cs), range(3))
        assert {each.episode.stop_reason for each in played} == {StopReason.CONTEXT_FULL}
        assert all(each.total is not None and each.episode.turn > 1 for each in played)
    assert limit // 2 < max(scored) <= limit


def test_a_reply_that_does_not_fit_itself_ends_its_episode(reward_model):
    world = ChatWorld(num_turns=2, seeds=SEEDS, reward=short(reward_model, 120))
    replies = iter([["Yes.", REPLY], ["Yes.", "A long one, and so on. " * 8]])
    played = play_episodes(world, lambda cs: next(replies), [0, 0])
    assert [each.episode.stop_reason for each in played] == [StopReason.TURN_LIMIT, StopReason.CONTEXT_FULL]


def test_episodes_stop_where_the_policys_context_is_full():
    model = LocalChatModel(str(BACKBONE))
    model._model.config.max_position_embeddings = 150
    policy = ModelPolicy(model, sampling=Sampling(max_tokens=24))
    played = play_episodes(ChatWorld(num_turns=50, seeds=SEEDS), policy, range(2))
    for each in played:
        assert each.episode.stop_reason is StopReason.CONTEXT_FULL
        assert policy.fits([each.episode.judged]) == [True]
        assert policy.fits([each.episode.conversation.assistant("word " * 150)]) == [False]
    assert ModelPolicy("sandbox").fits([SEEDS[0]] * 2) == [True, True]


def test_what_can_be_played_to_the_end_is_not_stopped(reward_model):
    arguments = {"num_turns": 2, "reward": reward_model, "reward_mode": "per_turn"}
    envs = ChatVectorEnv(2, fits=lambda cs: np.ones(len(cs), dtype=bool), **arguments)
    plain = ChatVectorEnv(2, **{**arguments, "reward": reward_model.score})  # a bound method has no limit
    for env in (envs, plain):
        env.reset(seed=0)
    for _ in range(2):
        ours, theirs = envs.step((REPLY, "Yes.")), plain.step((REPLY, "Yes."))
        assert ours[0] == theirs[0]
        assert ours[1].tolist() == theirs[1].tolist()
    assert ours[4]["stop_reason"].tolist() == [StopReason.TURN_LIMIT] * 2
