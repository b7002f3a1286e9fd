"""A distribution in little memory: counts in buckets that are 5 % wide, however many values come."""

import math
from collections import Counter

__all__ = ["Distribution"]

BUCKETS_PER_E = 20
SMALLEST = 1e-6


class Distribution:
    """Quantiles of a stream of positive values, right to 5 %."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, value: float) -> None:
        """Count a value; those below a millionth count as that."""
        self._counts[int(math.log(max(value, SMALLEST)) * BUCKETS_PER_E // 1)] += 1

    def quantile(self, share: float) -> float | None:
        """Return the value that this share of the values does not pass; None if there are none."""
        wanted = share * self._counts.total()
        for bucket, num in sorted(self._counts.items()):
            wanted -= num
            if wanted <= 0:
                return math.exp((bucket + 1) / BUCKETS_PER_E)
        return None
