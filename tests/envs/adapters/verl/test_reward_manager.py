"""Scores of messages in verl's own reward worker, asked by verl's own agent loops."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from music.errors import InvalidInputError

PAGE = (Path(__file__).parents[4] / "docs" / "rl-adapters.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"```text\n(reward\..*?)```", PAGE, re.DOTALL)[0]
OVERRIDES = SHOWN.replace("rm@http://127.0.0.1:8300", "length").replace("-10", "-5").split()
TALK = [
    {"role": "user", "content": "Name a river."},
    {"role": "assistant", "content": "The Rhine."},
    {"role": "user", "content": "And a lake?"},
    {"role": "assistant", "content": "The Titisee."},
]


@pytest.fixture
def seen(verl, monkeypatch):
    """The conversations that the reward model sees."""
    from music_envs.adapters.verl import reward_manager

    conversations = []

    def reward(batch):
        conversations.extend(conversation.to_messages() for conversation in batch)
        return [float(len(conversation.messages[-1].content)) for conversation in batch]

    monkeypatch.setattr(reward_manager, "load_reward", {"length": reward}.get)
    return conversations


async def test_verls_single_turn_loop_gets_the_score_of_the_conversation(roll_out, seen):
    done = await roll_out({}, ["The Rhine."], ["  "], agent="single_turn_agent", overrides=OVERRIDES)
    first, second = done.rows
    assert seen == [TALK[:2]]
    assert (first["rm_scores"][-1], sum(first["rm_scores"])) == (10.0, 10.0)
    assert (second["rm_scores"][-1], sum(second["rm_scores"])) == (-5.0, -5.0)
    marks = [row["extra_fields"]["reward_extra_info"] for row in (first, second)]
    assert marks == [{"unscorable": 0.0}, {"unscorable": 1.0}]


@pytest.fixture
def score(verl, compose, seen):
    """Score a rollout of several turns, as a worker of verl's does for an agent loop with these extra fields."""
    worker = verl("experimental.reward_loop.reward_loop").RewardLoopWorker(compose(*OVERRIDES))

    async def scored(extra_fields, num_turns=4):
        raw, fields = np.empty(1, dtype=object), np.empty(1, dtype=object)
        raw[0], fields[0] = TALK[:1], extra_fields
        row = verl("protocol").DataProto.from_dict(
            tensors={"responses": torch.tensor([[5, 6]]), "attention_mask": torch.tensor([[1, 1, 1]])},
            non_tensors={"raw_prompt": raw, "tool_extra_fields": fields, "__num_turns__": np.array([num_turns])},
        )
        return await worker.compute_score(row)

    return scored


async def test_a_rollout_whose_loop_reports_its_messages_is_scored_with_its_roles(score, seen):
    assert await score({"messages": TALK}) == {"reward_score": 12.0, "reward_extra_info": {"unscorable": 0.0}}
    assert seen == [TALK]


async def test_a_rollout_of_several_turns_as_one_text_is_refused(score):
    with pytest.raises(InvalidInputError, match=r"rollout of 4 turns.*does not distinguish"):
        await score({})


def test_a_manager_without_its_reward_is_refused(verl, compose):
    with pytest.raises(InvalidInputError, match=r"\+reward.reward_kwargs.floor=NUMBER"):
        verl("experimental.reward_loop.reward_loop").RewardLoopWorker(compose(*OVERRIDES[:3]))
