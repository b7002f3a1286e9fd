"""`view`: the server of `music view`, from its start until it is interrupted.

What it answers is in `app`.
"""

import asyncio
import signal
import socket
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from aiohttp import web

from music.aio import run_async
from music.errors import InvalidInputError
from music.hosts import cannot_listen, is_loopback, listening_on
from music.interrupts import on_signals
from music.viewer.app import build_app
from music.viewer.background import index_in_background
from music.viewer.config import ViewerConfig
from music.viewer.database import index_path
from music.viewer.index import Index
from music.viewer.label_handlers import LabelForms
from music.viewer.labels import LabelStore, default_label_path
from music.viewer.rewards import RewardSource
from music.viewer.scoring import Scorers
from music.viewer.sources import require_sources

__all__ = ["require_host", "serve_app", "view"]

_CLOSE_SECONDS = 1.0


def view(sources: Sequence[str], config: ViewerConfig) -> None:
    """Show files and folders until interrupted or terminated; the first line of standard output is the address.

    Raises:
        InvalidInputError: There is nothing to show, or the server cannot listen on the address.
    """
    require_host(config)
    require_sources(sources)
    models = _models(config.models)
    with listening_on(config.host, config.port) as (listener, url):
        path = index_path(sources)
        labels = LabelStore(config.labels or default_label_path())
        index = Index(path, labels)
        if not index.num_records():
            from music.viewer.refresh import look_at  # a second start does not need what it imports

            look_at(path, sources)
        scorers = Scorers(models, path)
        app = build_app(index, LabelForms(labels, config.labeller), scorers, is_local=is_loopback(config.host))
        run_async(serve_app(app, listener, config, url, beside=_in_background(path, sources, scorers)))


def _models(names: Sequence[str]) -> Sequence[RewardSource]:
    if not names:
        return ()
    from music.viewer.reward_sources import reward_sources  # the first page need not wait for its imports

    return reward_sources(names)


@contextmanager
def _in_background(path: Path, sources: Sequence[str], scorers: Scorers) -> Iterator[None]:
    with index_in_background(path, sources), scorers.running():
        yield


def require_host(config: ViewerConfig) -> None:
    """Refuse an address that others can reach, unless the user wants that.

    Raises:
        InvalidInputError: The address is not loopback.
    """
    if not (is_loopback(config.host) or config.insecure):
        raise InvalidInputError(
            f"--host {config.host}: others can reach this address and would read the conversations. To allow that, "
            "give --insecure; for yourself, tunnel the port: ssh -L 8400:127.0.0.1:8400 MACHINE"
        )


async def serve_app(
    app: web.Application,
    listener: socket.socket,
    config: ViewerConfig,
    url: str,
    *,
    beside: AbstractContextManager[None],
) -> None:
    """Answer requests until SIGTERM or Ctrl-C.

    Args:
        app: The application.
        listener: A bound socket.
        config: The server's settings.
        url: Its base URL.
        beside: Entered once requests are answered, and left at the end.

    Raises:
        InvalidInputError: Another process listens on the address meanwhile.
    """
    stop = asyncio.Event()
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=_CLOSE_SECONDS)
    await runner.setup()
    with on_signals(stop.set, signal.SIGINT, signal.SIGTERM):
        try:
            try:
                await web.SockSite(runner, listener).start()
            except OSError as error:
                raise cannot_listen(config.host, config.port, error) from error
            print(url, flush=True)
            if config.open:
                webbrowser.open(url)
            with beside:
                await stop.wait()
        finally:
            await runner.cleanup()
