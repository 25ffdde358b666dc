"""Tables of values, their migration, and a comparison by what the servers themselves write."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql

from sinew.engine.driver import run
from sinew.engine.session import Endpoint
from sinew.engine.steps import Context
from sinew.spec.reader import parse_mapping
from tests.kit_type_values import EXTENSIONS, VALUES

_STORABLE = """
SELECT t.typname, pg_catalog.format_type(t.oid, NULL), t.typsend <> 0 AND t.oid < 16384 AND t.typname NOT LIKE 'reg%'
FROM pg_type AS t
WHERE t.typtype IN ('b', 'r', 'm') AND t.typcategory <> 'A' AND t.typisdefined
ORDER BY 1
"""


@dataclass(frozen=True)
class Type:
    """A type by its catalog name and in DDL; ``binary``: its bytes are alike in all databases."""

    name: str
    ddl: str
    binary: bool = False


@dataclass(frozen=True)
class Stored:
    """One column of a table of values: its type, and SQL for each of its values."""

    column: str
    ddl: str
    values: tuple[sql.Composable, ...]
    binary: bool = False


@dataclass(frozen=True)
class Table:
    """A table with an integer key, and a row for every value of its columns."""

    name: str
    columns: tuple[Stored, ...]

    @property
    def sql(self) -> sql.Identifier:
        """The table, in schema public."""
        return sql.Identifier("public", self.name)

    def create(self, conn: psycopg.Connection) -> None:
        """Make it; every column but the key may be NULL."""
        body = [ddl("{} {}", sql.Identifier(c.column), c.ddl) for c in self.columns]
        conn.execute(
            ddl("CREATE TABLE {} (id integer PRIMARY KEY, {})", self.sql, sql.SQL(", ").join(body))
        )

    def fill(self, conn: psycopg.Connection) -> None:
        """One row a value, NULL in all other columns; and one row of NULLs."""
        values = [(column.column, value) for column in self.columns for value in column.values]
        conn.execute(ddl("INSERT INTO {} (id) VALUES (0)", self.sql))
        for id_, (name, value) in enumerate(values, start=1):
            conn.execute(
                ddl(
                    "INSERT INTO {} (id, {}) VALUES ({}, {})",
                    self.sql,
                    sql.Identifier(name),
                    id_,
                    value,
                )
            )

    def mapping(self) -> str:
        """The table as an entity that is copied as it is."""
        lines = [
            f"  {self.name}:",
            f"    from: {self.name}",
            "    key: [id]",
            "    columns:",
            "      id: {key: copy}",
        ]
        return "\n".join(
            [*lines, *(f"      {c.column}: {{from: {c.column}}}" for c in self.columns)]
        )

    def digests(self, conn: psycopg.Connection) -> dict[str, list[str]]:
        """What COPY writes of each column, in text and, where it can be compared, in binary."""
        forms = {
            column.column: ["", " (FORMAT BINARY)"][: 1 + column.binary] for column in self.columns
        }
        return {
            name: [self._digest(conn, name, form) for form in some] for name, some in forms.items()
        }

    def _digest(self, conn: psycopg.Connection, name: str, form: str) -> str:
        query = "COPY (SELECT id, {0} FROM {1} WHERE {0} IS NOT NULL ORDER BY id) TO STDOUT{2}"
        digest = hashlib.sha256()
        with conn.cursor().copy(ddl(query, sql.Identifier(name), self.sql, form)) as out:
            for chunk in out:
                digest.update(chunk)
        return digest.hexdigest()


def extend(conn: psycopg.Connection) -> None:
    """Give a database the types of the extensions."""
    for extension in EXTENSIONS:
        conn.execute(ddl("CREATE EXTENSION {}", extension))


def ddl(text: str, *parts: object) -> sql.Composed:
    """A statement; texts among the parts are SQL, numbers are literals."""
    known = [sql.SQL(p) if isinstance(p, str) else p for p in parts]  # type: ignore[arg-type]
    return sql.SQL(text).format(*known)  # type: ignore[arg-type]


def readable_types(conn: psycopg.Connection) -> list[Type]:
    """Every type of this database but arrays, if it has a reader that takes any text."""
    return [
        found
        for found in map(lambda row: Type(*row), conn.execute(_STORABLE))
        if _readable(conn, found)
    ]


def _readable(conn: psycopg.Connection, type_: Type) -> bool:
    """Types of indexes and statistics refuse every text; so does xml on a server without libxml."""
    try:
        with conn.transaction():
            conn.execute(ddl("SELECT ''::{}", type_.ddl))
    except psycopg.errors.FeatureNotSupported:
        return False
    except psycopg.Error:
        return True
    return True


def scalar(type_: Type) -> Stored:
    """A column of a type with its nasty values."""
    values = tuple(literal(text, type_.ddl) for text in VALUES[type_.name])
    return Stored(f"c_{type_.name}", type_.ddl, values, type_.binary)


def array(type_: Type) -> Stored:
    """A column of arrays: empty, with NULLs, of two dimensions, and with bounds other than 1."""
    return array_of(f"a_{type_.name}", type_.ddl, VALUES[type_.name], type_.binary)


def array_of(column: str, type_: str, texts: Iterable[str], binary: bool = False) -> Stored:
    """Arrays whose elements are the given texts."""
    some = [literal(text, type_) for text in texts if len(text) < 5000]
    pair = _array([some[0], sql.SQL("NULL")], type_)
    values = [
        ddl("'{{}}'::{}[]", type_),
        ddl("ARRAY[NULL]::{}[]", type_),
        _array([*some, sql.SQL("NULL")], type_),
        ddl("ARRAY[{0}, {0}]", pair),
        ddl("('[-3:-2]=' || ({})::text)::{}[]", pair, type_),
        ddl("('[7:8][0:1]=' || (ARRAY[{0}, {0}])::text)::{1}[]", pair, type_),
    ]
    return Stored(column, f"{type_}[]", tuple(values), binary)


def literal(text: str, type_: str) -> sql.Composed:
    """A value as the type's reader makes it of a text."""
    return ddl("{}::{}", sql.Literal(text), type_)


