"""A mean over pairs and how sure it is."""

import math
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

__all__ = ["Figure", "RunningMean"]

_TWO_SIDED_95 = 1.96


class Figure(BaseModel):
    """A mean over pairs with its 95% interval (normal approximation; pairs are the independent units)."""

    model_config = ConfigDict(frozen=True)

    value: float
    margin: float | None
    """Half the width of the interval; None where a single pair leaves it open."""

    def excludes(self, value: float) -> bool:
        """Whether a value lies outside the interval."""
        return self.margin is not None and abs(self.value - value) > self.margin


@dataclass(slots=True)
class RunningMean:
    """Adds values up one at a time, one for each pair."""

    num: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        """Take the value of one pair."""
        self.num += 1
        self.total += value
        self.squares += value * value

    def figure(self) -> Figure:
        """Return the mean so far."""
        mean = self.total / self.num if self.num else 0.0
        if self.num < 2:
            return Figure(value=mean, margin=None)
        variance = max(0.0, self.squares - self.num * mean * mean) / (self.num - 1)
        return Figure(value=mean, margin=_TWO_SIDED_95 * math.sqrt(variance / self.num))
