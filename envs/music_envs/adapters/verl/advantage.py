"""`turn_credit`: an estimator that gives each reply the advantage of its own turn. Importing it registers it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from verl.trainer.ppo.core_algos import register_adv_est

from music.errors import InvalidInputError
from music_envs.adapters.turns import turns_of_mask
from music_envs.credit import USER, token_advantages, turn_advantages

__all__ = ["turn_credit"]


@register_adv_est("turn_credit")  # type: ignore[untyped-decorator]
def turn_credit(
    token_level_rewards: torch.Tensor, response_mask: torch.Tensor, index: Sequence[Any], config: Any = None, **_: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the advantages of the tokens by the rule of `music_envs.credit`, and the same as returns.

    A reply's reward is the sum over its tokens and over those of the user's answer; with `algorithm.use_kl_in_reward`
    it includes the KL penalty. `algorithm.gamma` is the discount, for each turn.

    Args:
        token_level_rewards: Shape `[batch, tokens]`.
        response_mask: 1 for the policy's tokens; shape `[batch, tokens]`.
        index: For each row, its prompt: the rows of a prompt are a group, of any size.
        config: verl's `algorithm`.

    Raises:
        InvalidInputError: Rejection sampling of tokens is on, which cuts replies in pieces.
    """
    if ((config or {}).get("rollout_correction") or {}).get("rollout_rs"):
        raise InvalidInputError(
            "expected algorithm.rollout_correction.rollout_rs to be null, because it masks tokens within replies, and "
            "turns could not be distinguished; importance weights (rollout_is) are possible"
        )
    turns = [turns_of_mask(row) for row in response_mask.long().tolist()]
    rewards = [_turn_rewards(*row) for row in zip(token_level_rewards.tolist(), turns, strict=True)]
    groups: dict[Any, list[int]] = {}
    for row, prompt in enumerate(index):
        groups.setdefault(prompt, []).append(row)
    size = max(map(len, groups.values()))
    # A conversation without turns fills the place of one that is missing in its group, and counts nowhere.
    places = [row for rows in groups.values() for row in [*rows, *[None] * (size - len(rows))]]
    by_turn = turn_advantages(
        [[] if row is None else rewards[row] for row in places],
        size,
        1.0 if config is None else config.get("gamma", 1.0),
    )
    by_row = {row: advantages for row, advantages in zip(places, by_turn, strict=True) if row is not None}
    by_token = token_advantages(np.stack([by_row[row] for row in range(len(turns))]), turns)
    advantages = torch.tensor(by_token, dtype=torch.float32, device=response_mask.device)
    return advantages, advantages.clone()


def _turn_rewards(rewards: Sequence[float], turns: Sequence[int]) -> list[float]:
    """Return the reward of each turn: that of its reply's tokens and of the user's tokens after it."""
    by_turn = [0.0] * (max(turns) + 1)
    turn = 0
    for reward, of_token in zip(rewards, turns, strict=True):
        turn = turn if of_token == USER else of_token
        if by_turn:
            by_turn[turn] += reward
    return by_turn
