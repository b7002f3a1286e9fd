"""`ReplicatedModel`: several servers of one model behind one `ChatModel`.

A request goes to the replica that served its route before, for the prefix cache there. A new route, and a request
without one, goes to the live replica with the least load. A replica is down if it refuses connections, or after three
failures in a row (broken connections, time-outs, 5xx). Its requests go to others until it answers a probe: a single
request, sent after a pause that doubles each time. Rejections (4xx) and rate limits (429) never take a replica down.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cachetools import LRUCache

from music.errors import InvalidInputError
from music.llm.chat import (
    ChatReply,
    ChatRequest,
    EndpointError,
    EndpointTimeoutError,
    EndpointUnavailableError,
    EndpointUnreachableError,
    StoppedWaitingError,
)
from music.llm.openai import OpenAIChatModel
from music.llm.retry import FailedTryError, RetryPolicy, Sleep, call_with_retries

__all__ = ["ReplicatedModel"]

_MAX_ROUTES = 100_000
_MAX_FAILURES = 3
_FIRST_PAUSE = 1.0
_MAX_PAUSE = 30.0
_ASSUMED_LIMIT = 1000
"""Assumed limit of requests in flight of a replica without a known one, to compare loads."""


class ReplicatedModel:
    """A `ChatModel` over replicas, which it closes with itself.

    Args:
        replicas: At least one; each name occurs once.
        policy: When a failed try is repeated, on any replica.
        sleep: Waits between tries when no replica is live; by default the first replica's pacer.
        clock: Returns the time in seconds.

    Raises:
        InvalidInputError: There are no replicas, or two are the same.
    """

    def __init__(
        self,
        replicas: Sequence[OpenAIChatModel],
        policy: RetryPolicy | None = None,
        *,
        sleep: Sleep | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        names = [model.name for model in replicas]
        if not names or len(set(names)) < len(names):
            raise InvalidInputError(
                f"replicas: expected one or more, each listed once, got {','.join(names) or 'none'}"
            )
        self._replicas = [_Replica(model=model) for model in replicas]
        self._policy = policy or RetryPolicy()
        self._sleep = sleep or replicas[0].pacer.sleep
        self._clock = clock
        self._homes: LRUCache[str, _Replica] = LRUCache(_MAX_ROUTES)

    def __repr__(self) -> str:
        return f"ReplicatedModel({self.name!r})"

    @property
    def name(self) -> str:
        """The replicas, each as `MODEL@BASE_URL`, separated by commas."""
        return ",".join(replica.model.name for replica in self._replicas)

    @property
    def endpoints(self) -> tuple[OpenAIChatModel, ...]:
        """The clients whose pace displays show."""
        return tuple(replica.model for replica in self._replicas)

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request; see `music.llm.chat.ChatModel`."""
        return await call_with_retries(self._try_once, request, self._policy, self._sleep)

    async def aclose(self) -> None:
        """Close all replicas."""
        for replica in self._replicas:
            await replica.model.aclose()

    def stop_waiting(self) -> None:
        """Fail requests that are not in flight with `StoppedWaitingError`, until `resume_waiting`."""
        for replica in self._replicas:
            replica.model.stop_waiting()

    def resume_waiting(self) -> None:
        """Let requests wait again."""
        for replica in self._replicas:
            replica.model.resume_waiting()

    async def _try_once(self, request: ChatRequest, again: bool) -> ChatReply:
        replica, is_probe = self._choose(request.route)
        try:
            reply = await replica.model.try_once(request, again)
        except FailedTryError as failure:
            if isinstance(failure.error, EndpointUnavailableError | EndpointTimeoutError):
                raise self._note_failure(replica, is_probe, failure) from None
            replica.note_answer()
            raise
        except StoppedWaitingError:
            raise
        except EndpointError:
            replica.note_answer()
            raise
        finally:
            if is_probe:
                replica.is_probed = False
        replica.note_answer()
        return reply

    def _choose(self, route: str) -> tuple["_Replica", bool]:
        """Return the replica (one due for a probe, the route's, or the least loaded) and whether the try is a probe."""
        now = self._clock()
        for replica in self._replicas:
            if replica.down_until is not None and now >= replica.down_until and not replica.is_probed:
                replica.is_probed = True
                return replica, True
        home = self._homes.get(route)
        if home is None or home.is_down:
            # If none is live, one is tried all the same, with waits between tries, as with a single endpoint.
            home = min([r for r in self._replicas if not r.is_down] or self._replicas, key=_Replica.load)
            home.num_routed += 1
        if route:
            self._homes[route] = home
        return home, False

    def _note_failure(self, replica: "_Replica", is_probe: bool, failure: FailedTryError) -> FailedTryError:
        """Record a failure, which may take the replica down, and return the failure for the retry policy."""
        replica.num_failures += 1
        is_unreachable = isinstance(failure.error, EndpointUnreachableError)
        # Failures of requests that were in flight when it went down count no more.
        if is_probe or (not replica.is_down and (is_unreachable or replica.num_failures >= _MAX_FAILURES)):
            replica.pause = min(_MAX_PAUSE, 2 * replica.pause or _FIRST_PAUSE)
            replica.down_until = self._clock() + replica.pause
        if not replica.is_down:
            return failure
        if any(not other.is_down for other in self._replicas):
            return FailedTryError(failure.error, failure.retry_after, at_once=True)
        error = type(failure.error)(f"{failure.error}; no replica of {self.name} is live")
        return FailedTryError(error, failure.retry_after)


@dataclass(slots=True, kw_only=True, eq=False)
class _Replica:
    """One server, and what is known of its health.

    Attributes:
        model: Its client.
        down_until: When the next probe is due; None for a live replica.
        pause: Seconds between the last failed probe and the next.
        num_failures: Failures in a row.
        num_routed: Number of routes and requests that it was chosen for.
        is_probed: Whether a probe is in flight.
    """

    model: OpenAIChatModel
    down_until: float | None = None
    pause: float = 0.0
    num_failures: int = 0
    num_routed: int = 0
    is_probed: bool = False

    @property
    def is_down(self) -> bool:
        return self.down_until is not None

    def note_answer(self) -> None:
        """Mark it as live after any answer."""
        self.num_failures, self.down_until, self.pause = 0, None, 0.0

    def load(self) -> tuple[float, int]:
        """Return its load, for comparison: requests relative to its limit, then how often it was chosen."""
        pacer = self.model.pacer
        return (pacer.in_flight + pacer.num_waiting) / (pacer.limit or _ASSUMED_LIMIT), self.num_routed
