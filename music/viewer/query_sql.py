"""`condition_of` and `order_of`: what a `Query` finds, and in which order, as SQL."""

from dataclasses import dataclass

import orjson

from music.viewer.labels import UNLABELLED, LabelStore
from music.viewer.query import Query, Sort
from music.viewer.records import KEY_LENGTH

__all__ = ["COLUMNS", "TEXT_KEY", "Condition", "Order", "condition_of", "order_of"]

_ORDERS = {
    Sort.GAP: "-abs(ifnull(records.gap, 0))",
    Sort.EARLY: "ifnull(records.diverging, 1000000)",
    Sort.LATE: "-ifnull(records.diverging, -1)",
}
"""What is sorted by, upward; equal ones stay in the order of the files, which is that of their numbers."""
COLUMNS = {"kind": "kind", "data_set": "data_set", "source": "source", "turns": "turns", "diverging": "diverging"}
TEXT_KEY = f"substr(records.key, 1, {KEY_LENGTH})"


@dataclass(frozen=True, slots=True)
class Condition:
    """Which records a query finds.

    Attributes:
        tables: The tables to look in.
        where: The condition.
        values: Its values.
    """

    tables: str
    where: str
    values: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Order:
    """An order of records: by an expression, then by number; or by number alone, for which a search need not sort.

    Attributes:
        number: The column of the number.
        expression: What is sorted by, upward; empty for the number alone.
        values: The values of the expression.
        is_reversed: Whether it runs downward.
    """

    number: str
    expression: str = ""
    values: tuple[object, ...] = ()
    is_reversed: bool = False

    def terms(self, *, forward: bool = True) -> str:
        """Return the terms to order by, or to order by backward."""
        direction = "DESC" if forward == self.is_reversed else "ASC"
        return ", ".join(f"{term} {direction}" for term in (self.expression, self.number) if term)

    def beyond(self, *, forward: bool) -> str:
        """Return the condition that a record comes after a place, or before it; it has a value for each term."""
        sign = "<" if forward == self.is_reversed else ">"
        return f"({self.expression}, {self.number}) {sign} (?, ?)" if self.expression else f"{self.number} {sign} ?"


def condition_of(query: Query, labels: LabelStore | None) -> Condition:
    """Return which records a query finds; without labels, none are filtered by them."""
    tables, conditions, values = "records", ["1"], list[object]()
    if query.match:
        tables = "texts JOIN records ON records.number = texts.rowid"
        conditions.append("texts MATCH ?")
        values.append(query.match)
    for name, column in COLUMNS.items():
        if (value := getattr(query, name)) not in ("", None):
            conditions.append(f"records.{column} = ?")
            values.append(value)
    if query.strategy:
        conditions.append("instr(records.strategies, ?)")
        values.append(f"\n{query.strategy}\n")
    if query.extra:
        name, _, value = query.extra.rpartition("=") if "=" in query.extra else (query.extra, "", "")
        conditions.append(f"{TEXT_KEY} IN (SELECT key FROM extras WHERE name = ? AND ? IN ('', value))")
        values += [name, value]
    if query.label and labels:
        negation = "NOT" if query.label == UNLABELLED else ""
        conditions.append(f"records.kind = 'pair' AND {TEXT_KEY} {negation} IN (SELECT value FROM json_each(?))")
        values.append(orjson.dumps(labels.keys(query.label)).decode())
    return Condition(tables, " AND ".join(conditions), tuple(values))


def order_of(query: Query) -> Order:
    """Return the order of a query; records without an extra value come last."""
    number = "texts.rowid" if query.match else "records.number"
    if query.sort in (Sort.FILE, Sort.NEWEST):
        return Order(number, is_reversed=query.sort == Sort.NEWEST)
    if query.sort in _ORDERS:
        return Order(number, _ORDERS[Sort(query.sort)])
    name, sign = query.sort.removeprefix("-"), "" if query.sort.startswith("-") else "-"
    value = f"(SELECT value FROM extras WHERE extras.name = ? AND extras.key = {TEXT_KEY})"
    return Order(number, f"ifnull({sign}{value}, 9e999)", (name,))
