"""`ScoringEngine`: one model that scores the conversations of all requests, in batches.

The event loop only sorts. Tokenizing runs in one thread and the model in another, so that the next batch is tokenized
while one is computed. While a batch is computed, requests gather for the next one: a lone request does not wait, and
many requests fill batches by themselves.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic

from music.reward.encoded import EncodedConversation
from music.reward.scoring.forward import row_tokens
from music.serving.batches import TokenBudget, WaitingItem, WaitingItems, score_or_halve
from music.serving.items import ItemError, ItemResult
from music.serving.pending import (
    Answer,
    DrainingError,
    Encode,
    PendingRequest,
    QueueFullError,
    TooManyTokensError,
)
from music.serving.served_model import ServedModel

__all__ = ["Batch", "ScoringEngine"]

_ROWS_PER_BATCH = 4
_REQUESTS_PER_ROUND = 64
"""Most requests that are tokenized in one go: the first of many must not wait for the last."""
_LONGEST_WAIT = 60.0


@dataclass(frozen=True, slots=True)
class Batch:
    """What was scored together, for metrics.

    Attributes:
        num_items: Number of conversations.
        num_tokens: Number of their tokens.
        num_computed: Number of tokens that the model computed; shared and cached ones were not computed again.
        num_failed: Number of conversations on which the model failed.
        seconds: Time of the model.
    """

    num_items: int
    num_tokens: int
    num_computed: int
    num_failed: int
    seconds: float


class ScoringEngine:
    """Scores the conversations of many requests with one model. It belongs to one event loop.

    Example:
        >>> engine = ScoringEngine(served)  # doctest: +SKIP
        >>> answer = await engine.score(lambda served: served.model.encode(conversations), 2)  # doctest: +SKIP
        >>> [result.score for result in answer.results]  # doctest: +SKIP
        [0.73, -0.2]

    Args:
        served: The model.
        batch_tokens: Most tokens of a batch; by default four rows of the model's device.
        max_wait: Seconds that a batch waits for more requests while others are being answered.
        max_queued: Most conversations that wait.
        max_tokens: Most tokens of a request; those that its conversations share count once for each.
        observe: Called after each batch.

    Attributes:
        served: The model that scores requests from now on.
        is_suspect: Whether the model failed on all of the newest batch. Its conversations may be to blame.
        is_draining: Whether new requests are refused.
        num_queued: Number of conversations of requests that are not answered yet.
    """

    def __init__(
        self,
        served: ServedModel,
        *,
        batch_tokens: int | None = None,
        max_wait: float = 0.002,
        max_queued: int = 8192,
        max_tokens: int = 2**20,
        observe: Callable[[Batch], None] = lambda _: None,
    ) -> None:
        self.served = served
        self.is_suspect, self.is_draining = False, False
        self.num_queued = 0
        self._budget = TokenBudget(batch_tokens or _ROWS_PER_BATCH * row_tokens(served.model.device))
        self._max_wait = max_wait
        self._max_queued, self._max_tokens = max_queued, max_tokens
        self._observe = observe
        self._open: set[PendingRequest] = set()
        self._arrived: list[PendingRequest] = []
        self._waiting = WaitingItems()
        self._has_arrived, self._has_waiting = asyncio.Event(), asyncio.Event()
        self._tokenizing = ThreadPoolExecutor(1, "music-tokenizing")
        self._scoring = ThreadPoolExecutor(1, "music-scoring")
        self._seconds_per_item = 0.0
        self._tasks = [asyncio.ensure_future(self._tokenize_all()), asyncio.ensure_future(self._score_all())]

    async def score(self, encode: Encode, size: int) -> Answer:
        """Score the conversations of a request.

        If the caller is cancelled, its conversations that were not begun are not scored.

        Args:
            encode: Encodes the conversations.
            size: Their number.

        Raises:
            QueueFullError: Too many conversations wait.
            DrainingError: The engine ends.
            TooManyTokensError: The conversations have too many tokens.
            MusicError: `encode` raised it.
        """
        if self.is_draining:
            raise DrainingError("the server is shutting down")
        if self._open and self.num_queued + size > self._max_queued:
            raise QueueFullError(f"more than {self._max_queued} conversations wait", self._time_to_score())
        if not size:
            return Answer(self.served, [])
        request = PendingRequest(encode, size)
        self._open.add(request)
        self.num_queued += size
        self._arrived.append(request)
        self._has_arrived.set()
        try:
            return await request.answer
        finally:
            self._open.discard(request)
            self.num_queued -= size

    def replace(self, served: ServedModel) -> None:
        """Score requests that arrive from now on with another model; those before are scored with their own."""
        self.served = served

    async def drain(self) -> None:
        """Refuse new requests, and wait until all others are answered."""
        self.is_draining = True
        while self._open:
            await asyncio.wait([request.answer for request in self._open])
            await asyncio.sleep(0)

    async def run(self) -> None:
        """Wait until the engine is closed; it works whether or not anybody waits.

        Raises:
            Exception: The engine broke, which is a bug: no request will be answered.
        """
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    async def aclose(self) -> None:
        """Stop at once. Requests that wait get a `DrainingError`."""
        self.is_draining = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for request in self._open:
            request.fail(DrainingError("the server was shut down"))
        for executor in (self._tokenizing, self._scoring):
            executor.shutdown(wait=False, cancel_futures=True)

    def _time_to_score(self) -> float:
        return min(max(1.0, self.num_queued * self._seconds_per_item), _LONGEST_WAIT)

    # An idle loop must hold no model, or the memory of one that was replaced would not be freed. So each round is a
    # function of its own.

    async def _tokenize_all(self) -> None:
        """Tokenize requests as they arrive."""
        while True:
            await self._has_arrived.wait()
            await self._tokenize_next()

    async def _tokenize_next(self) -> None:
        requests, self._arrived = self._arrived[:_REQUESTS_PER_ROUND], self._arrived[_REQUESTS_PER_ROUND:]
        if not self._arrived:
            self._has_arrived.clear()
        served, live = self.served, [request for request in requests if request.is_open]
        encoded = await asyncio.get_running_loop().run_in_executor(self._tokenizing, _encode_all, served, live)
        for request, found in zip(live, encoded, strict=True):
            if isinstance(found, Exception):
                request.fail(found)
            elif (num_tokens := _count_tokens(found)) > self._max_tokens:
                message = f"expected at most {self._max_tokens:,} tokens in a request, got {num_tokens:,}"
                request.fail(TooManyTokensError(message))
            else:
                self._add(served, request, found)

    def _add(
        self, served: ServedModel, request: PendingRequest, items: Sequence[EncodedConversation | ItemError]
    ) -> None:
        """Let the conversations of a request wait for the model; those with a problem have their result at once."""
        for index, item in enumerate(items):
            if isinstance(item, ItemError):
                request.add(served, index, ItemResult(error=item))
            elif item.problem is not None:
                request.add(served, index, ItemResult(error=ItemError.of(item.problem)))
            else:
                self._waiting.add(served, WaitingItem(request, index, item))
                self._has_waiting.set()

    async def _score_all(self) -> None:
        """Score what waits, batch by batch."""
        num_requests = 1
        while True:
            await self._has_waiting.wait()
            if num_requests > 1 and self._waiting.num_tokens < self._budget.tokens:
                await asyncio.sleep(self._max_wait)
            num_requests = await self._score_next()

    async def _score_next(self) -> int:
        """Score the next batch; return the number of its requests."""
        served, items = self._waiting.take(self._budget.tokens)
        if not self._waiting:
            self._has_waiting.clear()
        if items:
            await self._score(served, items)
        return len({item.request for item in items})

    async def _score(self, served: ServedModel, items: Sequence[WaitingItem]) -> None:
        start, before = monotonic(), served.model.num_computed_tokens
        encoded = [item.encoded for item in items]
        outcome = await asyncio.get_running_loop().run_in_executor(self._scoring, score_or_halve, served, encoded)
        seconds = monotonic() - start
        self._seconds_per_item = seconds / len(items)
        for item, result in zip(items, outcome.results, strict=True):
            item.request.add(served, item.index, result)
        num_failed = sum(result.error is not None for result in outcome.results)
        self.is_suspect = num_failed == len(items)
        num_tokens = sum(each.num_tokens for each in encoded)
        num_computed = served.model.num_computed_tokens - before
        self._budget.learn(num_tokens, ran_out=outcome.ran_out)
        self._observe(Batch(len(items), num_tokens, num_computed, num_failed, seconds))


def _encode_all(
    served: ServedModel, requests: Sequence[PendingRequest]
) -> list[Sequence[EncodedConversation | ItemError] | Exception]:
    """Encode each request by itself, so that an error is that of one request alone."""
    encoded: list[Sequence[EncodedConversation | ItemError] | Exception] = []
    for request in requests:
        try:
            encoded.append(request.encode(served))
        except Exception as error:  # noqa: BLE001 - the boundary of the process: the request is answered with it
            encoded.append(error)
    return encoded


def _count_tokens(items: Sequence[EncodedConversation | ItemError]) -> int:
    return sum(item.num_tokens for item in items if isinstance(item, EncodedConversation))
