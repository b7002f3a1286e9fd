"""Rewards of turns through OpenRLHF's own code: its loop, its samples and its advantages."""

import math
import sys
from types import SimpleNamespace

import pytest
import torch

from music.errors import InvalidInputError
from music_envs.adapters.openrlhf import use_turn_credit
from music_envs.chat.world import ChatWorld


@pytest.fixture
def advantages(openrlhf, execute, tokenizer, scripted, reward_length):
    """Play conversations, and return their samples with OpenRLHF's advantages."""

    async def compute(*conversations, estimator="group_norm", gamma=1.0, num_samples=2, kl=0.0, **penalties):
        maker_of = openrlhf("trainer.ppo_utils.experience_maker").RemoteExperienceMaker
        generator = openrlhf("trainer.ppo_utils.samples_generator").SamplesGenerator.__new__(
            openrlhf("trainer.ppo_utils.samples_generator").SamplesGenerator
        )
        world = ChatWorld(num_turns=3, reward=reward_length, reward_mode="difference", user=scripted("user"))
        played = [vars(await execute(world, *replies)) for replies in conversations]
        samples = [generator._process_response_into_experience(each, max_len=512) for each in played]
        algo = SimpleNamespace(
            advantage=SimpleNamespace(estimator=estimator, gamma=gamma, no_std_norm=False, lambd=1.0),
            kl=SimpleNamespace(use_loss=False),
        )
        rollout = SimpleNamespace(n_samples_per_prompt=num_samples, micro_batch_size=2)
        reward = SimpleNamespace(clip_range=(-10, 10), **penalties)
        args = SimpleNamespace(
            algo=algo, rollout=rollout, reward=reward, train=SimpleNamespace(dynamic_batch_enable=False)
        )
        strategy = SimpleNamespace(args=args)
        maker = maker_of(None, None, None, None, SimpleNamespace(value=0.5), strategy, tokenizer)
        experiences = maker.split_rollout_samples(samples)
        for each in experiences:
            each.kl = torch.full(each.action_mask.shape, kl) * each.action_mask
        done = maker.compute_advantages_and_returns(experiences)
        return [
            [row[mask.bool()].tolist() for row, mask in zip(each.advantages, each.action_mask, strict=True)]
            for each in done
        ]

    return compute


def by_reply(tokenizer, values, *replies):
    """Return one value for each reply; all its tokens, the closing one included, must have it."""
    found = []
    for reply in replies:
        length = len(tokenizer(reply + "<|end|>", add_special_tokens=False)["input_ids"])
        part, values = values[:length], values[length:]
        assert part == pytest.approx(part[:1] * length)
        found.append(part[0])
    assert values == []
    return found


SIX, TEN = "Six: .", "Ten chars."


async def test_without_it_every_reply_of_a_conversation_has_the_same_advantage(advantages):
    ((first, second),) = await advantages([SIX, TEN, "Ab"], [TEN, SIX, "Abcd"])
    assert len(set(first)) == len(set(second)) == 1


async def test_every_reply_has_the_advantage_of_its_own_turn(advantages, tokenizer, turn_credit):
    ((first, second),) = await advantages([SIX, TEN, "Ab"], [TEN, SIX, "Abcd"], gamma=0.0, estimator="reinforce")
    # Rewards 6, 10, 2 and 10, 6, 4 with means 8, 8, 3: differences of 2, 2, 1, whose mean square is 3.
    scale = math.sqrt(3)
    assert by_reply(tokenizer, first, SIX, TEN, "Ab") == pytest.approx([-2 / scale, 2 / scale, -1 / scale])
    assert by_reply(tokenizer, second, TEN, SIX, "Abcd") == pytest.approx([2 / scale, -2 / scale, 1 / scale])


async def test_later_rewards_count_with_the_discount_and_unplayed_turns_do_not(advantages, tokenizer, turn_credit):
    ((first, second),) = await advantages([SIX, "Ab", "Ab"], [TEN, " "], gamma=0.5, estimator="reinforce")
    # Rewards 6, 2, 2 and 10, -5 - 10. Returns 7.5, 3, 2 and 2.5, -15; differences of 2.5, 9 and 0 in five replies.
    scale = math.sqrt(2 * (2.5**2 + 9**2) / 5)
    assert by_reply(tokenizer, first, SIX, "Ab", "Ab") == pytest.approx([2.5 / scale, 9 / scale, 0.0])
    assert by_reply(tokenizer, second, TEN, " ") == pytest.approx([-2.5 / scale, -9 / scale])


async def test_the_kl_penalty_of_a_reply_belongs_to_its_turn(advantages, tokenizer, turn_credit):
    ((first, second),) = await advantages(
        [SIX, "Ab", "Ab"], [SIX, "a b ", "Ab"], gamma=0.0, kl=0.1, estimator="reinforce"
    )
    lengths = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in ("Ab", "a b ")]
    # The rewards of the second turn are 2 and 3; each token costs 0.5 * 0.1. The others are equal.
    difference = (2 - 0.05 * lengths[0] - (3 - 0.05 * lengths[1])) / 2
    scale = math.sqrt(2 * difference**2 / 6)
    assert by_reply(tokenizer, first, SIX, "Ab", "Ab") == pytest.approx([0.0, difference / scale, 0.0], abs=1e-5)
    assert by_reply(tokenizer, second, SIX, "a b ", "Ab") == pytest.approx([0.0, -difference / scale, 0.0], abs=1e-5)


@pytest.mark.parametrize("wrong", [{"estimator": "gae"}, {"num_samples": 1}])
async def test_what_has_no_group_to_compare_with_is_refused(advantages, turn_credit, wrong):
    with pytest.raises(InvalidInputError, match=r"group_norm --rollout\.n_samples_per_prompt 8"):
        await advantages([SIX, TEN, "Ab"], [TEN, SIX, "Abcd"], **wrong)


async def test_a_length_penalty_belongs_to_the_last_turn(advantages, tokenizer, turn_credit):
    endless = "on and on " * 99
    ((first, second),) = await advantages(
        [SIX, "Ab", "Ab"], [SIX, endless], gamma=0.0, estimator="reinforce", stop_properly_penalty_coef=-20.0
    )
    # The cut conversation had 6 and -5 - 6, which OpenRLHF makes -20 in all: the last reply has -26.
    scale = math.sqrt(2 * 14**2 / 5)
    assert by_reply(tokenizer, first, SIX, "Ab", "Ab") == pytest.approx([0.0, 14 / scale, 0.0])
    assert second[-1] == pytest.approx(-14 / scale)


def test_it_waits_for_openrlhf_to_import_its_trainer(openrlhf, monkeypatch):
    name = "trainer.ppo_utils.experience_maker"
    openrlhf(name)
    monkeypatch.delitem(sys.modules, f"openrlhf.{name}")
    use_turn_credit()
    assert f"openrlhf.{name}" not in sys.modules
    maker = openrlhf(name).RemoteExperienceMaker
    assert maker.compute_advantages_and_returns.__module__ == use_turn_credit.__module__
