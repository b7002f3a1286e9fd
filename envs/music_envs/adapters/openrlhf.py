"""OpenRLHF: a `reward_func` for single replies, for a file of yours that `reward.remote_url` names.

OpenRLHF hands over rendered text. Every row's label must therefore hold the prompt's messages as JSON text, and the
text must be what the tokenizer's chat template makes of them; anything else is refused.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from music.reward.functions import RewardFunction
from music_envs.adapters.prompts import replied
from music_envs.adapters.rendered import read_rendered_prompt, reply_of_query
from music_envs.adapters.unscorable import scores_or_none

__all__ = ["as_reward_func"]


def as_reward_func(
    reward: RewardFunction, tokenizer: PreTrainedTokenizerBase, *, floor: float
) -> Callable[..., dict[str, Any]]:
    """Return a reward as OpenRLHF's `reward_func`.

    Args:
        reward: Scores conversations.
        tokenizer: The policy's.
        floor: Of a reply that cannot be scored, a blank one for example: OpenRLHF has no way to leave it out. The log
            `unscorable` counts them.
    """

    def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str], **_: Any) -> dict[str, Any]:
        rows = zip(queries, prompts, labels, strict=True)
        conversations = [
            replied(read_rendered_prompt(tokenizer, prompt, label), reply_of_query(tokenizer, query, prompt))
            for query, prompt, label in rows
        ]
        scores = scores_or_none(reward, conversations)
        rewards = torch.tensor([floor if score is None else score for score in scores])
        unscorable = torch.tensor([float(score is None) for score in scores])
        return {"rewards": rewards, "scores": rewards, "extra_logs": {"unscorable": unscorable}}

    return reward_func
