"""Limits on the requests to one endpoint; `music.llm.pacing` enforces them.

`TokenBucket` is a rate. `Quota` is a limit per minute, from the user or from the headers of a server's replies.
`Throttle` is learned from 429s: how many requests in flight, and how many per second, an endpoint serves.

A throttle has no limit before the first 429, which cuts both. 429s of requests sent before a cut do not cut again. The
requests in flight are cut by a factor and grow additively in each round. That alone cannot control the rate if replies
are quick (100 requests per second of 5 ms each are half a request in flight), so requests per second are limited too.
Their limit lies between the rate served since the last cut and the rate at which the 429 came. The rate starts a little
below the geometric mean of both and follows a cubic, as in TCP (RFC 9438): it grows fast towards the mean, slowly
around it, and ever faster beyond it, so that a raised or lifted limit is noticed.
"""

import math
from collections.abc import Mapping

from music.llm.retry_after import read_number, seconds_until

__all__ = ["Quota", "Throttle", "TokenBucket"]

_BURST_SECONDS = 1.0
"""Largest burst under a user's limit, in seconds of it. Requests are spread out so that no window of the server
overflows."""
_NEVER_LIFTED = 1e-9
"""Units per second of a limit that is never lifted; the pacer bounds the wait for it."""
_CUT = 0.1
"""Share by which the rate starts below the estimated limit."""
_PLATEAU_SECONDS = 10.0
"""Seconds until the rate is back at the estimated limit."""
_FORGET_FACTOR = 10.0
"""Growth without a 429 after which the limit is dropped."""
_GROWTH = 0.05
"""Share by which the requests in flight grow in a round without a 429; at least one request."""
_WINDOW = 1.0
"""Seconds over which replies are counted while there is no limit."""
_MAX_DOUBLINGS = 20.0
"""Most doublings: after the first cut the rate doubles each second, until the second cut reveals the limit."""
_MIN_RATE = 1.0
"""Lowest rate, in requests per second."""
_STRAY_SHARE = 0.25
"""A 429 is stray while the share of 429s among replies is below this: others' traffic, or a limit that is just met."""
_MEMORY = 64
"""Number of replies that the running mean of that share covers."""
_BENEFIT_OF_DOUBT = 8
"""Number of replies without a 429 that the mean starts with, so that the first 429 may be stray."""


class TokenBucket:
    """Holds up to `capacity` units and gains `rate` of them per second.

    A full bucket admits a demand larger than its capacity and then owes the rest.

    Args:
        rate: Units per second; may be changed at any time.
        capacity: Most units held.
        now: The time in seconds, of any clock.
        level: Units held now; None for a full bucket.
    """

    __slots__ = ("_changed", "_level", "capacity", "rate")

    def __init__(self, rate: float, capacity: float, now: float, level: float | None = None) -> None:
        self.rate = rate
        self.capacity = capacity
        self._level = capacity if level is None else level
        self._changed = now

    def level(self, now: float) -> float:
        """Return the units held now; negative if some are owed."""
        if now > self._changed:
            self._level = min(self.capacity, self._level + self.rate * (now - self._changed))
            self._changed = now
        return self._level

    def wait(self, now: float, units: float) -> float:
        """Return the seconds until `units` may be taken; 0 for now."""
        missing = min(units, self.capacity) - self.level(now)
        # A thousandth of a unit is rounding, not a reason to wait.
        return missing / self.rate if missing > 1e-3 else 0.0

    def take(self, now: float, units: float) -> None:
        """Take units; a negative number returns some."""
        self._level = min(self.capacity, self.level(now) - units)

    def lower_to(self, now: float, level: float) -> None:
        """Lower the units held to `level` if there are more."""
        self._level = min(self.level(now), level)


class Quota:
    """A limit of units (requests or tokens) per minute.

    Args:
        unit: `requests` or `tokens`, as in the names of the headers.
        per_minute: The user's limit; None for that of the server's headers alone.
        now: The time in seconds.
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
        """Return the seconds until the user's limit allows `units`; 0 for now."""
        return self._given.wait(now, units) if self._given else 0.0

    def announced_wait(self, now: float, units: float) -> float:
        """Return the seconds until the limit in the server's headers allows `units`; 0 for now."""
        return self._learnt.wait(now, units) if self._learnt else 0.0

    def take(self, now: float, units: float) -> None:
        """Count units as used; a negative number returns some."""
        for bucket in (self._given, self._learnt):
            if bucket:
                bucket.take(now, units)

    def learn(self, now: float, headers: Mapping[str, str], age: float, units_in_flight: float) -> None:
        """Update the limit from the headers of a reply, if they contain one.

        Args:
            now: The time in seconds.
            headers: The headers of the reply.
            age: Seconds since its request was sent, which is when the server may have counted.
            units_in_flight: Units that the requests in flight may have used by now.
        """
        for limit_name, remaining_name, reset_name in self._names:
            if limit_name in headers:
                limit, remaining = read_number(headers[limit_name]), read_number(headers.get(remaining_name))
                if limit and remaining is not None:
                    # All units are back at the reset, which distinguishes limits per day from limits per minute.
                    reset = seconds_until(headers.get(reset_name))
                    rate = min(limit / 60, (limit - remaining) / reset if reset and remaining < limit else math.inf)
                    rate = max(rate, _NEVER_LIFTED)
                    if self._learnt is None:
                        self._learnt = TokenBucket(rate, limit, now, max(0.0, remaining - units_in_flight))
                    self._learnt.rate, self._learnt.capacity = rate, limit
                    self._learnt.lower_to(now, remaining + rate * age)
                return


