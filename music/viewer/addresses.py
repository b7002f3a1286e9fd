"""`ServerUrls`: the addresses of the server's pages, and the files that they load.

The style sheet and the script are read once, at the start. Their addresses change with their content.
"""

from hashlib import sha256
from importlib import resources
from urllib.parse import quote, urlencode

from music.viewer.query import Query

__all__ = ["ASSETS", "ServerUrls"]

ASSETS = {"viewer.css": "text/css", "viewer.js": "text/javascript"}
"""The files that pages load, with their types."""


class ServerUrls:
    """The addresses of the server's pages."""

    def __init__(self) -> None:
        folder = resources.files("music.viewer") / "assets"
        self.assets = {name: (folder / name).read_bytes() for name in ASSETS}
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


def _with_query(path: str, query: Query) -> str:
    parameters = query.parameters()
    return f"{path}?{urlencode(parameters)}" if parameters else path
