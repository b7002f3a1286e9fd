"""`as_reward_func`: a reward as OpenRLHF's `reward_func`, for single replies."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from music.reward.functions import RewardFunction
from music.reward.tokens.queries import read_rendered_prompt, replied, reply_of_query
from music.reward.tokens.rendered import RenderedTextParser
from music_envs.scoring import scores_or_none

__all__ = ["as_reward_func"]


def as_reward_func(
    reward: RewardFunction, tokenizer: PreTrainedTokenizerBase, *, floor: float
) -> Callable[..., dict[str, Any]]:
    """Return a reward as OpenRLHF's `reward_func`.

    Args:
        reward: Scores conversations.
        tokenizer: The policy's.
        floor: The reward of a reply that cannot be scored, for example a blank one, because OpenRLHF cannot leave it
            out. The log `unscorable` counts them.

    Raises:
        InvalidInputError: The tokenizer has no chat template, or text in it cannot be read back into messages.
    """
    parser = RenderedTextParser(tokenizer)

    def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str], **_: Any) -> dict[str, Any]:
        rows = zip(queries, prompts, labels, strict=True)
        conversations = [
            replied(read_rendered_prompt(parser, prompt, label), reply_of_query(tokenizer, query, prompt))
            for query, prompt, label in rows
        ]
        scores = scores_or_none(reward, conversations)
        rewards = torch.tensor([floor if score is None else score for score in scores])
        unscorable = torch.tensor([float(score is None) for score in scores])
        return {"rewards": rewards, "scores": rewards, "extra_logs": {"unscorable": unscorable}}

    return reward_func
