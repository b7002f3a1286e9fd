"""Which waiting conversations are scored together, and what happens if that fails."""

import logging
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch

from music.reward.encoded import EncodedConversation
from music.reward.packing.prefix_cache import num_common
from music.serving.items import FAILED, OUT_OF_MEMORY, ItemError, ItemResult
from music.serving.pending import PendingRequest
from music.serving.served_model import ServedModel

__all__ = ["WaitingItem", "WaitingItems", "score_or_halve"]

logger = logging.getLogger(__name__)

_FIRST_TOKENS = 256
"""Conversations that share this many first tokens wait side by side."""


_Key = tuple[ServedModel, tuple[int, ...]]


@dataclass(eq=False, slots=True)
class WaitingItem:
    """An encoded conversation of a request.

    Attributes:
        request: The request.
        index: Which of the request's conversations it is.
        encoded: What is scored.
    """

    request: PendingRequest
    index: int
    encoded: EncodedConversation

    @property
    def ids(self) -> Sequence[int]:
        """The tokens of the longest sequence."""
        return self.encoded.sequences[0].ids


class WaitingItems:
    """The conversations that wait, in the order of their arrival, with those side by side that begin alike.

    Attributes:
        num_tokens: Number of their tokens; shared ones count once for each conversation.
    """

    def __init__(self) -> None:
        self._groups: OrderedDict[_Key, deque[WaitingItem]] = OrderedDict()
        self._size = 0
        self.num_tokens = 0

    def __len__(self) -> int:
        """Return the number of conversations."""
        return self._size

    def add(self, served: ServedModel, item: WaitingItem) -> None:
        """Add a conversation that was encoded for a model."""
        self._groups.setdefault((served, tuple(item.ids[:_FIRST_TOKENS])), deque()).append(item)
        self._size += 1
        self.num_tokens += len(item.ids)

    def take(self, max_tokens: int) -> tuple[ServedModel, list[WaitingItem]]:
        """Remove and return the next batch, and its model.

        A batch is for one model. Tokens that a conversation shares with the one before it do not count.

        Args:
            max_tokens: Bound on the tokens; a batch has at least one conversation.
        """
        (served, _), _ = next(iter(self._groups.items()))
        taken: list[WaitingItem] = []
        room = max_tokens
        for key in [key for key in self._groups if key[0] is served]:
            room = self._take_alike(key, taken, room)
            if room <= 0:
                break
        self._size -= len(taken)
        self.num_tokens -= sum(len(item.ids) for item in taken)
        return served, taken

    def _take_alike(self, key: _Key, taken: list[WaitingItem], room: int) -> int:
        """Take conversations that begin alike; return how much room is left. Those left over wait behind all others."""
        group = self._groups[key]
        before: Sequence[int] = ()
        while group:
            ids = group[0].ids
            cost = len(ids) - num_common(before, ids)
            if taken and cost > room:
                self._groups.move_to_end(key)
                return 0
            taken.append(group.popleft())
            before, room = ids, room - cost
        del self._groups[key]
        return room


def score_or_halve(served: ServedModel, encoded: Sequence[EncodedConversation]) -> list[ItemResult]:
    """Score conversations. If that fails, score each half by itself, so that one conversation cannot harm others."""
    try:
        scored = served.model.score_encoded(encoded)
    except Exception as error:  # the boundary of the process: the request gets the error, and the server lives
        if len(encoded) > 1:
            logger.warning("%d conversations: %s; scoring each half", len(encoded), type(error).__name__)
            middle = len(encoded) // 2
            return list(chain(*(score_or_halve(served, half) for half in (encoded[:middle], encoded[middle:]))))
        logger.error("one conversation of %d tokens: %s", encoded[0].num_tokens, type(error).__name__, exc_info=True)
        return [ItemResult(error=_explain(error))]
    return [ItemResult.of(one, each.num_tokens) for one, each in zip(scored, encoded, strict=True)]


def _explain(error: Exception) -> ItemError:
    if _is_out_of_memory(error):
        return ItemError(OUT_OF_MEMORY, "the conversation alone does not fit into the server's memory")
    return ItemError(FAILED, f"the model failed ({type(error).__name__}); the server's log has the error")


def _is_out_of_memory(error: Exception) -> bool:
    # PyTorch raises a plain RuntimeError if memory of the CPU runs out.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