def _array(values: Iterable[sql.Composable], type_: str) -> sql.Composed:
    return ddl("ARRAY[{}]::{}[]", sql.SQL(", ").join(values), type_)


@dataclass
class Pair:
    """Two databases with the same types, and a way to migrate tables from one to the other."""

    source: str
    home: str
    include: Path
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def context(self, tables: Sequence[Table], mode: str) -> Context:
        """A migration of its own for the tables, as they are."""
        lines = [f"migration: fidelity{next(self.numbers)}", "source: {conn: old}"]
        lines += ["target: {conn: new, schema: public}", f"hash: {mode}", "entities:"]
        text = "\n".join([*lines, *(table.mapping() for table in tables)])
        mapping = parse_mapping(text, include=self.include)
        return Context(mapping, Endpoint("old", self.source), Endpoint("new", self.home), 1)

    def moved(self, tables: Sequence[Table], mode: str) -> None:
        """Make the tables on both sides, fill the source's and migrate them."""
        with self.opened() as (source, home):
            for table in tables:
                for conn in (source, home):
                    conn.execute(ddl("DROP TABLE IF EXISTS {}", table.sql))
                    table.create(conn)
                table.fill(source)
        run(self.context(tables, mode))

    def opened(self) -> _Opened:
        """Connections to both."""
        return _Opened(self)

    def differing(self, tables: Sequence[Table]) -> list[str]:
        """Columns that are not the same on both sides, by the server's own output."""
        with self.opened() as (source, home):
            found = []
            for table in tables:
                there, here = table.digests(source), table.digests(home)
                found += [name for name in there if there[name] != here[name]]
        return found


class _Opened:
    def __init__(self, pair: Pair) -> None:
        self._conns = [
            psycopg.connect(dsn, autocommit=True, client_encoding="utf8")
            for dsn in (pair.source, pair.home)
        ]

    def __enter__(self) -> tuple[psycopg.Connection, psycopg.Connection]:
        return self._conns[0], self._conns[1]

    def __exit__(self, *_error: object) -> None:
        for conn in self._conns:
            conn.close()
