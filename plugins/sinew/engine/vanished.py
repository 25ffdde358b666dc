"""Rows that an earlier load brought and that the source does not have any more."""

from __future__ import annotations

import psycopg
from psycopg import sql

from sinew.compile import earlier_sql, window_sql
from sinew.compile.entity_plan import EntityPlan
from sinew.engine.batch import Batch
from sinew.errors import ConstraintError
from sinew.spec.sync import Mark, SyncEntity


def clear_vanished(home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> int:
    """Do with a sync's what the mapping says; returns their number. Within the load's transaction.

    Raises ConstraintError when more are gone than the mapping allows.
    """
    entity = plan.entity
    assert isinstance(entity, SyncEntity)
    if entity.vanished == "keep":
        return 0
    where = (plan, batch.id, batch.phase, batch.range)
    missing, gone, all_ = home.execute(window_sql.count_vanished(*where)).fetchone() or (0, 0, 0)
    if not missing:
        return 0
    if gone:
        refuse_too_many(entity, batch, gone, all_)
    if isinstance(entity.vanished, Mark):
        column = entity.vanished.mark
        home.execute(window_sql.set_mark(*where, column, _mark(plan, column)))
        home.execute(earlier_sql.mark_vanished(*where, gone=True))
    else:
        take_out(home, plan, batch)
    return int(gone)


def take_out(home: psycopg.Connection, plan: EntityPlan, batch: Batch) -> int:
    """Delete what an earlier load brought and this batch has not read; leaves a tombstone for each row."""
    now = plan, batch.id, batch.phase, batch.range
    gone = True
    try:
        with home.transaction():
            home.execute("SET CONSTRAINTS ALL IMMEDIATE")
            home.execute(earlier_sql.delete_vanished(*now))
    except psycopg.errors.ForeignKeyViolation:
        # Children are loaded after their parents: the second pass takes the rows out, children first.
        gone = False
    return home.execute(earlier_sql.mark_vanished(*now, gone=gone)).rowcount


def refuse_too_many(entity: SyncEntity, batch: Batch, gone: int, all_: int) -> None:
    """Raise ConstraintError when more rows are gone than the mapping allows at once."""
    limit: int | float | None = entity.max_vanished
    if limit is None:
        # Nobody means to empty a table by a source that answers with nothing.
        limit = all_ - 1 if batch.kind == "whole" else all_
    allowed = limit * all_ if isinstance(limit, float) else limit
    if gone > allowed:
        raise ConstraintError(
            f"load {batch.title}: {gone} of {all_} rows are gone from the source, at most {allowed:g} may go at "
            "once: look at the source; if it is right, raise `max_vanished`, and clear the task"
        )


def _mark(plan: EntityPlan, column: str) -> sql.Composable:
    kinds = {fact.name: fact.type.name for fact in plan.facts.target}
    return sql.SQL("true") if kinds.get(column) == "bool" else sql.SQL("now()")
