"""The 64-bit hash of a row, as SQL that both databases can run.

Two ways to the same evidence. The fast one hashes a record of the values themselves, and is for two Postgres
servers of one major version and one encoding. Record hashes are linear in their columns: the sum of plain
record hashes does not notice one column swapped between two rows, so each passes through ``hashint8extended``
once more. The canonical one is the md5 of the UTF-8 bytes of every value's text, each led by its length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg import sql

from sinew.compile.facts import PgType

HashMode = Literal["fast", "text"]

# Types whose equal hashes mean equal values. Absent on purpose: floats (-0 equals 0), interval (24 h equals
# 1 day), numeric without a scale (1.0 equals 1.00), jsonb (numbers in it), arrays (bounds), enums (hashed
# by an oid that differs between databases).
_FAITHFUL = frozenset(
    [
        "bool",
        "int2",
        "int4",
        "int8",
        "oid",
        "uuid",
        "bytea",
        "date",
        "time",
        "timestamp",
        "timestamptz",
    ]
    + ["text", "varchar"]
)
_FAITHFUL_WHEN_SIZED = frozenset(["numeric", "bpchar"])


@dataclass(frozen=True)
class Hashed:
    """One value that goes into a row's hash."""

    value: sql.Composable
    type: PgType
    deterministic: bool = True


def hashes_faithfully(type_: PgType, deterministic: bool = True) -> bool:
    """Whether the server's own hash tells any two different values of this type apart."""
    if type_.name in _FAITHFUL_WHEN_SIZED:
        return type_.modifier >= 4 and deterministic
    return type_.name in _FAITHFUL and deterministic


def row_hash(columns: Sequence[Hashed], mode: HashMode) -> sql.Composed:
    """SQL (int8) that hashes the given values in their order; NULL and '' differ."""
    return _fast(columns) if mode == "fast" else _canonical(columns)


def _fast(columns: Sequence[Hashed]) -> sql.Composed:
    values = [
        column.value
        if hashes_faithfully(column.type, column.deterministic)
        else sql.SQL('({})::text COLLATE "C"').format(column.value)
        for column in columns
    ]
    return sql.SQL("hashint8extended(hash_record_extended(ROW({}), 0), 1)").format(
        sql.SQL(", ").join(values)
    )


def _canonical(columns: Sequence[Hashed]) -> sql.Composed:
    texts = [
        # bpchar's cast to text strips the padding that the type adds, on both sides alike.
        sql.SQL("coalesce(length(({0})::text) || ':' || ({0})::text, '-')").format(column.value)
        for column in columns
    ]
    return sql.SQL("('x' || left(md5(convert_to({}, 'UTF8')), 16))::bit(64)::bigint").format(
        _joined(texts)
    )


def _joined(texts: Sequence[sql.Composable]) -> sql.Composable:
    """All texts with commas between, halves first: joined one after another, a wide value would be copied
    once for every column that follows it."""
    if len(texts) < 2:
        return texts[0] if texts else sql.SQL("''")
    middle = len(texts) // 2
    return sql.SQL("({} || ',' || {})").format(_joined(texts[:middle]), _joined(texts[middle:]))
