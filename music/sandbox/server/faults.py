"""The latency and the faults of the sandbox's server.

Every draw depends only on the seed, the request's bytes and the number of failures of that request so far. So a run can
be repeated in any order of its requests, and no request fails forever. `music.sandbox.server.wire` writes the response
of each fault.
"""

import hashlib
import math
from bisect import bisect_right
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from statistics import NormalDist

from cachetools import LRUCache

from music.errors import InvalidInputError

__all__ = ["Fault", "FaultPlan", "Latency", "LatencyShape", "read_faults"]

MAX_REMEMBERED = 100_000
"""Number of requests whose failures are counted; beyond it, the least recent request is dropped."""
_NORMAL = NormalDist()


class LatencyShape(StrEnum):
    """Distributions of latency."""

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
        """Return the latency in seconds that a `share`, in (0, 1), of requests stays below."""
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


class Fault(StrEnum):
    """The fault of a request."""

    NONE = "none"
    """No fault: the sandbox's whole reply."""
    RATE_429 = "rate_429"
    """A 429 by chance."""
    LIMIT = "limit"
    """A 429 by the rate limit."""
    POISON = "poison"
    """A 500, every time this request arrives."""
    ERROR = "error"
    """A 500."""
    RESET = "reset"
    """The connection is reset before the response."""
    HANG = "hang"
    """The response comes after `hang_seconds`."""
    TRUNCATE = "truncate"
    """The body ends before its Content-Length."""
    INVALID_JSON = "invalid_json"
    """The body is complete, but invalid JSON."""
    NO_CHOICES = "no_choices"
    """`choices` is empty."""
    WRONG_TYPES = "wrong_types"
    """The content is a number or a list, usage is text."""
    HUGE = "huge"
    """The reply is 10 MB of text."""
    NUL = "nul"
    """The reply contains NUL."""
    SURROGATE = "surrogate"
    """The reply contains an escaped lone surrogate."""
    CONTROL_TOKENS = "control_tokens"
    """The reply contains the control tokens of chat templates."""

    @property
    def gives_reply(self) -> bool:
        """Whether the client gets a usable reply, even if a hostile one."""
        return self in _REPLIES

    @property
    def spoils_answer(self) -> bool:
        """Whether the fault is in the response itself."""
        return self in _SPOILED


_MIXABLE = tuple(Fault)[tuple(Fault).index(Fault.ERROR) :]
_REPLIES = frozenset({Fault.NONE, Fault.NUL, Fault.SURROGATE, Fault.CONTROL_TOKENS})
_SPOILED = frozenset(_MIXABLE) - {Fault.ERROR, Fault.RESET, Fault.HANG}


def read_faults(text: str) -> dict[Fault, float]:
    """Read the shares of faults, such as `error=0.05,hang=0.02`; an empty text means no faults.

    Raises:
        InvalidInputError: A fault is unknown or named twice, or a share is not from 0 to 1.
    """
    shares: dict[Fault, float] = {}
    for part in filter(None, text.split(",")):
        name, _, number = part.partition("=")
        try:
            fault, share = Fault(name.strip()), float(number)
        except ValueError:
            raise _bad_faults(part) from None
        if fault not in _MIXABLE or fault in shares or not 0 <= share <= 1:
            raise _bad_faults(part)
        shares[fault] = share
    return shares


class FaultPlan:
    """Draws the fault and the latency of each request.

    Args:
        latency: The distribution of latency.
        shares: The share of requests for each fault.
        seed: Seed of all draws.
    """

    def __init__(self, latency: Latency, shares: dict[Fault, float], *, seed: int = 0) -> None:
        self._latency = latency
        self._faults = [*shares, Fault.NONE]
        self._below = list(accumulate(shares.values()))
        self._key = str(seed).encode()[:64]
        self._num_failed = LRUCache[bytes, int](MAX_REMEMBERED)
        self._is_fixed = not any(shares.values()) and latency.shape is LatencyShape.CONSTANT

    def draw(self, request: bytes) -> tuple[Fault, float]:
        """Return the fault of a request, given its bytes or a digest of them, and its latency in seconds."""
        if self._is_fixed:
            return Fault.NONE, self._latency.quantile(0.5)
        num_failed = self._num_failed.get(request, 0)
        fault_draw, latency_draw = self._two_shares(request + num_failed.to_bytes(4, "big"))
        fault = self._faults[bisect_right(self._below, fault_draw)]
        if fault.gives_reply:
            self._num_failed.pop(request, None)
        else:
            self._num_failed[request] = num_failed + 1
        return fault, self._latency.quantile(latency_draw)

    def _two_shares(self, data: bytes) -> tuple[float, float]:
        """Hash bytes into two independent shares in the open interval (0, 1)."""
        digest = hashlib.blake2b(data, digest_size=16, key=self._key).digest()
        first, second = (int.from_bytes(half, "big") >> 11 for half in (digest[:8], digest[8:]))
        return (first + 0.5) / 2**53, (second + 0.5) / 2**53


def _bad_faults(part: str) -> InvalidInputError:
    names = ", ".join(_MIXABLE)
    return InvalidInputError(
        f"expected shares from 0 to 1 such as error=0.05,hang=0.02, each fault once, got {part[:60]!r}; "
        f"the faults are {names}"
    )


def _bad_latency(text: str) -> InvalidInputError:
    return InvalidInputError(
        f"expected milliseconds such as 200, uniform:100:300, lognormal:200:0.5 (median:sigma) or exponential:200, "
        f"got {text[:60]!r}"
    )
