"""What the sandbox's server does wrong on purpose, and to which request.

Every draw is a pure function of the seed, the request's bytes and how often that request has already been failed, so
a run can be repeated whatever order its requests arrive in, and no request is failed forever. What a fault looks like
on the wire is in `music.sandbox.broken`.
"""

import hashlib
from bisect import bisect_right
from enum import StrEnum
from itertools import accumulate

from music.errors import InvalidInputError
from music.sandbox.latency import Latency, LatencyShape
from music.sandbox.tally import Tally

__all__ = ["Fault", "FaultPlan", "read_faults"]


class Fault(StrEnum):
    """What happens to a request."""

    NONE = "none"
    """The sandbox's reply, whole."""
    RATE_429 = "rate_429"
    """A 429 by chance."""
    LIMIT = "limit"
    """A 429 of the real limiter."""
    POISON = "poison"
    """A 500, each time that this request comes."""
    ERROR = "error"
    """A 500."""
    RESET = "reset"
    """The connection is reset before the answer."""
    HANG = "hang"
    """The answer comes after `hang_seconds`."""
    TRUNCATE = "truncate"
    """The body ends before its Content-Length."""
    INVALID_JSON = "invalid_json"
    """The body is whole, and broken JSON."""
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
        """Whether the client gets a reply that it can use, though perhaps a hostile one."""
        return self in _REPLIES

    @property
    def spoils_answer(self) -> bool:
        """Whether the fault is in the answer itself."""
        return self in _SPOILED


_MIXABLE = tuple(Fault)[tuple(Fault).index(Fault.ERROR) :]
_REPLIES = frozenset({Fault.NONE, Fault.NUL, Fault.SURROGATE, Fault.CONTROL_TOKENS})
_SPOILED = frozenset(_MIXABLE) - {Fault.ERROR, Fault.RESET, Fault.HANG}


def read_faults(text: str) -> dict[Fault, float]:
    """Read the shares of a mix of faults, such as `error=0.05,hang=0.02`; an empty text is an empty mix.

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
        latency: Its distribution.
        shares: The share of requests that each fault happens to.
        seed: Of all draws.
    """

    def __init__(self, latency: Latency, shares: dict[Fault, float], *, seed: int = 0) -> None:
        self._latency = latency
        self._faults = [*shares, Fault.NONE]
        self._below = list(accumulate(shares.values()))
        self._key = str(seed).encode()[:64]
        self._num_failed = Tally()
        self._is_fixed = not any(shares.values()) and latency.shape is LatencyShape.CONSTANT

    def draw(self, request: bytes) -> tuple[Fault, float]:
        """Return what happens to a request, given its bytes or a digest of them, and after how many seconds."""
        if self._is_fixed:
            return Fault.NONE, self._latency.quantile(0.5)
        num_failed = self._num_failed[request]
        fault_draw, latency_draw = self._two_shares(request + num_failed.to_bytes(4, "big"))
        fault = self._faults[bisect_right(self._below, fault_draw)]
        if fault.gives_reply:
            self._num_failed.forget(request)
        else:
            self._num_failed.add(request)
        return fault, self._latency.quantile(latency_draw)

    def _two_shares(self, data: bytes) -> tuple[float, float]:
        """Hash bytes into two independent shares in the open interval (0, 1)."""
        digest = hashlib.blake2b(data, digest_size=16, key=self._key).digest()
        first, second = (int.from_bytes(half, "big") >> 11 for half in (digest[:8], digest[8:]))
        return (first + 0.5) / 2**53, (second + 0.5) / 2**53


def _bad_faults(part: str) -> InvalidInputError:
    names = ", ".join(_MIXABLE)
    return InvalidInputError(
        f"expected shares from 0 to 1 as error=0.05,hang=0.02, each fault once, got {part[:60]!r}; "
        f"the faults are {names}"
    )
