"""`RewardReplica`: a reward model in a worker process of Ray Serve, and `ReplicaSet`, all of them together.

Ray Serve starts the replicas, restarts those that die, scales them, and hands each request to one.
"""

import asyncio
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray import serve
from ray.serve.config import AutoscalingConfig
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError

from music.errors import MusicError
from music.ray_cluster import enter_folder
from music.serving.access import AccessRules
from music.serving.config import ServingConfig
from music.serving.http import HttpRequest, HttpResponse
from music.serving.logs import log_to_stderr
from music.serving.protocols import RefusedError
from music.serving.replicas.router import StickyRouter
from music.serving.served_model import load_served, log_served
from music.serving.service import ScoringService

__all__ = ["Checkpoint", "Metrics", "ReplicaSet", "RewardReplica", "replica_set"]

logger = logging.getLogger(__name__)

_ONGOING = 256
"""Most requests that a replica takes at once: enough for large batches, and beyond it another replica helps out."""
_ONGOING_WANTED = 32
"""Ray Serve adds replicas while each has more requests under way, and removes some while each has fewer."""
_TRIES = 2
"""How many replicas may die with one request."""
_HEALTH_SECONDS = 5.0
_LATER = {"Retry-After": "1"}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What replicas serve.

    Attributes:
        model: Folder or hub id of the reward model.
        revision: Number of reloads before.
    """

    model: str
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Metrics:
    """What a replica counted, in Prometheus' text format."""

    replica: str
    text: bytes


class RewardReplica:
    """A model in a worker process, with an engine and a service of its own.

    Args:
        model: Folder or hub id of a reward model, which all nodes see.
        config: The server's settings.
        folder: The front's current folder.
    """

    def __init__(self, model: str, config: ServingConfig, folder: str) -> None:
        enter_folder(folder)
        log_to_stderr()
        served = load_served(model, config)
        log_served(served, config)
        # The front has checked who asks.
        self._service = ScoringService(served, config, AccessRules(None, is_local=False))
        self._running = asyncio.ensure_future(self._service.run())
        self._revision, self._loading = 0, asyncio.Lock()
        self._name: str = serve.get_replica_context().replica_id.unique_id

    async def answer(self, method: str, path: str, body: bytes, checkpoint: Checkpoint, route: str) -> HttpResponse:
        """Answer a request.

        Args:
            method: Its method.
            path: Its path.
            body: Its body.
            checkpoint: What the replicas serve. One that was started later loads it first.
            route: Which replica takes the request; see `StickyRouter`.

        Raises:
            RefusedError: The checkpoint cannot be loaded.
        """
        await self.load(checkpoint)

        async def read() -> bytes:
            return body

        response = await self._service.handle(HttpRequest(method, path, {}, read))
        headers = {**response.headers, "X-Music-Replica": self._name}
        return HttpResponse(response.status, response.body, response.content_type, headers, response.reason)

    async def load(self, checkpoint: Checkpoint) -> str:
        """Serve a checkpoint, unless it is served already; return the model's fingerprint.

        Raises:
            RefusedError: It cannot be loaded; the old one stays.
        """
        async with self._loading:
            if self._revision < checkpoint.revision:
                await self._service.reloader.load(checkpoint.model)
                self._revision = checkpoint.revision
        return self._service.engine.served.fingerprint

    async def count(self) -> Metrics:
        """Return what was counted."""
        return Metrics(self._name, self._service.metrics.text())

    async def check_health(self) -> None:
        """Raise the engine's error if it broke; Ray Serve then starts another replica instead."""
        if self._running.done():
            self._running.result()


