"""Log-likelihoods of replies, without the logits of all tokens in memory, and the starting policy to compare with."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from music_envs.credit import USER
from music_trainers.policy.rollouts import Trajectory
from music_trainers.policy.sampling import pad

__all__ = ["WithoutAdapters", "reply_log_likelihoods"]

IGNORED = -100
"""The label of a token that is not scored."""


class WithoutAdapters:
    """A policy with its adapters switched off: the starting policy, which needs no memory of its own.

    Args:
        model: peft's model.
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        device: torch.device = self._model.device
        return device

    def __call__(self, **inputs: Any) -> Any:
        """Run the model below the adapters."""
        with self._model.disable_adapter():
            return self._model(**inputs)


@torch.no_grad()
def reply_log_likelihoods(model: Any, batch: Sequence[Trajectory], pad_id: int) -> Tensor:
    """Return the log-likelihood of each episode's replies, shape `[episodes]`, on the CPU.

    Args:
        model: A causal language model with TRL's fused head (`add_fused_lm_head`), which goes over the tokens in
            chunks: logits of shape `[tokens, vocabulary]` would need more memory than the model.
        batch: The episodes.
        pad_id: Id of the pad token.
    """
    ids = pad([row.prompt_ids + row.completion_ids for row in batch], pad_id).to(model.device)
    owners = pad([[USER] * len(row.prompt_ids) + row.turns for row in batch], USER).to(model.device)
    # Padding is on the right, after everything that counts, so a causal model needs no mask.
    labels = ids.masked_fill(owners == USER, IGNORED)
    totals: Tensor = model(input_ids=ids, labels=labels, fused_lm_head=True).log_probs.float().sum(1)
    return totals.cpu()
