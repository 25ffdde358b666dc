"""From an older major version, with ICU and libxml, to the newest: values arrive as they were."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from demo.stack.postgres import EmbeddedPostgres
from sinew.compile.hashing import Hashed, HashMode, row_hash
from sinew.compile.type_names import TEXT
from sinew.engine.audit import audit
from sinew.engine.driver import run
from sinew.engine.session import Endpoint, connect
from tests.kit_fidelity import (
    Pair,
    Stored,
    Table,
    Type,
    array_of,
    ddl,
    extend,
    literal,
    readable_types,
)
from tests.kit_type_values import OWN, OWN_TYPES, VALUES

pytestmark = pytest.mark.services

CASELESS = (
    "CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
)
_XML = VALUES["xml"]


@pytest.fixture
def older(system_db: str, home_db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    monkeypatch.setenv("SINEW_INCLUDE", str(tmp_path))
    return Pair(system_db, home_db, tmp_path)


def _known_to_both(source: psycopg.Connection, home: psycopg.Connection) -> list[Type]:
    here = {found.name for found in readable_types(home)}
    return [found for found in readable_types(source) if found.name in here]


def _taken(conn: psycopg.Connection, type_: str, texts: list[str]) -> list[str]:
    """Texts that this version takes: an infinite interval is none before 17."""
    return [text for text in texts if _takes(conn, literal(text, type_))]


def _takes(conn: psycopg.Connection, value: sql.Composable) -> bool:
    try:
        conn.execute(ddl("SELECT {}", value))
    except psycopg.Error:
        return False
    return True


def _tables(source: psycopg.Connection, types: list[Type]) -> list[Table]:
    scalars, arrays = [], []
    for found in types:
        texts = _taken(source, found.ddl, VALUES[found.name])
        values = tuple(literal(text, found.ddl) for text in texts)
        scalars.append(Stored(f"c_{found.name}", found.ddl, values, found.binary))
        arrays.append(array_of(f"a_{found.name}", found.ddl, texts, found.binary))
    return [Table("scalars", tuple(scalars)), Table("arrays", tuple(arrays))]


def test_every_type_that_both_versions_know_arrives_as_it_was(older: Pair) -> None:
    with older.opened() as (source, home):
        extend(source)
        extend(home)
        tables = _tables(source, _known_to_both(source, home))
    older.moved(tables, "auto")
    assert older.differing(tables) == []


def test_types_of_ones_own_arrive_as_they_were(older: Pair) -> None:
    with older.opened() as both:
        for conn in both:
            extend(conn)
            conn.execute(OWN_TYPES)
    columns = []
    for i, (name, texts) in enumerate(OWN.items()):
        type_ = f'"Odd one".{name}'
        columns.append(Stored(f"s{i}", type_, tuple(literal(text, type_) for text in texts)))
        columns.append(array_of(f"a{i}", type_, texts))
    tables = [Table("own", tuple(columns))]
    older.moved(tables, "auto")
    assert older.differing(tables) == []


def test_xml_and_its_array_arrive_in_text_columns(older: Pair) -> None:
    columns = (
        Stored("x", "xml", tuple(literal(text, "xml") for text in _XML)),
        array_of("a", "xml", _XML),
    )
    table = Table("documents", columns)
    with older.opened() as (source, home):
        table.create(source)
        table.fill(source)
        home.execute("CREATE TABLE documents (id integer PRIMARY KEY, x text, a text)")
    run(older.context([table], "auto"))
    query = "SELECT id, x::text, a::text FROM documents ORDER BY id"
    with older.opened() as (source, home):
        assert source.execute(query).fetchall() == home.execute(query).fetchall()
        assert home.execute("SELECT count(x), count(a) FROM documents").fetchone() == (6, 6)


def test_two_versions_are_compared_by_canonical_texts(older: Pair) -> None:
    table = Table("plain", (Stored("n", "integer", (sql.SQL("1"),)),))
    older.moved([table], "auto")
    context = older.context([table], "auto")
    with connect(context.source) as source, connect(context.home) as home:
        assert audit(source, home, context.migration).hash_mode == "text"


def test_texts_that_a_collation_calls_equal_arrive_as_they_were(older: Pair) -> None:
    texts = ["a", "A", "e\u0301", "\u00e9", "", " ", "\u00df", "ss", "SS"]
    values = tuple(literal(text, "text") for text in texts)
    table = Table("words", (Stored("word", "text", values, True),))
    with older.opened() as (source, home):
        source.execute(CASELESS)
        source.execute("CREATE TABLE words (id integer PRIMARY KEY, word text COLLATE caseless)")
        table.fill(source)
        table.create(home)
    run(older.context([table], "auto"))
    assert older.differing([table]) == []


def test_a_text_key_of_a_collation_that_knows_no_case_keeps_its_batches_apart(older: Pair) -> None:
    with older.opened() as (source, home):
        source.execute(CASELESS)
        source.execute("CREATE TABLE codes (id text COLLATE caseless PRIMARY KEY, n integer)")
        source.execute(
            "INSERT INTO codes SELECT 'Ab' || chr(97 + n) || n, n FROM generate_series(0, 25) AS n"
        )
        home.execute("CREATE TABLE codes (id text PRIMARY KEY, n integer)")
    table = Table("codes", (Stored("n", "integer", ()),))
    context = older.context([table], "auto")
    assert run(context, batch_rows=5).batches == 6
    assert older.differing([table]) == []


@pytest.mark.parametrize("mode", ["fast", "text"])
def test_a_hash_notices_what_a_collation_calls_equal(system_db: str, mode: HashMode) -> None:
    hashed = [Hashed(sql.Identifier("r", "word"), TEXT, deterministic=False)]
    with connect(Endpoint("old", system_db)) as conn:
        conn.execute("SET search_path = public")
        conn.execute(CASELESS)
        query = "SELECT {} FROM (VALUES ('a'::text COLLATE caseless), ('A')) AS r(word)"
        hashes = conn.execute(ddl(query, row_hash(hashed, mode))).fetchall()
    assert len(set(hashes)) == 2


def test_a_source_of_another_encoding_arrives_as_it_was(
    system_pg: EmbeddedPostgres, older: Pair
) -> None:
    name = "fidelity_latin1"
    with system_pg.connect() as conn:
        conn.execute(
            ddl("CREATE DATABASE {} ENCODING LATIN1 TEMPLATE template0", sql.Identifier(name))
        )
    try:
        pair = Pair(system_pg.dsn(name), older.home, older.include)
        values = tuple(literal(text, "text") for text in ("", "Größe", "naïve é\u00a0ÿ", "a"))
        tables = [Table("words", (Stored("word", "text", values),))]
        pair.moved(tables, "auto")
        assert pair.differing(tables) == []
    finally:
        system_pg.drop_database(name)
