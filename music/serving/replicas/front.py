"""`ReplicaFront`: takes all requests to a server with replicas, and hands each to one of them."""

import asyncio
import logging

from music.serving.access import AccessRules
from music.serving.config import ServingConfig
from music.serving.http import HttpRequest, HttpResponse, HttpService
from music.serving.metrics import join_metrics
from music.serving.openapi import ReloadResponse
from music.serving.protocols import PROTOCOLS, RefusedError
from music.serving.reloading import require_allowed
from music.serving.replicas.replica import Checkpoint, ReplicaSet
from music.serving.replicas.route import route_of

__all__ = ["ReplicaFront"]

logger = logging.getLogger(__name__)

_READY_SECONDS = 5.0


class ReplicaFront(HttpService):
    """Checks who asks and how much, as a server without replicas does; replicas do the rest.

    A request whose replica dies is given to another one.

    Args:
        replicas: The replicas.
        model: What they were started with.
        config: The server's settings.
    """

    def __init__(self, replicas: ReplicaSet, model: str, config: ServingConfig) -> None:
        pages = {
            "/health": self._health,
            "/ready": self._ready,
            "/contract": self._page,
            "/v1/models": self._page,
            "/metrics": self._counts,
            "/openapi.json": self._page,
        }
        super().__init__(config, AccessRules.of(config), pages, {each.path: self._score for each in PROTOCOLS})
        self._replicas = replicas
        self._model = model
        self._checkpoint = Checkpoint(model)
        self._loading: asyncio.Task[ReloadResponse] | None = None
        self._num_open, self._is_draining = 0, False
        self._all_answered, self._closed = asyncio.Event(), asyncio.Event()
        self._all_answered.set()

    @property
    def is_draining(self) -> bool:
        """Whether new requests are refused."""
        return self._is_draining

    @property
    def num_queued(self) -> int:
        """Number of requests that replicas have not answered."""
        return self._num_open

    async def run(self) -> None:
        """Wait until `aclose`."""
        await self._closed.wait()

    async def drain(self) -> None:
        """Refuse new requests, and wait until all others are answered."""
        self._is_draining = True
        await self._all_answered.wait()

    async def aclose(self) -> None:
        """Refuse new requests; those that replicas have end with their clients."""
        self._is_draining = True
        self._closed.set()

    async def reload(self, path: str | None = None) -> ReloadResponse:
        """Let all replicas load a checkpoint, even if the caller is cancelled meanwhile.

        One replica tries first. If it cannot load the checkpoint, all keep the old one. Replicas that are started later
        load it before their first answer.

        Raises:
            RefusedError: As for a server without replicas; or some replicas have not loaded it.
        """
        path = self._checkpoint.model if path is None else path
        require_allowed(path, self._config, {self._model, self._checkpoint.model})
        if self._loading is not None and not self._loading.done():
            raise RefusedError(409, "loading", "another checkpoint is being loaded; ask again later")
        self._loading = asyncio.create_task(self._load(Checkpoint(path, self._checkpoint.revision + 1)))
        return await asyncio.shield(self._loading)

    async def _load(self, checkpoint: Checkpoint) -> ReloadResponse:
        try:
            await self._replicas.answer("GET", "/health", b"", checkpoint, route="")
        except RefusedError:
            self.metrics.add_reload("failed")
            raise
        results = await self._replicas.load(checkpoint)
        self._checkpoint = checkpoint
        prints = {str(each) for each in results}
        if len(prints) != 1 or not all(isinstance(each, str) for each in results):
            self.metrics.add_reload("failed")
            raise RefusedError(503, "mixed", f"the replicas serve different models: {', '.join(sorted(prints))}")
        self.metrics.add_reload("done")
        logger.info("%d replicas serve %s now", len(results), checkpoint.model)
        return ReloadResponse(model=checkpoint.model, fingerprint=prints.pop())

    async def _score(self, request: HttpRequest) -> HttpResponse:
        if self._is_draining:
            raise RefusedError(503, "draining", "the server is shutting down", {"Retry-After": "1"})
        body = await self.read(request)
        self._num_open += 1
        self._all_answered.clear()
        try:
            return await self._replicas.answer("POST", request.path, body, self._checkpoint, route_of(body))
        finally:
            self._num_open -= 1
            if not self._num_open:
                self._all_answered.set()

    async def _page(self, request: HttpRequest) -> HttpResponse:
        return await self._replicas.answer("GET", request.path, b"", self._checkpoint, request.path)

    async def _health(self, _: HttpRequest) -> HttpResponse:
        return HttpResponse.of_json({"status": "ok"})

    async def _ready(self, request: HttpRequest) -> HttpResponse:
        """Ask a replica, if there is one."""
        if self._is_draining:
            raise RefusedError(503, "draining", "the server is shutting down")
        try:
            async with asyncio.timeout(_READY_SECONDS):
                return await self._page(request)
        except TimeoutError:
            raise RefusedError(503, "no_replica", f"no replica answered within {_READY_SECONDS:g} s") from None

    async def _counts(self, _: HttpRequest) -> HttpResponse:
        texts = {each.replica: each.text for each in await self._replicas.count()}
        return HttpResponse(200, join_metrics({"front": self.metrics.text(), **texts}), "text/plain")
