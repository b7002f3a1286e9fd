"""`MeteredModel`: every call of a role is admitted, counted and charged.

It stands under the journal, so that replayed replies are neither counted nor paid for, and above retries and routing,
so that one call is one outcome.
"""

import time

from music.llm.chat import ChatModel, ChatReply, ChatRequest, EndpointError
from music.llm.spending.ledger import Account
from music_agents.progress.progress import RunProgress

__all__ = ["MeteredModel"]


class MeteredModel:
    """A `ChatModel` that counts what becomes of its calls, and sends none once the run is to stop.

    Args:
        inner: The role's model.
        progress: Of the run.
        account: The role's, from `RunProgress.open_account`.
    """

    def __init__(self, inner: ChatModel, progress: RunProgress, account: Account) -> None:
        self._inner = inner
        self._progress = progress
        self._account = account

    @property
    def name(self) -> str:
        """The inner model's name."""
        return self._inner.name

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request.

        Raises:
            RoleFailedError: The run was asked to stop.
            EndpointError: As the inner model's.
        """
        progress = self._progress
        progress.admit(request.route)
        started = time.perf_counter()
        progress.num_in_flight += 1
        try:
            reply = await self._inner.complete(request)
        except EndpointError as error:
            progress.call_failed(error)
            raise
        finally:
            progress.num_in_flight -= 1
        self._account.charge(request.route, reply)
        progress.call_answered(time.perf_counter() - started)
        return reply

    async def aclose(self) -> None:
        """Release the inner model."""
        await self._inner.aclose()
