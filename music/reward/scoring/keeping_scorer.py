"""`KeepingScorer`: the base of scorers that keep the states of tokens from call to call.

It makes sure that states of other weights are never used. What is kept, and how, is up to the subclass.
"""

from abc import abstractmethod
from collections.abc import Hashable, Sequence
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel

from music.reward.scoring.forward import PackedScorer
from music.reward.scoring.sequence_scorer import Ids, SequenceScorer

__all__ = ["KeepingScorer"]


class KeepingScorer(SequenceScorer):
    """Scores token sequences, and keeps the states of their tokens from call to call.

    All states are dropped if a weight has changed or a call fails. A copy starts with none.

    Args:
        scorer: The model, in eval mode.
        max_cached_tokens: Most tokens to keep, at least 1.
        max_tokens: Approximate number of tokens in a row; by default what suits the device.
        frozen: Whether the weights never change, so that they are not compared at each call.
    """

    def __init__(
        self, scorer: PackedScorer, max_cached_tokens: int, max_tokens: int | None = None, *, frozen: bool = False
    ) -> None:
        super().__init__(scorer, max_tokens)
        self.max_cached_tokens = max_cached_tokens
        self._frozen = frozen
        self._weights: Hashable = None

    def __reduce__(self) -> tuple[object, ...]:
        """Copy and pickle with nothing kept."""
        kind = partial(type(self), frozen=self._frozen)
        return kind, (self._scorer, self.max_cached_tokens, self._max_tokens)

    def _score(self, sequences: Sequence[Ids]) -> dict[Ids, Tensor]:
        weights = None if self._frozen else _fingerprint(self._scorer.classifier)
        if weights != self._weights:
            self._forget()
            self._weights = weights
        try:
            return super()._score(sequences)
        except BaseException:  # after one, such as running out of memory, only some layers have stored the row
            self._forget()
            raise

    @abstractmethod
    def _forget(self) -> None:
        """Drop all states."""


def _fingerprint(classifier: PreTrainedModel) -> Hashable:
    """Return a value that changes with the weights and with the way in which they are used.

    Weights are compared by sums over all their bits, because fused optimizers and writes to `.data` leave no other
    trace. This takes as long as reading the weights once, which is less than a forward pass of a few tokens.
    """
    device = classifier.device
    sums = [_sum_of_bits(each).to(device) for each in (*classifier.parameters(), *classifier.buffers())]
    autocast = torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)
    return tuple(torch.stack(sums).tolist()), classifier.dtype, autocast, classifier.training, device


def _sum_of_bits(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor's bytes, read as 64-bit integers; it wraps around."""
    octets = tensor.detach().reshape(-1).view(torch.uint8)
    octets = octets.clone() if octets.storage_offset() % 8 else octets
    num = len(octets) // 8 * 8
    return octets[:num].view(torch.int64).sum() + octets[num:].sum()
