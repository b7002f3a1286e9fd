import math

import pytest
from trl.trainer.utils import add_fused_lm_head

from music.conversation import Conversation
from music.errors import MusicError
from music.llm.chat import EndpointError
from music.sandbox import SandboxModel
from music_envs import ChatVectorEnv
from music_trainers.policy.chat_tokens import ChatTokens
from music_trainers.policy.config import PolicyTrainingConfig
from music_trainers.policy.evaluation import HeldOutEpisodes
from music_trainers.policy.trainer import TurnTrainer

NUM = 4


class FailingUser:
    """The sandbox's user, who breaks down after a number of answers; openings do not count."""

    name = "failing"

    def __init__(self, num_answers):
        self._user, self._left = SandboxModel(), num_answers

    async def complete(self, request):
        is_opening = request.key.split("/")[2] == "0"
        self._left -= not is_opening
        if self._left < 0 and not is_opening:
            raise EndpointError("the user's\nserver is gone" if self._left % 2 else "the key has expired")
        return await self._user.complete(request)

    async def aclose(self):
        pass


@pytest.fixture
def tokens(tokenizer):
    return ChatTokens(tokenizer, [])


@pytest.fixture
def config(tmp_path):
    return PolicyTrainingConfig(out=tmp_path, num_turns=2, num_evaluations=NUM, max_reply_tokens=3)


def environment(num_answers):
    """Return episodes whose users give so many answers in all."""
    return ChatVectorEnv(NUM, num_turns=2, user=FailingUser(num_answers), reward="length", reward_mode="per_turn")


@pytest.fixture
def evaluate(config, policy, tokens):
    add_fused_lm_head(policy)

    def run(num_answers, judge=None):
        return HeldOutEpisodes(config, environment(num_answers), judge, policy, tokens).evaluate(policy, 7)

    return run


def test_if_every_episode_fails_the_reasons_are_given(evaluate):
    with pytest.raises(MusicError) as refusal:
        evaluate(0)
    reasons = "2 x the user's server is gone; 2 x the key has expired"
    assert str(refusal.value) == f"all 4 held-out episodes at step 7 failed: {reasons}"


def test_of_one_survivor_there_is_a_value_and_the_others_reasons(evaluate):
    point, conversations = evaluate(1, judge=lambda played: [0.5] * len(played))
    assert len(conversations) == len(point.rewards) == len(point.grades) == len(point.episodes) == 1
    assert (point.reward.value, point.reward.low) == (point.rewards[0], -math.inf)
    assert len(point.errors) == point.num_failed == 3
    assert set(point.errors) | set(point.episodes) == set(range(NUM))


def test_cut_replies_are_counted(evaluate):
    point, conversations = evaluate(NUM)
    assert point.episodes == list(range(NUM))
    assert point.grades is None
    assert all(len(conversation.messages[1].content) < 30 for conversation in conversations)
    assert 0.5 < point.cut <= 1
    assert point.blank == 0


def test_a_training_step_without_any_reward_is_an_error_with_its_reasons(tmp_path, policy, tokenizer, tokens):
    config = PolicyTrainingConfig(
        out=tmp_path, num_groups=2, group_size=2, num_turns=2, updates_per_step=1, num_steps=1
    )
    trainer = TurnTrainer(config, environment(0), policy, tokenizer, tokens, range(2))
    with pytest.raises(MusicError, match="all 4 episodes of a training step failed: 2 x the user's server is gone"):
        trainer.train()


def test_silence_counts_as_the_lowest_reward_and_the_lowest_grade(config, policy, tokens, monkeypatch):
    from music_trainers.policy import evaluation

    add_fused_lm_head(policy)
    reply = tokens.opening(Conversation().user("Hi!"))[1:3]

    def sample(model, tokens, prompts, **how):
        return [[tokens.closing_id], *([*reply, tokens.closing_id] for _ in prompts[1:])]

    monkeypatch.setattr(evaluation, "sample_replies", sample)
    judged = []

    def judge(conversations):
        judged.extend(conversations)
        return [float(place) for place in range(len(conversations))]

    point, conversations = HeldOutEpisodes(config, environment(NUM), judge, policy, tokens).evaluate(policy, 7)
    assert point.num_failed == 0
    assert len(conversations) == NUM
    assert min(point.rewards) == point.rewards[0]
    assert point.blank > 0
    assert all(each.messages[-1].role == "assistant" for each in judged)
    assert len(judged) < NUM
    assert point.grades[0] == 0.0
