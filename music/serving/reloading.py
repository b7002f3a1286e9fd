"""`Reloader`: replaces the served model by another checkpoint while requests are answered."""

import asyncio
import logging
from collections.abc import Collection
from pathlib import Path

from music.errors import MusicError
from music.serving.config import ServingConfig
from music.serving.engine import ScoringEngine
from music.serving.logs import where
from music.serving.metrics import ServerMetrics
from music.serving.protocols import RefusedError
from music.serving.served_model import ServedModel, load_served

__all__ = ["Reloader", "require_allowed"]

logger = logging.getLogger(__name__)


class Reloader:
    """Loads checkpoints beside the served model, and swaps them.

    Requests that are under way are answered by the model that they came to. If a checkpoint cannot be loaded, the model
    stays.

    Args:
        engine: The engine whose model is replaced.
        config: The server's settings; those of scoring apply to every checkpoint.
        metrics: Counts reloads.
    """

    def __init__(self, engine: ScoringEngine, config: ServingConfig, metrics: ServerMetrics) -> None:
        self._engine = engine
        # While two models are in memory, less than usual is free for a cache.
        self._config = config.model_copy(update={"cache_tokens": engine.served.model.max_cached_tokens})
        self._metrics = metrics
        self._first = engine.served.name
        self._loading: asyncio.Task[ServedModel] | None = None

    async def reload(self, path: str | None = None) -> ServedModel:
        """Load a checkpoint and serve it, even if the caller is cancelled meanwhile.

        Args:
            path: The checkpoint; by default that of the model that is served now.

        Raises:
            RefusedError: This checkpoint may not be loaded or cannot be, or another one is being loaded.
        """
        path = self._engine.served.name if path is None else path
        require_allowed(path, self._config, {self._first, self._engine.served.name})
        return await self.load(path)

    async def load(self, path: str) -> ServedModel:
        """Load a checkpoint that is known to be allowed; see `reload`."""
        if self._loading is not None and not self._loading.done():
            raise RefusedError(409, "loading", "another checkpoint is being loaded; ask again later")
        self._loading = asyncio.create_task(self._load(path))
        self._loading.add_done_callback(_retrieve)
        return await asyncio.shield(self._loading)

    async def _load(self, path: str) -> ServedModel:
        try:
            served = await asyncio.to_thread(load_served, path, self._config)
        except Exception as error:  # noqa: BLE001 - the boundary of the process: the old model stays, and the error is reported
            self._metrics.add_reload("failed")
            logger.error("%s was not loaded: %s; the old model stays\n%s", path, type(error).__name__, where(error))
            why = str(error) if isinstance(error, MusicError) else f"{type(error).__name__}; the server's log has more"
            raise RefusedError(
                422, "not_loaded", f"the old model stays, as the new one was not loaded: {why}"
            ) from None
        self._engine.replace(served)
        self._metrics.add_reload("done")
        logger.info("%s is served now, fingerprint %s", path, served.fingerprint)
        return served


def require_allowed(path: str, config: ServingConfig, known: Collection[str]) -> None:
    """Check whether a server may load a checkpoint.

    Args:
        path: The checkpoint.
        config: The server's settings.
        known: The checkpoints that the server was started with or serves.

    Raises:
        RefusedError: It may not.
    """
    if config.frozen:
        raise RefusedError(403, "frozen", "the server was started with --frozen")
    if path in known:
        return
    if config.reload_from is None:
        names = " or ".join(map(repr, sorted(known)))
        message = f"expected {names} or no model; the server loads others if started with --reload-from DIR"
        raise RefusedError(403, "not_allowed", message)
    if not _is_folder_below(path, config.reload_from):
        raise RefusedError(403, "not_allowed", f"expected a folder below {config.reload_from}")


def _is_folder_below(path: str, root: Path) -> bool:
    try:
        own = Path(path).resolve()
        return own.is_dir() and own.is_relative_to(root.resolve())
    except (OSError, ValueError):  # a name that is too long, or has a NUL
        return False


def _retrieve(task: asyncio.Task[ServedModel]) -> None:
    """Read a task's error, as there may be nobody else: asyncio would log it."""
    if not task.cancelled():
        task.exception()
