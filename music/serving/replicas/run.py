"""`serve_replicas`: a reward server with replicas on a Ray cluster, until it is stopped."""

import logging
import os
import socket
import sys
from collections.abc import Mapping
from functools import partial

from music.aio import run_async
from music.errors import InvalidInputError
from music.ray_cluster import ray_cluster
from music.serving.access import AccessRules
from music.serving.config import ServingConfig
from music.serving.logs import log_to_stderr
from music.serving.replicas.config import ReplicaConfig
from music.serving.server import listening, run_service

__all__ = ["serve_replicas"]

logger = logging.getLogger(__name__)


def serve_replicas(model: str, config: ServingConfig, replicas: ReplicaConfig, *, with_parent: bool = False) -> None:
    """Serve a reward model until interrupted or terminated; the first line of standard output is the base URL.

    This process takes the requests; workers of the cluster compute. At the end the replicas stop. A cluster that was
    started here ends; another one stays as it was.

    Args:
        model: The model's folder.
        config: The server's settings.
        replicas: How many replicas there are.
        with_parent: As in `music.serving.server.serve`.

    Raises:
        InvalidInputError: Ray Serve is not installed, there is no such cluster, the server cannot listen on the
            address, or needs a key.
        MusicError: The replicas could not be started.
    """
    try:
        from music.serving.replicas.front import ReplicaFront
        from music.serving.replicas.replica import replica_set
    except ImportError as error:
        raise InvalidInputError("--ray needs Ray Serve: pip install 'music-rm[ray]'") from error
    log_to_stderr()
    logging.getLogger("ray.serve").setLevel(logging.ERROR)  # it has a line for each client that leaves
    AccessRules.of(config)
    announce = partial(print, file=sys.stdout, flush=True)  # within the cluster, standard output is redirected
    num_cpus = max(replicas.bounds(0)[1], os.cpu_count() or 1)
    with listening(config) as (listener, url), ray_cluster(None, num_cpus) as resources:
        num_gpus = 0 if config.device == "cpu" else int(resources.get("GPU", 0))
        share = {"num_gpus": config.gpu_memory or 1.0, "num_cpus": 0.0} if num_gpus else {"num_cpus": 1.0}
        bounds = replicas.bounds(num_gpus)
        _warn_of_lack(bounds, num_gpus, resources)
        name = f"music-serve-{socket.gethostname()}-{listener.getsockname()[1]}"
        with replica_set(name, model, config, bounds=bounds, share=share) as started:
            front = ReplicaFront(started, model, config)
            logger.info("%d replicas of %s; their logs are Ray's", bounds[0], model)
            run_async(run_service(front, config, listener, partial(announce, url), with_parent=with_parent))


def _warn_of_lack(bounds: tuple[int, int], num_gpus: int, resources: Mapping[str, float]) -> None:
    """Say why the server may not start: Ray waits for resources without a word."""
    kind, there = ("GPU", num_gpus) if num_gpus else ("CPU", int(resources.get("CPU", 0)))
    if bounds[0] > there:
        logger.warning("%d replicas: the cluster has %d %ss; those beyond wait for more", bounds[0], there, kind)
