"""`ray_cluster` joins a Ray cluster, or starts one on this machine. Ray is optional."""

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any

from music.errors import InvalidInputError

__all__ = ["enter_folder", "ray_cluster"]

_LOCAL = "local"


@contextmanager
def ray_cluster(address: str | None, num_cpus: int | None = None) -> Iterator[Mapping[str, float]]:
    """Join a Ray cluster within the block; its running tasks are killed at the end.

    Args:
        address: `auto` for the cluster of this machine, `local` for a new cluster on it, or an address. None for the
            cluster of `RAY_ADDRESS` or of this machine, or a new one if there is none.
        num_cpus: Number of CPUs of a new cluster; by default those of this machine.

    Yields:
        The resources of the cluster, such as `CPU` and `GPU`.

    Raises:
        InvalidInputError: Ray is not installed, or the address has no cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray sends usage statistics by default
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InvalidInputError("--ray needs Ray: pip install 'music-rm[ray]'") from error
    with redirect_stdout(sys.stderr):  # Ray reports dead workers on stdout, which is for the result alone
        _join(address or os.environ.get("RAY_ADDRESS"), num_cpus)
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        try:
            yield ray.cluster_resources()  # type: ignore[no-untyped-call]
        finally:
            ray.shutdown()


def _join(address: str | None, num_cpus: int | None) -> None:
    if address is None:
        with suppress(InvalidInputError):
            return _join("auto", num_cpus)
        return _join(_LOCAL, num_cpus)
    import ray

    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": logging.ERROR}
    if address == _LOCAL:  # Ray's ports listen on every interface all the same, and ask for a token
        options |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1", "num_cpus": num_cpus}
    try:
        ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InvalidInputError(
            f"--ray: expected auto, local or the address of a running cluster, got {address!r} ({error})"
        ) from error
    return None


def enter_folder(folder: str) -> None:
    """Let relative paths work in a worker as in the driver, whose current folder this is, if the node has it."""
    with suppress(OSError):
        os.chdir(folder)
