"""`MeteredModel`: every call of a role is admitted, counted and charged.

It stands under the journal, so that replayed replies are neither counted nor paid for, and above retries and routing,
so that one call is one outcome. Tries that fail are no outcome, but they too are admitted and paid for one by one.
"""

import time
from dataclasses import replace

from music.llm.chat import ChatModel, ChatReply, ChatRequest, EndpointError, StoppedWaitingError, TryUsage
from music.llm.spending.ledger import Account
from music_agents.progress.progress import RunProgress

__all__ = ["MeteredModel"]


class MeteredModel:
    """A `ChatModel` that counts how its calls end, and sends none once the run is to stop.

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
        self.admit(request)
        started = time.perf_counter()
        progress.num_in_flight += 1
        try:
            reply = await self._inner.complete(replace(request, payer=self))
        except StoppedWaitingError:
            progress.admit()  # it never was sent, and no endpoint failed
            raise
        except EndpointError as error:
            progress.call_failed(error)
            raise
        finally:
            progress.num_in_flight -= 1
        self._account.charge(request.route, reply)
        progress.note_reply(self._account.name, reply)
        progress.call_answered(time.perf_counter() - started)
        return reply

    def admit(self, request: ChatRequest) -> None:
        """Let one more try be sent; see `music.llm.chat.Payer`.

        Raises:
            RoleFailedError: The run was asked to stop.
        """
        self._progress.admit(request.route)

    async def pay(self, request: ChatRequest, usage: TryUsage) -> None:
        """Book a try that brought no reply; see `music.llm.chat.Payer`."""
        await self._account.pay(request.route, request.key, usage)
        self._progress.keep_budget()

    async def aclose(self) -> None:
        """Release the inner model."""
        await self._inner.aclose()
