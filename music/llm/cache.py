"""Ask and pay for the same request once: within one run with `MemoizedModel`, across runs with `CachedModel`.

`digest_request` defines when two requests are the same. `ReplyCache` is a SQLite file of replies by that digest, which
several processes may share. The journal wraps the cached model and stores its replies too, so a run resumes without
the cache.
"""

import asyncio
import hashlib
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

import orjson
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

from music.errors import InvalidInputError
from music.llm.chat import ChatModel, ChatReply, ChatRequest
from music.llm.journal import Journal, JournaledModel
from music.llm.journal.errors import JournalError
from music.llm.journal.tables import CREATE_REPLIES, INSERT_REPLY, SELECT_REPLY, load_reply, reply_row
from music.llm.journal.writer import BatchWriter
from music.llm.spending.budget import models_of
from music.llm.spending.ledger import Account

__all__ = ["CachedModel", "MemoizedModel", "ReplyCache", "digest_request"]

_APPLICATION_ID = 0x4D554301
"""`MUC` and the version of the schema, in the file's header."""
_BUSY_SECONDS = 60.0
"""Seconds to wait for other processes."""
_SCHEMA = f"BEGIN IMMEDIATE; {CREATE_REPLIES} PRAGMA application_id={_APPLICATION_ID}; COMMIT;"
_INSERT = INSERT_REPLY.replace("INSERT", "INSERT OR IGNORE", 1)
"""Another process may have asked the same meanwhile; the first reply wins."""


def digest_request(endpoint: str, request: ChatRequest, account: str = "") -> str:
    """Return a digest of model, messages, seed and options, without the endpoint's address.

    Args:
        endpoint: Name of the model, as `ChatModel.name`.
        request: The request.
        account: Requests of different accounts have different digests.
    """
    messages = [(message.role, message.content) for message in request.messages]
    settings = (request.seed, request.sampling, request.json_schema, request.top_logprobs)
    asked = orjson.dumps((account, models_of(endpoint), messages, *settings), option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(asked, digest_size=16).hexdigest()


class ReplyCache:
    """Replies by the digest of their request. Several processes may open the file; use each object on one event loop.

    Entries are written without waiting for the disk, so a crash of the machine may lose the latest.

    Args:
        path: The file; it is created if it does not exist.

    Raises:
        InvalidInputError: It cannot be opened and written, or is not a cache of this version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reading, self._writing = _open(path), _open(path)  # so that reading never waits for a commit
        self._writer = BatchWriter(path, self._writing, threading.Lock(), _INSERT, lambda _: None)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def get(self, key: str) -> ChatReply | None:
        """Return the reply under a key, or None.

        Raises:
            JournalError: The file cannot be read.
        """
        try:
            row = self._reading.execute(SELECT_REPLY, (key,)).fetchone()
        except sqlite3.Error as error:
            raise JournalError(f"cannot read the cache {self._path} ({error}): delete it, or run without it") from error
        return None if row is None else replace(load_reply(row), is_reused=True)

    async def put(self, key: str, reply: ChatReply) -> None:
        """Store a reply under a key.

        Raises:
            JournalError: It could not be written.
        """
        await self._writer.put(reply_row(key, "", reply, None))

    def lock(self, key: str) -> asyncio.Lock:
        """Return the lock to hold while the reply under a key is requested, so that it is requested once."""
        return self._locks.setdefault(key, asyncio.Lock())

    async def aclose(self) -> None:
        """Write pending replies and close the file."""
        try:
            await self._writer.drain()
        finally:
            self._writer.close()
            self._reading.close()
            self._writing.close()

    async def __aenter__(self) -> Self:
        """Return the cache."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the cache."""
        await self.aclose()


class CachedModel:
    """A `ChatModel` that answers from a cache where it can, and stores new replies there.

    Requests that sample without a seed bypass the cache, since two equal ones should get different replies.

    Args:
        model: Answers requests that are not in the cache.
        cache: Stores the replies.
        account: Counts the replies that come from the cache.
        on_reuse: Called with each request that the cache answers.
    """

    def __init__(
        self,
        model: ChatModel,
        cache: ReplyCache,
        account: Account,
        on_reuse: Callable[[ChatRequest], None] = lambda _: None,
    ) -> None:
        self._model = model
        self._cache = cache
        self._account = account
        self._on_reuse = on_reuse

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.name

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request; equal requests in flight share one answer.

        Raises:
            EndpointError: The model raised it.
            JournalError: The cache cannot be read or written.
        """
        if request.seed is None and request.sampling.temperature != 0:
            return await self._model.complete(request)
        key = digest_request(self.name, request)
        async with self._cache.lock(key):
            reply = self._cache.get(key)
            if reply is None:
                reply = await self._model.complete(request)
                await self._cache.put(key, reply)
                return reply
        self._account.reuse(reply)
        self._on_reuse(request)
        return reply

    async def aclose(self) -> None:
        """Release the model; the cache stays open."""
        await self._model.aclose()


class MemoizedModel:
    """A `ChatModel` that gives equal requests the same reply.

    No answer is paid for twice, and comparisons are fair even if an endpoint ignores seeds. Failures are not stored.
    The digest covers the request and the model's name, so a journal can be resumed under other settings.

    Args:
        model: Answers new requests.
        journal: Stores the replies beyond this process; without one, they last as long as this object.
        account: The account that pays for the replies; models that share a journal need different ones.
        cost: Returns the cost of a reply in USD, None if its price is not known.
    """

    def __init__(
        self,
        model: ChatModel,
        journal: Journal | None = None,
        account: str = "",
        cost: Callable[[ChatReply], float | None] = lambda _: None,
    ) -> None:
        self._model = model if journal is None else JournaledModel(model, journal, account, cost)
        self._account = account
        self._replies: dict[str, ChatReply] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.name

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request; equal requests in flight share one answer.

        Raises:
            EndpointError: The model raised it.
            JournalError: The reply came but could not be written.
        """
        key = digest_request(self.name, request, self._account)
        async with self._locks[key]:
            if key not in self._replies:
                self._replies[key] = await self._model.complete(replace(request, key=key))
        return self._replies[key]

    async def aclose(self) -> None:
        """Release the model; the journal stays open."""
        await self._model.aclose()


def _open(path: Path) -> sqlite3.Connection:
    """Open or create the file; wait while other processes lock it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise InvalidInputError(f"cannot open the cache {path} ({error}): give another file") from error
    # SQLite's own timeout does not cover the switch to a write-ahead log.
    retrying = Retrying(
        retry=retry_if_exception(_is_busy),
        stop=stop_after_delay(_BUSY_SECONDS),
        wait=wait_random(0.01, 0.1),
        reraise=True,
    )
    try:
        retrying(_prepare, path, connection)
    except sqlite3.Error as error:
        connection.close()
        raise InvalidInputError(
            f"cannot open the cache {path} ({error}): give another file, or delete this one if it was a cache"
        ) from error
    except InvalidInputError:
        connection.close()
        raise
    return connection


def _prepare(path: Path, connection: sqlite3.Connection) -> None:
    """Create the table in an empty file; refuse a file that is not a cache."""
    # In this order: another process that creates the table meanwhile sets the id in the same transaction.
    is_empty = connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is None
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    if not is_empty and application_id != _APPLICATION_ID:
        raise InvalidInputError(
            f"{path} is not a cache of this version: give another file, or delete this one if it was a cache"
        )
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    if application_id != _APPLICATION_ID:
        connection.executescript(_SCHEMA)


def _is_busy(error: BaseException) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
