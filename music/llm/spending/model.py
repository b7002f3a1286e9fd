"""`BudgetedModel`: a `ChatModel` that charges its calls and stops when the budget is spent."""

from dataclasses import replace

from music.errors import MusicError
from music.llm.chat import ChatModel, ChatReply, ChatRequest, TryUsage
from music.llm.spending.ledger import Account, Ledger

__all__ = ["BudgetReachedError", "BudgetedModel"]


class BudgetReachedError(MusicError):
    """Nothing more may be spent."""


class BudgetedModel:
    """A `ChatModel` within a budget; calls in flight when it is spent are finished.

    The journal wraps it, so replayed replies are not charged. It wraps retries and routing. It is the `Payer` of its
    requests: each try is admitted, and charged if it fails.

    Args:
        model: Answers the requests.
        account: Is charged for the replies, under the pair that a request's route names.
        ledger: The ledger of the account.
    """

    def __init__(self, model: ChatModel, account: Account, ledger: Ledger) -> None:
        self._model = model
        self._account = account
        self._ledger = ledger

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.name

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request.

        Raises:
            BudgetReachedError: The budget is spent, or cannot be enforced.
            EndpointError: The model raised it.
        """
        self.admit(request)
        reply = await self._model.complete(replace(request, payer=self))
        self._account.charge(request.route, reply)
        return reply

    def admit(self, request: ChatRequest) -> None:
        """Admit one more try; see `music.llm.chat.Payer`.

        Raises:
            BudgetReachedError: The budget is spent, or cannot be enforced.
        """
        if reason := self._ledger.exhausted():
            raise BudgetReachedError(reason)

    async def pay(self, request: ChatRequest, usage: TryUsage) -> None:
        """Charge a try that brought no reply; see `music.llm.chat.Payer`."""
        await self._account.pay(request.route, request.key, usage)

    async def aclose(self) -> None:
        """Release the model."""
        await self._model.aclose()
