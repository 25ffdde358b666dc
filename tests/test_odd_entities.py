"""Entities of unusual shape: no column of the source, a file as people write it, heirs, domains, batches of one row."""

from __future__ import annotations

import pytest

from sinew.engine.planner import plan_phase, prepare
from sinew.engine.steps import run_step
from sinew.errors import ConfigurationError, PreflightError
from tests.fix_pair import Pair

NUMBERS = "CREATE TABLE a (x integer PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 5)"
COPIED = "entities: {a: {from: a, key: [x], columns: {x: {key: copy}}}}\n"


@pytest.mark.parametrize("mode", ["auto", "text"])
def test_an_entity_that_reads_no_column_has_as_many_rows_as_its_source(
    pair: Pair, mode: str
) -> None:
    pair.make(
        NUMBERS,
        "CREATE TABLE t.a (origin text)",
        f"hash: {mode}\nentities: {{a: {{from: a, columns: {{origin: {{value: old}}}}}}}}",
    )
    pair.run()
    pair.old("INSERT INTO a VALUES (6)")
    pair.run()
    assert pair.new("SELECT origin, count(*) FROM t.a GROUP BY 1") == [("old", 6)]


@pytest.mark.parametrize(
    "end", ["", ";", " -- done", "; -- done\n", " ; ;\n/* done; */", " WHERE ';--' <> ''"]
)
def test_a_sql_file_may_end_as_files_do(pair: Pair, end: str) -> None:
    (pair.include / "sql" / "some.sql").write_text(f"SELECT x FROM public.a{end}")
    pair.make(
        NUMBERS,
        "CREATE TABLE t.a (x integer PRIMARY KEY)",
        COPIED.replace("from: a", "from: {sql: some.sql}"),
    )
    pair.run()
    assert pair.new("SELECT count(*) FROM t.a") == [(5,)]


@pytest.mark.parametrize("rows", [1, 2, 4, 5])
def test_batches_are_of_the_size_that_was_asked_for(pair: Pair, rows: int) -> None:
    pair.make(
        NUMBERS, "CREATE TABLE t.a (x integer PRIMARY KEY)", f"batch: {{rows: {rows}}}\n{COPIED}"
    )
    pair.run()
    read = [n for (n,) in pair.new("SELECT source_rows FROM sinew.batch ORDER BY id")]
    whole, rest = divmod(5, rows)
    assert read == [rows] * whole + [rest] * bool(rest)


def test_a_key_that_heirs_of_the_table_repeat_is_refused(pair: Pair) -> None:
    pair.make(
        NUMBERS + "; CREATE TABLE heir () INHERITS (a); INSERT INTO heir VALUES (5), (6)",
        "CREATE TABLE t.a (x integer PRIMARY KEY)",
        COPIED,
    )
    with pytest.raises(PreflightError, match="1 keys have more than one row"):
        pair.run()


def test_a_domain_that_takes_no_null_rejects_the_row_alone(pair: Pair) -> None:
    pair.make(
        "CREATE TABLE a (x integer PRIMARY KEY, v integer); INSERT INTO a VALUES (1, 1), (2, NULL)",
        "CREATE DOMAIN t.given AS integer NOT NULL; CREATE TABLE t.a (x integer PRIMARY KEY, v t.given)",
        "entities: {a: {from: a, key: [x], columns: {x: {key: copy}, v: {from: v}}}}",
    )
    pair.run()
    assert pair.new("SELECT x FROM t.a") == [(1,)]
    assert pair.new("SELECT column_name, rule FROM sinew.reject") == [("v", "not_null")]


def test_an_identity_needs_a_column_with_a_sequence(pair: Pair) -> None:
    pair.make(
        NUMBERS,
        "CREATE TABLE t.a (no integer PRIMARY KEY)",
        "entities: {a: {from: a, key: [x], columns: {no: {key: identity}}}}",
    )
    with pytest.raises(PreflightError, match="no has no sequence of its own"):
        pair.run()
    pair.new("DROP TABLE t.a; CREATE TABLE t.a (no serial PRIMARY KEY)")
    pair.run()
    assert pair.new("SELECT count(*) FROM t.a") == [(5,)]


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("{check: '[a-'}", "'[a-', the argument of check: InvalidRegularExpression"),
        ("{replace: {pattern: '(', with: ''}}", "'(', the argument of replace"),
        (
            "{cast: timestamp}, {tz: Europe/Berln}, {cast: text}",
            "'Europe/Berln', the argument of tz",
        ),
    ],
)
def test_an_argument_that_no_row_could_pass_is_told_with_its_place(
    pair: Pair, step: str, told: str
) -> None:
    pair.make(
        "CREATE TABLE a (x integer PRIMARY KEY, v text)",
        "CREATE TABLE t.a (x integer PRIMARY KEY, v text)",
        f"entities:\n  a:\n    from: a\n    key: [x]\n    columns:\n      x: {{key: copy}}\n      v: {{from: v, do: [{step}]}}",
    )
    with pytest.raises(PreflightError) as raised:
        pair.run()
    assert told in str(raised.value)
    assert ":11:" in str(raised.value)


@pytest.mark.parametrize("relation", ["a", "{sql: some.sql}"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("bigint", "timestamptz USING to_timestamp(v)"),
        ("timestamp", "timestamptz"),
        ("integer", "bigint"),
    ],
)
def test_a_source_column_that_changed_its_type_since_the_plan_is_not_misread(
    pair: Pair, before: str, after: str, relation: str
) -> None:
    (pair.include / "sql" / "some.sql").write_text("SELECT x, v FROM public.a;")
    pair.make(
        f"CREATE TABLE a (x integer PRIMARY KEY, v {before}); INSERT INTO a VALUES (1, NULL)",
        f"CREATE TABLE t.a (x integer PRIMARY KEY, v {before})",
        f"entities: {{a: {{from: {relation}, key: [x], columns: {{x: {{key: copy}}, v: {{from: v}}}}}}}}",
    )
    prepare(pair.context())
    (batch_id,) = plan_phase(pair.context(), "all")["a"]
    pair.old(f"ALTER TABLE a ALTER v TYPE {after}")
    with pytest.raises(ConfigurationError, match="columns of a changed their type .*v was"):
        run_step(pair.context(), batch_id, "extract")


def test_schemas_that_were_dropped_by_hand_are_made_again(pair: Pair) -> None:
    pair.make(NUMBERS, "CREATE TABLE t.a (x integer PRIMARY KEY)", COPIED)
    pair.run()
    pair.new("DROP SCHEMA sinew_stage, sinew_rows CASCADE; TRUNCATE t.a")
    pair.run()
    assert pair.new("SELECT count(*) FROM t.a") == [(5,)]
