"""A token bucket: what a rate allows, and how long to wait for more."""

__all__ = ["TokenBucket"]


class TokenBucket:
    """Holds up to `capacity` units and gains `rate` of them per second.

    A demand larger than the capacity is let through by a full bucket, which then owes the rest.

    Args:
        rate: Units per second; may be set anew at any time.
        capacity: Units at most held.
        now: The time, in seconds of any clock.
        level: Units held now; None for a full bucket.
    """

    __slots__ = ("_changed", "_level", "capacity", "rate")

    def __init__(self, rate: float, capacity: float, now: float, level: float | None = None) -> None:
        self.rate = rate
        self.capacity = capacity
        self._level = capacity if level is None else level
        self._changed = now

    def level(self, now: float) -> float:
        """Return the units held now; below zero if some are owed."""
        if now > self._changed:
            self._level = min(self.capacity, self._level + self.rate * (now - self._changed))
            self._changed = now
        return self._level

    def wait(self, now: float, units: float) -> float:
        """Return the seconds until `units` may be taken, 0 for now."""
        missing = min(units, self.capacity) - self.level(now)
        # A thousandth of a unit is rounding, not a reason to wait.
        return missing / self.rate if missing > 1e-3 else 0.0

    def take(self, now: float, units: float) -> None:
        """Take units, or give back with a negative number."""
        self._level = min(self.capacity, self.level(now) - units)

    def lower_to(self, now: float, level: float) -> None:
        """Hold no more than `level`."""
        self._level = min(self.level(now), level)
