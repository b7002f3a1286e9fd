"""What a journal's replies and failed tries came to, by account and model."""

import sqlite3
from collections import defaultdict

from music.llm.spending.budget import Price
from music.llm.spending.tally import Tally

__all__ = ["Sums", "fix_costs", "read_sums"]

Sums = defaultdict[tuple[str, str], Tally]
"""By account and model, as the replies name it."""

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


def read_sums(connection: sqlite3.Connection) -> Sums:
    """Add up what is in the file."""
    sums: Sums = defaultdict(Tally)
    for account, model, *used in connection.execute(_PAID):
        sums[account, model].add(Tally(*used))
    for account, model, num, *used, num_estimated, estimated_tokens in connection.execute(_FAILED):
        failed = Tally(0, *used)
        failed.num_failed_tries, failed.num_estimated, failed.estimated_tokens = num, num_estimated, estimated_tokens
        sums[account, model].add(failed)
    for account, model, num, num_tokens in connection.execute(_REUSED):
        sums[account, model].add(Tally(num_reused=num, reused_tokens=num_tokens))
    return sums


def fix_costs(connection: sqlite3.Connection, account: str, model: str, price: Price) -> None:
    """Give what was paid for when its price was not known its cost, once and for all."""
    values = (price.prompt, price.cached_prompt, price.completion, account, model)
    with connection:
        connection.execute(f"UPDATE replies SET {_FIX} AND NOT is_reused", values)
        connection.execute(f"UPDATE failed_tries SET {_FIX}", values)
