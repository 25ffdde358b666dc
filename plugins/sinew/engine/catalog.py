"""What the catalogs of a Postgres database say, as facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from sinew.compile.facts import ColumnFact, PgType
from sinew.paths import statement


@dataclass(frozen=True)
class ServerFacts:
    """Version as ``server_version_num``, encoding, and two settings that rule a server out."""

    version: int
    encoding: str
    in_recovery: bool
    fsync: str

    @property
    def major(self) -> int:
        """Major version."""
        return self.version // 10000


@dataclass(frozen=True)
class RelationFacts:
    """One relation; ``rows`` is the planner's estimate (-1: never analysed), ``size`` in bytes."""

    oid: int
    kind: str
    rows: int
    size: int


@dataclass(frozen=True)
class UniqueIndex:
    """A unique index over plain columns of a whole table."""

    name: str
    primary: bool
    columns: tuple[str, ...]
    nullable: bool


def server(conn: psycopg.Connection) -> ServerFacts:
    """Version, encoding and state of the server."""
    row = conn.execute(statement("catalog/server")).fetchone()
    assert row is not None
    return ServerFacts(*row)


def relation(conn: psycopg.Connection, schema: str, name: str) -> RelationFacts | None:
    """One relation, or None when there is none of that name."""
    row = conn.execute(
        statement("catalog/relation"), {"schema": schema, "relation": name}
    ).fetchone()
    return RelationFacts(*row) if row else None


def has_heirs(conn: psycopg.Connection, oid: int) -> bool:
    """Whether a table that is not partitioned has children, whose rows its own indexes do not hold."""
    row = conn.execute(
        "SELECT EXISTS (SELECT FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhparent "
        "WHERE c.oid = %s AND c.relkind = 'r')",
        (oid,),
    ).fetchone()
    return row == (True,)


def columns(conn: psycopg.Connection, oid: int) -> tuple[ColumnFact, ...]:
    """The columns of a relation, in their order."""
    rows = conn.execute(statement("catalog/columns"), {"relation": oid}).fetchall()
    found = types(conn, [(row[1], row[2]) for row in rows])
    return tuple(
        ColumnFact(
            name=row[0],
            type=type_,
            nullable=row[3],
            has_default=row[4],
            generated=row[5],
            identity=row[6],
            deterministic_collation=row[7],
        )
        for row, type_ in zip(rows, found, strict=True)
    )


def numbered_columns(conn: psycopg.Connection, oid: int) -> tuple[str, ...]:
    """Columns that own a sequence: identities and serials."""
    rows = conn.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %(oid)s AND attnum > 0 AND NOT attisdropped "
        "AND pg_get_serial_sequence(%(oid)s::regclass::text, attname) IS NOT NULL ORDER BY attnum",
        {"oid": oid},
    ).fetchall()
    return tuple(name for (name,) in rows)


def unique_indexes(conn: psycopg.Connection, oid: int) -> tuple[UniqueIndex, ...]:
    """Unique indexes, primary key first."""
    rows = conn.execute(statement("catalog/unique_indexes"), {"relation": oid}).fetchall()
    return tuple(
        UniqueIndex(name, primary, tuple(cols), nullable) for name, primary, cols, nullable in rows
    )


def types(conn: psycopg.Connection, wanted: Sequence[tuple[int, int]]) -> list[PgType]:
    """Types by (oid, modifier), with the type under a domain and the element of an array."""
    if not wanted:
        return []
    rows = conn.execute(
        statement("catalog/types"),
        {"oids": [oid for oid, _ in wanted], "modifiers": [modifier for _, modifier in wanted]},
    ).fetchall()
    found = []
    for sql_, name, kind, category, modifier, builtin, base, base_modifier, element in rows:
        type_ = PgType(sql_, name, kind, category, modifier, builtin)
        if base:
            type_ = replace(type_, base=types(conn, [(base, base_modifier)])[0])
        if element:
            type_ = replace(type_, element=types(conn, [(element, modifier)])[0])
        found.append(type_)
    return found


def described(conn: psycopg.Connection, query: sql.Composable) -> tuple[ColumnFact, ...]:
    """Columns and types that a query would return; nothing is read."""
    limited = sql.SQL("SELECT * FROM ({}) AS described LIMIT 0").format(query)
    cursor = conn.execute(limited)
    result = cursor.pgresult
    assert result is not None
    wanted = [(result.ftype(i), result.fmod(i)) for i in range(result.nfields)]
    names = [(result.fname(i) or b"").decode() for i in range(result.nfields)]
    return tuple(
        ColumnFact(name, type_) for name, type_ in zip(names, types(conn, wanted), strict=True)
    )
