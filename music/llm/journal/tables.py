"""The tables of a journal: replies and failed tries as rows, and sums over them by account."""

import sqlite3
from collections import Counter, defaultdict
from typing import Any

import orjson

from music.llm.chat import ChatReply, ReplyOutcome, TryUsage
from music.llm.logprobs import dump_logprobs, load_logprobs
from music.llm.spending.budget import Price
from music.llm.spending.records import Charges

__all__ = [
    "CREATE_REPLIES",
    "CREATE_TRIES",
    "INSERT_REPLY",
    "INSERT_TRY",
    "SELECT_REPLY",
    "Row",
    "Sums",
    "fix_costs",
    "load_reply",
    "read_marks",
    "read_sums",
    "reply_row",
    "try_row",
]

Row = tuple[Any, ...]
"""One row, in the order of the columns below."""
CREATE_REPLIES = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, account TEXT NOT NULL, model TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,
    cost REAL, is_reused INTEGER NOT NULL,
    text TEXT NOT NULL, outcome TEXT NOT NULL, thinking TEXT NOT NULL, cleaned TEXT NOT NULL,
    latency REAL NOT NULL, logprobs TEXT NOT NULL
);"""
CREATE_TRIES = """
CREATE TABLE IF NOT EXISTS failed_tries (
    key TEXT NOT NULL, account TEXT NOT NULL, model TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,
    cost REAL, is_estimate INTEGER NOT NULL
);"""
INSERT_REPLY = "INSERT INTO replies VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
INSERT_TRY = "INSERT INTO failed_tries VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
SELECT_REPLY = "SELECT * FROM replies WHERE key = ?"
Sums = defaultdict[tuple[str, str], Charges]
"""Sums by account and model; models have the names in their replies."""
_USED = "count(*), sum(prompt_tokens), sum(completion_tokens), sum(cached_tokens), total(cost), sum(cost IS NULL)"
_PAID = f"SELECT account, model, {_USED} FROM replies WHERE NOT is_reused GROUP BY account, model"
_REUSED = (
    "SELECT account, model, count(*), sum(prompt_tokens + completion_tokens) FROM replies "
    "WHERE is_reused GROUP BY account, model"
)
_FAILED = (
    f"SELECT account, model, {_USED}, sum(is_estimate), sum(is_estimate * (prompt_tokens + completion_tokens)) "
    "FROM failed_tries GROUP BY account, model"
)
_FIX = (
    "cost = ((prompt_tokens - cached_tokens) * ? + cached_tokens * ? + completion_tokens * ?) * 1e-6 "
    "WHERE account = ? AND model = ? AND cost IS NULL"
)
_MARKED = (
    "SELECT account, thinking != '' AS thought, cleaned, count(*) FROM replies "
    "WHERE (thought OR cleaned != '') AND NOT is_reused GROUP BY account, thought, cleaned"
)


def reply_row(key: str, account: str, reply: ChatReply, cost: float | None, latency: float = 0.0) -> Row:
    """Return a reply as a row; its latency is in seconds."""
    return (
        key,
        account,
        reply.model,
        reply.prompt_tokens,
        reply.completion_tokens,
        reply.cached_tokens,
        cost,
        reply.is_reused,
        reply.text,
        str(reply.outcome),
        reply.thinking,
        orjson.dumps(reply.cleaned).decode() if reply.cleaned else "",
        latency,
        dump_logprobs(reply.logprobs),
    )


def load_reply(row: tuple[Any, ...]) -> ChatReply:
    """Return the reply in a row."""
    _, _, model, prompt, completion, cached, _, is_reused, text, outcome, thinking, cleaned, _, logprobs = row
    return ChatReply(
        text=text,
        outcome=ReplyOutcome(outcome),
        model=model,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached,
        thinking=thinking,
        cleaned=tuple(orjson.loads(cleaned)) if cleaned else (),
        logprobs=load_logprobs(logprobs),
        is_reused=bool(is_reused),
    )


def try_row(key: str, account: str, usage: TryUsage, cost: float | None) -> Row:
    """Return a paid try that failed as a row."""
    counts = (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
    return (key, account, usage.model, *counts, cost, usage.is_estimate)


def read_sums(connection: sqlite3.Connection) -> Sums:
    """Sum the costs and counts in the file."""
    sums: Sums = defaultdict(Charges)
    for account, model, *used in connection.execute(_PAID):
        sums[account, model].add(Charges(*used))
    for account, model, num, *used, num_estimated, estimated_tokens in connection.execute(_FAILED):
        failed = Charges(0, *used)
        failed.num_failed_tries, failed.num_estimated, failed.estimated_tokens = num, num_estimated, estimated_tokens
        sums[account, model].add(failed)
    for account, model, num, num_tokens in connection.execute(_REUSED):
        sums[account, model].add(Charges(num_reused=num, reused_tokens=num_tokens))
    return sums


def fix_costs(connection: sqlite3.Connection, account: str, model: str, price: Price) -> None:
    """Set the cost of replies and tries that were paid for while their price was unknown."""
    values = (price.prompt, price.cached_prompt, price.completion, account, model)
    with connection:
        connection.execute(f"UPDATE replies SET {_FIX} AND NOT is_reused", values)
        connection.execute(f"UPDATE failed_tries SET {_FIX}", values)


def read_marks(connection: sqlite3.Connection) -> dict[str, Counter[str]]:
    """Count the replies with thinking or removed marks, by account and kind; see `ChatReply.cleaned`.

    Replies of other runs, which come from a cache, do not count.
    """
    marks: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for account, thought, cleaned, num in connection.execute(_MARKED):
        kinds = orjson.loads(cleaned) if cleaned else []
        for kind in [*kinds, *(["thinking"] if thought else [])]:
            marks[account][kind] += num
    return dict(marks)
