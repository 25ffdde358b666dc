"""The way back: what is called lossless comes back as it was, what is called lossy as something that maps to the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from psycopg import sql

from demo.stack.postgres import EmbeddedPostgres
from sinew.compile.assign import assign
from sinew.compile.guarded import Expression, apply
from sinew.compile.inverse import undo_chain
from sinew.compile.transforms import stages
from sinew.compile.type_names import named
from sinew.compile.undoing import Undoing
from sinew.spec.steps import Step
from tests.kit_values import compiled, evaluated, steps

_V = sql.Identifier("l", "v")


@pytest.fixture(scope="module")
def home(pg: EmbeddedPostgres) -> Iterator[psycopg.Connection]:
    """One connection for all: values stand in the queries, and nothing is stored."""
    pg.ensure_database("undoing")
    with psycopg.connect(pg.dsn("undoing"), autocommit=True) as conn:
        conn.execute("SET timezone = 'UTC'")
        yield conn
    pg.drop_database("undoing")


class Way:
    """A column's steps, from a source type to a target type, and back."""

    def __init__(
        self, source: str, target: str, do: Sequence[Any] = (), *, nullable: bool = True
    ) -> None:
        self.source, self.target, self.do = named(source), named(target), steps(*do)
        made = [Step(name=step.name, argument=step.argument) for step in self.do]
        self.undoing: Undoing = undo_chain(self.source, made, nullable, self.target)
        natural = stages(_V, self.source, self.do, lambda name: sql.Identifier("l", name))[-1].type
        self.forward = assign(
            compiled(self.source, self.do),
            natural or self.target,
            self.target,
            nullable=True,
            has_default=False,
        )
        self.back: Expression = apply(Expression(_V), self.undoing.change)

    def there(self, home: psycopg.Connection, value: str | None) -> tuple[str | None, str | None]:
        """(rule that refused, what the target gets)."""
        return evaluated(home, self.forward, value, self.source.sql)

    def again(self, home: psycopg.Connection, value: str | None) -> tuple[str | None, str | None]:
        """(rule that refused, what comes back of a target's value)."""
        return evaluated(home, self.back, value, self.target.sql)

    def alike(self, home: psycopg.Connection, one: str | None, other: str | None) -> bool:
        """Whether two texts are one value of the source's type."""
        query = sql.SQL("SELECT {}::{type} IS NOT DISTINCT FROM {}::{type}").format(
            sql.Literal(one), sql.Literal(other), type=sql.SQL(self.source.sql)
        )
        return home.execute(query).fetchone() == (True,)


DIGITS = st.integers(-(10**9), 10**9).map(str)
DECIMALS = st.decimals(-(10**6), 10**6, places=2).map(str)
LETTERS = st.text("aAbB 1\t", max_size=8)
DAYS = st.dates().map(lambda day: day.strftime("%Y%m%d").rjust(8, "0"))
MOMENTS = st.datetimes().map(lambda at: at.isoformat(sep=" "))
CODES = st.sampled_from(["A", "B", "C"])

