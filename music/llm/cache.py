"""The same question is asked and paid for once: in one run by `MemoizedModel`, in all runs by `CachedModel`.

`digest_request` defines what the same question is. `ReplyCache` is a SQLite file of replies by that digest, which
several processes may share. A cache stands under the journal, which keeps its replies like any other, so that a run
does not need the cache to resume.
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
"""`MUC` and the version of what is kept, in the file's header."""
_BUSY_SECONDS = 60.0
"""How long to wait for other processes."""
_SCHEMA = f"BEGIN IMMEDIATE; {CREATE_REPLIES} PRAGMA application_id={_APPLICATION_ID}; COMMIT;"
_INSERT = INSERT_REPLY.replace("INSERT", "INSERT OR IGNORE", 1)
"""Another process may have asked the same meanwhile; the first reply stays."""


def digest_request(endpoint: str, request: ChatRequest, account: str = "") -> str:
    """Return a digest of model, messages, seed and options; the address of the endpoint is not among them.

    Args:
        endpoint: Name of the model, as `ChatModel.name`.
        request: What is asked.
        account: Whose requests are kept apart from those of others.
    """
    messages = [(message.role, message.content) for message in request.messages]
    settings = (request.seed, request.sampling, request.json_schema, request.top_logprobs)
    asked = orjson.dumps((account, models_of(endpoint), messages, *settings), option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(asked, digest_size=16).hexdigest()


class ReplyCache:
    """Replies by what was asked. Several processes may have the file open; use each object from one event loop.

    Entries are written without waiting for the disk: a machine that goes down may lose the latest.

    Args:
        path: The file, made if there is none.

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
        """Keep a reply.

        Raises:
            JournalError: It could not be written.
        """
        await self._writer.put(reply_row(key, "", reply, None))

    def lock(self, key: str) -> asyncio.Lock:
        """Return what those hold who ask for what is under a key, so that it is asked for once."""
        return self._locks.setdefault(key, asyncio.Lock())

    async def aclose(self) -> None:
        """Write what is pending, and close the file."""
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
    """A `ChatModel` that answers from a cache what is in it, and keeps there what is not.

    Requests that ask for a sample but have no seed pass through: two that are equal are to differ.

    Args:
        model: Answers what is not in the cache.
        cache: Where replies are.
        account: Told of replies that come from the cache.
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
        """Answer one request; equal ones that come at once wait for one answer.

        Raises:
            EndpointError: As the model's.
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
    """A `ChatModel` that gives the same reply again when it is asked the same again.

    No answer is paid for twice, and a comparison is fair whether or not an endpoint heeds seeds. Failures are not kept.
    The digest of a request holds what it asks and the model's name, so a journal may be resumed under other settings.

    Args:
        model: Answers what was not asked before.
        journal: Keeps the replies beyond this process; without one, they last as long as this object.
        account: What the replies are paid for; models with the same journal have different ones.
        cost: Returns what a reply cost in USD, None if its price is not known.
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
        """Answer one request; equal ones that come at once wait for one answer.

        Raises:
            EndpointError: As the model's.
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
    """Open or create the file, when other processes let it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise InvalidInputError(f"cannot open the cache {path} ({error}): give another file") from error
    # SQLite does not wait by itself where a file becomes a write-ahead one.
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
    """Make the table in an empty file; refuse one that holds anything else."""
    # In this order: another process that makes the table meanwhile sets the id in the same transaction.
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
