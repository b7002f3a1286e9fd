"""`view`: the pages on aiohttp, for this machine's browser.

No path of an address reaches the file system: pages come from the index, and the two assets are read at the start. A
server on loopback refuses names of hosts that are not loopback, since a site may let its own name point there.
"""

import asyncio
import signal
import socket
import webbrowser
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha256
from importlib import resources
from io import BytesIO
from pathlib import Path
from urllib.parse import quote, urlencode

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from music.aio import run_async
from music.errors import InvalidInputError
from music.hosts import cannot_listen, hostname_of, is_loopback, listening_on
from music.interrupts import on_signals
from music.viewer.agreement import find_agreement
from music.viewer.background import index_in_background
from music.viewer.charts import RewardView, chart_of
from music.viewer.config import ViewerConfig
from music.viewer.database import index_path
from music.viewer.export import write_labelled
from music.viewer.index import Index
from music.viewer.labelling import LabelPages
from music.viewer.labels import LABELLED, LabelStore, default_label_path
from music.viewer.live import RunFolders
from music.viewer.pages import ListPage, RecordPage, agreement_page, excerpt, list_page, message_page, record_page
from music.viewer.query import Query
from music.viewer.records import Kind, Record, text_key
from music.viewer.rewards import reward_sources
from music.viewer.run_page import RunPage, run_page
from music.viewer.scores import margin_name
from music.viewer.scoring import Scorer, Scorers
from music.viewer.sources import require_sources
from music.viewer.turns import facts_of

__all__ = ["ServerUrls", "build_app", "serve_app", "view"]

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_KEPT = "public, max-age=31536000, immutable"
"""For assets, whose addresses change with their content."""
_ASSETS = {"viewer.css": "text/css", "viewer.js": "text/javascript"}
_CLOSE_SECONDS = 1.0
NUM_NEWEST = 8
"""Pairs that the page of a run shows."""


class ServerUrls:
    """The addresses of the server's pages."""

    def __init__(self) -> None:
        folder = resources.files("music.viewer") / "assets"
        self.assets = {name: (folder / name).read_bytes() for name in _ASSETS}
        self._stamps = {name: sha256(content).hexdigest()[:8] for name, content in self.assets.items()}

    def list(self, query: Query) -> str:
        """Return the address of a list."""
        return _with_query("/", query)

    def record(self, key: str, query: Query) -> str:
        """Return the address of a record within a list."""
        return _with_query(f"/record/{quote(key, safe='')}", query)

    def agreement(self) -> str:
        """Return the address of the agreement of all labels."""
        return "/agreement"

    def export(self) -> str:
        """Return the address of the labelled pairs as a file."""
        return "/labels.parquet"

    def label(self, key: str, query: Query) -> str:
        """Return the address that the label of a pair is sent to."""
        return _with_query(f"/record/{quote(key, safe='')}/label", query)

    def run(self, folder: str) -> str:
        """Return the address of a run; of the latest one if `folder` is empty."""
        return f"/live?{urlencode({'run': folder})}" if folder else "/live"

    def asset(self, name: str) -> str:
        """Return the address of the style sheet or the script."""
        return f"/assets/{name}?{self._stamps[name]}"


