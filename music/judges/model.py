"""`JudgeModel` asks a language model for judgements. It keeps every reply and pays for none twice.

A `Judgement` is one answer, or the reason why there is none. `ask_until_read` asks until it can read a reply.

`open_judge_model` wraps the endpoint in a budget (`music.llm.spending`) and in a cache with a journal
(`music.llm.cache`).
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Generic, TypeVar

from music.conversation import Message
from music.errors import MusicError
from music.judges.settings import JudgeSettings
from music.llm.cache import CachedModel, MemoizedModel, ReplyCache
from music.llm.chat import (
    ChatModel,
    ChatReply,
    ChatRequest,
    EndpointError,
    EndpointUnreachableError,
    ReplyOutcome,
    RequestRejectedError,
)
from music.llm.endpoints import load_model
from music.llm.journal import Journal
from music.llm.spending.budget import Budget, PriceTable
from music.llm.spending.ledger import Ledger
from music.llm.spending.model import BudgetedModel, BudgetReachedError
from music.pairs import Usage

__all__ = ["NUM_ATTEMPTS", "JudgeModel", "Judgement", "Problem", "ask_until_read", "open_judge_model"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

ACCOUNT = "judge"
NUM_ATTEMPTS = 3
"""How often one judgement is asked for while the reply cannot be read."""


class Problem(StrEnum):
    """Why there is no judgement."""

    UNREADABLE = "unreadable"
    """The reply does not end with a mark, or holds several."""
    EMPTY = "empty"
    CUT = "cut"
    """The reply ends at the endpoint's limit of tokens."""
    THOUGHT = "thought"
    """The judge thought and gave no answer. Allow more tokens, or switch its thinking off."""
    TOOL_CALL = "tool_call"
    FILTERED = "filtered"
    REFUSED = "refused"
    """The endpoint refused the request: the conversations may be too long for the judge."""
    NO_REPLY = "no_reply"
    """No usable reply after the client's tries."""
    BUDGET = "budget"
    """The judge was not asked, because the budget was spent."""


@dataclass(frozen=True, slots=True)
class Judgement(Generic[T_co]):
    """One answer of a judge.

    Attributes:
        value: The answer; None if there is a problem.
        problem: Why there is no answer.
        detail: The problem in words.
        usage: Calls and tokens that it took, if they are counted.
    """

    value: T_co | None
    problem: Problem | None = None
    detail: str = ""
    usage: Usage = field(default_factory=Usage)


_NOTHING_READ = {
    ReplyOutcome.COMPLETE: Problem.UNREADABLE,
    ReplyOutcome.EMPTY: Problem.EMPTY,
    ReplyOutcome.LENGTH: Problem.CUT,
    ReplyOutcome.CONTENT_FILTER: Problem.FILTERED,
    ReplyOutcome.TOOL_CALLS: Problem.TOOL_CALL,
    ReplyOutcome.THOUGHT: Problem.THOUGHT,
}


async def ask_until_read(
    model: ChatModel, requests: Iterable[ChatRequest], read: Callable[[ChatReply], T | None]
) -> Judgement[T]:
    """Ask for one judgement, request after request, until a reply can be read.

    Args:
        model: The model to ask.
        requests: One for each attempt, at least one, with different seeds.
        read: Reads a complete reply; None if it cannot be read.

    Raises:
        EndpointError: The model gave no usable reply.
    """
    usage = Usage()
    for request in requests:
        reply = await model.complete(request)
        usage += Usage(1, reply.prompt_tokens, reply.completion_tokens)
        value = read(reply) if reply.outcome is ReplyOutcome.COMPLETE else None
        if value is not None:
            return Judgement(value, usage=usage)
    detail = f"the last reply ends {(reply.text or reply.thinking)[-80:]!r}"
    return Judgement(None, _NOTHING_READ[reply.outcome], detail, usage)


