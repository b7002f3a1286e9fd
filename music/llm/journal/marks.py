"""What was taken out of the replies that were paid for, by account."""

import sqlite3
from collections import Counter, defaultdict

import orjson

__all__ = ["read_marks"]

_MARKED = (
    "SELECT account, thinking != '' AS thought, cleaned, count(*) FROM replies "
    "WHERE (thought OR cleaned != '') AND NOT is_reused GROUP BY account, thought, cleaned"
)


def read_marks(connection: sqlite3.Connection) -> dict[str, Counter[str]]:
    """Count the replies that held thinking or were cleaned, by account and kind; see `ChatReply.cleaned`.

    Replies of other runs, which come from a cache, do not count.
    """
    marks: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for account, thought, cleaned, num in connection.execute(_MARKED):
        kinds = orjson.loads(cleaned) if cleaned else []
        for kind in [*kinds, *(["thinking"] if thought else [])]:
            marks[account][kind] += num
    return dict(marks)
