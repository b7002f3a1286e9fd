"""When a failed try is repeated, and after how long.

tenacity decides, but it is entered after a first failure only: a call that succeeds at once pays nothing for it.
"""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime

from pydantic import BaseModel, ConfigDict, Field
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from music.llm.chat import ChatReply, EndpointError

__all__ = ["FailedTryError", "RetryPolicy", "call_with_retries", "read_retry_after"]

Call = Callable[[], Awaitable[ChatReply]]
Sleep = Callable[[float], Awaitable[None]]


class RetryPolicy(BaseModel):
    """How often a failed try is repeated, and how long to wait before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tries: int = Field(default=5, ge=1)
    """Bound on the tries of one request, the first included."""
    backoff: float = Field(default=0.5, ge=0)
    """Seconds before the second try, doubled for each further one; up to as much is added at random."""
    max_backoff: float = Field(default=30.0, ge=0)
    """Bound on the seconds of back-off, before what is added at random."""
    max_retry_after: float = Field(default=60.0, ge=0)
    """Bound on the seconds waited because the server asked for it."""

    def wait(self, state: RetryCallState) -> float:
        """Return the seconds to wait: what the server asked for, else exponential back-off with jitter."""
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, FailedTryError) else None
        if asked is not None:
            # Clients that were limited together shall not come back together.
            return min(asked + random.uniform(0, self.backoff), self.max_retry_after)
        backoff = wait_exponential(multiplier=self.backoff, max=self.max_backoff) + wait_random(0, self.backoff)
        return backoff(state)


class FailedTryError(EndpointError):
    """One try failed in a way that another may not.

    Args:
        error: What to raise if no further try is left.
        retry_after: Seconds that the server asked to wait, if it did.
    """

    def __init__(self, error: EndpointError, retry_after: float | None = None) -> None:
        super().__init__(error, retry_after)
        self.error = error
        self.retry_after = retry_after


async def call_with_retries(call: Call, policy: RetryPolicy, sleep: Sleep = asyncio.sleep) -> ChatReply:
    """Await `call()`, and again while it raises `FailedTryError` and the policy allows.

    Raises:
        EndpointError: The error of the last try, or at once whatever else `call` raises.
    """
    try:
        return await call()
    except FailedTryError as error:
        first = error
    try:
        return await _go_on(call, first, policy, sleep)
    except FailedTryError as last:
        error_type, tries = type(last.error), "once" if policy.max_tries == 1 else f"{policy.max_tries} times"
        raise error_type(f"{last.error} (tried {tries})") from last.__cause__


def read_retry_after(value: str | None) -> float | None:
    """Read a Retry-After header, in seconds or as an HTTP date, into seconds from now; None if it says nothing."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return None if math.isnan(seconds) else max(0.0, seconds)


async def _go_on(call: Call, first: FailedTryError, policy: RetryPolicy, sleep: Sleep) -> ChatReply:
    """Let tenacity take over after a first failure, which it sees as its own first try."""
    pending = [first]

    async def attempt() -> ChatReply:
        if pending:
            raise pending.pop()
        return await call()

    retrying = AsyncRetrying(
        sleep=sleep,
        stop=stop_after_attempt(policy.max_tries),
        wait=policy.wait,
        retry=retry_if_exception_type(FailedTryError),
        reraise=True,
    )
    return await retrying(attempt)
