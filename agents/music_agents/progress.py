"""The progress of a run: what it has done so far, and whether it was asked to stop."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from music.llm.chat import ChatModel, ChatReply, ChatRequest
from music_agents.failures import FailureReason, RoleFailedError

__all__ = ["MeteredModel", "RunProgress", "stop_on_signals"]


@dataclass(slots=True)
class RunProgress:
    """Live counts of one session.

    Attributes:
        num_wanted: Pairs that the run is to have in the end.
        num_pairs: Pairs that it has, those of earlier sessions included.
        num_earlier: Of them, those of earlier sessions.
        failures: Failed pairs by reason, those of earlier sessions included.
        num_calls: Calls that were sent and answered in this session; replayed ones do not count.
        num_tokens: Tokens of those calls, prompt and completion together.
        started: When the session began, by `time.monotonic`.
        stopping: Whether no call is to be sent any more.
    """

    num_wanted: int = 0
    num_pairs: int = 0
    num_earlier: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    num_calls: int = 0
    num_tokens: int = 0
    started: float = field(default_factory=time.monotonic)
    stopping: bool = False

    @property
    def seconds(self) -> float:
        """Seconds since the session began."""
        return time.monotonic() - self.started

    def stop(self) -> None:
        """Ask the run to stop: calls in flight are finished and journaled, no other is sent."""
        self.stopping = True


class MeteredModel:
    """A `ChatModel` that counts its replies, and refuses to send anything once the run is to stop."""

    def __init__(self, inner: ChatModel, progress: RunProgress) -> None:
        self._inner = inner
        self._progress = progress

    @property
    def name(self) -> str:
        """The inner model's name."""
        return self._inner.name

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request.

        Raises:
            RoleFailedError: The run was asked to stop.
            EndpointError: As the inner model's.
        """
        if self._progress.stopping:
            raise RoleFailedError("the run was stopped", FailureReason.INTERRUPTED)
        reply = await self._inner.complete(request)
        self._progress.num_calls += 1
        self._progress.num_tokens += reply.prompt_tokens + reply.completion_tokens
        return reply

    async def aclose(self) -> None:
        """Release the inner model."""
        await self._inner.aclose()


@contextmanager
def stop_on_signals(progress: RunProgress) -> Iterator[None]:
    """Let Ctrl-C (or SIGTERM) stop the run in order for as long as the block lasts; the second one cuts it short."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def handle() -> None:
        if progress.stopping:
            task.cancel()
        progress.stop()

    handled: list[signal.Signals] = []
    with suppress(NotImplementedError):  # Windows: no signal handlers on the loop; Ctrl-C cancels there
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, handle)
            handled.append(number)
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
