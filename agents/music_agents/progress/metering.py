"""`MeteredModel`: every call of a role is admitted, counted and charged."""

import time

from music.llm.chat import ChatModel, ChatReply, ChatRequest, EndpointError, StoppedWaitingError, TryUsage
from music.llm.spending.ledger import Account
from music.llm.spending.model import BudgetedModel
from music_agents.progress.progress import RunProgress

__all__ = ["MeteredModel"]


class MeteredModel(BudgetedModel):
    """A `BudgetedModel` that counts its calls, and sends none after the run was stopped.

    Args:
        model: The model of the role.
        progress: The progress of the run.
        account: The account of the role, from `RunProgress.open_account`.
    """

    def __init__(self, model: ChatModel, progress: RunProgress, account: Account) -> None:
        super().__init__(model, account, progress.ledger)
        self._progress = progress

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request.

        Raises:
            RoleFailedError: The run was stopped.
            EndpointError: The model gave no reply.
        """
        progress = self._progress
        started = time.perf_counter()
        progress.num_in_flight += 1
        try:
            reply = await super().complete(request)
        except StoppedWaitingError:
            progress.admit()  # raises: the call was never sent, and no endpoint failed
            raise
        except EndpointError as error:
            progress.call_failed(error)
            raise
        finally:
            progress.num_in_flight -= 1
        progress.call_answered(time.perf_counter() - started, self._account.name, reply)
        return reply

    def admit(self, request: ChatRequest) -> None:
        """Permit one more try; see `music.llm.chat.Payer`.

        Raises:
            RoleFailedError: The run was stopped.
        """
        self._progress.admit(request.route)

    async def pay(self, request: ChatRequest, usage: TryUsage) -> None:
        """Charge a try without a reply; see `music.llm.chat.Payer`."""
        await super().pay(request, usage)
        self._progress.keep_budget()
