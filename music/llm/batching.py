"""`Batcher`: requests of many callers that are answered together, for models that compute faster in batches."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from music.llm.chat import ChatReply, ChatRequest, EndpointError

__all__ = ["Batcher"]

Answers: TypeAlias = Sequence[ChatReply | EndpointError]


class Batcher:
    """Answers what is asked while an earlier batch is answered as the next one. It belongs to one event loop.

    Args:
        answer_all: Returns the reply to each request, or the error that rejects it.
        size: Most requests in a batch.
    """

    def __init__(self, answer_all: Callable[[Sequence[ChatRequest]], Awaitable[Answers]], size: int) -> None:
        self._answer_all = answer_all
        self._size = size
        self._waiting: list[tuple[ChatRequest, asyncio.Future[ChatReply]]] = []
        self._serving: asyncio.Task[None] | None = None

    async def ask(self, request: ChatRequest) -> ChatReply:
        """Answer a request, in a batch with others.

        Raises:
            EndpointError: The request is rejected, or waiting was stopped.
        """
        reply: asyncio.Future[ChatReply] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, reply))
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve())
        return await reply

    async def _serve(self) -> None:
        await asyncio.sleep(0)  # what is asked in the same round of the loop comes first
        while self._waiting:
            batch = [(request, reply) for request, reply in self._waiting[: self._size] if not reply.done()]
            del self._waiting[: self._size]
            await self._answer(batch)

    async def _answer(self, batch: Sequence[tuple[ChatRequest, asyncio.Future[ChatReply]]]) -> None:
        try:
            answers = await self._answer_all([request for request, _ in batch])
        except BaseException as error:
            for _, reply in batch:
                if not reply.done():
                    reply.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
            if not isinstance(error, Exception):
                raise
            return
        for (_, reply), answer in zip(batch, answers, strict=True):
            if reply.done():  # cancelled meanwhile
                continue
            if isinstance(answer, EndpointError):
                reply.set_exception(answer)
            else:
                reply.set_result(answer)
