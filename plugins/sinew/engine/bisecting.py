"""One set-based INSERT; where an expression fails for some rows, halve until those rows are alone."""

from __future__ import annotations

import psycopg
from psycopg import sql

from sinew.compile.entity_plan import EntityPlan
from sinew.compile.table_sql import landing_table
from sinew.compile.transform_sql import Circumstances, insert_staging
from sinew.engine.batch import Batch
from sinew.errors import StatementError

# A failing statement costs a savepoint each time: 5,000 bad rows of 500,000 took 68,007 statements. Beyond
# this many bad rows the expression is wrong, not the data.
MOST_BAD_ROWS = 500
# Errors that a value causes: data exceptions, and an expression that an operator refuses.
_DATA_ERRORS = (psycopg.DataError, psycopg.errors.RaiseException)


def insert_bisecting(
    home: psycopg.Connection, plan: EntityPlan, now: Circumstances, batch: Batch
) -> None:
    """Stage the batch; rows whose expression fails end up in the temporary table sinew_bad, with the SQLSTATE."""
    try:
        with home.transaction():
            home.execute(insert_staging(plan, now))
    except _DATA_ERRORS:
        pages = _pages(home, batch)
        _halve(home, plan, now, batch, [(0, pages)])


def _pages(home: psycopg.Connection, batch: Batch) -> int:
    table = landing_table(batch.id).as_string(None)
    row = home.execute(
        "SELECT pg_relation_size(%s::regclass) / current_setting('block_size')::int", (table,)
    ).fetchone()
    return int(row[0]) if row else 0


def _halve(
    home: psycopg.Connection,
    plan: EntityPlan,
    now: Circumstances,
    batch: Batch,
    parts: list[tuple[int, int]],
) -> None:
    while parts:
        first, last = parts.pop()
        error = _attempt(home, plan, now, _between(f"({first},0)", f"({last},0)"))
        if error is None:
            continue
        if last - first > 1:
            middle = (first + last) // 2
            parts += [(middle, last), (first, middle)]
        else:
            _row_by_row(home, plan, now, batch, first)


def _row_by_row(
    home: psycopg.Connection, plan: EntityPlan, now: Circumstances, batch: Batch, page: int
) -> None:
    rows = home.execute(
        sql.SQL("SELECT l.ctid::text FROM {} AS l WHERE {}").format(
            landing_table(batch.id), _between(f"({page},0)", f"({page + 1},0)")
        )
    ).fetchall()
    for (row,) in rows:
        error = _attempt(home, plan, now, sql.SQL("l.ctid = {}::tid").format(sql.Literal(row)))
        if error is not None:
            _set_aside(home, batch, row, error)


def _attempt(
    home: psycopg.Connection, plan: EntityPlan, now: Circumstances, rows: sql.Composable
) -> psycopg.Error | None:
    try:
        with home.transaction():
            home.execute(insert_staging(plan, now, rows))
    except _DATA_ERRORS as error:
        return error
    return None


def _set_aside(home: psycopg.Connection, batch: Batch, row: str, error: psycopg.Error) -> None:
    # The server's message may quote the value, so only the name of the error is kept.
    home.execute(
        "INSERT INTO sinew_bad VALUES (%s::tid, '*', %s)",
        (row, f"{type(error).__name__} ({error.sqlstate})"),
    )
    count = home.execute("SELECT count(*) FROM sinew_bad").fetchone()
    if count and count[0] > MOST_BAD_ROWS:
        raise StatementError(
            f"transform {batch.title}: an expression fails for more than {MOST_BAD_ROWS} rows, the last with "
            f"{type(error).__name__} ({error.sqlstate}); mend the expression in the mapping"
        )


def _between(first: str, last: str) -> sql.Composable:
    """A range scan over landing's pages."""
    return sql.SQL("l.ctid >= {}::tid AND l.ctid < {}::tid").format(
        sql.Literal(first), sql.Literal(last)
    )
