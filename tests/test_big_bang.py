"""The swap of a big bang: the new table is all that the old one was, but for its rows."""

from __future__ import annotations

import pytest

from demo.stack.postgres import EmbeddedPostgres
from sinew.engine.planner import plan_phase, prepare
from sinew.engine.steps import run_step
from sinew.errors import PreflightError
from tests.fix_pair import Pair

SOURCE = "CREATE TABLE a (x integer PRIMARY KEY, y text); INSERT INTO a SELECT n, 'v' || n FROM generate_series(1, 9) AS n"
MAPPING = """
strategy: big_bang
entities:
  a: {from: a, key: [x], columns: {x: {key: copy}, y: {from: y}}}
"""


def test_what_like_does_not_copy_follows(pair: Pair, pg: EmbeddedPostgres) -> None:
    for role in ("big_bang_owner", "big_bang_reader"):
        pg.ensure_role(role)
    pair.make(
        SOURCE,
        """
        CREATE TABLE t.a (x integer PRIMARY KEY, y text, secret text) WITH (fillfactor = 70);
        COMMENT ON TABLE t.a IS 'what it''s for';
        ALTER TABLE t.a OWNER TO big_bang_owner;
        ALTER TABLE t.a REPLICA IDENTITY FULL;
        GRANT SELECT ON t.a TO big_bang_reader;
        GRANT UPDATE (y) ON t.a TO big_bang_reader;
        CREATE PUBLICATION outside FOR TABLE t.a (x, y) WHERE (x > 3);
        CREATE FUNCTION t.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER off BEFORE INSERT ON t.a FOR EACH ROW EXECUTE FUNCTION t.f();
        ALTER TABLE t.a DISABLE TRIGGER off;
        """,
        MAPPING,
    )
    asked = [
        "SELECT relowner::regrole::text, relacl::text, reloptions, relreplident, obj_description(oid) "
        "FROM pg_class WHERE oid = 't.a'::regclass",
        "SELECT attname, attacl::text FROM pg_attribute WHERE attrelid = 't.a'::regclass AND attnum > 0",
        "SELECT schemaname, attnames, rowfilter FROM pg_publication_tables",
        "SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 't.a'::regclass",
    ]
    before = [pair.new(query) for query in asked]
    pair.run()
    assert pair.new("SELECT count(*) FROM t.a") == [(9,)]
    assert [pair.new(query) for query in asked] == before


@pytest.mark.parametrize("key", ["copy", "identity"])
def test_a_serial_column_keeps_its_sequence_and_goes_on_counting(pair: Pair, key: str) -> None:
    pair.make(
        SOURCE,
        "CREATE TABLE t.a (x serial PRIMARY KEY, y text); INSERT INTO t.a (y) VALUES ('old')",
        MAPPING.replace("key: copy", f"key: {key}"),
    )
    pair.run()
    pair.new("DROP TABLE sinew_old.a")
    (last,) = pair.new("SELECT max(x) FROM t.a")[0]
    assert pair.new("INSERT INTO t.a (y) VALUES ('new') RETURNING x") == [(last + 1,)]  # type: ignore[operator]


def test_a_mapping_of_before_that_comes_back_leaves_the_live_table_alone_until_the_swap(
    pair: Pair,
) -> None:
    pair.make(SOURCE, "CREATE TABLE t.a (x integer PRIMARY KEY, y text)", MAPPING)
    pair.run()
    pair.mapping = MAPPING.replace("{from: y}", "{from: y, do: [upper]}")
    pair.run()
    pair.mapping = MAPPING
    pair.old("UPDATE a SET y = 'new' WHERE x = 1")
    context = pair.context()
    prepare(context)
    for batch_id in plan_phase(context, "all")["a"]:
        run_step(context, batch_id, "validate")
    assert pair.new("SELECT y FROM t.a WHERE x = 1") == [("V1",)]
    pair.run()
    assert pair.new("SELECT y FROM t.a WHERE x = 1") == [("new",)]


def test_a_live_table_that_changes_before_the_swap_keeps_the_change(pair: Pair) -> None:
    pair.make(SOURCE, "CREATE TABLE t.a (x integer PRIMARY KEY, y text)", MAPPING)
    prepare(pair.context())
    pair.new("ALTER TABLE t.a ADD COLUMN note text DEFAULT 'none', ADD CHECK (x > 0)")
    pair.run()
    assert pair.new("SELECT x, note FROM t.a WHERE x = 1") == [(1, "none")]
    assert pair.new(
        "SELECT count(*) FROM pg_constraint WHERE conrelid = 't.a'::regclass AND contype = 'c'"
    ) == [(1,)]


def test_two_migrations_do_not_fill_one_shadow(pair: Pair) -> None:
    pair.make(SOURCE, "CREATE TABLE t.a (x integer PRIMARY KEY, y text)", MAPPING)
    pair.new("CREATE SCHEMA u; CREATE TABLE u.a (x integer PRIMARY KEY, y text)")
    prepare(pair.context())
    one = pair.context().migration
    other = one.model_copy(
        update={"name": "other", "target": one.target.model_copy(update={"schema_name": "u"})}
    )
    with pytest.raises(PreflightError, match="the big bang of pair is filling a shadow"):
        prepare(type(pair.context())(other, pair.source, pair.home, 1))


def test_a_mapping_that_changes_after_the_swap_loads_all_its_tables_into_shadows(
    pair: Pair,
) -> None:
    # One table is as it was, one is mapped otherwise: the next swap exchanges both.
    other = "  b: {{from: b, key: [x], columns: {{x: {{key: copy}}, y: {{from: y{}}}}}}}\n"
    pair.make(
        f"{SOURCE}; CREATE TABLE b AS TABLE a; ALTER TABLE b ADD PRIMARY KEY (x)",
        "CREATE TABLE t.a (x integer PRIMARY KEY, y text); CREATE TABLE t.b (LIKE t.a INCLUDING ALL)",
        MAPPING + other.format(""),
    )
    pair.run()
    pair.mapping = MAPPING + other.format(", do: [upper]")
    pair.run()
    assert pair.new("SELECT count(*), min(y) FROM t.a") == [(9, "v1")]
    assert pair.new("SELECT count(*), min(y) FROM t.b") == [(9, "V1")]
