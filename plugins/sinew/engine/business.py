"""Ask a business question of both databases and compare the answers, key by key."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from sinew.compile import business_sql, business_verdict, rejected_sql
from sinew.compile.business_sql import Answer, Check, Forms
from sinew.compile.rejected_sql import RejectedRows
from sinew.engine.session import translated
from sinew.errors import ConfigurationError

_NUMBERS = frozenset(["smallint", "integer", "bigint", "numeric", "real", "double precision"])
_DAYS = frozenset(["date", "timestamp without time zone", "timestamp with time zone"])
# The keys go as one array literal a column; a few hundred kilobytes of SQL.
_KEYS_A_QUESTION = 10_000
_MAX_LISTED = 2000


@dataclass(frozen=True)
class BusinessDifference:
    """A key that only one answer has, or a column with two values, as text; None is NULL."""

    kind: str
    key: tuple[str | None, ...]
    column: str | None = None
    source: str | None = None
    target: str | None = None


@dataclass(frozen=True)
class RejectedAmount:
    """A rejected row with what it was worth; ``taken`` says that it was taken off an answer."""

    source_key: tuple[str | None, ...]
    key: tuple[str | None, ...]
    amounts: dict[str, str | None]
    column: str
    rule: str
    reason: str
    taken: bool


@dataclass(frozen=True)
class ColumnTotal:
    """A column over all keys: source = target + rejected when nothing is wrong. Numbers as text."""

    column: str
    source: str
    rejected: str
    target: str


@dataclass(frozen=True)
class BusinessResult:
    """What a business check found.

    ``asked`` and ``answered`` count the compared keys of source and target; ``source_rows`` and
    ``target_rows`` their whole answers, keys of rows that are not live included.
    """

    name: str
    equal: bool
    asked: int
    answered: int
    source_rows: int
    target_rows: int
    columns: tuple[str, ...]
    difference_count: int
    differences: tuple[BusinessDifference, ...]
    totals: tuple[ColumnTotal, ...]
    rejected_count: int
    rejected: tuple[RejectedAmount, ...]
    seconds: float


def run_business_check(
    source: psycopg.Connection,
    home: psycopg.Connection,
    check: Check,
    *,
    max_differences: int = 100,
) -> BusinessResult:
    """Run one check; both answers come together in temporary tables of home, which do not stay.

    ``source`` is in the caller's REPEATABLE READ transaction. Raises ConfigurationError for answers
    that cannot be compared.
    """
    started = time.monotonic()
    with (
        translated(f"business check {check.name!r}"),
        source.transaction(force_rollback=True),
        home.transaction(force_rollback=True),
    ):
        forms = _bring_together(source, home, check)
        if check.rejected is not None:
            _bring_rejects(source, home, check, check.rejected)
        home.execute(business_sql.compared_rows(forms))
        return _result(home, forms, max_differences, started)


def _bring_together(source: psycopg.Connection, home: psycopg.Connection, check: Check) -> Forms:
    with _schema(source, check.source_schema):
        asked = _columns(source, check.source)
        home.execute(business_sql.create_asked(asked))
        _pipe(source, business_sql.copy_answer(check), home, business_sql.ASKED)
    with _schema(home, check.target_schema):
        answered = _columns(home, check.target)
        home.execute(business_sql.create_answered(check))
    _refuse(check, asked, answered)
    for side, table in (("source", business_sql.ASKED), ("target", business_sql.ANSWERED)):
        if home.execute(business_verdict.repeated_key(table, check.key)).fetchone():
            raise ConfigurationError(
                f"business check {check.name!r}: a key is more than once in the {side}'s answer; "
                f"the key is {_list(check.key)}; every key may be there once: "
                f"group by it, or add the columns to `key` that make it unique"
            )
    return Forms(check, asked, answered)


@contextmanager
def _schema(conn: psycopg.Connection, schema: str) -> Iterator[None]:
    """Unqualified names of the question mean the mapping's schema."""
    before = conn.execute("SELECT current_setting('search_path')").fetchone()
    setting = "SELECT set_config('search_path', %s, true)"
    conn.execute(setting, (sql.Identifier(schema).as_string(conn) + ", pg_catalog",))
    yield
    conn.execute(setting, before)


def _columns(conn: psycopg.Connection, statement: str) -> Answer:
    """The answer's columns. A type that another server may not know is carried as text."""
    described = conn.execute(business_sql.columns_of_answer(statement)).description or []
    oids = [column.type_code for column in described]
    types = conn.execute(
        "SELECT CASE WHEN oid < 10000 THEN format_type(oid, -1) ELSE 'text' END "
        "FROM unnest(%s::oid[]) WITH ORDINALITY AS t(oid, n) ORDER BY n",
        (oids,),
    ).fetchall()
    names = [column.name for column in described]
    return Answer(
        {name: (type_, _category(type_)) for name, (type_,) in zip(names, types, strict=True)}
    )


