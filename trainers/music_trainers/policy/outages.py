"""`Outages`: a run waits while its user, its reward or its judge cannot be reached, up to a bound."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import ParamSpec, TypeVar

from music.errors import MusicError
from music.llm.chat import (
    ChatModel,
    ChatReply,
    ChatRequest,
    EndpointError,
    EndpointTimeoutError,
    EndpointUnavailableError,
    RateLimitedError,
)

__all__ = ["OutageError", "Outages"]

P = ParamSpec("P")
T = TypeVar("T")

OUTAGES = (EndpointUnavailableError, EndpointTimeoutError, RateLimitedError)
"""Errors that may be over later. All others are raised at once."""
PAUSE = 1.0
"""Seconds between tries here; a client has made its own tries before, with longer and longer pauses."""
REPORT_SECONDS = 60.0


class OutageError(MusicError):
    """A server could not be reached for longer than a run waits. Not an `EndpointError`: no episode ends with it."""


class Outages:
    """What a run knows of servers that it cannot reach.

    Args:
        max_seconds: Longest wait for one server.
        report: Called with a line for people when a server is lost, while it is, and when it is back.
    """

    def __init__(self, max_seconds: float, report: Callable[[str], None]) -> None:
        self._max_seconds, self._report = max_seconds, report

    def patient(self, name: str, call: Callable[P, T]) -> Callable[P, T]:
        """Return a function that waits out outages.

        Args:
            name: What it calls, for people.
            call: The function.
        """
        watch = _Watch(name, self._max_seconds, self._report)

        def patiently(*args: P.args, **kwargs: P.kwargs) -> T:
            while True:
                began = time.monotonic()
                try:
                    answer = call(*args, **kwargs)
                except OUTAGES as error:
                    watch.note_failure(error, began)
                    time.sleep(PAUSE)
                else:
                    watch.note_answer()
                    return answer

        return patiently

    def patient_model(self, name: str, model: ChatModel) -> ChatModel:
        """Return a chat model that waits out outages; closing it closes the model."""
        return _PatientModel(model, _Watch(name, self._max_seconds, self._report))


class _PatientModel:
    def __init__(self, model: ChatModel, watch: "_Watch") -> None:
        self._model, self._watch = model, watch

    @property
    def name(self) -> str:
        return self._model.name

    async def complete(self, request: ChatRequest) -> ChatReply:
        while True:
            began = time.monotonic()
            try:
                reply = await self._model.complete(request)
            except OUTAGES as error:
                self._watch.note_failure(error, began)
                await asyncio.sleep(PAUSE)
            else:
                self._watch.note_answer()
                return reply

    async def aclose(self) -> None:
        await self._model.aclose()


class _Watch:
    """One server: since when it has been away, and when that was last reported."""

    def __init__(self, name: str, max_seconds: float, report: Callable[[str], None]) -> None:
        self._name, self._max_seconds, self._report = name, max_seconds, report
        self._since: float | None = None
        self._reported = 0.0

    def note_failure(self, error: EndpointError, began: float) -> None:
        """Record a failed call.

        Raises:
            OutageError: The server has been away for too long.
        """
        now = time.monotonic()
        is_new, since = self._since is None, began if self._since is None else self._since
        self._since = since
        clock = datetime.fromtimestamp(time.time() - (now - since)).astimezone()
        away = f"{self._name} cannot be reached since {clock:%H:%M:%S}, for {now - since:.0f} s"
        if now - since >= self._max_seconds:
            raise OutageError(f"{away}: {error}") from error
        if is_new or now - self._reported >= REPORT_SECONDS:
            self._reported = now
            self._report(f"{away}: waiting up to {self._max_seconds:g} s ({error})")

    def note_answer(self) -> None:
        """Record an answer."""
        if self._since is not None:
            self._report(f"{self._name} answers again after {time.monotonic() - self._since:.0f} s")
            self._since = None
