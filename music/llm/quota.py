"""Limits per minute, as the user gives them and as servers announce them in the headers of their replies.

Read are OpenAI's `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, which many servers speak, and Anthropic's
`anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}`.
"""

import math
from collections.abc import Mapping

from music.llm.bucket import TokenBucket
from music.llm.moments import read_number, seconds_until

__all__ = ["Quota"]

_BURST_SECONDS = 1.0
"""What a user's limit allows at once, in seconds of it: spread out, no window of the server's is overrun."""
_MIN_RATE = 1e-9
"""Units per second of a limit that is never lifted; how long anybody waits for it is the pacer's matter."""


class Quota:
    """Allows so many units (requests or tokens) per minute.

    Args:
        unit: `requests` or `tokens`, as the headers call them.
        per_minute: The user's limit; None for what the server announces only.
        now: The time, in seconds.
    """

    __slots__ = ("_given", "_learnt", "_names")

    def __init__(self, unit: str, per_minute: float | None, now: float) -> None:
        rate = (per_minute or 0.0) / 60
        self._given = TokenBucket(rate, max(1.0, rate * _BURST_SECONDS), now) if per_minute else None
        self._learnt: TokenBucket | None = None
        self._names = (
            (f"x-ratelimit-limit-{unit}", f"x-ratelimit-remaining-{unit}", f"x-ratelimit-reset-{unit}"),
            tuple(f"anthropic-ratelimit-{unit}-{what}" for what in ("limit", "remaining", "reset")),
        )

    @property
    def is_known(self) -> bool:
        """Whether there is any limit."""
        return self._given is not None or self._learnt is not None

    def wait(self, now: float, units: float) -> float:
        """Return the seconds until the user's limit allows `units`, 0 for now."""
        return self._given.wait(now, units) if self._given else 0.0

    def announced_wait(self, now: float, units: float) -> float:
        """Return the seconds until the limit that the server announced allows `units`, 0 for now."""
        return self._learnt.wait(now, units) if self._learnt else 0.0

    def take(self, now: float, units: float) -> None:
        """Count units as used, or give back with a negative number."""
        for bucket in (self._given, self._learnt):
            if bucket:
                bucket.take(now, units)

    def learn(self, now: float, headers: Mapping[str, str], age: float, units_in_flight: float) -> None:
        """Follow what the headers of a reply announce, if they announce anything.

        Args:
            now: The time, in seconds.
            headers: The reply's.
            age: Seconds since its request was sent, which is when the server may have counted.
            units_in_flight: What the requests in flight may have used by now.
        """
        for limit_name, remaining_name, reset_name in self._names:
            if limit_name in headers:
                limit, remaining = read_number(headers[limit_name]), read_number(headers.get(remaining_name))
                if limit and remaining is not None:
                    # The reset is when all will be there again, which tells limits per day from those per minute.
                    reset = seconds_until(headers.get(reset_name))
                    rate = min(limit / 60, (limit - remaining) / reset if reset and remaining < limit else math.inf)
                    rate = max(rate, _MIN_RATE)
                    if self._learnt is None:
                        self._learnt = TokenBucket(rate, limit, now, max(0.0, remaining - units_in_flight))
                    self._learnt.rate, self._learnt.capacity = rate, limit
                    self._learnt.lower_to(now, remaining + rate * age)
                return
