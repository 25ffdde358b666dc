"""What two answers to one question say together: counts, differences, sums, rejected rows."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from sinew.compile.business_sql import (
    ANSWERED,
    ASKED,
    COMPARED,
    Forms,
    asked_and_rejected,
    joined_ledger,
    same_keys,
)
from sinew.compile.rejected_sql import LISTED

_COMMA = sql.SQL(", ")
_AND = sql.SQL(" AND ")


def repeated_key(table: sql.Identifier, key: Sequence[str]) -> sql.Composed:
    """A row when some key is in an answer more than once."""
    names = _COMMA.join(sql.Identifier(name) for name in key)
    return sql.SQL("SELECT 1 FROM {} GROUP BY {} HAVING count(*) > 1 LIMIT 1").format(table, names)


def counts() -> sql.Composed:
    """One row: keys asked about, keys answered, rows of the source's answer, of the target's."""
    return sql.SQL(
        "SELECT count(*) FILTER (WHERE asked), count(*) FILTER (WHERE answered), "
        "(SELECT count(*) FROM {}), (SELECT count(*) FROM {}) FROM {}"
    ).format(ASKED, ANSWERED, COMPARED)


def differences(forms: Forms, limit: int) -> sql.Composed:
    """Kind, column, both values as text, number of all differences, key as texts."""
    keys = _COMMA.join(sql.Identifier(f"x{i}") for i in range(len(forms.check.key)))
    changed = (_changed(forms, i, keys) for i in range(len(forms.compared)))
    parts = [_whole_rows(forms, keys), *changed]
    return sql.SQL(
        "SELECT kind, name, a, b, count(*) OVER (), {keys} FROM ({parts}) AS d "
        "ORDER BY {keys}, name LIMIT {limit}"
    ).format(keys=keys, parts=sql.SQL(" UNION ALL ").join(parts), limit=sql.Literal(limit))


def _whole_rows(forms: Forms, keys: sql.Composed) -> sql.Composed:
    return sql.SQL(
        "SELECT CASE WHEN asked THEN 'missing' ELSE 'extra' END AS kind, NULL::text AS name, "
        "NULL::text AS a, NULL::text AS b, {} FROM {} "
        "WHERE (asked IS NULL OR answered IS NULL) AND NOT ({})"
    ).format(keys, COMPARED, _nothing_left(forms))


def _nothing_left(forms: Forms) -> sql.Composed:
    """Every row behind this key was rejected: nothing is left that the target could hold."""
    amounts = forms.check.rejected.amounts if forms.check.rejected else {}
    taken = [i for i, name in enumerate(forms.compared) if name in amounts and forms.numeric(name)]
    if not taken:
        return sql.SQL("false").format()
    parts = [
        sql.SQL("{} IS NOT NULL AND abs({}) <= {}").format(
            sql.Identifier(f"r{i}"), sql.Identifier(f"a{i}"), sql.Literal(forms.check.tolerance)
        )
        for i in taken
    ]
    return sql.SQL("answered IS NULL AND coalesce({}, false)").format(_AND.join(parts))


def _changed(forms: Forms, position: int, keys: sql.Composed) -> sql.Composed:
    a, b = sql.Identifier(f"a{position}"), sql.Identifier(f"b{position}")
    name = forms.compared[position]
    close = sql.SQL("false").format()
    if forms.numeric(name):
        close = sql.SQL("coalesce(abs({}::numeric - {}::numeric) <= {}, false)").format(
            a, b, sql.Literal(forms.check.tolerance)
        )
    return sql.SQL(
        "SELECT 'changed', {}, {}::text, {}::text, {} FROM {} "
        "WHERE asked AND answered AND {} IS DISTINCT FROM {} AND NOT {}"
    ).format(sql.Literal(name), a, b, keys, COMPARED, a, b, close)


def column_totals(forms: Forms) -> sql.Composed | None:
    """One row a number column: name, sums of the source, of what was rejected, of the target."""
    numbers = [(i, name) for i, name in enumerate(forms.compared) if forms.numeric(name)]
    if not numbers:
        return None
    return sql.SQL(" UNION ALL ").join(
        sql.SQL(
            "SELECT {name}, coalesce(sum({a}::numeric + coalesce({r}, 0)), 0)::text, "
            "coalesce(sum({r}), 0)::text, coalesce(sum({b}::numeric), 0)::text FROM {table}"
        ).format(
            name=sql.Literal(name),
            a=sql.Identifier(f"a{i}"),
            b=sql.Identifier(f"b{i}"),
            r=sql.Identifier(f"r{i}"),
            table=COMPARED,
        )
        for i, name in numbers
    )


def listed_rejects(forms: Forms, limit: int) -> sql.Composed:
    """Rejected rows: whether taken off, column, rule, reason, number of all, keys, amounts."""
    check = forms.check
    assert check.rejected is not None
    keys = [sql.Identifier("j", f"k{i}") for i in range(len(check.rejected.key))]
    check_keys = [sql.Identifier("j", f"c{i}") for i in range(len(check.key))]
    amounts = [sql.Identifier("j", f"a{i}") for i in range(len(check.rejected.amounts))]
    return sql.SQL(
        "SELECT {taken} AS taken, j.column_name, j.rule, j.reason, count(*) OVER (), {columns} "
        "FROM {table} AS j ORDER BY taken DESC, {columns} LIMIT {limit}"
    ).format(
        taken=_taken(forms),
        columns=_COMMA.join(
            [*keys, *check_keys, *(sql.SQL("{}::text").format(amount) for amount in amounts)]
        ),
        table=LISTED,
        limit=sql.Literal(limit),
    )


def _taken(forms: Forms) -> sql.Composed:
    """Predicate: the check's key of this rejected row was asked about."""
    same = same_keys(*asked_and_rejected(forms))
    return sql.SQL("EXISTS (SELECT FROM {} AS s{} WHERE {})").format(
        ASKED, joined_ledger(forms), same
    )
