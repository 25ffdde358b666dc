"""Statements of a sync's load: newer versions stay, and rows that are gone are counted or marked."""

from __future__ import annotations

from psycopg import sql

from sinew.compile.bounds import ALWAYS, Range, in_window
from sinew.compile.earlier_sql import vanished
from sinew.compile.entity_plan import EntityPlan
from sinew.compile.load_sql import AND, COMMA, equal, ledger_target, staged_key
from sinew.compile.table_sql import MOMENT, landing_table, staging_table


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


def settle_unchanged(plan: EntityPlan, batch_id: int) -> sql.Composed:
    """Take out of staging what the target has already, and let the row ledger say that this batch saw it.

    Compared with the target itself, so that a row that somebody changed there is written again.
    """
    keys = [f"k{i}" for i in range(1, len(plan.key_types) + 1)]
    returned = COMMA.join(sql.SQL("w.{0} AS {0}").format(sql.Identifier(name)) for name in keys)
    return sql.SQL(
        "WITH same AS (DELETE FROM {staging} AS s USING {ledger} AS w, {target} AS t "
        "WHERE {staged} AND w.state = 'live' AND w.target_hash = s.sinew_target_hash AND {held} AND {same_key} "
        "AND {hash} = s.sinew_target_hash RETURNING {returned}, s.sinew_source_hash AS hash, s.{moment} AS moment) "
        "UPDATE {ledger} AS w SET batch_id = {batch}, source_hash = same.hash, moment = same.moment FROM same "
        "WHERE {entry}"
    ).format(
        staging=staging_table(batch_id),
        ledger=plan.ledger,
        target=plan.target,
        staged=AND.join(staged_key(plan)),
        held=ledger_target(plan),
        same_key=AND.join(equal("t", name, "s", name) for name in plan.target_key),
        hash=plan.target_hash("t"),
        returned=returned,
        moment=sql.Identifier(MOMENT),
        batch=sql.Literal(batch_id),
        entry=AND.join(equal("w", name, "same", name) for name in keys),
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
    """Rows that an earlier run read and this one no longer found; those of them that the target has; all it has here.

    A reject that never came to the target has no target key.
    """
    # Each count by itself: as the filter of one, the search for staged rows would run once for every entry.
    return sql.SQL(
        "SELECT gone.*, (SELECT count(*) FROM {ledger} AS w WHERE w.state IN ('live', 'rejected') "
        "AND w.t1 IS NOT NULL AND {in_window}) FROM (SELECT count(*), count(*) FILTER (WHERE w.t1 IS NOT NULL) "
        "FROM {ledger} AS w WHERE {gone}) AS gone"
    ).format(
        gone=vanished(plan, batch_id, phase, range_),
        ledger=plan.ledger,
        in_window=in_window(sql.SQL("w.moment"), range_) if range_.kind == "window" else ALWAYS,
    )


def overtaken(plan: EntityPlan, batch_id: int) -> sql.Composed:
    """Number of landed rows whose entry in the row ledger belongs to another batch by now."""
    same = AND.join(
        equal("w", f"k{i}", "l", name) for i, name in enumerate(plan.entity.source_key, start=1)
    )
    return sql.SQL("SELECT count(*) FROM {} AS l JOIN {} AS w ON {} WHERE w.batch_id <> {}").format(
        landing_table(batch_id), plan.ledger, same, sql.Literal(batch_id)
    )
