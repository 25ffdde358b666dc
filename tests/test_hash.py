"""The hash of a row notices what a comparison of values would not."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from sinew.compile.hashing import Hashed, HashMode, row_hash
from sinew.engine import catalog
from sinew.engine.session import Endpoint, connect
from tests.kit_fidelity import ddl

_APART = [
    ("text", "NULL", "''"),
    ("text", "'a'", "'a '"),
    ("text", "E'e\\u0301'", "E'\\u00e9'"),
    ("text", "'-'", "NULL"),
    ("bytea", "''", "NULL"),
    ("float8", "'-0'", "'0'"),
    ("float4", "'-0'", "'0'"),
    ("float8", "'NaN'", "NULL"),
    ("float8", "'0.1'", "'0.10000000000000002'"),
    ("numeric", "1.0", "1.00"),
    ("numeric", "'NaN'", "'Infinity'"),
    ("interval", "'1 day'", "'24:00'"),
    ("interval", "'1 mon'", "'30 days'"),
    ("time", "'24:00'", "'00:00'"),
    ("timetz", "'12:00+00'", "'13:00+01'"),
    ("timestamp", "'infinity'", "'-infinity'"),
    ("jsonb", "'1.0'", "'1.00'"),
    ("jsonb", "'null'", "NULL"),
    ("json", "'{\"a\":1}'", "'{\"a\": 1}'"),
    ("int4[]", "'{1}'", "'[0:0]={1}'"),
    ("int4[]", "'{}'", "NULL"),
    ("text[]", "'{NULL}'", "'{\"NULL\"}'"),
    ("float8[]", "'{-0}'", "'{0}'"),
    ("citext", "'a'", "'A'"),
    ("bpchar", "''", "NULL"),
    ("bit(3)", "'001'", "'010'"),
    ("varbit", "'0'", "'00'"),
    ("inet", "'10.0.0.1/8'", "'10.0.0.1'"),
    ("numrange", "'[1.0,2]'", "'[1.00,2]'"),
    ("oid", "0", "NULL"),
    ("bool", "false", "NULL"),
]


def _hash(conn: psycopg.Connection, mode: HashMode, *values: tuple[str, str]) -> int:
    """Hash of one row of (type, SQL) values."""
    row = sql.SQL(", ").join(
        ddl("{}::{} AS {}", v, t, sql.Identifier(f"c{i}")) for i, (t, v) in enumerate(values)
    )
    query = ddl("SELECT {} OFFSET 0", row)
    facts = catalog.described(conn, query)
    hashed = [Hashed(sql.Identifier("r", fact.name), fact.type) for fact in facts]
    found = conn.execute(ddl("SELECT {} FROM ({}) AS r", row_hash(hashed, mode), query)).fetchone()
    assert found is not None and isinstance(found[0], int)
    return found[0]


@pytest.fixture
def pinned(source_db: str) -> Iterator[psycopg.Connection]:
    with connect(Endpoint("old", source_db)) as conn:
        conn.execute("CREATE EXTENSION citext; SET search_path = public")
        yield conn


@pytest.mark.parametrize("mode", ["fast", "text"])
def test_a_hash_tells_values_apart_that_compare_as_equal(
    pinned: psycopg.Connection, mode: HashMode
) -> None:
    alike = [
        (type_, one, other)
        for type_, one, other in _APART
        if _hash(pinned, mode, (type_, one)) == _hash(pinned, mode, (type_, other))
    ]
    assert alike == []


@pytest.mark.parametrize("mode", ["fast", "text"])
def test_a_hash_tells_which_column_a_text_is_in(pinned: psycopg.Connection, mode: HashMode) -> None:
    rows = [
        ("'a'", "'bc'"),
        ("'ab'", "'c'"),
        ("'abc'", "''"),
        ("''", "'abc'"),
        ("'abc'", "NULL"),
        ("NULL", "'abc'"),
        ("'1:a'", "'2:bc'"),
        ("'1:a,2:bc'", "NULL"),
        ("'1:a,2:bc'", "''"),
        ("'-'", "'-'"),
        ("'-,-'", "NULL"),
        ("NULL", "NULL"),
        ("''", "''"),
        ("'bc'", "'a'"),
    ]
    hashes = {_hash(pinned, mode, *(("text", value) for value in row)) for row in rows}
    assert len(hashes) == len(rows)


@pytest.mark.parametrize("mode", ["fast", "text"])
@pytest.mark.parametrize(
    ("type_", "one", "other"),
    [
        ("int4", "1", "2"),
        ("text", "'a'", "'b'"),
        ("numeric(5,2)", "1", "2"),
        ("float8", "1", "2"),
        ("uuid", *["gen_random_uuid()"] * 2),
    ],
)
def test_a_column_swapped_between_two_rows_changes_the_sum(
    pinned: psycopg.Connection, mode: HashMode, type_: str, one: str, other: str
) -> None:
    if type_ == "uuid":
        one, other = (f"'{n:032x}'" for n in (1, 2))
    key, one_, other_ = "int4", (type_, one), (type_, other)
    before = _hash(pinned, mode, (key, "1"), one_) + _hash(pinned, mode, (key, "2"), other_)
    after = _hash(pinned, mode, (key, "1"), other_) + _hash(pinned, mode, (key, "2"), one_)
    assert before != after


@pytest.mark.parametrize("mode", ["fast", "text"])
def test_what_the_type_itself_adds_is_no_difference(
    pinned: psycopg.Connection, mode: HashMode
) -> None:
    assert _hash(pinned, mode, ("char(5)", "'a'")) == _hash(pinned, mode, ("char(5)", "'a  '"))
    assert _hash(pinned, mode, ("numeric(6,2)", "1")) == _hash(
        pinned, mode, ("numeric(6,2)", "1.00")
    )
    assert _hash(pinned, mode, ("jsonb", '\'{"a":1,  "b":2}\'')) == _hash(
        pinned, mode, ("jsonb", '\'{"b":2,"a":1}\'')
    )
