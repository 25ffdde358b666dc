"""The second pass of a phase: references that could not be filled while their batches were loaded."""

from __future__ import annotations

import psycopg
from psycopg import sql

from sinew.compile.earlier_sql import delete_marked, release_marked
from sinew.compile.entity_plan import EntityPlan, ledger_of
from sinew.compile.settle_sql import forget_unsettled, settle_reference, unsettled
from sinew.engine import ledger
from sinew.engine.session import connect, translated
from sinew.engine.steps import Context


def settle(context: Context, phase: str) -> dict[str, int]:
    """Fill deferred references whose parents have arrived; after the last phase tell of those without one.

    Then take rows out of the target that vanished from the source while children referred to them, children first.

    Returns the number of values filled, by entity.column. Each entity is one transaction with its row ledger.
    """
    migration = context.migration
    filled: dict[str, int] = {}
    with (
        connect(context.home, step="settle") as home,
        translated(f"settle {migration.name} phase {phase}"),
    ):
        ledger.require_active(home, migration)
        last = phase == migration.phases[-1].name
        for name in migration.entity_order:
            plan = ledger.planned(home, migration, name).plan
            if plan.deferred:
                filled |= _settle_entity(home, plan, last)
        for name in reversed(migration.entity_order):
            _take_out(home, ledger.planned(home, migration, name).plan, last)
        for name in migration.entity_order:
            plan = ledger.planned(home, migration, name).plan
            # The planner knows nothing of freshly loaded tables until autovacuum comes by.
            tables = [plan.ledger] if plan.delivers else [plan.target, plan.ledger]
            home.execute(sql.SQL("ANALYZE {}").format(sql.SQL(", ").join(tables)))
    return filled


def _take_out(home: psycopg.Connection, plan: EntityPlan, last: bool) -> None:
    """Before the last phase a row may stay whose children belong to a phase that is still to come."""
    if not plan.target_key or plan.delivers:
        return
    try:
        with home.transaction():
            home.execute(delete_marked(plan))
            home.execute(release_marked(plan))
    except psycopg.errors.ForeignKeyViolation:
        if last:
            raise


def _settle_entity(home: psycopg.Connection, plan: EntityPlan, last: bool) -> dict[str, int]:
    filled = {}
    with home.transaction():
        if last:
            home.execute(forget_unsettled(plan))
        for index, ref in enumerate(plan.deferred):
            parent = plan.migration.entities[ref.entity]
            taken = parent.target_key.index(ref.take or parent.target_key[0]) + 1
            ledger_ = ledger_of(plan.migration, ref.entity)
            filled[f"{plan.entity.name}.{ref.name}"] = home.execute(
                settle_reference(plan, index, ledger_, taken)
            ).rowcount
            if last:
                home.execute(unsettled(plan, index, ledger_))
    return filled