LOSSLESS = [
    (Way("text", "text"), LETTERS),
    (Way("character(10)", "text"), LETTERS),
    (Way("character varying(9)", "character varying(8)"), LETTERS),
    (Way("integer", "numeric(12,2)"), DIGITS),
    (Way("numeric(12,2)", "numeric"), DECIMALS),
    (Way("numeric", "integer"), DIGITS.map(lambda n: f"{n}.00")),
    (Way("bigint", "text"), DIGITS),
    (Way("double precision", "numeric"), DECIMALS),
    (Way("boolean", "integer"), st.sampled_from(["true", "false"])),
    (Way("date", "timestamp"), st.dates().map(str)),
    (Way("bigint", "numeric(12,2)", [("scale", {"divide": 100})]), DIGITS),
    (Way("integer", "numeric(12,4)", [("scale", {"divide": 8})]), st.integers(-(10**6), 10**6).map(lambda n: str(2 * n))),
    (Way("character(8)", "date", [("parse_date", "YYYYMMDD")]), DAYS),
    (Way("text", "date", [("parse_date", "DD.MM.YY")]),
     st.dates().map(lambda day: day.strftime("%d.%m.%y"))),
    (Way("text", "timestamptz", [("parse_timestamp", "YYYY-MM-DDTHH24:MI:SSZ")]),
     st.datetimes().map(lambda at: f"{at:%Y-%m-%dT%H:%M:%SZ}".rjust(20, "0"))),
    (Way("timestamp", "timestamptz", [("tz", "Europe/Berlin")]), MOMENTS),
    (Way("timestamptz", "timestamp", [("tz", "Europe/Berlin")]), MOMENTS.map(lambda t: f"{t}+00")),
    (Way("character(1)", "text", [("map", {"A": "active", "B": "blocked"})]), CODES),
    (Way("text", "text", [("map", {"A": "active", "B": None})], nullable=False), CODES),
    (Way("text", "text", [("nullif", ("",))], nullable=False), LETTERS),
    (Way("integer", "integer", [("nullif", ("0",))], nullable=False), DIGITS | st.just("0")),
    (Way("text", "text", [("default", "x")], nullable=False), LETTERS),
    (Way("text", "boolean", [("to_bool", {"true": ["A"], "false": ["B"]})]), CODES),
    (Way("text", "text", [("check", "^[ab]*$")]), st.text("ab")),
]  # fmt: skip
LOSSY = [
    (Way("text", "text", ["trim", "squeeze", "lower"]), LETTERS),
    (Way("character(9)", "character varying(9)", ["trim", "upper"]), LETTERS),
    (Way("text", "text", ["title"]), LETTERS),
    (Way("text", "text", [("nullif", ("", "a"))], nullable=False), LETTERS),
    (Way("text", "text", [("nullif", ("a",))]), LETTERS | st.none()),
    (Way("text", "text", [("default", "a")]), LETTERS | st.none()),
    (Way("text", "integer", [("cast", "integer")]), DIGITS | st.just("007")),
    (Way("text", "numeric(12,2)", [("parse_number", {"decimal": ",", "group": "."})]),
     DECIMALS.map(lambda d: d.replace(".", ",")) | st.just("1.234,50")),
    (Way("text", "boolean", ["to_bool"]), st.sampled_from(["Y", "no", "1"])),
    (Way("numeric", "numeric(12,1)", [("round", 1)]), DECIMALS),
    (Way("double precision", "numeric(12,1)", [("truncate", 1)]), DECIMALS),
    (Way("text", "text", [("truncate", 3)]), LETTERS),
    (Way("timestamp", "timestamp", [("truncate", 0)]), MOMENTS),
    (Way("text", "text", [("map", {"A": "x", "B": "x", "C": None})]), CODES | st.none()),
    (Way("text", "date", [("parse_date", "DD-MON-YYYY")]),
     st.dates().map(lambda day: day.strftime("%d-%b-").lower() + f"{day.year:04}")),
    (Way("json", "jsonb"), st.sampled_from(['{"b": 1, "a": 2}', "[1,  2]", "null"])),
]  # fmt: skip
_CAREFUL = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _name(case: Any) -> str:
    way = case[0]
    done = ",".join(step.name for step in way.do) or "assigned"
    return f"{way.source.sql}-{done}-{way.target.sql}"


@pytest.mark.parametrize("case", LOSSLESS, ids=_name)
def test_what_is_lossless_comes_back_as_it_was(case: Any, home: psycopg.Connection) -> None:
    way, values = case
    assert way.undoing.grade == "lossless" and not way.undoing.reasons

    @_CAREFUL
    @given(values)
    def check(value: str) -> None:
        refused, there = way.there(home, value)
        assume(refused is None)
        refused, back = way.again(home, there)
        assert refused is None
        assert way.alike(home, back, value)

    check()


@pytest.mark.parametrize("case", LOSSY, ids=_name)
def test_what_is_lossy_comes_back_as_what_maps_to_the_same(
    case: Any, home: psycopg.Connection
) -> None:
    way, values = case
    assert way.undoing.grade == "lossy" and way.undoing.reasons

    @_CAREFUL
    @given(values)
    def check(value: str | None) -> None:
        refused, there = way.there(home, value)
        assume(refused is None)
        refused, back = way.again(home, there)
        assert refused is None
        assert way.there(home, back) == (None, there)

    check()


@pytest.mark.parametrize(
    "do",
    [
        [("split", {"on": ",", "part": 1})],
        [("concat", ["a", {"column": "v"}])],
        [("replace", {"pattern": "a", "with": "b"})],
        [("hash", "sha256")],
        [("mask", "all")],
        [("map", {"A": "x", "*": "y"})],
    ],
)
def test_what_cannot_be_undone_is_none_and_says_why(do: Any) -> None:
    way = Way("text", "text", ["trim", *do])
    assert way.undoing.grade == "none"
    assert len(way.undoing.reasons) == 2


@pytest.mark.parametrize(
    ("way", "value", "rule"),
    [
        (Way("text", "text", [("map", {"A": "active"})]), "other", "map"),
        (Way("character(1)", "text"), "ab", "too_long"),
        (Way("smallint", "integer"), "40000", "out_of_range"),
        (Way("boolean", "integer"), "2", "out_of_range"),
        (Way("text", "date", [("parse_date", "YYYYMMDD")]), "0044-03-15 BC", "out_of_range"),
        (Way("text", "date", [("parse_date", "DDMMYY")]), "1969-12-31", "out_of_range"),
        (Way("text", "timestamp", [("parse_timestamp", "YYYYMMDD HH24:MI")]),
         "2026-01-01 10:00:30", "lossy"),
        (Way("text", "date", [("parse_date", "YYYYMMDD")]), "infinity", "out_of_range"),
        (Way("text", "numeric", ["parse_number"]), "NaN", "cast"),
        (Way("bigint", "numeric(12,4)", [("scale", {"divide": 100})]), "0.0050", "scale_lost"),
    ],
)  # fmt: skip
def test_a_value_of_the_new_system_that_the_old_one_cannot_hold_is_caught(
    way: Way, value: str, rule: str, home: psycopg.Connection
) -> None:
    assert way.again(home, value) == (rule, None)
