"""`RetryPolicy`: when a failed try is repeated, and after how long.

tenacity runs the retries. It is called only after a first failure, so a call that succeeds at once costs nothing extra.
429s are counted separately from other failures, and wait in the endpoint's pacer (`music.llm.pacing`) instead of here.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    wait_exponential,
    wait_random,
)

from music.llm.chat import EndpointError, EndpointUnavailableError, RateLimitedError, StoppedWaitingError, TryUsage

__all__ = ["FailedTryError", "RetryPolicy", "StoppableSleep", "call_with_retries", "let_go"]

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
Try = Callable[[Asked, bool], Awaitable[Answer]]
"""Sends a request once; the flag says whether it has been tried before."""
Sleep = Callable[[float], Awaitable[None]]
_STOPPED = "the request was not sent: waiting was stopped"


class RetryPolicy(BaseModel):
    """How often a failed try is repeated, and how long to wait before each try."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tries: int = Field(default=5, ge=1)
    """Most tries of one request that fail with anything but a 429."""
    patience: float = Field(default=0.0, ge=0)
    """Seconds after a request's first failure in which an outage (no connection, a broken one, a 5xx) uses up no
    tries."""
    max_rate_limited: int = Field(default=10, ge=1)
    """Most tries of one request that fail with a 429."""
    backoff: float = Field(default=0.5, ge=0)
    """Seconds before the second try, doubled for each further one; up to `backoff` seconds are added at random."""
    max_backoff: float = Field(default=30.0, ge=0)
    """Most seconds of back-off, before the random addition."""
    max_retry_after: float = Field(default=300.0, ge=0)
    """Most seconds to wait at the server's request."""

    def within(self, seconds: float) -> "RetryPolicy":
        """Return the policy with no wait longer than `seconds`."""
        bounds = {name: min(getattr(self, name), seconds) for name in ("max_backoff", "max_retry_after")}
        return self.model_copy(update=bounds)

    def wait(self, state: RetryCallState) -> float:
        """Return the seconds to wait: what the server asked for, else exponential back-off with jitter."""
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, FailedTryError) and error.at_once:
            return 0.0
        asked = error.retry_after if isinstance(error, FailedTryError) else None
        if asked is not None:
            # The random part keeps clients that were limited together from coming back together.
            return min(asked + random.uniform(0, self.backoff), self.max_retry_after)
        backoff = wait_exponential(multiplier=self.backoff, max=self.max_backoff) + wait_random(0, self.backoff)
        return backoff(state)


class FailedTryError(EndpointError):
    """One try failed, and another one may succeed.

    Args:
        error: The error to raise if no try is left.
        retry_after: Seconds that the server asked to wait, if it did.
        at_once: Whether the next try need not wait here: a pacer delays it, or another replica takes it.
        usage: The paid usage that the endpoint reported; None if it reported none.
        may_be_paid: Whether the endpoint may charge for the try although it reported no usage.
    """

    def __init__(
        self,
        error: EndpointError,
        retry_after: float | None = None,
        at_once: bool = False,
        usage: TryUsage | None = None,
        may_be_paid: bool = False,
    ) -> None:
        super().__init__(error, retry_after, at_once, usage, may_be_paid)
        self.error = error
        self.retry_after = retry_after
        self.at_once = at_once
        self.usage = usage
        self.may_be_paid = may_be_paid


async def call_with_retries(
    call: Try[Asked, Answer],
    request: Asked,
    policy: RetryPolicy,
    sleep: Sleep = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Answer:
    """Await `call(request, False)`, then `call(request, True)` while it raises `FailedTryError` and the policy allows.

    Raises:
        EndpointError: The error of the last try. Any other exception of `call` is raised at once.
    """
    try:
        return await call(request, False)
    except FailedTryError as error:
        tries = _Tries(call, request, policy, error, clock)
    retrying = AsyncRetrying(
        sleep=sleep,
        stop=tries.are_used_up,
        wait=policy.wait,
        retry=retry_if_exception_type(FailedTryError),
        reraise=True,
    )
    try:
        return await retrying(tries.next)
    except FailedTryError as last:
        times = "once" if tries.num_tries == 1 else f"{tries.num_tries} times"
        raise type(last.error)(f"{last.error} (tried {times})") from last.__cause__


class _Tries(Generic[Asked, Answer]):
    """The tries of one request; the first failure is replayed as tenacity's first try."""

    def __init__(
        self,
        call: Try[Asked, Answer],
        request: Asked,
        policy: RetryPolicy,
        first: FailedTryError,
        clock: Callable[[], float],
    ) -> None:
        self._call = call
        self._request = request
        self._policy = policy
        self._first: FailedTryError | None = first
        self._clock = clock
        self._patient_until = clock() + policy.patience
        self._num_failed = 0
        self._num_rate_limited = 0
        self._num_sat_out = 0

    @property
    def num_tries(self) -> int:
        """The number of failed tries of all kinds."""
        return self._num_failed + self._num_rate_limited + self._num_sat_out

    async def next(self) -> Answer:
        """Replay the first failure, then try again at each further call."""
        try:
            if self._first:
                first, self._first = self._first, None
                raise first
            return await self._call(self._request, True)
        except FailedTryError as failure:
            if isinstance(failure.error, RateLimitedError):
                self._num_rate_limited += 1
            elif isinstance(failure.error, EndpointUnavailableError) and self._clock() < self._patient_until:
                self._num_sat_out += 1
            else:
                self._num_failed += 1
            raise

    def are_used_up(self, _: RetryCallState) -> bool:
        """Whether no further try is allowed."""
        policy = self._policy
        return self._num_failed >= policy.max_tries or self._num_rate_limited >= policy.max_rate_limited


class StoppableSleep:
    """The sleep of requests to one endpoint between tries, which `stop` ends.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: dict[asyncio.Future[Any], float] = {}
        self._is_stopped = False

    async def __call__(self, seconds: float) -> None:
        """Sleep.

        Raises:
            StoppedWaitingError: `stop` was called.
        """
        self.refuse_if_stopped()
        if seconds <= 0:
            return
        waker = asyncio.get_running_loop().create_future()
        self._until[waker] = self._clock() + seconds
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await waker
        finally:
            del self._until[waker]

    def describe(self) -> str:
        """Return how many requests sleep and when the next one wakes, for displays; empty if none sleeps."""
        if not self._until:
            return ""
        seconds = max(0.0, min(self._until.values()) - self._clock())
        return f"{len(self._until)} to try again, the next in {seconds:.0f} s"

    def stop(self) -> None:
        """Fail all sleeps, now and later, with `StoppedWaitingError` until `resume`."""
        self._is_stopped = True
        let_go(self._until)

    def resume(self) -> None:
        """Let requests sleep again."""
        self._is_stopped = False

    def refuse_if_stopped(self) -> None:
        """Raise an error while stopped.

        Raises:
            StoppedWaitingError: `stop` was called.
        """
        if self._is_stopped:
            raise StoppedWaitingError(_STOPPED)


def let_go(waiters: Iterable[asyncio.Future[Any]]) -> None:
    """Fail waiters with `StoppedWaitingError`; those of a closed loop are ignored."""
    for waiter in list(waiters):
        if not (waiter.done() or waiter.get_loop().is_closed()):
            waiter.set_exception(StoppedWaitingError(_STOPPED))