class ReplicaSet:
    """The replicas of one server.

    Args:
        handle: Ray Serve's handle of the replicas.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def answer(self, method: str, path: str, body: bytes, checkpoint: Checkpoint, route: str) -> HttpResponse:
        """Let a replica answer a request, and another one if it dies; see `RewardReplica`.

        If the caller is cancelled, the replica stops working on the request.

        Raises:
            RefusedError: All replicas have enough to do, two died of this request, or one cannot load the checkpoint.
        """
        for _ in range(_TRIES):
            response = self._handle.answer.remote(method, path, body, checkpoint, route=route)
            try:
                answer: HttpResponse = await response
                return answer
            except asyncio.CancelledError:
                response.cancel()
                raise
            except BackPressureError:
                raise RefusedError(429, "queue_full", "more requests wait than replicas can take", _LATER) from None
            except ray.exceptions.RayTaskError as error:
                raise error.cause if isinstance(error.cause, RefusedError) else error from None
            except (ray.exceptions.RayActorError, DeploymentUnavailableError, ReplicaUnavailableError) as error:
                logger.warning("%s: a replica was lost (%s)", path, type(error).__name__)
        raise RefusedError(503, "replica_lost", "the replicas with this request died; send it again later", _LATER)

    async def load(self, checkpoint: Checkpoint) -> list[str | Exception]:
        """Let every replica serve a checkpoint; return the fingerprint of each, or why it could not load it."""
        return await self._broadcast("load", checkpoint)

    async def count(self) -> list[Metrics]:
        """Return what each replica counted; one that died meanwhile is left out."""
        return [each for each in await self._broadcast("count") if isinstance(each, Metrics)]

    async def _broadcast(self, method: str, *arguments: object) -> list[Any]:
        try:
            return list(await self._handle.broadcast(method, *arguments).results_async(return_exceptions=True))
        except DeploymentUnavailableError:
            return []


@contextmanager
def replica_set(
    name: str, model: str, config: ServingConfig, *, bounds: tuple[int, int], share: Mapping[str, float]
) -> Iterator[ReplicaSet]:
    """Start replicas on the cluster that this process has joined; they stop with the block.

    Args:
        name: The name of their application in Ray Serve. One that was left behind under this name is replaced.
        model: Folder or hub id of a reward model, which all nodes see.
        config: The server's settings.
        bounds: Lowest and highest number of replicas.
        share: What a replica takes of the cluster, such as `{"num_gpus": 1}`.

    Raises:
        MusicError: The replicas could not be started.
    """
    was_there = any(each["namespace"] == "serve" for each in ray.util.list_named_actors(all_namespaces=True))
    deployment: Any = serve.deployment(
        RewardReplica,
        **_number(*bounds),
        ray_actor_options=dict(share),
        max_ongoing_requests=_ONGOING,
        max_queued_requests=config.max_queued,
        graceful_shutdown_timeout_s=config.drain_seconds,
        graceful_shutdown_wait_loop_s=0.1,
        health_check_period_s=_HEALTH_SECONDS,
        request_router_config={"request_router_class": StickyRouter},
        logging_config={"enable_access_log": False},
    )
    if not was_there:
        serve.start(proxy_location="Disabled")
    try:
        yield ReplicaSet(_run(name, deployment.bind(model, config, os.getcwd())))
    finally:
        serve.delete(name)
        if not (was_there or serve.status().applications):
            serve.shutdown()  # type: ignore[no-untyped-call]


def _run(name: str, application: Any) -> Any:
    # No route: the proxies of the cluster must not serve what the front protects.
    try:
        return serve.run(application, name=name, route_prefix=None)
    except RuntimeError as error:
        told = [each.message for each in serve.status().applications[name].deployments.values() if each.message]
        raise MusicError(
            f"Ray Serve could not start the replicas: {_reason(told[0] if told else str(error))}"
        ) from error


def _reason(message: str) -> str:
    """Return the error at the end of a traceback, without its type if it is one of ours."""
    last = message.strip().splitlines()[-1]
    kind, _, text = last.partition(": ")
    return text if kind.startswith(MusicError.__module__) else last


def _number(lowest: int, highest: int) -> dict[str, Any]:
    if lowest == highest:
        return {"num_replicas": lowest}
    scaling = AutoscalingConfig(min_replicas=lowest, max_replicas=highest, target_ongoing_requests=_ONGOING_WANTED)
    return {"autoscaling_config": scaling}
