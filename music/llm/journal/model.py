"""`JournaledModel`: a `ChatModel` that never pays for the same request twice."""

from collections.abc import Callable

from music.llm.chat import ChatModel, ChatReply, ChatRequest
from music.llm.journal.journal import Journal

__all__ = ["JournaledModel"]


class JournaledModel:
    """A `ChatModel` that replays what the journal holds and journals what it does not.

    Requests without a key pass through.
    """

    def __init__(
        self,
        inner: ChatModel,
        journal: Journal,
        account: str = "",
        on_replay: Callable[[ChatRequest], None] | None = None,
    ) -> None:
        """Wrap a model.

        Args:
            inner: Answers what the journal does not hold.
            journal: Where the replies are.
            account: What the replies are paid for, such as a role's name; `Journal.usage` adds up by it.
            on_replay: Called with each request that the journal answers.
        """
        self._inner = inner
        self._journal = journal
        self._account = account
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
        if not request.key:
            return await self._inner.complete(request)
        earlier = self._journal.get(request.key)
        if earlier is not None:
            if self._on_replay is not None:
                self._on_replay(request)
            return earlier
        reply = await self._inner.complete(request)
        await self._journal.put(request.key, reply, self._account)
        return reply

    async def aclose(self) -> None:
        """Release the inner model; the journal stays open."""
        await self._inner.aclose()
