"""What 429s teach about one endpoint: how many requests in flight, and how many per second, it takes.

Both start unlimited. The first 429 of an episode cuts them; 429s of requests sent before a cut belong to its episode
and cut no more. Requests in flight are cut by a factor and grow additively by round. That alone cannot hold a rate when
replies are quick (100 requests per second of 5 ms each are half a request in flight), so requests per second are
learnt as well: the limit lies between what was served since the last cut and the rate at which the 429 came. From a
little below their geometric mean the rate follows a cubic, as TCP's does (RFC 9438): fast towards it, slow around it,
ever faster beyond, so that a limit that has been raised or lifted is found out.
"""

import math

__all__ = ["Throttle"]

_CUT = 0.1
"""Share by which the rate starts below where the limit is thought to be."""
_PLATEAU_SECONDS = 10.0
"""Until the rate is back there."""
_FORGET_FACTOR = 10.0
"""Growth without a 429 after which there is no limit any more."""
_GROWTH = 0.05
"""Share by which the requests in flight grow in a round without a 429, at least by one."""
_WINDOW = 1.0
"""Seconds over which replies are counted as long as there is no limit."""
_MAX_DOUBLINGS = 20.0
"""After the first cut the rate doubles each second, until the second cut tells where the limit is."""
_MIN_RATE = 1.0
"""Requests per second, however bad things are."""


class Throttle:
    """The limits of one endpoint as its 429s and replies let them be known; time is the caller's.

    Args:
        floor: Fewest requests in flight.
        ceiling: Most requests in flight; None for no bound.
        decrease: Factor of a cut of the requests in flight.
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

    def rate(self, now: float) -> float | None:
        """Return the requests per second that may be sent now; None for no limit."""
        if not self.num_cuts:
            return None
        if self._resumed_at is None:
            self._resumed_at = now
            if not self._plateau:
                # The first cut knew no rate, but the replies that came since it tell one.
                self._plateau = max(_MIN_RATE, self._served_rate(now))
        return self._plateau * self._growth(now - self._resumed_at)

    def served(self, now: float, is_full: bool) -> None:
        """Note a reply; `is_full` if more requests would be in flight if the limit let them."""
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

    def limited(self, now: float, ticket: int, last_ticket: int, num_in_flight: int) -> bool:
        """Note a 429 and return whether it cut.

        Args:
            now: The time, in seconds.
            ticket: Number of the request, in the order of sending.
            last_ticket: Number of the request sent last.
            num_in_flight: Requests in flight, this one included.
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
        """Drop the limits if the rate has grown far beyond the last 429; for when nobody waits for them."""
        if self._resumed_at is not None and self._growth(now - self._resumed_at) >= _FORGET_FACTOR:
            self.limit, self.num_cuts, self._plateau, self._resumed_at = self._ceiling, 0, 0.0, None

    def _growth(self, seconds: float) -> float:
        if self.num_cuts == 1:
            return float(2 ** min(seconds, _MAX_DOUBLINGS))
        return 1 + _CUT * (seconds / _PLATEAU_SECONDS - 1) ** 3

    def _served_rate(self, now: float) -> float:
        return self._num_served / max(now - self._counted_since, 1e-3)
