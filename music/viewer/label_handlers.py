"""`LabelHandlers`: what people think of pairs: saved from forms, compared, and exported.

A form carries a token that only the server's own pages have, so that no other site can send one. The answer comes after
the label is on disk.
"""

import asyncio
import hmac
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BytesIO

from aiohttp import web

from music.viewer.addresses import ServerUrls
from music.viewer.agreement import find_agreement
from music.viewer.export import write_labelled
from music.viewer.index import Index
from music.viewer.labels import MAX_NOTE, UNLABELLED, Label, LabelStore, Verdict
from music.viewer.query import Query
from music.viewer.record_page import LabelForm
from music.viewer.records import Kind, text_key
from music.viewer.rendering import render

__all__ = ["LabelForms", "LabelHandlers", "require_same_origin"]


class LabelHandlers:
    """Answers requests about labels.

    Args:
        index: The index.
        urls: The addresses of the pages.
        forms: The forms of the labels of its pairs.
        models: The names of the models that labels are compared with.
    """

    def __init__(self, index: Index, urls: ServerUrls, forms: "LabelForms", models: Sequence[str]) -> None:
        self._index, self._urls, self._forms, self._models = index, urls, forms, models

    async def save(self, request: web.Request) -> web.Response:
        """Save a label, then lead back to the pair."""
        record = await asyncio.to_thread(self._index.record, key := request.match_info["key"])
        if record is None or record.kind is not Kind.PAIR:
            raise web.HTTPNotFound(text="This pair is not in the files any more; the label was not saved.")
        await self._forms.save(request)
        raise web.HTTPSeeOther(f"{self._urls.record(key, Query.of(request.query))}#label")

    async def agreement(self, _: web.Request) -> web.Response:
        """Answer with the agreement of the labels."""
        return web.Response(text=await asyncio.to_thread(self._agreement), content_type="text/html")

    async def export(self, _: web.Request) -> web.Response:
        """Answer with the labelled pairs as parquet."""
        file = BytesIO()
        await asyncio.to_thread(write_labelled, file, self._index, self._forms.store)
        headers = {"Content-Disposition": 'attachment; filename="labels.parquet"'}
        return web.Response(body=file.getvalue(), content_type="application/vnd.apache.parquet", headers=headers)

    def _agreement(self) -> str:
        return render(
            "agreement.html.jinja",
            found=find_agreement(self._index, self._forms.store, self._models),
            path=self._forms.store.path,
            urls=self._urls,
            query=Query(),
            unlabelled=Query(label=UNLABELLED),
        )


class LabelForms:
    """The forms of labels: what their pages need, and saving what they carry.

    Args:
        store: Where labels are saved.
        labeller: Who labels; empty if not given.
    """

    def __init__(self, store: LabelStore, labeller: str = "") -> None:
        self.store = store
        self.token = secrets.token_urlsafe()
        self._labeller = labeller
        self._lock = asyncio.Lock()

    def of(self, key: str, action: str) -> LabelForm:
        """Return what the forms of a pair's page need."""
        return LabelForm(self.store.of(text_key(key)), self.token, action)

    async def save(self, request: web.Request) -> None:
        """Save the label that a form carries.

        Raises:
            web.HTTPException: The form is not from these pages, is not valid, or cannot be saved.
        """
        require_same_origin(request)
        fields = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
        if not hmac.compare_digest(fields.get("token", "").encode(), self.token.encode()):
            raise web.HTTPForbidden(text="The viewer was started again since this page was opened. Reload the page.\n")
        key = text_key(request.match_info["key"])
        try:
            async with self._lock:  # a note keeps the verdict that was saved just before
                label = self._read(fields, (await asyncio.to_thread(self.store.of, key)))
                await asyncio.to_thread(self.store.save, replace(label, key=key, labeller=self._labeller))
        except (sqlite3.Error, OSError) as error:
            raise web.HTTPInsufficientStorage(text=f"{self.store.path}: {error}\n") from error

    def _read(self, fields: Mapping[str, str], labels: Mapping[int, Label]) -> Label:
        """Return the label of a form; without a verdict it keeps the earlier one."""
        number, note = fields.get("turn", ""), fields.get("note", "").replace("\r\n", "\n").strip()
        if not (number.isascii() and number.isdecimal() and len(number) <= 6) or len(note) > MAX_NOTE:
            raise web.HTTPBadRequest(
                text=f"expected the number of a turn and a note of at most {MAX_NOTE} characters\n"
            )
        turn = int(number)
        if "remove" in fields:
            return Label(key="", turn=turn)
        earlier = labels[turn].verdict if turn in labels else Verdict.NONE
        try:
            verdict = Verdict(fields.get("verdict", earlier))
        except ValueError:
            raise web.HTTPBadRequest(text=f"expected one of {', '.join(filter(None, Verdict))} as verdict\n") from None
        return Label(key="", turn=turn, verdict=verdict, note=note)


def require_same_origin(request: web.Request) -> None:
    """Refuse a request that the browser says comes from another site's page.

    Raises:
        web.HTTPForbidden: It does.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    # Forms of pages without a referrer have the origin `null`; their token is what counts.
    if site not in (None, "same-origin") or origin not in (None, "null", f"{request.scheme}://{request.host}"):
        raise web.HTTPForbidden(text="expected a form of this viewer's own pages\n")
