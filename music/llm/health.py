"""`Replicas`: which of several servers of one model takes a try, and which of them are down.

A replica is down if it refuses connections, or after three failures in a row (broken connections, time-outs, 5xx). Its
requests go to others until it answers a probe: a single request, sent after a pause that doubles each time. Rejections
(4xx) and rate limits (429) never take a replica down.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from music.errors import InvalidInputError
from music.llm.chat import (
    EndpointError,
    EndpointTimeoutError,
    EndpointUnavailableError,
    EndpointUnreachableError,
    StoppedWaitingError,
)
from music.llm.retry import FailedTryError

__all__ = ["Prefer", "Replicas"]

_MAX_FAILURES = 3
_FIRST_PAUSE = 1.0
_MAX_PAUSE = 30.0


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Client = TypeVar("Client", bound=_Named)
Answer = TypeVar("Answer")
Prefer = Callable[[Sequence[Client]], Client]
"""Chooses among the live replicas; among all if none is live."""


class Replicas(Generic[Client]):
    """The clients of several servers, and what is known of the servers' health.

    Args:
        clients: At least one; each name occurs once.
        clock: Returns the time in seconds.

    Raises:
        InvalidInputError: There are no clients, or two have the same name.
    """

    def __init__(self, clients: Sequence[Client], clock: Callable[[], float] = time.monotonic) -> None:
        names = [client.name for client in clients]
        if not names or len(set(names)) < len(names):
            raise InvalidInputError(
                f"replicas: expected one or more, each listed once, got {','.join(names) or 'none'}"
            )
        self.clients = tuple(clients)
        self._replicas = [_Replica(client) for client in clients]
        self._clock = clock

    @property
    def live(self) -> list[Client]:
        """The clients of the live replicas; all clients if none is live, as one must be tried all the same."""
        return [each.client for each in self._replicas if not each.is_down] or list(self.clients)

    async def attempt(self, prefer: Prefer[Client], call: Callable[[Client], Awaitable[Answer]]) -> Answer:
        """Await one try with the replica that is due for a probe, else with the preferred one.

        Raises:
            FailedTryError: The try failed. It is marked `at_once` if the replica is down and another one is live.
            EndpointError: The try failed, and every other one would.
        """
        replica, is_probe = self._choose(prefer)
        try:
            answer = await call(replica.client)
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
        return answer

    def _choose(self, prefer: Prefer[Client]) -> tuple["_Replica[Client]", bool]:
        """Return a replica, and whether the try is a probe."""
        now = self._clock()
        for replica in self._replicas:
            if replica.down_until is not None and now >= replica.down_until and not replica.is_probed:
                replica.is_probed = True
                return replica, True
        client = prefer(self.live)
        return next(each for each in self._replicas if each.client is client), False

    def _note_failure(self, replica: "_Replica[Client]", is_probe: bool, failure: FailedTryError) -> FailedTryError:
        """Record a failure, which may take the replica down, and return the failure for the retry policy."""
        replica.num_failures += 1
        is_unreachable = isinstance(failure.error, EndpointUnreachableError)
        # Failures of requests that were in flight when it went down count no more.
        if is_probe or (not replica.is_down and (is_unreachable or replica.num_failures >= _MAX_FAILURES)):
            replica.pause = min(_MAX_PAUSE, 2 * replica.pause or _FIRST_PAUSE)
            replica.down_until = self._clock() + replica.pause
        if not replica.is_down or len(self.clients) == 1:
            return failure
        if any(not other.is_down for other in self._replicas):
            return FailedTryError(failure.error, failure.retry_after, at_once=True)
        names = ",".join(client.name for client in self.clients)
        error = type(failure.error)(f"{failure.error}; no replica of {names} is live")
        return FailedTryError(error, failure.retry_after)


@dataclass(slots=True, eq=False)
class _Replica(Generic[Client]):
    """One server, and what is known of its health.

    Attributes:
        client: Its client.
        down_until: When the next probe is due; None for a live replica.
        pause: Seconds between the last failed probe and the next.
        num_failures: Failures in a row.
        is_probed: Whether a probe is in flight.
    """

    client: Client
    down_until: float | None = None
    pause: float = 0.0
    num_failures: int = 0
    is_probed: bool = False

    @property
    def is_down(self) -> bool:
        return self.down_until is not None

    def note_answer(self) -> None:
        """Mark it as live after any answer."""
        self.num_failures, self.down_until, self.pause = 0, None, 0.0
