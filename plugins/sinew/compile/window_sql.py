"""Statements of a sync's load: newer versions stay, and rows that are gone are counted or marked."""

from __future__ import annotations

from psycopg import sql

from sinew.compile.bounds import ALWAYS, Range, in_window
from sinew.compile.earlier_sql import vanished
from sinew.compile.entity_plan import EntityPlan
from sinew.compile.load_sql import AND, ledger_target, staged_key
from sinew.compile.table_sql import MOMENT, staging_table


def newer_entries(plan: EntityPlan, batch_id: int) -> sql.Composed:
    """Take out of staging what the row ledger has in a newer version already."""
    return sql.SQL(
        "DELETE FROM {} AS s USING {} AS w WHERE {} AND w.moment > s.{} AND w.state IN ('live', 'rejected', 'deleted')"
    ).format(
        staging_table(batch_id),
        plan.ledger,
        AND.join(staged_key(plan)),
        sql.Identifier(MOMENT),
    )


def latest_moment(batch_id: int) -> sql.Composed:
    """The moment of the newest staged row, or NULL."""
    return sql.SQL("SELECT max(s.{}) FROM {} AS s").format(
        sql.Identifier(MOMENT), staging_table(batch_id)
    )


def set_mark(
    plan: EntityPlan, batch_id: int, phase: str, range_: Range, column: str, value: sql.Composable
) -> sql.Composed:
    """Mark those rows in the target instead."""
    return sql.SQL("UPDATE {} AS t SET {} = {} FROM {} AS w WHERE {} AND {}").format(
        plan.target,
        sql.Identifier(column),
        value,
        plan.ledger,
        ledger_target(plan),
        vanished(plan, batch_id, phase, range_),
    )


def count_vanished(plan: EntityPlan, batch_id: int, phase: str, range_: Range) -> sql.Composed:
    """Rows that an earlier run brought and this one no longer found, and all that it could have found."""
    return sql.SQL(
        "SELECT count(*) FILTER (WHERE {gone}), count(*) FROM {ledger} AS w "
        "WHERE w.state = 'live' AND {in_window}"
    ).format(
        gone=vanished(plan, batch_id, phase, range_),
        ledger=plan.ledger,
        in_window=in_window(sql.SQL("w.moment"), range_) if range_.kind == "window" else ALWAYS,
    )


def overtaken(plan: EntityPlan, batch_id: int) -> sql.Composed:
    """Number of staged rows whose entry in the row ledger belongs to another batch by now."""
    return sql.SQL("SELECT count(*) FROM {} AS s JOIN {} AS w ON {} WHERE w.batch_id <> {}").format(
        staging_table(batch_id), plan.ledger, AND.join(staged_key(plan)), sql.Literal(batch_id)
    )
