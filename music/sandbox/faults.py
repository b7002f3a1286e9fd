"""What the sandbox's server does wrong on purpose: latency, server errors and rate limits.

Every draw is a pure function of the seed, the request's bytes and how often that request has already been failed, so
a run can be repeated whatever order its requests arrive in, and no request is failed forever.
"""

import hashlib
import math
from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

from music.errors import InvalidInputError

__all__ = ["Fault", "FaultPlan", "Latency", "LatencyShape"]

_NORMAL = NormalDist()
_MAX_REMEMBERED = 100_000


class Fault(StrEnum):
    """What happens to a request."""

    NONE = "none"
    SERVER_ERROR = "server_error"
    RATE_LIMIT = "rate_limit"


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


class FaultPlan:
    """Draws the fault and the latency of each request."""

    def __init__(self, latency: Latency, *, error_rate: float = 0.0, rate_429: float = 0.0, seed: int = 0) -> None:
        self._latency = latency
        self._error_below = error_rate
        self._limit_below = error_rate + rate_429
        self._key = str(seed).encode()[:64]
        self._num_failed: OrderedDict[bytes, int] = OrderedDict()
        self._is_fixed = self._limit_below == 0 and latency.shape is LatencyShape.CONSTANT

    def draw(self, body: bytes) -> tuple[Fault, float]:
        """Return what happens to a request, and after how many seconds."""
        if self._is_fixed:
            return Fault.NONE, self._latency.quantile(0.5)
        request = hashlib.blake2b(body, digest_size=16, key=self._key).digest()
        num_failed = self._num_failed.pop(request, 0)
        fault_draw, latency_draw = _two_shares(request + num_failed.to_bytes(4, "big"))
        fault = self._fault(fault_draw)
        if fault is not Fault.NONE:
            self._remember(request, num_failed + 1)
        return fault, self._latency.quantile(latency_draw)

    def _fault(self, share: float) -> Fault:
        if share < self._error_below:
            return Fault.SERVER_ERROR
        return Fault.RATE_LIMIT if share < self._limit_below else Fault.NONE

    def _remember(self, request: bytes, num_failed: int) -> None:
        """Keep the count until the request succeeds; a client that gave up is forgotten in the end."""
        self._num_failed[request] = num_failed
        if len(self._num_failed) > _MAX_REMEMBERED:
            self._num_failed.popitem(last=False)


def _two_shares(data: bytes) -> tuple[float, float]:
    """Hash bytes into two independent shares in the open interval (0, 1)."""
    digest = hashlib.blake2b(data, digest_size=16).digest()
    first, second = (int.from_bytes(half, "big") >> 11 for half in (digest[:8], digest[8:]))
    return (first + 0.5) / 2**53, (second + 0.5) / 2**53


def _bad_latency(text: str) -> InvalidInputError:
    return InvalidInputError(
        f"latency: expected milliseconds as 200, uniform:100:300, lognormal:200:0.5 (median:sigma) or exponential:200,"
        f" got {text[:60]!r}"
    )
