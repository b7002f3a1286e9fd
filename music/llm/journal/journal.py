"""`Journal`: replies by request key, durable before they are used, and the costs of replies and failed tries.

A journal belongs to one run. It stores the run's fingerprint (its settings) and does not open with another one. Only
one process can have it open. `JournaledModel` is a `ChatModel` that never pays for the same request twice.
"""

import sqlite3
import threading
import time
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from music.llm.chat import ChatModel, ChatReply, ChatRequest, TryUsage
from music.llm.journal.database import NONE_FREE, check_fingerprint, close_database, open_database
from music.llm.journal.errors import JournalError
from music.llm.journal.log import RowCount
from music.llm.journal.tables import (
    INSERT_REPLY,
    INSERT_TRY,
    SELECT_REPLY,
    Row,
    fix_costs,
    load_reply,
    read_marks,
    read_sums,
    reply_row,
    try_row,
)
from music.llm.journal.writer import BatchWriter
from music.llm.spending.budget import Price
from music.llm.spending.records import Charges

__all__ = ["Journal", "JournaledModel"]


class Journal:
    """Replies by request key, durable once `put` returns. Use it from one event loop."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._connection_lock = threading.Lock()
        # Eight bytes per key instead of a set of strings: a large run has a million keys.
        self._earlier = array("q", sorted(hash(key) for (key,) in connection.execute("SELECT key FROM replies")))
        self._num_rows = RowCount(path, len(self._earlier))
        lock = self._connection_lock
        self._replies = BatchWriter(path, connection, lock, INSERT_REPLY, self._count, self._num_rows.add)
        self._tries = BatchWriter(path, connection, lock, INSERT_TRY, self._count_try)
        self._sums = read_sums(connection)
        self._is_closed = False

    @classmethod
    def open(cls, path: Path, fingerprint: Mapping[str, Any], free: Mapping[str, str] = NONE_FREE) -> Self:
        """Open or create the journal of one run; use it as an async context manager.

        Args:
            path: The SQLite file.
            fingerprint: The run's settings, as JSON values.
            free: Settings that may change, as in `check_fingerprint`.

        Raises:
            JournalLockedError: Another process has it open.
            ChangedSettingsError: It holds replies of another fingerprint.
            JournalError: The file cannot be opened and written, is not a journal, or is damaged.
        """
        connection = open_database(path)
        try:
            check_fingerprint(path, connection, fingerprint, free)
            return cls(path, connection)
        except BaseException:
            close_database(connection)
            raise

    def __len__(self) -> int:
        """The number of replies of earlier sessions."""
        return len(self._earlier)

    def get(self, key: str) -> ChatReply | None:
        """Return the reply that an earlier session journaled under a key, or None."""
        place = bisect_left(self._earlier, hash(key))
        if place == len(self._earlier) or self._earlier[place] != hash(key):
            return None  # decided without the lock, which the writer holds while it waits for the disk
        with self._connection_lock:
            row = self._connection.execute(SELECT_REPLY, (key,)).fetchone()
        if row is None:  # another key's hash
            return None
        return load_reply(row)

    def spent(self, account: str) -> dict[str, Charges]:
        """Return an account's sums over replies and failed tries by model, in this session and in earlier ones."""
        return {model: tally for (owner, model), tally in self._sums.items() if owner == account}

    def fix_costs(self, account: str, model: str, price: Price) -> None:
        """Set the cost of what was paid for while its price was unknown; known costs stay."""
        with self._connection_lock:
            fix_costs(self._connection, account, model, price)
            self._sums = read_sums(self._connection)

    @property
    def marks(self) -> dict[str, Counter[str]]:
        """The number of paid replies with thinking or removed marks, by account and kind."""
        with self._connection_lock:
            return read_marks(self._connection)

    async def put(
        self, key: str, reply: ChatReply, account: str = "", cost: float | None = None, latency: float = 0.0
    ) -> None:
        """Write one reply; return once it is on disk.

        Args:
            key: Identity of the request within the run.
            reply: The reply.
            account: The account that pays for it, such as a role's name.
            cost: In USD; None if it was free, or its price is not known.
            latency: Seconds from the request to the reply, including waits and retries; only for people who read the
                journal.

        Raises:
            JournalError: It could not be written: the disk is full, for example, or the key is taken.
        """
        self._check_open()
        await self._replies.put(reply_row(key, account, reply, cost, latency))

    async def charge(self, key: str, account: str, usage: TryUsage, cost: float | None) -> None:
        """Write a paid try that brought no reply; return once it is on disk.

        Args:
            key: Identity of the request within the run.
            account: The account that pays for it.
            usage: The tokens that it used.
            cost: In USD; None if its price is not known.

        Raises:
            JournalError: It could not be written.
        """
        self._check_open()
        await self._tries.put(try_row(key, account, usage, cost))

    async def aclose(self) -> None:
        """Write pending rows, then close the file; safe to call twice.

        If it is cancelled, it still writes and closes, and blocks the event loop meanwhile.
        """
        try:
            await self._replies.drain()
            await self._tries.drain()
        finally:
            if not self._is_closed:
                self._is_closed = True
                self._replies.close()
                self._tries.close()
                close_database(self._connection)
                self._num_rows.close()

    async def __aenter__(self) -> Self:
        """Return the journal."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the journal."""
        await self.aclose()

    def _check_open(self) -> None:
        if self._is_closed:
            raise JournalError(f"{self._path} is closed: a reply came after the end of its run")

    def _count(self, row: Row) -> None:
        """Add a written reply to the sums of its account."""
        _, account, model, prompt_tokens, completion_tokens, cached_tokens, cost, is_reused, *_ = row
        tally = self._sums[account, model]
        if is_reused:
            tally.add_reused(prompt_tokens + completion_tokens)
        else:
            tally.add_reply(prompt_tokens, completion_tokens, cached_tokens, cost)

    def _count_try(self, row: Row) -> None:
        """Add a written try to the sums of its account."""
        _, account, model, *used = row
        self._sums[account, model].add_failed_try(*used)


class JournaledModel:
    """A `ChatModel` that replays the replies in the journal and journals new ones.

    Replies to requests without a key are journaled only for their costs, and never replayed.

    Args:
        inner: Answers requests that the journal cannot.
        journal: Stores the replies.
        account: The account that pays for the replies, such as a role's name; `Journal.spent` sums by it.
        cost: Returns the cost of a reply in USD, None if its price is not known.
        on_replay: Called with each request that the journal answers.
    """

    def __init__(
        self,
        inner: ChatModel,
        journal: Journal,
        account: str = "",
        cost: Callable[[ChatReply], float | None] = lambda _: None,
        on_replay: Callable[[ChatRequest], None] = lambda _: None,
    ) -> None:
        self._inner = inner
        self._journal = journal
        self._account = account
        self._cost = cost
        self._on_replay = on_replay

    @property
    def name(self) -> str:
        """The inner model's name."""
        return self._inner.name

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request, from the journal if it was answered before.

        Raises:
            EndpointError: The inner model raised it.
            JournalError: The reply came but could not be written.
        """
        if request.key and (earlier := self._journal.get(request.key)) is not None:
            self._on_replay(request)
            return earlier
        asked = time.perf_counter()
        reply = await self._inner.complete(request)
        key = request.key or f"without a key/{uuid4()}"
        await self._journal.put(key, reply, self._account, self._cost(reply), time.perf_counter() - asked)
        return reply

    async def aclose(self) -> None:
        """Release the inner model; the journal stays open."""
        await self._inner.aclose()
