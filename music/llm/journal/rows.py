"""Replies and failed tries as rows of SQLite: every field survives."""

from typing import Any

import orjson

from music.llm.chat import ChatReply, ReplyOutcome, TryUsage
from music.llm.logprobs import dump_logprobs, load_logprobs

__all__ = ["CREATE_REPLIES", "CREATE_TRIES", "INSERT_REPLY", "INSERT_TRY", "SELECT_REPLY", "Row"]
__all__ += ["load_reply", "reply_row", "try_row"]

Row = tuple[Any, ...]
"""What stands in one row; the columns are below."""

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
    """Return a failed try that was paid for as a row."""
    counts = (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
    return (key, account, usage.model, *counts, cost, usage.is_estimate)
