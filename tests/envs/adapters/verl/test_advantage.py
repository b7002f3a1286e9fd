"""Rewards of turns through verl's own code: from its worker to the advantages of its trainer."""

import importlib
import math

import numpy as np
import pytest
import torch

from music.errors import InvalidInputError

SANDBOX = {"num_turns": 3, "user": "sandbox", "reward": "length", "reward_mode": "difference"}
SIX, TEN = "Six: .", "Ten chars."


@pytest.fixture
def advantages(verl, compose):
    """Let verl's trainer compute advantages from the rewards and masks of tokens."""

    def compute(rewards, masks, prompts, *overrides):
        config = compose(
            "algorithm.adv_estimator=turn_credit",
            "actor_rollout_ref.model.external_lib=music_envs.adapters.verl.advantage",
            *overrides,
        )
        # verl's trainer builds this, too, and thereby imports the estimator.
        verl("utils.config").omega_conf_to_dataclass(config.actor_rollout_ref.model)
        pad = lambda rows: torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)  # noqa: E731
        data = verl("protocol").DataProto.from_dict(
            tensors={"token_level_rewards": pad(rewards).float(), "response_mask": pad(masks)},
            non_tensors={"uid": np.array(prompts, dtype=object)},
        )
        done = verl("trainer.ppo.v1.utils").compute_advantage_for_multi_trajectories(
            data,
            batch_keys=[f"{prompt}_{row}_0" for row, prompt in enumerate(prompts)],
            adv_estimator=config.algorithm.adv_estimator,
            gamma=config.algorithm.gamma,
            config=config.algorithm,
        )
        return done.batch["advantages"].tolist()

    return compute


async def test_every_reply_of_a_rollout_has_the_advantage_of_its_own_turn(roll_out, advantages):
    done = await roll_out(SANDBOX, [SIX, TEN, "Ab"], [TEN, SIX, "Abcd"])
    rows = done.rows
    found = advantages(
        [row["rm_scores"] for row in rows], [row["response_mask"] for row in rows], ["p", "p"], "algorithm.gamma=0.0"
    )
    # Rewards 6, 10, 2 and 10, 6, 4 with means 8, 8, 3: differences of 2, 2, 1, whose mean square is 3.
    scale = math.sqrt(3)
    for row, values, expected in zip(rows, found, [[-2, 2, -1], [2, -2, 1]], strict=True):
        turn, wanted = 0, []
        for place, is_policy in enumerate(row["response_mask"]):
            wanted.append(expected[turn] / scale if is_policy else 0.0)
            turn += place in row["extra_fields"]["turn_ends"]
        assert values[: len(wanted)] == pytest.approx(wanted)
        assert not any(values[len(wanted) :])


def test_groups_may_differ_in_size_and_order_and_rewards_on_the_users_tokens_count(advantages):
    masks = [[1, 1, 0, 1], [1, 0, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1], [1, 1, 1, 1]]
    rewards = [[0, 1, 0, 2], [0, 5, 0, 0], [3, 0, 0, 4], [5, 0, 0, 0], [7, 0, 0, 0]]
    found = advantages(rewards, masks, ["a", "b", "a", "b", "c"], "algorithm.gamma=0.5")
    # Prompt a: returns 2, 2 and 5, 4, means 3.5, 3. Prompt b: 5 and 5, 0, means 5, 0. Prompt c: alone.
    scale = math.sqrt((1.5**2 * 2 + 1 * 2) / 8)
    expected = [[-1.5, -1.5, 0, -1], [0, 0, 0, 0], [1.5, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert np.array(found) == pytest.approx(np.array(expected) / scale)


def test_replies_that_verl_cuts_in_pieces_are_refused(advantages):
    with pytest.raises(InvalidInputError, match="rollout_rs"):
        advantages([[1.0]], [[1]], ["a"], "algorithm.rollout_correction.rollout_rs=token_k1")


def test_the_estimator_is_registered_once_however_often_it_is_imported(verl):
    module = importlib.import_module("music_envs.adapters.verl.advantage")
    assert verl("trainer.ppo.core_algos").get_adv_estimator_fn("turn_credit") is module.turn_credit
