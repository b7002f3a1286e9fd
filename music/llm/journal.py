"""The journal: every reply that was paid for is on disk before it is used.

`Journal` is one SQLite file in WAL mode, written by one thread that commits whatever has gathered since its last
commit, so that a thousand waiting callers share one fsync. `JournaledModel` wraps any `ChatModel`: it replays the
reply of a request that is already journaled, and writes each new one before it returns it.

A journal belongs to one run. It keeps the run's fingerprint (its settings) and opens under no other, and it is locked
by the process that has it open.
"""

import asyncio
import json
import sqlite3
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from music.errors import InvalidInputError, MusicError
from music.llm.chat import ChatModel, ChatReply, ChatRequest, ReplyOutcome
from music.pairs import Usage

__all__ = ["ChangedSettingsError", "Journal", "JournalError", "JournalLockedError", "JournaledModel"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (setting TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, text TEXT NOT NULL, outcome TEXT NOT NULL, model TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, latency REAL NOT NULL
);
"""
_INSERT = "INSERT INTO replies VALUES (?, ?, ?, ?, ?, ?, ?)"
_SELECT = "SELECT text, outcome, model, prompt_tokens, completion_tokens, latency FROM replies WHERE key = ?"
_SUM = "SELECT count(*), ifnull(sum(prompt_tokens), 0), ifnull(sum(completion_tokens), 0) FROM replies"

_Row = tuple[str, str, str, str, int, int, float]


class JournalError(MusicError):
    """The journal could not be read or written."""


class JournalLockedError(JournalError):
    """Another process has the journal open."""


class ChangedSettingsError(JournalError, InvalidInputError):
    """The journal was written under other settings."""


class Journal:
    """Replies by request key, durable once `put` returns. Use it from one event loop."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._connection_lock = threading.Lock()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._earlier_keys = {key for (key,) in connection.execute("SELECT key FROM replies")}
        # Only the event loop touches these three; the thread is handed whole batches and never sees a growing list.
        self._rows: list[_Row] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._writing: asyncio.Future[None] | None = None

    @classmethod
    def open(cls, path: Path, fingerprint: Mapping[str, Any]) -> Self:
        """Open or create the journal of one run; use it as an async context manager.

        Args:
            path: The SQLite file.
            fingerprint: The run's settings, as JSON values.

        Raises:
            JournalLockedError: Another process has it open.
            ChangedSettingsError: It holds replies that came under another fingerprint.
            JournalError: The file cannot be opened, or is not a journal.
        """
        connection = _connect(path)
        try:
            _check_fingerprint(path, connection, fingerprint)
            return cls(path, connection)
        except BaseException:
            connection.close()
            raise

    def __len__(self) -> int:
        """The number of replies that earlier sessions left."""
        return len(self._earlier_keys)

    def get(self, key: str) -> ChatReply | None:
        """Return the reply that an earlier session journaled under a key, or None."""
        if key not in self._earlier_keys:
            return None
        with self._connection_lock:
            row = self._connection.execute(_SELECT, (key,)).fetchone()
        text, outcome, model, prompt_tokens, completion_tokens, latency = row
        return ChatReply(
            text=text,
            outcome=ReplyOutcome(outcome),
            model=model,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            latency=latency,
        )

    async def usage(self) -> Usage:
        """Return what all journaled replies cost, of this session and of earlier ones."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, self._sum)

    async def put(self, key: str, reply: ChatReply) -> None:
        """Write one reply; return once it is on disk.

        Raises:
            JournalError: It could not be written: the disk is full, for example, or the key is taken.
        """
        usage = (reply.prompt_tokens, reply.completion_tokens, reply.latency)
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        if not self._rows and self._writing is None:
            loop.call_soon(self._commit)  # not at once: what this round of the loop still brings shares the commit
        self._rows.append((key, reply.text, str(reply.outcome), reply.model, *usage))
        self._waiters.append(waiter)
        await waiter

    async def aclose(self) -> None:
        """Write what is pending, then close the file; safe to call twice."""
        while self._rows or self._writing is not None:
            if self._writing is None:
                self._commit()
            assert self._writing is not None
            await asyncio.wait([self._writing])
        self._writer.shutdown()
        self._connection.close()

    async def __aenter__(self) -> Self:
        """Return the journal."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the journal."""
        await self.aclose()

    def _commit(self) -> None:
        """Hand the gathered rows to the writer thread."""
        if self._writing is not None or not self._rows:
            return
        rows, self._rows = self._rows, []
        waiters, self._waiters = self._waiters, []
        self._writing = asyncio.get_running_loop().run_in_executor(self._writer, self._write, rows)
        self._writing.add_done_callback(partial(self._settle, waiters))

    def _settle(self, waiters: list[asyncio.Future[None]], written: asyncio.Future[None]) -> None:
        """Wake the callers of a batch, and start the next one."""
        self._writing = None
        error = written.exception()
        for waiter in waiters:
            if waiter.done():  # its caller was cancelled
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(_write_error(self._path, error))
        self._commit()

    def _sum(self) -> Usage:
        """Add up the table (in the writer thread)."""
        with self._connection_lock:
            row = self._connection.execute(_SUM).fetchone()
        return Usage(num_calls=row[0], prompt_tokens=row[1], completion_tokens=row[2])

    def _write(self, rows: list[_Row]) -> None:
        """Commit one batch, all of it or nothing (in the writer thread)."""
        with self._connection_lock, self._connection:
            self._connection.executemany(_INSERT, rows)


class JournaledModel:
    """A `ChatModel` that replays what the journal holds and journals what it does not.

    Requests without a key pass through.
    """

    def __init__(self, inner: ChatModel, journal: Journal) -> None:
        self._inner = inner
        self._journal = journal

    @property
    def name(self) -> str:
        """The inner model's name."""
        return self._inner.name

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request, from the journal if it was answered before.

        Raises:
            EndpointError: As the inner model's.
            JournalError: The reply came but could not be written.
        """
        if not request.key:
            return await self._inner.complete(request)
        earlier = self._journal.get(request.key)
        if earlier is not None:
            return earlier
        reply = await self._inner.complete(request)
        await self._journal.put(request.key, reply)
        return reply

    async def aclose(self) -> None:
        """Release the inner model; the journal stays open."""
        await self._inner.aclose()


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file, lock it for as long as the connection lives, and make its tables."""
    try:
        connection = sqlite3.connect(path, timeout=0, check_same_thread=False)
        try:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.executescript(_SCHEMA)
        except BaseException:
            connection.close()
            raise
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            message = f"{path} is in use by another process: wait for that run to end, or stop it"
            raise JournalLockedError(message) from error
        raise JournalError(f"cannot open the journal {path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise JournalError(f"{path} is not a journal ({error}): give another output directory") from error
    return connection


def _check_fingerprint(path: Path, connection: sqlite3.Connection, fingerprint: Mapping[str, Any]) -> None:
    """Store the fingerprint of a journal without replies; compare that of one with replies."""
    new = {setting: json.dumps(value, sort_keys=True) for setting, value in fingerprint.items()}
    if connection.execute("SELECT 1 FROM replies LIMIT 1").fetchone() is None:
        with connection:
            connection.execute("DELETE FROM meta")
            connection.executemany("INSERT INTO meta VALUES (?, ?)", new.items())
        return
    old = dict(connection.execute("SELECT setting, value FROM meta"))
    changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if changed:
        lines = "".join(f"\n  {name}: {old.get(name, 'unset')} -> {new.get(name, 'unset')}" for name in changed)
        raise ChangedSettingsError(
            f"{path.parent} holds a run with other settings:{lines}\n"
            "Run with the old settings to go on with it, or give another output directory."
        )


def _write_error(path: Path, error: BaseException) -> JournalError:
    """Say what kept a batch from being written."""
    if isinstance(error, sqlite3.IntegrityError):
        return JournalError(f"two replies under one request key in {path}: a request's key must be its own ({error})")
    wrapped = JournalError(f"could not write to {path} ({error}): make room on the disk and run again")
    wrapped.__cause__ = error
    return wrapped
