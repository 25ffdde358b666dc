"""A list of records that a request selected: filtered, sorted, and read by key or by position."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from demo.shop.api.answers import ApiProblem
from demo.shop.api.store import Store
from demo.shop.api.timestamps import canonical

SORTS = ("id", "created_at", "updated_at")
# One order's lines as a relation; json_each hands out each element as its own text, to the byte.
_LINES = (
    "(SELECT json_extract(line.value, '$.number') AS id, line.value AS body"
    " FROM orders, json_each(orders.body, '$.lines') AS line WHERE orders.id = ?)"
)


@dataclass(frozen=True)
class Row:
    """One record: where it stands in the order of the list, and its JSON."""

    position: tuple[Any, ...]
    id: int
    body: bytes


@dataclass(frozen=True)
class Sort:
    """By which member, and whether the highest comes first; the id decides between equals."""

    member: str = "id"
    descending: bool = False

    @classmethod
    def read(cls, text: str) -> Sort:
        """``updated_at`` or ``-updated_at``."""
        found = cls(text.removeprefix("-"), text.startswith("-"))
        if found.member not in SORTS:
            raise ApiProblem(
                400, "bad_sort", f"sort={text!r}; allowed: {SORTS}, with - in front or not"
            )
        return found

    @property
    def members(self) -> tuple[str, ...]:
        """What a position consists of."""
        return ("id",) if self.member == "id" else (self.member, "id")

    def order(self) -> str:
        """The ORDER BY list."""
        way = " DESC" if self.descending else ""
        return ", ".join(member + way for member in self.members)

    def beyond(self) -> str:
        """The condition on rows that come after a position."""
        marks = ", ".join("?" * len(self.members))
        return f"({', '.join(self.members)}) {'<' if self.descending else '>'} ({marks})"


@dataclass(frozen=True)
class Collection:
    """The records of ``relation`` that the conditions select, in the order of ``sort``."""

    store: Store
    relation: str
    names: frozenset[str]  # the parameters that select and sort
    sort: Sort = Sort()
    conditions: tuple[str, ...] = ()
    parameters: tuple[Any, ...] = ()

    @classmethod
    def of(cls, store: Store, table: str, asked: Mapping[str, str]) -> Collection:
        """The rows of a table that a request's filters select."""
        conditions, parameters = [], []
        filters = FILTERS[table]
        for name, (condition, convert) in filters.items():
            if name in asked:
                conditions.append(condition)
                parameters.append(_converted(name, asked[name], convert))
        sort = Sort.read(asked.get("sort", "id"))
        names = frozenset({*filters, "sort"})
        return cls(store, table, names, sort, tuple(conditions), tuple(parameters))

    @classmethod
    def lines(cls, store: Store, order_id: int) -> Collection:
        """The lines of one order, by their number."""
        return cls(store, _LINES, frozenset(), parameters=(order_id,))

    def after(self, position: Sequence[Any] | None, limit: int) -> list[Row]:
        """At most ``limit`` rows that follow a position; from the first without one."""
        beyond = (self.sort.beyond(),) if position is not None else ()
        statement = f"{self._select()} {self._where(*beyond)} ORDER BY {self.sort.order()} LIMIT ?"
        return self._read(statement, (*self.parameters, *(position or ()), limit))

    def slice(self, offset: int, limit: int) -> list[Row]:
        """The rows at ``offset`` and after it, at most ``limit``."""
        wanted = self._keys()[offset : offset + limit].tolist()
        where = self._where("id IN (SELECT value FROM json_each(?))")
        parameters = (*self.parameters, str(wanted))
        return self._read(f"{self._select()} {where} ORDER BY {self.sort.order()}", parameters)

    def total(self) -> int:
        """How many rows there are just now."""
        return len(self._keys())

    def _keys(self) -> array[int]:
        statement = f"SELECT id FROM {self.relation} {self._where()} ORDER BY {self.sort.order()}"
        return self.store.keys(statement, self.parameters)

    def _select(self) -> str:
        members = ", ".join(self.sort.members)
        return f"SELECT {members}, CAST(body AS BLOB) FROM {self.relation}"

    def _where(self, *more: str) -> str:
        conditions = (*self.conditions, *more)
        return f"WHERE {' AND '.join(conditions)}" if conditions else ""

    def _read(self, statement: str, parameters: Sequence[Any]) -> list[Row]:
        return [Row(row[:-1], row[-2], row[-1]) for row in self.store.rows(statement, parameters)]


def _ids(text: str) -> str:
    return str([int(part) for part in text.split(",") if part])


# From is inclusive and to is exclusive: windows that touch neither overlap nor leave a gap.
_EVERYWHERE: dict[str, tuple[str, Callable[[str], Any]]] = {
    "updated_from": ("updated_at >= ?", canonical),
    "updated_since": ("updated_at >= ?", canonical),
    "updated_to": ("updated_at < ?", canonical),
    "created_from": ("created_at >= ?", canonical),
    "created_to": ("created_at < ?", canonical),
    "ids": ("id IN (SELECT value FROM json_each(?))", _ids),
}
FILTERS: dict[str, dict[str, tuple[str, Callable[[str], Any]]]] = {
    "orders": {
        **_EVERYWHERE,
        "customer_id": ("customer_id = ?", int),
        "status": ("status = ?", str),
    },
    "customers": _EVERYWHERE,
    "products": _EVERYWHERE,
    "contacts": {**_EVERYWHERE, "external_id": ("external_id = ?", str)},
}


def _converted(name: str, text: str, convert: Callable[[str], Any]) -> Any:
    try:
        return convert(text)
    except ValueError as error:
        raise ApiProblem(
            400,
            "bad_filter",
            f"{name}={text!r} cannot be read ({error}); a time is RFC 3339 with an offset (+ is"
            " %2B in a URL), a date, or seconds or milliseconds since 1970; ids are numbers"
            " separated by commas",
        ) from None
