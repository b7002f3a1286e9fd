"""`Pacer`: keeps the requests to one endpoint within its limits.

A `Pacer` admits each try of a request in order of arrival; requests that have been tried before go first. Without a
known limit every try is admitted at once, at the cost of a few counters. Limits come from 429s, from the user and from
headers (`music.llm.rate_limits`). A 429 pauses the whole endpoint for as long as it asks, so that no tries are wasted
meanwhile. A stray 429 among many replies delays only its own request. Server errors and time-outs never set a limit;
their requests sleep here before the next try.

No server can delay a request for longer than `max_wait`. `Pacer.stop_waiting` ends all waits.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping

from pydantic import BaseModel, ConfigDict, Field

from music.llm.chat import ChatReply, ChatRequest, EndpointError, RateLimitedError
from music.llm.estimates import UsageEstimate
from music.llm.rate_limits import Quota, Throttle, TokenBucket
from music.llm.retry import FailedTryError, StoppableSleep, let_go

__all__ = ["Pacer", "PacingSettings"]

_SLACK_SECONDS = 0.05
"""Seconds by which a send may be late without lowering the rate: event loops are not punctual."""
_Waiter = tuple[asyncio.Future[int], float]


class PacingSettings(BaseModel):
    """How requests to one endpoint are paced."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests_per_minute: float | None = Field(default=None, gt=0)
    """Limit of requests, evenly spread; None for the limit in the server's headers."""
    tokens_per_minute: float | None = Field(default=None, gt=0)
    """Limit of tokens, of prompts and replies together; None for the limit in the server's headers."""
    ceiling: int | None = Field(default=None, ge=1)
    """Most requests in flight; None for no limit before the first 429."""
    floor: int = Field(default=1, ge=1)
    """Lowest limit of requests in flight that 429s can set."""
    decrease: float = Field(default=0.75, gt=0, lt=1)
    """Factor by which a 429 reduces the requests in flight."""
    cooldown: float = Field(default=1.0, ge=0)
    """Seconds of pause after a 429 that asks for none, doubled for each 429 in a row without a reply."""
    max_pause: float = Field(default=60.0, ge=0)
    """Longest pause in seconds after a 429 that asks for none."""


