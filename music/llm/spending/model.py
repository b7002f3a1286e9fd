"""`BudgetedModel`: a `ChatModel` whose calls are charged, and are no longer sent once the budget is spent."""

from dataclasses import replace

from music.errors import MusicError
from music.llm.chat import ChatModel, ChatReply, ChatRequest, TryUsage
from music.llm.spending.ledger import Account, Ledger

__all__ = ["BudgetReachedError", "BudgetedModel"]


class BudgetReachedError(MusicError):
    """Nothing more may be spent."""


class BudgetedModel:
    """A `ChatModel` within a budget; calls that are in flight when it is spent are finished.

    It stands under the journal, so that replayed replies are not paid for, and above retries and routing. It is the
    `Payer` of its requests: tries that fail are admitted and paid for one by one.

    Args:
        model: Answers.
        account: Where its replies are charged, to the pair that a request's route names.
        ledger: The account's.
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
            BudgetReachedError: The budget is spent, or cannot be kept.
            EndpointError: As the model's.
        """
        self.admit(request)
        reply = await self._model.complete(replace(request, payer=self))
        self._account.charge(request.route, reply)
        return reply

    def admit(self, request: ChatRequest) -> None:
        """Let one more try be sent; see `music.llm.chat.Payer`.

        Raises:
            BudgetReachedError: The budget is spent, or cannot be kept.
        """
        if reason := self._ledger.exhausted():
            raise BudgetReachedError(reason)

    async def pay(self, request: ChatRequest, usage: TryUsage) -> None:
        """Book a try that brought no reply; see `music.llm.chat.Payer`."""
        await self._account.pay(request.route, request.key, usage)

    async def aclose(self) -> None:
        """Release the model."""
        await self._model.aclose()
