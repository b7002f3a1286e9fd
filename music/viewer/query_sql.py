"""`parts_of`: what a `Query` finds, and in which order, as SQL.

A list sorted by extra values, such as margins, has two parts: the records that have one, by an index of the values, and
behind them those that have none. So its first page, and the next record of any, need not sort the set.
"""

from dataclasses import dataclass

import orjson

from music.viewer.labels import UNLABELLED, LabelStore
from music.viewer.query import Query, Sort
from music.viewer.records import KEY_LENGTH

__all__ = ["COLUMNS", "SEARCHED", "TEXT_KEY", "Part", "condition_of", "parts_of"]

COLUMNS = ("kind", "data_set", "source", "turns", "diverging")
"""The filters that are columns of the same name."""
SEARCHED = "texts CROSS JOIN records ON records.number = texts.rowid"
"""The tables of a search; the words are looked up first."""
TEXT_KEY = f"substr(records.key, 1, {KEY_LENGTH})"
_SORTED = {
    Sort.GAP: ("abs(ifnull(records.gap, 0))", True),
    Sort.EARLY: ("ifnull(records.diverging, 1000000)", False),
    Sort.LATE: ("ifnull(records.diverging, -1)", True),
}
"""What is sorted by, as the indices of `records` have it, and whether the largest comes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some records of a list in their order: by a value, and those of equal values as in the files.

    Attributes:
        tables: The tables to look in.
        where: The condition.
        arguments: The arguments of both.
        by: The value; empty for the order of the files alone.
        is_falling: Whether the largest value, or the latest record, comes first.
        number: The column of the number in the files.
        own: The tables that give the value of one record.
        own_arguments: Their arguments.
    """

    tables: str
    where: str
    arguments: tuple[object, ...]
    by: str = ""
    is_falling: bool = False
    number: str = "records.number"
    own: str = "records"
    own_arguments: tuple[object, ...] = ()

    def select(self, columns: str) -> str:
        """Return the statement that lists some columns, with a limit and an offset as its last arguments."""
        return f"SELECT {columns} FROM {self.tables} WHERE {self.where} ORDER BY {self._order()} LIMIT ? OFFSET ?"

    def place(self) -> str:
        """Return the statement that gives the value and the number of a record by its key."""
        return f"SELECT {self.by or 'NULL'}, records.number FROM {self.own} WHERE records.key = ?"

    def beyond(self, value: object, number: int, *, forward: bool) -> tuple[str, tuple[object, ...]]:
        """Return the statement that gives the key after a place, or before it, with its further arguments."""
        following = ">" if forward != (self.is_falling and not self.by) else "<"
        condition, arguments = f"{self.number} {following} ?", tuple[object, ...]([number])
        if self.by:
            sign = ">" if forward != self.is_falling else "<"
            condition = f"{self.by} {sign}= ? AND ({self.by} {sign} ? OR {condition})"
            arguments = (value, value, number)
        order = self._order(forward=forward)
        return (
            f"SELECT records.key FROM {self.tables} WHERE {self.where} AND {condition} ORDER BY {order} LIMIT 1",
            arguments,
        )

    def end(self, *, forward: bool) -> str:
        """Return the statement that gives the first key, or the last one."""
        order = self._order(forward=forward)
        return f"SELECT records.key FROM {self.tables} WHERE {self.where} ORDER BY {order} LIMIT 1"

    def _order(self, *, forward: bool = True) -> str:
        falls = self.is_falling == forward
        if not self.by:
            return f"{self.number} {'DESC' if falls else 'ASC'}"
        return f"{self.by} {'DESC' if falls else 'ASC'}, {self.number} {'ASC' if forward else 'DESC'}"


def parts_of(query: Query, labels: LabelStore | None, *, is_rare: bool) -> list[Part]:
    """Return the parts of a list in order.

    Args:
        query: The query.
        labels: The labels that it is filtered by; None for none.
        is_rare: Whether so few records match that they are found first and then sorted.
    """
    where, values = condition_of(query, labels)
    tables, number = "records", "records.number"
    if query.match:  # by its own number, so that a search in the order of the files need not sort
        tables, number = SEARCHED, "texts.rowid"
    if query.sort in tuple(Sort):
        by, is_falling = _SORTED.get(Sort(query.sort), ("", query.sort == Sort.NEWEST))
        by = f"+{by}" if by and is_rare else by  # SQLite uses no index for it
        return [Part(tables=tables, where=where, arguments=values, by=by, is_falling=is_falling, number=number)]
    name, is_falling = query.sort.removeprefix("-"), not query.sort.startswith("-")
    if not (query.match or is_rare):
        return _by_value(where, values, name, is_falling)
    joined = f"LEFT JOIN extras ON extras.name = ? AND extras.key = {TEXT_KEY}"
    found_first = Part(
        tables=f"{tables} {joined}",
        where=where,
        arguments=(name, *values),
        by=f"ifnull(extras.value, {'-' if is_falling else ''}9e999)",
        is_falling=is_falling,
        number=number,
        own=f"records {joined}",
        own_arguments=(name,),
    )
    return [found_first]


def condition_of(query: Query, labels: LabelStore | None) -> tuple[str, tuple[object, ...]]:
    """Return the condition of a query, and its arguments."""
    conditions, values = ["1"], list[object]()
    if query.match:
        conditions.append("texts MATCH ?")
        values.append(query.match)
    for name in COLUMNS:
        if (value := getattr(query, name)) not in ("", None):
            conditions.append(f"records.{name} = ?")
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
    return " AND ".join(conditions), tuple(values)


def _by_value(where: str, values: tuple[object, ...], name: str, is_falling: bool) -> list[Part]:
    """Return the records with an extra value, by it, and those without."""
    scored = Part(
        tables="extras CROSS JOIN records ON extras.name = ? "
        "AND records.key >= extras.key AND records.key < extras.key || '.'",
        where=where,
        arguments=(name, *values),
        by="extras.value",
        is_falling=is_falling,
        own=f"records JOIN extras ON extras.name = ? AND extras.key = {TEXT_KEY}",
        own_arguments=(name,),
    )
    others = Part(
        tables="records",
        where=f"{where} AND NOT EXISTS (SELECT 1 FROM extras WHERE extras.name = ? AND extras.key = {TEXT_KEY})",
        arguments=(*values, name),
    )
    return [scored, others]