class Pages:
    """The handlers of the pages of an index."""

    def __init__(self, index: Index, urls: ServerUrls, labels: LabelPages, scorers: Scorers) -> None:
        self._index, self._urls, self._labels, self._scorers = index, urls, labels, scorers
        self._folders = RunFolders()

    async def list(self, request: web.Request) -> web.Response:
        """Answer with a list; an address with empty parameters, as forms make them, is led to the short one."""
        query = Query.of(request.query)
        if len(request.query) != len(query.parameters()):
            raise web.HTTPSeeOther(self._urls.list(query))
        return _html(await asyncio.to_thread(self._list, query))

    async def record(self, request: web.Request) -> web.Response:
        """Answer with a record."""
        page = await asyncio.to_thread(self._record, request.match_info["key"], Query.of(request.query))
        return _html(page) if page else self.missing("This conversation is not in the files any more.")

    async def label(self, request: web.Request) -> web.Response:
        """Save a label, then lead back to the pair."""
        record = await asyncio.to_thread(self._index.record, key := request.match_info["key"])
        if record is None or record.kind is not Kind.PAIR:
            return self.missing("This pair is not in the files any more; the label was not saved.")
        await self._labels.save(request)
        raise web.HTTPSeeOther(f"{self._urls.record(key, Query.of(request.query))}#label")

    async def agreement(self, _: web.Request) -> web.Response:
        """Answer with the agreement of the labels."""
        return _html(await asyncio.to_thread(self._agreement))

    async def export(self, _: web.Request) -> web.Response:
        """Answer with the labelled pairs as parquet."""
        file = BytesIO()
        await asyncio.to_thread(write_labelled, file, self._index, self._labels.store)
        headers = {"Content-Disposition": 'attachment; filename="labels.parquet"'}
        return web.Response(body=file.getvalue(), content_type="application/vnd.apache.parquet", headers=headers)

    async def live(self, request: web.Request) -> web.Response:
        """Answer with a run."""
        page = await asyncio.to_thread(self._live, request.query.get("run", ""))
        return _html(page) if page else self.missing("There is no such run of music simulate among the files.")

    async def status(self, _: web.Request) -> web.Response:
        """Answer with how far reading has come, as JSON."""
        num, is_whole = await asyncio.to_thread(lambda: (self._index.num_records(), self._index.is_whole()))
        body = orjson.dumps({"num_records": num, "is_whole": is_whole})
        return web.Response(body=body, content_type="application/json")

    async def asset(self, request: web.Request) -> web.Response:
        """Answer with the style sheet or the script."""
        name = request.match_info["name"]
        if name not in _ASSETS:
            return self.missing("There is no such file.")
        headers = {"Cache-Control": _KEPT}
        return web.Response(body=self._urls.assets[name], content_type=_ASSETS[name], charset="utf-8", headers=headers)

    def missing(self, text: str) -> web.Response:
        """Answer that there is nothing at an address."""
        return _html(message_page("Nothing here", text, self._urls), status=404)

    def _list(self, query: Query) -> str:
        listing, excerpts = self._index.listing(query), dict[str, str]()
        if query.match:
            records = ((each.key, self._index.record(each.key)) for each in listing.records)
            excerpts = {key: excerpt(record, query) for key, record in records if record}
        runs = self._folders.runs(file.path for file in self._index.files())
        keys = {each.key: text_key(each.key) for each in listing.records}
        self._scorers.first(list(keys))
        page = ListPage(
            query=query,
            run=runs[0] if runs else None,
            listing=listing,
            excerpts=excerpts,
            options=self._index.options(),
            files=self._index.files(),
            num_records=self._index.num_records(),
            is_whole=self._index.is_whole(),
            labels={key: self._labels.store.of(text) for key, text in keys.items()},
            num_labelled=len(self._index.present(self._labels.store.keys(LABELLED))),
            margins={scorer.name: self._margins(scorer.name, keys) for scorer in self._scorers.all},
            scoring={scorer.name: self._progress(scorer) for scorer in self._scorers.all if not scorer.is_done},
        )
        return list_page(page, self._urls)

    def _agreement(self) -> str:
        models = [scorer.name for scorer in self._scorers.all]
        found = find_agreement(self._index, self._labels.store, models)
        return agreement_page(found, self._labels.store.path, self._urls)

    def _live(self, folder: str) -> str | None:
        runs = self._folders.runs(file.path for file in self._index.files())
        run = next((each for each in runs if folder in ("", str(each.folder))), None)
        if run is None:
            return None
        newest = self._index.newest_pairs(str(run.folder), NUM_NEWEST)
        others = [each for each in runs if each is not run]
        return run_page(RunPage(run=run, others=others, newest=newest), self._urls)

    def _record(self, key: str, query: Query) -> str | None:
        record = self._index.record(key)
        if record is None:
            return None
        form = self._labels.form(key, self._urls.label(key, query)) if record.kind is Kind.PAIR else None
        page = RecordPage(
            key=key,
            record=record,
            query=query,
            neighbours=self._index.neighbours(key, query),
            label_form=form,
            rewards=self._rewards(key, record) if record.kind is Kind.PAIR else (),
        )
        return record_page(page, self._urls)

    def _rewards(self, key: str, record: Record) -> Sequence[RewardView]:
        """Return what is known of a pair's rewards; the rest is scored next."""
        views = []
        for scorer in self._scorers.all:
            rewards = self._index.rewards(scorer.fingerprint, key)
            chart = chart_of(rewards, record, facts_of(record).diverging_turn) if rewards else None
            views.append(RewardView(name=scorer.name, rewards=rewards, chart=chart, state=scorer.state))
            if rewards is None:
                scorer.first([key])
        return views

    def _margins(self, model: str, keys: Mapping[str, str]) -> dict[str, float]:
        found = self._index.values(margin_name(model), keys.values())
        return {key: found[text] for key, text in keys.items() if text in found}

    def _progress(self, scorer: Scorer) -> str:
        return scorer.problem or f"{self._index.num_scored(scorer.fingerprint):,} pairs scored so far"


