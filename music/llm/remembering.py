"""`RememberingModel`: a `ChatModel` that answers the same again when it is asked the same again."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

from music.llm.chat import ChatModel, ChatReply, ChatRequest
from music.llm.digests import digest_request
from music.llm.journal import Journal, JournaledModel

__all__ = ["RememberingModel"]


class RememberingModel:
    """A `ChatModel` that answers the same again when it is asked the same again.

    What was answered once is not paid for again, and a comparison is fair whether or not an endpoint heeds seeds. A
    failure is not remembered. Requests are told apart by what they say and by the model's name, so a journal may be
    gone on with under other settings.
    """

    def __init__(
        self,
        model: ChatModel,
        journal: Journal | None = None,
        account: str = "",
        cost: Callable[[ChatReply], float | None] = lambda _: None,
    ) -> None:
        """Wrap a model.

        Args:
            model: Answers what is not remembered.
            journal: Keeps the replies beyond this process; without one, memory lasts as long as this object.
            account: What the replies are paid for; models with the same journal have different ones.
            cost: Returns what a reply cost in USD, None if its price is not known.
        """
        self._model = model if journal is None else JournaledModel(model, journal, account, cost)
        self._account = account
        self._replies: dict[str, ChatReply] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.name

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request; equal ones that come at once wait for one answer.

        Raises:
            EndpointError: As the model's.
            JournalError: The reply came but could not be written.
        """
        key = digest_request(self.name, request, self._account)
        async with self._locks[key]:
            if key not in self._replies:
                self._replies[key] = await self._model.complete(replace(request, key=key))
        return self._replies[key]

    async def aclose(self) -> None:
        """Release the model; the journal stays open."""
        await self._model.aclose()
