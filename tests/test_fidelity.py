"""What is in the target is what was in the source: every type, its nastiest values, both hashes."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from demo.stack.postgres import EmbeddedPostgres
from sinew.compile.entity_plan import landed_type
from sinew.compile.facts import PgType
from sinew.engine import catalog
from sinew.engine.driver import run
from sinew.engine.session import Endpoint, connect
from tests.kit_fidelity import (
    Pair,
    Stored,
    Table,
    Type,
    array,
    array_of,
    ddl,
    extend,
    literal,
    readable_types,
    scalar,
)
from tests.kit_type_values import OWN, OWN_TYPES, SIZED, VALUES

MODES = ["auto", "text"]


@pytest.fixture(scope="module")
def pair(pg: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    include = tmp_path_factory.mktemp("include")
    names = ("fidelity_source", "fidelity_home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SINEW_INCLUDE", str(include))
        for name in names:
            pg.ensure_database(name)
            with psycopg.connect(pg.dsn(name), autocommit=True) as conn:
                extend(conn)
                conn.execute(OWN_TYPES)
        yield Pair(pg.dsn(names[0]), pg.dsn(names[1]), include)
        for name in names:
            pg.drop_database(name)


@pytest.fixture(scope="module")
def types(pair: Pair) -> list[Type]:
    with psycopg.connect(pair.source) as conn:
        own = {name.strip('"') for name in OWN} | {"words_multirange"}
        return [found for found in readable_types(conn) if found.name not in own]


def test_every_type_of_the_server_has_values_here(types: list[Type]) -> None:
    assert sorted({t.name for t in types} - set(VALUES)) == []


@pytest.mark.parametrize("mode", MODES)
def test_every_type_and_its_array_arrive_as_they_were(
    pair: Pair, types: list[Type], mode: str
) -> None:
    tables = [
        Table("scalars", tuple(map(scalar, types))),
        Table("arrays", tuple(map(array, types))),
    ]
    pair.moved(tables, mode)
    assert pair.differing(tables) == []


@pytest.mark.parametrize("mode", MODES)
def test_types_with_a_length_or_a_precision_arrive_as_they_were(pair: Pair, mode: str) -> None:
    columns = []
    for i, (type_, texts) in enumerate(SIZED.items()):
        columns.append(Stored(f"s{i}", type_, tuple(literal(text, type_) for text in texts), True))
        columns.append(array_of(f"a{i}", type_, texts, True))
    tables = [Table("sized", tuple(columns))]
    pair.moved(tables, mode)
    assert pair.differing(tables) == []


@pytest.mark.parametrize("mode", MODES)
def test_enums_domains_composites_and_ranges_of_ones_own_arrive_as_they_were(
    pair: Pair, mode: str
) -> None:
    columns = []
    for i, (name, texts) in enumerate(OWN.items()):
        type_ = f'"Odd one".{name}'
        columns.append(Stored(f"s{i}", type_, tuple(literal(text, type_) for text in texts)))
        columns.append(array_of(f"a{i}", type_, texts))
    many = tuple(
        literal(text, '"Odd one".many') for text in ("{}", "{1,NULL}", "[-1:0]={2,3}", "{{1},{2}}")
    )
    tables = [Table("own", (*columns, Stored("many", '"Odd one".many', many)))]
    pair.moved(tables, mode)
    assert pair.differing(tables) == []


def test_values_that_no_reader_takes_back_arrive_in_a_text_column(pair: Pair) -> None:
    with pair.opened() as (source, home):
        source.execute(
            "CREATE TABLE trees AS "
            "SELECT row_number() OVER () AS id, ev_action FROM pg_rewrite LIMIT 20"
        )
        home.execute("CREATE TABLE trees (id bigint PRIMARY KEY, ev_action text)")
    run(pair.context([Table("trees", (Stored("ev_action", "text", ()),))], "auto"))
    query = "SELECT id, ev_action::text FROM trees ORDER BY id"
    with pair.opened() as (source, home):
        assert source.execute(query).fetchall() == home.execute(query).fetchall() != []


def test_what_binary_copy_cannot_carry_travels_as_text_and_nothing_else_does(pair: Pair) -> None:
    carried = {row[0] for row in _all_types(pair) if landed_type(row[1]) == row[1]}
    portable = {row[0] for row in _all_types(pair) if row[2]}
    assert sorted(carried - portable) == []
    assert sorted(portable - carried) == [
        "jsonpath",
        "money",
        "pg_snapshot",
        "refcursor",
        "tsquery",
        "txid_snapshot",
        "xml",
    ]


def _all_types(pair: Pair) -> list[tuple[str, PgType, bool]]:
    """Name, type, and whether its bytes mean the same everywhere, as the catalog tells it."""
    query = """
        SELECT oid::bigint, typname,
            typtype IN ('b', 'r', 'm') AND oid < 16384 AND typsend <> 0 AND typreceive <> 0
            AND typname NOT LIKE 'reg%' AND (typcategory <> 'Z' OR typname = 'char')
        FROM pg_type
        WHERE typtype IN ('b', 'r', 'm', 'e', 'c', 'd') AND typcategory <> 'A' AND typisdefined"""
    with connect(Endpoint("old", pair.source)) as conn:
        rows = conn.execute(query).fetchall()
        found = catalog.types(conn, [(oid, -1) for oid, _, _ in rows])
    return [(name, type_, portable) for (_, name, portable), type_ in zip(rows, found, strict=True)]


# --- values that nobody thought of

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
_BITS = st.integers(0, 2**64 - 1).map(
    lambda bits: repr(struct.unpack("d", struct.pack("Q", bits))[0])
)
_JSON_LEAF = st.none() | st.booleans() | st.integers(-(10**40), 10**40) | _TEXT
ANY = {
    "int4": st.integers(-(2**31), 2**31 - 1),
    "int8": st.integers(-(2**63), 2**63 - 1),
    "float8": _BITS | st.floats().map(repr),
    "float4": st.floats(width=32).map(repr),
    "numeric": st.decimals(allow_nan=True, allow_infinity=True).map(
        lambda d: "NaN" if d.is_nan() else f"{d:f}"
    ),
    "text": _TEXT,
    "bpchar": _TEXT,
    "citext": _TEXT,
    "bytea": st.binary(max_size=60).map(lambda some: "\\x" + some.hex()),
    "date": st.dates().map(str),
    "timestamp": st.datetimes().map(str),
    "timestamptz": st.datetimes().map(lambda at: f"{at}+00"),
    "time": st.times().map(str),
    "interval": st.tuples(*[st.integers(-(2**31), 2**31 - 1)] * 3).map(
        lambda part: f"{part[0]} mons {part[1]} days {part[2]}.000001 secs"
    ),
    "uuid": st.uuids().map(str),
    "jsonb": st.recursive(
        _JSON_LEAF,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
        max_leaves=8,
    ),
    "text[]": st.lists(st.none() | _TEXT, max_size=6),
    "bytea[]": st.lists(st.none() | st.binary(max_size=6), max_size=4),
    "float8[]": st.lists(st.none() | st.floats(), max_size=6),
}


@settings(
    max_examples=8,
    deadline=None,
    database=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)
@given(data=st.data())
def test_any_value_of_a_common_type_arrives_as_it_was(pair: Pair, data: st.DataObject) -> None:
    columns = []
    for name, values in ANY.items():
        drawn = data.draw(st.lists(values, min_size=5, max_size=15), label=name)
        columns.append(
            Stored(
                "v_" + name.strip("[]"),
                name,
                tuple(_as_sql(v, name) for v in drawn),
                name != "citext",
            )
        )
    named = [Stored(f"v{i}", c.ddl, c.values, c.binary) for i, c in enumerate(columns)]
    tables = [Table("drawn", tuple(named))]
    pair.moved(tables, data.draw(st.sampled_from(MODES), label="hash"))
    assert pair.differing(tables) == []


def _as_sql(value: object, type_: str) -> sql.Composable:
    if type_ == "jsonb":
        return ddl("{}::jsonb", sql.Literal(psycopg.types.json.Jsonb(value)))
    return ddl("{}::{}", sql.Literal(value if type_.endswith("[]") else str(value)), type_)
