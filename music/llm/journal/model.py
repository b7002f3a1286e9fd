"""`JournaledModel`: a `ChatModel` that never pays for the same request twice."""

import time
from collections.abc import Callable
from uuid import uuid4

from music.llm.chat import ChatModel, ChatReply, ChatRequest
from music.llm.journal.journal import Journal

__all__ = ["JournaledModel"]


class JournaledModel:
    """A `ChatModel` that replays what the journal holds and journals what it does not.

    Replies to requests without a key are journaled for what they cost alone, and never replayed.
    """

    def __init__(
        self,
        inner: ChatModel,
        journal: Journal,
        account: str = "",
        cost: Callable[[ChatReply], float | None] = lambda _: None,
        on_replay: Callable[[ChatRequest], None] | None = None,
    ) -> None:
        """Wrap a model.

        Args:
            inner: Answers what the journal does not hold.
            journal: Where the replies are.
            account: What the replies are paid for, such as a role's name; `Journal.spent` adds up by it.
            cost: Returns what a reply cost in USD, None if its price is not known.
            on_replay: Called with each request that the journal answers.
        """
        self._inner = inner
        self._journal = journal
        self._account = account
        self._cost = cost
        self._on_replay = on_replay

    @property
    def name(self) -> str:
        """The inner model's name."""
        return self._inner.name

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request, from the journal if it was answered before.

        Raises:
            EndpointError: As the inner model's.
            JournalError: The reply came but could not be written.
        """
        if request.key and (earlier := self._journal.get(request.key)) is not None:
            if self._on_replay is not None:
                self._on_replay(request)
            return earlier
        asked = time.perf_counter()
        reply = await self._inner.complete(request)
        key = request.key or f"without a key/{uuid4()}"
        await self._journal.put(key, reply, self._account, self._cost(reply), time.perf_counter() - asked)
        return reply

    async def aclose(self) -> None:
        """Release the inner model; the journal stays open."""
        await self._inner.aclose()
