"""No silent change: what a target type would round, cut or shift is caught."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demo.stack.postgres import EmbeddedPostgres
from sinew.compile.assign import assign
from sinew.compile.facts import PgType
from sinew.compile.guarded import Expression
from sinew.compile.type_names import named
from tests.kit_values import assigned, compiled, evaluated, steps

# value, its type, the target's type, the rule that catches it
CAUGHT = [
    ("1.005", "numeric", "numeric(10,2)", "scale_lost"),
    ("12345", "numeric", "numeric(4,0)", "out_of_range"),
    ("Infinity", "numeric", "numeric(4,0)", "out_of_range"),
    ("1250", "numeric", "numeric(3,-2)", "scale_lost"),
    ("16777217", "integer", "real", "lossy"),
    ("9007199254740993", "bigint", "double precision", "lossy"),
    ("9223372036854775807", "bigint", "double precision", "lossy"),
    ("0.1", "double precision", "real", "lossy"),
    ("1e300", "double precision", "real", "out_of_range"),
    ("1e-300", "double precision", "real", "out_of_range"),
    ("7.006492321624085e-46", "double precision", "real", "out_of_range"),
    ("1e400", "numeric", "double precision", "out_of_range"),
    ("0.12345678901234567890", "numeric", "double precision", "lossy"),
    ("1.5", "numeric", "integer", "scale_lost"),
    ("NaN", "numeric", "integer", "out_of_range"),
    ("1.5", "double precision", "bigint", "scale_lost"),
    ("NaN", "double precision", "bigint", "out_of_range"),
    ("1e30", "double precision", "bigint", "out_of_range"),
    ("2147483648", "bigint", "integer", "out_of_range"),
    ("-32769", "integer", "smallint", "out_of_range"),
    ("100000", "integer", "numeric(7,2)", "out_of_range"),
    ("abcdef", "text", "varchar(3)", "too_long"),
    ("abc  ", "text", "varchar(3)", "too_long"),
    ("abc ", "text", "char(5)", "lossy"),
    ("abcdef", "char(6)", "char(3)", "too_long"),
    ("2026-02-03 10:00", "timestamp", "date", "lossy"),
    ("2026-02-03 10:00+00", "timestamptz", "date", "lossy"),
    ("2026-02-03 10:00:00.5", "timestamp", "timestamp(0)", "lossy"),
    ("2026-02-03 10:00:00.5+00", "timestamptz", "timestamptz(0)", "lossy"),
    ("10:00:00.123456", "time", "time(3)", "lossy"),
    ("1.5 seconds", "interval", "interval(0)", "lossy"),
    ("400000-01-01", "date", "timestamp", "out_of_range"),
    ('{"a": 1, "a": 2}', "json", "jsonb", "duplicate_json_key"),
    ('{"a": 1, "a": 2}', "text", "jsonb", "duplicate_json_key"),
    ('{"a": {"b": 1, "b": 2}}', "json", "jsonb", "duplicate_json_key"),
    (r'{"a": "\u0000"}', "json", "jsonb", "cast"),
    ("{", "text", "json", "cast"),
    ("not a uuid", "text", "uuid", "cast"),
    ("1.2.3", "text", "inet", "cast"),
    ("10.0.0.1/8", "inet", "cidr", "lossy"),
    ("101", "bit varying", "bit(2)", "too_long"),
    ("101", "bit varying", "bit varying(2)", "too_long"),
    ("{1.005}", "numeric[]", "numeric(10,2)[]", "scale_lost"),
    ("{{1,2},{3,70000}}", "integer[]", "smallint[]", "out_of_range"),
    ("{abc,abcd}", "text[]", "varchar(3)[]", "too_long"),
    ("{2026-02-03 10:00:00.5}", "timestamp[]", "timestamp(0)[]", "lossy"),
]

# value, its type, the target's type, what is stored
KEPT = [
    ("1.50", "numeric", "numeric(10,2)", "1.50"),
    ("1.500", "numeric", "numeric(10,2)", "1.50"),
    ("NaN", "numeric", "numeric(10,2)", "NaN"),
    ("1200", "numeric", "numeric(3,-2)", "1200"),
    ("16777216", "integer", "real", "1.6777216e+07"),
    ("9007199254740992", "bigint", "double precision", "9.007199254740992e+15"),
    ("-9007199254740991", "bigint", "double precision", "-9.007199254740991e+15"),
    ("0.1", "numeric", "double precision", "0.1"),
    ("0.1", "double precision", "numeric", "0.1"),
    ("0.30000000000000004", "double precision", "numeric", "0.30000000000000004"),
    ("0.5", "double precision", "real", "0.5"),
    ("Infinity", "double precision", "real", "Infinity"),
    ("NaN", "double precision", "real", "NaN"),
    ("2.00", "numeric", "integer", "2"),
    ("2", "smallint", "bigint", "2"),
    ("99999", "integer", "numeric(7,2)", "99999.00"),
    ("t", "boolean", "integer", "1"),
    ("abc", "text", "varchar(3)", "abc"),
    ("ab", "char(5)", "text", "ab"),
    ("ab", "char(5)", "varchar(2)", "ab"),
    ("ab ", "varchar", "text", "ab "),
    ("äöü", "text", "varchar(3)", "äöü"),
    ("2026-02-03 00:00", "timestamp", "date", "2026-02-03"),
    ("infinity", "timestamp", "date", "infinity"),
    ("2026-02-03", "date", "timestamp", "2026-02-03 00:00:00"),
    ("infinity", "date", "timestamp", "infinity"),
    ("2026-02-03 10:00:00", "timestamp", "timestamp(0)", "2026-02-03 10:00:00"),
    ('{"b": 1, "a": [1, 1.0]}', "json", "jsonb", '{"a": [1, 1.0], "b": 1}'),
    ("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "text", "uuid", None),
    ("10.0.0.0/8", "inet", "cidr", "10.0.0.0/8"),
    ("42", "integer", "text", "42"),
    ("42", "integer", "varchar(2)", "42"),
    ("{1.50,NULL}", "numeric[]", "numeric(10,2)[]", "{1.50,NULL}"),
    ("{{1,2},{3,4}}", "integer[]", "bigint[]", "{{1,2},{3,4}}"),
    ("{}", "text[]", "varchar(3)[]", "{}"),
]

REFUSED = [
    ("text", "integer", "cast: integer"),
    ("text", "numeric(10,2)", "parse_number"),
    ("text", "date", "parse_date"),
    ("text", "timestamptz", "tz: <zone>"),
    ("text", "boolean", "to_bool"),
    ("timestamp", "timestamptz", "tz: zone"),
    ("timestamptz", "timestamp", "tz: zone"),
    ("integer", "boolean", "expr"),
    ("date", "integer", "expr"),
    ("double precision[]", "real[]", "expr"),
]


@pytest.fixture(scope="module")
def home(pg: EmbeddedPostgres) -> Iterator[psycopg.Connection]:
    """One connection for all: values stand in the queries, and nothing is stored."""
    pg.ensure_database("assigning")
    with psycopg.connect(pg.dsn("assigning"), autocommit=True) as conn:
        yield conn
    pg.drop_database("assigning")


@pytest.mark.parametrize(("value", "source", "target", "rule"), CAUGHT)
def test_a_value_that_would_change_is_caught_and_becomes_null(
    home: psycopg.Connection, value: str, source: str, target: str, rule: str
) -> None:
    assert assigned(home, value, source, target) == (rule, None)


@pytest.mark.parametrize(("value", "source", "target", "stored"), KEPT)
def test_a_value_that_fits_is_kept(
    home: psycopg.Connection, value: str, source: str, target: str, stored: str | None
) -> None:
    assert assigned(home, value, source, target) == (None, stored or value.lower())


@pytest.mark.parametrize(("source", "target", "advice"), REFUSED)
def test_a_conversion_that_needs_a_decision_is_refused_with_advice(
    source: str, target: str, advice: str
) -> None:
    with pytest.raises(ValueError, match="without being told how") as error:
        assign(
            compiled(named(source), []),
            named(source),
            named(target),
            nullable=True,
            has_default=False,
        )
    assert advice in str(error.value)


def test_the_same_type_costs_nothing() -> None:
    for type_ in ("numeric(10,2)", "text", "varchar(20)", "timestamptz", "jsonb", "integer[]"):
        plain = compiled(named(type_), [])
        assert assign(plain, named(type_), named(type_), nullable=True, has_default=False) == plain


def test_a_narrower_source_needs_no_guard() -> None:
    for source, target in [
        ("varchar(3)", "varchar(5)"),
        ("integer", "bigint"),
        ("text", "varchar"),
    ] + [
        ("numeric(8,2)", "numeric(10,2)"),
        ("integer", "numeric(12,2)"),
        ("integer", "double precision"),
    ]:
        plain = compiled(named(source), [])
        assigned_ = assign(plain, named(source), named(target), nullable=True, has_default=False)
        assert assigned_.guards == (), (source, target)


def test_a_declared_round_or_truncate_is_no_guard(home: psycopg.Connection) -> None:
    def declared(value: str, source: str, target: str, loss: str, places: int) -> object:
        return assigned(home, value, source, target, steps((loss, places)), natural=target)

    assert declared("1.005", "numeric", "numeric", "round", 2) == (None, "1.01")
    assert declared("1.009", "numeric", "numeric", "truncate", 2) == (None, "1.00")
    assert declared("abcdef", "text", "text", "truncate", 3) == (None, "abc")
    whole = steps(("truncate", 1))
    assert assigned(home, "1.99", "numeric", "integer", whole, natural="numeric") == (None, "1")
    day = steps(("truncate", 0))
    assert assigned(home, "2026-02-03 10:00", "timestamp", "date", day) == (None, "2026-02-03")


def test_a_declared_round_still_must_fit(home: psycopg.Connection) -> None:
    rounded = steps(("round", 1))
    assert assigned(home, "99.96", "numeric", "numeric(3,1)", rounded, natural="numeric") == (
        "out_of_range",
        None,
    )


def test_a_null_for_a_column_that_takes_none_is_caught(home: psycopg.Connection) -> None:
    assert assigned(home, None, "text", "text", nullable=False) == ("not_null", None)
    assert assigned(home, None, "text", "text") == (None, None)
    assert assigned(home, None, "numeric", "integer") == (None, None)


def test_an_earlier_guard_wins_over_not_null(home: psycopg.Connection) -> None:
    assert assigned(home, "1.5", "numeric", "integer", nullable=False)[0] == "scale_lost"


def test_an_enum_takes_only_its_labels(home: psycopg.Connection) -> None:
    home.execute("CREATE TYPE mood AS ENUM ('sad', 'glad')")
    mood = PgType("mood", "mood", kind="e", category="E", builtin=False)
    assert assigned(home, "glad", "text", mood) == (None, "glad")
    assert assigned(home, "Glad", "text", mood) == ("cast", None)


def test_a_domain_brings_its_base_types_rules_and_its_checks(home: psycopg.Connection) -> None:
    home.execute("CREATE DOMAIN price AS numeric(6,2) CHECK (VALUE >= 0)")
    price = PgType(
        "price", "price", kind="d", category="N", builtin=False, base=named("numeric(6,2)")
    )
    assert assigned(home, "1.50", "numeric", price) == (None, "1.50")
    assert assigned(home, "1.505", "numeric", price) == ("scale_lost", None)
    assert assigned(home, "-1", "numeric", price) == ("check", None)


def test_a_value_out_of_a_domain_is_judged_by_its_base_type(home: psycopg.Connection) -> None:
    home.execute("CREATE DOMAIN amount AS numeric")
    amount = PgType(
        "amount", "amount", kind="d", category="N", builtin=False, base=named("numeric")
    )
    expression = assign(
        compiled(amount, []), amount, named("integer"), nullable=True, has_default=False
    )
    assert evaluated(home, expression, "1.5", "amount") == ("scale_lost", None)


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)
NUMBERS = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.decimals(allow_nan=True, allow_infinity=True)
    .map(lambda n: str(n).replace("sNaN", "NaN"))
    .filter(lambda text: "NaN" not in text or text == "NaN")
    .filter(lambda text: abs(int(text.split("E")[1])) < 400 if "E" in text else True),
)
DOUBLES = st.floats(width=64).map(repr)
PAIRS = [
    ("numeric", NUMBERS, ["smallint", "integer", "bigint", "numeric(5,2)", "numeric(4,-2)"]
     + ["numeric(3,5)", "real", "double precision", "text"]),
    ("double precision", DOUBLES, ["smallint", "bigint", "numeric", "numeric(20,4)", "real"]),
    ("real", st.floats(width=32).map(repr), ["integer", "numeric", "double precision"]),
    ("bigint", st.integers(-(2**63), 2**63 - 1).map(str), ["smallint", "integer", "numeric(10,2)"]
     + ["numeric", "real", "double precision", "text"]),
    ("integer", st.integers(-(2**31), 2**31 - 1).map(str), ["smallint", "real", "numeric(7,0)"]),
    ("text", TEXTS, ["varchar(3)", "varchar", "char(4)"]),
    ("date", st.dates().map(str), ["timestamp", "text"]),
    ("timestamp", st.datetimes().map(str), ["date", "timestamp(3)", "timestamp(0)", "text"]),
]  # fmt: skip
CASES = [(source, values, target) for source, values, targets in PAIRS for target in targets]


@pytest.mark.parametrize(("source", "values", "target"), CASES)
def test_whatever_no_guard_catches_comes_back_as_it_was(
    home: psycopg.Connection, source: str, values: st.SearchStrategy[str], target: str
) -> None:
    expression = assign(
        compiled(named(source), []), named(source), named(target), nullable=True, has_default=False
    )

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(values)
    def check(value: str) -> None:
        rule, stored = evaluated(home, expression, value, source)
        if rule is None:
            assert _comes_back(home, stored, value, source, target), (value, stored)
        else:
            assert stored is None

    check()


def _comes_back(
    home: psycopg.Connection, stored: str | None, value: str, source: str, target: str
) -> bool:
    floats = {"real", "double precision"}
    # A float's shortest text says all of it; its cast to numeric does not.
    through = "text::numeric::" if target in floats and source not in floats else ""
    row = home.execute(
        f"SELECT %s::{target}::{through}{source} IS NOT DISTINCT FROM %s::{source}", (stored, value)
    ).fetchone()
    return row is not None and bool(row[0])


def test_guards_are_never_null(home: psycopg.Connection) -> None:
    for source, target in [("numeric", "integer"), ("json", "jsonb"), ("text", "varchar(2)")]:
        expression: Expression = assign(
            compiled(named(source), []),
            named(source),
            named(target),
            nullable=False,
            has_default=False,
        )
        for guard in expression.guards:
            row = home.execute(
                b"SELECT "
                + guard.when.as_bytes(None)
                + f" FROM (SELECT NULL::{source} AS v) l".encode()
            ).fetchone()
            assert row is not None and row[0] in (True, False)
