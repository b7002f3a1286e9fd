"""`ListHandlers`: the pages of many records: lists, and the run of a simulation that they come from."""

import asyncio
from collections.abc import Mapping

import orjson
from aiohttp import web

from music.viewer.addresses import ServerUrls
from music.viewer.index import Index
from music.viewer.labels import LABELLED, LabelStore
from music.viewer.list_page import ListPage, excerpt, list_page
from music.viewer.listing import Listing
from music.viewer.live import LiveRun, RunFolders
from music.viewer.query import Query
from music.viewer.records import text_key
from music.viewer.run_page import RunPage, run_page
from music.viewer.scores import margin_name
from music.viewer.scoring import Scorer, Scorers

__all__ = ["ListHandlers"]

NUM_NEWEST = 8
"""Pairs that the page of a run shows."""


class ListHandlers:
    """Answers requests for lists.

    Args:
        index: The index.
        urls: The addresses of the pages.
        labels: What people think of its pairs.
        scorers: The models whose margins are shown.
    """

    def __init__(self, index: Index, urls: ServerUrls, labels: LabelStore, scorers: Scorers) -> None:
        self._index, self._urls, self._labels, self._scorers = index, urls, labels, scorers
        self._folders = RunFolders()

    async def listing(self, request: web.Request) -> web.Response:
        """Answer with a list; an address with empty parameters, as forms make them, is led to the short one."""
        query = Query.of(request.query)
        if len(request.query) != len(query.parameters()):
            raise web.HTTPSeeOther(self._urls.list(query))
        return web.Response(text=await asyncio.to_thread(self._list, query), content_type="text/html")

    async def run(self, request: web.Request) -> web.Response:
        """Answer with a run."""
        page = await asyncio.to_thread(self._run, request.query.get("run", ""))
        if page is None:
            raise web.HTTPNotFound(text="There is no such run of music simulate among the files.")
        return web.Response(text=page, content_type="text/html")

    async def status(self, _: web.Request) -> web.Response:
        """Answer with how far reading has come, as JSON."""
        num, is_whole = await asyncio.to_thread(lambda: (self._index.num_records(), self._index.is_whole()))
        body = orjson.dumps({"num_records": num, "is_whole": is_whole})
        return web.Response(body=body, content_type="application/json")

    def _list(self, query: Query) -> str:
        listing = self._index.listing(query)
        runs = self._runs()
        keys = {each.key: text_key(each.key) for each in listing.records}
        self._scorers.first(list(keys))
        page = ListPage(
            query=query,
            run=runs[0] if runs else None,
            listing=listing,
            excerpts=self._excerpts(listing, query),
            options=self._index.options(),
            files=self._index.files(),
            num_records=self._index.num_records(),
            is_whole=self._index.is_whole(),
            labels={key: self._labels.of(text) for key, text in keys.items()},
            num_labelled=len(self._index.present(self._labels.keys(LABELLED))),
            margins={scorer.name: self._margins(scorer.name, keys) for scorer in self._scorers.all},
            scoring={scorer.name: _progress(scorer) for scorer in self._scorers.all if not scorer.is_done},
        )
        return list_page(page, self._urls)

    def _run(self, folder: str) -> str | None:
        runs = self._runs()
        run = next((each for each in runs if folder in ("", str(each.folder))), None)
        if run is None:
            return None
        newest = self._index.newest_pairs(str(run.folder), NUM_NEWEST)
        others = [each for each in runs if each is not run]
        return run_page(RunPage(run=run, others=others, newest=newest), self._urls)

    def _runs(self) -> list[LiveRun]:
        return self._folders.runs(file.path for file in self._index.files())

    def _excerpts(self, listing: Listing, query: Query) -> dict[str, str]:
        """Return by key the part of the text that was searched for."""
        if not query.match:
            return {}
        records = ((each.key, self._index.record(each.key)) for each in listing.records)
        return {key: excerpt(record, query) for key, record in records if record}

    def _margins(self, model: str, keys: Mapping[str, str]) -> dict[str, float]:
        found = self._index.values(margin_name(model), keys.values())
        return {key: found[text] for key, text in keys.items() if text in found}


def _progress(scorer: Scorer) -> str:
    return scorer.problem or f"{scorer.num_scored:,} pairs scored so far"