def _category(type_: str) -> str:
    return "N" if type_ in _NUMBERS else "D" if type_ in _DAYS else "T"


def _refuse(check: Check, asked: Answer, answered: Answer) -> None:
    for side, answer in (("source", asked), ("target", answered)):
        lacking = [name for name in check.key if name not in answer.columns]
        if lacking:
            raise ConfigurationError(
                f"business check {check.name!r}: the {side}'s answer lacks the column "
                f"{_list(lacking)}; it has {_list(answer.columns)}: "
                f"name the key's columns alike in both questions"
            )
    if not Forms(check, asked, answered).compared:
        raise ConfigurationError(
            f"business check {check.name!r}: nothing to compare; the source answers "
            f"{_list(asked.columns)}, the target {_list(answered.columns)}: "
            f"give the compared columns the same name in both questions"
        )


def _list(names: Sequence[str] | dict[str, tuple[str, str]]) -> str:
    return ", ".join(names) or "nothing"


def _pipe(
    source: psycopg.Connection, out: sql.Composed, home: psycopg.Connection, table: sql.Identifier
) -> None:
    """Text, not binary: the two servers may be of different versions. Memory stays constant."""
    into = sql.SQL("COPY {} FROM STDIN").format(table)
    with source.cursor().copy(out) as reader, home.cursor().copy(into) as writer:
        for block in reader:
            writer.write(block)


# --- rejected rows


def _bring_rejects(
    source: psycopg.Connection, home: psycopg.Connection, check: Check, rejected: RejectedRows
) -> None:
    home.execute(rejected_sql.create_rejected(rejected))
    home.execute(rejected_sql.create_amounts(rejected))
    keys = home.execute(rejected_sql.rejected_keys(rejected)).fetchall()
    with _schema(source, check.source_schema):
        for start in range(0, len(keys), _KEYS_A_QUESTION):
            part = keys[start : start + _KEYS_A_QUESTION]
            _bring_amounts(source, home, check, rejected, part)
        query = rejected_sql.amounts_without_key(rejected, check.key)
        _pipe(source, query, home, rejected_sql.AMOUNTS)
    home.execute(rejected_sql.create_listed(rejected))


def _bring_amounts(
    source: psycopg.Connection,
    home: psycopg.Connection,
    check: Check,
    rejected: RejectedRows,
    keys: Sequence[tuple[str, ...]],
) -> None:
    """Fetch amounts; where an expression fails for a bad row, halve until that row is alone."""
    query = rejected_sql.amounts_of(rejected, check.key, keys)
    try:
        with source.transaction(), home.transaction():
            _pipe(source, query, home, rejected_sql.AMOUNTS)
    except psycopg.DataError:
        if len(keys) > 1:
            middle = len(keys) // 2
            _bring_amounts(source, home, check, rejected, keys[:middle])
            _bring_amounts(source, home, check, rejected, keys[middle:])


# --- the verdict


def _result(
    home: psycopg.Connection, forms: Forms, max_differences: int, started: float
) -> BusinessResult:
    counted = home.execute(business_verdict.counts()).fetchone()
    assert counted is not None
    asked, answered, source_rows, target_rows = counted
    found = home.execute(business_verdict.differences(forms, max_differences)).fetchall()
    totals = business_verdict.column_totals(forms)
    rejected_count, rejected = _rejected(home, forms)
    return BusinessResult(
        name=forms.check.name,
        equal=not found,
        asked=asked,
        answered=answered,
        source_rows=source_rows,
        target_rows=target_rows,
        columns=forms.compared,
        difference_count=found[0][4] if found else 0,
        differences=tuple(
            BusinessDifference(kind, tuple(key), column, a, b)
            for kind, column, a, b, _, *key in found
        ),
        totals=tuple(ColumnTotal(*row) for row in home.execute(totals)) if totals else (),
        rejected_count=rejected_count,
        rejected=rejected,
        seconds=time.monotonic() - started,
    )


def _rejected(home: psycopg.Connection, forms: Forms) -> tuple[int, tuple[RejectedAmount, ...]]:
    check = forms.check
    if check.rejected is None:
        return 0, ()
    own, asked = len(check.rejected.key), len(check.rejected.key) + len(check.key)
    names = tuple(check.rejected.amounts)
    listed = home.execute(business_verdict.listed_rejects(forms, _MAX_LISTED)).fetchall()
    return (listed[0][4] if listed else 0), tuple(
        RejectedAmount(
            source_key=tuple(values[:own]),
            key=tuple(values[own:asked]),
            amounts=dict(zip(names, values[asked:], strict=True)),
            column=column,
            rule=rule,
            reason=reason,
            taken=taken,
        )
        for taken, column, rule, reason, _, *values in listed
    )
