"""Means, with intervals, of values that are added one at a time and not kept."""

import math
from dataclasses import dataclass
from typing import Self

from pydantic import BaseModel, ConfigDict

from music.statistics.estimates import quantile_t
from music.statistics.proportions import proportion_interval

__all__ = ["MeanInterval", "RunningMean"]

_MIN_SPREAD = 30
"""With fewer values the spread is too uncertain."""


class MeanInterval(BaseModel):
    """A mean with its 95% interval, as saved in files."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float | None
    """Lower end of the interval; None with too few units."""
    high: float | None
    """Upper end; None with too few units."""

    def excludes(self, value: float) -> bool:
        """Return whether a value is outside the interval."""
        return self.low is not None and self.high is not None and not self.low <= value <= self.high

    def is_apart_from(self, other: Self) -> bool:
        """Return whether the two intervals do not overlap."""
        if self.low is None or self.high is None or other.low is None or other.high is None:
            return False
        return self.low > other.high or other.low > self.high


@dataclass(slots=True)
class RunningMean:
    """Sums values one at a time, one for each independent unit, such as a pair."""

    num: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        """Add the value of one unit."""
        self.num += 1
        self.total += value
        self.squares += value * value

    def mean(self) -> MeanInterval:
        """Return the mean so far, with Student's interval."""
        if self.num < 2:
            return MeanInterval(value=self._mean, low=None, high=None)
        margin = quantile_t(self.num - 1) * math.sqrt(self._variance)
        return MeanInterval(value=self._mean, low=self._mean - margin, high=self._mean + margin)

    def share(self) -> MeanInterval:
        """Return the mean of values within [0, 1], with Wilson's interval, which has a width even if all are 0 or 1.

        A pair's value is a mean over its turns and so carries more information than one yes or no. From 30 pairs on,
        the interval is that of the number of yes-or-no units that would vary as much.
        """
        if not self.num:
            return MeanInterval(value=0.0, low=None, high=None)
        share = min(1.0, self._mean)  # rounding may take sums of thirds above it
        knows_spread = self.num >= _MIN_SPREAD and self._variance > 0
        size = max(self.num, share * (1 - share) / self._variance) if knows_spread else self.num
        low, high = proportion_interval(share, size)
        return MeanInterval(value=share, low=low, high=high)

    @property
    def _mean(self) -> float:
        return self.total / self.num if self.num else 0.0

    @property
    def _variance(self) -> float:
        """The variance of the mean."""
        return max(0.0, self.squares - self.num * self._mean**2) / (self.num - 1) / self.num
