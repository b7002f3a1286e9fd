"""`build_app`: the addresses of the viewer, who answers them, and the rules of all answers.

No path of an address reaches the file system: pages come from the index, and the two assets are read at the start. A
server on loopback refuses names of hosts that are not loopback, since a site may let its own name point there.
"""

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from music.hosts import hostname_of, is_loopback
from music.viewer.addresses import ASSETS, ServerUrls
from music.viewer.index import Index
from music.viewer.label_handlers import LabelForms, LabelHandlers
from music.viewer.list_handlers import ListHandlers
from music.viewer.record_handlers import RecordHandlers
from music.viewer.rendering import message_page
from music.viewer.scoring import Scorers

__all__ = ["HEADERS", "build_app"]

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


def build_app(index: Index, forms: LabelForms, scorers: Scorers, *, is_local: bool = True) -> web.Application:
    """Return the application of an index.

    Args:
        index: The index.
        forms: The forms of the labels of its pairs.
        scorers: The models whose rewards are shown.
        is_local: Whether the server listens on loopback only.
    """
    urls = ServerUrls()
    lists = ListHandlers(index, urls, forms.store, scorers)
    records = RecordHandlers(index, urls, forms, scorers)
    labels = LabelHandlers(index, urls, forms, [scorer.name for scorer in scorers.all])
    app = web.Application(middlewares=[_page_rules(urls, is_local)], client_max_size=2**16)
    app.router.add_get("/", lists.listing)
    app.router.add_get("/live", lists.run)
    app.router.add_get("/status", lists.status)
    app.router.add_get("/record/{key}", records.record)
    app.router.add_post("/record/{key}/label", labels.save)
    app.router.add_get("/agreement", labels.agreement)
    app.router.add_get("/labels.parquet", labels.export)
    app.router.add_get("/assets/{name}", _asset_handler(urls))
    return app


def _asset_handler(urls: ServerUrls) -> Handler:
    """Return the handler that answers with the style sheet or the script."""

    async def asset(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in ASSETS:
            raise web.HTTPNotFound(text="There is no such file.")
        headers = {"Cache-Control": _KEPT}
        return web.Response(body=urls.assets[name], content_type=ASSETS[name], charset="utf-8", headers=headers)

    return asset


def _page_rules(urls: ServerUrls, is_local: bool) -> Middleware:
    """Return the middleware that refuses foreign hosts, gives a page to what is missing, and sets all headers."""

    @web.middleware
    async def apply_rules(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if is_local and not is_loopback(hostname_of(request.headers.get("Host", ""))):
                raise web.HTTPForbidden(text="expected a Host that is loopback, such as 127.0.0.1\n")
            response = await handler(request)
        except web.HTTPNotFound as error:
            response = _missing(request, error, urls)
        except web.HTTPException as error:
            error.headers.update(HEADERS)
            raise
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return apply_rules


def _missing(request: web.Request, error: web.HTTPNotFound, urls: ServerUrls) -> web.Response:
    """Return the page that says what there is not: what a handler missed, or any page at all."""
    is_handled = request.match_info.http_exception is None
    text = (is_handled and error.text) or "There is no page at this address."
    return web.Response(text=message_page("Nothing here", text, urls), content_type="text/html", status=404)