def view(sources: Sequence[str], config: ViewerConfig) -> None:
    """Show files and folders until interrupted or terminated; the first line of standard output is the address.

    Raises:
        InvalidInputError: There is nothing to show, or the server cannot listen on the address.
    """
    require_host(config)
    require_sources(sources)
    models = reward_sources(config.models)
    with listening_on(config.host, config.port) as (listener, url):
        path = index_path(sources)
        labels = LabelStore(config.labels or default_label_path())
        index = Index(path, labels)
        if not index.num_records():
            from music.viewer.indexing import look_at  # a second start has no use for all that it imports

            look_at(path, sources)
        pages = LabelPages(labels, config.labeller)
        scorers = Scorers(models, path)
        app = build_app(index, pages, scorers, is_local=is_loopback(config.host))
        run_async(serve_app(app, listener, config, url, beside=_in_background(path, sources, scorers)))


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


def build_app(index: Index, labels: LabelPages, scorers: Scorers, *, is_local: bool = True) -> web.Application:
    """Return the application of an index.

    Args:
        index: The index.
        labels: The labels of its pairs.
        scorers: The models whose rewards are shown.
        is_local: Whether the server listens on loopback only.
    """
    pages = Pages(index, ServerUrls(), labels, scorers)
    app = web.Application(middlewares=[_guarded(pages, is_local)], client_max_size=2**16)
    app.router.add_get("/", pages.list)
    app.router.add_get("/record/{key}", pages.record)
    app.router.add_post("/record/{key}/label", pages.label)
    app.router.add_get("/agreement", pages.agreement)
    app.router.add_get("/labels.parquet", pages.export)
    app.router.add_get("/live", pages.live)
    app.router.add_get("/status", pages.status)
    app.router.add_get("/assets/{name}", pages.asset)
    return app


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


def _guarded(pages: Pages, is_local: bool) -> Middleware:
    """Return the middleware that refuses foreign hosts and sets the headers of all responses."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if is_local and not is_loopback(hostname_of(request.headers.get("Host", ""))):
                raise web.HTTPForbidden(text="expected a Host that is loopback, such as 127.0.0.1\n")
            response = await handler(request)
        except web.HTTPNotFound:
            response = pages.missing("There is no page at this address.")
        except web.HTTPException as error:
            error.headers.update(HEADERS)
            raise
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return guard


def _with_query(path: str, query: Query) -> str:
    parameters = query.parameters()
    return f"{path}?{urlencode(parameters)}" if parameters else path


def _html(page: str, status: int = 200) -> web.Response:
    return web.Response(text=page, content_type="text/html", status=status)
