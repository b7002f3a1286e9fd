"""`Resting`: where requests wait before they are tried again, until told to stop."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from music.llm.chat import StoppedWaitingError

__all__ = ["Resting", "let_go"]

_STOPPED = "the request was not sent: it was told to stop waiting"


class Resting:
    """The requests to one endpoint that wait to be tried again.

    Args:
        clock: The time, in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: dict[asyncio.Future[Any], float] = {}
        self._is_stopped = False

    async def rest(self, seconds: float) -> None:
        """Wait.

        Raises:
            StoppedWaitingError: It was told to stop.
        """
        self.refuse_if_stopped()
        if seconds <= 0:
            return
        waker = asyncio.get_running_loop().create_future()
        self._until[waker] = self._clock() + seconds
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await waker
        finally:
            del self._until[waker]

    def described(self) -> str:
        """Return how many wait, and until when, for people; empty if none does."""
        if not self._until:
            return ""
        seconds = max(0.0, min(self._until.values()) - self._clock())
        return f"{len(self._until)} to try again, the next in {seconds:.0f} s"

    def stop(self) -> None:
        """Let all that rest, or come to, fail by `StoppedWaitingError` until `resume`."""
        self._is_stopped = True
        let_go(self._until)

    def resume(self) -> None:
        """Let requests rest again."""
        self._is_stopped = False

    def refuse_if_stopped(self) -> None:
        """Fail if it was told to stop.

        Raises:
            StoppedWaitingError: It was.
        """
        if self._is_stopped:
            raise StoppedWaitingError(_STOPPED)


def let_go(waiters: Iterable[asyncio.Future[Any]]) -> None:
    """Let what waits fail by `StoppedWaitingError`; what waited on a loop that has ended is gone already."""
    for waiter in list(waiters):
        if not (waiter.done() or waiter.get_loop().is_closed()):
            waiter.set_exception(StoppedWaitingError(_STOPPED))
