"""The steps of a column: what each makes of a value, and what each refuses."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from demo.stack.postgres import EmbeddedPostgres
from sinew.compile.transforms import compile_steps, mask
from sinew.compile.type_names import TEXT, named
from sinew.spec.steps import TRANSFORMS, Step
from tests.kit_values import compiled, evaluated, stepped, steps


@pytest.fixture(scope="module")
def home(pg: EmbeddedPostgres) -> Iterator[psycopg.Connection]:
    """One connection for all: values stand in the queries, and nothing is stored."""
    pg.ensure_database("stepping")
    with psycopg.connect(pg.dsn("stepping"), autocommit=True) as conn:
        yield conn
    pg.drop_database("stepping")


MADE: list[tuple[str | None, list[Any], str | None]] = [
    (" \t\u00a0a b\n ", ["trim"], "a b"),
    ("a  \t b", ["squeeze"], "a b"),
    ("aß", ["upper"], "Aß"),
    ("ÄB", ["lower"], "äb"),
    ("o'brien mcdonald-SMITH", ["title"], "O'Brien Mcdonald-Smith"),
    ("N/A", [("nullif", ("", "N/A"))], None),
    ("", [("nullif", ("", "N/A"))], None),
    ("A", [("map", {"A": "active", "B": None})], "active"),
    ("B", [("map", {"A": "active", "B": None})], None),
    ("?", [("map", {"A": "active", "*": "unknown"})], "unknown"),
    (None, [("map", {"A": "active", "*": "unknown"})], None),
    (None, [("map", {"A": "active"})], None),
    (None, [("default", "x")], "x"),
    ("a", [("default", "x")], "a"),
    ("007", [("cast", "integer")], "7"),
    ("-1.5e3", [("cast", "numeric")], "-1500"),
    ("1.50", [("cast", "numeric(10,2)")], "1.50"),
    ("0.1", [("cast", "double precision")], "0.1"),
    ("2026-02-03", [("cast", "date")], "2026-02-03"),
    ("2026-02-03T10:00:00.5", [("cast", "timestamp")], "2026-02-03 10:00:00.5"),
    ("2026-02-03 10:00:00Z", [("cast", "timestamptz")], "2026-02-03 10:00:00+00"),
    ("23:59", [("cast", "time")], "23:59:00"),
    ("1 day", [("cast", "interval")], "1 day"),
    ("yes", [("cast", "boolean")], "true"),
    ("{1,2}", [("cast", "integer[]")], "{1,2}"),
    ("\\x00ff", [("cast", "bytea")], "\\x00ff"),
    ("101", [("cast", "bit(3)")], "101"),
    ("[1,5)", [("cast", "int4range")], "[1,5)"),
    ("20260203", [("parse_date", "YYYYMMDD")], "2026-02-03"),
    ("03.02.2026", [("parse_date", "DD.MM.YYYY")], "2026-02-03"),
    ("02/03/2026", [("parse_date", "MM/DD/YYYY")], "2026-02-03"),
    ("03-feb-2026", [("parse_date", "DD-MON-YYYY")], "2026-02-03"),
    ("290224", [("parse_date", "DDMMYY")], "2024-02-29"),
    ("010170", [("parse_date", "DDMMYY")], "1970-01-01"),
    ("010169", [("parse_date", "DDMMYY")], "2069-01-01"),
    ("20260203101112", [("parse_timestamp", "YYYYMMDDHH24MISS")], "2026-02-03 10:11:12"),
    ("20260203 10", [("parse_timestamp", "YYYYMMDD HH24")], "2026-02-03 10:00:00"),
    ("20260203 1011", [("parse_timestamp", "YYYYMMDD HHMI")], "2026-02-03 10:11:00"),
    ("20260203", [("parse_timestamp", "YYYYMMDD")], "2026-02-03 00:00:00"),
    (
        "2026-02-03T10:11:12.345Z",
        [("parse_timestamp", "YYYY-MM-DDTHH24:MI:SS.MSZ")],
        "2026-02-03 10:11:12.345+00",
    ),
    ("1.50", ["parse_number"], "1.50"),
    ("1.234.567,89", [("parse_number", {"decimal": ",", "group": "."})], "1234567.89"),
    ("1234,5", [("parse_number", {"decimal": ",", "group": "."})], "1234.5"),
    ("1 234", [("parse_number", {"group": " "})], "1234"),
    ("YES", ["to_bool"], "true"),
    ("0", ["to_bool"], "false"),
    ("J", [("to_bool", {"true": ("J", "1"), "false": ("N", "0")})], "true"),
    ("a,b", [("split", {"on": ",", "part": 2})], "b"),
    ("a,b", [("split", {"on": ",", "part": -1})], "b"),
    ("a1b2", [("replace", {"pattern": "([0-9])", "with": r"<\1>"})], "a<1>b<2>"),
    ("x", [("concat", ({"column": "v"}, "-", {"column": "v"}))], "x-x"),
    (None, [("concat", ({"column": "v"}, "-"))], None),
    ("x", [("concat", ("a", "b"))], "ab"),
    ("abc", [("check", "^[a-c]+$")], "abc"),
    ("abcdef", [("truncate", 3)], "abc"),
    ("1.005", ["parse_number", ("round", 2)], "1.01"),
    ("1.009", ["parse_number", ("truncate", 2)], "1.00"),
    ("1234", ["parse_number", ("scale", {"divide": 100})], "12.34"),
    ("1", ["parse_number", ("scale", {"divide": 8})], "0.125"),
    ("1", ["parse_number", ("scale", {"divide": 3}), ("round", 2)], "0.33"),
    ("123456789", [("mask", "keep_last 4")], "*****6789"),
    ("1234", [("mask", "keep_last 4")], "****"),
    ("abc", [("mask", "all")], "***"),
    (
        "abc",
        [("hash", "sha256")],
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    ),
    (
        "2026-07-01 12:00:00",
        [("cast", "timestamp"), ("tz", "Europe/Berlin")],
        "2026-07-01 10:00:00+00",
    ),
    (" 2026-02-03 ", ["trim", ("cast", "date"), ("nullif", ("1900-01-01",))], "2026-02-03"),
]

REFUSED: list[tuple[str, list[Any], str]] = [
    ("2026-02-03", [("parse_date", "YYYYMMDD")], "parse_date"),
    ("20260230", [("parse_date", "YYYYMMDD")], "parse_date"),
    ("20260203 ", [("parse_date", "YYYYMMDD")], "parse_date"),
    ("00000101", [("parse_date", "YYYYMMDD")], "parse_date"),
    ("", [("parse_date", "YYYYMMDD")], "parse_date"),
    ("20250229", [("parse_date", "YYYYMMDD")], "parse_date"),
    ("20260203\n", [("parse_date", "YYYYMMDD")], "parse_date"),
    ("٢٠٢٦٠٢٠٣", [("parse_date", "YYYYMMDD")], "parse_date"),
    ("03-MAI-2026", [("parse_date", "DD-MON-YYYY")], "parse_date"),
    ("03x02x2026", [("parse_date", "DD.MM.YYYY")], "parse_date"),
    ("20260203240000", [("parse_timestamp", "YYYYMMDDHH24MISS")], "parse_timestamp"),
    ("20260203235960", [("parse_timestamp", "YYYYMMDDHH24MISS")], "parse_timestamp"),
    ("12a34", ["parse_number"], "parse_number"),
    ("1_000", ["parse_number"], "parse_number"),
    ("1e5", ["parse_number"], "parse_number"),
    ("NaN", ["parse_number"], "parse_number"),
    ("", ["parse_number"], "parse_number"),
    ("12.34.567", [("parse_number", {"decimal": ",", "group": "."})], "parse_number"),
    ("1" * 1001, ["parse_number"], "out_of_range"),
    ("12a34", [("cast", "numeric")], "cast"),
    ("1.005", [("cast", "numeric(10,2)")], "scale_lost"),
    ("0x1F", [("cast", "integer")], "cast"),
    ("1_000", [("cast", "integer")], "cast"),
    (" 1", [("cast", "integer")], "cast"),
    ("1.0", [("cast", "integer")], "cast"),
    ("99999999999", [("cast", "integer")], "out_of_range"),
    ("1e999", [("cast", "double precision")], "out_of_range"),
    ("0.12345678901234567890", [("cast", "double precision")], "lossy"),
    ("Infinity", [("cast", "double precision")], "cast"),
    ("today", [("cast", "date")], "cast"),
    ("now", [("cast", "timestamp")], "cast"),
    ("infinity", [("cast", "date")], "cast"),
    ("20260203", [("cast", "date")], "cast"),
    ("2026-02-30", [("cast", "date")], "cast"),
    ("2026-02-03 10:00:00+02", [("cast", "timestamp")], "cast"),
    ("2026-02-03 10:00:00.1234567", [("cast", "timestamp")], "cast"),
    ("2026-02-03 10:00:00.5", [("cast", "timestamp(0)")], "lossy"),
    ("2026-02-03 10:00:00", [("cast", "timestamptz")], "cast"),
    ("24:00", [("cast", "time")], "cast"),
    ("infinity", [("cast", "interval")], "cast"),
    ("on", [("cast", "boolean")], "to_bool"),
    ("abc", [("cast", "bytea")], "cast"),
    ("abcd", [("cast", "varchar(3)")], "too_long"),
    ("10", [("cast", "bit(3)")], "cast"),
    ("{1,x}", [("cast", "integer[]")], "cast"),
    ("{1.005}", [("cast", "numeric(10,2)[]")], "scale_lost"),
    ('{"a":1,"a":2}', [("cast", "jsonb")], "duplicate_json_key"),
    ("[5,1)", [("cast", "int4range")], "cast"),
    ("?", [("map", {"A": "active"})], "map"),
    ("maybe", ["to_bool"], "to_bool"),
    ("j", [("to_bool", {"true": ("J",), "false": ("N",)})], "to_bool"),
    ("abd", [("check", "^[a-c]+$")], "check"),
    ("1", ["parse_number", ("scale", {"divide": 3})], "lossy"),
    ("2026-03-29 02:30:00", [("cast", "timestamp"), ("tz", "Europe/Berlin")], "tz"),
    (
        "2026-02-03 10:00",
        [("parse_timestamp", "YYYY-MM-DD HH24:MI"), ("cast", "date")],
        "lossy",
    ),
]

MISPLACED: list[tuple[str | None, list[Any], str]] = [
    ("text", [("round", 2)], "parse_number"),
    ("date", [("round", 2)], "remove the step"),
    ("text", [("tz", "UTC")], "parse_timestamp"),
    ("timestamp", [("parse_timestamp", "YYYYMMDD")], "remove the step"),
    ("text", [("parse_date", "YYYYMM")], "does not name one moment"),
    ("text", [("parse_timestamp", "YYYYMMDDSS")], "does not name one moment"),
    ("text", [("parse_number", {"decimal": ",", "group": ","})], "must differ"),
    (None, [("truncate", 2)], "put a cast before it"),
]


@pytest.mark.parametrize(("value", "do", "made"), MADE)
def test_a_step_makes_its_value(
    home: psycopg.Connection, value: str | None, do: list[Any], made: str | None
) -> None:
    assert stepped(home, value, *do) == (None, made)


@pytest.mark.parametrize(("value", "do", "rule"), REFUSED)
def test_a_value_that_a_step_cannot_take_is_caught_and_becomes_null(
    home: psycopg.Connection, value: str, do: list[Any], rule: str
) -> None:
    assert stepped(home, value, *do) == (rule, None)


@pytest.mark.parametrize(("type_", "do", "advice"), MISPLACED)
def test_a_step_at_the_wrong_place_is_an_error_of_the_mapping(
    type_: str | None, do: list[Any], advice: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(advice)):
        compiled(named(type_) if type_ else None, steps(*do))


def test_every_transform_of_the_vocabulary_compiles() -> None:
    from sinew.compile.transforms import _STEPS

    assert set(_STEPS) == set(TRANSFORMS)


def test_the_step_model_of_a_mapping_is_taken_as_it_is(home: psycopg.Connection) -> None:
    read = [Step.model_validate(step) for step in ("trim", {"parse_number": {"decimal": ","}})]
    expression = compile_steps(sql.Identifier("l", "v"), TEXT, read, None, sql.Identifier)
    assert evaluated(home, expression, " 1,5 ", "text") == (None, "1.5")


def test_a_default_fills_a_null_after_the_steps(home: psycopg.Connection) -> None:
    assert stepped(home, "", ("nullif", ("",)), default="unknown") == (None, "unknown")
    assert stepped(home, None, source="integer", default=5) == (None, "5")
    assert stepped(home, None, source="boolean", default=True) == (None, "true")
    assert stepped(home, None, source="date", default="1900-01-01") == (None, "1900-01-01")


def test_numbers_stay_numbers_through_nullif_and_scale(home: psycopg.Connection) -> None:
    assert stepped(home, "0", ("nullif", ("0",)), source="integer") == (None, None)
    cents = ("scale", {"divide": 100})
    assert stepped(home, "1999", cents, source="integer") == (None, "19.99")
    assert stepped(home, "0.30000000000000004", ("round", 20), source="double precision") == (
        None,
        "0.30000000000000004000",
    )


@pytest.mark.parametrize(
    ("do", "made"),
    [
        ([("cast", "text")], "5.00"),
        ([("cast", "integer")], "5"),
        ([("cast", "real")], "5"),
        ([("cast", "double precision")], "5"),
        ([("cast", "numeric(10,2)")], "5.00"),
        (["trim", ("map", {"5.00": "five"})], "five"),
        ([("scale", {"divide": 4})], "1.25"),
    ],
)
def test_what_follows_a_scaled_number_takes_all_of_it(
    do: list[Any], made: str, home: psycopg.Connection
) -> None:
    # And not the divisor alone, to which a cast without parentheses would belong.
    scaled = ("scale", {"divide": 100})
    assert stepped(home, "500", scaled, *do, source="integer") == (None, made)


def test_padding_of_a_char_is_no_part_of_it(home: psycopg.Connection) -> None:
    assert stepped(home, "ab", ("map", {"ab": "x"}), source="char(5)") == (None, "x")
    assert stepped(home, "ab", ("concat", ({"column": "v"}, "|")), source="char(5)") == (
        None,
        "ab|",
    )


def test_an_expression_of_unknown_type_is_cast_through_its_text(home: psycopg.Connection) -> None:
    def cast(value: str, source: str, target: str) -> tuple[str | None, str | None]:
        expression = compiled(None, steps(("cast", target)))
        return evaluated(home, expression, value, source)

    assert cast("5.00", "numeric", "integer") == (None, "5")
    assert cast("5.50", "numeric", "integer") == ("scale_lost", None)
    assert cast("1e20", "double precision", "numeric(22,0)") == (None, "100000000000000000000")
    assert cast("t", "boolean", "boolean") == (None, "true")


def test_a_cast_to_a_type_of_the_target_database_keeps_what_it_writes(
    home: psycopg.Connection,
) -> None:
    home.execute("DROP TYPE IF EXISTS pair; CREATE TYPE pair AS (a int4, b numeric(4,1))")
    home.execute("DROP DOMAIN IF EXISTS cents; CREATE DOMAIN cents AS numeric(6,2)")
    assert stepped(home, "(1,2.5)", ("cast", "pair")) == (None, "(1,2.5)")
    assert stepped(home, "(1,2.55)", ("cast", "pair")) == ("lossy", None)
    assert stepped(home, "(x,1)", ("cast", "pair")) == ("cast", None)
    assert stepped(home, "1.005", ("cast", "cents")) == ("lossy", None)


def test_a_chain_is_computed_once_however_many_steps_may_refuse() -> None:
    do = ["trim", ("check", "a"), ("check", "b"), ("check", "c"), ("check", "d"), "parse_number"]
    text = compiled(TEXT, steps(*do, ("cast", "integer"))).value.as_string(None)
    assert text.count("btrim") == 1
    assert len(text) < 3000


def test_guards_come_in_the_order_of_the_steps(home: psycopg.Connection) -> None:
    do = [("check", "^[0-9]+$"), ("parse_date", "YYYYMMDD")]
    assert stepped(home, "x", *do)[0] == "check"
    assert stepped(home, "20261301", *do)[0] == "parse_date"


def test_a_reason_is_a_sentence_without_the_value() -> None:
    expression = compiled(TEXT, steps(("parse_date", "YYYYMMDD")))
    assert expression.guards[0].reason == "is not a date in the form YYYYMMDD"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("ann@example.org", "a***@e***"),
        ("Margaret", "M***8"),
        ("Al", "***2"),
        ("", "***0"),
        ("a@b@c", "a***5"),
    ],
)
def test_a_mask_hides_all_but_a_hint(home: psycopg.Connection, value: str, shown: str) -> None:
    row = home.execute(sql.SQL("SELECT {}").format(mask(sql.Literal(value)))).fetchone()
    assert row == (shown,)


ANY_TEXT = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20),
    st.from_regex(r"[+-]?[0-9]{0,12}([.,_x][0-9]{0,9})?([eE][+-]?[0-9]{1,4})?", fullmatch=True),
    st.from_regex(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}([ T][0-9:.Z+]{0,12})?", fullmatch=True),
    st.sampled_from(
        ["today", "now", "infinity", "-infinity", "epoch", "allballs", "NaN", "{}", "[]"]
    ),
)
READERS: list[Any] = [
    *[("cast", t) for t in ("smallint", "bigint", "numeric", "numeric(5,2)", "real", "date")],
    *[("cast", t) for t in ("double precision", "timestamp", "timestamp(0)", "timestamptz")],
    *[("cast", t) for t in ("time", "timetz", "interval", "boolean", "uuid", "jsonb", "inet")],
    *[("cast", t) for t in ("bytea", "bit(3)", "integer[]", "int4range", "varchar(3)", "char(3)")],
    *[("parse_date", p) for p in ("YYYYMMDD", "YYYY-MM-DD", "DD.MM.YY", "DDMONYYYY")],
    *[("parse_timestamp", p) for p in ("YYYY-MM-DD HH24:MI:SS", "YYYYMMDDHH24MISSUS")],
    *["parse_number", "to_bool", "title", "squeeze", ("truncate", 2), ("mask", "keep_last 2")],
]


@pytest.mark.parametrize("step", READERS, ids=str)
def test_no_text_makes_a_reader_raise(home: psycopg.Connection, step: Any) -> None:
    expression = compiled(TEXT, steps(step))

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(ANY_TEXT)
    def check(value: str) -> None:
        rule, made = evaluated(home, expression, value, "text")
        assert rule is None or made is None
        if rule is None and step in [("cast", "numeric"), ("cast", "bigint"), "parse_number"]:
            assert float(made or "nan") == pytest.approx(float(value))

    check()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dates(), st.sampled_from(["%Y%m%d", "%d.%m.%Y", "%m/%d/%Y", "%d-%b-%Y"]))
def test_every_real_date_is_read_in_its_pattern(
    home: psycopg.Connection, day: datetime.date, form: str
) -> None:
    pattern = (
        form.replace("%Y", "YYYY").replace("%m", "MM").replace("%d", "DD").replace("%b", "MON")
    )
    written = day.strftime(form.replace("%Y", f"{day.year:04}"))
    assert stepped(home, written, ("parse_date", pattern)) == (None, day.isoformat())


def test_a_constant_that_cannot_be_read_is_caught_and_not_an_error_of_the_statement(
    home: psycopg.Connection,
) -> None:
    constant = sql.SQL("{}::text").format(sql.Literal("99999999999"))
    expression = compile_steps(constant, None, steps(("cast", "integer")), None, sql.Identifier)
    assert evaluated(home, expression, "", "text") == ("out_of_range", None)