class JudgeModel:
    """Asks for judgements, a limited number at a time, and counts problems.

    Args:
        model: The model to ask. It should not be the model that wrote the replies.
        settings: Prompt, samples, sampling and limits.
        ledger: Records the cost.
        journal: File of the replies, for error messages.

    Attributes:
        settings: Prompt, samples, sampling and limits.
        ledger: Records the cost.
        num_judgements: Judgements asked for, including those replayed from an earlier run.
        problems: Number of missing judgements by reason.
    """

    def __init__(
        self,
        model: ChatModel,
        settings: JudgeSettings | None = None,
        ledger: Ledger | None = None,
        journal: Path | None = None,
    ) -> None:
        self.settings = settings or JudgeSettings()
        self.ledger = ledger or Ledger()
        self.num_judgements = 0
        self.problems: Counter[Problem] = Counter()
        self._model = model
        self._journal = journal
        self._slots = asyncio.Semaphore(self.settings.max_in_flight)
        self._first_detail = ""

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.name

    async def ask(
        self,
        messages: tuple[Message, ...],
        read: Callable[[ChatReply], T | None],
        *,
        sample: int = 0,
        top_logprobs: int | None = None,
    ) -> Judgement[T]:
        """Ask for one judgement; ask again with another seed while the reply cannot be read.

        Args:
            messages: The prompt.
            read: Reads a complete reply; None if it cannot be read.
            sample: Index among several judgements of the same prompt.
            top_logprobs: As in `ChatRequest`.

        Raises:
            EndpointUnreachableError: There is no server. This ends all judgements, not one.
            JournalError: A reply could not be written.
        """
        requests = (
            ChatRequest(
                messages=messages,
                seed=sample * NUM_ATTEMPTS + attempt,
                sampling=self.settings.sampling,
                top_logprobs=top_logprobs,
            )
            for attempt in range(NUM_ATTEMPTS)
        )
        try:
            async with self._slots:
                judgement = await ask_until_read(self._model, requests, read)
        except BudgetReachedError as error:
            judgement = Judgement(None, Problem.BUDGET, str(error))
        except EndpointUnreachableError:
            raise
        except EndpointError as error:
            problem = Problem.REFUSED if isinstance(error, RequestRejectedError) else Problem.NO_REPLY
            judgement = Judgement(None, problem, str(error))
        self.num_judgements += 1
        if judgement.problem is not None:
            self.problems[judgement.problem] += 1
            self._first_detail = self._first_detail or f"the first: {judgement.problem}, {judgement.detail}"
        return judgement

    def require_whole(self) -> None:
        """Raise unless the judgements can be summarised.

        Raises:
            BudgetReachedError: The budget was spent before all judgements were asked for.
            MusicError: All judgements failed.
        """
        if num_unasked := self.problems[Problem.BUDGET]:
            kept = f"; all replies so far are in {self._journal}" if self._journal else ""
            raise BudgetReachedError(
                f"judge {self.name}: {self.ledger.exhausted()}, with {num_unasked} judgements still to ask for{kept}: "
                "raise the budget and run the same command to resume"
            )
        if self.num_judgements and self.problems.total() == self.num_judgements:
            raise MusicError(f"judge {self.name}: all {self.num_judgements} judgements failed; {self._first_detail}")


@asynccontextmanager
async def open_judge_model(
    endpoint: str, settings: JudgeSettings | None = None, journal: Path | None = None
) -> AsyncIterator[JudgeModel]:
    """Open a judge for the duration of the block.

    Args:
        endpoint: An endpoint, as for `music.llm.load_model`.
        settings: Prompt, samples, sampling and limits.
        journal: File to which every reply is written before it is used; None for no file.

    Raises:
        InvalidInputError: The endpoint cannot be opened, or the cost is bounded and a price is unknown.
        JournalError: The journal cannot be opened, or another process has it open.
    """
    settings = settings or JudgeSettings()
    client = settings.client.model_copy(update={"connection": settings.request_options.connection})
    budget = Budget(max_cost=settings.max_cost, max_total_tokens=settings.max_total_tokens, flags="--judge-")
    ledger = Ledger(budget, PriceTable.parse(settings.prices))
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(aclosing(load_model(endpoint, client)))
        replies = None
        if journal is not None:
            journal.parent.mkdir(parents=True, exist_ok=True)
            replies = await stack.enter_async_context(Journal.open(journal, {}))
        account = ledger.open(ACCOUNT, model.name, replies)
        asked: ChatModel = BudgetedModel(model, account, ledger)
        if settings.cache is not None:
            cache = await stack.enter_async_context(ReplyCache(settings.cache))
            asked = CachedModel(asked, cache, account)
        kept = MemoizedModel(asked, replies, ACCOUNT, account.cost)
        yield JudgeModel(kept, settings, ledger, journal)
