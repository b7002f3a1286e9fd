"""The sandbox server's real rate limit: a bucket of tokens, and OpenAI's headers about it."""

import math
import time
from collections.abc import Callable

from music.llm.rate_limits import TokenBucket

__all__ = ["RateLimit"]


class RateLimit:
    """Lets requests through at a rate, with bursts of one second's worth, and of one request at least.

    Args:
        rate: Requests per second.
        clock: Seconds of a clock that never goes back.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rate = rate
        self._bucket = TokenBucket(rate, max(1.0, rate), clock())
        self._started: float | None = None
        self.num_allowed = 0

    @property
    def uptime(self) -> float:
        """Seconds since the first request."""
        return 0.0 if self._started is None else self._clock() - self._started

    def ask(self) -> float:
        """Return 0 if a request is let through, else the seconds until one would be."""
        now = self._clock()
        self._started = now if self._started is None else self._started
        seconds = self._bucket.wait(now, 1)
        if not seconds:
            self._bucket.take(now, 1)
            self.num_allowed += 1
        # Rounded up to what a header shows: who waits that long finds the token there.
        return math.ceil(seconds * 1000) / 1000

    def headers(self) -> dict[str, str]:
        """Return OpenAI's headers: the limit per minute, what is left of the bucket, and when it is full again."""
        level = max(0.0, self._bucket.level(self._clock()))
        return {
            "x-ratelimit-limit-requests": str(max(1, round(60 * self._rate))),
            "x-ratelimit-remaining-requests": str(int(level)),
            "x-ratelimit-reset-requests": format_duration((self._bucket.capacity - level) / self._rate),
        }


def format_duration(seconds: float) -> str:
    """Write a time as OpenAI's headers do: `20ms`, `1.5s`, `6m0s`, `1h0m0s`."""
    milliseconds = math.ceil(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    start = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{start}{rest / 1000:g}s"
