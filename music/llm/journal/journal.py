"""`Journal`: replies by request key, durable before they are used.

A journal belongs to one run. It keeps the run's fingerprint (its settings) and opens under no other, and the process
that has it open keeps others out.
"""

import sqlite3
import threading
from array import array
from bisect import bisect_left
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from music.llm.chat import ChatReply, ReplyOutcome
from music.llm.journal.database import close_database, open_database
from music.llm.journal.errors import JournalError
from music.llm.journal.fingerprint import NONE_FREE, check_fingerprint
from music.llm.journal.log import RowCount
from music.llm.journal.writer import BatchWriter, Row
from music.llm.logprobs import dump_logprobs, load_logprobs
from music.pairs import Usage

__all__ = ["Journal"]

_SELECT = "SELECT text, outcome, model, prompt_tokens, completion_tokens, latency, logprobs FROM replies WHERE key = ?"
_SUMS = "SELECT account, count(*), sum(prompt_tokens), sum(completion_tokens) FROM replies GROUP BY account"


class Journal:
    """Replies by request key, durable once `put` returns. Use it from one event loop."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._connection_lock = threading.Lock()
        # Eight bytes a key, not a set of strings: a large run has a million.
        self._earlier = array("q", sorted(hash(key) for (key,) in connection.execute("SELECT key FROM replies")))
        self._num_rows = RowCount(path, len(self._earlier))
        self._writer = BatchWriter(path, connection, self._connection_lock, self._count, self._num_rows.add)
        self._sums = {account: sums for account, *sums in connection.execute(_SUMS)}
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
            row = self._connection.execute(_SELECT, (key,)).fetchone()
        if row is None:  # another key's hash
            return None
        text, outcome, model, prompt_tokens, completion_tokens, latency, logprobs = row
        return ChatReply(
            text=text,
            outcome=ReplyOutcome(outcome),
            model=model,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            latency=latency,
            logprobs=load_logprobs(logprobs),
        )

    async def usage(self) -> dict[str, Usage]:
        """Return what all journaled replies cost by account, those of this session and of earlier ones."""
        return {
            account: Usage(num_calls=num_calls, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
            for account, (num_calls, prompt_tokens, completion_tokens) in self._sums.items()
        }

    async def put(self, key: str, reply: ChatReply, account: str = "") -> None:
        """Write one reply; return once it is on disk.

        Args:
            key: Identity of the request within the run.
            reply: What was answered.
            account: What it is paid for, such as a role's name.

        Raises:
            JournalError: It could not be written: the disk is full, for example, or the key is taken.
        """
        if self._is_closed:
            raise JournalError(f"{self._path} is closed: a reply came after the end of its run")
        usage = (reply.prompt_tokens, reply.completion_tokens, reply.latency)
        logprobs = dump_logprobs(reply.logprobs)
        await self._writer.put((key, account, reply.text, str(reply.outcome), reply.model, *usage, logprobs))

    async def aclose(self) -> None:
        """Write what is pending, then close the file; safe to call twice.

        Cancelled, it still writes and closes, and holds up the loop while it does.
        """
        try:
            await self._writer.drain()
        finally:
            if not self._is_closed:
                self._is_closed = True
                self._writer.close()
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

    def _count(self, row: Row) -> None:
        """Enter a written row into its account."""
        account, prompt_tokens, completion_tokens = row[1], row[5], row[6]
        sums = self._sums.setdefault(account, [0, 0, 0])
        sums[0] += 1
        sums[1] += prompt_tokens
        sums[2] += completion_tokens
