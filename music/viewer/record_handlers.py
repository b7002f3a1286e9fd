"""`RecordHandlers`: the page of one record."""

import asyncio
from collections.abc import Sequence

from aiohttp import web

from music.viewer.addresses import ServerUrls
from music.viewer.charts import RewardView, reward_view
from music.viewer.index import Index
from music.viewer.label_handlers import LabelForms
from music.viewer.query import Query
from music.viewer.record_page import RecordPage, record_page
from music.viewer.records import Kind, Record
from music.viewer.scoring import Scorers

__all__ = ["RecordHandlers"]


class RecordHandlers:
    """Answers requests for records.

    Args:
        index: The index.
        urls: The addresses of the pages.
        forms: The forms of the labels of its pairs.
        scorers: The models whose rewards are shown.
    """

    def __init__(self, index: Index, urls: ServerUrls, forms: LabelForms, scorers: Scorers) -> None:
        self._index, self._urls, self._forms, self._scorers = index, urls, forms, scorers

    async def record(self, request: web.Request) -> web.Response:
        """Answer with a record."""
        page = await asyncio.to_thread(self._page, request.match_info["key"], Query.of(request.query))
        if page is None:
            raise web.HTTPNotFound(text="This conversation is not in the files any more.")
        return web.Response(text=page, content_type="text/html")

    def _page(self, key: str, query: Query) -> str | None:
        record = self._index.record(key)
        if record is None:
            return None
        is_pair = record.kind is Kind.PAIR
        page = RecordPage(
            key=key,
            record=record,
            query=query,
            neighbours=self._index.neighbours(key, query),
            label_form=self._forms.of(key, self._urls.label(key, query)) if is_pair else None,
            rewards=self._rewards(key, record) if is_pair else (),
        )
        return record_page(page, self._urls)

    def _rewards(self, key: str, record: Record) -> Sequence[RewardView]:
        """Return what is known of a pair's rewards; the rest is scored next."""
        views = []
        for scorer in self._scorers.all:
            rewards = self._index.rewards(scorer.fingerprint, key)
            views.append(reward_view(scorer.name, rewards, record, scorer.state))
            if rewards is None:
                scorer.first([key])
        return views
