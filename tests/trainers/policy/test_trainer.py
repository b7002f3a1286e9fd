import numpy as np
import pytest
import torch

from music_envs import ChatVectorEnv
from music_envs.credit import turn_advantages
from music_trainers.policy.chat_tokens import ChatTokens
from music_trainers.policy.config import PolicyTrainingConfig
from music_trainers.policy.rollouts import EpisodeRules
from music_trainers.policy.trainer import TurnTrainer, mean_reward


@pytest.fixture
def trainer(policy, tokenizer, tmp_path):
    def make(reward="length", **settings):
        small = {"num_groups": 2, "group_size": 2, "num_turns": 2, "updates_per_step": 1, "max_reply_tokens": 16}
        config = PolicyTrainingConfig(out=tmp_path, **(small | settings))
        torch.manual_seed(0)
        env = ChatVectorEnv(
            config.num_episodes, num_turns=config.num_turns, reward=reward, reward_mode=config.reward_mode
        )
        seeds = range(config.num_steps * config.num_groups)
        return TurnTrainer(config, env, policy, tokenizer, ChatTokens(tokenizer, []), seeds, EpisodeRules())

    return make


def batch(trainer):
    """Return what TRL makes of the first step's episodes, and these."""
    rows = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    return trainer._generate_and_score_completions(rows), trainer.played


def test_every_token_of_a_reply_has_its_turns_advantage_and_the_users_have_none(trainer):
    output, played = batch(trainer(num_steps=1))
    expected = turn_advantages([row.rewards for row in played], 2, 0.0)
    assert np.abs(expected).max() > 0
    for advantages, mask, ids, row, turns in zip(
        output["advantages"], output["tool_mask"], output["completion_ids"], played, expected, strict=True
    ):
        num = len(row.turns)
        assert ids[:num].tolist() == row.completion_ids
        assert advantages.tolist()[:num] == pytest.approx([turns[t] if t >= 0 else 0.0 for t in row.turns], rel=1e-5)
        assert mask.tolist()[:num] == [int(turn >= 0) for turn in row.turns]
        assert not (mask * output["completion_mask"][0].new_zeros(len(mask)))[num:].any()


def test_a_group_meets_one_user(trainer):
    _, played = batch(trainer(num_steps=1))
    said = [[m.content for m in row.conversation.messages if m.role == "user"] for row in played]
    assert said[0] == said[1] != said[2] == said[3]


def test_a_reply_is_credited_with_what_follows_if_there_is_a_discount(trainer):
    output, played = batch(trainer(num_steps=1, reward_mode="terminal", discount=1.0))
    for advantages, row in zip(output["advantages"], played, strict=True):
        assert row.rewards[0] == 0.0
        values = {turn: advantages[row.turns.index(turn)].item() for turn in (0, 1)}
        assert values[0] == values[1]


def test_the_policy_learns_what_is_rewarded(trainer):
    def brief(conversations):
        return [-float(len(conversation.messages[-1].content)) for conversation in conversations]

    learner = trainer(brief, num_steps=6, learning_rate=2e-3, group_size=8)
    before = np.mean([reward for row in batch(learner)[1] for reward in row.rewards])
    learner.train()
    assert np.mean([reward for row in batch(learner)[1] for reward in row.rewards]) > 0.85 * before


def test_what_trl_logs_leaves_failed_episodes_out():
    assert mean_reward(turn_rewards=[[1.0, 3.0], [1.0, float("nan")]]) == [2.0, None]
