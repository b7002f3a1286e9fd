"""`ReplicatedModel`: several servers of one model behind one `ChatModel`.

A request goes to the replica that served its route before, for the prefix cache there. A new route, and a request
without one, goes to the live replica with the least load. `music.llm.health` decides which replicas are down.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence

from cachetools import LRUCache

from music.llm.chat import ChatReply, ChatRequest
from music.llm.health import Replicas
from music.llm.openai import OpenAIChatModel
from music.llm.retry import RetryPolicy, Sleep, call_with_retries

__all__ = ["ReplicatedModel"]

_MAX_ROUTES = 100_000
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
        self._replicas = Replicas(replicas, clock)
        self._policy = policy or RetryPolicy()
        self._sleep = sleep or replicas[0].pacer.sleep
        self._homes: LRUCache[str, OpenAIChatModel] = LRUCache(_MAX_ROUTES)
        self._num_routed: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"ReplicatedModel({self.name!r})"

    @property
    def name(self) -> str:
        """The replicas, each as `MODEL@BASE_URL`, separated by commas."""
        return ",".join(model.name for model in self.endpoints)

    @property
    def endpoints(self) -> tuple[OpenAIChatModel, ...]:
        """The clients whose pace displays show."""
        return self._replicas.clients

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request; see `music.llm.chat.ChatModel`."""
        return await call_with_retries(self._try_once, request, self._policy, self._sleep)

    async def aclose(self) -> None:
        """Close all replicas."""
        for model in self.endpoints:
            await model.aclose()

    def stop_waiting(self) -> None:
        """Fail requests that are not in flight with `StoppedWaitingError`, until `resume_waiting`."""
        for model in self.endpoints:
            model.stop_waiting()

    def resume_waiting(self) -> None:
        """Let requests wait again."""
        for model in self.endpoints:
            model.resume_waiting()

    async def _try_once(self, request: ChatRequest, again: bool) -> ChatReply:
        return await self._replicas.attempt(
            lambda models: self._home(request.route, models), lambda model: model.try_once(request, again)
        )

    def _home(self, route: str, models: Sequence[OpenAIChatModel]) -> OpenAIChatModel:
        """Return the route's replica if it is among these, else the least loaded."""
        home = self._homes.get(route)
        if home is None or home not in models:
            home = min(models, key=self._load)
            self._num_routed[home.name] += 1
        if route:
            self._homes[route] = home
        return home

    def _load(self, model: OpenAIChatModel) -> tuple[float, int]:
        """Return a replica's load, for comparison: requests relative to its limit, then how often it was chosen."""
        pacer = model.pacer
        load = (pacer.in_flight + pacer.num_waiting) / (pacer.limit or _ASSUMED_LIMIT)
        return load, self._num_routed[model.name]