class Pacer:
    """Admits requests to one endpoint.

    `enter` waits for admission and returns a ticket; `leave` takes each ticket back with the result of the try.

    Args:
        settings: The limits known beforehand and the reaction to 429s.
        clock: Returns the time in seconds.
        max_wait: Most seconds that the server can delay a request.
    """

    def __init__(
        self,
        settings: PacingSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
        max_wait: float = 300.0,
    ) -> None:
        self._settings = settings or PacingSettings()
        self._clock = clock
        self._max_wait = max_wait
        self.in_flight = 0
        self.num_rate_limited = 0
        self.errors: Counter[str] = Counter()
        """Failed tries by kind, for example `RateLimited` or `EndpointUnavailable`."""
        self._throttle = Throttle(self._settings.floor, self._settings.ceiling, self._settings.decrease)
        now = clock()
        self._requests = Quota("requests", self._settings.requests_per_minute, now)
        self._tokens = Quota("tokens", self._settings.tokens_per_minute, now)
        self._tokens_in_flight = 0.0
        self.usage = UsageEstimate()
        """Estimates of token counts, learned from replies."""
        self._sends: TokenBucket | None = None
        self._paused_until = 0.0
        self._num_pauses = 0
        self._moved_at = now
        self._held_until, self._held_by = now, ""
        self.sleep = StoppableSleep(clock)
        self._is_stopped = False
        self._last_ticket = 0
        self._again: deque[_Waiter] = deque()
        self._new: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_free = False
        self._note_limits()

    @property
    def limit(self) -> int | None:
        """Most requests in flight now; None for no limit."""
        return self._throttle.limit

    @property
    def rate(self) -> float | None:
        """Requests per second after 429s; None for no limit."""
        return self._sends.rate if self._sends else None

    @property
    def num_waiting(self) -> int:
        """Requests that wait for admission."""
        return len(self._again) + len(self._new)

    @property
    def waits(self) -> str:
        """What requests wait for now and how long, for displays; empty if none waits."""
        now, said = self._clock(), []
        if self.num_waiting and self._timer is not None and self._held_until > now:
            said.append(f"{self._held_until - now:.0f} s more for {self._held_by}")
        elif self.num_waiting:
            said.append("for requests in flight to be answered")
        said += [rests] if (rests := self.sleep.describe()) else []
        return "; ".join(said)

    def estimate(self, request: ChatRequest) -> float:
        """Return the tokens that a request is likely to use; 0 if tokens are not limited."""
        if not self._tokens.is_known:
            return 0.0
        guess = self.usage.guess(request, at_most=True)
        return float(guess.prompt_tokens + guess.completion_tokens)

    async def enter(self, tokens: float = 0.0, *, again: bool = False) -> int:
        """Wait until a try may be sent, and return its ticket.

        Args:
            tokens: The tokens that it is estimated to use.
            again: Whether the request has been tried before; such requests go first.

        Raises:
            StoppedWaitingError: `stop_waiting` was called.
        """
        if self._is_free:
            self.in_flight += 1
            self._last_ticket += 1
            return self._last_ticket
        self.sleep.refuse_if_stopped()
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # drop the waiters and the timer of an earlier loop
            self._loop, self._timer = loop, None
            self._again.clear()
            self._new.clear()
        waiter: asyncio.Future[int] = loop.create_future()
        if not self.num_waiting:
            self._moved_at = self._clock()
        (self._again if again else self._new).append((waiter, tokens))
        if self._timer is None:
            self._pump()
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():  # admitted and cancelled at once
                self._release(tokens)
            raise

    def stop_waiting(self) -> None:
        """Fail all waits, now and later, with `StoppedWaitingError` until `resume_waiting`."""
        self._is_stopped, self._is_free = True, False
        self.sleep.stop()
        waiters = [waiter for waiter, _ in (*self._again, *self._new)]
        self._again.clear()
        self._new.clear()
        let_go(waiters)

    def resume_waiting(self) -> None:
        """Let requests wait again."""
        self._is_stopped = False
        self.sleep.resume()
        self._note_limits()

    def leave(self, ticket: int, end: ChatReply | BaseException | None, tokens: float = 0.0) -> bool:
        """Record how a try ended, and return whether this pacer delays the next try of its request.

        Args:
            ticket: The ticket that `enter` returned.
            end: The reply, or the exception.
            tokens: The tokens that were passed to `enter`.
        """
        is_held_back = False
        if isinstance(end, ChatReply):
            now, limit = self._clock(), self.limit
            self._num_pauses = 0
            self._throttle.served(now, limit is not None and self.in_flight >= limit)
            if tokens and end.prompt_tokens:
                self._tokens.take(now, end.prompt_tokens + end.completion_tokens - tokens)
        elif isinstance(end, EndpointError):
            error = end.error if isinstance(end, FailedTryError) else end
            self.errors[type(error).__name__.removesuffix("Error")] += 1
            if isinstance(error, RateLimitedError):
                is_held_back = self._note_429(ticket, end.retry_after if isinstance(end, FailedTryError) else None)
        self._release(tokens)
        return is_held_back

    def learn(self, headers: Mapping[str, str], age: float) -> None:
        """Update the limits from the headers of a reply that came `age` seconds after its request was sent."""
        now = self._clock()
        self._requests.learn(now, headers, age, self.in_flight - 1)
        self._tokens.learn(now, headers, age, self._tokens_in_flight)
        if self._is_free:
            self._note_limits()

    def _note_429(self, ticket: int, retry_after: float | None) -> bool:
        """Pause and reduce the limits, and return True; a stray 429 changes nothing and returns False."""
        now = self._clock()
        self.num_rate_limited += 1
        if self._throttle.is_stray():
            return False
        has_cut = self._throttle.limited(now, ticket, self._last_ticket, self.in_flight)
        if has_cut:
            self._sends = None
        if retry_after is None and has_cut:
            retry_after = min(self._settings.cooldown * 2 ** min(self._num_pauses, 20), self._settings.max_pause)
            self._num_pauses += 1
        self._paused_until = max(self._paused_until, now + min(retry_after or 0.0, self._max_wait))
        self._is_free = False
        return True

    def _release(self, tokens: float) -> None:
        self.in_flight -= 1
        self._tokens_in_flight -= tokens
        if self._is_free:
            return
        if self._timer is None:
            self._pump()
        if not self._again and not self._new:
            self._throttle.forget(self._clock())
            self._note_limits()

    def _pump(self) -> None:
        """Admit the waiters that the limits allow, and schedule the next call."""
        self._timer = None
        now = self._clock()
        while lane := self._again or self._new:
            waiter, tokens = lane[0]
            if not waiter.done():
                if self.limit is not None and self.in_flight >= self.limit:
                    return  # the next `leave` calls this again
                seconds, self._held_by = self._wait(now, tokens)
                if seconds > 0:
                    self._held_until = now + seconds
                    self._timer = waiter.get_loop().call_later(seconds, self._pump)
                    return
                waiter.set_result(self._admit(now, tokens))
            lane.popleft()

    def _wait(self, now: float, tokens: float) -> tuple[float, str]:
        """Return the seconds until time alone would admit a request, and the reason for the wait."""
        if now < self._paused_until:
            return self._paused_until - now, "the end of a pause after a 429"
        announced = max(self._requests.announced_wait(now, 1), self._tokens.announced_wait(now, tokens))
        # Headers may be wrong: after `max_wait` one request is sent, and its answer updates the limits.
        announced = min(announced, max(0.0, self._moved_at + self._max_wait - now))
        seconds = max(self._requests.wait(now, 1), self._tokens.wait(now, tokens), announced)
        rate = self._throttle.rate(now)
        if rate is None:
            return seconds, "a limit per minute"
        if self._sends is None:
            self._sends = TokenBucket(rate, 1.0, now)
        self._sends.rate, self._sends.capacity = rate, max(1.0, rate * _SLACK_SECONDS)
        return max(seconds, self._sends.wait(now, 1)), "a limit per minute" if seconds else "the rate that 429s left"

    def _admit(self, now: float, tokens: float) -> int:
        self._moved_at = now
        if self._sends is not None:
            self._sends.take(now, 1)
        self._requests.take(now, 1)
        self._tokens.take(now, tokens)
        self._tokens_in_flight += tokens
        self.in_flight += 1
        self._last_ticket += 1
        return self._last_ticket

    def _note_limits(self) -> None:
        """Update whether there is any limit."""
        has_throttle = self._throttle.num_cuts > 0 or self._throttle.limit is not None
        self._is_free = not (has_throttle or self._requests.is_known or self._tokens.is_known or self._is_stopped)
        if not self._throttle.num_cuts:
            self._sends = None
