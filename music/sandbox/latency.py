"""Latency of the sandbox's server: a distribution, written as a short text."""

import math
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

from music.errors import InvalidInputError

__all__ = ["Latency", "LatencyShape"]

_NORMAL = NormalDist()


class LatencyShape(StrEnum):
    """The distributions that latency may follow."""

    CONSTANT = "constant"
    UNIFORM = "uniform"
    LOGNORMAL = "lognormal"
    EXPONENTIAL = "exponential"


_NUM_PARAMETERS = {
    LatencyShape.CONSTANT: 1,
    LatencyShape.UNIFORM: 2,
    LatencyShape.LOGNORMAL: 2,
    LatencyShape.EXPONENTIAL: 1,
}


@dataclass(frozen=True, slots=True)
class Latency:
    """A distribution of latency.

    Attributes:
        shape: The distribution.
        parameters: Milliseconds: the value; low and high; median (and sigma of the logarithm); mean.
    """

    shape: LatencyShape
    parameters: tuple[float, ...]

    @classmethod
    def parse(cls, text: str) -> "Latency":
        """Read `200`, `uniform:100:300`, `lognormal:200:0.5` (median, sigma) or `exponential:200` (mean), in ms.

        Raises:
            InvalidInputError: The text is none of these, or a number is negative or not finite.
        """
        shape, *numbers = text.split(":") if ":" in text else (LatencyShape.CONSTANT, text)
        try:
            latency = cls(LatencyShape(shape), tuple(map(float, numbers)))
        except ValueError:
            raise _bad_latency(text) from None
        if len(latency.parameters) != _NUM_PARAMETERS[latency.shape]:
            raise _bad_latency(text)
        if not all(math.isfinite(number) and number >= 0 for number in latency.parameters):
            raise _bad_latency(text)
        return latency

    def quantile(self, share: float) -> float:
        """Return the seconds that a `share`, in (0, 1), of requests stays below."""
        first = self.parameters[0] / 1000
        match self.shape:
            case LatencyShape.CONSTANT:
                return first
            case LatencyShape.UNIFORM:
                return first + share * (self.parameters[1] / 1000 - first)
            case LatencyShape.LOGNORMAL:
                return first * math.exp(self.parameters[1] * _NORMAL.inv_cdf(share))
            case LatencyShape.EXPONENTIAL:
                return -first * math.log1p(-share)


def _bad_latency(text: str) -> InvalidInputError:
    return InvalidInputError(
        f"expected milliseconds as 200, uniform:100:300, lognormal:200:0.5 (median:sigma) or exponential:200,"
        f" got {text[:60]!r}"
    )
