"""The second pass of a phase: references that could not be filled while their batches were loaded."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import psycopg
from psycopg import sql

from sinew.compile.earlier_sql import delete_marked, release_marked, select_marked
from sinew.compile.entity_plan import EntityPlan, ledger_of
from sinew.compile.settle_sql import forget_unsettled, settle_reference, unsettled
from sinew.engine import ledger
from sinew.engine.session import connect, translated
from sinew.engine.steps import Context

log = logging.getLogger(__name__)


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
    """Before the last phase a row may stay whose children belong to a phase that is still to come.

    A window of a sync has no last phase: children may belong to another window.
    """
    if not plan.target_key or plan.delivers:
        return
    try:
        with home.transaction():
            home.execute(delete_marked(plan))
            home.execute(release_marked(plan))
    except psycopg.errors.ForeignKeyViolation:
        if plan.windowed:
            _take_out_some(home, plan)
        elif last:
            raise


def _take_out_some(home: psycopg.Connection, plan: EntityPlan) -> None:
    """Rows of a sync that others refer to stay until those are gone, as by a run over their window; the rest goes.

    The run that finds them need not be the one that lost them, so it does not fail by them.
    """
    left = [place for (place,) in home.execute(select_marked(plan)).fetchall()]
    before = None
    # Rows that refer to each other may need more than one round.
    while left and len(left) != before:
        before = len(left)
        left = _still_referred_to(home, plan, left)
    log.warning(
        "%s rows of %s are gone from the source, but rows of the target that are still there refer to them: they go "
        "with those",
        len(left),
        plan.entity.name,
    )


def _still_referred_to(
    home: psycopg.Connection, plan: EntityPlan, tombstones: Sequence[str]
) -> list[str]:
    """Delete as many of the rows as can be deleted, by halves; returns the tombstones of the others."""
    groups: list[Sequence[str]] = [tombstones]
    left: list[str] = []
    while groups:
        group = groups.pop()
        try:
            with home.transaction():
                home.execute(delete_marked(plan, group))
                home.execute(release_marked(plan, group))
        except psycopg.errors.ForeignKeyViolation:
            half = len(group) // 2
            if half:
                groups += [group[:half], group[half:]]
            else:
                left += group
    return left


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