class Throttle:
    """The limits of one endpoint, learned from its 429s and replies. Callers pass the time in seconds.

    Args:
        floor: Lowest limit of requests in flight.
        ceiling: Highest limit of requests in flight; None for none.
        decrease: Factor by which a cut reduces the requests in flight.
    """

    def __init__(self, floor: int = 1, ceiling: int | None = None, decrease: float = 0.75) -> None:
        self._floor = floor
        self._ceiling = ceiling
        self._decrease = decrease
        self.limit = ceiling
        self.num_cuts = 0
        self._plateau = 0.0
        self._resumed_at: float | None = None
        self._cut_ticket = 0
        self._counted_since = -math.inf
        self._num_served = 0
        self._round = 0
        self._limited_mean, self._mean_weight = 0.0, _BENEFIT_OF_DOUBT / _MEMORY

    def rate(self, now: float) -> float | None:
        """Return the requests per second that may be sent now; None for no limit."""
        if not self.num_cuts:
            return None
        if self._resumed_at is None:
            self._resumed_at = now
            if not self._plateau:
                # The rate was not known at the first cut; the replies since then give it.
                self._plateau = max(_MIN_RATE, self._served_rate(now))
        return self._plateau * self._growth(now - self._resumed_at)

    def served(self, now: float, is_full: bool) -> None:
        """Record a reply; `is_full` says that the limit was reached."""
        self._limited_mean -= self._limited_mean / _MEMORY
        self._mean_weight += (1 - self._mean_weight) / _MEMORY
        if not self.num_cuts and now - self._counted_since > _WINDOW:
            self._counted_since, self._num_served = now, 0
        self._num_served += 1
        if self.limit is None or not is_full:
            return
        self._round += 1
        if self._round >= self.limit:
            self._round = 0
            grown = self.limit + max(1, int(self.limit * _GROWTH))
            self.limit = grown if self._ceiling is None else min(grown, self._ceiling)

    def is_stray(self) -> bool:
        """Count a 429, and return whether it is a stray one among many replies."""
        self._limited_mean += (1 - self._limited_mean) / _MEMORY
        self._mean_weight += (1 - self._mean_weight) / _MEMORY
        return self._limited_mean < _STRAY_SHARE * self._mean_weight

    def limited(self, now: float, ticket: int, last_ticket: int, num_in_flight: int) -> bool:
        """Record a 429 and return whether it cut the limits.

        Args:
            now: The time in seconds.
            ticket: Number of the request, in the order of sending.
            last_ticket: Number of the request sent last.
            num_in_flight: Requests in flight, including this one.
        """
        if ticket <= self._cut_ticket:
            return False
        rate = self.rate(now)
        if rate is not None:
            self._plateau = max(_MIN_RATE, math.sqrt(rate * min(rate, max(rate / 4, self._served_rate(now)))))
        if rate is not None or now - self._counted_since > _WINDOW:
            self._counted_since, self._num_served = now, 0
        self._resumed_at, self._cut_ticket, self.num_cuts = None, last_ticket, self.num_cuts + 1
        self._round = 0
        self.limit = max(self._floor, int(min(num_in_flight, self.limit or num_in_flight) * self._decrease))
        return True

    def forget(self, now: float) -> None:
        """Drop the limits if the rate has grown far beyond the last 429; call it when nothing waits for them."""
        if self._resumed_at is not None and self._growth(now - self._resumed_at) >= _FORGET_FACTOR:
            self.limit, self.num_cuts, self._plateau, self._resumed_at = self._ceiling, 0, 0.0, None

    def _growth(self, seconds: float) -> float:
        if self.num_cuts == 1:
            return float(2 ** min(seconds, _MAX_DOUBLINGS))
        return 1 + _CUT * (seconds / _PLATEAU_SECONDS - 1) ** 3

    def _served_rate(self, now: float) -> float:
        return self._num_served / max(now - self._counted_since, 1e-3)
