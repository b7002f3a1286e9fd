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

from music.errors import MusicError
from music.reward.encoded import EncodedConversation
from music.reward.scoring.forward import row_tokens
from music.serving.batches import WaitingItem, WaitingItems, score_or_halve
from music.serving.items import ItemError, ItemResult
from music.serving.pending import Answer, Encode, PendingRequest
from music.serving.served_model import ServedModel

__all__ = ["Batch", "DrainingError", "QueueFullError", "ScoringEngine"]

_ROWS_PER_BATCH = 4
_REQUESTS_PER_ROUND = 64
"""Most requests that are tokenized in one go: the first of many must not wait for the last."""
_LONGEST_WAIT = 60.0


class QueueFullError(MusicError):
    """Too many conversations wait.

    Attributes:
        retry_after: Seconds after which there is probably room.
    """

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message, retry_after)
        self.retry_after = retry_after

    def __str__(self) -> str:
        """Return the message."""
        return str(self.args[0])


class DrainingError(MusicError):
    """The engine takes no more requests, because it ends."""


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
        observe: Called after each batch.
    """

    def __init__(
        self,
        served: ServedModel,
        *,
        batch_tokens: int | None = None,
        max_wait: float = 0.002,
        max_queued: int = 8192,
        observe: Callable[[Batch], None] = lambda _: None,
    ) -> None:
        self.served = served
        self._batch_tokens = batch_tokens or _ROWS_PER_BATCH * row_tokens(served.model.device)
        self._max_wait = max_wait
        self._max_queued = max_queued
        self._observe = observe
        self._open: set[PendingRequest] = set()
        self._arrived: list[PendingRequest] = []
        self._waiting = WaitingItems()
        self._has_arrived, self._has_waiting = asyncio.Event(), asyncio.Event()
        self._tokenizing = ThreadPoolExecutor(1, "music-tokenizing")
        self._scoring = ThreadPoolExecutor(1, "music-scoring")
        self._is_draining = False
        self._seconds_per_item = 0.0
        self._tasks = [asyncio.ensure_future(self._tokenize_all()), asyncio.ensure_future(self._score_all())]

    @property
    def num_queued(self) -> int:
        """Number of conversations of requests that are not answered yet."""
        return sum(request.size for request in self._open)

    async def score(self, encode: Encode, size: int) -> Answer:
        """Score the conversations of a request.

        If the caller is cancelled, its conversations that were not begun are not scored.

        Args:
            encode: Encodes the conversations.
            size: Their number.

        Raises:
            QueueFullError: Too many conversations wait.
            DrainingError: The engine ends.
            MusicError: `encode` raised it.
        """
        if self._is_draining:
            raise DrainingError("the server is shutting down")
        if self._open and self.num_queued + size > self._max_queued:
            raise QueueFullError(f"more than {self._max_queued} conversations wait", self._time_to_score())
        if not size:
            return Answer(self.served, [])
        request = PendingRequest(encode, size)
        self._open.add(request)
        self._arrived.append(request)
        self._has_arrived.set()
        try:
            return await request.answer
        finally:
            self._open.discard(request)

    def replace(self, served: ServedModel) -> None:
        """Score requests that arrive from now on with another model; those before are scored with their own."""
        self.served = served

    async def drain(self) -> None:
        """Refuse new requests, and wait until all others are answered."""
        self._is_draining = True
        while self._open:
            await asyncio.wait([request.answer for request in self._open])
            await asyncio.sleep(0)

    async def aclose(self) -> None:
        """Stop at once. Requests that wait get a `DrainingError`."""
        self._is_draining = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for request in self._open:
            request.fail(DrainingError("the server was shut down"))
        for executor in (self._tokenizing, self._scoring):
            executor.shutdown(wait=False, cancel_futures=True)

    def _time_to_score(self) -> float:
        return min(max(1.0, self.num_queued * self._seconds_per_item), _LONGEST_WAIT)

    async def _tokenize_all(self) -> None:
        """Tokenize requests as they arrive."""
        loop = asyncio.get_running_loop()
        while True:
            await self._has_arrived.wait()
            requests, self._arrived = self._arrived[:_REQUESTS_PER_ROUND], self._arrived[_REQUESTS_PER_ROUND:]
            if not self._arrived:
                self._has_arrived.clear()
            served, live = self.served, [request for request in requests if request.is_open]
            encoded = await loop.run_in_executor(self._tokenizing, _encode_all, served, live)
            for request, found in zip(live, encoded, strict=True):
                if isinstance(found, Exception):
                    request.fail(found)
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
            if num_requests > 1 and self._waiting.num_tokens < self._batch_tokens:
                await asyncio.sleep(self._max_wait)
            served, taken = self._waiting.take(self._batch_tokens)
            if not self._waiting:
                self._has_waiting.clear()
            live = [item for item in taken if item.request.is_open]
            num_requests = len({item.request for item in live})
            if live:
                await self._score(served, live)

    async def _score(self, served: ServedModel, items: Sequence[WaitingItem]) -> None:
        start, before = monotonic(), served.model.num_computed_tokens
        encoded = [item.encoded for item in items]
        results = await asyncio.get_running_loop().run_in_executor(self._scoring, score_or_halve, served, encoded)
        seconds = monotonic() - start
        self._seconds_per_item = seconds / len(items)
        for item, result in zip(items, results, strict=True):
            item.request.add(served, item.index, result)
        num_failed = sum(result.error is not None for result in results)
        num_computed = served.model.num_computed_tokens - before
        self._observe(Batch(len(items), sum(each.num_tokens for each in encoded), num_computed, num_failed, seconds))


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
