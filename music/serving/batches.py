"""Which waiting conversations are scored together, and what happens if that fails."""

import logging
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from music.reward.encoded import EncodedConversation
from music.reward.packing.prefix_cache import num_common
from music.serving.items import FAILED, OUT_OF_MEMORY, ItemError, ItemResult
from music.serving.pending import PendingRequest
from music.serving.served_model import ServedModel

__all__ = ["Outcome", "TokenBudget", "WaitingItem", "WaitingItems", "score_or_halve"]

logger = logging.getLogger(__name__)

_FIRST_TOKENS = 256
"""Conversations that share this many first tokens wait side by side."""
_FITTING_BATCHES = 64
"""After this many batches that fit into memory, larger ones are tried again."""


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

        A batch is for one model. Tokens that a conversation shares with the one before it do not count. Conversations
        of requests that nobody waits for are dropped, so a batch may be empty.

        Args:
            max_tokens: Bound on the tokens; beyond it, a batch has one conversation.
        """
        (served, _), _ = next(iter(self._groups.items()))
        taken: list[WaitingItem] = []
        room = max_tokens
        for key in [key for key in self._groups if key[0] is served]:
            room = self._take_alike(key, taken, room)
            if room <= 0:
                break
        for item in taken:
            self._forget(item)
        return served, taken

    def _forget(self, item: WaitingItem) -> None:
        self._size -= 1
        self.num_tokens -= len(item.ids)

    def _take_alike(self, key: _Key, taken: list[WaitingItem], room: int) -> int:
        """Take conversations that begin alike; return how much room is left. Those left over wait behind all others."""
        group = self._groups[key]
        before: Sequence[int] = ()
        while group:
            if not group[0].request.is_open:  # its client has gone
                self._forget(group.popleft())
                continue
            ids = group[0].ids
            cost = len(ids) - num_common(before, ids)
            if taken and cost > room:
                self._groups.move_to_end(key)
                return 0
            taken.append(group.popleft())
            before, room = ids, room - cost
        del self._groups[key]
        return room


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of scoring conversations together.

    Attributes:
        results: One for each conversation.
        ran_out: Whether memory ran out although each conversation fits into it.
    """

    results: list[ItemResult]
    ran_out: bool


def score_or_halve(served: ServedModel, encoded: Sequence[EncodedConversation]) -> Outcome:
    """Score conversations. If that fails, score each half by itself, so that one conversation cannot harm others."""
    failures: list[str] = []
    results = list(_score_or_halve(served, encoded, failures))
    is_one_too_long = any(result.error is not None and result.error.code == OUT_OF_MEMORY for result in results)
    return Outcome(results, OUT_OF_MEMORY in failures and not is_one_too_long)


def _score_or_halve(
    served: ServedModel, encoded: Sequence[EncodedConversation], failures: list[str]
) -> Iterator[ItemResult]:
    """Yield results; append the code of each failure to `failures`."""
    try:
        scored = served.model.score_encoded(encoded)
    except Exception as error:  # the boundary of the process: the request gets the error, and the server lives
        problem = _explain(error)
        failures.append(problem.code)
        # The model sees tokens only, so its errors hold no text.
        logger.warning("scoring %d conversations failed", len(encoded), exc_info=len(encoded) == 1)
    else:
        yield from (ItemResult.of(one, each.num_tokens) for one, each in zip(scored, encoded, strict=True))
        return
    # Outside the `except` block, as the error's traceback keeps the tensors of the failed pass alive.
    if len(encoded) == 1:
        yield ItemResult(error=problem)
        return
    middle = len(encoded) // 2
    for half in (encoded[:middle], encoded[middle:]):
        yield from _score_or_halve(served, half, failures)


class TokenBudget:
    """Most tokens of a batch. It is halved when memory runs out, and doubled again after many batches that fit.

    Attributes:
        tokens: The bound now.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._num_fitting = 0
        self.tokens = limit

    def learn(self, num_tokens: int, *, ran_out: bool) -> None:
        """Take account of a batch of this many tokens."""
        self._num_fitting = 0 if ran_out else self._num_fitting + 1
        if ran_out:
            self.tokens = max(1, min(self.tokens, num_tokens) // 2)
        elif self._num_fitting >= _FITTING_BATCHES and self.tokens < self._limit:
            self.tokens, self._num_fitting = min(self._limit, 2 * self.tokens), 0


def _explain(error: Exception) -> ItemError:
    if _is_out_of_memory(error):
        return ItemError(OUT_OF_MEMORY, "the conversation alone does not fit into the server's memory")
    return ItemError(FAILED, f"the model failed ({type(error).__name__}); the server's log has the error")


def _is_out_of_memory(error: Exception) -> bool:
    # PyTorch raises a plain RuntimeError if memory of the CPU runs out.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
