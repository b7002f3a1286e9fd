"""`Journal`: replies by request key, durable before they are used, and what was paid for them and for failed tries.

A journal belongs to one run. It keeps the run's fingerprint (its settings) and opens under no other, and the process
that has it open keeps others out. `JournaledModel` is a `ChatModel` that never pays for the same request twice.
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
        # Eight bytes a key, not a set of strings: a large run has a million.
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
            free: Settings that may change, as `check_fingerprint` has them.

        Raises:
            JournalLockedError: Another process has it open.
            ChangedSettingsError: It holds replies that came under another fingerprint.
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
        """The number of replies that earlier sessions left."""
        return len(self._earlier)

    def get(self, key: str) -> ChatReply | None:
        """Return the reply that an earlier session journaled under a key, or None."""
        place = bisect_left(self._earlier, hash(key))
        if place == len(self._earlier) or self._earlier[place] != hash(key):
            return None  # without the lock, which the writer holds while it waits for the disk
        with self._connection_lock:
            row = self._connection.execute(SELECT_REPLY, (key,)).fetchone()
        if row is None:  # another key's hash
            return None
        return load_reply(row)

    def spent(self, account: str) -> dict[str, Charges]:
        """Return what an account's replies and failed tries came to by model, in this session and in earlier ones."""
        return {model: tally for (owner, model), tally in self._sums.items() if owner == account}

    def fix_costs(self, account: str, model: str, price: Price) -> None:
        """Value what was paid for when its price was not known; what has a cost keeps it."""
        with self._connection_lock:
            fix_costs(self._connection, account, model, price)
            self._sums = read_sums(self._connection)

    @property
    def marks(self) -> dict[str, Counter[str]]:
        """How many replies that earlier sessions paid for held thinking, or were cleaned of what, by account."""
        with self._connection_lock:
            return read_marks(self._connection)

    async def put(
        self, key: str, reply: ChatReply, account: str = "", cost: float | None = None, latency: float = 0.0
    ) -> None:
        """Write one reply; return once it is on disk.

        Args:
            key: Identity of the request within the run.
            reply: What was answered.
            account: What it is paid for, such as a role's name.
            cost: In USD; None if it was not paid for, or its price is not known.
            latency: Seconds from the request to the reply, waiting and retries included; for people who look into the
                journal.

        Raises:
            JournalError: It could not be written: the disk is full, for example, or the key is taken.
        """
        self._check_open()
        await self._replies.put(reply_row(key, account, reply, cost, latency))

    async def charge(self, key: str, account: str, usage: TryUsage, cost: float | None) -> None:
        """Write down a try that brought no reply and is paid for; return once it is on disk.

        Args:
            key: Of the request.
            account: As for `put`.
            usage: What it used.
            cost: In USD; None if its price is not known.

        Raises:
            JournalError: It could not be written.
        """
        self._check_open()
        await self._tries.put(try_row(key, account, usage, cost))

    async def aclose(self) -> None:
        """Write what is pending, then close the file; safe to call twice.

        Cancelled, it still writes and closes, and holds up the loop while it does.
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
        """Enter a written reply into its account."""
        _, account, model, prompt_tokens, completion_tokens, cached_tokens, cost, is_reused, *_ = row
        tally = self._sums[account, model]
        if is_reused:
            tally.add_reused(prompt_tokens + completion_tokens)
        else:
            tally.add_reply(prompt_tokens, completion_tokens, cached_tokens, cost)

    def _count_try(self, row: Row) -> None:
        """Enter a written try into its account."""
        _, account, model, *used = row
        self._sums[account, model].add_failed_try(*used)


class JournaledModel:
    """A `ChatModel` that replays what the journal holds and journals what it does not.

    Replies to requests without a key are journaled for what they cost alone, and never replayed.
    """

    def __init__(
        self,
        inner: ChatModel,
        journal: Journal,
        account: str = "",
        cost: Callable[[ChatReply], float | None] = lambda _: None,
        on_replay: Callable[[ChatRequest], None] | None = None,
    ) -> None:
        """Wrap a model.

        Args:
            inner: Answers what the journal does not hold.
            journal: Where the replies are.
            account: What the replies are paid for, such as a role's name; `Journal.spent` adds up by it.
            cost: Returns what a reply cost in USD, None if its price is not known.
            on_replay: Called with each request that the journal answers.
        """
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
            EndpointError: As the inner model's.
            JournalError: The reply came but could not be written.
        """
        if request.key and (earlier := self._journal.get(request.key)) is not None:
            if self._on_replay is not None:
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
